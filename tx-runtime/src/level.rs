//! One level of a transaction: the transaction itself, or a savepoint in it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::cause::{Cause, CauseKind, Doom};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::site::Site;

/// A level's identity and verdict.
///
/// It knows neither the database nor the connection, so that the connection's state may
/// refer to levels without a reference circle.
#[derive(Debug)]
pub(crate) struct Level {
    site: Site,
    parent: Option<Arc<Self>>,
    /// Distinct within the transaction; names the savepoint.
    number: usize,
    /// Whether the server refuses writes here.
    read_only: bool,
    deadline: Option<Deadline>,
    doom: OnceLock<Doom>,
    end: OnceLock<End>,
    /// Scopes that have joined and not yet ended.
    participants: AtomicUsize,
    /// A savepoint whose work the server has given to the level around it.
    released: AtomicBool,
}

/// How a level's scope ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its owner saw it through.
    Closed,
    /// Its owner was dropped; what it did is still to be rolled back.
    Abandoned,
}

/// Why nothing more runs at a level.
pub(crate) enum Bar<'a> {
    /// It, or one around it, has ended.
    Ended(&'a Level),
    Doomed(&'a Doom),
}

impl Level {
    pub(crate) fn root(site: Site, read_only: bool, deadline: Option<Deadline>) -> Arc<Self> {
        Self::new(site, None, 0, read_only, deadline)
    }

    pub(crate) fn savepoint(
        self: &Arc<Self>,
        site: Site,
        number: usize,
        read_only: bool,
        deadline: Option<Deadline>,
    ) -> Arc<Self> {
        let read_only = read_only || self.read_only;
        Self::new(site, Some(Arc::clone(self)), number, read_only, deadline)
    }

    fn new(
        site: Site,
        parent: Option<Arc<Self>>,
        number: usize,
        read_only: bool,
        deadline: Option<Deadline>,
    ) -> Arc<Self> {
        Arc::new(Self {
            site,
            parent,
            number,
            read_only,
            deadline,
            doom: OnceLock::new(),
            end: OnceLock::new(),
            participants: AtomicUsize::new(0),
            released: AtomicBool::new(false),
        })
    }

    /// The scope that owns this level.
    pub(crate) fn site(&self) -> Site {
        self.site
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Dooms the level, or one around it, if its time is over.
    #[inline]
    pub(crate) fn doom_if_late(self: &Arc<Self>) {
        for level in self.outwards() {
            if let Some(deadline) = level.deadline
                && deadline.has_passed()
            {
                level.doom(deadline.doom());
            }
        }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether writes, which the level around it allows, are refused from here on.
    pub(crate) fn begins_to_read_only(&self) -> bool {
        self.read_only && self.parent.as_ref().is_some_and(|parent| !parent.read_only)
    }

    #[inline]
    pub(crate) fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// This level and those around it, innermost first.
    #[inline]
    pub(crate) fn outwards(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(Some(self), |level| level.parent.as_ref())
    }

    /// The savepoints that must be open for a statement of this level, outermost first.
    pub(crate) fn savepoints(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut path: Vec<_> = self
            .outwards()
            .filter(|level| !level.is_root())
            .cloned()
            .collect();
        path.reverse();
        path
    }

    pub(crate) fn is_within(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        self.outwards().any(|level| Arc::ptr_eq(level, other))
    }

    /// SQL that all three databases understand, with this savepoint's name at its end.
    pub(crate) fn sql(&self, before: &str) -> String {
        let mut sql = before.to_owned();
        self.push_name(&mut sql);
        sql
    }

    /// Rolls back to the savepoint and removes it, which a rollback alone does not.
    pub(crate) fn rollback_sql(&self) -> String {
        let mut sql = self.sql("ROLLBACK TO SAVEPOINT ");
        sql.push_str("; RELEASE SAVEPOINT ");
        self.push_name(&mut sql);
        sql
    }

    fn push_name(&self, sql: &mut String) {
        write!(sql, "tx_scope_{}", self.number).expect("a String takes every write");
    }

    /// Makes this level unable to commit; the first cause stays, also that of a level around it.
    pub(crate) fn doom(&self, doom: Doom) {
        // A second cause is a consequence of the first more often than not.
        if self.parent.as_ref().is_none_or(|it| it.verdict().is_none())
            && self.doom.set(doom).is_ok()
            && let Some(Doom { by, cause }) = self.doom.get()
        {
            tracing::debug!(
                function = %self.site,
                %by,
                kind = ?cause.kind(),
                %cause,
                "a transaction or savepoint can only roll back"
            );
        }
    }

    /// Makes the whole transaction unable to commit.
    pub(crate) fn doom_transaction(self: &Arc<Self>, doom: &Doom) {
        for level in self.outwards() {
            level.doom(doom.clone());
        }
    }

    /// Why this level cannot commit, if it cannot: its own doom or that of one around it.
    #[inline]
    pub(crate) fn verdict(self: &Arc<Self>) -> Option<&Doom> {
        self.outwards().find_map(|level| level.doom.get())
    }

    /// What doomed this very level.
    pub(crate) fn own_doom(&self) -> Option<&Doom> {
        self.doom.get()
    }

    pub(crate) fn join(&self) {
        self.participants.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn part(&self) {
        self.participants.fetch_sub(1, Ordering::AcqRel);
    }

    /// Dooms a level that is to end while a scope that joined it goes on: a participant that
    /// is only half-way has not succeeded.
    pub(crate) fn doom_if_outlived(&self) {
        if self.participants.load(Ordering::Acquire) > 0 {
            let cause = Cause::of_function(
                CauseKind::Outlived,
                "a scope that joined it was still open when it ended",
            );
            self.doom(Doom::new(self.site, cause));
        }
    }

    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::Release);
    }

    fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    /// Whether what was done at this level is part of the transaction by now.
    pub(crate) fn is_kept(self: &Arc<Self>) -> bool {
        self.outwards()
            .all(|level| level.is_root() || level.is_released())
    }

    /// Whether what was done at this level is there for `other`.
    pub(crate) fn counts_for(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        self.outwards()
            .take_while(|level| !other.is_within(level))
            .all(|level| level.is_released())
    }

    pub(crate) fn finish(&self, end: End) {
        let _ = self.end.set(end);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.end.get() == Some(&End::Abandoned)
    }

    #[inline]
    fn ended(self: &Arc<Self>) -> Option<&Arc<Self>> {
        self.outwards().find(|level| level.end.get().is_some())
    }

    /// Refuses what comes after the end of the level.
    pub(crate) fn check_open(self: &Arc<Self>) -> Result<(), Error> {
        self.ended().map_or(Ok(()), |ended| Err(ended.closed()))
    }

    fn closed(&self) -> Error {
        Error::TransactionClosed {
            function: self.site,
        }
    }

    /// Why nothing more runs here, if nothing does.
    #[inline]
    pub(crate) fn bar(self: &Arc<Self>) -> Option<Bar<'_>> {
        if let Some(ended) = self.ended() {
            return Some(Bar::Ended(ended));
        }
        self.doom_if_late();
        self.verdict().map(Bar::Doomed)
    }

    /// Refuses whatever `function` wants to do if the level has ended or is doomed.
    pub(crate) fn check(self: &Arc<Self>, function: Site) -> Result<(), Error> {
        match self.bar() {
            None => Ok(()),
            Some(Bar::Ended(ended)) => Err(ended.closed()),
            Some(Bar::Doomed(doom)) if doom.cause.kind() == CauseKind::TimedOut => {
                Err(Error::timed_out(function, doom))
            }
            Some(Bar::Doomed(doom)) => Err(Error::Doomed {
                function,
                by: doom.by,
                cause: doom.cause.clone(),
            }),
        }
    }
}
