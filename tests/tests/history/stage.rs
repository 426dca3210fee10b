//! A database with an audited table.

use tx_runtime::history::History;
use tx_runtime::{Author, Error, TransactionOptions};
use tx_tests::{Backend, Bed};

/// The table of most tests.
pub(crate) const APPLICANT: &str =
    "create table applicant (id bigint not null primary key, name varchar(50), grade int)";

/// A pool of 4 on a database with `applicant` and its history.
pub(crate) async fn applicants<B: Backend>() -> Option<Bed<B>> {
    audited(4, APPLICANT, &["applicant"]).await
}

/// A pool of `max` on a database with some tables and their histories.
pub(crate) async fn audited<B: Backend>(max: u32, create: &str, tables: &[&str]) -> Option<Bed<B>> {
    let bed = bare(max, create).await?;
    audit(&bed, tables).await;
    Some(bed)
}

/// A pool of `max` on a database with some tables, which have no history yet.
pub(crate) async fn bare<B: Backend>(max: u32, create: &str) -> Option<Bed<B>> {
    let bed = Bed::build_with(
        B::recording,
        |pool| pool.max_connections(max),
        |builder| builder,
    );
    let bed = bed.await?;
    bed.control_raw(create).await;
    Some(bed)
}

/// Carries out what is generated for some tables, and has it verified.
pub(crate) async fn audit<B: Backend>(bed: &Bed<B>, tables: &[&str]) {
    let history = History::tables(tables.iter().copied());
    let migration = history
        .generate(&bed.db)
        .await
        .expect("the tables can be audited");
    bed.control_raw(&migration.up).await;
    verified(bed, tables).await;
}

/// Fails unless nothing is wrong with the histories of some tables.
pub(crate) async fn verified<B: Backend>(bed: &Bed<B>, tables: &[&str]) {
    let report = History::tables(tables.iter().copied())
        .verify(&bed.db)
        .await;
    let report = report.expect("the tables can be audited");
    assert!(report.is_clean(), "{}: {report}", B::LABEL);
}

pub(crate) fn by(actor: &str) -> TransactionOptions {
    TransactionOptions::new().history(Author::new(actor))
}

/// Runs statements one by one in an audited scope.
pub(crate) async fn change<B: Backend>(bed: &Bed<B>, statements: &[&str]) -> Result<(), Error> {
    let scope = bed.db.transaction_with(by("somebody"), async || {
        for sql in statements {
            B::exec(&bed.db, sql).await?;
        }
        Ok(())
    });
    scope.await
}

/// The history of `applicant` since a revision, as `id:revtype:name`.
pub(crate) async fn changes<B: Backend>(bed: &Bed<B>, since: i64) -> Vec<String> {
    bed.control_texts(&format!(
        "select concat(id, ':', revtype, ':', coalesce(name, '?')) from applicant_history where rev > {since} order by rev, id"
    ))
    .await
}

/// The number of the newest revision.
pub(crate) async fn newest<B: Backend>(bed: &Bed<B>) -> i64 {
    bed.control_ints("select coalesce(max(rev), 0) from tx_revision")
        .await[0]
}
