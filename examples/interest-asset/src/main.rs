//! A user double-taps `add to favourites`, and exactly one row per account comes out.
//!
//! `cargo run -p interest-asset` runs it on a SQLite file that is removed at the end.

mod no_lock;
mod report;
mod schema;
mod service;
mod store;
mod storm;

use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use sqlx::Executor;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use tx_runtime::{Db, MySqlDb, PgDb, SqliteDb};

use crate::no_lock::NoLock;
use crate::report::Report;
use crate::service::InterestAssets;
use crate::store::Store;

/// Registers interest assets from many concurrent double taps and prints what the tables hold.
#[derive(Debug, Parser)]
struct Arguments {
    /// sqlite:, postgres:, mysql: or mariadb: URL; left out, a SQLite file removed at the end.
    ///
    /// The tables `interest_asset` and `notification` are created in that database, and stay.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,

    /// Drop both tables first if they exist; without it an existing table is an error.
    #[arg(long, requires = "database_url")]
    reset: bool,

    /// How many accounts add assets.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    accounts: u32,

    /// How many clients tap at the same time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    clients: usize,

    /// How the service is written.
    #[arg(long, value_enum, default_value_t = Variant::Isolated)]
    variant: Variant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Variant {
    /// Annotated methods; adding an asset commits before its lock opens.
    Isolated,
    /// The incident: plain sqlx, find then insert, no lock.
    NoLock,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match choose_database(&arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn choose_database(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Some(url) = &arguments.database_url else {
        let directory = tempfile::tempdir()?;
        let file = SqliteConnectOptions::new().filename(directory.path().join("assets.db"));
        return run(sqlite(file).await?, arguments).await;
    };
    match url.split(':').next() {
        Some("sqlite") => run(sqlite(url.parse()?).await?, arguments).await,
        Some("postgres" | "postgresql") => run(PgDb::connect(url).await?, arguments).await,
        Some("mysql" | "mariadb") => run(MySqlDb::connect(url).await?, arguments).await,
        _ => Err("the database URL must begin with sqlite:, postgres:, mysql: or mariadb:".into()),
    }
}

/// SQLite as a service would open it: readers go on beside the one writer.
async fn sqlite(options: SqliteConnectOptions) -> sqlx::Result<SqliteDb> {
    let options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    SqliteDb::connect_with(PoolOptions::new(), options).await
}

async fn run<DB: Store>(db: Db<DB>, arguments: &Arguments) -> Result<ExitCode, Failure>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let &Arguments {
        accounts,
        clients,
        variant,
        reset,
        ..
    } = arguments;
    println!(
        "{accounts} accounts, {clients} clients, every tap twice, on {}",
        DB::NAME
    );
    schema::create(db.pool(), reset).await?;
    let answers = match variant {
        Variant::Isolated => storm::run(InterestAssets::new(db.clone()), accounts, clients).await,
        Variant::NoLock => storm::run(NoLock::new(db.pool().clone()), accounts, clients).await,
    };
    let report = Report::read(&db, answers).await?;
    db.pool().close().await;

    print!("\n{report}\n");
    Ok(verdict(variant, report.is_right()))
}

/// Only the right variant can fail: the other one is there to show the incident.
fn verdict(variant: Variant, is_right: bool) -> ExitCode {
    match (variant, is_right) {
        (Variant::Isolated, true) => println!("exactly one row per account"),
        (Variant::NoLock, true) => println!("the incident did not show this time; try again"),
        (Variant::NoLock, false) => println!("this is the incident: the variant has no lock"),
        (Variant::Isolated, false) => {
            println!("WRONG: this must not happen");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
