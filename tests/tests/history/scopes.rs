//! Whose changes they are, and what goes with a rollback.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tx_runtime::{
    Author, Db, Error, Isolation, LocalLocks, Lock, Outcome, Propagation, Retry,
    TransactionOptions, transactional,
};
use tx_tests::{Backend, Bed, Shape, case, pending_once};

use crate::stage::{APPLICANT, applicants, audit, audited, bare, by, change, changes, newest};

const INSERT: &str = "insert into applicant values (1, 'a', 1)";
const UPDATE: &str = "update applicant set grade = grade + 1";

async fn exec<B: Backend>(db: &Db<B>, sql: &str) -> Result<(), Error> {
    Ok(B::exec(db, sql).await.map(drop)?)
}

/// Who has made each revision, and why: `actor|reason`.
async fn authors<B: Backend>(bed: &Bed<B>) -> Vec<String> {
    bed.control_texts(
        "select concat(coalesce(actor, '-'), '|', coalesce(reason, '-')) from tx_revision order by rev",
    )
    .await
}

case! {
    author on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a revision has actor, reason and the time of the first change";
    async fn<B>(bed) {
        let signed_up = TransactionOptions::new().history(Author::new(17).reason("signed up"));
        bed.db
            .transaction_with(signed_up, async || {
                exec(&bed.db, INSERT).await?;
                exec(&bed.db, UPDATE).await
            })
            .await
            .unwrap();
        assert_eq!(authors(bed).await, ["17|signed up"]);
        let age = match B::LABEL {
            "postgres" => "select floor(extract(epoch from clock_timestamp() - at))::bigint from tx_revision",
            "mysql" => "select timestampdiff(second, at, utc_timestamp()) from tx_revision",
            _ => "select cast((julianday('now') - julianday(at)) * 86400 as integer) from tx_revision",
        };
        let age = bed.control_ints(age).await[0];
        assert!((0..60).contains(&age), "{}: {age} s", B::LABEL);
    }
}

/// A function under the attribute.
#[transactional(history(actor = user, reason = format!("grade {grade}")))]
async fn regrade<B: Backend>(db: &Db<B>, user: &str, grade: i64) -> Result<Option<i64>, Error> {
    exec(db, &format!("update applicant set grade = {grade}")).await?;
    db.revision().await
}

case! {
    attribute on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "the attribute's author is that of the revision, also where it is joined";
    async fn<B>(bed) {
        change(bed, &[INSERT]).await.unwrap();
        let revision = regrade(&bed.db, "ann", 5).await.unwrap();
        assert_eq!(revision, Some(newest(bed).await));
        let outer = TransactionOptions::new().history(Author::new("ann").reason("grade 6"));
        bed.db
            .transaction_with(outer, async || regrade(&bed.db, "ann", 6).await)
            .await
            .unwrap();
        assert_eq!(authors(bed).await, ["somebody|-", "ann|grade 5", "ann|grade 6"]);
    }
}

/// Texts that are nothing but data.
fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        "'",
        "''",
        "\\",
        "\\'",
        "\\\\'; drop table applicant; -- ",
        "'); drop table applicant; -- ",
        "\"`$$ $tx_runtime$ %s {} \u{7f}\u{1b}[0m",
        "\r\n\t /* */ # -- ;",
        "söme ünïcode, 漢字, \u{1f600}, \u{202e}",
        " ",
    ]
    .map(str::to_owned)
    .into();
    texts.push("x'\\\"".repeat(1 << 18));
    texts
}

case! {
    hostile_texts on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "actor and reason are stored as they are, quotes, backslashes, and a megabyte of them";
    async fn<B>(bed) {
        change(bed, &[INSERT]).await.unwrap();
        for text in hostile() {
            let author = Author::new(&text).reason(&text);
            bed.db
                .transaction_with(TransactionOptions::new().history(author), async || exec(&bed.db, UPDATE).await)
                .await
                .unwrap();
            let stored = bed
                .control_texts("select actor from tx_revision where actor = reason order by rev desc limit 1")
                .await;
            assert!(stored == [text.as_str()], "{}: {:.40}", B::LABEL, text);
        }
        assert_eq!(bed.control_ints("select count(*) from applicant").await, [1]);
    }
}

case! {
    unfit_texts on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "NUL is refused on all databases alike, before anything begins; an empty text is none";
    async fn<B>(bed) {
        for (author, wrong) in [
            (Author::new("a\0b"), "actor"),
            (Author::new("a").reason("\0"), "reason"),
        ] {
            let refused = bed
                .db
                .transaction_with(TransactionOptions::new().history(author), async || exec(&bed.db, INSERT).await)
                .await
                .unwrap_err();
            assert!(matches!(&refused, Error::HistoryText { part, .. } if *part == wrong), "{refused}");
            assert_eq!(refused.outcome(), Outcome::NotStarted);
        }
        let empty = TransactionOptions::new().history(Author::new("").reason(""));
        bed.db.transaction_with(empty, async || exec(&bed.db, INSERT).await).await.unwrap();
        assert_eq!(authors(bed).await, ["-|-"]);
    }
}

