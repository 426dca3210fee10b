//! The service on a database of its own, and somebody outside who looks into that.

use course_applicants::service::Applicants;
use course_applicants::store::Store;
use course_applicants::tables::{self, Variant};
use sqlx::ConnectOptions as _;
use tx_tests::{Backend, Bed};

/// A database that the example runs on and the harness knows.
pub(crate) trait Base: Backend + Store {}

impl<B: Backend + Store> Base for B {}

/// A database without any table of the example; `None` where there is no server.
pub(crate) async fn empty_bed<B: Base>() -> Option<Bed<B>> {
    Bed::build_with(B::recording, |pool| pool, |builder| builder).await
}

/// A database with the tables; `None` where there is no server.
pub(crate) async fn bed<B: Base>(variant: Variant) -> Option<Bed<B>> {
    let bed = empty_bed::<B>().await?;
    tables::create(&bed.db, variant).await.expect("the tables");
    Some(bed)
}

/// The service, started without a look at the history.
pub(crate) async fn service<B: Base>(bed: &Bed<B>) -> Applicants<B> {
    Applicants::of(bed.db.clone())
        .await
        .expect("there is a table")
}

/// What the program is to be told.
pub(crate) fn url<B: Base>(bed: &Bed<B>) -> String {
    bed.options().to_url_lossy().to_string()
}

/// All applicants.
pub(crate) async fn applicants<B: Base>(bed: &Bed<B>) -> Vec<String> {
    let sql = "select concat(id, ' ', name, ' ', course, ' ', status) from applicant order by id";
    bed.control_texts(sql).await
}

/// All revisions: of which kind, by whom and why.
pub(crate) async fn revisions<B: Base>(bed: &Bed<B>) -> Vec<String> {
    let sql = "select concat(h.id, ' ', h.revtype, ' ', h.course, ' ', h.status, ': ', r.actor, ' ', r.reason) \
               from tx_revision r left join applicant_history h on h.rev = r.rev order by r.rev";
    bed.control_texts(sql).await
}
