//! A server of our own, from installed programs, ended with the test process; and one that a
//! test may kill and start again.

use std::ffi::{OsStr, OsString};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::ConnectOptions as _;
use tokio::time::{sleep, timeout};

use crate::backend::Backend;
use crate::scratch;
use crate::server::{self, Kind};

const INSTALL_LIMIT: Duration = Duration::from_mins(1);
const START_LIMIT: Duration = Duration::from_mins(2);
const END_LIMIT: Duration = Duration::from_secs(5);
const KNOCK_LIMIT: Duration = Duration::from_secs(2);

/// Runs the server until the test process or the server ends, however the former does.
/// Its arguments: the process to watch, the directory to remove, what of that directory
/// survives the server ("data") or not (""), the server's command line.
const WATCHER: &str = r#"
parent=$1; directory=$2; survives=$3; shift 3
"$@" >>"$directory/server.log" 2>&1 &
server=$!
echo "$server" >"$directory/server.pid"
while kill -0 "$parent" 2>/dev/null && kill -0 "$server" 2>/dev/null; do sleep 0.2; done
kill "$server" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$server" 2>/dev/null || break; sleep 1; done
kill -9 "$server" 2>/dev/null
if [ -z "$survives" ] || ! kill -0 "$parent" 2>/dev/null; then rm -rf "$directory"; fi
"#;

/// How to make and run a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recipe {
    /// `initdb`, then `postgres`; never as root, which it refuses.
    Postgres,
    /// `mariadb-install-db` or `mysqld --initialize-insecure`, then the server.
    MySql,
}

/// Starts a server and gives its URL, or says on stderr why it did not.
pub(crate) async fn start<B: Backend>(kind: &Kind) -> Option<String> {
    let directory = fresh_directory();
    let started = within_limits(kind, async {
        let Plan { serve, url, .. } = install(kind, &directory).await?;
        serve_in::<B>(&directory, "", &serve, &url).await?;
        Ok(url)
    });
    started.await
}

fn fresh_directory() -> PathBuf {
    std::env::temp_dir().join(format!("{}_server", scratch::fresh_name()))
}

async fn within_limits<T>(
    kind: &Kind,
    start: impl Future<Output = Result<T, Failure>>,
) -> Option<T> {
    match timeout(INSTALL_LIMIT + START_LIMIT, start).await {
        Ok(Ok(started)) => Some(started),
        Ok(Err(Failure::NotInstalled)) => None,
        Ok(Err(Failure::Broken(reason))) => {
            eprintln!("tx-tests: a private {} does not start: {reason}", kind.name);
            None
        }
        Err(_) => {
            eprintln!("tx-tests: a private {} takes too long to start", kind.name);
            None
        }
    }
}

/// A PostgreSQL or MariaDB of the test's own, which it may kill and start again, with an empty
/// database.
#[derive(Debug)]
pub struct PrivateServer {
    directory: PathBuf,
    serve: Vec<OsString>,
    port: u16,
    server_url: String,
    url: String,
}

impl PrivateServer {
    /// Starts one; `None` where its programs are absent.
    ///
    /// # Panics
    ///
    /// Where `CI` is set, if it does not start.
    pub async fn start<B: Backend>(kind: &Kind) -> Option<Self> {
        let started = if std::env::var(kind.variable).is_ok_and(|named| named == "none") {
            None
        } else {
            within_limits(kind, Self::try_start::<B>(kind)).await
        };
        if started.is_none() {
            server::report_absence(kind.name, kind.packages, "put its programs on the path");
        }
        started
    }

    async fn try_start<B: Backend>(kind: &Kind) -> Result<Self, Failure> {
        let directory = fresh_directory();
        let mut plan = install(kind, &directory).await?;
        if matches!(kind.private, Recipe::MySql) {
            // What is committed survives the process; by default ours forget the last second.
            plan.serve.push("--innodb-flush-log-at-trx-commit=2".into());
        }
        let server = Self {
            directory,
            port: plan.port,
            serve: plan.serve,
            url: format!("{}/own", plan.url),
            server_url: plan.url,
        };
        server.serve::<B>().await?;
        let admin = server::options::<B>(&server.server_url).connect().await;
        let mut admin = admin.map_err(|error| Failure::Broken(error.to_string()))?;
        let made = B::raw(B::on(&mut admin), "create database own").await;
        made.map_err(|error| Failure::Broken(error.to_string()))?;
        Ok(server)
    }

