//! The two tables and the statements on them, for each database.
//!
//! The statements take any sqlx executor: a [`Db`](tx_runtime::Db) where the framework says
//! in which transaction they run, a connection where the caller does.

use sqlx::{Executor, Pool};
use tx_runtime::Dialect;

/// A table of the example and the statement that creates it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) create: &'static str,
    pub(crate) drop: &'static str,
}

/// An account's row of `interest_asset`, stored or still to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// `None` until the row is stored.
    pub(crate) id: Option<i64>,
    pub(crate) account: i64,
    /// The asset numbers, as in `52,418,3`.
    pub(crate) assets: String,
}

impl Row {
    /// The row of an account that has none yet.
    pub(crate) fn empty(account: i64) -> Self {
        Self {
            id: None,
            account,
            assets: String::new(),
        }
    }

    /// The assets in the order in which they were added.
    pub(crate) fn assets(&self) -> impl Iterator<Item = &str> {
        self.assets.split(',').filter(|asset| !asset.is_empty())
    }

    /// The row with `asset` added; `None` if it lists it already.
    pub(crate) fn with(mut self, asset: i64) -> Option<Self> {
        let asset = asset.to_string();
        if self.assets().any(|known| known == asset) {
            return None;
        }
        if !self.assets.is_empty() {
            self.assets.push(',');
        }
        self.assets.push_str(&asset);
        Some(self)
    }
}

/// What the example asks of a database.
///
/// It is a trait because a generic function cannot bind a value before it is told, type by
/// type, that the database can take it; here each database is told once.
pub(crate) trait Store: Dialect {
    /// The tables, `interest_asset` without a unique key on `account_id`, as in the incident.
    const TABLES: [Table; 2];

    /// Runs a statement of [`TABLES`](Self::TABLES) in autocommit.
    fn define(pool: &Pool<Self>, ddl: &'static str) -> impl Future<Output = sqlx::Result<()>>;

    /// The rows of one account: the program means there to be at most one.
    fn rows_of<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        account: i64,
    ) -> impl Future<Output = sqlx::Result<Vec<Row>>> + Send;

    /// Inserts the row, or updates it if it is stored.
    fn save<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        row: Row,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Turns the notification of an asset on; nothing happens if it is on.
    fn notify<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        account: i64,
        asset: i64,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// All rows of `interest_asset`.
    fn all_rows<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
    ) -> impl Future<Output = sqlx::Result<Vec<Row>>>;

    /// How many notifications are on.
    fn count_notifications<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
    ) -> impl Future<Output = sqlx::Result<i64>>;
}

/// Implements [`Store`]: the calls are the same everywhere, only the SQL differs.
macro_rules! store {
    (
        $database:ty,
        id: $id:literal,
        placeholders: [$first:literal, $second:literal],
        insert_once: [$insert:literal, $unless_there:literal] $(,)?
    ) => {
        impl Store for $database {
            const TABLES: [Table; 2] = [
                Table {
                    name: "interest_asset",
                    create: concat!(
                        "create table interest_asset (id ",
                        $id,
                        ", account_id bigint not null, assets text not null)"
                    ),
                    drop: "drop table if exists interest_asset",
                },
                Table {
                    name: "notification",
                    create: "create table notification (account_id bigint not null, \
                             asset_id bigint not null, primary key (account_id, asset_id))",
                    drop: "drop table if exists notification",
                },
            ];

            async fn define(pool: &Pool<Self>, ddl: &'static str) -> sqlx::Result<()> {
                sqlx::query(ddl).execute(pool).await.map(drop)
            }

            async fn rows_of<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                account: i64,
            ) -> sqlx::Result<Vec<Row>> {
                let rows = sqlx::query_as::<_, (i64, i64, String)>(concat!(
                    "select id, account_id, assets from interest_asset where account_id = ",
                    $first
                ))
                .bind(account)
                .fetch_all(executor)
                .await?;
                Ok(rows.into_iter().map(Row::from).collect())
            }

            async fn save<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                row: Row,
            ) -> sqlx::Result<()> {
                let query = match row.id {
                    None => sqlx::query(concat!(
                        "insert into interest_asset (assets, account_id) values (",
                        $first,
                        ", ",
                        $second,
                        ")"
                    ))
                    .bind(row.assets)
                    .bind(row.account),
                    Some(id) => sqlx::query(concat!(
                        "update interest_asset set assets = ",
                        $first,
                        " where id = ",
                        $second
                    ))
                    .bind(row.assets)
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

            async fn all_rows<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
            ) -> sqlx::Result<Vec<Row>> {
                let rows = sqlx::query_as::<_, (i64, i64, String)>(
                    "select id, account_id, assets from interest_asset order by id",
                )
                .fetch_all(executor)
                .await?;
                Ok(rows.into_iter().map(Row::from).collect())
            }

            async fn count_notifications<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
            ) -> sqlx::Result<i64> {
                sqlx::query_scalar("select count(*) from notification")
                    .fetch_one(executor)
                    .await
            }
        }
    };
}

store!(
    sqlx::Sqlite,
    id: "integer primary key",
    placeholders: ["$1", "$2"],
    insert_once: ["insert", " on conflict do nothing"],
);
store!(
    sqlx::Postgres,
    id: "bigint generated always as identity primary key",
    placeholders: ["$1", "$2"],
    insert_once: ["insert", " on conflict do nothing"],
);
store!(
    sqlx::MySql,
    id: "bigint auto_increment primary key",
    placeholders: ["?", "?"],
    insert_once: ["insert ignore", ""],
);

impl From<(i64, i64, String)> for Row {
    fn from((id, account, assets): (i64, i64, String)) -> Self {
        Self {
            id: Some(id),
            account,
            assets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn an_asset_is_added_once() {
        let row = Row::empty(7).with(52).and_then(|row| row.with(418));
        let row = row.expect("both are new");
        assert_eq!(row.assets, "52,418");
        assert_eq!(row.clone().with(52), None);
        assert_eq!(row.with(5).expect("5 is not 52").assets, "52,418,5");
    }
}
