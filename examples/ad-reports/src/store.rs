//! The statements on the three tables, for each database.
//!
//! They take any sqlx executor: a [`Db`] where the framework says in which transaction they
//! run, [`Store::outside`] where each is one of its own.

use std::ops::RangeInclusive;

use sqlx::{Executor, Pool, QueryBuilder};
use tx_runtime::{Db, Dialect};

use crate::run::Run;
use crate::session::Row;

/// All three databases understand this.
const TABLES: &str = "
    create table if not exists ad_account (
        account_id bigint not null primary key,
        status varchar(20) not null
    );
    create table if not exists ad_report (
        account_id bigint not null,
        day bigint not null,
        campaign bigint not null,
        impressions bigint not null,
        clicks bigint not null,
        primary key (account_id, day, campaign)
    );
    create table if not exists ad_import (
        account_id bigint not null,
        path varchar(20) not null,
        first_day bigint not null,
        last_day bigint not null,
        outcome text not null
    )";

/// What the log says of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Whose reports it was to import.
    pub account: i64,
    /// Of which days.
    pub days: RangeInclusive<i64>,
    /// `SUCCESS`, or why not.
    pub outcome: String,
}

/// What the example asks of a database.
///
/// It is a trait because a generic function cannot bind a value before it is told, type by
/// type, that the database can take it; here each database is told once.
pub trait Store: Dialect {
    /// Creates the tables unless they are there.
    fn create_tables(pool: &Pool<Self>) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Statements outside of every transaction, in code generic over the database.
    fn outside(db: &Db<Self>) -> impl Executor<'_, Database = Self> + '_;

    /// Says of these accounts that they are idle.
    fn add_accounts<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        accounts: RangeInclusive<i64>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Sets the status of an account, whatever it is.
    fn set_status<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        account: i64,
        status: &str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Sets the status of an account to RUNNING; `false` if it is that already.
    fn start_running<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        account: i64,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// Inserts what reports of an account say, or updates it.
    fn save<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        account: i64,
        rows: &[Row],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Adds a line to the log.
    fn log<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        run: &Run,
        outcome: &str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The days that are imported, as pairs of account and day.
    fn days_of(
        pool: &Pool<Self>,
        accounts: &RangeInclusive<i64>,
    ) -> impl Future<Output = sqlx::Result<Vec<(i64, i64)>>> + Send;

    /// The lines of the log.
    fn log_of(
        pool: &Pool<Self>,
        accounts: &RangeInclusive<i64>,
    ) -> impl Future<Output = sqlx::Result<Vec<Logged>>> + Send;

    /// The highest account that the tables know; 0 if they are empty.
    fn last_account(pool: &Pool<Self>) -> impl Future<Output = sqlx::Result<i64>> + Send;

    /// Deletes everything about `accounts`.
    fn delete(
        pool: &Pool<Self>,
        accounts: &RangeInclusive<i64>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// Implements [`Store`]: the calls are the same everywhere, only an upsert differs.
macro_rules! store {
    ($database:ty, on_conflict: $on_conflict:literal) => {
        impl Store for $database {
            async fn create_tables(pool: &Pool<Self>) -> sqlx::Result<()> {
                sqlx::raw_sql(TABLES).execute(pool).await.map(drop)
            }

            fn outside(db: &Db<Self>) -> impl Executor<'_, Database = Self> + '_ {
                db.pool()
            }

            async fn add_accounts<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                accounts: RangeInclusive<i64>,
            ) -> sqlx::Result<()> {
                let mut sql =
                    QueryBuilder::<Self>::new("insert into ad_account (account_id, status) ");
                sql.push_values(accounts, |mut values, account| {
                    values.push_bind(account).push_bind("IDLE");
                });
                sql.build().execute(executor).await.map(drop)
            }

            async fn set_status<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                account: i64,
                status: &str,
            ) -> sqlx::Result<()> {
                let mut sql = QueryBuilder::<Self>::new("update ad_account set status = ");
                sql.push_bind(status.to_owned());
                sql.push(" where account_id = ").push_bind(account);
                sql.build().execute(executor).await.map(drop)
            }

            async fn start_running<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                account: i64,
            ) -> sqlx::Result<bool> {
                let mut sql = QueryBuilder::<Self>::new(
                    "update ad_account set status = 'RUNNING' \
                     where status <> 'RUNNING' and account_id = ",
                );
                sql.push_bind(account);
                let done = sql.build().execute(executor).await?;
                Ok(done.rows_affected() == 1)
            }

            async fn save<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                account: i64,
                rows: &[Row],
            ) -> sqlx::Result<()> {
                if rows.is_empty() {
                    return Ok(());
                }
                let mut sql = QueryBuilder::<Self>::new(
                    "insert into ad_report (account_id, day, campaign, impressions, clicks) ",
                );
                sql.push_values(rows, |mut values, row| {
                    values.push_bind(account).push_bind(row.day);
                    values.push_bind(row.line.campaign);
                    values.push_bind(row.line.impressions);
                    values.push_bind(row.line.clicks);
                });
                sql.push($on_conflict);
                sql.build().execute(executor).await.map(drop)
            }

