//! The command line.

use std::net::SocketAddr;

use course_applicants::tables::Variant;
use lexopt::{Arg, Parser, ValueExt as _};
use stage::arguments::{chosen, count, parsed};
use strum::VariantArray as _;

/// Printed for `--help`.
pub(crate) const HELP: &str = "\
Who changed what about the applicants of courses, and why.

Usage: course-applicants [trial] [OPTIONS]
       course-applicants serve [OPTIONS]
       course-applicants history [OPTIONS] ID

trial starts the service, has clerks change applicants over HTTP, and prints how many of their
changes are stored, a line for each way the history is made. It makes the tables `applicant` and
`applicant_history`, which must not be there, and removes them again. serve runs the service until
it is stopped; it makes the tables if they are not there, looks whether the history is as it should
be, and does not start otherwise. history prints all changes of an applicant.

Options:
  --database-url URL  sqlite:, postgres:, mysql: or mariadb:; without it, a SQLite file that is
                      removed at the end
  --variant NAME      hand-made (the incident) or generated: who makes the history;
                      trial takes both [default: both],
                      serve one, for a table without a history [default: generated]
  --applicants N      trial: applicants, each of whom is changed four times [default: 40]
  --unchecked         serve: start without looking at the history
  --listen ADDRESS    serve: where to listen [default: 127.0.0.1:8080]
  --help              print this
";

/// What the program is to do, and where.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) url: Option<String>,
    pub(crate) command: Command,
}

#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Trial(Trial),
    Serve(Serve),
    /// The history of the applicant of this number.
    History(i64),
}

#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) variants: Vec<Variant>,
    pub(crate) applicants: u32,
}

#[derive(Debug)]
pub(crate) struct Serve {
    pub(crate) variant: Variant,
    pub(crate) unchecked: bool,
    pub(crate) listen: SocketAddr,
}

/// Reads the program's arguments.
pub(crate) fn parse() -> Result<Arguments, lexopt::Error> {
    read(Parser::from_env())
}

fn read(mut parser: Parser) -> Result<Arguments, lexopt::Error> {
    let mut words = Vec::new();
    let mut url = None;
    let mut variants = Vec::new();
    let mut applicants = None;
    let mut unchecked = false;
    let mut listen = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) => words.push(word.string()?),
            Arg::Long("database-url") => url = Some(parser.value()?.string()?),
            Arg::Long("variant") => variants.push(chosen(&mut parser)?),
            Arg::Long("applicants") => applicants = Some(count(&mut parser)?),
            Arg::Long("unchecked") => unchecked = true,
            Arg::Long("listen") => listen = Some(parsed(&mut parser)?),
            Arg::Long("help") | Arg::Short('h') => {
                let command = Command::Help;
                return Ok(Arguments { url, command });
            }
            other => return Err(other.unexpected()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is_for_serve = unchecked || listen.is_some();
    let command = match words[..] {
        [] | ["trial"] if is_for_serve => {
            return Err("--unchecked and --listen are options of serve".into());
        }
        [] | ["trial"] => Command::Trial(Trial {
            variants: if variants.is_empty() {
                Variant::VARIANTS.to_vec()
            } else {
                variants
            },
            applicants: applicants.unwrap_or(40),
        }),
        ["serve"] if applicants.is_some() => {
            return Err("--applicants is an option of trial".into());
        }
        ["serve"] if variants.len() > 1 => return Err("serve takes one --variant".into()),
        ["serve"] => Command::Serve(Serve {
            variant: variants.pop().unwrap_or(Variant::Generated),
            unchecked,
            listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
        }),
        ["history", ..] if url.is_none() => {
            return Err("history: say which database with --database-url".into());
        }
        ["history", _] if is_for_serve || applicants.is_some() || !variants.is_empty() => {
            return Err("history takes the option --database-url alone".into());
        }
        ["history", id] => Command::History(
            id.parse()
                .map_err(|_| format!("`{id}` is not the number of an applicant"))?,
        ),
        ["history", ..] => return Err("history: say the number of one applicant".into()),
        [word, ..] => {
            return Err(
                format!("`{word}` is too much: trial, serve and history ID are there").into(),
            );
        }
    };
    Ok(Arguments { url, command })
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::{Arguments, Command, Parser, Variant, read};

    fn command(line: &str) -> Result<Command, String> {
        let parsed = read(Parser::from_args(line.split_whitespace()));
        let Arguments { command, .. } = parsed.map_err(|error| error.to_string())?;
        Ok(command)
    }

    #[test]
    fn nothing_is_a_trial_of_both_variants() {
        let Ok(Command::Trial(trial)) = command("") else {
            panic!("not a trial");
        };
        assert_eq!(
            (trial.variants, trial.applicants),
            (Variant::VARIANTS.to_vec(), 40)
        );
    }

    #[test]
    fn serve_is_right_and_careful_unless_told_otherwise() {
        let Ok(Command::Serve(serve)) = command("serve") else {
            panic!("not serve");
        };
        assert_eq!(
            (serve.variant, serve.unchecked),
            (Variant::Generated, false)
        );
    }

    #[test]
    fn an_option_that_means_nothing_is_refused() {
        for (line, part) in [
            ("rain", "rain"),
            ("trial serve", "trial"),
            ("--frobnicate", "--frobnicate"),
            ("--applicants 0", "0"),
            ("--variant right", "hand-made or generated"),
            ("--unchecked", "options of serve"),
            ("trial --listen 127.0.0.1:0", "options of serve"),
            ("serve --applicants 5", "option of trial"),
            (
                "serve --variant hand-made --variant generated",
                "one --variant",
            ),
            ("history 7", "--database-url"),
            ("history --database-url x", "the number"),
            ("history --database-url x seven", "`seven`"),
            ("history --database-url x 7 8", "the number"),
            ("history --database-url x 7 --unchecked", "alone"),
        ] {
            let refused = command(line).expect_err(line);
            assert!(refused.contains(part), "{line}: {refused}");
        }
    }
}
