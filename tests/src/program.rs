//! A program of the workspace, run from the outside.

use std::net::SocketAddr;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// What takes longer hangs.
const LIMIT: Duration = Duration::from_mins(5);

/// A program, by the path of its file.
#[derive(Clone, Copy, Debug)]
pub struct Program(pub &'static str);

impl Program {
    /// Runs it to its end.
    ///
    /// # Panics
    ///
    /// If it does not start, or does not end.
    pub async fn run(self, arguments: &[&str]) -> Output {
        let output = Command::new(self.0)
            .args(arguments)
            .kill_on_drop(true)
            .output();
        let output = timeout(LIMIT, output).await;
        let output = output.unwrap_or_else(|_| panic!("it does not end: {arguments:?}"));
        output.expect("the program starts")
    }

    /// What a run has printed that must succeed.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn printed(self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What a run has said of why it fails, as it must.
    ///
    /// # Panics
    ///
    /// If it succeeds.
    pub async fn refusal(self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start(self, arguments: &[&str]) -> Running {
        let mut child = Command::new(self.0)
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let output = child.stdout.take().expect("it is piped");
        Running {
            child,
            lines: BufReader::new(output).lines(),
        }
    }
}

/// A program that runs, killed if the test does not end it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// The next line that it prints.
    ///
    /// # Panics
    ///
    /// If it prints no more.
    pub async fn line(&mut self) -> String {
        let line = timeout(LIMIT, self.lines.next_line()).await;
        let line = line.expect("it goes on or ends").expect("text");
        line.expect("it goes on")
    }

    /// Where it says, in its next line, that it listens.
    ///
    /// # Panics
    ///
    /// If it says something else.
    pub async fn address(&mut self) -> SocketAddr {
        let line = self.line().await;
        let address = line.strip_prefix("listening on http://").expect(&line);
        address.parse().expect(&line)
    }

    /// Sends the signal of this name, such as `TERM`.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let killed = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status();
        assert!(killed.expect("a signal can be sent").success());
    }

    /// How it ends.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(LIMIT, self.child.wait()).await;
        ended.expect("it ends").expect("it was started")
    }
}

/// The words of the line of `text` that begins with those of `start`, behind these.
///
/// # Panics
///
/// If there is none, or more than one.
#[must_use]
pub fn figures<'a>(text: &'a str, start: &[&str]) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.split_whitespace().collect());
    let lines = lines.filter(|words: &Vec<_>| words.starts_with(start));
    match &lines.collect::<Vec<_>>()[..] {
        [line] => line[start.len()..].to_vec(),
        found => panic!("{start:?} begins {} lines: {text}", found.len()),
    }
}
