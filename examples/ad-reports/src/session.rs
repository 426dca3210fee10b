//! One report session: the steps from creating reports to deleting them.
//!
//! They are the same for both variants. What they take for granted, that nobody else has a
//! session with the account at the time, is what only one of the variants sees to.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::time::{sleep, timeout};

use crate::api::{Created, Line, Listed, Wanted};
use crate::client::{Client, ClientError};

/// How long the reports of a session may take to be there.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How often the API is asked whether the reports are ready, or can be created now.
const PAUSE: Duration = Duration::from_millis(15);

/// A report session with the account of a [`Client`], which it cannot outlive.
#[derive(Debug)]
pub struct Session<'c> {
    client: &'c Client,
    /// By which the API tells sessions apart.
    name: String,
}

/// What an account's report says of one campaign on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The day.
    pub day: i64,
    /// The campaign, and its figures.
    pub line: Line,
}

impl<'c> Session<'c> {
    pub(crate) fn new(client: &'c Client) -> Self {
        static SESSIONS: AtomicU64 = AtomicU64::new(1);
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        Self {
            client,
            name: format!("{}-{number}", process::id()),
        }
    }

    /// Creates the reports of these days, waits until they are ready and downloads them.
    ///
    /// # Errors
    ///
    /// Whatever the API says, and if it all takes too long.
    pub async fn fetch(&self, days: RangeInclusive<i64>) -> Result<Vec<Row>, ClientError> {
        let steps = async {
            let mut ours = BTreeSet::new();
            for day in days {
                ours.insert(self.create(day).await?);
            }
            let mut rows = Vec::new();
            for Listed { id, day, .. } in self.ready(&ours).await? {
                let lines = self.download(id).await?;
                rows.extend(lines.into_iter().map(|line| Row { day, line }));
            }
            Ok(rows)
        };
        timeout(LIMIT, steps)
            .await
            .unwrap_or(Err(ClientError::TooLong(LIMIT)))
    }

    /// Deletes all reports of the account, whoever has created them: the API knows no other way.
    ///
    /// # Errors
    ///
    /// Whatever the API says.
    pub async fn delete_all(&self) -> Result<(), ClientError> {
        self.ask(Method::DELETE, "", &()).await
    }

    /// Creates the report of one day; gives its number. It waits where the API is overloaded.
    async fn create(&self, day: i64) -> Result<u64, ClientError> {
        loop {
            match self.ask(Method::POST, "", &Wanted { day }).await {
                Ok(Created { id }) => return Ok(id),
                Err(ClientError::Refused(StatusCode::TOO_MANY_REQUESTS)) => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Our reports, once none of those that the API lists is still at work. That there are
    /// none, because somebody has deleted them, goes unnoticed.
    async fn ready(&self, ours: &BTreeSet<u64>) -> Result<Vec<Listed>, ClientError> {
        loop {
            let mut listed: Vec<Listed> = self.ask(Method::GET, "", &()).await?;
            listed.retain(|report| ours.contains(&report.id));
            if listed.iter().all(|report| report.is_ready) {
                return Ok(listed);
            }
            sleep(PAUSE).await;
        }
    }

    async fn download(&self, id: u64) -> Result<Vec<Line>, ClientError> {
        self.ask(Method::GET, &format!("/{id}"), &()).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ClientError> {
        self.client.ask(&self.name, method, path, body).await
    }
}
