//! The statements on the two tables, for each database.
//!
//! They take any sqlx executor: a [`Db`](tx_runtime::Db) where the framework says in which
//! transaction they run, a connection where the caller does.

use std::ops::RangeInclusive;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Executor, Pool, SqlSafeStr as _};
use tx_runtime::Dialect;

use crate::row::{self, Row};

/// What the example asks of a database.
///
/// It is a trait because a generic function cannot bind a value before it is told, type by
/// type, that the database can take it; here each database is told once.
pub trait Store: Dialect {
    /// Creates the tables, or does nothing if they are there.
    fn migrate(pool: &Pool<Self>) -> impl Future<Output = Result<(), MigrateError>>;

    /// A connection as an executor, in code generic over the database.
    fn on(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self> + '_;

    /// The rows of one account: the program means there to be at most one.
    fn rows_of<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        account: i64,
    ) -> impl Future<Output = sqlx::Result<Vec<Row>>> + Send;

    /// Inserts the row, or updates it if it is stored.
    fn save<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        row: &Row,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Turns the notification of an asset on; nothing happens if it is on.
    fn notify<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        account: i64,
        asset: i64,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Turns the notification of an asset off; nothing happens if it is off.
    fn silence<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        account: i64,
        asset: i64,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The assets of one account whose notification is on.
    fn notified_of<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        account: i64,
    ) -> impl Future<Output = sqlx::Result<Vec<i64>>> + Send;

    /// The highest account that either table knows; 0 if they are empty.
    fn last_account(pool: &Pool<Self>) -> impl Future<Output = sqlx::Result<i64>> + Send;

    /// The rows of several accounts.
    fn rows_among(
        pool: &Pool<Self>,
        accounts: &RangeInclusive<i64>,
    ) -> impl Future<Output = sqlx::Result<Vec<Row>>> + Send;

    /// The notifications of several accounts, as pairs of account and asset.
    fn notified_among(
        pool: &Pool<Self>,
        accounts: &RangeInclusive<i64>,
    ) -> impl Future<Output = sqlx::Result<Vec<(i64, i64)>>> + Send;

    /// Deletes everything about `accounts`.
    fn delete(
        pool: &Pool<Self>,
        accounts: &RangeInclusive<i64>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// Implements [`Store`]: the calls are the same everywhere, only the SQL differs.
macro_rules! store {
    (
        $database:ty,
        migrations: $folder:literal,
        placeholders: [$first:literal, $second:literal],
        insert_once: [$insert:literal, $unless_there:literal] $(,)?
    ) => {
        impl Store for $database {
            async fn migrate(pool: &Pool<Self>) -> Result<(), MigrateError> {
                let migrator = Migrator::with_migrations(vec![
                    migration(
                        1,
                        "interest asset",
                        include_str!(concat!("../migrations/", $folder, "/1_interest_asset.sql")),
                    ),
                    migration(
                        2,
                        "notification",
                        include_str!(concat!("../migrations/", $folder, "/2_notification.sql")),
                    ),
                ]);
                let mut connection = pool.acquire().await?;
                let done = migrator.run(&mut *connection).await;
                if done.is_err() {
                    // sqlx leaves its lock on the session of a migration that failed.
                    connection.close_on_drop();
                }
                done
            }

            fn on(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self> + '_ {
                connection
            }

            async fn rows_of<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                account: i64,
            ) -> sqlx::Result<Vec<Row>> {
                let rows = sqlx::query_as(concat!(
                    "select id, account_id, assets from interest_asset where account_id = ",
                    $first
                ))
                .bind(account)
                .fetch_all(executor)
                .await?;
                rows.into_iter().map(stored).collect()
            }

            async fn save<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                row: &Row,
            ) -> sqlx::Result<()> {
                let query = match row.id {
                    None => sqlx::query(concat!(
                        "insert into interest_asset (assets, account_id) values (",
                        $first,
                        ", ",
                        $second,
                        ")"
                    ))
                    .bind(row::join(&row.assets))
                    .bind(row.account),
                    Some(id) => sqlx::query(concat!(
                        "update interest_asset set assets = ",
                        $first,
                        " where id = ",
                        $second
                    ))
                    .bind(row::join(&row.assets))
                    .bind(id),
                };
                query.execute(executor).await.map(drop)
            }

            async fn notify<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                account: i64,
                asset: i64,
            ) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    $insert,
                    " into notification (account_id, asset_id) values (",
                    $first,
                    ", ",
                    $second,
                    ")",
                    $unless_there
                ))
                .bind(account)
                .bind(asset)
                .execute(executor)
                .await
                .map(drop)
            }

            async fn silence<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                account: i64,
                asset: i64,
            ) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    "delete from notification where account_id = ",
                    $first,
                    " and asset_id = ",
                    $second
                ))
                .bind(account)
                .bind(asset)
                .execute(executor)
                .await
                .map(drop)
            }

            async fn notified_of<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                account: i64,
            ) -> sqlx::Result<Vec<i64>> {
                sqlx::query_scalar(concat!(
                    "select asset_id from notification where account_id = ",
                    $first
                ))
                .bind(account)
                .fetch_all(executor)
                .await
            }

            async fn last_account(pool: &Pool<Self>) -> sqlx::Result<i64> {
                sqlx::query_scalar(
                    "select coalesce(max(account_id), 0) from (select account_id from \
                     interest_asset union all select account_id from notification) as known",
                )
                .fetch_one(pool)
                .await
            }

            async fn rows_among(
                pool: &Pool<Self>,
                accounts: &RangeInclusive<i64>,
            ) -> sqlx::Result<Vec<Row>> {
                let rows = sqlx::query_as(concat!(
                    "select id, account_id, assets from interest_asset where account_id between ",
                    $first,
                    " and ",
                    $second
                ))
                .bind(*accounts.start())
                .bind(*accounts.end())
                .fetch_all(pool)
                .await?;
                rows.into_iter().map(stored).collect()
            }

            async fn notified_among(
                pool: &Pool<Self>,
                accounts: &RangeInclusive<i64>,
            ) -> sqlx::Result<Vec<(i64, i64)>> {
                sqlx::query_as(concat!(
                    "select account_id, asset_id from notification where account_id between ",
                    $first,
                    " and ",
                    $second
                ))
                .bind(*accounts.start())
                .bind(*accounts.end())
                .fetch_all(pool)
                .await
            }

            async fn delete(
                pool: &Pool<Self>,
                accounts: &RangeInclusive<i64>,
            ) -> sqlx::Result<()> {
                for statement in [
                    concat!(
                        "delete from interest_asset where account_id between ",
                        $first,
                        " and ",
                        $second
                    ),
                    concat!(
                        "delete from notification where account_id between ",
                        $first,
                        " and ",
                        $second
                    ),
                ] {
                    sqlx::query(statement)
                        .bind(*accounts.start())
                        .bind(*accounts.end())
                        .execute(pool)
                        .await?;
                }
                Ok(())
            }
        }
    };
}

store!(
    sqlx::Sqlite,
    migrations: "sqlite",
    placeholders: ["$1", "$2"],
    insert_once: ["insert", " on conflict do nothing"],
);
store!(
    sqlx::Postgres,
    migrations: "postgres",
    placeholders: ["$1", "$2"],
    insert_once: ["insert", " on conflict do nothing"],
);
store!(
    sqlx::MySql,
    migrations: "mysql",
    placeholders: ["?", "?"],
    insert_once: ["insert ignore", ""],
);

fn migration(version: i64, description: &'static str, sql: &'static str) -> Migration {
    let simple = MigrationType::Simple;
    Migration::new(
        version,
        description.into(),
        simple,
        sql.into_sql_str(),
        false,
    )
}

fn stored((id, account, assets): (i64, i64, String)) -> sqlx::Result<Row> {
    let assets = row::split(&assets).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Row {
        id: Some(id),
        account,
        assets,
    })
}
