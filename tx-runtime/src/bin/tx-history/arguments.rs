//! The command line.

use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::files::Form;

/// Printed for `--help`.
pub(crate) const HELP: &str = "\
Writes and checks the histories of audited tables.

Usage: tx-history generate [OPTIONS] TABLE..
       tx-history verify [OPTIONS] [TABLE..]

generate reads the tables and writes a migration for `sqlx migrate`: what makes their histories, or
what has changed since. verify prints every fault with the SQL that mends it; without tables, of all
that have a history. Neither changes anything in the database.

A table is named as in the catalogue, with its schema if it lies elsewhere: school.applicant; parts
with a dot or a quotation mark in them stand between quotation marks.

Options:
  --database-url URL  sqlite:, postgres:, mysql: or mariadb: [default: $DATABASE_URL]
  --source DIRECTORY  generate: where the migrations are [default: migrations]
  --reversible        generate: two files, .up.sql and .down.sql
  --simple            generate: one file [default: as the migrations that are there]
  --help              print this

Ends with 0 if all is well, with 1 if verify has found something, with 2 if it could not look.
";

/// What the program is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Generate(Generate),
    Verify(Verify),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Generate {
    pub(crate) url: String,
    pub(crate) directory: PathBuf,
    pub(crate) form: Form,
    pub(crate) tables: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verify {
    pub(crate) url: String,
    pub(crate) tables: Vec<String>,
}

/// Reads the program's arguments.
pub(crate) fn parse() -> Result<Command, lexopt::Error> {
    read(Parser::from_env(), std::env::var("DATABASE_URL").ok())
}

fn read(mut parser: Parser, mut url: Option<String>) -> Result<Command, lexopt::Error> {
    let (mut directory, mut form) = (None, None);
    let mut words: Vec<String> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("database-url") => url = Some(parser.value()?.string()?),
            Arg::Long("source") => directory = Some(PathBuf::from(parser.value()?)),
            Arg::Long("reversible") if form.is_none() => form = Some(Form::Reversible),
            Arg::Long("simple") if form.is_none() => form = Some(Form::Simple),
            Arg::Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    if words.is_empty() {
        return Err("say `generate` or `verify`".into());
    }
    let (command, tables) = (words.remove(0), words);
    let Some(url) = url else {
        return Err("say which database with --database-url, or in DATABASE_URL".into());
    };
    match command.as_str() {
        "generate" if tables.is_empty() => Err("generate: name the tables".into()),
        "generate" => Ok(Command::Generate(Generate {
            url,
            directory: directory.unwrap_or_else(|| PathBuf::from("migrations")),
            form: form.unwrap_or(Form::AsBefore),
            tables,
        })),
        "verify" if directory.is_some() || form.is_some() => {
            Err("verify writes no files: leave --source, --reversible and --simple out".into())
        }
        "verify" => Ok(Command::Verify(Verify { url, tables })),
        other => Err(format!("`{other}` is neither `generate` nor `verify`").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, Form, Generate, Parser, read};

    fn parsed(line: &str, url: Option<&str>) -> Result<Command, String> {
        let parser = Parser::from_args(line.split_whitespace());
        read(parser, url.map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_is_done_or_refused() {
        let generate = parsed("generate --source db a b --reversible", Some("sqlite:x"));
        let expected = Generate {
            url: "sqlite:x".to_owned(),
            directory: "db".into(),
            form: Form::Reversible,
            tables: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(generate, Ok(Command::Generate(expected)));
        assert!(matches!(
            parsed("verify --database-url x", None),
            Ok(Command::Verify(_))
        ));
        assert_eq!(parsed("--help", None), Ok(Command::Help));
        for (line, url, part) in [
            ("", Some("x"), "say `generate` or `verify`"),
            ("generate a", None, "DATABASE_URL"),
            ("generate", Some("x"), "name the tables"),
            ("verify --simple", Some("x"), "writes no files"),
            ("apply", Some("x"), "neither"),
            ("verify --simple --reversible", Some("x"), "--reversible"),
        ] {
            let refused = parsed(line, url).expect_err(line);
            assert!(refused.contains(part), "{line}: {refused}");
        }
    }
}
