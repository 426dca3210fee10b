//! The program, run in a directory of its own against a database of its own.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use tx_tests::{Backend, Bed};

/// Longer than the program takes for anything.
const LIMIT: Duration = Duration::from_mins(1);

/// What the program said, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What was printed, if all was well.
    #[track_caller]
    pub(crate) fn well(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.out
    }

    /// What was printed, if something was found.
    #[track_caller]
    pub(crate) fn found(&self) -> &str {
        assert_eq!((self.code, self.err.as_str()), (Some(1), ""), "{self:?}");
        &self.out
    }

    /// What was said, if something went wrong.
    #[track_caller]
    pub(crate) fn failed(&self) -> &str {
        assert_eq!((self.code, self.out.as_str()), (Some(2), ""), "{self:?}");
        &self.err
    }
}

/// Runs the program in `directory`; `DATABASE_URL` is `url`.
pub(crate) async fn run<A: AsRef<OsStr>>(directory: &Path, url: &str, arguments: &[A]) -> Ran {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tx-history"));
    program.current_dir(directory).args(arguments);
    program.env("DATABASE_URL", url).kill_on_drop(true);
    let ran = timeout(LIMIT, program.output()).await;
    let ran = ran.expect("the program ends").expect("it starts");
    Ran {
        code: ran.status.code(),
        out: String::from_utf8(ran.stdout).expect("text"),
        err: String::from_utf8(ran.stderr).expect("text"),
    }
}

/// A directory for `migrations`, and a database.
pub(crate) struct Desk<B: Backend> {
    pub(crate) bed: Bed<B>,
    directory: TempDir,
}

impl<B: Backend> Desk<B> {
    /// `None` where there is no server.
    pub(crate) async fn new() -> Option<Self> {
        let bed = Bed::build_with(B::recording, |pool| pool, |builder| builder);
        Some(Self {
            bed: bed.await?,
            directory: tempfile::tempdir().expect("a directory"),
        })
    }

    pub(crate) async fn run(&self, line: &str) -> Ran {
        let url = self.bed.options().to_url_lossy();
        let arguments: Vec<&str> = line.split_whitespace().collect();
        run(self.directory.path(), url.as_str(), &arguments).await
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a migration by hand.
    pub(crate) fn write(&self, name: &str, sql: &str) {
        std::fs::create_dir_all(self.path("migrations")).expect("a directory");
        std::fs::write(self.path("migrations").join(name), sql).expect("a file");
    }

    /// The names of the files that `sqlx migrate` would look at.
    pub(crate) fn migrations(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("migrations")).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names
            .map(|name| name.into_string().expect("text"))
            .collect();
        names.sort_unstable();
        names
    }

    pub(crate) async fn finish(self) {
        self.bed.assert_clean().await;
        self.bed.finish().await;
    }
}
