//! What the API keeps of one account, and what it sees of its sessions.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::time::{Duration, Instant};

use super::Listed;

/// So many reports of an account can be at work at once; more are refused.
pub const MOST_AT_WORK: usize = 10;

/// No report takes longer than so many times the work time.
const MOST_TIMES_WORK: u32 = 20;

/// What the API has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Sessions: each begins with its first report, and ends when it deletes all.
    pub sessions: usize,
    /// Those that were not alone with their account from begin to end.
    pub overlapping_sessions: usize,
    /// Reports that were created.
    pub created: usize,
    /// Reports that were refused, as too many were at work.
    pub refused: usize,
}

/// How many times the work time a report takes: the more recent its day, the longer.
fn times_work(day: i64) -> u32 {
    u32::try_from(day).unwrap_or(1).clamp(1, MOST_TIMES_WORK)
}

#[derive(Debug, Default)]
pub(super) struct Account {
    reports: BTreeMap<u64, Report>,
    /// By their names. Those that are going on, and whether each was alone until now.
    sessions: BTreeMap<String, Alone>,
    pub(super) seen: Seen,
}

#[derive(Debug)]
struct Report {
    day: i64,
    ready_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    Yes,
    No,
}

impl Account {
    /// `None` if too many are at work.
    pub(super) fn create(
        &mut self,
        session: &str,
        day: i64,
        now: Instant,
        work_time: Duration,
    ) -> Option<u64> {
        self.see(session);
        let at_work = self.reports.values().filter(|report| report.ready_at > now);
        if at_work.count() >= MOST_AT_WORK {
            self.seen.refused += 1;
            return None;
        }
        self.seen.created += 1;
        let id = self.seen.created as u64;
        let ready_at = now + work_time * times_work(day);
        self.reports.insert(id, Report { day, ready_at });
        Some(id)
    }

    pub(super) fn list(&self, now: Instant) -> Vec<Listed> {
        self.reports
            .iter()
            .map(|(&id, report)| listed(id, report, now))
            .collect()
    }

    pub(super) fn find(&self, id: u64, now: Instant) -> Option<Listed> {
        self.reports.get(&id).map(|report| listed(id, report, now))
    }

    pub(super) fn delete_all(&mut self, session: &str) {
        self.reports.clear();
        self.sessions.remove(session);
    }

    /// Notes that `session` goes on, and who is no longer alone because of that.
    fn see(&mut self, session: &str) {
        if self.sessions.contains_key(session) {
            return;
        }
        self.seen.sessions += 1;
        self.sessions.insert(session.to_owned(), Alone::Yes);
        if self.sessions.len() > 1 {
            for alone in self
                .sessions
                .values_mut()
                .filter(|alone| **alone == Alone::Yes)
            {
                *alone = Alone::No;
                self.seen.overlapping_sessions += 1;
            }
        }
    }
}

fn listed(id: u64, report: &Report, now: Instant) -> Listed {
    Listed {
        id,
        day: report.day,
        is_ready: report.ready_at <= now,
    }
}

impl Sum for Seen {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, seen| Self {
            sessions: sum.sessions + seen.sessions,
            overlapping_sessions: sum.overlapping_sessions + seen.overlapping_sessions,
            created: sum.created + seen.created,
            refused: sum.refused + seen.refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Account, Listed, MOST_AT_WORK, Seen};

    const WORK: Duration = Duration::from_secs(1);

    #[test]
    fn a_report_is_at_work_and_then_ready() {
        let (mut account, now) = (Account::default(), Instant::now());
        let id = account.create("a", 3, now, WORK).expect("it is taken");
        for (later, is_ready) in [(0, false), (2, false), (3, true)] {
            let expected = Listed {
                id,
                day: 3,
                is_ready,
            };
            assert_eq!(account.find(id, now + WORK * later), Some(expected));
            assert_eq!(account.list(now + WORK * later), [expected]);
        }
    }

    #[test]
    fn who_deletes_leaves_the_others_an_empty_list() {
        let (mut account, now) = (Account::default(), Instant::now());
        let id = account.create("a", 19, now, WORK).expect("it is taken");
        account.delete_all("b");
        assert_eq!(account.list(now), []);
        assert_eq!(account.find(id, now), None);
    }

    #[test]
    fn overload_is_refused_until_reports_are_ready() {
        let (mut account, now) = (Account::default(), Instant::now());
        for _ in 0..MOST_AT_WORK {
            assert!(account.create("a", 1, now, WORK).is_some());
        }
        assert_eq!(account.create("a", 1, now, WORK), None);
        assert!(account.create("a", 1, now + WORK, WORK).is_some());
        let Seen {
            created, refused, ..
        } = account.seen;
        assert_eq!((created, refused), (MOST_AT_WORK + 1, 1));
    }

    #[test]
    fn sessions_one_after_another_do_not_overlap() {
        let (mut account, now) = (Account::default(), Instant::now());
        for session in ["a", "b"] {
            account.create(session, 1, now, WORK);
            account.create(session, 2, now, WORK);
            account.delete_all(session);
        }
        let seen = account.seen;
        assert_eq!((seen.sessions, seen.overlapping_sessions), (2, 0));
    }

    #[test]
    fn each_session_that_was_not_alone_counts_once() {
        let (mut account, now) = (Account::default(), Instant::now());
        for session in ["a", "b", "c", "a", "b"] {
            account.create(session, 1, now, WORK);
        }
        let seen = account.seen;
        assert_eq!((seen.sessions, seen.overlapping_sessions), (3, 3));
        for session in ["a", "b", "c"] {
            account.delete_all(session);
        }
        account.create("d", 1, now, WORK);
        let seen = account.seen;
        assert_eq!((seen.sessions, seen.overlapping_sessions), (4, 3));
    }
}
