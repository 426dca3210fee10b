//! Declarative transactions for services on sqlx.
#![forbid(unsafe_code)]

mod admission;
mod autocommit;
mod cause;
mod chain;
mod cleanup;
mod db;
mod dialect;
mod error;
mod executor;
mod lease;
mod level;
mod lock;
mod operation;
mod options;
mod propagation;
mod result;
mod rows;
mod scope;
mod site;
mod source;
mod statement;
mod stream;
mod target;
mod transaction;
mod tx;
mod wire;

pub use cause::{Cause, CauseKind};
#[cfg(feature = "mysql")]
pub use db::MySqlDb;
#[cfg(feature = "postgres")]
pub use db::PgDb;
#[cfg(feature = "sqlite")]
pub use db::SqliteDb;
pub use db::{Db, DbBuilder};
pub use dialect::Dialect;
pub use error::{Error, Outcome};
pub use options::{Isolation, RuledOptions, Rules, TransactionOptions};
pub use propagation::Propagation;
pub use result::TransactionResult;
pub use site::Site;
pub use tx::Tx;
pub use tx_macros::transactional;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

/// Puts an error into words by what its type implements.
#[doc(hidden)]
#[macro_export]
macro_rules! describe {
    ($error:expr) => {{
        use $crate::__private::{ByDebug as _, ByDisplay as _, ByNothing as _};
        (&&&$crate::__private::Described($error)).describe()
    }};
}
