//! What is asked for: keys, how long to wait, and of whom.

use std::sync::Arc;
use std::time::Duration;

use super::held::Held;
use super::provider::LockProvider;
use crate::error::Error;
use crate::site::Site;

/// How long a lock is waited for unless the call says otherwise.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);

/// What every provider can store; a fence table's primary key sets it.
const LONGEST_KEY: usize = 500;

/// What a list of locks can show.
const LONGEST_LABEL: usize = 200;

/// A lock to take: one or more names, a bound for the wait, and who keeps it.
///
/// Several keys are taken in sorted order, each once, so that two calls that name the same
/// keys in different orders cannot wait for each other.
///
/// ```
/// use std::time::Duration;
/// use tx_runtime::Lock;
///
/// let (from, to) = (7, 3);
/// let lock = Lock::keys([format!("account:{from}"), format!("account:{to}")])
///     .wait(Duration::from_secs(2));
/// # let _ = lock;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a lock is taken by the call it is given to"]
pub struct Lock {
    keys: Vec<Arc<str>>,
    wait: Duration,
    label: Option<Arc<str>>,
    provider: Option<Arc<dyn LockProvider>>,
}

impl Lock {
    /// The lock `key`, waited for up to 10 seconds, of the `Db`'s own provider.
    pub fn key(key: impl Into<String>) -> Self {
        Self::keys([key.into()])
    }

    /// Several locks at once.
    pub fn keys<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        let mut keys: Vec<Arc<str>> = keys.into_iter().map(|key| key.into().into()).collect();
        keys.sort_unstable();
        keys.dedup();
        Self {
            keys,
            wait: DEFAULT_WAIT,
            label: None,
            provider: None,
        }
    }

    /// How long to wait for all the keys together.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Fails at once if somebody else has it.
    pub fn no_wait(self) -> Self {
        self.wait(Duration::ZERO)
    }

    /// What the lock is wanted for, for those who look at it from outside: the name of the
    /// batch, of the code path. At most 200 bytes.
    ///
    /// [`TicketLocks`](crate::TicketLocks) show it in their log; it also stands in the tracing
    /// spans of the lock.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into().into());
        self
    }

    /// Who keeps the lock, instead of the `Db`'s own provider.
    pub fn on<P: LockProvider + Clone>(mut self, provider: &P) -> Self {
        self.provider = Some(Arc::new(provider.clone()));
        self
    }

    /// The lock with its provider known.
    pub(crate) fn bind(self, default: impl FnOnce() -> Arc<dyn LockProvider>) -> Bound {
        Bound {
            keys: self.keys,
            wait: self.wait,
            label: self.label,
            provider: self.provider.unwrap_or_else(default),
        }
    }
}

impl From<&str> for Lock {
    fn from(key: &str) -> Self {
        Self::key(key)
    }
}

impl From<&String> for Lock {
    fn from(key: &String) -> Self {
        Self::key(key)
    }
}

impl From<String> for Lock {
    fn from(key: String) -> Self {
        Self::key(key)
    }
}

/// A lock whose provider is known.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(super) keys: Vec<Arc<str>>,
    pub(super) wait: Duration,
    pub(super) label: Option<Arc<str>>,
    pub(super) provider: Arc<dyn LockProvider>,
}

impl Bound {
    /// Whether `held` is one of the locks asked for.
    pub(crate) fn is_among(&self, held: &Held) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|key| held.has(self.provider.queue(), key))
    }

    /// Refuses names that some provider could not store, and a lock without a name, which
    /// would let everybody in.
    pub(super) fn check(&self, function: Site) -> Result<(), Error> {
        if self.keys.is_empty() {
            return Err(Error::LockKey {
                function,
                key: String::new(),
                problem: "no name was given",
            });
        }
        if let Some(label) = &self.label
            && let Some(problem) = problem(label, LONGEST_LABEL, "it is longer than 200 bytes")
        {
            return Err(Error::LockLabel {
                function,
                label: label.chars().take(80).collect(),
                problem,
            });
        }
        let too_long = "it is longer than 500 bytes";
        let bad = |key: &'_ Arc<str>| Some((Arc::clone(key), problem(key, LONGEST_KEY, too_long)?));
        match self.keys.iter().find_map(bad) {
            None => Ok(()),
            Some((key, problem)) => Err(Error::LockKey {
                function,
                key: key.chars().take(80).collect(),
                problem,
            }),
        }
    }
}

fn problem(text: &str, longest: usize, too_long: &'static str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > longest {
        Some(too_long)
    } else if text.contains('\0') {
        Some("it contains a NUL character")
    } else {
        None
    }
}
