//! Locks as tickets in a table: for batches and calls to the outside, which hold them for long
//! and which people want to see.
//!
//! **Order.** Whoever asks draws a ticket at once: a row in `tx_ticket`, WAITING. Rows of one key
//! are inserted one transaction after another, so that the order of their numbers is the order
//! of asking, and a ticket runs when no ticket before it is alive. The table itself refuses a
//! second RUNNING row of a key. Several keys are asked for in one message, and run together or
//! not at all: of two requests the same one is first in every line that they share.
//!
//! **Life.** A process with tickets says every third of its lease, by the database's clock, that
//! it is alive. Who comes to wait behind tickets of a process that has not said so for longer
//! than its lease declares them all ABANDONED, in the transaction in which it takes the lock.
//!
//! **Why a process that was wrongly declared dead stores nothing**, in the database of the
//! tickets: every transaction under the lock sends, in the message of its COMMIT, a statement
//! that fails unless its rows are still RUNNING, and that keeps them so until it has committed.
//! ABANDONED is committed before the successor begins to read. So either the old holder commits
//! before it is declared dead, and its successor reads what it wrote, or it does not commit at
//! all. (Fencing tokens written first, as for leases in Redis, would give the same, and make the
//! successor wait for the old holder besides; the token is for other databases and services.)
//!
//! **Truth.** Where the work is one transaction of the same database, that statement sets the row
//! to DONE: it is so if, and only if, the work is stored. Everything else is written after the
//! fact, in a transaction of its own.

mod draw;
mod hold;
mod lines;
mod office;
mod process;
mod sql;
mod ticket;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::lines::Lines;
use self::office::Office;
use self::process::Process;
use crate::db::Db;
use crate::dialect::{Dialect, Framed};
use crate::error::Error;
use crate::lock::{
    LockFailure, LockFuture, LockHold, LockProvider, LockQueue, LockRequest, this_process,
};
use crate::site::Site;

pub use self::ticket::{Ticket, TicketState};

/// How long a lease is unless the provider was given another length.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);

/// Below this a process would count as dead before its first heartbeat is answered.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// Above this it would be no lease.
const LONGEST_LEASE: Duration = Duration::from_hours(24);

const DEFAULT_POLL: Duration = Duration::from_secs(1);

/// More often than this is a storm.
const SHORTEST_POLL: Duration = Duration::from_millis(10);

const LOG: Site = Site::new("the log of tickets", "", 0);

/// Locks as tickets in the table `tx_ticket`: in order across processes, visible, with a log that
/// says what became of each.
///
/// They are for what takes long and must be seen: batches that must not overlap, sessions with a
/// service outside that allows one at a time. Each acquisition is a row for each of its keys, with
/// its [`label`](crate::Lock::label), its owner and its state:
///
/// | state | what is true |
/// |---|---|
/// | `WAITING` | somebody is in line |
/// | `RUNNING` | somebody holds the lock, and its process was alive within its lease |
/// | `DONE` | what was done under the lock is done. If it was one transaction of this database (`#[transactional(lock(.., on = ..))]`), it is stored: the row has changed with its COMMIT |
/// | `FAILED` | it returned an error, panicked or was rolled back, and has done so before the row says it |
/// | `ABANDONED` | its process was not heard of for longer than its lease |
/// | `CANCELLED` | its future was dropped, or the wait for the lock was over |
///
/// A holder that is declared dead although it was only paused stores nothing more in this
/// database: transactions under the lock fail with [`Error::LockLost`] then. For another database
/// the ticket's number is a fencing token, as those of `RedisLocks`: it needs the table of
/// [`Db::create_fence_table`]. A service outside goes behind a
/// [`Guarded`](crate::Guarded), which can be asked between two calls whether the lock is still held.
///
/// Who waits holds no connection. Of all who wait for a key in one process only the first asks the
/// database whether it is its turn, once a [`poll`](Self::poll); who waits in the process that
/// holds the lock is told at once. (There is no `LISTEN`: it would keep a connection in each process,
/// does not pass through poolers, and NOTIFY makes COMMITs queue for one lock of the whole server.)
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use tx_runtime::{Error, SqliteDb, TicketLocks, TicketState, transactional};
///
/// struct Statistics {
///     db: SqliteDb,
///     tickets: TicketLocks<sqlx::Sqlite>,
/// }
///
/// impl Statistics {
///     #[transactional(lock(key = "statistics", on = self.tickets, label = "open the day", wait = "10m"))]
///     async fn open_day(&self, day: i64) -> Result<(), Error> {
///         sqlx::query("insert into day (id) values (?)").bind(day).execute(&self.db).await?;
///         Ok(())
///     }
/// }
///
/// let db = SqliteDb::connect("sqlite::memory:").await?;
/// # sqlx::query("create table day (id integer)").execute(db.pool()).await?;
/// let tickets = TicketLocks::new(&db);
/// tickets.create_tables().await?;
/// Statistics { db, tickets: tickets.clone() }.open_day(19).await?;
/// let log = tickets.log("statistics", 10).await?;
/// assert_eq!((log[0].state, &*log[0].label), (TicketState::Done, "open the day"));
/// # Ok::<_, Error>(())
/// # }).unwrap();
/// ```
///
/// Clones are one provider. All who use the same database, with whatever settings, exclude each
/// other.
///
/// On SQLite nobody can say that it is alive while somebody else writes: keep transactions shorter
/// than the lease there.
pub struct TicketLocks<DB: Dialect>(Counter<DB>);

