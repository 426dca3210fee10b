//! The statements on the tables, for each database.
//!
//! They take any sqlx executor where two ways of writing the batches share them: a
//! [`Db`](tx_runtime::Db) where the framework says in which transaction they run, a connection
//! where the caller does.

use chrono::NaiveDate;
use sqlx::{Executor, Pool};
use tx_runtime::Dialect;

use crate::market::Holding;
use crate::position::Position;

/// Understood by all three databases. Days are texts that sort as the days do.
const TABLES: &str = "
create table if not exists stock_user (
    id bigint not null primary key
);
create table if not exists stock_price (
    symbol varchar(8) not null primary key,
    cents bigint not null
);
create table if not exists stock_holding (
    user_id bigint not null,
    symbol varchar(8) not null,
    shares bigint not null,
    primary key (user_id, symbol)
);
create table if not exists stock_statistics (
    day varchar(10) not null,
    user_id bigint not null,
    opening_cents bigint not null,
    worth_cents bigint not null,
    closed boolean not null,
    primary key (day, user_id)
);
create table if not exists stock_batch_log (
    batch varchar(60) not null,
    state varchar(10) not null,
    error text
)";

const EMPTY: &str = "
delete from stock_batch_log;
delete from stock_statistics;
delete from stock_holding;
delete from stock_price;
delete from stock_user";

/// A closed row whose worth is not what the next day began with: the batch that closed it
/// stored both in one transaction, so somebody has changed it since.
const CHANGED: &str = "
select s.day, n.day from stock_statistics s join stock_statistics n on n.user_id = s.user_id
    and n.day = (select min(l.day) from stock_statistics l where l.user_id = s.user_id and l.day > s.day)
where s.closed and s.worth_cents <> n.opening_cents";

/// A row that was changed after it was closed.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    /// Its day.
    pub day: NaiveDate,
    /// The day that was opened when it was closed.
    pub next: NaiveDate,
}

/// A line of the incident's log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Which batch, as it is named in the log.
    pub batch: String,
    /// `SUCCEEDED` or `FAILED`.
    pub state: String,
    /// Why it has failed.
    pub error: Option<String>,
}

/// What the example asks of a database.
///
/// It is a trait because a generic function cannot bind a value before it is told, type by
/// type, that the database can take it; here each database is told once.
pub trait Store: Dialect {
    /// Creates the tables that are not there.
    fn create_tables(pool: &Pool<Self>) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Deletes all rows of all tables.
    fn empty(pool: &Pool<Self>) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Stores users, prices and holdings.
    fn fill(
        pool: &Pool<Self>,
        users: &[i64],
        prices: &[(&str, i64)],
        holdings: &[Holding],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Changes the price of a stock.
    fn set_price(
        pool: &Pool<Self>,
        symbol: &str,
        cents: i64,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// A connection as an executor, in code generic over the database.
    fn on(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self> + '_;

    /// The day that is not closed yet; `None` if no day was ever opened.
    fn current_day<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
    ) -> impl Future<Output = sqlx::Result<Option<NaiveDate>>> + Send;

    /// What everybody holds, at the current prices.
    fn positions<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
    ) -> impl Future<Output = sqlx::Result<Vec<Position>>> + Send;

    /// Overwrites a user's worth on `day`.
    fn record<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        day: NaiveDate,
        user: i64,
        worth: i64,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Closes the rows of `day`.
    fn close<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        day: NaiveDate,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Inserts a row for every user, which begins with what the one of the day before ended
    /// with, or with nothing.
    fn open<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        day: NaiveDate,
        before: Option<NaiveDate>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Writes to the incident's log that `batch` has succeeded, or failed with `error`.
    fn write_log(
        pool: &Pool<Self>,
        batch: &str,
        error: Option<&str>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The incident's log.
    fn read_log(pool: &Pool<Self>) -> impl Future<Output = sqlx::Result<Vec<Logged>>> + Send;

    /// The rows that were changed after they were closed.
    fn changed_after_close(
        pool: &Pool<Self>,
    ) -> impl Future<Output = sqlx::Result<Vec<Changed>>> + Send;

    /// The users' worths on `day`, in the order of the users.
    fn worths_of(
        pool: &Pool<Self>,
        day: NaiveDate,
    ) -> impl Future<Output = sqlx::Result<Vec<i64>>> + Send;
}

/// Implements [`Store`]: the calls are the same everywhere, only the placeholders differ.
macro_rules! store {
    ($database:ty, placeholders: [$first:literal, $second:literal, $third:literal]) => {
        impl Store for $database {
            async fn create_tables(pool: &Pool<Self>) -> sqlx::Result<()> {
                sqlx::raw_sql(TABLES).execute(pool).await.map(drop)
            }

            async fn empty(pool: &Pool<Self>) -> sqlx::Result<()> {
                sqlx::raw_sql(EMPTY).execute(pool).await.map(drop)
            }

            async fn fill(
                pool: &Pool<Self>,
                users: &[i64],
                prices: &[(&str, i64)],
                holdings: &[Holding],
            ) -> sqlx::Result<()> {
                let mut tx = pool.begin().await?;
                for &user in users {
                    sqlx::query(concat!("insert into stock_user (id) values (", $first, ")"))
                        .bind(user)
                        .execute(&mut *tx)
                        .await?;
                }
                for &(symbol, cents) in prices {
                    sqlx::query(concat!(
                        "insert into stock_price (symbol, cents) values (",
                        $first, ", ", $second, ")"
                    ))
                    .bind(symbol)
                    .bind(cents)
                    .execute(&mut *tx)
                    .await?;
                }
                for holding in holdings {
                    sqlx::query(concat!(
                        "insert into stock_holding (user_id, symbol, shares) values (",
                        $first, ", ", $second, ", ", $third, ")"
                    ))
                    .bind(holding.user)
                    .bind(holding.symbol)
                    .bind(holding.shares)
                    .execute(&mut *tx)
                    .await?;
                }
                tx.commit().await
            }

            async fn set_price(pool: &Pool<Self>, symbol: &str, cents: i64) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    "update stock_price set cents = ", $first, " where symbol = ", $second
                ))
                .bind(cents)
                .bind(symbol)
                .execute(pool)
                .await
                .map(drop)
            }

            fn on(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self> + '_ {
                connection
            }

            async fn current_day<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
            ) -> sqlx::Result<Option<NaiveDate>> {
                let day: Option<String> =
                    sqlx::query_scalar("select max(day) from stock_statistics where not closed")
                        .fetch_one(executor)
                        .await?;
                day.as_deref().map(parsed).transpose()
            }

