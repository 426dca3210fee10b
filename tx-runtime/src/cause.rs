//! Why a transaction can only roll back: the first cause, kept for everyone who asks later.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::site::Site;

/// The first thing that went wrong in a transaction.
///
/// The failed statement's error itself went to the code that ran the statement; a cause
/// keeps what later errors need: its text, its code, and whether a retry can help.
#[derive(Clone, Debug)]
pub struct Cause(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    kind: CauseKind,
    text: String,
    code: Option<String>,
    retryable: bool,
}

/// What kind of thing a [`Cause`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CauseKind {
    /// A statement failed on the server, or was refused before it.
    Statement,
    /// The server ended or will not continue the transaction: a deadlock, a serialization
    /// failure, an implicit commit, a lost connection.
    TransactionGone,
    /// A statement of the body had ended the transaction; what ran before may be stored.
    EndedEarly,
    /// The transaction could not be begun.
    Begin,
    /// A participating function returned an error.
    Returned,
    /// A participating function panicked.
    Panicked,
    /// A participating function's future was dropped before it finished.
    Dropped,
    /// A scope that had joined was still open when the owner ended.
    Outlived,
    /// A lock that the transaction ran under had gone to somebody else.
    LockLost,
    /// The time of a scope was over before it had finished.
    TimedOut,
    /// `set_rollback_only` was called.
    RollbackOnly,
}

impl Cause {
    pub(crate) fn of_database(kind: CauseKind, error: &sqlx::Error, retryable: bool) -> Self {
        Self::in_words(kind, error.to_string(), error, retryable)
    }

    /// As [`of_database`](Self::of_database), where there is more to be said than the driver does.
    pub(crate) fn in_words(
        kind: CauseKind,
        text: String,
        error: &sqlx::Error,
        retryable: bool,
    ) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        Self::new(
            kind,
            text,
            code.map(std::borrow::Cow::into_owned),
            retryable,
        )
    }

    pub(crate) fn of_function(kind: CauseKind, text: impl Into<String>) -> Self {
        Self::new(kind, text.into(), None, false)
    }

    fn new(kind: CauseKind, text: String, code: Option<String>, retryable: bool) -> Self {
        Self(Arc::new(Facts {
            kind,
            text,
            code,
            retryable,
        }))
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> CauseKind {
        self.0.kind
    }

    /// The database's error code (SQLSTATE on servers, the extended result code on SQLite).
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Whether running the whole transaction again may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl StdError for Cause {}

/// A cause and the function it happened in.
#[derive(Clone, Debug)]
pub(crate) struct Doom {
    pub(crate) by: Site,
    pub(crate) cause: Cause,
}

impl Doom {
    pub(crate) fn new(by: Site, cause: Cause) -> Self {
        Self { by, cause }
    }
}
