//! An applicant's history in words: when, who, why, and what was different before.

use stage::{Column, Table};
use tx_runtime::history::{Change, ChangeKind};

use crate::applicant::Applicant;

/// A line for each of the `changes`, the oldest first.
#[must_use]
pub fn told(changes: &[Change<Applicant>]) -> String {
    let mut before = None;
    let mut rows = Vec::new();
    for change in changes {
        rows.push([
            change.revision.to_string(),
            humantime::format_rfc3339_seconds(change.at).to_string(),
            quoted_if_odd(change.actor.as_deref()),
            quoted_if_odd(change.reason.as_deref()),
            difference(before, change),
        ]);
        before = Some(&change.row);
    }
    let table = Table::new([
        Column::figures("rev"),
        Column::words("when"),
        Column::words("who"),
        Column::words("why"),
        Column::words("what"),
    ]);
    let table = table.fitting(&rows);
    let lines = rows.into_iter().map(|row| table.row(row));
    let mut text = table.heading();
    for line in lines {
        text.push('\n');
        text.push_str(&line);
    }
    text
}

/// The columns that a change has set, or has set to something else.
fn difference(before: Option<&Applicant>, change: &Change<Applicant>) -> String {
    let after = columns(&change.row);
    let all = || after.map(|(column, value)| format!("{column} {value:?}"));
    match (change.kind, before.map(columns)) {
        (ChangeKind::Delete, _) => format!("- {}", all().join(", ")),
        (ChangeKind::Update, Some(before)) => {
            let pairs = before.into_iter().zip(after);
            let changed = pairs.filter(|(before, after)| before != after);
            let changed: Vec<String> = changed
                .map(|((column, before), (_, after))| format!("{column} {before:?} -> {after:?}"))
                .collect();
            format!("~ {}", changed.join(", "))
        }
        _ => format!("+ {}", all().join(", ")),
    }
}

fn columns(applicant: &Applicant) -> [(&'static str, &str); 3] {
    [
        ("name", &applicant.name),
        ("course", &applicant.course),
        ("status", &applicant.status),
    ]
}

/// Other programs may have written anything.
fn quoted_if_odd(text: Option<&str>) -> String {
    match text {
        None => "?".to_owned(),
        Some(text) if text.chars().any(char::is_control) => format!("{text:?}"),
        Some(text) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{Applicant, Change, ChangeKind, told};

    fn change(revision: i64, kind: ChangeKind, who: &str, row: [&str; 3]) -> Change<Applicant> {
        let [name, course, status] = row.map(str::to_owned);
        Change {
            revision,
            kind,
            at: UNIX_EPOCH + Duration::from_secs(1_709_251_199),
            actor: Some(who.to_owned()),
            reason: None,
            row: Applicant {
                id: 7,
                name,
                course,
                status,
            },
        }
    }

    #[test]
    fn each_change_shows_what_is_different() {
        let story = told(&[
            change(
                1,
                ChangeKind::Insert,
                "ann",
                ["Bea", "pottery", "registered"],
            ),
            change(4, ChangeKind::Update, "ben", ["Bea", "weaving", "accepted"]),
            change(
                12,
                ChangeKind::Delete,
                "e\nve",
                ["Bea", "weaving", "accepted"],
            ),
            change(
                13,
                ChangeKind::Insert,
                "ann",
                ["Bea", "weaving", "accepted"],
            ),
        ]);
        let lines: Vec<&str> = story.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "  1  2024-02-29T23:59:59Z  ann      ?    + name \"Bea\", course \"pottery\", status \"registered\"",
                "  4  2024-02-29T23:59:59Z  ben      ?    ~ course \"pottery\" -> \"weaving\", status \"registered\" -> \"accepted\"",
                " 12  2024-02-29T23:59:59Z  \"e\\nve\"  ?    - name \"Bea\", course \"weaving\", status \"accepted\"",
                " 13  2024-02-29T23:59:59Z  ann      ?    + name \"Bea\", course \"weaving\", status \"accepted\"",
            ]
        );
    }
}
