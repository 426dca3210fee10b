//! The service: every change is made by somebody, for a reason, in one transaction.
//!
//! Nothing here writes a history. Triggers do, whoever makes the change and however; the attribute
//! says who it is and why, and all changes of one transaction are one revision.

use tx_runtime::history::{Change, History, HistoryError, HistoryReader};
use tx_runtime::{Db, transactional};

use crate::applicant::{Applicant, Status};
use crate::error::Error;
use crate::store::Store;
use crate::tables::APPLICANT;

/// The applicants of a school.
#[derive(Debug)]
pub struct Applicants<DB: Store> {
    db: Db<DB>,
    history: HistoryReader<DB>,
}

impl<DB: Store> Applicants<DB> {
    /// A service on the tables of `db`.
    ///
    /// # Errors
    ///
    /// If there is no table of applicants.
    pub async fn of(db: Db<DB>) -> Result<Self, HistoryError> {
        let history = History::table(APPLICANT).reader(&db).await?;
        Ok(Self { db, history })
    }

    /// Registers somebody under the number of the application form.
    ///
    /// # Errors
    ///
    /// [`Error::Taken`], or whatever failed.
    #[transactional(lock = "applicant:{id}", history(actor = who, reason = why))]
    pub async fn register(
        &self,
        id: i64,
        name: &str,
        course: &str,
        who: &str,
        why: &str,
    ) -> Result<(), Error> {
        if DB::find(&self.db, id).await?.is_some() {
            return Err(Error::Taken(id));
        }
        let applicant = Applicant {
            id,
            name: name.to_owned(),
            course: course.to_owned(),
            status: Status::Registered.name().to_owned(),
        };
        DB::insert(&self.db, &applicant).await?;
        Ok(())
    }

    /// Decides about an applicant.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or whatever failed.
    #[transactional(history(actor = who, reason = why))]
    pub async fn decide(&self, id: i64, status: Status, who: &str, why: &str) -> Result<(), Error> {
        let changed = DB::set_status(&self.db, id, status.name()).await?;
        known(id, changed)
    }

    /// Moves an applicant to another course.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or whatever failed.
    #[transactional(history(actor = who, reason = why))]
    pub async fn move_to(&self, id: i64, course: &str, who: &str, why: &str) -> Result<(), Error> {
        let changed = DB::set_course(&self.db, id, course).await?;
        known(id, changed)
    }

    /// Withdraws an applicant, of whom the history alone knows from then on.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or whatever failed.
    #[transactional(history(actor = who, reason = why))]
    pub async fn withdraw(&self, id: i64, who: &str, why: &str) -> Result<(), Error> {
        let deleted = DB::delete(&self.db, id).await?;
        known(id, deleted)
    }

    /// An applicant as of now.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or whatever failed.
    #[transactional(read_only)]
    pub async fn find(&self, id: i64) -> Result<Applicant, Error> {
        let found = DB::find(&self.db, id).await?;
        found.ok_or(Error::Unknown(id))
    }

    /// All changes of an applicant, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] if there have been none, or whatever failed.
    #[transactional(read_only)]
    pub async fn changes(&self, id: i64) -> Result<Vec<Change<Applicant>>, Error> {
        let changes = DB::changes(&self.db, &self.history, id).await?;
        known(id, changes.len() as u64)?;
        Ok(changes)
    }
}

fn known(id: i64, rows: u64) -> Result<(), Error> {
    if rows == 0 {
        return Err(Error::Unknown(id));
    }
    Ok(())
}
