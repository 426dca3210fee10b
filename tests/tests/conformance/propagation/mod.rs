//! Group P: what each mode does without a transaction, inside one and inside a savepoint,
//! and what a failure of the inner function does to the outer one.

mod chains;
mod durable;
mod entry;
mod failure;

use std::fmt;
use std::time::Duration;

use tx_runtime::{Error, Propagation, TransactionOptions};
use tx_tests::{Backend, Bed, Proxy};

/// Less than a database lets its callers wait for a lock if nobody limits it: SQLite a minute in
/// these tests, MariaDB 50 seconds, PostgreSQL without end.
const AT_ONCE: Duration = Duration::from_secs(30);

/// What the functions of a case return.
#[derive(Debug)]
enum Failure {
    /// Asked for by the case; the number shows that it is still the same error.
    Asked(i64),
    Transaction(Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(number) => write!(f, "failure {number}"),
            Self::Transaction(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Transaction(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}

/// The options of the scope that a case is about.
fn inner(mode: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(mode).name("inner")
}

/// Inserts the outer scope's row before the inner scope is called, where a second
/// transaction can write beside it; on SQLite, [`late`] does it afterwards.
async fn early<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), sqlx::Error> {
    if B::SERVER {
        bed.insert(id).await?;
    }
    Ok(())
}

/// The other half of [`early`].
async fn late<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), sqlx::Error> {
    if !B::SERVER {
        bed.insert(id).await?;
    }
    Ok(())
}

/// The transaction's life on the wire, whatever the connections.
fn words(proxy: &Proxy) -> Vec<&'static str> {
    proxy.events().into_iter().map(|(_, event)| event).collect()
}
