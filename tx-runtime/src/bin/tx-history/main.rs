//! Writes and checks the histories of audited tables; carries nothing out.

mod arguments;
mod files;

use std::process::ExitCode;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{ConnectOptions as _, Connection, Database as Driver};
use tokio::time::timeout;
use tx_runtime::history::{Fault, Finding, History};
use tx_runtime::{Db, Dialect};

use crate::arguments::{Command, Generate, Verify};

/// Whatever ends the program early, in words.
type Failure = Box<dyn std::error::Error>;

type Options<DB> = <<DB as Driver>::Connection as Connection>::Options;

/// How long the database may take to answer at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// As with `grep`: something was found, or something went wrong.
const FOUND: u8 = 1;
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let command = match arguments::parse() {
        Ok(command) => command,
        Err(wrong) => {
            eprintln!("tx-history: {wrong}\n\n{}", arguments::HELP);
            return ExitCode::from(FAILED);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(command)));
    outcome.unwrap_or_else(|failure| {
        eprintln!("tx-history: {failure}");
        ExitCode::from(FAILED)
    })
}

async fn run(command: Command) -> Result<ExitCode, Failure> {
    let url = match &command {
        Command::Help => {
            print!("{}", arguments::HELP);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Generate(Generate { url, .. }) | Command::Verify(Verify { url, .. }) => {
            url.clone()
        }
    };
    match url.split(':').next() {
        #[cfg(feature = "sqlite")]
        Some("sqlite") => {
            // What the program's own connections have is seen by `History::verify` in it.
            let options: sqlx::sqlite::SqliteConnectOptions = url.parse()?;
            on::<sqlx::Sqlite>(options.pragma("recursive_triggers", "ON"), command).await
        }
        #[cfg(feature = "postgres")]
        Some("postgres" | "postgresql") => on::<sqlx::Postgres>(url.parse()?, command).await,
        #[cfg(feature = "mysql")]
        Some("mysql" | "mariadb") => on::<sqlx::MySql>(url.parse()?, command).await,
        // The rest of it may be a password.
        scheme => Err(format!(
            "`{}` is no database that this program was built for; build it with the feature \
             `sqlite`, `postgres` or `mysql`",
            scheme.unwrap_or_default()
        )
        .into()),
    }
}

async fn on<DB: Dialect>(options: Options<DB>, command: Command) -> Result<ExitCode, Failure> {
    // A pool would go on knocking, and then say that it is out of time.
    let opened = timeout(CONNECT_LIMIT, options.connect()).await;
    let opened = opened.unwrap_or_else(|late| Err(sqlx::Error::Io(late.into())));
    let opened = opened.map_err(|error| format!("the database cannot be opened: {error}"))?;
    opened.close().await?;
    let db = Db::<DB>::new(PoolOptions::new().connect_lazy_with(options));
    match command {
        Command::Generate(wanted) => generate(&db, &wanted).await,
        Command::Verify(Verify { tables, .. }) => verify(&db, &tables).await,
        Command::Help => Ok(ExitCode::SUCCESS),
    }
}

async fn generate<DB: Dialect>(db: &Db<DB>, wanted: &Generate) -> Result<ExitCode, Failure> {
    let history = named(&wanted.tables);
    let migration = history.generate(db).await?;
    if migration.up.is_empty() {
        println!("every history is as it should be; there is nothing to write");
    } else {
        let description = format!("history_of_{}", wanted.tables.join("_"));
        let written = files::write(&wanted.directory, &description, &migration, wanted.form);
        let written = written.map_err(|error| {
            format!(
                "nothing can be written into {}: {error}",
                wanted.directory.display()
            )
        })?;
        for path in written {
            println!("{}", path.display());
        }
    }
    for finding in history.verify(db).await?.findings() {
        if is_no_work_for_a_migration(finding) {
            eprintln!("not in the migration: {finding}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify<DB: Dialect>(db: &Db<DB>, tables: &[String]) -> Result<ExitCode, Failure> {
    let history = if tables.is_empty() {
        History::existing(db).await?
    } else {
        named(tables)
    };
    let names: Vec<String> = history.names().collect();
    if names.is_empty() {
        return Err("no table has a history here; name those that should have one".into());
    }
    let report = history.verify(db).await?;
    println!("{report}");
    if report.is_clean() {
        println!("looked at: {}", names.join(", "));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(FOUND))
}

fn named(tables: &[String]) -> History {
    History::tables(tables.iter().map(String::as_str))
}

fn is_no_work_for_a_migration(finding: &Finding) -> bool {
    matches!(finding.fault, Fault::Cascade { .. } | Fault::Setting { .. })
}
