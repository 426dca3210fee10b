//! The table of applicants, and the table beside it in which its changes are recorded.

use tx_runtime::Db;
use tx_runtime::history::{Fault, Finding, History, HistoryError, Report};

use crate::store::Store;

/// The audited table.
pub const APPLICANT: &str = "applicant";

const CREATE: &str = "create table if not exists applicant (
  id bigint not null primary key,
  name varchar(200) not null,
  course varchar(200) not null,
  status varchar(20) not null
)";

/// Who makes the history of a table that has none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Variant {
    /// Wrong, the incident: somebody, who forgot that a row changes more than once.
    HandMade,
    /// tx-runtime.
    Generated,
}

/// Creates the tables that are not there; gives what was missing of the history.
///
/// A service would have them in its migrations, those of the history written by `tx-history`.
///
/// # Errors
///
/// If they cannot be created.
pub async fn create<DB: Store>(db: &Db<DB>, variant: Variant) -> Result<Report, HistoryError> {
    DB::script(db.pool(), CREATE).await?;
    let missing = verify(db).await?;
    if !missing.findings().iter().any(is_missing_history) {
        return Ok(missing);
    }
    match variant {
        Variant::Generated => {
            let migration = History::table(APPLICANT).generate(db).await?;
            DB::script(db.pool(), &migration.up).await?;
        }
        Variant::HandMade => {
            // What is named first is shared by the histories of all tables, and was right.
            let shared = missing.findings().iter();
            for finding in shared.take_while(|finding| !is_missing_history(finding)) {
                DB::script(db.pool(), &finding.fix).await?;
            }
            DB::script(db.pool(), DB::HAND_MADE).await?;
        }
    }
    Ok(missing)
}

/// Removes them, and the revisions that belong to them; what the histories of all tables share is
/// removed if it was `missing` before.
///
/// # Errors
///
/// The database's own.
pub async fn remove<DB: Store>(db: &Db<DB>, missing: &Report) -> sqlx::Result<()> {
    let is_ours = |finding: &Finding| matches!(&finding.fault, Fault::SharedTableMissing { name } if name == "tx_revision");
    if missing.findings().iter().any(is_ours) {
        DB::script(db.pool(), DB::REMOVE).await?;
        return DB::script(db.pool(), DB::REMOVE_SHARED).await;
    }
    let own = "delete from tx_revision where rev in (select rev from applicant_history)";
    DB::script(db.pool(), own).await?;
    DB::script(db.pool(), DB::REMOVE).await
}

/// Whether nobody has tables of these names.
///
/// # Errors
///
/// The database's own.
pub async fn are_absent<DB: Store>(db: &Db<DB>) -> sqlx::Result<bool> {
    for table in [APPLICANT, "applicant_history"] {
        match History::table(table).verify(db).await {
            Err(HistoryError::NoTable { .. }) => {}
            Err(HistoryError::Database(error)) => return Err(error),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn is_missing_history(finding: &Finding) -> bool {
    matches!(finding.fault, Fault::HistoryMissing { .. })
}

/// What is wrong with the history: a service asks before it starts.
///
/// # Errors
///
/// If there is no table of applicants, and the database's own.
pub async fn verify<DB: Store>(db: &Db<DB>) -> Result<Report, HistoryError> {
    History::table(APPLICANT).verify(db).await
}

/// Carries out the fixes of a report, word by word and in their order.
///
/// # Errors
///
/// The database's own.
pub async fn mend<DB: Store>(db: &Db<DB>, report: &Report) -> sqlx::Result<()> {
    for finding in report.findings() {
        DB::script(db.pool(), &finding.fix).await?;
    }
    Ok(())
}
