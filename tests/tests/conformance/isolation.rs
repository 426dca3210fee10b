//! Group I: the isolation level that is asked for is the one the server works at.

use tx_runtime::{Error, Isolation, Propagation, TransactionOptions};
use tx_tests::{Backend, Bed, case};

const LEVELS: [Isolation; 4] = [
    Isolation::ReadUncommitted,
    Isolation::ReadCommitted,
    Isolation::RepeatableRead,
    Isolation::Serializable,
];

fn at(level: Isolation) -> TransactionOptions {
    TransactionOptions::new().isolation(level)
}

/// The level of the transaction this is run in: PostgreSQL tells it, MariaDB has to show it.
async fn level_here<B: Backend>(bed: &Bed<B>) -> Result<String, Error> {
    if B::LABEL == "postgres" {
        let told = B::texts(&bed.db, "show transaction_isolation").await?;
        return Ok(told.join(","));
    }
    let shown = show_level(bed).await?;
    bed.control_raw("rollback; delete from t where id = 50")
        .await;
    Ok(name(shown).to_owned())
}

/// What a transaction sees of another tells its level, if there is a row 1.
async fn show_level<B: Backend>(bed: &Bed<B>) -> Result<Isolation, Error> {
    bed.visible().await?;
    if !bed.free(1).await {
        return Ok(Isolation::Serializable);
    }
    bed.control_raw("start transaction; insert into t (id) values (50)")
        .await;
    if bed.visible().await?.contains(&50) {
        return Ok(Isolation::ReadUncommitted);
    }
    bed.control_raw("commit").await;
    if bed.visible().await?.contains(&50) {
        return Ok(Isolation::ReadCommitted);
    }
    Ok(Isolation::RepeatableRead)
}

/// Checks that the transaction this is run in has that level.
async fn is_at<B: Backend>(bed: &Bed<B>, level: &str) -> Result<(), Error> {
    assert_eq!(level_here(bed).await?, level);
    Ok(())
}

fn name(level: Isolation) -> &'static str {
    match level {
        Isolation::ReadUncommitted => "read uncommitted",
        Isolation::ReadCommitted => "read committed",
        Isolation::RepeatableRead => "repeatable read",
        Isolation::Serializable => "serializable",
    }
}

/// The level of a transaction that asks for none.
fn default_level<B: Backend>() -> &'static str {
    match B::LABEL {
        "postgres" => "read committed",
        _ => "repeatable read",
    }
}

case! {
    i_01 on postgres, mysql; pool = 1;
    "each level is in force in its scope, and gone after it";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        for level in LEVELS {
            let scope = bed.db.transaction_with(at(level), async || is_at(bed, name(level)).await);
            scope.await.unwrap();
            // I-02: on the same connection.
            let scope = bed.db.transaction(async || is_at(bed, default_level::<B>()).await);
            scope.await.unwrap();
        }
    }
}

