//! What the database is told and asked: one message each, which the server goes through with
//! even if the process that sent it stands still.

use std::sync::Arc;
use std::time::Duration;

use super::Terms;
use crate::dialect::{Dialect, Framed};

/// The tickets of one acquisition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    /// The process that asks.
    pub(super) process: i64,
    /// Which of its requests it is.
    pub(super) request: i64,
    /// How many tickets, one for each key.
    pub(super) tickets: usize,
}

/// How a ticket ends, other than with a COMMIT.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) state: &'static str,
    pub(super) error: Option<String>,
    /// Whether it may end while it is still waiting.
    pub(super) waiting: bool,
}

/// Longer texts of errors are cut.
const LONGEST_ERROR: usize = 4000;

const LIVE: &str = "('WAITING', 'RUNNING')";

impl Asking {
    fn mine(self) -> String {
        let Self {
            process, request, ..
        } = self;
        format!("t.process = {process} AND t.request = {request}")
    }

    /// Tells id, state and token of each.
    fn states(self) -> String {
        let mine = self.mine();
        format!("SELECT t.id, t.state, t.token FROM tx_ticket t WHERE {mine} ORDER BY t.id")
    }
}

/// Says that `process` is alive, whether it was known or not.
pub(super) fn register<DB: Dialect>(process: i64, name: &str, lease: Duration) -> Framed {
    plain(format!(
        "INSERT INTO tx_ticket_process (id, name, lease, heartbeat) VALUES ({process}, {}, {}, {})",
        DB::text(name),
        lease.as_millis(),
        DB::NOW
    ))
}

/// Says that `process` is still alive; tells whether it is known, and its tickets that have run
/// too long.
pub(super) fn beat<DB: Dialect>(process: i64) -> Framed {
    plain(format!(
        "{}; SELECT p.id, NULL, NULL, NULL FROM tx_ticket_process p WHERE p.id = {process}; \
         SELECT t.id, {}, t.label, {} - {} FROM tx_ticket t \
         WHERE t.process = {process} AND t.state = 'RUNNING' AND t.deadline < {}",
        renew::<DB>(process),
        DB::key_text("t.name"),
        DB::micros(DB::NOW),
        DB::micros("t.started"),
        DB::NOW
    ))
}

fn renew<DB: Dialect>(process: i64) -> String {
    format!(
        "UPDATE tx_ticket_process SET heartbeat = {} WHERE id = {process}",
        DB::NOW
    )
}

/// The process has no tickets left.
pub(super) fn deregister(process: i64) -> Framed {
    plain(format!(
        "DELETE FROM tx_ticket_process WHERE id = {process}"
    ))
}

/// Draws a ticket for each key, and takes the locks if they are free.
pub(super) fn ask<DB: Dialect>(
    asking: Asking,
    keys: &[Arc<str>],
    label: &str,
    owner: &str,
    terms: Terms,
) -> Framed {
    let Asking {
        process, request, ..
    } = asking;
    let mut body = String::new();
    for key in keys {
        let key = DB::key(key);
        // Nothing is drawn for a process that counts as gone.
        let select = format!(
            "SELECT {key}, {}, 'WAITING', p.id, {request}, {}, (SELECT max(w.id) FROM tx_ticket w \
             WHERE w.name = {key} AND w.state IN {LIVE}), {} FROM tx_ticket_process p WHERE p.id = {process}",
            DB::text(label),
            DB::text(owner),
            DB::NOW
        );
        let columns = "name, label, state, process, request, owner, waits_on, requested";
        body.push_str(&DB::insert_new(columns, &select));
        body.push_str("; ");
    }
    body.push_str(&take::<DB>(asking, terms));
    DB::framed(keys, &body)
}

/// Takes the locks if nobody is before us. `over`: the tickets of processes that are gone are
/// declared abandoned first.
pub(super) fn claim<DB: Dialect>(
    asking: Asking,
    keys: &[Arc<str>],
    terms: Terms,
    over: bool,
) -> Framed {
    let mut body = String::new();
    if over {
        body = format!(
            "UPDATE tx_ticket SET state = 'ABANDONED', ended = {now} WHERE state IN {LIVE} AND (\
             process IN (SELECT p.id FROM tx_ticket_process p WHERE {stale}) \
             OR process NOT IN (SELECT p.id FROM tx_ticket_process p)); \
             DELETE FROM tx_ticket_process WHERE id IN (SELECT gone.id FROM (\
             SELECT p.id FROM tx_ticket_process p WHERE {stale}) gone); ",
            now = DB::NOW,
            stale = DB::STALE
        );
    }
    body.push_str(&take::<DB>(asking, terms));
    DB::framed(keys, &body)
}

fn take<DB: Dialect>(asking: Asking, terms: Terms) -> String {
    let mut also = format!("started = {}", DB::NOW);
    if let Some(deadline) = terms.deadline {
        also.push_str(", deadline = ");
        also.push_str(&DB::in_millis(millis(deadline)));
    }
    let claim = DB::claim(&asking.mine(), asking.tickets, &also);
    format!("{claim}; {}", asking.states())
}

