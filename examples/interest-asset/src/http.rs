//! The service's face: its routes, what they accept, what they answer.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id;
use crate::problem::Problem;
use crate::store::Store;
use crate::variant::Application;

/// The routes of the service.
///
/// | request | answer |
/// |---|---|
/// | `PUT /accounts/{account}/interest-assets/{asset}` | 201, or 204 if it was registered before |
/// | `GET /accounts/{account}/interest-assets/{asset}` | 200, or 404 |
/// | `DELETE /accounts/{account}/interest-assets/{asset}` | 204, or 404 |
/// | `GET /accounts/{account}/interest-assets` | 200 |
pub fn router<DB: Store>(application: Application<DB>) -> Router {
    Router::new()
        .route("/accounts/{account}/interest-assets", get(list::<DB>))
        .route(
            "/accounts/{account}/interest-assets/{asset}",
            get(show::<DB>).put(register::<DB>).delete(unregister::<DB>),
        )
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(Arc::new(application))
}

type Service<DB> = State<Arc<Application<DB>>>;

#[derive(Serialize)]
struct Listed {
    account: i64,
    assets: Vec<i64>,
}

#[derive(Serialize)]
struct Shown {
    account: i64,
    asset: i64,
    notification: bool,
}

async fn list<DB: Store>(
    State(application): Service<DB>,
    OfAccount { account }: OfAccount,
) -> Result<Json<Listed>, Problem> {
    let assets = application.assets.list(account).await?;
    Ok(Json(Listed { account, assets }))
}

async fn show<DB: Store>(
    State(application): Service<DB>,
    OfAsset { account, asset }: OfAsset,
) -> Result<Json<Shown>, Problem> {
    let found = application.assets.find(account, asset).await?;
    let notification = found.ok_or_else(|| not_registered(account, asset))?;
    Ok(Json(Shown {
        account,
        asset,
        notification,
    }))
}

async fn register<DB: Store>(
    State(application): Service<DB>,
    OfAsset { account, asset }: OfAsset,
) -> Result<StatusCode, Problem> {
    if application.register(account, asset).await? {
        Ok(StatusCode::CREATED)
    } else {
        Ok(StatusCode::NO_CONTENT)
    }
}

async fn unregister<DB: Store>(
    State(application): Service<DB>,
    OfAsset { account, asset }: OfAsset,
) -> Result<StatusCode, Problem> {
    if application.assets.unregister(account, asset).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(not_registered(account, asset))
    }
}

fn not_registered(account: i64, asset: i64) -> Problem {
    let detail = format!("account {account} has no interest asset {asset}");
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn no_such_path(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// The account that a path names.
struct OfAccount {
    account: i64,
}

/// The account and the asset that a path names.
struct OfAsset {
    account: i64,
    asset: i64,
}

impl<S: Send + Sync> FromRequestParts<S> for OfAccount {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let account: String = texts(parts, state).await?;
        Ok(Self {
            account: number("account", &account)?,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfAsset {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (account, asset): (String, String) = texts(parts, state).await?;
        Ok(Self {
            account: number("account", &account)?,
            asset: number("asset", &asset)?,
        })
    }
}

async fn texts<T, S>(parts: &mut Parts, state: &S) -> Result<T, Problem>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    match Path::from_request_parts(parts, state).await {
        Ok(Path(texts)) => Ok(texts),
        Err(rejection) => Err(Problem::new(rejection.status(), rejection.body_text())),
    }
}

fn number(what: &str, text: &str) -> Result<i64, Problem> {
    id::parse(text).map_err(|invalid| {
        let detail = format!("`{text}` is not an {what}: {invalid}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}
