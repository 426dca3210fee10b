//! Four clerks who change applicants and then look whether the changes are there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use stage::ProgressBar;
use stage::server::{Server, StopError};
use tokio::task::JoinSet;
use tx_runtime::Db;
use tx_runtime::history::HistoryError;

use crate::applicant::Applicant;
use crate::clerk::{Clerk, ClerkError};
use crate::http;
use crate::service::Applicants;
use crate::store::Store;

/// How many clerks work at the same time.
const CLERKS: i64 = 4;

/// How many changes are made of each applicant.
pub const CHANGES: usize = STEPS.len();

/// Any free port of this machine.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How long the service may take to stop when all clerks have their answers.
const GRACE: Duration = Duration::from_secs(5);

/// What became of the changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The changes that were asked for.
    pub tried: usize,
    /// Those that the table shows afterwards.
    pub stored: usize,
    /// The revisions in the history.
    pub revisions: usize,
    /// What was answered to one of those that failed.
    pub failure: Option<String>,
}

impl Outcome {
    /// The changes that the table does not show.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.tried - self.stored
    }
}

/// A trial could not be held.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The service could not be started.
    #[error("the service cannot listen: {0}")]
    Listen(#[from] std::io::Error),

    /// The service did not end as it should.
    #[error(transparent)]
    Stop(#[from] StopError),

    /// There are no tables.
    #[error(transparent)]
    Tables(#[from] HistoryError),

    /// The service gave no answer.
    #[error(transparent)]
    Clerk(#[from] ClerkError),

    /// The tables could not be read.
    #[error("the tables cannot be read: {0}")]
    Read(#[from] sqlx::Error),
}

/// Starts the service without any check, and changes applicants of whom it knows nothing yet.
///
/// # Errors
///
/// If the service does not work. Changes that fail are part of the outcome.
pub async fn run<DB: Store>(
    db: &Db<DB>,
    ids: RangeInclusive<i64>,
    progress: &ProgressBar,
) -> Result<Outcome, TrialError> {
    let applicants = Applicants::of(db.clone()).await?;
    let server = Server::start(ANYWHERE, http::router(applicants)).await?;
    let clerk = Clerk {
        server: server.address(),
    };
    let mut at_work = JoinSet::new();
    for desk in 0..CLERKS {
        let (ids, progress) = (ids.clone(), progress.clone());
        at_work.spawn(async move {
            let mut outcome = Outcome::default();
            for id in ids.filter(|id| id % CLERKS == desk) {
                change(clerk, id, &mut outcome).await?;
                progress.inc(1);
            }
            Ok::<_, ClerkError>(outcome)
        });
    }
    let mut outcome = Outcome::default();
    for part in at_work.join_all().await {
        outcome.add(part?);
    }
    server.stop(GRACE).await?;
    let revisions = DB::revisions_of(db.pool(), &ids).await?;
    outcome.revisions = usize::try_from(revisions).unwrap_or_default();
    Ok(outcome)
}

impl Outcome {
    fn add(&mut self, part: Self) {
        self.tried += part.tried;
        self.stored += part.stored;
        self.failure = self.failure.take().or(part.failure);
    }
}

/// One change of an applicant, and how to see that it is there.
struct Step {
    who: &'static str,
    method: Method,
    path: &'static str,
    body: fn() -> Value,
    is_stored: fn(Option<&Applicant>) -> bool,
}

const STEPS: [Step; 4] = [
    Step {
        who: "ann",
        method: Method::PUT,
        path: "",
        body: || json!({ "name": "Bea Nowak", "course": "pottery", "reason": "came to the open day" }),
        is_stored: |found| found.is_some(),
    },
    Step {
        who: "ben",
        method: Method::PUT,
        path: "/status",
        body: || json!({ "status": "accepted", "reason": "papers are complete" }),
        is_stored: |found| found.is_some_and(|applicant| applicant.status == "accepted"),
    },
    Step {
        who: "ben",
        method: Method::PUT,
        path: "/course",
        body: || json!({ "course": "weaving", "reason": "pottery is full" }),
        is_stored: |found| found.is_some_and(|applicant| applicant.course == "weaving"),
    },
    Step {
        who: "eve",
        method: Method::POST,
        path: "/withdrawal",
        body: || json!({ "reason": "moves away" }),
        is_stored: |found| found.is_none(),
    },
];

async fn change(clerk: Clerk, id: i64, outcome: &mut Outcome) -> Result<(), ClerkError> {
    for step in STEPS {
        let path = format!("/applicants/{id}{}", step.path);
        let body = (step.body)();
        let answer = clerk.send(step.method, &path, step.who, &body).await?;
        if !answer.status.is_success() {
            outcome.failure = Some(format!("{}: {}", answer.status, answer.text));
        }
        outcome.tried += 1;
        if (step.is_stored)(clerk.look_up(id).await?.as_ref()) {
            outcome.stored += 1;
        }
    }
    Ok(())
}
