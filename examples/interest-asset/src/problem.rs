//! What went wrong, told to a client as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// When a client may try again what failed for want of a lock, a connection or luck.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1"); // second

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An answer that says why there is no better one.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
}

/// The members of a problem. There is no `type`, which makes it `about:blank`: the status says
/// what kind of problem it is, and the title is the status in words.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Members {
    pub(crate) title: String,
    pub(crate) status: u16,
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Full(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            Error::Transaction(transient) if transient.is_retryable() => {
                tracing::warn!(error = %transient, "a request was given up");
                let detail = "the database could not take the change just now: try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            }
            Error::NotUnique(_) | Error::Transaction(_) => {
                tracing::error!(%error, "a request failed");
                // What a database says is for the log, not for strangers.
                let detail = match error {
                    Error::NotUnique(_) => error.to_string(),
                    _ => "the database failed: the service's log says why".to_owned(),
                };
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(Members {
            title: self
                .status
                .canonical_reason()
                .unwrap_or_default()
                .to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
        });
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
