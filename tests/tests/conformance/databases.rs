//! Group M: several `Db`s in one chain, be they of one type, of two, or tenants of one service.

use std::sync::{Arc, Mutex};

use sqlx::Sqlite;
use tx_runtime::{Db, Error, Propagation, TransactionOptions, transactional};
use tx_tests::{Backend, Bed, case};

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

async fn second<B: Backend>() -> Bed<B> {
    Bed::new().await.expect("the server is there")
}

fn on_purpose<T>() -> Result<T, Error> {
    Err(Error::Database(sqlx::Error::RowNotFound))
}

/// What the hooks of `bed` have seen.
type Log = Arc<Mutex<Vec<String>>>;

fn logs<B: Backend>(db: &Db<B>, log: &Log, name: &'static str) -> Result<(), Error> {
    let log = Arc::clone(log);
    db.after_completion(async move |end| log.lock().unwrap().push(format!("{name} {end:?}")))
}

case! {
    m_01 on sqlite, postgres, mysql;
    "a transaction of a second Db is its own: it stays when the first fails, whichever kind it is of";
    async fn<B>(bed) {
        let same = second::<B>().await;
        let embedded = second::<Sqlite>().await;
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            same.db.transaction(async || {
                same.insert(2).await?;
                embedded.db.transaction(async || Ok::<_, Error>(embedded.insert(3).await?)).await
            }).await?;
            // Both are committed by now, and the first goes on.
            assert_eq!((same.rows().await, embedded.rows().await), (vec![2], vec![3]));
            assert!(bed.db.is_in_transaction() && !same.db.is_in_transaction());
            bed.insert(4).await?;
            on_purpose::<()>()
        });
        failed.await.unwrap_err();
        assert!(bed.rows().await.is_empty());
        assert_eq!((same.rows().await, embedded.rows().await), (vec![2], vec![3]));
        same.assert_clean().await;
        embedded.assert_clean().await;
        same.finish().await;
        embedded.finish().await;
    }
}

case! {
    m_01_doom on sqlite, postgres, mysql;
    "neither doom nor hooks nor values of one Db reach another";
    async fn<B>(bed) {
        let other = second::<B>().await;
        let log = Log::default();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.put("first")?;
            logs(&bed.db, &log, "first")?;
            let doomed = other.db.transaction(async || {
                logs(&other.db, &log, "second")?;
                other.insert(1).await?;
                // Through the second Db's scope, which it does not concern.
                bed.insert(2).await?;
                assert_eq!(bed.db.value::<&str>()?.as_deref(), Some(&"first"));
                assert_eq!(other.db.value::<&str>()?, None);
                other.insert(1).await.unwrap_err();
                assert!(other.db.is_rollback_only() && !bed.db.is_rollback_only());
                bed.insert(3).await?;
                Ok::<_, Error>(())
            });
            let told = doomed.await;
            assert!(matches!(told, Err(Error::UnexpectedRollback { .. })), "{told:?}");
            assert_eq!(std::mem::take(&mut *log.lock().unwrap()), ["second RolledBack"]);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["first Committed"]);
        assert_eq!((bed.rows().await, other.rows().await), (vec![1, 2, 3], vec![]));
        other.assert_clean().await;
        other.finish().await;
    }
}

case! {
    m_02 on sqlite, postgres, mysql;
    "a transaction of another Db is none: Mandatory, a statement and a savepoint are refused in it";
    async fn<B>(bed) {
        let other = second::<B>().await;
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let told = other.db.transaction_with(mode(Propagation::Mandatory), async || Ok(())).await;
            assert!(matches!(told, Err(Error::NoTransaction { .. })), "{told:?}");
            let told = other.db.savepoint(async || Ok(())).await;
            assert!(matches!(told, Err(Error::NoTransaction { .. })), "{told:?}");
            assert!(matches!(Error::from(other.insert(1).await.unwrap_err()), Error::OutsideScope));
            // And Never is not disturbed by it.
            other.db.transaction_with(mode(Propagation::Never), async || Ok::<_, Error>(other.insert(2).await?)).await
        }).await.unwrap();
        assert_eq!((bed.rows().await, other.rows().await), (vec![1], vec![2]));
        other.finish().await;
    }
}

case! {
    m_03 on sqlite, postgres, mysql;
    "a second Db that cannot begin fails its own scope; the first rolls back if that gets through";
    async fn<B>(bed) {
        let other = second::<B>().await;
        other.db.pool().close().await;
        for caught in [true, false] {
            bed.control("delete from t").await;
            let scope = bed.db.transaction(async || {
                bed.insert(1).await?;
                let inner = other.db.transaction(async || Ok::<_, Error>(other.insert(2).await?)).await;
                assert!(matches!(inner, Err(Error::Begin { .. })), "{inner:?}");
                if caught { Ok(()) } else { inner }
            });
            let told = scope.await;
            if caught {
                told.unwrap();
                assert_eq!(bed.rows().await, [1]);
            } else {
                assert!(matches!(told, Err(Error::Begin { .. })), "{told:?}");
                assert!(bed.rows().await.is_empty());
            }
        }
        other.finish().await;
    }
}

/// One service, whichever tenant's database it is given.
struct Tenant<B: Backend> {
    db: Db<B>,
}

impl<B: Backend> Tenant<B> {
    #[transactional]
    async fn store(&self, id: i64) -> Result<(), Error> {
        let sql = format!("insert into t (id) values ({id})");
        B::exec(&self.db, &sql).await?;
        Ok(())
    }
}

case! {
    m_06 on sqlite, postgres, mysql;
    "tenants of one type are told apart by their Db: nothing joins across, clones join";
    async fn<B>(bed) {
        let other = second::<B>().await;
        let (one, two) = (Tenant { db: bed.db.clone() }, Tenant { db: other.db.clone() });
        let failed = one.db.transaction(async || {
            one.store(1).await?;
            two.store(2).await?;
            assert_eq!(other.rows().await, [2], "it has committed by itself");
            assert!(bed.rows().await.is_empty(), "the clone has joined");
            on_purpose::<()>()
        });
        failed.await.unwrap_err();
        assert_eq!((bed.rows().await, other.rows().await), (vec![], vec![2]));
        other.assert_clean().await;
        other.finish().await;
    }
}

case! {
    m_06_join on sqlite, postgres, mysql;
    "two tenants in branches of one future keep their transactions apart";
    async fn<B>(bed) {
        let other = second::<B>().await;
        let (one, two) = tokio::join!(
            bed.db.transaction(async || {
                bed.insert(1).await?;
                let crossed = other.db.transaction(async || Ok::<_, Error>(other.insert(9).await?)).await;
                // On SQLite the branch beside this one may have to wait for that to end, not more.
                crossed?;
                bed.insert(2).await?;
                on_purpose::<()>()
            }),
            other.db.transaction(async || {
                other.insert(3).await?;
                Ok::<_, Error>(other.insert(4).await?)
            }),
        );
        assert!(one.is_err() && two.is_ok(), "{one:?} {two:?}");
        assert_eq!((bed.rows().await, other.rows().await), (vec![], vec![3, 4, 9]));
        other.assert_clean().await;
        other.finish().await;
    }
}
