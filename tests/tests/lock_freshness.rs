//! What is read under a lock is not older than the lock, or it is refused.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::poll;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tx_runtime::{CauseKind, Error, Isolation, LocalLocks, Lock, Propagation, TransactionOptions};
use tx_tests::{Backend, Bed, case};

const JOINED: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::Mandatory)
    .name("joined");

const SELECT: &str = "select v from t where id = 1";

fn at(isolation: Option<Isolation>) -> TransactionOptions {
    let outer = TransactionOptions::new().name("outer");
    isolation.map_or(outer.clone(), |isolation| outer.isolation(isolation))
}

/// The provider that a `Db` has by itself, and locks of this process.
fn providers() -> [Lock; 2] {
    let local = LocalLocks::new();
    [Lock::key("k"), Lock::key("k").on(&local)]
}

/// Somebody who has the lock, and stores `new` when told to, before it opens.
struct Writer {
    write: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Writer {
    async fn start<B: Backend>(bed: &Arc<Bed<B>>, lock: Lock) -> Self {
        bed.control("delete from t").await;
        bed.control("insert into t (id, v) values (1, 'old')").await;
        let (write, may_write) = oneshot::channel();
        let (held, is_held) = oneshot::channel();
        let bed = Arc::clone(bed);
        let task = tokio::spawn(async move {
            bed.db
                .locked(lock, async || {
                    held.send(()).expect("somebody waits");
                    may_write.await.expect("it is told");
                    bed.control("update t set v = 'new' where id = 1").await;
                    Ok::<_, Error>(())
                })
                .await
        });
        is_held.await.expect("it gets the lock");
        Self { write, task }
    }

    /// Has it write; it goes on by itself.
    fn tell(self) -> JoinHandle<Result<(), Error>> {
        self.write.send(()).expect("it waits");
        self.task
    }
}

async fn ended(writer: JoinHandle<Result<(), Error>>) {
    writer
        .await
        .expect("it does not panic")
        .expect("it succeeds");
}

/// Reads under a lock that somebody else has at first; `late`: after a read without it.
async fn read_under_lock<B: Backend>(
    bed: &Arc<Bed<B>>,
    lock: Lock,
    isolation: Option<Isolation>,
    late: bool,
) -> Result<String, Error> {
    let writer = Writer::start(bed, lock.clone()).await;
    let mut told = None;
    let db = &bed.db;
    let read = async || {
        let read = B::texts(db, SELECT).await?;
        Ok::<_, Error>(read.into_iter().next().expect("one row"))
    };
    let outer = async || {
        if late {
            assert_eq!(read().await?, "old");
        }
        let locked = db.transaction_with(JOINED.lock(lock), read);
        // It is refused at once, or waits for the writer.
        let mut locked = pin!(locked);
        let first = poll!(&mut locked);
        told = Some(writer.tell());
        match first {
            Poll::Ready(locked) => locked,
            Poll::Pending => locked.await,
        }
    };
    let read = db.transaction_with(at(isolation), outer).await;
    // What has been read at SERIALIZABLE may have kept it from writing until now.
    ended(told.expect("it was told")).await;
    read
}

/// Reads under a lock that its transaction begins with.
async fn read_at_begin<B: Backend>(
    bed: &Arc<Bed<B>>,
    lock: Lock,
    isolation: Option<Isolation>,
) -> Result<String, Error> {
    let writer = Writer::start(bed, lock.clone()).await;
    let read = async || {
        let read = B::texts(&bed.db, SELECT).await?;
        Ok::<_, Error>(read.into_iter().next().expect("one row"))
    };
    let locked = bed.db.transaction_with(at(isolation).lock(lock), read);
    let (locked, ()) = tokio::join!(locked, async {
        tokio::task::yield_now().await;
        ended(writer.tell()).await;
    });
    locked
}

const LEVELS: [Option<Isolation>; 4] = [
    None,
    Some(Isolation::ReadCommitted),
    Some(Isolation::RepeatableRead),
    Some(Isolation::Serializable),
];

/// Whether a transaction at this level goes on reading what it has read first.
fn keeps_snapshot<B: Backend>(isolation: Option<Isolation>, default: Isolation) -> bool {
    let level = isolation.unwrap_or(default);
    B::SERVER && matches!(level, Isolation::RepeatableRead | Isolation::Serializable)
}

/// Every level, both providers, early and late.
async fn at_every_level<B: Backend>(bed: &Arc<Bed<B>>, default: Isolation) {
    for isolation in LEVELS {
        for lock in providers() {
            let begun = read_at_begin(bed, lock.clone(), isolation).await;
            assert_eq!(begun.unwrap(), "new", "{isolation:?}");
            let first = read_under_lock(bed, lock.clone(), isolation, false).await;
            assert_eq!(first.unwrap(), "new", "{isolation:?}, as the first thing");
            if !B::SERVER {
                continue;
            }
            let late = read_under_lock(bed, lock, isolation, true).await;
            if keeps_snapshot::<B>(isolation, default) {
                let Err(Error::LockAfterSnapshot {
                    function, outer, ..
                }) = &late
                else {
                    panic!("{isolation:?}: {late:?}");
                };
                assert_eq!((function.name(), outer.name()), ("joined", "outer"));
            } else {
                assert_eq!(late.unwrap(), "new", "{isolation:?}, late");
            }
        }
    }
}

case! {
    fresh_at_every_level on sqlite, postgres, mysql;
    "under a lock everything reads what its last holder has stored, or is refused";
    async fn<B>(bed) {
        let default = if B::LABEL == "mysql" { Isolation::RepeatableRead } else { Isolation::ReadCommitted };
        at_every_level(bed, default).await;
    }
}

/// A bed whose database begins transactions at `level` unless told otherwise.
async fn with_default<B: Backend>(level: &str) -> Option<Bed<B>> {
    let bed = Bed::<B>::new().await?;
    let name = bed.control_texts("select current_database()::text").await;
    let sql = format!(
        "alter database {} set default_transaction_isolation = '{level}'",
        name[0]
    );
    bed.control_raw(&sql).await;
    Some(bed)
}

case! {
    fresh_where_repeatable_read_is_the_default on postgres;
    bed = with_default::<B>("repeatable read");
    "a default level that is set for the database is found out and counts as an explicit one";
    async fn<B>(bed) {
        at_every_level(bed, Isolation::RepeatableRead).await;
    }
}

case! {
    fresh_where_serializable_is_the_default on postgres;
    bed = with_default::<B>("serializable");
    "the same with SERIALIZABLE";
    async fn<B>(bed) {
        at_every_level(bed, Isolation::Serializable).await;
    }
}

case! {
    fresh_where_the_builder_sets_the_level on postgres, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.isolation(Isolation::RepeatableRead));
    "the same with a level that the Db was built with";
    async fn<B>(bed) {
        at_every_level(bed, Isolation::RepeatableRead).await;
    }
}

