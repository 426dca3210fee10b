//! Many writers at once, and what recording costs.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tx_runtime::{Author, Error, Isolation, TransactionOptions};
use tx_tests::{Backend, Bed, case};

use crate::stage::{APPLICANT, applicants, audit, audited, bare, by, change, newest};

/// Shows a line past the capture of the test runner: the numbers are half the purpose.
fn show(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// For thousands of commits on a slow disk that others use too.
const PATIENCE: Duration = Duration::from_mins(10);

const WRITERS: i64 = 8;
const TRANSACTIONS: i64 = 500;

/// Rows of all writers, each of which is also changed by the others.
const SHARED: i64 = 8;

async fn one_change<B: Backend>(bed: &Bed<B>, writer: i64, number: i64) -> Result<(), Error> {
    let own = 1000 + writer * TRANSACTIONS + number;
    let author = Author::new(format!("writer {writer}")).reason(number);
    let scope = bed
        .db
        .transaction_with(TransactionOptions::new().history(author), async || {
            B::exec(
                &bed.db,
                &format!("insert into applicant values ({own}, 'a', 0)"),
            )
            .await?;
            B::exec(
                &bed.db,
                &format!("update applicant set grade = {number} where id = {own}"),
            )
            .await?;
            let shared = (writer + number) % SHARED;
            B::exec(
                &bed.db,
                &format!("update applicant set grade = grade + 1 where id = {shared}"),
            )
            .await?;
            if number % 5 == 0 {
                B::exec(&bed.db, &format!("delete from applicant where id = {own}")).await?;
            }
            Ok(())
        });
    scope.await
}

/// Eight writers of 500 audited transactions each: no deadlock, and every change recorded once, in
/// the order of its row.
async fn eight_writers<B: Backend>() {
    let bed = audited::<B>(8, APPLICANT, &["applicant"]).await;
    let Some(bed) = bed.map(Arc::new) else { return };
    timeout(PATIENCE, write_and_count(&bed))
        .await
        .expect("they come to an end");
    bed.assert_clean().await;
}

async fn write_and_count<B: Backend>(bed: &Arc<Bed<B>>) {
    let rows: Vec<String> = (0..SHARED)
        .map(|id| format!("({id}, 'shared', 0)"))
        .collect();
    let insert = format!("insert into applicant values {}", rows.join(", "));
    change(bed, &[&insert]).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let bed = Arc::clone(bed);
        tokio::spawn(async move {
            let mut failed = Vec::new();
            for number in 0..TRANSACTIONS {
                if let Err(error) = one_change(&bed, writer, number).await {
                    failed.push(error.to_string());
                }
            }
            failed
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut failed = Vec::new();
    for writer in writers {
        failed.extend(writer.await.expect("a writer does not panic"));
    }
    show(&format!(
        "history: {} audited transactions of {WRITERS} writers on {}: {} failed",
        WRITERS * TRANSACTIONS,
        B::LABEL,
        failed.len()
    ));
    assert!(
        failed.is_empty(),
        "{}: {} of them, {:?}",
        B::LABEL,
        failed.len(),
        failed.first()
    );
    assert_eq!(
        bed.control_ints("select count(*) from tx_revision").await,
        [1 + WRITERS * TRANSACTIONS]
    );
    let inserted = WRITERS * (TRANSACTIONS - TRANSACTIONS / 5);
    assert_eq!(
        bed.control_ints("select count(*) from applicant_history where id >= 1000 and revtype = 0")
            .await,
        [inserted]
    );
    assert_eq!(
        bed.control_ints(
            "select count(*) from applicant_history where id >= 1000 and revtype <> 0"
        )
        .await,
        [0]
    );
    for id in 0..SHARED {
        // Each change of the row added one, so in their true order the grades count up.
        let grades = bed
            .control_ints(&format!(
                "select grade from applicant_history where id = {id} order by revseq"
            ))
            .await;
        let expected: Vec<i64> = (0..=WRITERS * TRANSACTIONS / SHARED).collect();
        assert_eq!(grades, expected, "{}: row {id}", B::LABEL);
    }
}

/// No cases, whose time is for work that waits for no disk: a server stores each of the 4,000.
mod eight_writers_on {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sqlite() {
        super::eight_writers::<sqlx::Sqlite>().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn postgres() {
        super::eight_writers::<sqlx::Postgres>().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn mysql() {
        super::eight_writers::<sqlx::MySql>().await;
    }
}

case! {
    order on postgres, mysql;
    bed = applicants::<B>();
    "a revision that began first and wrote a row last is the later one of the row";
    async fn<B>(bed) {
        change(bed, &["insert into applicant values (1, 'a', 0), (2, 'b', 0)"]).await.unwrap();
        let first = bed.db.begin_with(by("first").isolation(Isolation::ReadCommitted)).await.unwrap();
        B::exec(&first, "update applicant set grade = 1 where id = 2").await.unwrap();
        change(bed, &["update applicant set grade = 1000 where id = 1"]).await.unwrap();
        B::exec(&first, "update applicant set grade = 2000 where id = 1").await.unwrap();
        first.commit().await.unwrap();
        let by_rev = "select grade from applicant_history where id = 1 order by rev desc limit 1";
        assert_eq!(bed.control_ints(by_rev).await, [1000], "revision numbers are not the order");
        let by_seq = "select grade from applicant_history where id = 1 order by revseq desc limit 1";
        assert_eq!(bed.control_ints(by_seq).await, [2000]);
    }
}

case! {
    another_program on postgres, mysql;
    bed = applicants::<B>();
    "other programs name themselves with the SQL of the database";
    async fn<B>(bed) {
        let sql = if B::LABEL == "postgres" {
            "begin; set local tx_runtime.actor = 'cron'; insert into applicant values (1, 'a', 1); commit"
        } else {
            "set @tx_author = 1, @tx_actor = 'cron'; start transaction; insert into applicant values (1, 'a', 1); commit;
             set @tx_author = null, @tx_actor = null, @tx_revision = null"
        };
        bed.control_raw(sql).await;
        assert_eq!(bed.control_texts("select actor from tx_revision").await, ["cron"]);
        assert_eq!(newest(bed).await, 1);
    }
}

const ROWS: i64 = 20_000;

/// The time of an update of all rows.
async fn bulk<B: Backend>(bed: &Bed<B>) -> Duration {
    let scope = bed.db.transaction_with(by("bulk"), async || {
        let started = Instant::now();
        B::exec(&bed.db, "update applicant set grade = grade + 1").await?;
        Ok::<_, Error>(started.elapsed())
    });
    scope.await.expect("it updates")
}

async fn fill<B: Backend>(bed: &Bed<B>) {
    let rows: Vec<String> = (0..ROWS)
        .map(|id| format!("({id}, 'somebody', 1)"))
        .collect();
    for some in rows.chunks(1000) {
        bed.control_raw(&format!("insert into applicant values {}", some.join(", ")))
            .await;
    }
}

case! {
    bulk_update on sqlite, postgres, mysql;
    bed = bare::<B>(2, &format!("{APPLICANT}; create table other (id int not null primary key)"));
    "an update of 20,000 rows, with and without a history: the numbers of the README";
    async fn<B>(bed) {
        fill(bed).await;
        // So that there is somebody to be for the plain runs as well.
        audit(bed, &["other"]).await;
        let mut plain = Vec::new();
        for _ in 0..3 {
            plain.push(bulk(bed).await);
        }
        audit(bed, &["applicant"]).await;
        // Plans made for a single row are kept, and must do for thousands.
        for _ in 0..8 {
            change(bed, &["update applicant set grade = grade + 1 where id = 7"]).await.unwrap();
        }
        let mut recorded = Vec::new();
        for _ in 0..3 {
            recorded.push(bulk(bed).await);
        }
        let (plain, recorded) = (plain.iter().min().unwrap(), recorded.iter().min().unwrap());
        show(&format!(
            "history: update of {ROWS} rows on {}: {:.0?} without, {:.0?} with, {:.1} times",
            B::LABEL,
            plain,
            recorded,
            recorded.as_secs_f64() / plain.as_secs_f64()
        ));
        let last = format!("select count(*) from applicant_history where rev = {}", newest(bed).await);
        assert_eq!(bed.control_ints(&last).await, [ROWS]);
    }
}
