//! The work that is cut off, in each of the forms it can be written in.

use sqlx::Connection as _;
use tx_runtime::{Db, Error, transactional};

use crate::statements::Bound;

/// How the work is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Closures,
    Attribute,
    Explicit,
    /// sqlx without this crate.
    Plain,
}

pub(crate) const OURS: [Form; 3] = [Form::Closures, Form::Attribute, Form::Explicit];

/// BEGIN, an insert, a select, a savepoint with an insert, its release, COMMIT.
pub(crate) async fn work<B: Bound>(form: Form, db: &Db<B>, id: i64) -> Result<(), Error> {
    match form {
        Form::Closures => by_closures(db, id).await,
        Form::Attribute => by_attribute(db, id).await,
        Form::Explicit => by_hand(db, id).await,
        Form::Plain => Ok(by_plain_sqlx(db, id).await?),
    }
}

pub(crate) async fn by_closures<B: Bound>(db: &Db<B>, id: i64) -> Result<(), Error> {
    db.transaction(async || {
        B::put(db, id).await?;
        B::count(db, id).await?;
        let second = db.savepoint(async || Ok::<_, Error>(B::put(db, id + 1).await.map(drop)?));
        second.await
    })
    .await
}

#[transactional]
pub(crate) async fn by_attribute<B: Bound>(db: &Db<B>, id: i64) -> Result<(), Error> {
    B::put(db, id).await?;
    B::count(db, id).await?;
    second_row(db, id + 1).await
}

#[transactional(propagation = Nested)]
pub(crate) async fn second_row<B: Bound>(db: &Db<B>, id: i64) -> Result<(), Error> {
    B::put(db, id).await?;
    Ok(())
}

pub(crate) async fn by_hand<B: Bound>(db: &Db<B>, id: i64) -> Result<(), Error> {
    let mut outer = db.begin().await?;
    B::put(&outer, id).await?;
    B::count(&outer, id).await?;
    let inner = outer.begin().await?;
    B::put(&inner, id + 1).await?;
    inner.commit().await?;
    outer.commit().await
}

pub(crate) async fn by_plain_sqlx<B: Bound>(db: &Db<B>, id: i64) -> Result<(), sqlx::Error> {
    let mut outer = db.pool().begin().await?;
    B::put(B::on(&mut outer), id).await?;
    B::count(B::on(&mut outer), id).await?;
    let mut inner = outer.begin().await?;
    B::put(B::on(&mut inner), id + 1).await?;
    inner.commit().await?;
    outer.commit().await
}
