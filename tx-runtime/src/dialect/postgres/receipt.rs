//! The number by which PostgreSQL tells what became of a transaction.
//!
//! `pg_xact_status` answers for a number, and the number is the server's until it crashes: one
//! that has not reached the disk is given out again after the restart, and then the answer is
//! about somebody else's transaction. It is believed only from the same run of the same server.

use std::time::{Duration, Instant};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::dialect::Fate;

/// When this run of the server began, in microseconds.
macro_rules! server {
    () => {
        "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"
    };
}

/// What [`Receipt::read`] reads: the transaction's number, and the run of the server. In one
/// column, since each costs the client some allocations.
macro_rules! receipt {
    () => {
        concat!(
            "concat(pg_current_xact_id(), ' ', ",
            $crate::dialect::postgres::receipt::server!(),
            ")"
        )
    };
}
pub(super) use {receipt, server};

/// By how much clocks may differ in what they take for a second while a COMMIT is under way.
const CLOCK_LIMIT: Duration = Duration::from_secs(1);

/// What BEGIN tells of a transaction that can write.
#[derive(Debug)]
pub struct Receipt {
    number: u64,
    server: i64,
    /// Some time before the transaction had its number.
    taken: Instant,
}

impl Receipt {
    pub(super) fn read(row: &PgRow, taken: Instant) -> Option<Self> {
        let (number, server) = row.try_get_raw(0).ok()?.as_str().ok()?.split_once(' ')?;
        Some(Self {
            number: number.parse().ok()?,
            server: server.parse().ok()?,
            taken,
        })
    }

    pub(super) async fn fate(
        &self,
        connection: &mut PgConnection,
        impatient: bool,
    ) -> Result<Fate, sqlx::Error> {
        let fate = self.look(connection).await?;
        if fate == Fate::Open && impatient {
            self.end_idle(connection).await?;
        }
        Ok(fate)
    }

    async fn look(&self, connection: &mut PgConnection) -> Result<Fate, sqlx::Error> {
        let age = (self.taken.elapsed() + CLOCK_LIMIT).as_secs_f64();
        // A server that recovers from the crash of one of its processes keeps its start time,
        // but begins its statistics anew.
        let status: Option<String> = sqlx::query_scalar(concat!(
            "SELECT CASE WHEN NOT pg_is_in_recovery() AND ",
            server!(),
            " = $2 AND (SELECT stats_reset FROM pg_stat_bgwriter) < clock_timestamp() - make_interval(secs => $3) \
             THEN pg_xact_status($1::text::xid8) END"
        ))
        .bind(self.number.to_string())
        .bind(self.server)
        .bind(age)
        .fetch_one(connection)
        .await?;
        Ok(match status.as_deref() {
            Some("committed") => Fate::Committed,
            Some("aborted") => Fate::RolledBack,
            Some(_) => Fate::Open,
            None => Fate::Forgotten,
        })
    }

    /// Ends the transaction's connection if the server waits for something from it. One that
    /// works on its COMMIT is left to it.
    async fn end_idle(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE backend_xid = $1::text::xid8::xid AND state LIKE 'idle in transaction%'",
        )
        .bind(self.number.to_string())
        .execute(connection)
        .await?;
        Ok(())
    }
}
