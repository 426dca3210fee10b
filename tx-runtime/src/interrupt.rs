//! A statement that nobody waits for any more, stopped on the server.

use std::time::Duration;

use sqlx::Pool;

use crate::dialect::Dialect;

/// How long the server may take to be told to stop, and to do so.
const LIMIT: Duration = Duration::from_secs(5);

/// Has the server stop what `backend` works on, and waits for that to have `ended`.
pub(crate) async fn interrupt<DB: Dialect>(
    pool: &Pool<DB>,
    backend: DB::Backend,
    ended: impl Future<Output = ()>,
) {
    let options = pool.connect_options().as_ref().clone();
    let stopped = tokio::time::timeout(LIMIT, async {
        let told = DB::interrupt(options, backend).await;
        if told.is_ok() {
            ended.await;
        }
        told
    });
    match stopped.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a statement could not be stopped"),
        Err(_) => tracing::warn!("a statement could not be stopped in time"),
    }
}
