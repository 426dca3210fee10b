//! The timeline: what lanes it makes of what happens, on every database.

use std::sync::LazyLock;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tx_runtime::timeline::{Lane, LaneKind, Timeline};
use tx_runtime::{Error, Lock, Propagation, TransactionOptions};
use tx_tests::{Backend, Bed, on_each_database, poll_n};

/// Of the whole program, since SQLite's worker threads know no other subscriber.
static TIMELINE: LazyLock<Timeline> = LazyLock::new(|| {
    let timeline = Timeline::keeping(100_000);
    let subscriber = tracing_subscriber::registry()
        .with(LevelFilter::DEBUG)
        .with(timeline.layer());
    tracing::subscriber::set_global_default(subscriber).expect("there is no other");
    timeline
});

/// Options of a function whose name nobody else has.
fn named<B: Backend>(name: &str) -> TransactionOptions {
    TransactionOptions::new().name(format!("{}.{name}", B::LABEL).leak())
}

/// The lane of that function, and those that lie in it.
fn of<B: Backend>(name: &str) -> Vec<Lane> {
    let name = format!("{}.{name}", B::LABEL);
    let lanes = TIMELINE.lanes();
    let first = lanes.iter().position(|lane| lane.name == name);
    let first = first.unwrap_or_else(|| panic!("no lane of `{name}`"));
    let depth = lanes[first].depth;
    let inside = lanes[first + 1..]
        .iter()
        .take_while(|lane| lane.depth > depth);
    [&lanes[first]].into_iter().chain(inside).cloned().collect()
}

fn only(lanes: &[Lane], kind: LaneKind) -> &Lane {
    let mut found = lanes.iter().filter(|lane| lane.kind == kind);
    match (found.next(), found.next()) {
        (Some(lane), None) => lane,
        _ => panic!("not one {kind:?}: {lanes:#?}"),
    }
}

/// From when to when it was had.
fn span(lane: &Lane) -> (Duration, Duration) {
    let whole = lane.start.zip(lane.end);
    whole.unwrap_or_else(|| panic!("it never was, or goes on: {lane:?}"))
}

fn assert_covers(outer: &Lane, inner: &Lane) {
    let ((from, to), (since, until)) = (span(outer), span(inner));
    assert!(from <= since && until <= to, "{outer:#?}\n{inner:#?}");
}

async fn lock_is_shut_until_commit<B: Backend>() {
    LazyLock::force(&TIMELINE);
    let Some(bed) = Bed::<B>::new().await else {
        return;
    };
    let key = format!("{}.asset:7", B::LABEL);
    let add = named::<B>("add")
        .propagation(Propagation::Isolated)
        .lock(key.clone());
    let register = bed.db.transaction_with(named::<B>("register"), async || {
        bed.db
            .transaction_with(add, async || {
                bed.visible().await?;
                Ok::<_, Error>(bed.insert(1).await?)
            })
            .await?;
        Ok::<_, Error>(bed.insert(2).await?)
    });
    register.await.unwrap();
    bed.assert_clean().await;

    let register = of::<B>("register");
    let lock = register
        .iter()
        .find(|lane| lane.name == key)
        .expect("the lock");
    let add = of::<B>("add");
    let inner = only(&add, LaneKind::Transaction);
    assert_covers(&register[0], lock);
    assert_covers(&register[0], &add[0]);
    assert_covers(&add[0], inner);
    assert_covers(lock, inner);
    assert_eq!((register[0].depth, add[0].depth, inner.depth), (0, 1, 2));
    assert_eq!(inner.outcome.as_deref(), Some("committed"));
    let outer = register
        .iter()
        .find(|lane| lane.kind == LaneKind::Transaction && lane.depth == 1);
    assert!(
        span(outer.expect("its own")).0 >= span(inner).1,
        "{register:#?}"
    );
    // BEGIN and COMMIT too, where they are statements to the driver.
    let sent: Vec<_> = inner
        .statements
        .iter()
        .map(|it| it.summary.as_str())
        .collect();
    assert!(sent.iter().any(|it| it.starts_with("select")), "{sent:?}");
    assert!(sent.iter().any(|it| it.starts_with("insert")), "{sent:?}");
    let (from, to) = span(inner);
    for statement in &inner.statements {
        let within = from <= statement.start && statement.end <= to;
        assert!(within, "{statement:?} in {from:?} to {to:?}");
    }
    bed.finish().await;
}

