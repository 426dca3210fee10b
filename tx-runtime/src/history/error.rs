//! Why a table cannot have a history.

/// A table that cannot have a history, or a database that could not be asked about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// There is no such table.
    #[error(
        "there is no table `{table}`: names are taken letter for letter; say `schema.table` for one \
         that lies elsewhere (on SQLite there is only the main database)"
    )]
    NoTable {
        /// The name that was asked for.
        table: String,
    },

    /// It is a view.
    #[error("`{table}` is a view: audit the tables that it reads")]
    View {
        /// The view.
        table: String,
    },

    /// Its rows lie in several tables, whose triggers see only what is written into them.
    #[error(
        "`{table}` is partitioned, or inherits: what is written into one of its parts would go \
         unrecorded; audit a table that is whole"
    )]
    Partitioned {
        /// The table.
        table: String,
    },

    /// Its changes do not roll back, so neither would their history.
    #[error("`{table}` has an engine without transactions: ALTER TABLE .. ENGINE = InnoDB")]
    NotTransactional {
        /// The table.
        table: String,
    },

    /// A foreign table, a virtual one or the like.
    #[error("`{table}` is no ordinary table, and fires no triggers: audit the table behind it")]
    NoOrdinaryTable {
        /// The table.
        table: String,
    },

    /// Without a primary key nothing tells which row has changed.
    #[error(
        "`{table}` has no primary key, so nothing tells which of its rows has changed: give it one \
         (ALTER TABLE .. ADD PRIMARY KEY (..); on SQLite, make it anew)"
    )]
    NoPrimaryKey {
        /// The table.
        table: String,
    },

    /// A column is called as one of the history's own.
    #[error(
        "`{table}` has a column `{column}`, as its history would have for itself: rename it (ALTER \
         TABLE .. RENAME COLUMN .. TO ..)"
    )]
    ReservedColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },

    /// The database could not be asked.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}
