//! The picture in characters.

use std::fmt::Write as _;
use std::time::Duration;

use super::lane::{Lane, LaneKind};
use super::picture::{Picture, label};

/// How wide the lanes are, unless it is said.
pub(super) const COLUMNS: usize = 60;

/// The narrowest that still shows something.
const LEAST: usize = 10;

/// What names are cut to.
const NAME: usize = 40;

const WAIT: char = '·';

/// What is drawn where nothing was sent.
fn stroke(kind: LaneKind) -> char {
    match kind {
        LaneKind::Scope => '─',
        LaneKind::Lock => '█',
        LaneKind::Transaction => '═',
        LaneKind::Hook => '~',
    }
}

const STATEMENT: char = '■';

pub(super) fn draw(picture: &Picture, columns: usize) -> String {
    let columns = columns.max(LEAST);
    let names: Vec<String> = picture.lanes.iter().map(name).collect();
    let width = names.iter().map(|name| name.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut text = format!("{:width$}  {}\n", "", scale(picture, columns));
    for (lane, name) in picture.lanes.iter().zip(names) {
        let bar = bar(picture, lane, columns);
        let line = format!("{name:width$}  {bar}  {}", lane.verdict());
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "{WAIT} waits  {} scope  {} lock held  {} transaction open  {STATEMENT} statement  {} hook",
        stroke(LaneKind::Scope),
        stroke(LaneKind::Lock),
        stroke(LaneKind::Transaction),
        stroke(LaneKind::Hook),
    );
    text
}

fn name(lane: &Lane) -> String {
    let name = format!("{:indent$}{}", "", label(lane), indent = 2 * lane.depth);
    if name.chars().count() <= NAME {
        return name;
    }
    let mut cut: String = name.chars().take(NAME - 1).collect();
    cut.push('…');
    cut
}

fn bar(picture: &Picture, lane: &Lane, columns: usize) -> String {
    let mut cells = vec![' '; columns];
    let mut paint = |(from, to): (Duration, Duration), stroke, gap| {
        let (from, to) = (column(picture, from, columns), column(picture, to, columns));
        cells[from..=to.saturating_sub(gap).max(from)].fill(stroke);
    };
    if lane.kind != LaneKind::Scope && lane.start != Some(lane.asked) {
        paint(lane.wait(picture.now), WAIT, 0);
    }
    if let Some(work) = lane.work(picture.now) {
        paint(work, stroke(lane.kind), 0);
    }
    for statement in &lane.statements {
        // So that the pause behind it is seen.
        paint((statement.start, statement.end), STATEMENT, 1);
    }
    cells.into_iter().collect()
}

fn scale(picture: &Picture, columns: usize) -> String {
    let mut cells = vec![' '; columns];
    let mut free = 0;
    // A label takes some ten columns.
    for tick in picture.ticks(u32::try_from(columns / 10).unwrap_or(u32::MAX).min(12)) {
        let at = cell(tick.at, columns);
        let text = format!("|{}", tick.label);
        let end = at + text.chars().count();
        if at >= free && end <= columns {
            for (cell, character) in cells[at..end].iter_mut().zip(text.chars()) {
                *cell = character;
            }
            free = end + 1;
        }
    }
    let cells: String = cells.into_iter().collect();
    cells.trim_end().to_owned()
}

fn column(picture: &Picture, time: Duration, columns: usize) -> usize {
    cell(picture.place(time), columns)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "between 0 and the number of columns"
)]
fn cell(place: f64, columns: usize) -> usize {
    let last = columns - 1;
    ((place * last as f64).round() as usize).min(last)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Picture, draw};
    use crate::timeline::lane::{Lane, LaneKind, Statement};

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(1000 + count)
    }

    fn lane(kind: LaneKind, name: &str, depth: usize, times: [Option<Duration>; 3]) -> Lane {
        let [asked, start, end] = times;
        Lane {
            kind,
            name: name.to_owned(),
            depth,
            asked: asked.unwrap_or_default(),
            start,
            end,
            outcome: None,
            statements: Vec::new(),
        }
    }

    #[test]
    fn lanes_stand_beside_each_other() {
        let scope = lane(LaneKind::Scope, "add", 0, [0, 0, 20].map(|it| Some(ms(it))));
        let lock = lane(
            LaneKind::Lock,
            "asset:7",
            1,
            [2, 8, 18].map(|it| Some(ms(it))),
        );
        let mut transaction = lane(
            LaneKind::Transaction,
            "1",
            1,
            [10, 10, 16].map(|it| Some(ms(it))),
        );
        transaction.outcome = Some("committed".to_owned());
        transaction.statements.push(Statement {
            summary: "insert".to_owned(),
            start: ms(12),
            end: ms(13),
        });
        let waits = lane(LaneKind::Lock, "asset:7", 0, [Some(ms(6)), None, None]);
        let picture = Picture::of(vec![scope, lock, transaction, waits], ms(20));
        let expected = "                 |0 ms     |10 ms
add              ─────────────────────
  lock asset:7     ······███████████
  transaction 1            ══■════      committed
lock asset:7           ···············  waiting
· waits  ─ scope  █ lock held  ═ transaction open  ■ statement  ~ hook
";
        assert_eq!(draw(&picture, 21), expected);
    }

    #[test]
    fn names_are_cut_and_widths_bounded() {
        let long = "a".repeat(100);
        let scope = lane(LaneKind::Scope, &long, 0, [Some(ms(0)), Some(ms(0)), None]);
        let text = draw(&Picture::of(vec![scope], ms(1)), 0);
        let line = text.lines().nth(1).expect("the lane");
        assert_eq!(line, format!("{}…  ──────────  running", "a".repeat(39)));
    }
}
