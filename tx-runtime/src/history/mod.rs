//! Who changed what, when and why: tables whose changes are recorded.
//!
//! An audited table has a table beside it, `<table>_history`, with its columns and three more:
//! `rev`, the number of the transaction's one revision in `tx_revision`; `revtype`, 0 for an
//! insertion, 1 for an update and 2 for a deletion; and `revseq`, the order of the changes of one
//! row, which that of the revision numbers is not. Its primary key is that of the table and `rev`.
//! Triggers fill it, so bulk updates, raw SQL and other programs are recorded as well. Several
//! changes of a row in one transaction are one: an insertion that is updated stays an insertion, one
//! that is deleted has never been, an update that is deleted is a deletion, and a deletion that is
//! inserted again is an update. A change of the key is a deletion and an insertion.
//!
//! [`History`] reads the table that there is and writes what makes its history, as a migration;
//! [`History::verify`] says at start-up whether what there is still fits, with the SQL that mends it.
//! The program `tx-history` does both from the command line.
//!
//! Who makes the changes of a transaction is said by
//! [`TransactionOptions::history`](crate::TransactionOptions::history) or in
//! `#[transactional(history(actor = .., reason = ..))]`. PostgreSQL records changes from elsewhere
//! too, without an actor. MariaDB, MySQL and SQLite have no number for the running transaction:
//! there a change outside of such a scope is refused.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use tx_runtime::history::{Change, ChangeKind, History};
//! use tx_runtime::{Author, SqliteDb, TransactionOptions};
//!
//! # #[derive(Debug)]
//! struct Applicant { name: String }
//! # impl<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> for Applicant {
//! #     fn from_row(row: &'r sqlx::sqlite::SqliteRow) -> Result<Self, sqlx::Error> {
//! #         Ok(Self { name: sqlx::Row::try_get(row, "name")? })
//! #     }
//! # }
//!
//! # let options = "sqlite::memory:".parse::<sqlx::sqlite::SqliteConnectOptions>()?.pragma("recursive_triggers", "ON");
//! # let db = SqliteDb::connect_with(sqlx::pool::PoolOptions::new(), options).await?;
//! # sqlx::query("create table applicant (id integer primary key, name text)").execute(db.pool()).await?;
//! let history = History::table("applicant");
//! let migration = history.generate(&db).await?; // write `migration.up` into a file
//! # sqlx::raw_sql(sqlx::AssertSqlSafe(migration.up)).execute(db.pool()).await?;
//! history.verify(&db).await?.into_result()?; // at start-up
//!
//! let audited = TransactionOptions::new().history(Author::new("ann").reason("signed up"));
//! db.transaction_with(audited, async || {
//!     sqlx::query("insert into applicant values (1, 'Bea')").execute(&db).await?;
//!     Ok::<_, tx_runtime::Error>(())
//! })
//! .await?;
//!
//! let applicants = History::table("applicant").reader(&db).await?;
//! let changes: Vec<Change<Applicant>> = applicants.changes_of(1).fetch_all(db.pool()).await?;
//! assert_eq!(changes[0].kind, ChangeKind::Insert);
//! assert_eq!(changes[0].actor.as_deref(), Some("ann"));
//! assert_eq!(changes[0].row.name, "Bea");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod error;
mod inspection;
mod migration;
mod reading;
mod report;

use sqlx_core::database::HasStatementCache;

use crate::db::Db;
use crate::dialect::Dialect;
use crate::dialect::history::{RelationKind, Survey, TableName};

pub use self::error::HistoryError;
pub use self::migration::Migration;
pub use self::reading::{Change, ChangeKind, HistoryReader};
pub use self::report::{Fault, Finding, Report};

/// Tables whose changes are recorded, or are to be.
///
/// A name is that of the catalogue, letter for letter, with or without its schema: `applicant`,
/// `school.applicant`. Parts that contain a dot or a quotation mark stand between `"` or `` ` ``.
/// What all audited tables share, `tx_revision` among it, lies in the schema in which a connection
/// of the `Db` finds its tables first.
#[derive(Clone, Debug)]
pub struct History {
    tables: Vec<TableName>,
}

