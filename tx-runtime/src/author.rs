//! Who makes a change, and why.

use std::fmt;

/// Who makes the changes of a transaction, and why: what its revision says in the history.
///
/// Both are data wherever they go; any text will do, of any length, but for the character NUL,
/// which PostgreSQL cannot store. An empty text is as none.
///
/// ```
/// use tx_runtime::{Author, TransactionOptions};
///
/// let user = 17;
/// let audited = TransactionOptions::new().history(Author::new(user).reason("signed up"));
/// # let _ = audited;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    actor: String,
    reason: Option<String>,
}

impl Author {
    /// Somebody, by the name or number that the history is to show.
    #[must_use]
    pub fn new(actor: impl fmt::Display) -> Self {
        Self {
            actor: actor.to_string(),
            reason: None,
        }
    }

    /// Why the changes are made.
    #[must_use]
    pub fn reason(mut self, reason: impl fmt::Display) -> Self {
        self.reason = Some(reason.to_string());
        self
    }

    pub(crate) fn actor_text(&self) -> Option<&str> {
        Some(self.actor.as_str()).filter(|text| !text.is_empty())
    }

    pub(crate) fn reason_text(&self) -> Option<&str> {
        self.reason.as_deref().filter(|text| !text.is_empty())
    }

    /// Whether changes for which `asked` is wanted may be made under this one. A reason that is
    /// not asked for is whatever it is.
    pub(crate) fn fits(&self, asked: &Self) -> bool {
        self.actor == asked.actor && (asked.reason.is_none() || self.reason == asked.reason)
    }

    /// What no database could store of it.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        if self.actor.contains('\0') {
            Some("actor")
        } else if self.reason_text().is_some_and(|text| text.contains('\0')) {
            Some("reason")
        } else {
            None
        }
    }
}

/// As errors show it: cut where it is long.
impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Short(&self.actor))?;
        match &self.reason {
            None => Ok(()),
            Some(reason) => write!(f, " ({:?})", Short(reason)),
        }
    }
}

struct Short<'a>(&'a str);

impl fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        match self.0.char_indices().nth(SHOWN) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}..", &self.0[..end]),
        }
    }
}
