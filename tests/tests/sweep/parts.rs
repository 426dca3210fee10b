//! A part of a transaction is dropped; the transaction goes on and commits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::FutureExt as _;
use sqlx::Connection as _;
use tokio::time::timeout;
use tx_runtime::{Db, Error, transactional};
use tx_tests::poll_n;

use crate::statements::Bound;
use crate::subject::{PLAIN_PATIENCE, Subject};
use crate::tally::{Course, Found, Tally, Way, Wrong, fault, report, together};
use crate::work::Form;

/// What of a transaction is dropped while the rest goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A function under a savepoint.
    Nested,
    /// A function that joined the transaction.
    Participant,
    /// One statement that changes something, and one that asks.
    Insert,
    Select,
    /// The same without the participant, which sqlx does not know, with sqlx alone.
    PlainNested,
    PlainInsert,
    PlainSelect,
}

impl Part {
    fn form(self) -> Form {
        match self {
            Self::PlainNested | Self::PlainInsert | Self::PlainSelect => Form::Plain,
            _ => Form::Closures,
        }
    }
}

/// What the transaction around a part saw of it.
#[derive(Default)]
struct Seen {
    /// The part was not dropped.
    done: bool,
    /// The part's body had returned; what was left to do is its RELEASE.
    returned: AtomicBool,
    /// The part's first row, when asked for afterwards, is there.
    row: bool,
}

/// Two rows with a question in between.
#[transactional(propagation = Nested)]
async fn nested_part<B: Bound>(db: &Db<B>, id: i64, returned: &AtomicBool) -> Result<(), Error> {
    part(db, id).await?;
    returned.store(true, Ordering::Relaxed);
    Ok(())
}

#[transactional]
async fn joined_part<B: Bound>(db: &Db<B>, id: i64) -> Result<(), Error> {
    Ok(part(db, id).await?)
}

async fn part<B: Bound>(db: &Db<B>, id: i64) -> Result<(), sqlx::Error> {
    B::put(db, id).await?;
    B::echo(db, id).await?;
    B::put(db, id + 1).await?;
    Ok(())
}

/// What comes after the part: each statement must get its own answer.
macro_rules! go_on {
    ($db:ty, $executor:expr, $id:expr, $seen:expr) => {{
        <$db>::put($executor, $id + 3).await?;
        $seen.row = <$db>::count($executor, $id + 1).await? == 1;
        let (own, last) = (
            <$db>::count($executor, $id).await?,
            <$db>::count($executor, $id + 3).await?,
        );
        let echo = <$db>::echo($executor, $id + 7).await?;
        if (own, last, echo) != (1, 1, $id + 7) {
            let wrong = format!("rows {own} and {last}, {echo} for {}", $id + 7);
            return Err(sqlx::Error::Protocol(wrong).into());
        }
    }};
}

/// Polls a part `n` times at most; gives whether it was done by then.
async fn up_to<T, E>(n: usize, part: impl Future<Output = Result<T, E>>) -> Result<bool, E> {
    let (output, _) = poll_n(part, n).await;
    Ok(output.transpose()?.is_some())
}

async fn around<B: Bound>(
    part: Part,
    db: &Db<B>,
    id: i64,
    n: usize,
    seen: &mut Seen,
) -> Result<(), Error> {
    db.transaction(async || {
        B::put(db, id).await?;
        seen.done = match part {
            Part::Nested => up_to(n, nested_part(db, id + 1, &seen.returned)).await?,
            Part::Participant => up_to(n, joined_part(db, id + 1)).await?,
            Part::Insert => up_to(n, B::put(db, id + 1)).await?,
            _ => up_to(n, B::echo(db, id + 1)).await?,
        };
        if part == Part::Participant && !seen.done {
            // The transaction is doomed. That its owner does not care must not help it.
            return match B::put(db, id + 3).await.map_err(Error::from) {
                Err(Error::Doomed { .. }) => Ok(()),
                other => Err(sqlx::Error::Protocol(format!("not refused: {other:?}")).into()),
            };
        }
        go_on!(B, db, id, seen);
        Ok(())
    })
    .await
}

async fn plainly_around<B: Bound>(
    part: Part,
    db: &Db<B>,
    id: i64,
    n: usize,
    seen: &mut Seen,
) -> Result<(), Error> {
    let mut outer = db.pool().begin().await?;
    B::put(B::on(&mut outer), id).await?;
    seen.done = match part {
        Part::PlainNested => {
            let nested = async {
                let mut inner = outer.begin().await?;
                B::put(B::on(&mut inner), id + 1).await?;
                B::echo(B::on(&mut inner), id + 1).await?;
                B::put(B::on(&mut inner), id + 2).await?;
                seen.returned.store(true, Ordering::Relaxed);
                inner.commit().await
            };
            up_to(n, nested).await?
        }
        Part::PlainInsert => up_to(n, B::put(B::on(&mut outer), id + 1)).await?,
        _ => up_to(n, B::echo(B::on(&mut outer), id + 1)).await?,
    };
    go_on!(B, B::on(&mut outer), id, seen);
    Ok(outer.commit().await?)
}

