//! Creates the tables, and takes care to drop only what it may.

use sqlx::Pool;

use crate::store::Store;

/// A table could not be created.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot create the table `{table}`: {source}; if it is there from an earlier run, `--reset` \
     drops `interest_asset` and `notification` first"
)]
pub(crate) struct SchemaError {
    table: &'static str,
    source: sqlx::Error,
}

/// Creates both tables or none.
///
/// A table that exists already is an error, and is left alone unless `reset` says that it may
/// be dropped.
pub(crate) async fn create<DB: Store>(pool: &Pool<DB>, reset: bool) -> Result<(), SchemaError> {
    if reset {
        for table in &DB::TABLES {
            run::<DB>(pool, table.name, table.drop).await?;
        }
    }
    for (created, table) in DB::TABLES.iter().enumerate() {
        if let Err(error) = run::<DB>(pool, table.name, table.create).await {
            for own in &DB::TABLES[..created] {
                run::<DB>(pool, own.name, own.drop).await?;
            }
            return Err(error);
        }
    }
    Ok(())
}

async fn run<DB: Store>(
    pool: &Pool<DB>,
    table: &'static str,
    ddl: &'static str,
) -> Result<(), SchemaError> {
    let done = DB::define(pool, ddl).await;
    done.map_err(|source| SchemaError { table, source })
}
