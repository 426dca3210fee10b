//! Connections of pools whose own patience is short, because a test is about its end.

use sqlx::Pool;
use sqlx::pool::PoolConnection;

use crate::backend::Backend;

/// A connection of `pool`, however often it has to be asked: to make one may take longer than the
/// pool waits.
pub async fn acquired<B: Backend>(pool: &Pool<B>) -> PoolConnection<B> {
    loop {
        if let Ok(connection) = pool.acquire().await {
            return connection;
        }
    }
}

/// All connections of `pool`.
pub async fn all_acquired<B: Backend>(pool: &Pool<B>) -> Vec<PoolConnection<B>> {
    let mut connections = Vec::new();
    for _ in 0..pool.options().get_max_connections() {
        connections.push(acquired(pool).await);
    }
    connections
}
