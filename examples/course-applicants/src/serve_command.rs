//! The command `serve`: the service, until it is told to stop.

use std::io;
use std::process::ExitCode;

use course_applicants::http;
use course_applicants::service::Applicants;
use course_applicants::store::Store;
use course_applicants::tables;
use stage::Failure;
use tx_runtime::Db;

use crate::arguments::Serve;

/// Starts only if nothing is wrong with the history.
pub(crate) async fn run<DB: Store>(db: &Db<DB>, serve: &Serve) -> Result<ExitCode, Failure> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    tables::create(db, serve.variant).await?;
    if !serve.unchecked {
        let checked = tables::verify(db).await?.into_result();
        checked.map_err(|report| format!("the service does not start\n{report}"))?;
    }
    let applicants = Applicants::of(db.clone()).await?;
    stage::server::serve(serve.listen, http::router(applicants)).await
}
