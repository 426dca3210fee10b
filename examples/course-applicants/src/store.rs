//! The statements on the table, for each database.

use std::ops::RangeInclusive;

use sqlx::database::HasStatementCache;
use sqlx::{AssertSqlSafe, Executor, Pool};
use tx_runtime::Dialect;
use tx_runtime::history::{Change, HistoryReader};

use crate::applicant::Applicant;

/// What the example asks of a database.
///
/// It is a trait because a generic function cannot bind a value before it is told, type by
/// type, that the database can take it; here each database is told once.
pub trait Store: Dialect + HasStatementCache {
    /// THE INCIDENT: a history table and its triggers, made by hand.
    const HAND_MADE: &'static str;

    /// Removes the tables of the applicants, whoever has made them.
    const REMOVE: &'static str;

    /// Removes what the histories of all tables share.
    const REMOVE_SHARED: &'static str;

    /// Runs any number of statements.
    fn script(pool: &Pool<Self>, sql: &str) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// One applicant.
    fn find<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        id: i64,
    ) -> impl Future<Output = sqlx::Result<Option<Applicant>>> + Send;

    /// Stores a new applicant.
    fn insert<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        applicant: &Applicant,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Gives the number of rows that there were: 1 or 0.
    fn set_status<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        id: i64,
        status: &str,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// Gives the number of rows that there were: 1 or 0.
    fn set_course<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        id: i64,
        course: &str,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// Gives the number of rows that there were: 1 or 0.
    fn delete<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        id: i64,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// All changes of one applicant, the oldest first.
    fn changes<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        history: &HistoryReader<Self>,
        id: i64,
    ) -> impl Future<Output = sqlx::Result<Vec<Change<Applicant>>>> + Send;

    /// How many revisions have changed one of several applicants.
    fn revisions_of(
        pool: &Pool<Self>,
        ids: &RangeInclusive<i64>,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send;
}

/// Implements [`Store`]: the calls are the same everywhere, only the SQL differs.
macro_rules! store {
    (
        $database:ty,
        incident: $file:literal,
        placeholders: [$first:literal, $second:literal, $third:literal, $fourth:literal],
        own_functions: $functions:literal,
        shared: $shared:literal $(,)?
    ) => {
        impl Store for $database {
            const HAND_MADE: &'static str = include_str!(concat!("../incident/", $file));

            const REMOVE: &'static str = concat!(
                "drop table if exists applicant_history; drop table if exists applicant; ",
                $functions
            );

            const REMOVE_SHARED: &'static str = $shared;

            async fn script(pool: &Pool<Self>, sql: &str) -> sqlx::Result<()> {
                let script = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
                script.execute(pool).await.map(drop)
            }

            async fn find<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                id: i64,
            ) -> sqlx::Result<Option<Applicant>> {
                sqlx::query_as(concat!("select * from applicant where id = ", $first))
                    .bind(id)
                    .fetch_optional(executor)
                    .await
            }

            async fn insert<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                applicant: &Applicant,
            ) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    "insert into applicant (id, name, course, status) values (",
                    $first,
                    ", ",
                    $second,
                    ", ",
                    $third,
                    ", ",
                    $fourth,
                    ")"
                ))
                .bind(applicant.id)
                .bind(&applicant.name)
                .bind(&applicant.course)
                .bind(&applicant.status)
                .execute(executor)
                .await
                .map(drop)
            }

            async fn set_status<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                id: i64,
                status: &str,
            ) -> sqlx::Result<u64> {
                let update = sqlx::query(concat!(
                    "update applicant set status = ",
                    $first,
                    " where id = ",
                    $second
                ));
                let done = update.bind(status).bind(id).execute(executor).await?;
                Ok(done.rows_affected())
            }

            async fn set_course<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                id: i64,
                course: &str,
            ) -> sqlx::Result<u64> {
                let update = sqlx::query(concat!(
                    "update applicant set course = ",
                    $first,
                    " where id = ",
                    $second
                ));
                let done = update.bind(course).bind(id).execute(executor).await?;
                Ok(done.rows_affected())
            }

            async fn delete<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                id: i64,
            ) -> sqlx::Result<u64> {
                let delete = sqlx::query(concat!("delete from applicant where id = ", $first));
                let done = delete.bind(id).execute(executor).await?;
                Ok(done.rows_affected())
            }

            async fn changes<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                history: &HistoryReader<Self>,
                id: i64,
            ) -> sqlx::Result<Vec<Change<Applicant>>> {
                history.changes_of(id).fetch_all(executor).await
            }

            async fn revisions_of(
                pool: &Pool<Self>,
                ids: &RangeInclusive<i64>,
            ) -> sqlx::Result<i64> {
                sqlx::query_scalar(concat!(
                    "select count(distinct rev) from applicant_history where id between ",
                    $first,
                    " and ",
                    $second
                ))
                .bind(*ids.start())
                .bind(*ids.end())
                .fetch_one(pool)
                .await
            }
        }
    };
}

store!(
    sqlx::Sqlite,
    incident: "sqlite.sql",
    placeholders: ["$1", "$2", "$3", "$4"],
    own_functions: "",
    shared: "drop table tx_open_revision; drop table tx_revision",
);
store!(
    sqlx::Postgres,
    incident: "postgres.sql",
    placeholders: ["$1", "$2", "$3", "$4"],
    own_functions: "drop function if exists applicant_changed(), applicant_tx()",
    shared: "drop function tx_current_revision(), tx_no_truncate(); drop table tx_revision",
);
store!(
    sqlx::MySql,
    incident: "mysql.sql",
    placeholders: ["?", "?", "?", "?"],
    own_functions: "",
    shared: "drop table tx_revision",
);
