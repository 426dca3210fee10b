//! A Redis of a test's own, which it may pause, kill and restart.
//!
//! One that is there already is of no use: what is to be shown is what becomes of locks when
//! their Redis comes to harm.

use std::ffi::OsString;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, FromRedisValue, RedisError};
use tokio::time::{sleep, timeout};

use crate::{private_server, scratch, server};

/// A server that does not answer within this time counts as absent.
const KNOCK_LIMIT: Duration = Duration::from_secs(2);

/// How long a private one may take to start or to die.
const CHANGE_LIMIT: Duration = Duration::from_mins(1);

async fn knock(url: &str) -> Result<(), String> {
    let answer = timeout(KNOCK_LIMIT, ask::<String>(url, &["PING"])).await;
    let answer = answer.map_err(|_| format!("no answer within {KNOCK_LIMIT:?}"))?;
    answer.map(drop).map_err(|error| error.to_string())
}

async fn ask<T: FromRedisValue>(url: &str, command: &[&str]) -> Result<T, RedisError> {
    let mut connection = Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    let mut asked = redis::cmd(command[0]);
    asked.arg(&command[1..]);
    asked.query_async(&mut connection).await
}

/// A Redis of the test's own, empty and without persistence, ended with this value.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    port: u16,
    url: String,
    /// Its process, while there is one.
    pid: Option<String>,
}

impl RedisServer {
    /// Starts one; `None` where it is not installed.
    ///
    /// # Panics
    ///
    /// If it does not start, and, where `CI` is set, if it is not installed.
    pub async fn start() -> Option<Self> {
        let program = private_server::find("redis-server", &private_server::path());
        let Some(program) = program else {
            let otherwise = "put `redis-server` on the path";
            server::report_absence("Redis", "the package `redis-server`", otherwise);
            return None;
        };
        let port = private_server::free_port().expect("a free port");
        let mut server = Self {
            program,
            port,
            url: format!("redis://127.0.0.1:{port}"),
            pid: None,
        };
        server.restart().await;
        Some(server)
    }

    /// How to connect to it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a command, over a connection of its own.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let answer = timeout(CHANGE_LIMIT, ask(&self.url, command)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{command:?}: Redis does not answer"));
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Stops its process where it stands.
    ///
    /// # Panics
    ///
    /// If it is not running.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets its process go on.
    ///
    /// # Panics
    ///
    /// If it is not running.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Kills its process, and with it all it knew; returns when it is gone.
    ///
    /// # Panics
    ///
    /// If it is not running or does not die.
    pub async fn kill(&mut self) {
        self.signal("-KILL");
        self.pid = None;
        let deadline = Instant::now() + CHANGE_LIMIT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            assert!(Instant::now() < deadline, "Redis does not die");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts it after [`kill`](Self::kill), empty, at the same place.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn restart(&mut self) {
        let directory = std::env::temp_dir().join(format!("{}_redis", scratch::fresh_name()));
        std::fs::create_dir_all(&directory).expect("a directory for Redis");
        let mut serve = vec![self.program.clone().into_os_string()];
        let port = self.port.to_string();
        let settings = [
            ["--port", &port],
            ["--bind", "127.0.0.1"],
            ["--save", ""],
            ["--appendonly", "no"],
        ];
        serve.extend(settings.as_flattened().iter().map(OsString::from));
        serve.extend(["--dir".into(), directory.clone().into_os_string()]);
        // The watcher ends by itself, soon after the server or the tests.
        drop(private_server::watch(&directory, "", &serve).expect("a shell"));
        let deadline = Instant::now() + CHANGE_LIMIT;
        while let Err(reason) = knock(&self.url).await {
            assert!(Instant::now() < deadline, "Redis does not start: {reason}");
            sleep(Duration::from_millis(20)).await;
        }
        let info: String = self.ask(&["INFO", "server"]).await;
        let pid = info
            .lines()
            .find_map(|line| line.strip_prefix("process_id:"));
        let pid = pid.expect("Redis knows its process").trim().to_owned();
        self.pid = Some(pid);
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid.as_ref().expect("it runs");
        assert!(signalled(signal, pid), "kill {signal}");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(pid) = &self.pid {
            signalled("-KILL", pid);
        }
    }
}

fn signalled(signal: &str, pid: &str) -> bool {
    let mut kill = Command::new("kill");
    kill.args([signal, pid]).stderr(Stdio::null());
    kill.status().is_ok_and(|status| status.success())
}
