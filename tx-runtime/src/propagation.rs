//! The eight propagation modes and the one table that says what each of them does.

use std::fmt;

/// What a scope does with the transaction its caller may already have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Propagation {
    /// Join the caller's transaction, or begin one.
    #[default]
    Required,
    /// Suspend the caller's transaction and begin another on a second connection.
    RequiresNew,
    /// As `RequiresNew`, but only under a held lock: the work commits before the lock opens.
    Isolated,
    /// A savepoint in the caller's transaction, or a transaction of its own.
    ///
    /// If it fails or is dropped, the transaction around it goes on without its work. As with
    /// COMMIT, a RELEASE that was sent counts: dropped in that moment, its work stays.
    Nested,
    /// Join the caller's transaction; without one, an error.
    Mandatory,
    /// Join the caller's transaction; without one, autocommit.
    Supports,
    /// Suspend the caller's transaction and run in autocommit.
    NotSupported,
    /// Run in autocommit; inside a transaction, an error.
    Never,
}

/// How a scope starts, once mode and surroundings are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Begin,
    BeginUnderLock,
    Savepoint,
    Join,
    Autocommit,
    RefuseWithout,
    RefuseInside,
}

impl Propagation {
    pub(crate) const fn entry(self, inside: bool) -> Entry {
        match (self, inside) {
            (Self::Required | Self::Nested, false) | (Self::RequiresNew, _) => Entry::Begin,
            (Self::Isolated, _) => Entry::BeginUnderLock,
            (Self::Nested, true) => Entry::Savepoint,
            (Self::Required | Self::Mandatory | Self::Supports, true) => Entry::Join,
            (Self::Supports | Self::Never, false) | (Self::NotSupported, _) => Entry::Autocommit,
            (Self::Mandatory, false) => Entry::RefuseWithout,
            (Self::Never, true) => Entry::RefuseInside,
        }
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Propagation};

    #[test]
    fn every_mode_has_one_entry_with_and_without_a_transaction() {
        use Entry::{
            Autocommit, Begin, BeginUnderLock, Join, RefuseInside, RefuseWithout, Savepoint,
        };
        let table = [
            (Propagation::Required, Begin, Join),
            (Propagation::RequiresNew, Begin, Begin),
            (Propagation::Isolated, BeginUnderLock, BeginUnderLock),
            (Propagation::Nested, Begin, Savepoint),
            (Propagation::Mandatory, RefuseWithout, Join),
            (Propagation::Supports, Autocommit, Join),
            (Propagation::NotSupported, Autocommit, Autocommit),
            (Propagation::Never, Autocommit, RefuseInside),
        ];
        for (mode, without, inside) in table {
            assert_eq!(mode.entry(false), without, "{mode} without a transaction");
            assert_eq!(mode.entry(true), inside, "{mode} inside a transaction");
        }
    }
}
