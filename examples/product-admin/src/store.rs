//! The statements on the table, for each database.

use std::ops::RangeInclusive;

use sqlx::{Executor, Pool};
use tx_runtime::Dialect;

/// What the example asks of a database.
///
/// It is a trait because a generic function cannot bind a value before it is told, type by
/// type, that the database can take it; here each database is told once.
pub trait Store: Dialect {
    /// What the incident does to this database, and what it does not.
    const PECULIARITY: &'static str;

    /// Creates the table, or does nothing if it is there.
    fn create(pool: &Pool<Self>) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The highest product; 0 if there is none.
    fn last_product(pool: &Pool<Self>) -> impl Future<Output = sqlx::Result<i64>> + Send;

    /// Inserts products that cost 100, and of each of which there are 10.
    fn insert(
        pool: &Pool<Self>,
        products: RangeInclusive<i64>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Deletes `products`.
    fn delete(
        pool: &Pool<Self>,
        products: RangeInclusive<i64>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// A connection as an executor, in code generic over the database.
    fn on(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self> + '_;

    /// A pool as an executor, in code generic over the database.
    fn pool(pool: &Pool<Self>) -> impl Executor<'_, Database = Self> + '_;

    /// Sends `sql` as it is: the BEGIN and COMMIT of those who write them by hand.
    fn send(
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// What `product` costs.
    fn price<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        product: i64,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send;

    /// Has `product` cost `price`.
    fn set_price<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        product: i64,
        price: i64,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// How many of `product` there are.
    fn stock<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        product: i64,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send;

    /// Takes one of `product`.
    fn sell<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        product: i64,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

const TABLE: &str = "create table if not exists admin_product (
    id bigint not null primary key,
    price bigint not null default 100,
    stock bigint not null default 10
)";

/// Implements [`Store`]: the calls are the same everywhere, only the SQL differs.
macro_rules! store {
    (
        $database:ty,
        placeholders: [$first:literal, $second:literal],
        peculiarity: $peculiarity:literal $(,)?
    ) => {
        impl Store for $database {
            const PECULIARITY: &'static str = $peculiarity;

            async fn create(pool: &Pool<Self>) -> sqlx::Result<()> {
                sqlx::raw_sql(TABLE).execute(pool).await.map(drop)
            }

            async fn last_product(pool: &Pool<Self>) -> sqlx::Result<i64> {
                sqlx::query_scalar("select coalesce(max(id), 0) from admin_product")
                    .fetch_one(pool)
                    .await
            }

            async fn insert(pool: &Pool<Self>, products: RangeInclusive<i64>) -> sqlx::Result<()> {
                for product in products {
                    sqlx::query(concat!(
                        "insert into admin_product (id) values (",
                        $first,
                        ")"
                    ))
                    .bind(product)
                    .execute(pool)
                    .await?;
                }
                Ok(())
            }

            async fn delete(pool: &Pool<Self>, products: RangeInclusive<i64>) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    "delete from admin_product where id between ",
                    $first,
                    " and ",
                    $second
                ))
                .bind(*products.start())
                .bind(*products.end())
                .execute(pool)
                .await
                .map(drop)
            }

            fn on(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self> + '_ {
                connection
            }

            fn pool(pool: &Pool<Self>) -> impl Executor<'_, Database = Self> + '_ {
                pool
            }

            async fn send(
                connection: &mut Self::Connection,
                sql: &'static str,
            ) -> sqlx::Result<()> {
                sqlx::raw_sql(sql).execute(connection).await.map(drop)
            }

            async fn price<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                product: i64,
            ) -> sqlx::Result<i64> {
                sqlx::query_scalar(concat!(
                    "select price from admin_product where id = ",
                    $first
                ))
                .bind(product)
                .fetch_one(executor)
                .await
            }

            async fn set_price<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                product: i64,
                price: i64,
            ) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    "update admin_product set price = ",
                    $first,
                    " where id = ",
                    $second
                ))
                .bind(price)
                .bind(product)
                .execute(executor)
                .await
                .map(drop)
            }

            async fn stock<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                product: i64,
            ) -> sqlx::Result<i64> {
                sqlx::query_scalar(concat!(
                    "select stock from admin_product where id = ",
                    $first
                ))
                .bind(product)
                .fetch_one(executor)
                .await
            }

            async fn sell<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                product: i64,
            ) -> sqlx::Result<()> {
                sqlx::query(concat!(
                    "update admin_product set stock = stock - 1 where id = ",
                    $first
                ))
                .bind(product)
                .execute(executor)
                .await
                .map(drop)
            }
        }
    };
}

store!(
    sqlx::Sqlite,
    placeholders: ["$1", "$2"],
    peculiarity: "SQLite shows the connection the time of its first read, too, but refuses to \
                  write on top of that: the sale fails and is told so, and none is lost",
);
store!(
    sqlx::Postgres,
    placeholders: ["$1", "$2"],
    peculiarity: "PostgreSQL reads afresh in every statement at READ COMMITTED, its default, so \
                  no price is stale here; the sale is lost all the same",
);
store!(
    sqlx::MySql,
    placeholders: ["?", "?"],
    peculiarity: "MariaDB shows the connection the time of its first read, at REPEATABLE READ, \
                  its default, and takes the sale into the transaction that nobody commits",
);