/// What all clones share.
struct Counter<DB: Dialect> {
    office: Office<DB>,
    queue: LockQueue,
    lines: Lines,
    process: Arc<Process<DB>>,
    /// This process, for people.
    name: Arc<str>,
    terms: Terms,
}

#[derive(Clone, Copy, Debug)]
struct Terms {
    lease: Duration,
    poll: Duration,
    deadline: Option<Duration>,
}

impl<DB: Dialect> TicketLocks<DB> {
    /// Locks that are kept in the database of `db`, with leases of 30 seconds and no deadline.
    #[must_use]
    pub fn new(db: &Db<DB>) -> Self {
        let terms = Terms {
            lease: DEFAULT_LEASE,
            poll: DEFAULT_POLL,
            deadline: None,
        };
        Self::over(Office::of(db.source()), terms)
    }

    fn over(office: Office<DB>, terms: Terms) -> Self {
        Self(Counter {
            queue: LockQueue::new(),
            lines: Lines::default(),
            process: Process::new(office.clone(), terms.lease),
            name: this_process().into(),
            office,
            terms,
        })
    }

    /// How long after its last heartbeat a process counts as dead; 30 seconds by default, at least
    /// 100 milliseconds and at most a day. It sends one every third of that.
    ///
    /// A process that stands still for longer loses its locks, so a short lease costs rolled back
    /// transactions, and a long one costs waiting after a crash.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        let lease = lease.clamp(SHORTEST_LEASE, LONGEST_LEASE);
        Self::over(
            self.0.office,
            Terms {
                lease,
                ..self.0.terms
            },
        )
    }

    /// How often whoever is first in this process asks whether it is its turn; every second by
    /// default, and not more often than every 10 milliseconds.
    #[must_use]
    pub fn poll(self, poll: Duration) -> Self {
        let poll = poll.max(SHORTEST_POLL);
        Self::over(
            self.0.office,
            Terms {
                poll,
                ..self.0.terms
            },
        )
    }

    /// How long a ticket may run before it counts as running too long.
    ///
    /// That is another question than whether its process is alive, and it takes nothing away from
    /// the holder: it is a warning once as a `tracing` event of the holder's process, stands in the
    /// error of those who wait in vain, and is what [`overdue`](Self::overdue) lists. A `timeout`
    /// of the function ends it.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        let deadline = Some(deadline.min(LONGEST_DEADLINE));
        Self::over(
            self.0.office,
            Terms {
                deadline,
                ..self.0.terms
            },
        )
    }

    /// The statements that create the tables, unless they are there: for migrations.
    #[must_use]
    pub fn tables() -> &'static str {
        DB::TABLES
    }

    /// Creates the tables if they are not there; [`tables`](Self::tables) has them for migrations.
    ///
    /// # Errors
    ///
    /// The database's own.
    pub async fn create_tables(&self) -> Result<(), Error> {
        self.ask(sql::plain(DB::TABLES.to_owned()), true).await?;
        Ok(())
    }

    /// The last `limit` tickets for `key`, the newest first.
    ///
    /// # Errors
    ///
    /// The database's own, [`Error::NoTicketTable`] without the tables.
    pub async fn log(&self, key: &str, limit: u32) -> Result<Vec<Ticket>, Error> {
        let name = DB::key(key);
        self.read(&format!(
            "WHERE t.name = {name} ORDER BY t.id DESC LIMIT {limit}"
        ))
        .await
    }

    /// The last `limit` tickets for all keys, the newest first.
    ///
    /// # Errors
    ///
    /// As [`log`](Self::log).
    pub async fn log_of_all(&self, limit: u32) -> Result<Vec<Ticket>, Error> {
        self.read(&format!("WHERE 1 = 1 ORDER BY t.id DESC LIMIT {limit}"))
            .await
    }

    /// Who has `key` and who waits for it, in the order of the line: the first is RUNNING, or next
    /// to run.
    ///
    /// # Errors
    ///
    /// As [`log`](Self::log).
    pub async fn current(&self, key: &str) -> Result<Vec<Ticket>, Error> {
        self.read(&sql::line::<DB>(key)).await
    }

    /// The tickets that run for longer than their deadline allows.
    ///
    /// # Errors
    ///
    /// As [`log`](Self::log).
    pub async fn overdue(&self) -> Result<Vec<Ticket>, Error> {
        self.read(&sql::overdue::<DB>()).await
    }

    /// Deletes the tickets that ended longer than `age` ago, and tells how many. The last one of
    /// each key that has held it stays, so that tokens go on where they were.
    ///
    /// # Errors
    ///
    /// As [`log`](Self::log).
    pub async fn purge(&self, age: Duration) -> Result<u64, Error> {
        Ok(self.ask(sql::purge::<DB>(age), true).await?.changed)
    }

    async fn read(&self, which: &str) -> Result<Vec<Ticket>, Error> {
        let said = self.ask(sql::read::<DB>(which), false).await?;
        let tickets = said.rows.iter().map(|row| Ticket::from_cells(row));
        tickets
            .collect::<Option<_>>()
            .ok_or(Error::Database(sqlx::Error::RowNotFound))
    }

    async fn ask(&self, message: Framed, changes: bool) -> Result<office::Said, Error> {
        let office = &self.0.office;
        let said = if changes {
            office.tell(LOG, message, ()).await
        } else {
            office.ask(LOG, message).await
        };
        said.map_err(|error| match error {
            Error::Database(error) if DB::lacks_tables(&error) => Error::NoTicketTable {
                function: LOG,
                key: String::new(),
                create: DB::TABLES,
            },
            other => other,
        })
    }
}

