//! P-51 and P-52: what Django calls `durable`, a transaction that must be the outermost.
//!
//! It is `Never` around `Required`: inside a transaction the one refuses before anything has run,
//! outside of one the other begins and commits.

use tx_runtime::{Error, transactional};
use tx_tests::{Backend, Bed, case};

#[transactional(db = bed.db, propagation = Never)]
async fn durable<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Error> {
    written(bed, id).await
}

#[transactional(db = bed.db)]
async fn written<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Error> {
    bed.insert(id).await?;
    // A plain scope inside, and a savepoint, are as always.
    bed.db
        .transaction(async || Ok::<_, Error>(bed.insert(id + 1).await?))
        .await?;
    bed.db
        .savepoint(async || Ok::<_, Error>(bed.insert(id + 2).await?))
        .await
}

case! {
    p_51 on sqlite, postgres, mysql;
    "Never around Required begins, and commits before it returns";
    async fn<B>(bed) {
        durable(bed, 1).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
        durable(bed, 4).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3, 4, 5, 6]);
        durable(bed, 6).await.unwrap_err();
        assert_eq!(bed.rows().await, [1, 2, 3, 4, 5, 6]);
    }
}

case! {
    p_52 on sqlite, postgres, mysql;
    "inside a transaction, a savepoint, or another such function's transaction it is refused before it runs";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let told = durable(bed, 10).await;
            assert!(matches!(told, Err(Error::TransactionActive { .. })), "{told:?}");
            bed.db.savepoint(async || {
                let told = durable(bed, 10).await;
                assert!(matches!(told, Err(Error::TransactionActive { .. })), "{told:?}");
                Ok::<_, Error>(bed.insert(2).await?)
            }).await?;
            // The refusal costs the caller nothing.
            bed.insert(3).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}
