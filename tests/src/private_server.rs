//! A server of our own, from installed programs, ended with the test process.

use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::backend::Backend;
use crate::scratch;
use crate::server::{self, Kind};

const INSTALL_LIMIT: Duration = Duration::from_mins(1);
const START_LIMIT: Duration = Duration::from_secs(30);

/// Runs the server until the test process or the server ends, however the former does.
/// Its arguments: the process to watch, the directory to remove, the server's command line.
const WATCHER: &str = r#"
parent=$1; directory=$2; shift 2
"$@" >"$directory/server.log" 2>&1 &
server=$!
while kill -0 "$parent" 2>/dev/null && kill -0 "$server" 2>/dev/null; do sleep 1; done
kill "$server" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$server" 2>/dev/null || break; sleep 1; done
kill -9 "$server" 2>/dev/null
rm -rf "$directory"
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
    let directory = std::env::temp_dir().join(format!("{}_server", scratch::fresh_name()));
    match timeout(
        INSTALL_LIMIT + START_LIMIT,
        try_start::<B>(kind, &directory),
    )
    .await
    {
        Ok(Ok(url)) => Some(url),
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

enum Failure {
    NotInstalled,
    Broken(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

async fn try_start<B: Backend>(kind: &Kind, directory: &Path) -> Result<String, Failure> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let data = directory.join("data");
    let (install, serve, url) = match kind.private {
        Recipe::Postgres => postgres(&data, port)?,
        Recipe::MySql => mysql(directory, &data, port)?,
    };
    std::fs::create_dir_all(directory)?;
    if matches!(kind.private, Recipe::Postgres) && is_root() {
        run(&words(["chown", "postgres"], [directory])).await?;
    }
    run(&install).await?;
    let mut watcher = watch(directory, &serve)?;
    wait_until_it_answers::<B>(&url, &mut watcher, directory).await?;
    Ok(url)
}

/// Runs the server that `serve` starts; it, and `directory`, end with the test process.
pub(crate) fn watch(directory: &Path, serve: &[OsString]) -> std::io::Result<Child> {
    Command::new("sh")
        .args(["-c", WATCHER, "tx-tests-watcher"])
        .arg(std::process::id().to_string())
        .arg(directory)
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
        let Err(reason) = server::knock::<B>(url, Duration::from_secs(2)).await else {
            return Ok(());
        };
        if watcher.try_wait()?.is_some() || Instant::now() > deadline {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(Failure::Broken(format!("{reason}; its log: {said}")));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

type Plan = (Vec<OsString>, Vec<OsString>, String);

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
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    Ok((install, serve, url))
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
    Ok((install, serve, format!("mysql://root@127.0.0.1:{port}")))
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
