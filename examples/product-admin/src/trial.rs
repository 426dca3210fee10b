//! A job left in one way, and what every connection of the pool shows after it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{Connection, Database, Pool};
use tokio::time::timeout;

use crate::report::{Report, Sale};
use crate::store::Store;
use crate::supplier::Supplier;
use crate::variant::{Application, Variant};
use crate::way::Way;

/// How many connections the application has.
pub const CONNECTIONS: u32 = 4;

/// How many of a product there are before it is sold.
const STOCK: i64 = 10;

/// What the product costs in the end, since another program says so.
const NEW_PRICE: i64 = 200;

/// How long a job may wait for its supplier.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long anything else may take.
const LIMIT: Duration = Duration::from_secs(10);

type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// A trial could not be held.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The database did not do its part.
    #[error("the trial cannot be held: {0}")]
    Database(#[from] sqlx::Error),

    /// The job did not end as it was made to.
    #[error("the job does not get as far as its supplier within {LIMIT:?}")]
    Stuck,
}

/// Leaves the job, written as `variant`, in one `way`; then sells on every connection.
///
/// The table is created if it is not there; products that nobody had are gone at the end.
///
/// # Errors
///
/// If the database cannot be reached. Sales that fail are part of the report.
pub async fn run<DB: Store>(
    options: &Options<DB>,
    variant: Variant,
    way: Way,
) -> Result<Report, TrialError> {
    let outside = pool_of::<DB>(options, 1).await?;
    DB::create(&outside).await?;
    let first = DB::last_product(&outside).await? + 1;
    let products = first..=first + i64::from(CONNECTIONS) - 1;
    DB::insert(&outside, products.clone()).await?;

    let inside = pool_of::<DB>(options, CONNECTIONS).await?;
    let application = Arc::new(Application::new(inside.clone(), variant));
    let price = DB::price(DB::pool(&outside), first).await?;
    leave(&application, first, way, price).await?;
    application.settled().await;
    for product in products.clone() {
        DB::set_price(DB::pool(&outside), product, NEW_PRICE).await?;
    }

    let mut sales = Vec::new();
    for (mut connection, product) in all_connections(&inside)
        .await?
        .into_iter()
        .zip(products.clone())
    {
        sales.push(sell::<DB>(&mut connection, product).await?);
    }
    inside.close().await; // the application ends, and is started again
    for (sale, product) in sales.iter_mut().zip(products.clone()) {
        let stock = DB::stock(DB::pool(&outside), product).await?;
        sale.stored = stock == STOCK - 1;
    }

    DB::delete(&outside, products).await?;
    outside.close().await;
    Ok(Report {
        price: NEW_PRICE,
        sales,
    })
}

async fn pool_of<DB: Store>(options: &Options<DB>, connections: u32) -> sqlx::Result<Pool<DB>> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(LIMIT)
        .connect_with(options.clone())
        .await
}

/// Has the job leave in that `way`; what it says of it is nobody's concern.
async fn leave<DB: Store>(
    application: &Arc<Application<DB>>,
    product: i64,
    way: Way,
    price: i64,
) -> Result<(), TrialError> {
    let supplier = Arc::new(Supplier::new(way.manner(price)));
    let job = {
        let (application, supplier) = (Arc::clone(application), Arc::clone(&supplier));
        async move { application.sync_price(product, &supplier).await }
    };
    match way {
        // In a task of its own, as a server would run it: the panic ends the task only.
        Way::Return | Way::Error | Way::Panic => drop(tokio::spawn(job).await),
        Way::Timeout => {
            let mut job = Box::pin(job);
            let asked = async {
                tokio::select! {
                    _ = &mut job => false,
                    () = supplier.asked() => true,
                }
            };
            if !timeout(LIMIT, asked).await.unwrap_or(false) {
                return Err(TrialError::Stuck);
            }
            drop(timeout(PATIENCE, job).await);
        }
        Way::Dropped => {
            let job = tokio::spawn(job);
            let asked = timeout(LIMIT, supplier.asked()).await;
            job.abort();
            drop(job.await);
            asked.map_err(|_| TrialError::Stuck)?;
        }
    }
    Ok(())
}

/// All of them at once, so that each is seen; the one that the job had among them.
async fn all_connections<DB: Store>(pool: &Pool<DB>) -> sqlx::Result<Vec<PoolConnection<DB>>> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(pool.acquire().await?);
    }
    Ok(connections)
}

/// Two requests of a user: what does it cost, and I take it.
async fn sell<DB: Store>(connection: &mut DB::Connection, product: i64) -> sqlx::Result<Sale> {
    let price = DB::price(DB::on(connection), product).await?;
    let sold = DB::sell(DB::on(connection), product).await;
    Ok(Sale {
        price,
        refused: sold.err().map(|error| error.to_string()),
        stored: false,
    })
}