case! {
    rollback on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a revision goes with its transaction";
    async fn<B>(bed) {
        let failed = bed.db.transaction_with(by("ann"), async || {
            exec(&bed.db, INSERT).await?;
            assert!(bed.db.revision().await?.is_some());
            Err::<(), _>(Error::from(sqlx::Error::RowNotFound))
        });
        failed.await.unwrap_err();
        assert!(authors(bed).await.is_empty() && changes(bed, 0).await.is_empty());
        change(bed, &[INSERT]).await.unwrap();
        assert_eq!(authors(bed).await, ["somebody|-"]);
    }
}

case! {
    savepoints on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a revision goes with the savepoint that made it, and one from before the savepoint stays";
    async fn<B>(bed) {
        let undone = async |sql: &str| {
            let nested = bed.db.savepoint(async || {
                exec(&bed.db, sql).await?;
                assert!(bed.db.revision().await?.is_some());
                Err::<(), _>(Error::from(sqlx::Error::RowNotFound))
            });
            nested.await.unwrap_err();
        };
        bed.db
            .transaction_with(by("ann"), async || {
                undone(INSERT).await;
                assert_eq!(bed.db.revision().await?, None, "{}", B::LABEL);
                exec(&bed.db, "insert into applicant values (2, 'b', 1)").await?;
                let revision = bed.db.revision().await?;
                undone("insert into applicant values (3, 'c', 1)").await;
                assert_eq!(bed.db.revision().await?, revision);
                bed.db
                    .savepoint(async || exec(&bed.db, "insert into applicant values (4, 'd', 1)").await)
                    .await?;
                assert_eq!(bed.db.revision().await?, revision);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(authors(bed).await, ["ann|-"]);
        assert_eq!(changes(bed, 0).await, ["2:0:b", "4:0:d"]);
    }
}

case! {
    revision_number on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "the number is there from the first change on, and outside of a transaction there is none";
    async fn<B>(bed) {
        assert!(matches!(bed.db.revision().await, Err(Error::NoTransaction { .. })));
        let seen = bed.db.transaction_with(by("ann"), async || {
            assert_eq!(bed.db.revision().await?, None);
            B::int(&bed.db, "select count(*) from applicant").await?;
            assert_eq!(bed.db.revision().await?, None);
            exec(&bed.db, INSERT).await?;
            let first = bed.db.revision().await?;
            exec(&bed.db, UPDATE).await?;
            assert_eq!(bed.db.revision().await?, first);
            Ok::<_, Error>(first)
        });
        assert_eq!(seen.await.unwrap(), Some(newest(bed).await));
        let unaudited = bed.db.transaction(async || {
            B::int(&bed.db, "select count(*) from applicant").await?;
            bed.db.revision().await
        });
        assert_eq!(unaudited.await.unwrap(), None);
    }
}

case! {
    joining on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "who joins a transaction of another author is refused; without an author one has the transaction's";
    async fn<B>(bed) {
        let asks = |actor: &str| TransactionOptions::new().history(Author::new(actor));
        let why = |actor: &str, reason: &str| TransactionOptions::new().history(Author::new(actor).reason(reason));
        let nested = by("ben").propagation(Propagation::Nested);
        let refused = [asks("ben"), why("ann", "another"), nested];
        let admitted = [asks("ann"), why("ann", "grading"), TransactionOptions::new()];
        change(bed, &[INSERT]).await.unwrap();
        for options in refused {
            let outer = bed.db.transaction_with(why("ann", "grading"), async || {
                let inner = bed.db.transaction_with(options.clone(), async || exec(&bed.db, UPDATE).await);
                let error = inner.await.unwrap_err();
                assert!(matches!(error, Error::HistoryMismatch { .. }), "{error}");
                assert_eq!(error.outcome(), Outcome::NotStarted);
                exec(&bed.db, UPDATE).await
            });
            outer.await.unwrap();
        }
        for options in admitted {
            let outer = bed.db.transaction_with(why("ann", "grading"), async || {
                bed.db.transaction_with(options.clone(), async || exec(&bed.db, UPDATE).await).await
            });
            outer.await.unwrap();
        }
        assert_eq!(authors(bed).await[1..], ["ann|grading"; 6]);
        let nobody = bed.db.transaction(async || {
            bed.db.transaction_with(asks("ann"), async || exec(&bed.db, UPDATE).await).await
        });
        let error = nobody.await.unwrap_err();
        assert!(error.to_string().contains("nobody"), "{error}");
    }
}

case! {
    requires_new on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a transaction inside an audited one has a revision of its own, and its author unless it names one";
    async fn<B>(bed) {
        change(bed, &[INSERT]).await.unwrap();
        let new = TransactionOptions::new().propagation(Propagation::RequiresNew);
        let outer = bed.db.transaction_with(by("ann"), async || {
            // SQLite has one writer, so they come before the outer's first statement.
            let mut revisions = Vec::new();
            for options in [new.clone(), new.clone().history(Author::new("ben"))] {
                let inner = bed.db.transaction_with(options, async || {
                    exec(&bed.db, UPDATE).await?;
                    bed.db.revision().await
                });
                revisions.push(inner.await?);
            }
            exec(&bed.db, UPDATE).await?;
            revisions.push(bed.db.revision().await?);
            Ok::<_, Error>(revisions)
        });
        let mut revisions = outer.await.unwrap();
        assert_eq!(authors(bed).await[1..], ["ann|-", "ben|-", "ann|-"]);
        revisions.dedup();
        assert_eq!(revisions.len(), 3, "{revisions:?}");
    }
}

/// A change that nobody is said to make.
async fn assert_strange<B: Backend>(bed: &Bed<B>, outcome: Result<(), Error>) {
    if B::LABEL == "postgres" {
        outcome.unwrap();
        let last = "select coalesce(actor, '-') from tx_revision order by rev desc limit 1";
        assert_eq!(bed.control_texts(last).await, ["-"]);
    } else {
        let error = outcome.unwrap_err().to_string();
        assert!(
            error.contains("applicant is audited") && error.contains("history(actor"),
            "{}: {error}",
            B::LABEL
        );
    }
}

case! {
    strangers on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a change outside of an audited scope is recorded without an actor, or refused where the server cannot tell transactions apart";
    async fn<B>(bed) {
        change(bed, &[INSERT]).await.unwrap();
        let plain = bed.db.transaction(async || exec(&bed.db, UPDATE).await).await;
        assert_strange(bed, plain).await;
        for sql in [UPDATE, "insert into applicant values (2, 'b', 1)", "delete from applicant"] {
            let raw = B::exec(B::pool(bed.db.pool()), sql).await;
            assert_strange(bed, raw.map(drop).map_err(Error::from)).await;
        }
        let left = bed.control_ints("select count(*) from applicant").await;
        assert_eq!(left, [i64::from(B::LABEL != "postgres")]);
    }
}

case! {
    nothing_stays on sqlite, postgres, mysql;
    bed = audited::<B>(1, APPLICANT, &["applicant"]);
    "the author is gone from the connection when the scope has ended, however it did";
    async fn<B>(bed) {
        change(bed, &[INSERT]).await.unwrap();
        let plain = async || bed.db.transaction(async || exec(&bed.db, UPDATE).await).await;
        assert_strange(bed, plain().await).await;

        let failed = bed.db.transaction_with(by("ann"), async || {
            exec(&bed.db, UPDATE).await?;
            Err::<(), _>(Error::from(sqlx::Error::RowNotFound))
        });
        failed.await.unwrap_err();
        assert_strange(bed, plain().await).await;

        let dropped = bed.db.transaction_with(by("ann"), async || {
            exec(&bed.db, UPDATE).await?;
            std::future::pending::<Result<(), Error>>().await
        });
        pending_until_begun(bed, dropped).await;
        bed.db.drain().await;
        assert_strange(bed, plain().await).await;

        let doomed = bed.db.transaction_with(by("ann"), async || {
            exec(&bed.db, UPDATE).await?;
            drop(exec(&bed.db, "select nonsense").await);
            Ok::<_, Error>(())
        });
        assert!(matches!(doomed.await, Err(Error::UnexpectedRollback { .. })));
        assert_strange(bed, plain().await).await;
    }
}

/// Polls a scope that never ends until it has a connection, then drops it.
async fn pending_until_begun<B: Backend>(
    bed: &Bed<B>,
    scope: impl Future<Output = Result<(), Error>>,
) {
    let mut scope = Box::pin(scope);
    for _ in 0..200 {
        if timeout(Duration::from_millis(5), scope.as_mut())
            .await
            .is_ok()
        {
            panic!("it never ends");
        }
        if bed.db.pool().num_idle() == 0 {
            break;
        }
    }
    pending_once().await;
}

case! {
    with_locks on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "author and lock travel with BEGIN, at every level";
    async fn<B>(bed) {
        change(bed, &[INSERT]).await.unwrap();
        let levels = [
            None,
            Some(Isolation::ReadCommitted),
            Some(Isolation::RepeatableRead),
            Some(Isolation::Serializable),
        ];
        for level in levels {
            for key in [None, Some("grading")] {
                let mut options = TransactionOptions::new().history(Author::new("ann").reason(format!("{level:?} {key:?}")));
                if let Some(level) = level {
                    options = options.isolation(level);
                }
                let body = async || exec(&bed.db, UPDATE).await;
                match key {
                    None => bed.db.transaction_with(options, body).await.unwrap(),
                    Some(key) => bed.db.transaction_with(options.lock(key), body).await.unwrap(),
                }
            }
        }
        assert_eq!(authors(bed).await.len(), 9);
        let local = LocalLocks::new();
        let locked = by("ann").lock(Lock::key("grading").on(&local));
        bed.db.transaction_with(locked, async || exec(&bed.db, UPDATE).await).await.unwrap();
        assert_eq!(authors(bed).await.len(), 10);
    }
}

case! {
    attempts on postgres, mysql;
    bed = applicants::<B>();
    "each attempt has the author, and only the last one a revision";
    async fn<B>(bed) {
        change(bed, &[INSERT]).await.unwrap();
        let mut attempt = 0;
        let retry = Retry::attempts(3).backoff(Duration::from_millis(1), Duration::from_millis(2));
        let outcome = bed.db.retrying(retry, by("ann"), || {
            attempt += 1;
            let fails = attempt < 3;
            async move {
                exec(&bed.db, UPDATE).await?;
                if fails {
                    exec(&bed.db, conflict::<B>()).await?;
                }
                Ok::<_, Error>(())
            }
        });
        outcome.await.unwrap();
        assert_eq!(attempt, 3);
        assert_eq!(authors(bed).await, ["somebody|-", "ann|-"]);
    }
}

/// Fails as a deadlock does.
fn conflict<B: Backend>() -> &'static str {
    if B::LABEL == "postgres" {
        "do $$ begin raise exception 'made up' using errcode = '40P01'; end $$"
    } else {
        "signal sqlstate '40001' set mysql_errno = 1213, message_text = 'made up'"
    }
}

case! {
    without_effect on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "an author where nothing can be changed, or where there is no transaction, is refused";
    async fn<B>(bed) {
        let reads = by("ann").read_only();
        let refused = bed.db.transaction_with(reads, async || Ok::<_, Error>(())).await.unwrap_err();
        assert!(matches!(refused, Error::HistoryOfReader { .. }), "{refused}");
        for propagation in [Propagation::NotSupported, Propagation::Supports, Propagation::Never] {
            let options = by("ann").propagation(propagation);
            let refused = bed.db.transaction_with(options, async || Ok::<_, Error>(())).await.unwrap_err();
            assert!(matches!(refused, Error::WithoutEffect { option: "history", .. }), "{refused}");
        }
    }
}

case! {
    explicit on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "an explicit transaction has an author as well";
    async fn<B>(bed) {
        let tx = bed.db.begin_with(by("ann")).await.unwrap();
        B::exec(&tx, INSERT).await.unwrap();
        tx.within(async || assert!(bed.db.revision().await.unwrap().is_some())).await;
        tx.commit().await.unwrap();
        let tx = bed.db.begin_with(by("ben")).await.unwrap();
        B::exec(&tx, UPDATE).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(authors(bed).await, ["ann|-"]);
    }
}

case! {
    missing_tables on sqlite;
    bed = bare::<B>(1, APPLICANT);
    "an author in a database that keeps none is an error that names the remedy";
    async fn<B>(bed) {
        let refused = change(bed, &[INSERT]).await.unwrap_err();
        assert!(matches!(refused, Error::NoHistoryTable { .. }), "{refused}");
        assert!(refused.to_string().contains("tx-history generate"), "{refused}");
        audit(bed, &["applicant"]).await;
        change(bed, &[INSERT]).await.unwrap();
    }
}

case! {
    round_trips on postgres, mysql;
    bed = Bed::<B>::proxied(1, Shape::WHOLE);
    "an author costs no round trip";
    async fn<B>(bed, proxy) {
        bed.control_raw(APPLICANT).await;
        audit(bed, &["applicant"]).await;
        let returned = async || {
            while bed.db.pool().num_idle() == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let mut counted = Vec::new();
        for options in [TransactionOptions::new(), by("ann")] {
            for round in 0..3 {
                if round == 2 {
                    proxy.clear();
                }
                let scope = bed.db.transaction_with(options.clone(), async || {
                    exec(&bed.db, "update t set v = 'x' where id = 1").await
                });
                scope.await.unwrap();
                returned().await;
            }
            counted.push(proxy.round_trips());
        }
        assert_eq!(counted[0], counted[1], "{}", B::LABEL);
    }
}
