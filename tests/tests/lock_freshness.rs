//! What is read under a lock is not older than the lock, or it is refused.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::poll;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tx_runtime::{Error, Isolation, LocalLocks, Lock, Propagation, TransactionOptions};
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
