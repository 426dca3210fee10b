//! The fixes of a report as a migration.

use super::report::{Fault, Report};

/// SQL for a migration of `sqlx migrate`: it makes a history as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// What makes it so; empty if it is so already.
    pub up: String,
    /// What undoes that, as far as anything does.
    pub down: String,
}

impl Migration {
    pub(super) fn of(report: &Report) -> Self {
        let (mut up, mut down) = (String::new(), Vec::new());
        let findings = report.findings().iter();
        for finding in findings.filter(|finding| is_of_a_history(&finding.fault)) {
            // One fix may mend several faults.
            if up.contains(&finding.fix) {
                continue;
            }
            up.push_str(&finding.fix);
            down.push(match &finding.undo {
                Some(undo) => undo.clone(),
                None => format!("-- not undone: {}\n", finding.fault),
            });
        }
        down.reverse();
        Self {
            up,
            down: down.concat(),
        }
    }
}

/// Whether mending it changes nothing but a history.
fn is_of_a_history(fault: &Fault) -> bool {
    !matches!(fault, Fault::Cascade { .. } | Fault::Setting { .. })
}
