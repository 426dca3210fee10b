//! What is wrong with a history, as data and in words.

use std::fmt;

/// Everything that [`History::verify`](super::History::verify) has found.
///
/// [`into_result`](Self::into_result) makes it an error that a program can end with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The audited table.
    pub table: String,
    /// What is wrong.
    pub fault: Fault,
    /// The SQL that mends it. Those of several findings are meant in their order.
    pub fix: String,
    /// What takes the fix back; `None` if nothing does.
    pub(super) undo: Option<String>,
}

/// What may be wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A table that all histories share is missing.
    SharedTableMissing {
        /// Its name.
        name: String,
    },
    /// There is no history table.
    HistoryMissing {
        /// Its name.
        name: String,
    },
    /// A column of the history is missing.
    ColumnMissing {
        /// Its name.
        column: String,
    },
    /// A column of the history is of another type, or filled by the database itself.
    ColumnDiffers {
        /// Its name.
        column: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The primary key of the history is not that of the table and `rev`. Without `rev`, the second
    /// change of any row fails, and takes the change itself with it.
    PrimaryKey {
        /// Its columns.
        found: Vec<String>,
        /// What they should be.
        expected: Vec<String>,
    },
    /// A unique index of the history, where values repeat.
    UniqueIndex {
        /// Its name.
        index: String,
        /// Its columns.
        columns: Vec<String>,
    },
    /// A trigger or function is missing.
    RecorderMissing {
        /// Its name.
        name: String,
    },
    /// A trigger is switched off.
    RecorderDisabled {
        /// Its name.
        name: String,
    },
    /// A trigger or function is not the one that the table needs as it is now.
    RecorderOutdated {
        /// Its name.
        name: String,
    },
    /// Another trigger writes into the history as well.
    ForeignRecorder {
        /// Its name.
        name: String,
    },
    /// A foreign key of the table changes it without its triggers.
    Cascade {
        /// The constraint.
        constraint: String,
        /// What it does.
        rule: String,
    },
    /// A setting with which changes go unrecorded, or triggers cannot be made.
    Setting {
        /// Its name.
        name: &'static str,
        /// What comes of it.
        problem: &'static str,
    },
}

impl Report {
    /// The findings, in the order in which their fixes are to be applied.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The report as an error, unless nothing is wrong.
    ///
    /// # Errors
    ///
    /// The report itself.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_clean() { Ok(()) } else { Err(self) }
    }

    /// Takes what was found about a further table; what is shared is named once.
    pub(super) fn extend(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            let shared =
                |known: &&Finding| known.fault == finding.fault && known.fix == finding.fix;
            if !self.findings.iter().any(|known| shared(&known)) {
                self.findings.push(finding);
            }
        }
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("every history is as it should be");
        }
        for (at, finding) in self.findings.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "history of `{}`: {}\n  fix:", self.table, self.fault)?;
        for line in self.fix.lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedTableMissing { name } | Self::HistoryMissing { name } => {
                write!(f, "there is no table {name}")
            }
            Self::ColumnMissing { column } => write!(f, "the column `{column}` is missing"),
            Self::ColumnDiffers {
                column,
                found,
                expected,
            } => write!(
                f,
                "the column `{column}` is {found}, and should be {expected}"
            ),
            Self::PrimaryKey { found, expected } => {
                let (found, expected) = (found.join(", "), expected.join(", "));
                write!(
                    f,
                    "its primary key is ({found}), and should be ({expected}): "
                )?;
                f.write_str(
                    "the second change of a row may fail with a duplicate key, and take the change itself with it",
                )
            }
            Self::UniqueIndex { index, columns } => write!(
                f,
                "the index `{index}` wants ({}) to be unique, which it is in the table and not in its history",
                columns.join(", ")
            ),
            Self::RecorderMissing { name } => {
                write!(f, "`{name}` is missing, so changes go unrecorded")
            }
            Self::RecorderDisabled { name } => write!(f, "the trigger `{name}` is switched off"),
            Self::RecorderOutdated { name } => {
                write!(
                    f,
                    "`{name}` was made for another version of the table, or by hand"
                )
            }
            Self::ForeignRecorder { name } => {
                write!(
                    f,
                    "the trigger `{name}` writes into the history as well, so changes may be there twice, or fail"
                )
            }
            Self::Cascade { constraint, rule } => write!(
                f,
                "the foreign key `{constraint}` changes rows by itself ({rule}), and on this server that fires no triggers"
            ),
            Self::Setting { name, problem } => write!(f, "`{name}` is off: {problem}"),
        }
    }
}