    /// How to connect to its database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends its process a signal that ends it at once: `KILL`, or `QUIT` to PostgreSQL.
    /// Returns when it accepts no connections any more.
    ///
    /// # Panics
    ///
    /// If it is not running or does not end.
    pub async fn crash(&self, signal: &str) {
        assert!(self.signalled(signal), "kill -{signal}");
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            assert!(Instant::now() < deadline, "the server does not end");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Starts it after [`crash`](Self::crash), at the same place and with what it had stored.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn restart<B: Backend>(&self) {
        let deadline = Instant::now() + START_LIMIT;
        // What is left of the one that was killed may be in the way for a moment.
        while let Err(failure) = self.serve::<B>().await {
            assert!(Instant::now() < deadline, "{failure:?}");
        }
    }

    /// Waits until it serves, as it does again by itself when one of its processes is killed.
    ///
    /// # Panics
    ///
    /// If that takes too long.
    pub async fn recovered<B: Backend>(&self) {
        let deadline = Instant::now() + START_LIMIT;
        while let Err(reason) = server::knock::<B>(&self.url, KNOCK_LIMIT).await {
            assert!(Instant::now() < deadline, "{reason}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn serve<B: Backend>(&self) -> Result<(), Failure> {
        serve_in::<B>(&self.directory, "data", &self.serve, &self.server_url).await
    }

    fn signalled(&self, signal: &str) -> bool {
        let pid = std::fs::read_to_string(self.directory.join("server.pid"));
        pid.is_ok_and(|pid| {
            let mut kill = Command::new("kill");
            kill.args([&format!("-{signal}"), pid.trim()]);
            kill.stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        // PostgreSQL takes its other processes with it.
        self.signalled("QUIT");
        self.signalled("KILL");
        // Some of them may still write.
        let deadline = Instant::now() + END_LIMIT;
        while std::fs::remove_dir_all(&self.directory).is_err() && self.directory.exists() {
            if Instant::now() > deadline {
                eprintln!("tx-tests: {} was not removed", self.directory.display());
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[derive(Debug)]
enum Failure {
    NotInstalled,
    Broken(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A port to listen on, also after a while in which nobody has.
///
/// It is below those that a system gives to whoever connects somewhere, which would otherwise
/// take it in that while.
pub(crate) fn free_port() -> std::io::Result<u16> {
    const PORTS: std::ops::Range<u32> = 20_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Each process begins elsewhere, since several look at the same time.
    let first = std::process::id().wrapping_mul(61);
    for _ in PORTS {
        let n = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + n % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(std::io::ErrorKind::AddrInUse.into())
}

/// Makes the data directory of a server; gives how to run it.
async fn install(kind: &Kind, directory: &Path) -> Result<Plan, Failure> {
    let port = free_port()?;
    let data = directory.join("data");
    let plan = match kind.private {
        Recipe::Postgres => postgres(&data, port)?,
        Recipe::MySql => mysql(directory, &data, port)?,
    };
    std::fs::create_dir_all(directory)?;
    if matches!(kind.private, Recipe::Postgres) && is_root() {
        run(&words(["chown", "postgres"], [directory])).await?;
    }
    run(&plan.install).await?;
    Ok(plan)
}

async fn serve_in<B: Backend>(
    directory: &Path,
    survives: &str,
    serve: &[OsString],
    url: &str,
) -> Result<(), Failure> {
    let mut watcher = watch(directory, survives, serve)?;
    wait_until_it_answers::<B>(url, &mut watcher, directory).await
}

/// Runs the server that `serve` starts; it, and `directory`, end with the test process. With
/// `survives` the directory outlives the server in that time.
pub(crate) fn watch(
    directory: &Path,
    survives: &str,
    serve: &[OsString],
) -> std::io::Result<Child> {
    Command::new("sh")
        .args(["-c", WATCHER, "tx-tests-watcher"])
        .arg(std::process::id().to_string())
        .arg(directory)
        .arg(survives)
        .args(serve)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A Ctrl-C is for the tests; the watcher still has to clean up after them.
        .process_group(0)
        .spawn()
}

async fn wait_until_it_answers<B: Backend>(
    url: &str,
    watcher: &mut Child,
    directory: &Path,
) -> Result<(), Failure> {
    let log = directory.join("server.log");
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let Err(reason) = server::knock::<B>(url, KNOCK_LIMIT).await else {
            return Ok(());
        };
        if watcher.try_wait()?.is_some() || Instant::now() > deadline {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(Failure::Broken(format!("{reason}; its log: {said}")));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// How a server is made and run.
struct Plan {
    install: Vec<OsString>,
    serve: Vec<OsString>,
    port: u16,
    url: String,
}

fn postgres(data: &Path, port: u16) -> Result<Plan, Failure> {
    let mut places = path();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        places.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let initdb = find("initdb", &places).ok_or(Failure::NotInstalled)?;
    let postgres = find("postgres", &places).ok_or(Failure::NotInstalled)?;
    let mut install = as_postgres();
    install.extend(words([initdb.as_os_str()], [OsStr::new("-D")]));
    install.push(data.into());
    install.extend(words(
        ["--username=postgres", "--auth=trust", "--no-sync"],
        ["--encoding=UTF8", "--locale=C"],
    ));
    let mut serve = as_postgres();
    serve.extend(words([postgres.as_os_str()], [OsStr::new("-D")]));
    serve.push(data.into());
    for setting in [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "max_connections=200".to_owned(),
        "max_prepared_transactions=20".to_owned(),
        "fsync=off".to_owned(),
    ] {
        serve.extend(["-c".into(), setting.into()]);
    }
    Ok(Plan {
        install,
        serve,
        port,
        url: format!("postgres://postgres@127.0.0.1:{port}"),
    })
}

fn mysql(directory: &Path, data: &Path, port: u16) -> Result<Plan, Failure> {
    let mut places = path();
    places.extend(["/usr/sbin", "/usr/libexec", "/usr/local/sbin"].map(PathBuf::from));
    let find = |name: &str| find(name, &places);
    let server = find("mariadbd")
        .or_else(|| find("mysqld"))
        .ok_or(Failure::NotInstalled)?;
    let mut data_directory = OsString::from("--datadir=");
    data_directory.push(data);
    let mut install = match find("mariadb-install-db") {
        Some(install) => words(
            [install.as_os_str()],
            ["--no-defaults", "--auth-root-authentication-method=normal"].map(OsStr::new),
        ),
        None => words(
            [server.as_os_str()],
            ["--no-defaults", "--initialize-insecure"].map(OsStr::new),
        ),
    };
    install.push(data_directory.clone());
    let mut socket = OsString::from("--socket=");
    socket.push(directory.join("socket"));
    let mut serve = words([server.as_os_str()], [OsStr::new("--no-defaults")]);
    serve.extend([data_directory, socket]);
    serve.extend(words(
        ["--bind-address=127.0.0.1"],
        [
            "--innodb-flush-log-at-trx-commit=0",
            "--max-connections=300",
        ],
    ));
    serve.push(format!("--port={port}").into());
    if is_root() {
        install.push("--user=root".into());
        serve.push("--user=root".into());
    }
    Ok(Plan {
        install,
        serve,
        port,
        url: format!("mysql://root@127.0.0.1:{port}"),
    })
}

/// What to put in front of a command so that it does not run as root.
fn as_postgres() -> Vec<OsString> {
    if is_root() {
        let user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"];
        words(["setpriv"], user)
    } else {
        Vec::new()
    }
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

async fn run(command: &[OsString]) -> Result<(), Failure> {
    let output = tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(INSTALL_LIMIT, output)
        .await
        .map_err(|_| Failure::Broken(format!("{command:?} takes too long")))??;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Broken(format!("{command:?} failed: {said}")))
}

pub(crate) fn path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

pub(crate) fn find(program: &str, places: &[PathBuf]) -> Option<PathBuf> {
    let mut files = places.iter().map(|place| place.join(program));
    files.find(|file| file.is_file())
}

fn words<A: Into<OsString>, B: Into<OsString>>(
    first: impl IntoIterator<Item = A>,
    then: impl IntoIterator<Item = B>,
) -> Vec<OsString> {
    let first = first.into_iter().map(Into::into);
    first.chain(then.into_iter().map(Into::into)).collect()
}
