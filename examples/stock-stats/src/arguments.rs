//! The command line.

use lexopt::{Arg, Parser, ValueExt as _};
use stage::arguments::{chosen, count, parsed};
use stock_stats::trial::Size;
use stock_stats::variant::Variant;
use strum::VariantArray as _;

/// Printed for `--help`.
pub(crate) const HELP: &str = "\
Two batches write one table of statistics, and a closed day stays as it was closed.

Usage: stock-stats [trial] [OPTIONS]
       stock-stats --crash [OPTIONS]
       stock-stats run [OPTIONS]
       stock-stats status --database-url URL [--last N]

trial runs many days in little time, from two processes' pools, with both batches due at each
midnight; it prints what came of it, a line for each way the batches are written. --crash kills
a batch half-way and shows how the next one takes over. run is the right way under a scheduler:
`0 0 * * *` opens a day, `*/5 * * * *` refreshes it. status prints the log of tickets.

Options:
  --database-url URL  sqlite:, postgres:, mysql: or mariadb:; without it, a SQLite file that is
                      removed at the end. The tables `stock_..`, `tx_ticket` and
                      `tx_ticket_process` are created if they are not there. trial and --crash
                      EMPTY the tables `stock_..`, before and after; the tickets stay.
  --variant NAME      trial: overlapping, in-one-transaction or grouped, or several
                      [default: all]
  --days N            trial: midnights [default: 30]
  --refreshes N       trial: refreshes in a day [default: 4]
  --users N           rows of a day [default: 20]
  --seed N            prices and holdings that were there before [default: others each time]
  --speed N           run: a clock that is so many times as fast, from 23:50 on
                      [default: the real time]
  --last N            status: so many tickets [default: 20]
  --help              print this
";

/// What the program is to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Trial(Trial),
    Crash(Crash),
    Run(Run),
    Status(Status),
    /// For `--crash`, which starts it.
    Victim(Victim),
}

#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) variants: Vec<Variant>,
    pub(crate) size: Size,
    pub(crate) seed: u64,
}

#[derive(Debug)]
pub(crate) struct Crash {
    pub(crate) users: u32,
    pub(crate) seed: u64,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) users: u32,
    pub(crate) seed: u64,
    /// How much faster than real time; `None` for the real time.
    pub(crate) speed: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Status {
    /// How many tickets.
    pub(crate) last: u32,
}

#[derive(Debug)]
pub(crate) struct Victim;

/// Reads the program's arguments: where, and what to do there.
///
/// # Errors
///
/// What is wrong with them.
pub(crate) fn parse() -> Result<(Option<String>, Command), lexopt::Error> {
    read(Parser::from_env())
}

#[derive(Default)]
struct Given {
    command: Option<String>,
    url: Option<String>,
    variants: Vec<Variant>,
    days: Option<u32>,
    refreshes: Option<u32>,
    users: Option<u32>,
    seed: Option<u64>,
    speed: Option<u32>,
    last: Option<u32>,
}

fn read(mut parser: Parser) -> Result<(Option<String>, Command), lexopt::Error> {
    let mut given = Given::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) if given.command.is_none() => given.command = Some(word.string()?),
            Arg::Long("crash") if given.command.is_none() => {
                given.command = Some("--crash".to_owned());
            }
            Arg::Long("database-url") => given.url = Some(parser.value()?.string()?),
            Arg::Long("variant") => given.variants.push(chosen(&mut parser)?),
            Arg::Long("days") => given.days = Some(count(&mut parser)?),
            Arg::Long("refreshes") => given.refreshes = Some(count(&mut parser)?),
            Arg::Long("users") => given.users = Some(count(&mut parser)?),
            Arg::Long("seed") => given.seed = Some(parsed(&mut parser)?),
            Arg::Long("speed") => given.speed = Some(count(&mut parser)?),
            Arg::Long("last") => given.last = Some(count(&mut parser)?),
            Arg::Long("help") | Arg::Short('h') => return Ok((None, Command::Help)),
            other => return Err(other.unexpected()),
        }
    }
    let command = given.command.take();
    let url = given.url.take();
    let command = given.into_command(command.as_deref().unwrap_or("trial"))?;
    if url.is_none() && matches!(command, Command::Status(_)) {
        return Err("status needs a --database-url: a new file has no tickets".into());
    }
    Ok((url, command))
}

