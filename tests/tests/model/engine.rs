//! What the model must know of a database to say what a program does on it.

use tx_tests::Backend;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// One writer, and every transaction is one.
    Sqlite,
    /// Each statement sees what was committed before it.
    Postgres,
    /// A transaction sees what was committed before its first SELECT.
    MySql,
}

impl Engine {
    pub(crate) fn of<B: Backend>() -> Self {
        match B::LABEL {
            "sqlite" => Self::Sqlite,
            "postgres" => Self::Postgres,
            _ => Self::MySql,
        }
    }
}
