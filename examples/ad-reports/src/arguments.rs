//! The command line.

use std::net::SocketAddr;

use ad_reports::plan::Plan;
use ad_reports::variant::Variant;
use lexopt::{Arg, Parser, ValueExt as _};
use stage::arguments::{chosen, count, parsed};
use strum::VariantArray as _;

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
seen, a line for each way the importer is written. status prints the last tickets of the database:
who has an account's lock, and who waits behind whom; it can be asked while a trial runs.

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
  --limit N           status: how many tickets, the newest [default: 50]
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
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(value) if word.is_none() => word = Some(value.string()?),
            Arg::Long("database-url") => options.url = Some(parser.value()?.string()?),
            Arg::Long("variant") => options.variants.push(chosen(&mut parser)?),
            Arg::Long("accounts") => options.accounts = Some(count(&mut parser)?),
            Arg::Long("days") => options.days = Some(count(&mut parser)?),
            Arg::Long("manual-runs") => options.manual_runs = Some(count(&mut parser)?),
            Arg::Long("limit") => options.limit = Some(count(&mut parser)?),
            Arg::Long("api") => options.api = Some(parsed(&mut parser)?),
            Arg::Long("first-account") => options.first_account = Some(parsed(&mut parser)?),
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    let command = match word.as_deref() {
        None | Some("trial") => options.trial()?,
        Some("status") => options.status()?,
        Some("nightly") => options.nightly()?,
        Some(word) => {
            return Err(format!("there is no command `{word}`: trial and status are").into());
        }
    };
    let url = options.url;
    Ok(Some(Arguments { url, command }))
}

/// What was given, whatever the command.
#[derive(Default)]
struct Options {
    url: Option<String>,
    variants: Vec<Variant>,
    accounts: Option<u32>,
    days: Option<u32>,
    manual_runs: Option<u32>,
    limit: Option<u32>,
    api: Option<SocketAddr>,
    first_account: Option<i64>,
}

impl Options {
    fn trial(&self) -> Result<Command, lexopt::Error> {
        if self.limit.is_some() {
            return Err("--limit is an option of status".into());
        }
        if self.api.is_some() || self.first_account.is_some() {
            return Err("--api and --first-account are options of nightly".into());
        }
        let variants = match &self.variants[..] {
            [] => Variant::VARIANTS.to_vec(),
            given => given.to_vec(),
        };
        let plan = self.plan_from(1)?;
        Ok(Command::Trial(Trial { variants, plan }))
    }

    fn status(&self) -> Result<Command, lexopt::Error> {
        let of_imports = [self.accounts, self.days, self.manual_runs];
        if of_imports.iter().any(Option::is_some) || !self.variants.is_empty() {
            return Err("status imports nothing: it takes --database-url and --limit".into());
        }
        if self.url.is_none() {
            return Err("status needs --database-url: a database of its own is empty".into());
        }
        let limit = self.limit.unwrap_or(50);
        Ok(Command::Status(Status { limit }))
    }

    fn nightly(&self) -> Result<Command, lexopt::Error> {
        match (&self.url, self.api, self.first_account, &self.variants[..]) {
            (Some(_), Some(api), Some(first), &[variant]) => Ok(Command::Nightly(Nightly {
                api,
                variant,
                plan: self.plan_from(first)?,
            })),
            _ => Err("nightly is what a trial starts: it has what that gives it".into()),
        }
    }

    fn plan_from(&self, first: i64) -> Result<Plan, lexopt::Error> {
        let days = self.days.unwrap_or(5);
        if days > MOST_DAYS {
            return Err(format!("--days is at most {MOST_DAYS}").into());
        }
        Ok(Plan {
            accounts: first..=first + i64::from(self.accounts.unwrap_or(4)) - 1,
            days: days.into(),
            manual_runs: self.manual_runs.unwrap_or(2).into(),
        })
    }
}