            async fn log<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                run: &Run,
                outcome: &str,
            ) -> sqlx::Result<()> {
                let mut sql = QueryBuilder::<Self>::new(
                    "insert into ad_import (account_id, path, first_day, last_day, outcome) ",
                );
                sql.push_values([outcome.to_owned()], |mut values, outcome| {
                    values.push_bind(run.account).push_bind(run.path.name());
                    values.push_bind(*run.days.start());
                    values.push_bind(*run.days.end());
                    values.push_bind(outcome);
                });
                sql.build().execute(executor).await.map(drop)
            }

            async fn days_of(
                pool: &Pool<Self>,
                accounts: &RangeInclusive<i64>,
            ) -> sqlx::Result<Vec<(i64, i64)>> {
                let mut sql = QueryBuilder::<Self>::new(
                    "select distinct account_id, day from ad_report where account_id between ",
                );
                sql.push_bind(*accounts.start()).push(" and ");
                sql.push_bind(*accounts.end());
                sql.build_query_as().fetch_all(pool).await
            }

            async fn log_of(
                pool: &Pool<Self>,
                accounts: &RangeInclusive<i64>,
            ) -> sqlx::Result<Vec<Logged>> {
                let mut sql = QueryBuilder::<Self>::new(
                    "select account_id, first_day, last_day, outcome from ad_import \
                     where account_id between ",
                );
                sql.push_bind(*accounts.start()).push(" and ");
                sql.push_bind(*accounts.end());
                let lines: Vec<(i64, i64, i64, String)> =
                    sql.build_query_as().fetch_all(pool).await?;
                let logged = lines
                    .into_iter()
                    .map(|(account, first, last, outcome)| Logged {
                        account,
                        days: first..=last,
                        outcome,
                    });
                Ok(logged.collect())
            }

            async fn last_account(pool: &Pool<Self>) -> sqlx::Result<i64> {
                let sql = "select coalesce(max(account_id), 0) from ad_account";
                sqlx::query_scalar(sql).fetch_one(pool).await
            }

            async fn delete(pool: &Pool<Self>, accounts: &RangeInclusive<i64>) -> sqlx::Result<()> {
                for table in ["ad_report", "ad_import", "ad_account"] {
                    let mut sql = QueryBuilder::<Self>::new("delete from ");
                    sql.push(table).push(" where account_id between ");
                    sql.push_bind(*accounts.start()).push(" and ");
                    sql.push_bind(*accounts.end());
                    sql.build().execute(pool).await?;
                }
                Ok(())
            }
        }
    };
}

store!(
    sqlx::Sqlite,
    on_conflict: " on conflict (account_id, day, campaign) do update \
                  set impressions = excluded.impressions, clicks = excluded.clicks"
);
store!(
    sqlx::Postgres,
    on_conflict: " on conflict (account_id, day, campaign) do update \
                  set impressions = excluded.impressions, clicks = excluded.clicks"
);
store!(
    sqlx::MySql,
    on_conflict: " on duplicate key update \
                  impressions = values(impressions), clicks = values(clicks)"
);
