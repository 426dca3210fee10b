//! Bodies and modules may use every name that the expansion could be thought to need.

use crate::vendor::tx_runtime as runtime;
use runtime::{PgDb, transactional};

pub mod std {}
pub mod core {}
pub mod tx_runtime {}

pub struct Some;
pub struct Box;
pub struct Clone;
pub struct PhantomData;

pub type Outcome<T> = ::std::result::Result<T, runtime::Error>;

macro_rules! matches {
    () => {};
}

macro_rules! format {
    () => {};
}

#[transactional(no_rollback_for = runtime::Error::NoLockHeld { .. }, lock = "{result}")]
pub async fn shadows(db: &PgDb, tx: i64, conn: i64, result: i64) -> Outcome<i64> {
    matches!();
    format!();
    #[expect(
        dead_code,
        reason = "only its name is wanted, in the way of the expansion"
    )]
    struct Result;
    #[expect(
        dead_code,
        reason = "only its name is wanted, in the way of the expansion"
    )]
    struct Error;
    #[allow(non_snake_case, clippy::unnecessary_wraps, clippy::result_large_err)]
    fn Ok(sum: i64) -> Outcome<i64> {
        Outcome::Ok(sum)
    }
    let run = tx + conn;
    let options = run + result;
    sqlx::query("select 1").execute(db).await?;
    let db = options;
    let body = db;
    let (_, _, _, _) = (Some, Box, Clone, PhantomData);
    Ok(body)
}
