//! Options of a scope that runs under a lock.

use std::fmt;

use crate::lock::Lock;
use crate::options::TransactionOptions;
use crate::rules::RuledOptions;

/// [`RuledOptions`] together with a lock.
#[derive(Debug)]
pub struct LockedOptions<T, E> {
    pub(crate) options: RuledOptions<T, E>,
    pub(crate) lock: Option<Lock>,
}

impl<T, E> Clone for LockedOptions<T, E> {
    fn clone(&self) -> Self {
        Self {
            options: self.options.clone(),
            lock: self.lock.clone(),
        }
    }
}

impl<T, E> From<RuledOptions<T, E>> for LockedOptions<T, E> {
    fn from(options: RuledOptions<T, E>) -> Self {
        Self {
            options,
            lock: None,
        }
    }
}

impl<T, E: fmt::Debug> From<TransactionOptions> for LockedOptions<T, E> {
    fn from(options: TransactionOptions) -> Self {
        RuledOptions::from(options).into()
    }
}

impl<T, E> RuledOptions<T, E> {
    /// As [`TransactionOptions::lock`].
    #[must_use]
    pub fn lock(self, lock: impl Into<Lock>) -> LockedOptions<T, E> {
        LockedOptions {
            options: self,
            lock: Some(lock.into()),
        }
    }
}

impl TransactionOptions {
    /// A lock to hold around the scope; it opens after the scope's transaction has ended.
    ///
    /// ```
    /// use tx_runtime::{Propagation, TransactionOptions};
    ///
    /// let add = TransactionOptions::new()
    ///     .propagation(Propagation::Isolated)
    ///     .lock(format!("interest-asset:{}", 7));
    /// # let _: tx_runtime::LockedOptions<(), tx_runtime::Error> = add;
    /// ```
    #[must_use]
    pub fn lock<T, E: fmt::Debug>(self, lock: impl Into<Lock>) -> LockedOptions<T, E> {
        RuledOptions::from(self).lock(lock)
    }
}