/// What must be stored in the end, and how the transaction must end.
fn judge(part: Part, id: i64, seen: &Seen, result: &Result<(), Error>, rows: &[i64]) -> Found {
    let doomed = part == Part::Participant && !seen.done;
    let expected = match part {
        Part::Participant if doomed => Vec::new(),
        Part::Nested | Part::PlainNested | Part::Participant if seen.done => {
            (id..=id + 3).collect()
        }
        // It may have reached the server or not; what was seen of it is what is stored.
        Part::Insert | Part::PlainInsert if seen.row => vec![id, id + 1, id + 3],
        _ => vec![id, id + 3],
    };
    let ended = match result {
        Ok(()) => !doomed,
        Err(Error::UnexpectedRollback { .. }) => doomed,
        Err(_) => false,
    };
    if rows == expected && ended {
        return Ok(());
    }
    let in_its_release = !seen.done && seen.returned.load(Ordering::Relaxed);
    // As with COMMIT, a RELEASE that was sent counts, but then with all of the part's rows.
    let all: Vec<_> = (id..=id + 3).collect();
    if part == Part::Nested && in_its_release && result.is_ok() && rows == all {
        return Ok(());
    }
    let step = if in_its_release {
        " (dropped in its RELEASE)"
    } else {
        ""
    };
    fault(format!(
        "stored {rows:?} instead of {expected:?}{step}, the transaction said {result:?}"
    ))
}

/// Drops a part of a transaction at each of its await points.
async fn sweep<B: Bound>(part: Part, course: Course) -> Option<Tally> {
    let Course { start, lane, shape } = course;
    let mut subject = Subject::<B>::new(shape, 1).await?;
    let mut tally = Tally::default();
    for (n, id) in lane.points() {
        let form = part.form();
        subject.prepare(start, form, id + 5).await;
        let mut seen = Seen::default();
        let result = if form == Form::Plain {
            let around = plainly_around(part, &subject.bed.db, id, n, &mut seen);
            timeout(PLAIN_PATIENCE, around).await.ok()
        } else {
            Some(around(part, &subject.bed.db, id, n, &mut seen).await)
        };
        let mut found: Vec<_> = subject.aftermath(form, id).await.into();
        let rows = subject.stored(&[id, id + 1, id + 2, id + 3]).await;
        tally.committed += usize::from(!seen.done && rows.len() > 2);
        found.push(match result {
            Some(result) => judge(part, id, &seen, &result, &rows),
            None => Err(Wrong::Hang("the transaction does not end")),
        });
        if tally.judge(
            format_args!("{} {part:?} {start:?} n = {n}", B::LABEL),
            found,
        ) {
            subject.renew(true).await;
        }
        if seen.done || tally.is_hopeless() {
            return Some(tally);
        }
    }
    panic!("{part:?}, {start:?}: the part never ends");
}

/// Sweeps over a savepoint's scope.
pub(crate) async fn nested<B: Bound>(way: Way) {
    sweep_all::<B>("nested", &[Part::Nested, Part::PlainNested], way).await;
}

/// Sweeps over what else a transaction is made of.
pub(crate) async fn others<B: Bound>(way: Way) {
    let parts = [
        Part::Participant,
        Part::Insert,
        Part::Select,
        Part::PlainInsert,
        Part::PlainSelect,
    ];
    sweep_all::<B>("parts", &parts, way).await;
}

async fn sweep_all<B: Bound>(label: &str, parts: &[Part], way: Way) {
    let started = Instant::now();
    let mut sweeps = Vec::new();
    for &part in parts {
        let ours = part.form() != Form::Plain;
        for course in way.courses(ours) {
            sweeps.push((ours, sweep::<B>(part, course).boxed_local()));
        }
    }
    let Some([ours, plain]) = together(sweeps).await else {
        return;
    };
    report::<B>(&format!("{label}, {}", way.label), &ours, &plain, started);
    // A dropped savepoint breaks plain sqlx everywhere, a dropped statement only on MySQL,
    // where the connection then waits for an answer that never comes.
    match B::LABEL {
        "sqlite" => {}
        _ if parts.contains(&Part::PlainNested) => {
            assert!(plain.faults() > 0, "the sweep does not bite");
        }
        "mysql" => assert!(!plain.violations.is_empty(), "the sweep does not bite"),
        _ => {}
    }
}
