//! The connection to Redis: one for all calls, replaced when it fails.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError, ScriptInvocation};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Who does not answer within this time counts as gone.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// A way to ask Redis, shared by its clones.
#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    client: Client,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// How many connections there were, this one included.
    generation: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("Redis at {address} did not answer within {limit:?}")]
    Silence { address: String, limit: Duration },
    #[error("Redis at {address} failed: {source}")]
    Failed { address: String, source: RedisError },
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        Self(Arc::new(Shared {
            client,
            current: Mutex::default(),
        }))
    }

    pub(super) async fn connect(&self) -> Result<(), RedisError> {
        self.connection().await.map(drop)
    }

    /// Runs a script, waiting `limit` at most.
    ///
    /// Where the connection turns out to be gone, which is noticed only by using it, the
    /// script is sent once more over another: it may then have run twice.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
        limit: Duration,
    ) -> Result<T, NoAnswer> {
        let asked = timeout(limit, async {
            match self.ask_once(script).await {
                Err(error) if error.is_connection_dropped() => self.ask_once(script).await,
                answer => answer,
            }
        });
        self.judge(asked.await, limit)
    }

    /// As [`ask`](Self::ask), for a script that must not run twice.
    pub(super) async fn tell<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
        limit: Duration,
    ) -> Result<T, NoAnswer> {
        let told = timeout(limit, self.ask_once(script)).await;
        self.judge(told, limit)
    }

    fn judge<T>(
        &self,
        answer: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
        limit: Duration,
    ) -> Result<T, NoAnswer> {
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(NoAnswer::Failed {
                address: self.address(),
                source,
            }),
            Err(_) => {
                // It may be dead without anybody having said so. Locked, it is being replaced.
                if let Ok(mut current) = self.0.current.try_lock() {
                    current.connection = None;
                }
                Err(NoAnswer::Silence {
                    address: self.address(),
                    limit,
                })
            }
        }
    }

    async fn ask_once<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        let (mut connection, generation) = self.connection().await?;
        let answer = script.invoke_async(&mut connection).await;
        if let Err(error) = &answer
            && error.is_io_error()
        {
            self.give_up(generation).await;
        }
        answer
    }

    /// The connection; whoever finds none makes one, and the others wait for it.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        let mut current = self.0.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((connection.clone(), current.generation));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_LIMIT))
            // Each call has a limit of its own.
            .set_response_timeout(None);
        let client = &self.0.client;
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        current.generation += 1;
        current.connection = Some(connection.clone());
        Ok((connection, current.generation))
    }

    async fn give_up(&self, generation: u64) {
        let mut current = self.0.current.lock().await;
        // Somebody else may have replaced it already.
        if current.generation == generation {
            current.connection = None;
        }
    }

    fn address(&self) -> String {
        self.0.client.get_connection_info().addr().to_string()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_tuple("Link").field(&self.address()).finish()
    }
}
