//! What a history answers, with rows of the application's own types.

use std::time::{Duration, SystemTime};

use sqlx::FromRow;
use tx_runtime::history::{Change, ChangeKind, History};
use tx_runtime::{Author, Error, TransactionOptions};
use tx_tests::{Backend, Bed};

use crate::stage::{applicants, audited};

#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
struct Applicant {
    id: i64,
    name: Option<String>,
    grade: Option<i32>,
}

#[derive(FromRow)]
struct Membership {
    role: String,
}

fn applicant(id: i64, name: &str, grade: i32) -> Applicant {
    Applicant {
        id,
        name: Some(name.to_owned()),
        grade: Some(grade),
    }
}

fn why(actor: &str, reason: &str) -> TransactionOptions {
    TransactionOptions::new().history(Author::new(actor).reason(reason))
}

/// A pool on a database with a table of a composite key, and its history.
async fn memberships<B: Backend>() -> Option<Bed<B>> {
    let create = "create table membership (role varchar(20), account bigint not null, team varchar(20) not null, primary key (team, account))";
    audited(4, create, &["membership"]).await
}

/// The cases are the same for each database, and typed by its driver.
macro_rules! reading {
    ($($database:ident: $driver:ty),+) => {$(mod $database {
        use super::*;

        type Bed = tx_tests::Bed<$driver>;

        async fn story(bed: &Bed) {
            let steps: [(&str, &str, &[&str]); 4] = [
                ("ann", "signed up", &["insert into applicant values (1, 'Ann', 1), (2, 'Ben', 1)"]),
                ("ben", "graded", &["update applicant set grade = 2 where id = 1"]),
                ("eve", "left", &["delete from applicant where id = 2", "insert into applicant values (3, 'Eve', 3)"]),
                ("ann", "graded", &["update applicant set grade = 9"]),
            ];
            for (actor, reason, statements) in steps {
                let scope = bed.db.transaction_with(why(actor, reason), async || {
                    for sql in statements {
                        sqlx::query(*sql).execute(&bed.db).await?;
                    }
                    Ok::<_, Error>(())
                });
                scope.await.unwrap();
            }
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn at() {
            let Some(bed) = applicants().await else { return };
            let bed: &Bed = &bed;
            story(bed).await;
            let history = History::table("applicant").reader(&bed.db).await.unwrap();
            let at = async |revision| -> Vec<Applicant> {
                history.at(revision).fetch_all(bed.db.pool()).await.unwrap()
            };
            assert_eq!(at(0).await, []);
            assert_eq!(at(1).await, [applicant(1, "Ann", 1), applicant(2, "Ben", 1)]);
            assert_eq!(at(2).await, [applicant(1, "Ann", 2), applicant(2, "Ben", 1)]);
            assert_eq!(at(3).await, [applicant(1, "Ann", 2), applicant(3, "Eve", 3)]);
            assert_eq!(at(99).await, [applicant(1, "Ann", 9), applicant(3, "Eve", 9)]);
            let live: Vec<Applicant> = sqlx::query_as("select id, name, grade from applicant order by id")
                .fetch_all(bed.db.pool())
                .await
                .unwrap();
            assert_eq!(at(99).await, live);
            bed.assert_clean().await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn at_time() {
            let Some(bed) = applicants().await else { return };
            let bed: &Bed = &bed;
            story(bed).await;
            let history = History::table("applicant").reader(&bed.db).await.unwrap();
            let all: Vec<Change<Applicant>> = history.changes().fetch_all(bed.db.pool()).await.unwrap();
            let at = async |time| -> Vec<Applicant> {
                history.at_time(time).fetch_all(bed.db.pool()).await.unwrap()
            };
            let first = all.last().unwrap().at;
            assert_eq!(at(first - Duration::from_secs(1)).await, []);
            assert_eq!(at(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).await, []);
            assert_eq!(at(all[0].at + Duration::from_hours(1)).await.len(), 2);
            let day = Duration::from_hours(24);
            assert!(first > SystemTime::now() - day && first < SystemTime::now() + day);
            // The clock of SQLite may not have moved on between two revisions.
            let seen = at(first).await;
            assert!(seen.contains(&applicant(1, "Ann", 1)) || all.iter().filter(|c| c.at == first).count() > 2, "{seen:?}");
            bed.assert_clean().await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn changes_of() {
            let Some(bed) = applicants().await else { return };
            let bed: &Bed = &bed;
            story(bed).await;
            let history = History::table("applicant").reader(&bed.db).await.unwrap();
            let changes: Vec<Change<Applicant>> = history.changes_of(1_i64).fetch_all(bed.db.pool()).await.unwrap();
            let told: Vec<_> = changes
                .iter()
                .map(|c| (c.revision, c.kind, c.actor.as_deref().unwrap(), c.reason.as_deref().unwrap(), c.row.grade.unwrap()))
                .collect();
            assert_eq!(
                told,
                [
                    (1, ChangeKind::Insert, "ann", "signed up", 1),
                    (2, ChangeKind::Update, "ben", "graded", 2),
                    (4, ChangeKind::Update, "ann", "graded", 9),
                ]
            );
            assert!(changes.windows(2).all(|pair| pair[0].at <= pair[1].at));
            let ben: Vec<Change<Applicant>> = history.changes_of(2_i64).fetch_all(bed.db.pool()).await.unwrap();
            assert_eq!(ben[1].kind, ChangeKind::Delete);
            assert_eq!(ben[1].row, applicant(2, "Ben", 1));
            let third: Vec<Change<Applicant>> = history.changes_in(3).fetch_all(bed.db.pool()).await.unwrap();
            assert_eq!(third.iter().map(|c| c.row.id).collect::<Vec<_>>(), [2, 3]);
            let nobody: Vec<Applicant> = history.changes_of(77_i64).fetch_all(bed.db.pool()).await.unwrap();
            assert_eq!(nobody, []);
            bed.assert_clean().await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn in_scope() {
            let Some(bed) = applicants().await else { return };
            let bed: &Bed = &bed;
            story(bed).await;
            let history = History::table("applicant").reader(&bed.db).await.unwrap();
            let scope = bed.db.transaction_with(why("ann", "looking"), async || {
                sqlx::query("update applicant set name = 'Anne' where id = 1").execute(&bed.db).await?;
                let own = bed.db.revision().await?.expect("there is one");
                let changes: Vec<Change<Applicant>> = history.changes_in(own).fetch_all(&bed.db).await?;
                assert_eq!(changes.len(), 1);
                assert_eq!(changes[0].row.name.as_deref(), Some("Anne"));
                assert_eq!(changes[0].reason.as_deref(), Some("looking"));
                Err::<(), _>(Error::from(sqlx::Error::RowNotFound))
            });
            scope.await.unwrap_err();
            let last: Change<Applicant> = history.changes().fetch_one(bed.db.pool()).await.unwrap();
            assert_eq!(last.reason.as_deref(), Some("graded"));
            let outside: Result<Vec<Applicant>, _> = history.at(1).fetch_all(&bed.db).await;
            assert!(outside.is_err(), "a statement through the `Db` belongs to a scope");
            bed.assert_clean().await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn composite_key() {
            let Some(bed) = memberships().await else { return };
            let bed: &Bed = &bed;
            let scope = bed.db.transaction_with(why("ann", "x"), async || {
                sqlx::query("insert into membership values ('a', 1, 'x'), ('b', 2, 'x'), ('c', 1, 'y')").execute(&bed.db).await?;
                Ok::<_, Error>(())
            });
            scope.await.unwrap();
            let history = History::table("membership").reader(&bed.db).await.unwrap();
            let one: Vec<Change<Membership>> =
                history.changes_of("x").bind(2_i64).fetch_all(bed.db.pool()).await.unwrap();
            assert_eq!(one.len(), 1);
            assert_eq!(one[0].row.role, "b");
            bed.assert_clean().await;
        }
    })+};
}

reading!(sqlite: sqlx::Sqlite, postgres: sqlx::Postgres, mysql: sqlx::MySql);
