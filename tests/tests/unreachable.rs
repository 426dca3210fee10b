//! A database that cannot be reached: the error says what is in the way, where, and what to do,
//! and says it within a bound.

use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Postgres, Sqlite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;
use tx_runtime::{Db, Error, transactional};
use tx_tests::{Backend, ConnectOptions, PrivateServer, case, server};

/// How long the pool tries, where it would try for half a minute.
const PATIENCE: Duration = Duration::from_millis(300);

/// Longer than this is no bound; what is asked once the pool has given up takes seconds.
const BOUND: Duration = Duration::from_mins(1);

/// A port at which nobody listens, nor will as long as the socket lives.
fn deaf_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn impatient<B: Backend>() -> PoolOptions<B> {
    PoolOptions::new().acquire_timeout(PATIENCE)
}

/// What connecting with `options` is refused with.
async fn refusal<B: Backend>(options: ConnectOptions<B>) -> Error {
    let connecting = timeout(BOUND, Db::<B>::connect_with(impatient(), options));
    connecting.await.expect("a bound").unwrap_err()
}

/// What connecting to `url` is refused with.
async fn refusal_at<B: Backend>(url: &str) -> Error {
    let connecting = timeout(BOUND, Db::<B>::connect(url));
    connecting.await.expect("a bound").unwrap_err()
}

#[track_caller]
fn assert_says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!text.contains("pool timed out"), "{text}");
}

#[transactional]
async fn read<B: Backend>(db: &Db<B>) -> Result<i64, Error> {
    Ok(B::int(db, "select 1").await?)
}

case! {
    refused on postgres, mysql;
    "nobody listens at the port";
    async fn<B>(bed) {
        let (_socket, port) = deaf_port();
        let error = refusal::<B>(B::through(bed.options().clone(), port)).await;
        let place = format!("127.0.0.1:{port}");
        assert_says(&error, &["unreachable.rs", &place, "nobody listens", "start the server"]);
        assert!(error.is_retryable());
    }
}

case! {
    refused_later on postgres, mysql;
    "nobody listens when the first statement wants a connection";
    async fn<B>(bed) {
        let (_socket, port) = deaf_port();
        let pool = impatient().connect_lazy_with(B::through(bed.options().clone(), port));
        let db = Db::<B>::builder(pool).build();
        let error = timeout(BOUND, read(&db)).await.expect("a bound").unwrap_err();
        let place = format!("127.0.0.1:{port}");
        assert_says(&error, &["unreachable::read`", &place, "nobody listens", "start the server"]);
        assert!(error.is_retryable());
    }
}

case! {
    silent on postgres, mysql;
    "somebody listens, and never answers";
    async fn<B>(bed) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = B::through(bed.options().clone(), port);
        let place = format!("127.0.0.1:{port}");
        let error = refusal::<B>(options.clone()).await;
        assert_says(&error, &[&place, "no answer"]);
        assert!(error.is_retryable());

        let db = Db::<B>::new(impatient().connect_lazy_with(options));
        let error = timeout(BOUND, read(&db)).await.expect("a bound").unwrap_err();
        assert_says(&error, &["unreachable::read`", &place, "no answer"]);
    }
}

case! {
    unknown_host on postgres, mysql;
    "the host has no address";
    async fn<B>(bed) {
        let mut url = bed.options().to_url_lossy();
        url.set_host(Some("absent.invalid")).unwrap();
        let error = refusal_at::<B>(url.as_str()).await;
        assert_says(&error, &["absent.invalid", "the name of the host", "correct the host"]);
    }
}

case! {
    no_database on postgres, mysql;
    "the server has no such database";
    async fn<B>(bed) {
        let mut url = bed.options().to_url_lossy();
        url.set_path("/absent");
        let error = refusal_at::<B>(url.as_str()).await;
        assert_says(&error, &["127.0.0.1:", "database `absent`", "create it"]);
        assert!(!error.is_retryable());
    }
}

case! {
    no_user on postgres, mysql;
    "the server does not let the user in";
    async fn<B>(bed) {
        let mut url = bed.options().to_url_lossy();
        url.set_username("nobody").unwrap();
        url.set_password(Some("geheim")).unwrap();
        let error = refusal_at::<B>(url.as_str()).await;
        assert_says(&error, &["127.0.0.1:", "as `nobody`", "the user and the password"]);
        assert!(!error.to_string().contains("geheim"), "{error}");
        assert!(!error.is_retryable());
    }
}

case! {
    no_url on postgres, mysql;
    "the URL is none of this database";
    async fn<B>(_bed) {
        let error = refusal_at::<B>("nothing of the kind: geheim").await;
        assert_says(&error, &["unreachable.rs", "URL"]);
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
}

/// The servers of the tests let everybody in, so this one has to be told not to.
#[tokio::test]
async fn wrong_password() {
    let Some(server) = PrivateServer::start::<Postgres>(&server::POSTGRES).await else {
        return;
    };
    let mut admin = server
        .url()
        .parse::<ConnectOptions<Postgres>>()
        .unwrap()
        .connect()
        .await
        .unwrap();
    Postgres::raw(
        &mut admin,
        "create role clerk login password 'right';
         do $$ begin execute format(
             'copy (select ''host all all all scram-sha-256'') to %L', current_setting('hba_file')
         ); end $$;
         select pg_reload_conf()",
    )
    .await
    .unwrap();
    let url = server.url().replace("postgres@", "clerk:geheim@");
    // The configuration is read again in the background.
    let error = loop {
        match timeout(BOUND, Db::<Postgres>::connect(&url))
            .await
            .expect("a bound")
        {
            Ok(db) => db.pool().close().await,
            Err(error) => break error,
        }
    };
    assert_says(
        &error,
        &["database `own`", "as `clerk`", "the user and the password"],
    );
    assert!(!error.to_string().contains("geheim"), "{error}");
    let right = url.replace("geheim", "right");
    let db = Db::<Postgres>::connect(&right).await.unwrap();
    db.pool().close().await;
}

// ----- SQLite: a file, or none ---------------------------------------------------------

async fn refusal_of_file(options: SqliteConnectOptions) -> Error {
    let path = options.get_filename().display().to_string();
    let db = Db::<Sqlite>::new(impatient().connect_lazy_with(options.clone()));
    let later = read(&db).await.unwrap_err();
    assert_says(&later, &["unreachable::read`", &path]);
    let error = refusal::<Sqlite>(options).await;
    assert_says(&error, &["unreachable.rs", &path]);
    error
}

#[tokio::test]
async fn no_file() {
    let scratch = Sqlite::scratch().await.unwrap();
    let file = scratch.options().get_filename().with_file_name("absent");
    let error = refusal_of_file(SqliteConnectOptions::new().filename(file)).await;
    assert_says(&error, &["there is no such file", "create_if_missing"]);
}

#[tokio::test]
async fn no_directory() {
    let scratch = Sqlite::scratch().await.unwrap();
    let file = scratch
        .options()
        .get_filename()
        .with_file_name("absent")
        .join("new");
    let options = SqliteConnectOptions::new().filename(file);
    let error = refusal_of_file(options.create_if_missing(true)).await;
    assert_says(&error, &["there is no such file", "directory"]);
}

#[tokio::test]
async fn no_regular_file() {
    let scratch = Sqlite::scratch().await.unwrap();
    let directory = scratch
        .options()
        .get_filename()
        .parent()
        .unwrap()
        .to_owned();
    let error = refusal_of_file(SqliteConnectOptions::new().filename(directory)).await;
    assert_says(&error, &["cannot be opened"]);
}