impl Given {
    fn into_command(self, command: &str) -> Result<Command, lexopt::Error> {
        self.check(command)?;
        let users = self.users.unwrap_or(20);
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        Ok(match command {
            "trial" => Command::Trial(Trial {
                variants: if self.variants.is_empty() {
                    Variant::VARIANTS.to_vec()
                } else {
                    self.variants
                },
                size: Size {
                    days: self.days.unwrap_or(30),
                    refreshes: self.refreshes.unwrap_or(4),
                    users,
                },
                seed,
            }),
            "--crash" => Command::Crash(Crash { users, seed }),
            "run" => Command::Run(Run {
                users,
                seed,
                speed: self.speed,
            }),
            "status" => Command::Status(Status {
                last: self.last.unwrap_or(20),
            }),
            "victim" => Command::Victim(Victim),
            word => {
                let all = "trial, --crash, run and status are";
                return Err(format!("there is no command `{word}`: {all}").into());
            }
        })
    }

    /// Refuses options that mean nothing to `command`.
    fn check(&self, command: &str) -> Result<(), lexopt::Error> {
        let of_trial = !self.variants.is_empty() || self.days.or(self.refreshes).is_some();
        let of_all_that_write = self.users.is_some() || self.seed.is_some();
        for (given, of, options) in [
            (
                of_trial,
                &["trial"][..],
                "--variant, --days and --refreshes",
            ),
            (
                of_all_that_write,
                &["trial", "--crash", "run"],
                "--users and --seed",
            ),
            (self.speed.is_some(), &["run"], "--speed"),
            (self.last.is_some(), &["status"], "--last"),
        ] {
            if given && !of.contains(&command) {
                return Err(format!("{options}: for {}, not {command}", of.join(", ")).into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::{Command, Parser, Variant, read};

    fn command(line: &str) -> Result<Command, String> {
        let parser = Parser::from_args(line.split_whitespace());
        let read = read(parser).map_err(|error| error.to_string());
        read.map(|(_, command)| command)
    }

    #[test]
    fn nothing_is_a_trial_of_all_variants() {
        let Ok(Command::Trial(trial)) = command("") else {
            panic!("not a trial");
        };
        assert_eq!(trial.variants, Variant::VARIANTS);
        assert_eq!((trial.size.days, trial.size.users), (30, 20));
    }

    #[test]
    fn a_trial_takes_several_variants_and_a_seed() {
        let line = "trial --variant grouped --variant=overlapping --seed 7";
        let Ok(Command::Trial(trial)) = command(line) else {
            panic!("not a trial");
        };
        assert_eq!(trial.variants, [Variant::Grouped, Variant::Overlapping]);
        assert_eq!(trial.seed, 7);
    }

    #[test]
    fn each_command_is_understood() {
        assert!(
            matches!(command("--crash --users 10"), Ok(Command::Crash(crash)) if crash.users == 10)
        );
        assert!(
            matches!(command("run --speed 600"), Ok(Command::Run(run)) if run.speed == Some(600))
        );
        assert!(
            matches!(command("status --database-url sqlite:a --last 3"), Ok(Command::Status(status)) if status.last == 3)
        );
    }

    #[test]
    fn an_option_that_means_nothing_is_refused() {
        for line in [
            "rain",
            "trial run",
            "run --crash",
            "--frobnicate",
            "--days 0",
            "--days",
            "--variant lock",
            "--speed 2",
            "status",
            "status --database-url sqlite:a --users 5",
            "run --days 5",
            "run --last 5",
            "--crash --variant grouped",
        ] {
            assert!(command(line).is_err(), "{line}");
        }
    }
}
