//! Handlers of axum are functions like others.

use axum::debug_handler;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use tx_runtime::{Error, PgDb, transactional};

pub struct Failure(pub Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl axum::response::IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

#[debug_handler]
#[transactional]
pub async fn add(State(db): State<PgDb>, Path(asset): Path<i64>) -> Result<StatusCode, Failure> {
    let insert = sqlx::query("insert into asset values ($1)").bind(asset);
    insert.execute(&db).await.map_err(Error::from)?;
    Ok(StatusCode::CREATED)
}

#[transactional(lock = "asset:{asset}")]
#[debug_handler]
pub async fn remove(State(db): State<PgDb>, Path(asset): Path<i64>) -> Result<StatusCode, Failure> {
    let delete = sqlx::query("delete from asset where id = $1").bind(asset);
    delete.execute(&db).await.map_err(Error::from)?;
    Ok(StatusCode::NO_CONTENT)
}

pub fn routes(db: PgDb) -> axum::Router {
    let add = axum::routing::post(add).delete(remove);
    axum::Router::new()
        .route("/assets/{asset}", add)
        .with_state(db)
}