            async fn positions<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
            ) -> sqlx::Result<Vec<Position>> {
                let positions: Vec<(i64, i64, i64)> = sqlx::query_as(
                    "select h.user_id, h.shares, p.cents from stock_holding h \
                     join stock_price p on p.symbol = h.symbol",
                )
                .fetch_all(executor)
                .await?;
                let position = |(user, shares, cents)| Position { user, shares, cents };
                Ok(positions.into_iter().map(position).collect())
            }

            async fn record<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                day: NaiveDate,
                user: i64,
                worth: i64,
            ) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    "update stock_statistics set worth_cents = ",
                    $first, " where day = ", $second, " and user_id = ", $third
                ))
                .bind(worth)
                .bind(day.to_string())
                .bind(user)
                .execute(executor)
                .await
                .map(drop)
            }

            async fn close<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                day: NaiveDate,
            ) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    "update stock_statistics set closed = true where day = ", $first
                ))
                .bind(day.to_string())
                .execute(executor)
                .await
                .map(drop)
            }

            async fn open<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                day: NaiveDate,
                before: Option<NaiveDate>,
            ) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    "insert into stock_statistics (day, user_id, opening_cents, worth_cents, closed) \
                     select ", $first, ", u.id, coalesce(s.worth_cents, 0), coalesce(s.worth_cents, 0), false \
                     from stock_user u left join stock_statistics s on s.user_id = u.id and s.day = ", $second
                ))
                .bind(day.to_string())
                .bind(before.map(|before| before.to_string()))
                .execute(executor)
                .await
                .map(drop)
            }

            async fn write_log(
                pool: &Pool<Self>,
                batch: &str,
                error: Option<&str>,
            ) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    "insert into stock_batch_log (batch, state, error) values (",
                    $first, ", ", $second, ", ", $third, ")"
                ))
                .bind(batch)
                .bind(if error.is_none() { "SUCCEEDED" } else { "FAILED" })
                .bind(error)
                .execute(pool)
                .await
                .map(drop)
            }

            async fn read_log(pool: &Pool<Self>) -> sqlx::Result<Vec<Logged>> {
                let lines = sqlx::query_as("select batch, state, error from stock_batch_log")
                    .fetch_all(pool)
                    .await?;
                let line = |(batch, state, error)| Logged {
                    batch,
                    state,
                    error,
                };
                Ok(lines.into_iter().map(line).collect())
            }

            async fn changed_after_close(pool: &Pool<Self>) -> sqlx::Result<Vec<Changed>> {
                let rows: Vec<(String, String)> = sqlx::query_as(CHANGED).fetch_all(pool).await?;
                let row = |(day, next): (String, String)| {
                    Ok(Changed {
                        day: parsed(&day)?,
                        next: parsed(&next)?,
                    })
                };
                rows.into_iter().map(row).collect()
            }

            async fn worths_of(pool: &Pool<Self>, day: NaiveDate) -> sqlx::Result<Vec<i64>> {
                sqlx::query_scalar(concat!(
                    "select worth_cents from stock_statistics where day = ",
                    $first,
                    " order by user_id"
                ))
                .bind(day.to_string())
                .fetch_all(pool)
                .await
            }
        }
    };
}

store!(sqlx::Sqlite, placeholders: ["$1", "$2", "$3"]);
store!(sqlx::Postgres, placeholders: ["$1", "$2", "$3"]);
store!(sqlx::MySql, placeholders: ["?", "?", "?"]);

fn parsed(day: &str) -> sqlx::Result<NaiveDate> {
    day.parse()
        .map_err(|error: chrono::ParseError| sqlx::Error::Decode(error.into()))
}