/// More is no deadline.
const LONGEST_DEADLINE: Duration = Duration::from_hours(24 * 365);

impl<DB: Dialect> LockProvider for TicketLocks<DB> {
    fn queue(&self) -> &LockQueue {
        &self.0.queue
    }

    fn acquire<'a>(
        &'a self,
        request: LockRequest<'a>,
    ) -> LockFuture<'a, Result<Option<Box<dyn LockHold>>, LockFailure>> {
        Box::pin(async move {
            let hold = draw::draw(self.0.clone(), request).await?;
            Ok(Some(Box::new(hold) as Box<dyn LockHold>))
        })
    }

    fn keeps_line(&self) -> bool {
        true
    }
}

impl<DB: Dialect> Clone for TicketLocks<DB> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<DB: Dialect> Clone for Counter<DB> {
    fn clone(&self) -> Self {
        Self {
            office: self.office.clone(),
            queue: self.queue.clone(),
            lines: self.lines.clone(),
            process: Arc::clone(&self.process),
            name: Arc::clone(&self.name),
            terms: self.terms,
        }
    }
}

impl<DB: Dialect> fmt::Debug for TicketLocks<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketLocks")
            .field("database", &DB::NAME)
            .field("terms", &self.0.terms)
            .finish_non_exhaustive()
    }
}
