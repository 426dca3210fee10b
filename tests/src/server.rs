//! Finds a PostgreSQL and a MariaDB or MySQL, once per process.
//!
//! In this order: the server that `TX_TEST_POSTGRES_URL` / `TX_TEST_MYSQL_URL` names; the one
//! on its default local port that lets the administrator in without a password; a private
//! one, started from installed programs and ended with the process. The variables also take
//! the words `private` (skip the first two) and `none` (as if nothing were installed).

use std::io::Write as _;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::backend::{Backend, ConnectOptions};
use crate::{private_server, scratch};

/// A server that does not let us in within this time counts as absent; one that is not there
/// refuses at once.
const KNOCK_LIMIT: Duration = Duration::from_secs(20);

/// A server that the environment names may be further away.
const NAMED_LIMIT: Duration = Duration::from_mins(1);

/// One of the two kinds of servers, and where to look for it.
#[derive(Debug)]
pub struct Kind {
    pub(crate) name: &'static str,
    pub(crate) variable: &'static str,
    pub(crate) local: &'static str,
    pub(crate) packages: &'static str,
    pub(crate) private: private_server::Recipe,
    found: OnceCell<Option<String>>,
}

impl Kind {
    /// The URL of the server, if there is one.
    ///
    /// # Panics
    ///
    /// If the named server cannot be reached, and, where `CI` is set, if there is none.
    pub async fn url<B: Backend>(&'static self) -> Option<&'static str> {
        let found = self.found.get_or_init(|| self.find::<B>()).await;
        found.as_deref()
    }

    async fn find<B: Backend>(&self) -> Option<String> {
        let named = std::env::var(self.variable).unwrap_or_default();
        let url = match named.as_str() {
            "none" => None,
            "private" => private_server::start::<B>(self).await,
            "" => match knock::<B>(self.local, KNOCK_LIMIT).await {
                Ok(()) => Some(self.local.to_owned()),
                Err(_) => private_server::start::<B>(self).await,
            },
            url => {
                if let Err(reason) = knock::<B>(url, NAMED_LIMIT).await {
                    panic!("{}={url} does not answer: {reason}", self.variable);
                }
                Some(url.to_owned())
            }
        };
        match &url {
            Some(url) => sweep::<B>(url).await,
            None => report_absence(
                self.name,
                self.packages,
                &format!(
                    "set {} to the URL of a server on which databases may be created",
                    self.variable
                ),
            ),
        }
        url
    }
}

/// Says that the tests of `name` are skipped, unless they must not be.
pub(crate) fn report_absence(name: &str, packages: &str, otherwise: &str) {
    let line = format!(
        "tx-tests: skipping every {name} test: no server. Install {packages}, or {otherwise}"
    );
    let in_ci = std::env::var("CI").is_ok_and(|ci| !matches!(ci.as_str(), "" | "0" | "false"));
    assert!(!in_ci, "{line}. This fails because CI is set");
    // Past the capture of the test runner, which would hide it.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// PostgreSQL.
pub static POSTGRES: Kind = Kind {
    name: "PostgreSQL",
    variable: "TX_TEST_POSTGRES_URL",
    local: "postgres://postgres@127.0.0.1:5432/postgres",
    packages: "the package `postgresql`",
    private: private_server::Recipe::Postgres,
    found: OnceCell::const_new(),
};

/// MariaDB or MySQL.
pub static MYSQL: Kind = Kind {
    name: "MariaDB/MySQL",
    variable: "TX_TEST_MYSQL_URL",
    local: "mysql://root@127.0.0.1:3306",
    packages: "the package `mariadb-server`",
    private: private_server::Recipe::MySql,
    found: OnceCell::const_new(),
};

/// Parses a URL that the harness or its user wrote.
pub(crate) fn options<B: Backend>(url: &str) -> ConnectOptions<B> {
    url.parse()
        .unwrap_or_else(|error| panic!("{url} is not a URL of {}: {error}", B::LABEL))
}

/// Connects and leaves again.
pub(crate) async fn knock<B: Backend>(url: &str, limit: Duration) -> Result<(), String> {
    let options = options::<B>(url);
    let connection = timeout(limit, options.connect())
        .await
        .map_err(|_| format!("no answer within {limit:?}"))?
        .map_err(|error| error.to_string())?;
    drop(timeout(limit, connection.close()).await);
    Ok(())
}

/// Drops what crashed runs left on the server; whether that works is not our business.
async fn sweep<B: Backend>(url: &str) {
    let admin = options::<B>(url);
    let swept = timeout(NAMED_LIMIT, async {
        let mut connection = admin.connect().await?;
        let names = B::texts(B::on(&mut connection), B::LIST_DATABASES).await?;
        connection.close().await?;
        for name in names.into_iter().filter(|name| scratch::is_stale(name)) {
            B::discard(name, admin.clone()).await?;
        }
        Ok::<_, sqlx::Error>(())
    });
    if !matches!(swept.await, Ok(Ok(()))) {
        eprintln!("tx-tests: {}: old scratch databases remain", B::LABEL);
    }
}
