//! The transaction that comes to harm, under this crate and by hand.

use std::time::Duration;

use sqlx::{Connection as _, Pool};
use tx_runtime::{Db, Error, Outcome, TransactionOptions};
use tx_tests::Backend;

/// Two rows, one for each statement of the transaction.
pub(crate) const TABLE: &str = "
    create table counter (id bigint primary key, n bigint not null);
    insert into counter (id, n) values (1, 0), (2, 0)";

const FIRST: &str = "update counter set n = n + 1 where id = 1";
const SECOND: &str = "update counter set n = n + 1 where id = 2";

/// How the transaction is meant to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    Rollback,
}

/// Who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Ours,
    /// sqlx without this crate.
    Plain,
}

/// What the caller takes to have become of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Committed,
    RolledBack,
    Unknown,
}

impl Told {
    /// What the result of a scope tells.
    pub(crate) fn by(result: &Result<(), Error>) -> Self {
        match result {
            Ok(()) => Self::Committed,
            Err(error) if error.outcome() == Outcome::Unknown => Self::Unknown,
            Err(_) => Self::RolledBack,
        }
    }
}

/// BEGIN, a statement, SAVEPOINT, a statement, RELEASE, and the end. `limit`: of our scope.
pub(crate) async fn work<B: Backend>(
    form: Form,
    db: &Db<B>,
    ending: Ending,
    limit: Option<Duration>,
) -> Told {
    match form {
        Form::Ours => ours(db, ending, limit).await,
        Form::Plain => match (plain(db.pool(), ending).await, ending) {
            (Ok(()), Ending::Commit) => Told::Committed,
            // An error of sqlx says that the transaction failed, and no more.
            _ => Told::RolledBack,
        },
    }
}

#[derive(Debug)]
enum Failure {
    Wanted,
    Of(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Of(error)
    }
}

async fn ours<B: Backend>(db: &Db<B>, ending: Ending, limit: Option<Duration>) -> Told {
    let options = TransactionOptions::new();
    let options = limit.map_or(options.clone(), |limit| options.timeout(limit));
    let told = db.transaction_with(options, async || {
        B::exec(db, FIRST).await.map_err(Error::from)?;
        let second = db.savepoint(async || Ok::<_, Error>(B::exec(db, SECOND).await.map(drop)?));
        second.await?;
        match ending {
            Ending::Commit => Ok(()),
            Ending::Rollback => Err(Failure::Wanted),
        }
    });
    match told.await {
        Ok(()) => Told::Committed,
        Err(Failure::Of(error)) => Told::by(&Err(error)),
        Err(Failure::Wanted) => Told::RolledBack,
    }
}

async fn plain<B: Backend>(pool: &Pool<B>, ending: Ending) -> Result<(), sqlx::Error> {
    let mut outer = pool.begin().await?;
    B::exec(B::on(&mut outer), FIRST).await?;
    let mut inner = outer.begin().await?;
    B::exec(B::on(&mut inner), SECOND).await?;
    inner.commit().await?;
    match ending {
        Ending::Commit => outer.commit().await,
        Ending::Rollback => outer.rollback().await,
    }
}
