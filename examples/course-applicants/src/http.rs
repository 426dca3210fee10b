//! The service's face: its routes, what they accept, what they answer.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;

use crate::applicant::{Applicant, Status};
use crate::error::Error;
use crate::line::Line;
use crate::service::Applicants;
use crate::store::Store;
use crate::story;

/// Where the gateway, which has let the user in, says who it is.
pub const USER: &str = "x-user";

/// The routes of the service.
///
/// | request | body | answer |
/// |---|---|---|
/// | `PUT /applicants/{id}` | `{"name", "course", "reason"}` | 201, or 409 |
/// | `PUT /applicants/{id}/status` | `{"status", "reason"}` | 204, or 404 |
/// | `PUT /applicants/{id}/course` | `{"course", "reason"}` | 204, or 404 |
/// | `POST /applicants/{id}/withdrawal` | `{"reason"}` | 204, or 404 |
/// | `GET /applicants/{id}` | | 200, or 404 |
/// | `GET /applicants/{id}/history` | | 200, or 404; plain text |
pub fn router<DB: Store>(applicants: Applicants<DB>) -> Router {
    Router::new()
        .route("/applicants/{id}", get(show::<DB>).put(register::<DB>))
        .route("/applicants/{id}/status", put(decide::<DB>))
        .route("/applicants/{id}/course", put(move_to::<DB>))
        .route("/applicants/{id}/withdrawal", post(withdraw::<DB>))
        .route("/applicants/{id}/history", get(history::<DB>))
        .with_state(Arc::new(applicants))
}

type Service<DB> = State<Arc<Applicants<DB>>>;

#[derive(Deserialize)]
struct Registration {
    name: Line,
    course: Line,
    reason: Line,
}

#[derive(Deserialize)]
struct Decision {
    status: Status,
    reason: Line,
}

#[derive(Deserialize)]
struct Move {
    course: Line,
    reason: Line,
}

#[derive(Deserialize)]
struct Withdrawal {
    reason: Line,
}

async fn register<DB: Store>(
    State(applicants): Service<DB>,
    Path(id): Path<i64>,
    User(who): User,
    Json(new): Json<Registration>,
) -> Result<StatusCode, Error> {
    let (name, course) = (new.name.text(), new.course.text());
    let (who, why) = (who.text(), new.reason.text());
    applicants.register(id, name, course, who, why).await?;
    Ok(StatusCode::CREATED)
}

async fn decide<DB: Store>(
    State(applicants): Service<DB>,
    Path(id): Path<i64>,
    User(who): User,
    Json(decision): Json<Decision>,
) -> Result<StatusCode, Error> {
    let (status, why) = (decision.status, decision.reason.text());
    applicants.decide(id, status, who.text(), why).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn move_to<DB: Store>(
    State(applicants): Service<DB>,
    Path(id): Path<i64>,
    User(who): User,
    Json(to): Json<Move>,
) -> Result<StatusCode, Error> {
    let (course, why) = (to.course.text(), to.reason.text());
    applicants.move_to(id, course, who.text(), why).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn withdraw<DB: Store>(
    State(applicants): Service<DB>,
    Path(id): Path<i64>,
    User(who): User,
    Json(withdrawal): Json<Withdrawal>,
) -> Result<StatusCode, Error> {
    let why = withdrawal.reason.text();
    applicants.withdraw(id, who.text(), why).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn show<DB: Store>(
    State(applicants): Service<DB>,
    Path(id): Path<i64>,
) -> Result<Json<Applicant>, Error> {
    applicants.find(id).await.map(Json)
}

/// Plain text, in which nobody's name can be markup.
async fn history<DB: Store>(
    State(applicants): Service<DB>,
    Path(id): Path<i64>,
) -> Result<String, Error> {
    let changes = applicants.changes(id).await?;
    Ok(format!("{}\n", story::told(&changes)))
}

/// Who makes a request.
struct User(Line);

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = (StatusCode, String);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let value = parts.headers.get(USER);
        let text = value.and_then(|value| str::from_utf8(value.as_bytes()).ok());
        let user = Line::try_from(text.unwrap_or_default().to_owned());
        user.map(Self).map_err(|no_line| {
            let detail = format!("say who you are in the header {USER}: {no_line}");
            (StatusCode::UNAUTHORIZED, detail)
        })
    }
}

/// Its users are the staff of the school, so they are told what the database says.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Taken(_) => StatusCode::CONFLICT,
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Transaction(error) if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Transaction(error) => {
                tracing::error!(%error, "a request failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, self.to_string()).into_response()
    }
}
