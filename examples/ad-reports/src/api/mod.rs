//! The report API of an advertising service, as the incident met it.
//!
//! | request | answer |
//! |---|---|
//! | `POST /accounts/{account}/reports` | 200 and a number: the report is at work. 429 if too many are |
//! | `GET /accounts/{account}/reports` | 200 and all reports of the account: an empty list if there are none any more |
//! | `GET /accounts/{account}/reports/{id}` | 200 and its lines: an empty list if it is not there any more. 409 while it is at work |
//! | `DELETE /accounts/{account}/reports` | 200: *all* reports of the account are deleted, whoever has created them |
//!
//! One report session per account, says its manual. The API does not enforce that. It does see
//! it: requests say to which session they belong, and it keeps count.

mod account;
mod server;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use self::account::Account;

pub use self::account::{MOST_AT_WORK, Seen};
pub use self::server::Server;

/// The header with the name of the session that a request belongs to.
pub const SESSION: &str = "x-report-session";

/// The report of which day is wanted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// The day.
    pub day: i64,
}

/// The report that is at work now.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Created {
    /// Its number.
    pub id: u64,
}

/// A report in the list of an account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its number.
    pub id: u64,
    /// Of which day it is.
    pub day: i64,
    /// Whether it can be downloaded.
    pub is_ready: bool,
}

/// A line of a report: what became of a campaign on its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which one.
    pub campaign: i64,
    /// How often it was shown.
    pub impressions: i64,
    /// How often somebody has clicked on it.
    pub clicks: i64,
}

/// The API, and what it knows. Clones are one.
#[derive(Clone, Debug)]
pub struct Api {
    accounts: Arc<Mutex<BTreeMap<i64, Account>>>,
    work_time: Duration,
}

impl Api {
    /// An API that works on the report of day 1 for `work_time`, and longer on later ones.
    #[must_use]
    pub fn new(work_time: Duration) -> Self {
        Self {
            accounts: Arc::default(),
            work_time,
        }
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route(
                "/accounts/{account}/reports",
                get(list).post(create).delete(delete_all),
            )
            .route("/accounts/{account}/reports/{id}", get(download))
            .with_state(self.clone())
    }

    /// What it has seen, all accounts together.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.accounts().values().map(|account| account.seen).sum()
    }

    /// What it has seen of one account.
    #[must_use]
    pub fn seen_of(&self, account: i64) -> Seen {
        let accounts = self.accounts();
        accounts
            .get(&account)
            .map(|account| account.seen)
            .unwrap_or_default()
    }

    /// The reports of an account, as its list has them.
    #[must_use]
    pub fn list(&self, account: i64) -> Vec<Listed> {
        self.on(account, |account| account.list(Instant::now()))
    }

    fn on<T>(&self, account: i64, what: impl FnOnce(&mut Account) -> T) -> T {
        what(self.accounts().entry(account).or_default())
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<i64, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines that a report must have.
#[must_use]
pub fn lines_of(account: i64, day: i64) -> Vec<Line> {
    let line = |campaign| Line {
        campaign,
        impressions: 1000 * account + 10 * day + campaign,
        clicks: day + campaign,
    };
    (1..=3).map(line).collect()
}

async fn create(
    State(api): State<Api>,
    Path(account): Path<i64>,
    headers: HeaderMap,
    Json(Wanted { day }): Json<Wanted>,
) -> Result<Json<Created>, StatusCode> {
    let session = session(&headers)?;
    let work_time = api.work_time;
    let created = api.on(account, |account| {
        account.create(session, day, Instant::now(), work_time)
    });
    let id = created.ok_or(StatusCode::TOO_MANY_REQUESTS)?;
    Ok(Json(Created { id }))
}

async fn list(State(api): State<Api>, Path(account): Path<i64>) -> Json<Vec<Listed>> {
    Json(api.list(account))
}

async fn download(
    State(api): State<Api>,
    Path((account, id)): Path<(i64, u64)>,
) -> Result<Json<Vec<Line>>, StatusCode> {
    match api.on(account, |account| account.find(id, Instant::now())) {
        None => Ok(Json(Vec::new())),
        Some(report) if report.is_ready => Ok(Json(lines_of(account, report.day))),
        Some(_) => Err(StatusCode::CONFLICT),
    }
}

async fn delete_all(
    State(api): State<Api>,
    Path(account): Path<i64>,
    headers: HeaderMap,
) -> Result<Json<()>, StatusCode> {
    let session = session(&headers)?;
    api.on(account, |account| account.delete_all(session));
    Ok(Json(()))
}

fn session(headers: &HeaderMap) -> Result<&str, StatusCode> {
    let name = headers.get(SESSION).and_then(|name| name.to_str().ok());
    name.ok_or(StatusCode::BAD_REQUEST)
}
