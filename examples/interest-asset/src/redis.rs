//! The locks of `--redis-url`, if the program was built with them.

use stage::Failure;

/// Locks in the Redis at `url`: of one instance, so that two exclude each other there only.
#[cfg(feature = "redis")]
pub(crate) async fn locks(url: &str) -> Result<tx_runtime::RedisLocks, Failure> {
    let locks = tx_runtime::RedisLocks::connect(url).await;
    locks.map_err(|error| format!("--redis-url: {error}").into())
}

/// Says how to build the program with them.
#[cfg(not(feature = "redis"))]
pub(crate) fn locks(_: &str) -> std::future::Ready<Result<tx_runtime::LocalLocks, Failure>> {
    let mend = "this program was built without Redis: --redis-url needs `--features redis`";
    std::future::ready(Err(mend.into()))
}
