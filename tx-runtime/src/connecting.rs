//! Why a connection could not be made: what is in the way, where, and what to do.
//!
//! A pool keeps trying where a server may be about to start, and says no more than that its time
//! is up. What it has met is then found out by one more attempt of our own.

use std::io;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::timeout;

use crate::dialect::{Dialect, Obstacle, Options};
use crate::error::Error;
use crate::site::Site;

/// How long a server is waited for that has not let a pool in all its time.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// What `function` is told whose connection, made with `options`, has failed with `error`.
pub(crate) async fn failed<DB: Dialect>(
    function: Site,
    options: &Options<DB>,
    error: sqlx::Error,
) -> Error {
    match error {
        sqlx::Error::PoolTimedOut => match look::<DB>(function, options).await {
            Some(found) => found,
            None => told::<DB>(
                function,
                options,
                Obstacle::PoolItself,
                sqlx::Error::PoolTimedOut,
            ),
        },
        error => refused::<DB>(function, options, error),
    }
}

/// What `function` is told whose connection was refused with `error`.
pub(crate) fn refused<DB: Dialect>(
    function: Site,
    options: &Options<DB>,
    error: sqlx::Error,
) -> Error {
    let obstacle = DB::obstacle(options, &error);
    told::<DB>(function, options, obstacle, error)
}

/// What `function` is told whose URL cannot be read.
pub(crate) fn unreadable<DB: Dialect>(function: Site, error: sqlx::Error) -> Error {
    Error::Connect {
        function,
        place: DB::NAME.to_owned(),
        obstacle: Obstacle::Url,
        source: error,
    }
}

/// What is in the way of a connection, if anything is.
pub(crate) async fn look<DB: Dialect>(function: Site, options: &Options<DB>) -> Option<Error> {
    let attempt = timeout(LOOK_LIMIT, async {
        options.connect().await?.close().await.or(Ok(()))
    });
    let error = match attempt.await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error,
        Err(_) => {
            let text = format!("no answer within {LOOK_LIMIT:?}");
            sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    };
    Some(refused::<DB>(function, options, error))
}

fn told<DB: Dialect>(
    function: Site,
    options: &Options<DB>,
    obstacle: Obstacle,
    source: sqlx::Error,
) -> Error {
    Error::Connect {
        function,
        place: DB::place(options),
        obstacle,
        source,
    }
}
