//! The lanes that are kept, by number.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::lane::{Lane, LaneKind, Statement};

/// What is sent in one transaction beyond this is not kept.
const STATEMENTS: usize = 1000;

/// Identifies a lane, be it forgotten by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(u64);

#[derive(Debug)]
pub(super) struct Record {
    began: Instant,
    limit: usize,
    /// How many were forgotten; the number of the first that is kept.
    forgotten: u64,
    kept: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    parent: Option<Number>,
    lane: Lane,
}

impl Record {
    pub(super) fn keeping(limit: usize) -> Self {
        Self {
            began: Instant::now(),
            limit: limit.max(1),
            forgotten: 0,
            kept: VecDeque::new(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A lane begins that is wanted, but not had yet.
    pub(super) fn ask(&mut self, kind: LaneKind, name: String, parent: Option<Number>) -> Number {
        if self.kept.len() == self.limit {
            self.kept.pop_front();
            self.forgotten += 1;
        }
        let number = Number(self.forgotten + self.kept.len() as u64);
        let lane = Lane {
            kind,
            name,
            depth: 0,
            asked: self.now(),
            start: None,
            end: None,
            outcome: None,
            statements: Vec::new(),
        };
        self.kept.push_back(Kept { parent, lane });
        number
    }

    /// It is had from now on; `waited`: since when it had been asked for.
    pub(super) fn start(&mut self, number: Number, waited: Duration) {
        let now = self.now();
        if let Some(lane) = self.lane(number) {
            lane.asked = lane.asked.min(now.saturating_sub(waited));
            lane.start = Some(now);
        }
    }

    /// Whether it is still waited for.
    pub(super) fn is_waiting(&mut self, number: Number) -> bool {
        self.lane(number).is_some_and(|lane| lane.start.is_none())
    }

    /// It has ended, if it had not before: spans may stay open longer than what they are about.
    pub(super) fn end(&mut self, number: Number, outcome: Option<String>) {
        let now = self.now();
        if let Some(lane) = self.lane(number)
            && lane.end.is_none()
        {
            lane.end = Some(now);
            lane.outcome = outcome;
        }
    }

    /// Something was answered just now, `elapsed` after it was sent.
    pub(super) fn answered(&mut self, number: Number, summary: String, elapsed: Duration) {
        let end = self.now();
        if let Some(lane) = self.lane(number)
            && lane.kind == LaneKind::Transaction
            && lane.statements.len() < STATEMENTS
        {
            lane.statements.push(Statement {
                summary,
                start: end.saturating_sub(elapsed),
                end,
            });
        }
    }

    pub(super) fn clear(&mut self) {
        self.forgotten += self.kept.len() as u64;
        self.kept.clear();
    }

    /// All lanes, each behind the one that it lies in.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        let mut within: BTreeMap<Option<Number>, Vec<Number>> = BTreeMap::new();
        for (kept, number) in self.kept.iter().zip(self.forgotten..) {
            let parent = kept.parent.filter(|parent| parent.0 >= self.forgotten);
            within.entry(parent).or_default().push(Number(number));
        }
        let mut lanes = Vec::with_capacity(self.kept.len());
        // In a heap of our own: how deep calls go is not ours to bound.
        let mut open = vec![(0, within.remove(&None).unwrap_or_default().into_iter())];
        while let Some((depth, siblings)) = open.last_mut() {
            let depth = *depth;
            let Some(number) = siblings.next() else {
                open.pop();
                continue;
            };
            let lane = self.position(number).and_then(|at| self.kept.get(at));
            lanes.extend(lane.map(|kept| Lane {
                depth,
                ..kept.lane.clone()
            }));
            let inner = within.remove(&Some(number)).unwrap_or_default();
            open.push((depth + 1, inner.into_iter()));
        }
        lanes
    }

    fn lane(&mut self, number: Number) -> Option<&mut Lane> {
        let position = self.position(number)?;
        Some(&mut self.kept.get_mut(position)?.lane)
    }

    fn position(&self, number: Number) -> Option<usize> {
        usize::try_from(number.0.checked_sub(self.forgotten)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LaneKind, Record};

    fn names(record: &Record) -> Vec<(usize, String)> {
        let lanes = record.lanes().into_iter();
        lanes.map(|lane| (lane.depth, lane.name)).collect()
    }

    #[test]
    fn lanes_come_behind_those_that_they_lie_in() {
        let mut record = Record::keeping(10);
        let mut ask = |name: &str, parent| record.ask(LaneKind::Scope, name.to_owned(), parent);
        let first = ask("first", None);
        let second = ask("second", None);
        let inner = ask("in the first", Some(first));
        ask("in the second", Some(second));
        ask("in it", Some(inner));
        let expected = [
            (0, "first"),
            (1, "in the first"),
            (2, "in it"),
            (0, "second"),
            (1, "in the second"),
        ];
        assert_eq!(
            names(&record),
            expected.map(|(depth, name)| (depth, name.to_owned()))
        );
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut record = Record::keeping(2);
        let gone = record.ask(LaneKind::Scope, "gone".to_owned(), None);
        let orphan = record.ask(LaneKind::Transaction, "orphan".to_owned(), Some(gone));
        record.ask(LaneKind::Scope, "last".to_owned(), None);
        record.end(gone, Some("committed".to_owned()));
        record.answered(gone, "select".to_owned(), Duration::ZERO);
        record.answered(orphan, "select".to_owned(), Duration::ZERO);
        assert_eq!(
            names(&record),
            [(0, "orphan".to_owned()), (0, "last".to_owned())]
        );
        let orphan = &record.lanes()[0];
        assert_eq!((orphan.statements.len(), orphan.end), (1, None));
        record.clear();
        assert_eq!(names(&record), []);
        record.ask(LaneKind::Scope, "after".to_owned(), None);
        assert_eq!(names(&record), [(0, "after".to_owned())]);
    }

    #[test]
    fn the_first_end_counts() {
        let mut record = Record::keeping(2);
        let lane = record.ask(LaneKind::Scope, "it".to_owned(), None);
        record.end(lane, Some("committed".to_owned()));
        let ended = record.lanes();
        record.end(lane, None);
        assert_eq!(record.lanes(), ended);
    }
}
