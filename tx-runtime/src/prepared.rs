//! A statement that owns all it needs, so that it can outlive the call that asked for it.

use sqlx::error::BoxDynError;
use sqlx::{Database, Execute, SqlStr};

/// A query taken out of the caller's hands: text, arguments and cached statement.
#[doc(hidden)]
#[derive(Debug)]
pub struct Prepared<DB: Database> {
    sql: SqlStr,
    arguments: Option<Result<Option<DB::Arguments>, BoxDynError>>,
    /// In a box, since few have one and every statement is moved about.
    statement: Option<Box<DB::Statement>>,
    persistent: bool,
}

impl<DB: Database> Prepared<DB> {
    pub(crate) fn of<'q>(mut query: impl Execute<'q, DB>) -> Self {
        // `Execute::sql` consumes the query, so it comes last.
        let arguments = Some(query.take_arguments());
        let statement = query.statement().map(|it| Box::new(it.clone()));
        let persistent = query.persistent();
        Self {
            sql: query.sql(),
            arguments,
            statement,
            persistent,
        }
    }

    pub(crate) fn text(&self) -> &str {
        self.sql.as_str()
    }
}

impl<DB: Database> Execute<'static, DB> for Prepared<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.statement.as_deref()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        self.arguments.take().unwrap_or(Ok(None))
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}
