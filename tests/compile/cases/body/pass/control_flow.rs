//! `return`, `?`, labelled breaks, closures and async blocks mean what they mean without the
//! attribute.

use tx_runtime::{Error, PgDb, transactional};

#[transactional]
pub async fn first_free(db: &PgDb, wanted: &[i64]) -> Result<Option<i64>, Error> {
    let taken: Vec<i64> = sqlx::query_scalar("select id from asset")
        .fetch_all(db)
        .await?;
    let found = 'search: {
        for id in wanted {
            if !taken.contains(id) {
                break 'search Some(*id);
            }
        }
        None
    };
    'outer: for id in wanted {
        for other in &taken {
            if id == other {
                continue 'outer;
            }
            if *other < 0 {
                return Ok(None);
            }
        }
    }
    let parsed = |text: &str| -> Result<i64, std::num::ParseIntError> {
        let id = text.parse::<i64>()?;
        Ok(id)
    };
    if parsed("1").is_err() {
        return Ok(found);
    }
    let count = async {
        let count: i64 = sqlx::query_scalar("select count(*) from asset")
            .fetch_one(db)
            .await?;
        Ok::<_, sqlx::Error>(count)
    };
    match count.await {
        Ok(0) => Ok(None),
        Ok(_) => Ok(found),
        Err(error) => Err(error.into()),
    }
}

#[transactional]
pub async fn never_ok(db: &PgDb) -> Result<(), Error> {
    loop {
        sqlx::query("delete from asset").execute(db).await?;
    }
}

#[transactional]
pub async fn always_panics(db: &PgDb) -> Result<(), Error> {
    db.set_rollback_only("it ends in a panic")?;
    panic!("on purpose: a body of type `!` has the return type all the same")
}
