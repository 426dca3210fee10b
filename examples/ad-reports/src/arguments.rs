//! The command line.

use std::net::SocketAddr;

use ad_reports::plan::Plan;
use ad_reports::variant::Variant;
use lexopt::{Arg, Parser, ValueExt as _};
use stage::arguments::{count, parsed};

use crate::nightly_command::Nightly;
use crate::status_command::Status;
use crate::trial_command::Trial;

/// Printed for `--help`.
pub(crate) const HELP: &str = "\
Two imports share an account of an advertising API, and neither loses a report.

Usage: ad-reports [trial] [OPTIONS]
       ad-reports status --database-url URL [--limit N]

trial starts the API and imports reports from it, by hand in this process and as the nightly
batch in another one, at the same time; then it prints what is in the tables and what the API has
seen, a line for each way the importer is written. status prints the tickets of the accounts'
locks: who has an account, and who waits for whom; it can be asked while a trial runs.

Options:
  --database-url URL  sqlite:, postgres:, mysql: or mariadb:; without it, a SQLite file that is
                      removed at the end. The tables `ad_account`, `ad_report`, `ad_import` and
                      those of the tickets are created if they are not there. A trial uses
                      accounts that nobody has, and deletes what it stored about them; their
                      tickets stay, as a log. Run one trial at a time.
  --variant NAME      status-check or permit; can be given twice [default: both]
  --accounts N        accounts of the API [default: 4]
  --days N            days that a run imports, at most 366 [default: 5]
  --manual-runs N     runs by hand for each account, beside the one of the batch [default: 2]
  --limit N           status: how many tickets, the newest [default: 20]
  --help              print this
";

/// With more, a single statement would have more values than a database takes.
const MOST_DAYS: u32 = 366;

/// What the program is to do, and where.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) url: Option<String>,
    pub(crate) command: Command,
}

#[derive(Debug)]
pub(crate) enum Command {
    Trial(Trial),
    /// The second process of a trial, which starts it.
    Nightly(Nightly),
    Status(Status),
}

/// Reads the program's arguments; `None` if it is to print how it is used.
///
/// # Errors
///
/// What is wrong with them.
pub(crate) fn parse() -> Result<Option<Arguments>, lexopt::Error> {
    read(Parser::from_env())
}

fn read(mut parser: Parser) -> Result<Option<Arguments>, lexopt::Error> {
    let mut word = None;
    let mut url = None;
    let mut variants = Vec::new();
    let mut accounts = 4;
    let mut first_account = None;
    let mut days = 5;
    let mut manual_runs = 2;
    let mut limit = 20;
    let mut api: Option<SocketAddr> = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(value) if word.is_none() => word = Some(value.string()?),
            Arg::Long("database-url") => url = Some(parser.value()?.string()?),
            Arg::Long("variant") => variants.push(parsed(&mut parser)?),
            Arg::Long("accounts") => accounts = count(&mut parser)?,
            Arg::Long("first-account") => first_account = Some(parsed(&mut parser)?),
            Arg::Long("days") => days = count(&mut parser)?,
            Arg::Long("manual-runs") => manual_runs = count(&mut parser)?,
            Arg::Long("limit") => limit = count(&mut parser)?,
            Arg::Long("api") => api = Some(parsed(&mut parser)?),
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if days > MOST_DAYS {
        return Err(format!("--days is at most {MOST_DAYS}").into());
    }
    let plan_from = |first| Plan {
        accounts: first..=first + i64::from(accounts) - 1,
        days: days.into(),
        manual_runs: manual_runs.into(),
    };
    let command = match word.as_deref() {
        None | Some("trial") => Command::Trial(Trial {
            variants: if variants.is_empty() {
                Variant::ALL.to_vec()
            } else {
                variants
            },
            plan: plan_from(1),
        }),
        Some(_) if url.is_none() => {
            return Err("it needs --database-url: a database of its own is empty".into());
        }
        Some("status") => Command::Status(Status { limit }),
        Some("nightly") => match (api, first_account, &variants[..]) {
            (Some(api), Some(first), &[variant]) => Command::Nightly(Nightly {
                api,
                variant,
                plan: plan_from(first),
            }),
            _ => return Err("nightly is for the program itself".into()),
        },
        Some(word) => {
            return Err(format!("there is no command `{word}`: trial and status are").into());
        }
    };
    Ok(Some(Arguments { url, command }))
}