/// Tells the states of the tickets, and of who is before them one that is gone, or else the one
/// whose end is waited for.
pub(super) fn look<DB: Dialect>(asking: Asking) -> Framed {
    plain(format!(
        "SELECT 'mine', t.state, NULL, NULL, NULL, NULL FROM tx_ticket t WHERE {}; \
         SELECT CASE WHEN p.id IS NULL OR {} THEN 'gone' ELSE 'alive' END AS life, b.state, b.owner, b.label, \
         {} - {}, CASE WHEN b.deadline < {} THEN 1 ELSE 0 END \
         FROM tx_ticket m JOIN tx_ticket b ON b.name = m.name AND b.state IN {LIVE} \
         AND (b.state = 'RUNNING' OR b.id < m.id) AND b.id <> m.id \
         LEFT JOIN tx_ticket_process p ON p.id = b.process \
         WHERE {} AND m.state = 'WAITING' \
         ORDER BY life DESC, CASE b.state WHEN 'RUNNING' THEN 0 ELSE 1 END, b.id LIMIT 1",
        asking.mine(),
        DB::STALE,
        DB::micros(DB::NOW),
        DB::micros("b.started"),
        DB::NOW,
        asking.mine().replace("t.", "m.")
    ))
}

/// Tells the states of the tickets.
pub(super) fn states(asking: Asking) -> Framed {
    plain(asking.states())
}

/// Ends the tickets, and tells their states.
pub(super) fn end<DB: Dialect>(asking: Asking, ending: &Ending) -> Framed {
    let from = if ending.waiting { LIVE } else { "('RUNNING')" };
    let error = ending
        .error
        .as_deref()
        .map_or_else(|| "NULL".to_owned(), |error| DB::text(&storable(error)));
    plain(format!(
        "UPDATE tx_ticket SET state = '{}', ended = {}, error = {error} \
         WHERE process = {} AND request = {} AND state IN {from}; {}",
        ending.state,
        DB::NOW,
        asking.process,
        asking.request,
        asking.states()
    ))
}

/// Fails unless the tickets are RUNNING.
pub(super) fn verify<DB: Dialect>(asking: Asking, keep: bool) -> String {
    let mine = format!("{} AND t.state = 'RUNNING'", asking.mine());
    let verify = DB::verify(&mine, asking.tickets, keep);
    if keep && DB::WRITER_SILENCES_OTHERS {
        // Meanwhile this process could not say that it is alive.
        format!("{}; {verify}", renew::<DB>(asking.process))
    } else {
        verify
    }
}

/// Sets the tickets to DONE, and fails unless they are RUNNING.
pub(super) fn finish<DB: Dialect>(asking: Asking) -> String {
    let mine = format!("{} AND t.state = 'RUNNING'", asking.mine());
    let set = format!("state = 'DONE', ended = {}", DB::NOW);
    DB::update_exactly(&set, &mine, asking.tickets)
}

/// The columns that [`Ticket`](super::Ticket) is made of.
pub(super) fn read<DB: Dialect>(which: &str) -> Framed {
    let times = [
        "t.requested",
        "t.started",
        "p.heartbeat",
        "t.deadline",
        "t.ended",
        DB::NOW,
    ];
    let times = times.map(DB::micros).join(", ");
    plain(format!(
        "SELECT t.id, {}, t.label, t.state, t.token, t.owner, t.waits_on, t.error, {times} \
         FROM tx_ticket t LEFT JOIN tx_ticket_process p ON p.id = t.process AND t.state IN {LIVE} {which}",
        DB::key_text("t.name"),
    ))
}

/// Those of `key` that have not ended, in the order of the line.
pub(super) fn line<DB: Dialect>(key: &str) -> String {
    format!(
        "WHERE t.name = {} AND t.state IN {LIVE} \
         ORDER BY CASE t.state WHEN 'RUNNING' THEN 0 ELSE 1 END, t.id",
        DB::key(key)
    )
}

/// Those that run and have run too long.
pub(super) fn overdue<DB: Dialect>() -> String {
    format!(
        "WHERE t.state = 'RUNNING' AND t.deadline < {} ORDER BY t.id",
        DB::NOW
    )
}

/// Deletes what ended longer than `age` ago.
pub(super) fn purge<DB: Dialect>(age: Duration) -> Framed {
    plain(DB::purge(&format!(
        "t.state NOT IN {LIVE} AND {} < {} - {}",
        DB::micros("t.ended"),
        DB::micros(DB::NOW),
        age.as_micros()
    )))
}

pub(super) fn plain(sql: String) -> Framed {
    Framed { sql, undo: None }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What every database takes as text.
fn storable(error: &str) -> String {
    error
        .replace('\0', "\u{fffd}")
        .chars()
        .take(LONGEST_ERROR)
        .collect()
}