// ----- locks that are there already ----------------------------------------------------------

const REPEATABLE: TransactionOptions = TransactionOptions::new()
    .isolation(Isolation::RepeatableRead)
    .name("reader");

async fn read<B: Backend>(bed: &Bed<B>) -> Result<String, Error> {
    let read = B::texts(&bed.db, SELECT).await?;
    Ok(read.into_iter().next().expect("one row"))
}

/// Reads, and has the writer write what must not be missed under `lock` from then on.
async fn read_before<B: Backend>(bed: &Arc<Bed<B>>, lock: &Lock) -> Result<(), Error> {
    let writer = Writer::start(bed, lock.clone()).await;
    assert_eq!(read(bed).await?, "old");
    ended(writer.tell()).await;
    Ok(())
}

fn assert_refused(read: &Result<String, Error>) {
    assert!(
        matches!(read, Err(Error::LockAfterSnapshot { .. })),
        "{read:?}"
    );
}

/// Reads twice, ignoring that it is refused, which is no success of the savepoint around it.
async fn read_twice<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    for _ in 0..2 {
        let swallowed = bed.db.savepoint(async || {
            assert_refused(&read(bed).await);
            Ok::<_, Error>(())
        });
        let told = swallowed.await;
        assert!(
            matches!(told, Err(Error::UnexpectedRollback { .. })),
            "{told:?}"
        );
    }
    Ok(())
}

/// Swallows that a read is refused, after a write.
async fn swallow<B: Backend>(bed: &Arc<Bed<B>>, lock: &Lock) -> Result<(), Error> {
    let scope = bed.db.transaction_with(REPEATABLE, async || {
        read_before(bed, lock).await?;
        bed.insert(2).await?;
        let swallowed = async || {
            assert_refused(&read(bed).await);
            Ok::<_, Error>(())
        };
        bed.db.locked(lock.clone(), swallowed).await
    });
    scope.await
}

case! {
    refused_and_swallowed on postgres, mysql;
    "a scope in which a read was refused does not commit, whatever it returns";
    async fn<B>(bed) {
        for lock in providers() {
            let Err(Error::UnexpectedRollback { function, by, cause, .. }) = swallow(bed, &lock).await else {
                panic!("Ok, and stored: {:?}", bed.rows().await);
            };
            assert_eq!((function.name(), by.name()), ("reader", "reader"));
            assert_eq!(cause.kind(), CauseKind::Statement);
            assert_eq!(bed.rows().await, [1]);
        }
    }
}

case! {
    refused_and_tolerated on mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.tolerate_failed_statements(true));
    "it is a failed statement, which can be tolerated";
    async fn<B>(bed) {
        for lock in providers() {
            swallow(bed, &lock).await.unwrap();
            assert_eq!(bed.rows().await, [1, 2]);
        }
    }
}

