//! Somebody who would like to take part in a course.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

/// A row of `applicant`.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize, Deserialize)]
pub struct Applicant {
    /// The number of the application form.
    pub id: i64,
    /// Who it is.
    pub name: String,
    /// The course that is applied for.
    pub course: String,
    /// What has been decided: the name of a [`Status`].
    pub status: String,
}

/// What has been decided about an applicant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing yet.
    Registered,
    /// To take part.
    Accepted,
    /// To stay away.
    Rejected,
}

impl Status {
    /// As the table has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}