on_each_database!(lock_is_shut_until_commit);

async fn waits_are_seen<B: Backend>() {
    LazyLock::force(&TIMELINE);
    let Some(bed) = Bed::<B>::new().await else {
        return;
    };
    let key = format!("{}.busy", B::LABEL);
    let held = bed.db.lock(key.clone()).await.unwrap();
    let refused = bed.db.lock(Lock::key(key.clone()).no_wait()).await;
    assert!(
        matches!(refused, Err(Error::LockTimeout { .. })),
        "{refused:?}"
    );
    let waiter = named::<B>("waiter").lock(key.clone());
    let mut waiter = Box::pin(bed.db.transaction_with(waiter, async || {
        bed.visible().await?;
        Ok::<_, Error>(())
    }));
    let (answer, _) = poll_n(&mut waiter, 1).await;
    assert!(answer.is_none(), "it does not wait");
    let locks = || TIMELINE.lanes().into_iter().filter(|lane| lane.name == key);
    let [holding, vain, waiting] = locks().collect::<Vec<_>>().try_into().expect("three");
    assert!(
        holding.start.is_some() && holding.end.is_none(),
        "{holding:?}"
    );
    assert!(vain.start.is_none() && vain.end.is_some(), "{vain:?}");
    assert!(
        waiting.start.is_none() && waiting.end.is_none(),
        "{waiting:?}"
    );

    held.release().await.unwrap();
    waiter.await.unwrap();
    bed.assert_clean().await;
    let [holding, _, waiting] = locks().collect::<Vec<_>>().try_into().expect("three");
    assert!(waiting.asked < span(&holding).1 && span(&waiting).0 >= span(&holding).1);
    bed.finish().await;
}

on_each_database!(waits_are_seen);

async fn endings_have_their_words<B: Backend>() {
    LazyLock::force(&TIMELINE);
    let Some(bed) = Bed::<B>::new().await else {
        return;
    };
    let failed = bed.db.transaction_with(named::<B>("fails"), async || {
        bed.insert(1).await?;
        Err::<(), _>(Error::Database(sqlx::Error::RowNotFound))
    });
    failed.await.unwrap_err();
    bed.db
        .transaction_with(named::<B>("hooked"), async || {
            bed.insert(2).await?;
            bed.db.after_commit(async || ())
        })
        .await
        .unwrap();
    bed.db
        .transaction_with(named::<B>("empty"), async || Ok::<_, Error>(()))
        .await
        .unwrap();
    bed.assert_clean().await;

    let fails = of::<B>("fails");
    assert_eq!(
        only(&fails, LaneKind::Scope).outcome.as_deref(),
        Some("rolled_back")
    );
    assert_eq!(
        only(&fails, LaneKind::Transaction).outcome.as_deref(),
        Some("rolled_back")
    );
    assert_eq!(of::<B>("hooked")[0].outcome.as_deref(), Some("committed"));
    let hooks = TIMELINE
        .lanes()
        .into_iter()
        .filter(|lane| lane.kind == LaneKind::Hook);
    assert!(
        hooks
            .into_iter()
            .any(|hook| hook.outcome.as_deref() == Some("ok"))
    );
    assert_eq!(
        of::<B>("empty").len(),
        1,
        "nothing ran, so nothing was begun"
    );

    let (text, svg) = (TIMELINE.to_string(), TIMELINE.svg());
    for name in ["fails", "hooked", "empty"] {
        let name = format!("{}.{name}", B::LABEL);
        assert!(text.contains(&name) && svg.contains(&name), "{text}");
    }
    for tag in ["rect", "text", "title", "style", "line", "g", "svg"] {
        let [attributes, bare, end] = [format!("<{tag} "), format!("<{tag}>"), format!("</{tag}>")];
        let count = |part: &str| svg.matches(part).count();
        let empty = svg.split(&attributes).skip(1);
        let empty = empty
            .filter_map(|it| it.split('>').next())
            .filter(|it| it.ends_with('/'));
        assert_eq!(
            count(&attributes) + count(&bare),
            count(&end) + empty.count(),
            "{tag}"
        );
    }
    bed.finish().await;
}

on_each_database!(endings_have_their_words);