case! {
    refused_again on postgres, mysql;
    "whoever goes on after a refused read is refused again as long as the lock is around him";
    async fn<B>(bed) {
        for lock in providers() {
            bed.db.transaction_with(REPEATABLE, async || {
                read_before(bed, &lock).await?;
                let twice = async || read_twice(bed).await;
                bed.db.locked(lock.clone(), twice).await?;
                let joined = async || bed.db.transaction_with(JOINED, twice).await;
                bed.db.locked(lock.clone(), joined).await?;
                let savepoint = async || bed.db.savepoint(twice).await;
                bed.db.locked(lock.clone(), savepoint).await?;
                assert_eq!(read(bed).await?, "old", "under no lock");
                Ok::<_, Error>(())
            }).await.unwrap();

            let tx = bed.db.begin_with(REPEATABLE).await.unwrap();
            tx.within(async || read_before(bed, &lock).await).await.unwrap();
            let within = async || tx.within(async || read_twice(bed).await).await;
            bed.db.locked(lock, within).await.unwrap();
            tx.rollback().await.unwrap();
        }
    }
}

case! {
    under_no_lock on postgres, mysql;
    "what is read outside of a lock is not refused because of it";
    async fn<B>(bed) {
        for lock in providers() {
            bed.db.transaction_with(REPEATABLE, async || {
                read_before(bed, &lock).await?;
                let nothing = async || Ok::<_, Error>(());
                let joined = async || bed.db.transaction_with(JOINED, nothing).await;
                bed.db.locked(lock, joined).await?;
                assert_eq!(read(bed).await?, "old");
                Ok::<_, Error>(())
            }).await.unwrap();
        }
    }
}

case! {
    kept_by_another_transaction on postgres, mysql;
    "a lock that another branch has taken for the transaction around both is as new for a reader who asks for it, and none of his if he does not";
    async fn<B>(bed) {
        for lock in providers() {
            let (has_read, may_take) = oneshot::channel();
            let (taken, is_taken) = oneshot::channel();
            let reader = async || {
                read_before(bed, &lock).await?;
                has_read.send(()).expect("somebody waits");
                is_taken.await.expect("it is taken");
                assert_eq!(read(bed).await?, "old", "under no lock");
                let nested = async || read(bed).await;
                assert_eq!(bed.db.transaction_with(JOINED, nested).await?, "old", "under no lock");
                bed.db.locked(lock.clone(), async || read_twice(bed).await).await?;
                let under = JOINED.lock(lock.clone());
                bed.db.transaction_with(under, async || read_twice(bed).await).await?;
                let held = bed.db.lock(lock.clone()).await?;
                held.within(async || read_twice(bed).await).await?;
                held.release().await?;
                assert_eq!(read(bed).await?, "old", "under no lock");
                Ok::<_, Error>(())
            };
            let taker = async || {
                may_take.await.expect("it reads");
                bed.db.transaction_with(JOINED.lock(lock.clone()), async || {
                    assert_eq!(read(bed).await?, "new");
                    Ok::<_, Error>(())
                }).await?;
                taken.send(()).expect("somebody waits");
                Ok::<_, Error>(())
            };
            bed.db.transaction_with(at(None), async || {
                let apart = REPEATABLE.propagation(Propagation::RequiresNew);
                tokio::try_join!(bed.db.transaction_with(apart, reader), taker()).map(drop)
            }).await.unwrap();
        }
    }
}

/// The lock inside the transaction, by hand. `late`: after a read.
async fn read_plainly<B: Backend>(bed: &Arc<Bed<B>>, begin: &'static str, late: bool) -> String {
    let writer = Writer::start(bed, Lock::key("k")).await;
    let mut connection = bed.db.pool().acquire().await.unwrap();
    B::raw(B::on(&mut connection), begin).await.unwrap();
    if late {
        B::texts(B::on(&mut connection), SELECT).await.unwrap();
    }
    let take = B::take_lock(&B::lock_name("k"));
    let taken = B::raw(B::on(&mut connection), &take);
    let (taken, ()) = tokio::join!(taken, async {
        // The lock is asked for before it opens.
        while !bed.server_view().await.contains("_lock(") {
            tokio::task::yield_now().await;
        }
        ended(writer.tell()).await;
    });
    taken.unwrap();
    let read = B::texts(B::on(&mut connection), SELECT).await.unwrap();
    B::raw(B::on(&mut connection), "ROLLBACK").await.unwrap();
    let open = B::open_lock(&B::lock_name("k"));
    B::raw(B::on(&mut connection), &open).await.unwrap();
    read.into_iter().next().expect("one row")
}

case! {
    stale_by_hand on postgres, mysql;
    "the evil: a lock taken by hand inside a transaction that keeps its snapshot reads stale";
    async fn<B>(bed) {
        if B::LABEL == "postgres" {
            // Asking for the lock is the first statement, and takes the snapshot.
            assert_eq!(read_plainly(bed, "begin isolation level repeatable read", false).await, "old");
            assert_eq!(read_plainly(bed, "begin isolation level serializable", true).await, "old");
            assert_eq!(read_plainly(bed, "begin isolation level read committed", true).await, "new");
        } else {
            assert_eq!(read_plainly(bed, "start transaction", true).await, "old");
            assert_eq!(read_plainly(bed, "start transaction", false).await, "new");
        }
    }
}