impl History {
    /// One table.
    #[must_use]
    pub fn table(name: &str) -> Self {
        Self::tables([name])
    }

    /// Several tables, which share their revisions.
    #[must_use]
    pub fn tables<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let tables = names.into_iter().map(TableName::parse);
        Self {
            tables: tables.collect(),
        }
    }

    /// The tables that have a history, or the beginnings of one: a table `<table>_history`, made by
    /// hand or not, or a trigger of ours.
    ///
    /// # Errors
    ///
    /// The database's own.
    pub async fn existing<DB: Dialect>(db: &Db<DB>) -> Result<Self, HistoryError> {
        let mut connection = db.pool().acquire().await?;
        Ok(Self {
            tables: DB::audited(&mut connection).await?,
        })
    }

    /// The names of the tables.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.tables.iter().map(ToString::to_string)
    }

    /// What makes the history of the tables as it should be, and what undoes that.
    ///
    /// For a table without a history that is all of it, the rows that are there already as the
    /// insertions of one revision; later, what has changed since. It is written for a migration and
    /// nothing of it is carried out. Faults that are not those of a history, such as a foreign key
    /// whose actions fire no triggers, are left to [`verify`](Self::verify).
    ///
    /// # Errors
    ///
    /// [`HistoryError`] if a table cannot have a history, and the database's own.
    pub async fn generate<DB: Dialect>(&self, db: &Db<DB>) -> Result<Migration, HistoryError> {
        let report = self.verify(db).await?;
        Ok(Migration::of(&report))
    }

    /// Everything about the history of the tables that is not as it should be, each with the SQL
    /// that mends it.
    ///
    /// On MariaDB and MySQL, a user without the right `TRIGGER` sees no triggers.
    ///
    /// # Errors
    ///
    /// [`HistoryError`] if a table cannot have a history, and the database's own.
    pub async fn verify<DB: Dialect>(&self, db: &Db<DB>) -> Result<Report, HistoryError> {
        let mut connection = db.pool().acquire().await?;
        let mut report = Report::default();
        for table in &self.tables {
            let survey = survey::<DB>(&mut connection, table).await?;
            report.extend(inspection::inspect::<DB>(table, &survey)?);
        }
        Ok(report)
    }

    /// Reads back the history of the first of the tables.
    ///
    /// # Errors
    ///
    /// [`HistoryError`] if the table cannot have a history, and the database's own.
    pub async fn reader<DB: Dialect + HasStatementCache>(
        &self,
        db: &Db<DB>,
    ) -> Result<HistoryReader<DB>, HistoryError> {
        let mut connection = db.pool().acquire().await?;
        let Some(table) = self.tables.first() else {
            return Err(HistoryError::NoTable {
                table: String::new(),
            });
        };
        let survey = survey::<DB>(&mut connection, table).await?;
        Ok(HistoryReader::new(&survey))
    }
}

/// What there is, if the table can have a history.
async fn survey<DB: Dialect>(
    connection: &mut DB::Connection,
    name: &TableName,
) -> Result<Survey, HistoryError> {
    let survey = DB::survey(connection, name).await?;
    let table = name.to_string();
    let Some(found) = &survey.table else {
        return Err(HistoryError::NoTable { table });
    };
    match found.kind {
        RelationKind::Table => {}
        RelationKind::View => return Err(HistoryError::View { table }),
        RelationKind::Partitioned => return Err(HistoryError::Partitioned { table }),
        RelationKind::NotTransactional => return Err(HistoryError::NotTransactional { table }),
        RelationKind::Other => return Err(HistoryError::NoOrdinaryTable { table }),
    }
    if found.key.is_empty() {
        return Err(HistoryError::NoPrimaryKey { table });
    }
    let reserved = found
        .columns
        .iter()
        .find(|column| inspection::is_reserved(&column.name));
    match reserved {
        Some(column) => Err(HistoryError::ReservedColumn {
            table,
            column: column.name.clone(),
        }),
        None => Ok(survey),
    }
}
