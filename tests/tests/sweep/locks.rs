//! The holder of a lock is dropped while another waits for the lock.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tx_runtime::{Db, Error, Propagation, TransactionOptions};
use tx_tests::{Backend, case, poll_n};

use crate::commit::dropped_at;
use crate::statements::Bound;
use crate::subject::{PATIENCE, Start, Subject};
use crate::tally::{Course, Tally, Way, fault, report, together};
use crate::work::Form;

/// Ample time for the next holder to do harm, if the lock lets it in too early.
const HARM: Duration = Duration::from_millis(500);

/// How the work under a lock has its transaction.
#[derive(Clone, Copy, Debug)]
enum Under {
    /// Its own, inside the lock.
    Isolated,
    /// That of its caller, outside the lock.
    Joined,
}

/// Inserts a row named `name` unless there is one; gives how many there were.
///
/// Right only if nobody else gets the lock before this has ended, COMMIT included.
async fn find_or_insert<B: Backend>(
    under: Under,
    db: &Db<B>,
    name: &str,
    id: i64,
) -> Result<i64, Error> {
    let within = match under {
        Under::Isolated => TransactionOptions::new().propagation(Propagation::Isolated),
        Under::Joined => TransactionOptions::new().propagation(Propagation::Mandatory),
    };
    let locked = async || {
        db.locked(name, async || {
            let work = db.transaction_with(within, async || {
                Ok::<_, Error>(insert_missing::<B>(db, name, id).await?)
            });
            work.await
        })
        .await
    };
    match under {
        Under::Isolated => locked().await,
        Under::Joined => db.transaction(locked).await,
    }
}

async fn insert_missing<B: Backend>(db: &Db<B>, name: &str, id: i64) -> Result<i64, sqlx::Error> {
    let found = B::int(db, &named(name, "count(*)")).await?;
    if found == 0 {
        B::exec(db, &insert_named(name, id)).await?;
    }
    Ok(found)
}

fn named(name: &str, what: &str) -> String {
    format!("select {what} from t where v = '{name}'")
}

fn insert_named(name: &str, id: i64) -> String {
    format!("insert into t (id, v) values ({id}, '{name}')")
}

/// Drops the holder of a lock at every await point, while another waits for the lock.
async fn sweep<B: Bound>(under: Under, course: Course) -> Option<Tally> {
    let Course { start, lane, shape } = course;
    // Enough connections that only the lock can keep the second back.
    let mut subject = Subject::<B>::new(shape, 3).await?;
    let mut tally = Tally::default();
    for (n, id) in lane.points() {
        if start == Start::Cold {
            subject.renew(true).await;
        }
        let db = &subject.bed.db;
        let name = format!("name {n}");
        let (first, _) = poll_n(find_or_insert(under, db, &name, id), n).await;
        let done = first.is_some();
        let second = timeout(PATIENCE, find_or_insert(under, db, &name, id + 1)).await;
        let mut found: Vec<_> = subject.aftermath(Form::Closures, id).await.into();
        let rows = subject.bed.control_ints(&named(&name, "id")).await;
        // What the second read stays true: the row it found, or that there was none.
        found.push(match &second {
            Ok(Ok(0)) if !done && rows == [id + 1] => Ok(()),
            Ok(Ok(1)) if rows == [id] => Ok(()),
            _ => fault(format!(
                "the second holder read {second:?}, stored are {rows:?}"
            )),
        });
        tally.committed += usize::from(!done && rows == [id]);
        tally.judge(
            format_args!("{} {under:?} {start:?} n = {n}", B::LABEL),
            found,
        );
        if done || tally.is_hopeless() {
            return Some(tally);
        }
    }
    panic!("{under:?}: the work never ends");
}

/// Sweeps over every way to have a transaction under a lock.
pub(crate) async fn all<B: Bound>(way: Way) {
    let started = Instant::now();
    let mut sweeps = Vec::new();
    for under in [Under::Isolated, Under::Joined] {
        for course in way.courses(true) {
            sweeps.push((true, sweep::<B>(under, course).boxed_local()));
        }
    }
    if let Some([ours, none]) = together(sweeps).await {
        report::<B>(&format!("locks, {}", way.label), &ours, &none, started);
    }
}

/// [`find_or_insert`] as it would be written without this crate.
async fn find_or_insert_plainly<B: Backend>(
    lock: &Mutex<()>,
    db: &Db<B>,
    name: &str,
    id: i64,
) -> Result<i64, sqlx::Error> {
    let _held = lock.lock().await;
    let mut transaction = db.pool().begin().await?;
    let found = B::int(B::on(&mut transaction), &named(name, "count(*)")).await?;
    if found == 0 {
        B::exec(B::on(&mut transaction), &insert_named(name, id)).await?;
    }
    transaction.commit().await?;
    Ok(found)
}

case! {
    lock_of_a_dropped_holder on postgres, mysql;
    "the lock of a dropped holder stays shut until its COMMIT is answered";
    async fn<B>(bed, proxy) {
        let stored = async |name: &str| bed.control_ints(&named(name, "id")).await;
        // The evil: the guard goes with the future, COMMIT does not.
        let lock = Mutex::new(());
        let trap = proxy.hold_before("COMMIT");
        dropped_at(&trap, find_or_insert_plainly(&lock, &bed.db, "plain", 1)).await;
        let second = find_or_insert_plainly(&lock, &bed.db, "plain", 2).await;
        assert_eq!(second.unwrap(), 0, "it reads what is about to change");
        trap.release();
        bed.assert_clean().await;
        assert_eq!(stored("plain").await, [1, 2], "two rows of one name");

        for (id, name, under) in [(11, "isolated", Under::Isolated), (21, "joined", Under::Joined)] {
            let trap = proxy.hold_before("COMMIT");
            dropped_at(&trap, find_or_insert(under, &bed.db, name, id)).await;
            let mut second = pin!(find_or_insert(under, &bed.db, name, id + 1));
            assert!(timeout(HARM, &mut second).await.is_err(), "the lock is open");
            trap.release();
            assert_eq!(second.await.unwrap(), 1);
            assert_eq!(stored(name).await, [id]);
        }
    }
}
