//! The command line.

use lexopt::{Arg, Parser, ValueExt as _};
use product_admin::variant::Variant;
use product_admin::way::Way;
use stage::arguments::chosen;
use strum::VariantArray as _;

/// Printed for `--help`.
pub(crate) const HELP: &str = "\
A job returns early, and no connection goes back to the pool inside its transaction.

Usage: product-admin [OPTIONS]

Has a job leave in the middle of its transaction, sells a product on every connection of the
pool, starts the application again and prints what each connection showed and what is stored.

Options:
  --database-url URL  sqlite:, postgres:, mysql: or mariadb:; without it, a SQLite file that is
                      removed at the end. The table `admin_product` is created if it is not
                      there; the products of the trial are deleted from it at the end.
  --variant NAME      hand-written or transactional; several may be given [default: both]
  --way NAME          return, error, panic, timeout or dropped; several may be given
                      [default: all]
  --help              print this
";

/// What is to be tried, and where.
#[derive(Debug)]
pub(crate) struct Trials {
    pub(crate) url: Option<String>,
    pub(crate) variants: Vec<Variant>,
    pub(crate) ways: Vec<Way>,
}

/// Reads the program's arguments; `None` asks for help.
///
/// # Errors
///
/// What is wrong with them.
pub(crate) fn parse() -> Result<Option<Trials>, lexopt::Error> {
    read(Parser::from_env())
}

fn read(mut parser: Parser) -> Result<Option<Trials>, lexopt::Error> {
    let mut trials = Trials {
        url: None,
        variants: Vec::new(),
        ways: Vec::new(),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("database-url") => trials.url = Some(parser.value()?.string()?),
            Arg::Long("variant") => trials.variants.push(chosen(&mut parser)?),
            Arg::Long("way") => trials.ways.push(chosen(&mut parser)?),
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if trials.variants.is_empty() {
        trials.variants = Variant::VARIANTS.to_vec();
    }
    if trials.ways.is_empty() {
        trials.ways = Way::VARIANTS.to_vec();
    }
    Ok(Some(trials))
}