case! {
    i_03 on sqlite, postgres, mysql;
    "a function joins at the same level, or without naming one";
    async fn<B>(bed) {
        bed.db.transaction_with(at(Isolation::Serializable), async || {
            bed.insert(1).await?;
            let same = at(Isolation::Serializable);
            bed.db.transaction_with(same, async || Ok::<_, Error>(bed.insert(2).await?)).await?;
            // I-05
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(3).await?)).await
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    i_04 on sqlite, postgres, mysql;
    "a function that asks for another level is refused before its body, with both names";
    async fn<B>(bed) {
        for outer in [Some(Isolation::ReadCommitted), None] {
            let options = TransactionOptions::new().name("outer");
            let options = outer.map_or(options.clone(), |level| options.isolation(level));
            bed.db.transaction_with(options, async || {
                for propagation in [Propagation::Required, Propagation::Mandatory, Propagation::Nested] {
                    let inner = at(Isolation::Serializable).name("inner").propagation(propagation);
                    let body = async || -> Result<(), Error> { panic!("its body must not run") };
                    let told = bed.db.transaction_with(inner, body).await;
                    let Err(error @ Error::IsolationMismatch { asked, found, .. }) = &told else {
                        panic!("{told:?}");
                    };
                    assert_eq!((*asked, *found), (Isolation::Serializable, outer));
                    let text = error.to_string();
                    assert!(text.contains("`inner`") && text.contains("`outer`"), "{text}");
                }
                // The refusal has cost nothing.
                assert!(!bed.db.is_rollback_only());
                Ok::<_, Error>(())
            }).await.unwrap();
        }
    }
}

case! {
    i_06 on sqlite, postgres, mysql;
    "the server's default is not known, so a level is refused under it; a Db's own default is";
    async fn<B>(bed) {
        let joining = TransactionOptions::new().isolation(Isolation::Serializable);
        bed.db.transaction(async || {
            let told = bed.db.transaction_with(joining.clone(), async || Ok(())).await;
            assert!(matches!(told, Err(Error::IsolationMismatch { found: None, .. })), "{told:?}");
            Ok::<_, Error>(bed.insert(1).await?)
        }).await.unwrap();
        let set = Bed::<B>::build(|pool| pool, |builder| builder.isolation(Isolation::Serializable));
        let set = set.await.expect("the server is there");
        set.db.transaction(async || {
            set.db.transaction_with(joining, async || Ok::<_, Error>(set.insert(1).await?)).await
        }).await.unwrap();
        assert_eq!((bed.rows().await, set.rows().await), (vec![1], vec![1]));
        set.finish().await;
    }
}

case! {
    i_08 on postgres, mysql;
    "a transaction of its own inside another has a level of its own";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        bed.db.transaction_with(at(Isolation::ReadCommitted), async || {
            is_at(bed, "read committed").await?;
            let inner = at(Isolation::Serializable).propagation(Propagation::RequiresNew);
            bed.db.transaction_with(inner, async || is_at(bed, "serializable").await).await?;
            is_at(bed, "read committed").await
        }).await.unwrap();
    }
}

case! {
    i_10 on postgres, mysql;
    "ReadCommitted sees what is committed between two statements, RepeatableRead does not";
    async fn<B>(bed) {
        // I-11
        for (id, level, sees) in [
            (1, Isolation::ReadCommitted, true),
            (2, Isolation::RepeatableRead, false),
            (3, Isolation::Serializable, false),
        ] {
            if B::LABEL == "mysql" && level == Isolation::Serializable {
                // There it locks what it reads, and the other would wait.
                continue;
            }
            bed.db.transaction_with(at(level), async || {
                let before = bed.visible().await?;
                bed.control(&format!("insert into t (id) values ({id})")).await;
                assert_eq!(bed.visible().await? != before, sees, "{level}");
                Ok::<_, Error>(())
            }).await.unwrap();
        }
    }
}

case! {
    i_14 on postgres, mysql; pool = 1;
    "nothing is sent when the scope is entered, and the level comes with BEGIN";
    async fn<B>(bed, proxy) {
        // What the driver sends when it connects is not ours.
        bed.db.transaction(async || Ok::<_, Error>(bed.visible().await?)).await.unwrap();
        proxy.clear();
        bed.db.transaction_with(at(Isolation::Serializable), async || {
            assert!(proxy.executed().is_empty());
            bed.visible().await?;
            let sent = proxy.executed();
            assert_eq!(sent.len(), 2, "{sent:?}");
            assert!(sent[0].1.contains("SERIALIZABLE"), "{sent:?}");
            Ok::<_, Error>(())
        }).await.unwrap();
    }
}

case! {
    i_15 on postgres, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.isolation(Isolation::Serializable));
    "a Db's own level is that of scopes that name none";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        bed.db.transaction(async || is_at(bed, "serializable").await).await.unwrap();
        let level = at(Isolation::ReadCommitted);
        bed.db.transaction_with(level, async || is_at(bed, "read committed").await).await.unwrap();
    }
}

case! {
    i_16 on postgres, mysql;
    "what runs without a transaction inside one runs at the server's level";
    async fn<B>(bed) {
        bed.db.transaction_with(at(Isolation::RepeatableRead), async || {
            assert!(bed.visible().await?.is_empty());
            let without = TransactionOptions::new().propagation(Propagation::NotSupported);
            bed.db.transaction_with(without, async || {
                bed.control("insert into t (id) values (1)").await;
                assert_eq!(bed.visible().await?, [1]);
                Ok::<_, Error>(())
            }).await?;
            assert!(bed.visible().await?.is_empty(), "the snapshot stays");
            Ok::<_, Error>(())
        }).await.unwrap();
    }
}
