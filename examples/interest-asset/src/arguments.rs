//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use interest_asset::variant::Variant;
use lexopt::{Arg, Parser, ValueExt as _};
use stage::arguments::{chosen, count, parsed};
use strum::VariantArray as _;

/// Printed for `--help`.
pub(crate) const HELP: &str = "\
A user double-taps `add to favourites`, and exactly one row per account comes out.

Usage: interest-asset [storm] [OPTIONS]
       interest-asset serve [OPTIONS]

storm starts the service, double-taps it over HTTP and prints what that did to the tables,
a line for each way the service is written. serve runs the service until it is stopped.

Options:
  --database-url URL  sqlite:, postgres:, mysql: or mariadb:; without it, a SQLite file that is
                      removed at the end. The tables `interest_asset` and `notification` are
                      created if they are not there. storm uses accounts that nobody has, and
                      deletes what it stored about them; run one storm at a time.
  --redis-url URL     redis://host[:port]: keep the locks there, not in the database or, with
                      SQLite, in the process. The database then needs the table `tx_fence`:
                      it is created if it is not there, and remembers the locks for good.
  --pool N            connections to the database [default: 4]
  --variant NAME      no-lock, lock-released-before-commit, isolated or one-transaction;
                      storm takes several [default: all],
                      serve one [default: one-transaction]
  --accounts N        storm: accounts that add assets [default: 1000]
  --clients N         storm: users who tap at the same time [default: 64]
  --instances N       storm: services that share the database and the users' taps, each with
                      a pool of its own [default: 1]
  --timeline FILE     storm: draw the last scopes, locks and transactions there: as SVG if its
                      name ends in .svg, or else as text
  --listen ADDRESS    serve: where to listen [default: 127.0.0.1:8080]
  --help              print this
";

/// What the program is to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Storm(Storm),
    Serve(Serve),
}

/// Which database, who connects to it, and who keeps its locks.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) url: Option<String>,
    /// The Redis that keeps the locks.
    pub(crate) redis: Option<String>,
    /// The connections of each instance.
    pub(crate) pool: u32,
    /// How many services there are, each with a pool of its own.
    pub(crate) instances: u32,
}

#[derive(Debug)]
pub(crate) struct Storm {
    pub(crate) database: Database,
    pub(crate) variants: Vec<Variant>,
    pub(crate) accounts: u32,
    pub(crate) clients: u32,
    /// Where a picture of the last of it is to go.
    pub(crate) timeline: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Serve {
    pub(crate) database: Database,
    pub(crate) variant: Variant,
    pub(crate) listen: SocketAddr,
}

/// Reads the program's arguments.
///
/// # Errors
///
/// What is wrong with them.
pub(crate) fn parse() -> Result<Command, lexopt::Error> {
    read(Parser::from_env())
}

fn read(mut parser: Parser) -> Result<Command, lexopt::Error> {
    let mut command = None;
    let mut url = None;
    let mut redis = None;
    let mut pool = 4;
    let mut variants = Vec::new();
    let mut accounts = None;
    let mut clients = None;
    let mut instances = None;
    let mut timeline = None;
    let mut listen = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) if command.is_none() => command = Some(word.string()?),
            Arg::Long("database-url") => url = Some(parser.value()?.string()?),
            Arg::Long("redis-url") => redis = Some(parser.value()?.string()?),
            Arg::Long("pool") => pool = count(&mut parser)?,
            Arg::Long("variant") => variants.push(chosen(&mut parser)?),
            Arg::Long("accounts") => accounts = Some(count(&mut parser)?),
            Arg::Long("clients") => clients = Some(count(&mut parser)?),
            Arg::Long("instances") => instances = Some(count(&mut parser)?),
            Arg::Long("timeline") => timeline = Some(parser.value()?.into()),
            Arg::Long("listen") => listen = Some(parsed(&mut parser)?),
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    let database = Database {
        url,
        redis,
        pool,
        instances: instances.unwrap_or(1),
    };
    match command.as_deref() {
        None | Some("storm") if listen.is_none() => Ok(Command::Storm(Storm {
            database,
            variants: if variants.is_empty() {
                Variant::VARIANTS.to_vec()
            } else {
                variants
            },
            accounts: accounts.unwrap_or(1000),
            clients: clients.unwrap_or(64),
            timeline,
        })),
        None | Some("storm") => Err("--listen is an option of serve".into()),
        Some("serve") if accounts.or(clients).or(instances).is_some() => {
            Err("--accounts, --clients and --instances are options of storm".into())
        }
        Some("serve") if timeline.is_some() => Err("--timeline is an option of storm".into()),
        Some("serve") if variants.len() > 1 => Err("serve takes one --variant".into()),
        Some("serve") => Ok(Command::Serve(Serve {
            database,
            variant: variants.pop().unwrap_or(Variant::OneTransaction),
            listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
        })),
        Some(word) => Err(format!("there is no command `{word}`: storm and serve are").into()),
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::{Command, Parser, Variant, read};

    fn command(line: &str) -> Result<Command, String> {
        let parser = Parser::from_args(line.split_whitespace());
        read(parser).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_a_storm_of_all_variants() {
        let Ok(Command::Storm(storm)) = command("") else {
            panic!("not a storm");
        };
        assert_eq!(storm.variants, Variant::VARIANTS);
        assert_eq!((storm.clients, storm.database.pool), (64, 4));
        assert_eq!(storm.database.redis, None);
    }

    #[test]
    fn a_storm_takes_several_variants() {
        let Ok(Command::Storm(storm)) = command("storm --variant no-lock --variant=isolated")
        else {
            panic!("not a storm");
        };
        assert_eq!(storm.variants, [Variant::NoLock, Variant::Isolated]);
    }

    #[test]
    fn serve_is_right_unless_told_otherwise() {
        let line = "serve --listen 127.0.0.1:0 --redis-url redis://localhost";
        let Ok(Command::Serve(serve)) = command(line) else {
            panic!("not serve");
        };
        assert_eq!(serve.database.redis.as_deref(), Some("redis://localhost"));
        assert!(serve.variant.is_right());
        assert_eq!(serve.listen.port(), 0);
    }

    #[test]
    fn an_option_that_means_nothing_is_refused() {
        for line in [
            "rain",
            "storm serve",
            "--frobnicate",
            "--pool 0",
            "--pool",
            "--variant lock",
            "--listen 127.0.0.1:0",
            "serve --accounts 5",
            "serve --clients 5",
            "serve --instances 2",
            "serve --timeline picture.svg",
            "serve --variant no-lock --variant isolated",
        ] {
            assert!(command(line).is_err(), "{line}");
        }
    }
}
