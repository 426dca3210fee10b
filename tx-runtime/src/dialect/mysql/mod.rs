//! MySQL and MariaDB.

#[cfg(feature = "history")]
mod history;
mod lock;
mod revision;
mod ticket;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::MySqlDatabaseError;
use sqlx::{ConnectOptions, Connection, MySql, MySqlConnection, Row, SqlSafeStr, SqlStr};

use super::sql::{self, Words, is_one_of};
use super::{
    Concurrency, Dialect, Driver, Fate, Fault, GRACE, Interference, LockMessages, LockTime,
    Obstacle, Options, TicketWords as _, address, driver_independent_fault, own_sql,
};
#[cfg(feature = "history")]
use crate::dialect::history::{
    Blueprint, Damage, Place, Reader, Relation, Repair, Survey, TableName,
};
use crate::options::{Isolation, Terms};

const DEADLOCK: u16 = 1213;
const SNAPSHOT_CONFLICT: u16 = 1020;
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const LOCK_NOWAIT: u16 = 3572;
const NO_SUCH_SAVEPOINT: u16 = 1305;
const NO_SUCH_TABLE: u16 = 1146;
const INTERRUPTED: u16 = 1317;
const STATEMENT_TIMEOUT: u16 = 1969;
const EXECUTION_TIMEOUT: u16 = 3024;

fn number(error: &sqlx::Error) -> Option<u16> {
    let database = error.as_database_error()?;
    Some(database.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

fn says(error: &sqlx::Error, text: &str) -> bool {
    error
        .as_database_error()
        .is_some_and(|database| database.message().contains(text))
}

fn commits_implicitly(sql: &str) -> bool {
    let mut words = Words::of(sql);
    let first = words.next_word();
    if is_one_of(first, &["create"]) {
        !creates_temporary(&mut words)
    } else if is_one_of(first, &["drop"]) {
        !words.next_is(&["temporary", "prepare"])
    } else if is_one_of(first, &["lock", "unlock"]) {
        words.next_is(&["table", "tables"])
    } else if is_one_of(first, &["analyze"]) {
        words.next_is(&["table", "local", "no_write_to_binlog"])
    } else if is_one_of(first, &["set"]) {
        let what = words.next_word();
        is_one_of(what, &["password"]) || is_one_of(what, &["default"]) && words.next_is(&["role"])
    } else if is_one_of(first, &["load"]) {
        words.next_is(&["index"])
    } else if is_one_of(first, &["start", "stop"]) {
        words.next_is(&["slave", "replica", "all", "group_replication"])
    } else {
        is_one_of(first, ALWAYS_COMMIT)
    }
}

const ALWAYS_COMMIT: &[&str] = &[
    "alter",
    "truncate",
    "rename",
    "grant",
    "revoke",
    "analyze",
    "optimize",
    "repair",
    "install",
    "uninstall",
    "flush",
    "reset",
    "check",
    "cache",
    "backup",
    "change",
    "import",
];

fn creates_temporary(after_create: &mut Words<'_>) -> bool {
    let mut kind = after_create.next_word();
    if is_one_of(kind, &["or"]) {
        after_create.next_word();
        kind = after_create.next_word();
    }
    is_one_of(kind, &["temporary"])
}

/// Whether a backslash quotes the next character inside a string, by default.
const BACKSLASHES: bool = true;

fn begin_sql(isolation: Option<Isolation>) -> &'static str {
    // START TRANSACTION would commit what somebody left open on the connection.
    match isolation {
        None => "ROLLBACK; START TRANSACTION; SAVEPOINT tx_scope",
        Some(Isolation::ReadUncommitted) => {
            "ROLLBACK; SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; START TRANSACTION; SAVEPOINT tx_scope"
        }
        Some(Isolation::ReadCommitted) => {
            "ROLLBACK; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION; SAVEPOINT tx_scope"
        }
        Some(Isolation::RepeatableRead) => {
            "ROLLBACK; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION; SAVEPOINT tx_scope"
        }
        Some(Isolation::Serializable) => {
            "ROLLBACK; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION; SAVEPOINT tx_scope"
        }
    }
}

fn begin_text(terms: Terms) -> String {
    let sql = begin_sql(terms.isolation);
    if terms.read_only {
        return sql.replacen("START TRANSACTION", "START TRANSACTION READ ONLY", 1);
    }
    sql.to_owned()
}

impl Dialect for MySql {
    // The savepoint set at BEGIN is the proof that the transaction is still the same: an
    // implicit commit, a deadlock and a COMMIT of the body all remove it, and then RELEASE
    // fails and COMMIT is not reached.
    const COMMIT: &'static str = "RELEASE SAVEPOINT tx_scope; COMMIT";

    const SURVIVES_FAILED_STATEMENTS: bool = true;

    fn begin_sql(terms: Terms) -> SqlStr {
        if terms.read_only {
            return own_sql(begin_text(terms));
        }
        begin_sql(terms.isolation).into_sql_str()
    }

    /// There is none: neither MySQL nor MariaDB keeps what became of a transaction that has ended.
    type Receipt = Infallible;

    async fn begin(
        connection: &mut MySqlConnection,
        sql: SqlStr,
    ) -> Result<Option<Infallible>, sqlx::Error> {
        Self::control(connection, sql).await.map(|()| None)
    }

    async fn fate(
        _: &mut MySqlConnection,
        receipt: &Infallible,
        _: bool,
    ) -> Result<Fate, sqlx::Error> {
        match *receipt {}
    }

    const READ_ONLY_SAVEPOINT: Option<&'static str> = None;

    /// The server's thread.
    type Backend = u64;

    async fn bind(
        connection: &mut MySqlConnection,
        limit: Option<Duration>,
    ) -> Result<u64, sqlx::Error> {
        let sql = match limit {
            None => "SELECT CONNECTION_ID()".to_owned(),
            Some(limit) => {
                // We stop it in time ourselves; this is for when nobody polls us. MySQL has no
                // such limits, and takes the comment for one.
                let limit = (limit + GRACE).as_secs_f64().min(1e6);
                format!(
                    "SET @tx_work = 0, @tx_idle = 0 /*M!100300 , \
                     @tx_work = @@SESSION.max_statement_time, \
                     @tx_idle = @@SESSION.idle_transaction_timeout */; \
                     SET @tx_bound = 1 /*M!100300 , SESSION max_statement_time = {limit:.3}, \
                     SESSION idle_transaction_timeout = {limit:.0} */; \
                     SELECT CONNECTION_ID()"
                )
            }
        };
        sqlx::raw_sql(own_sql(sql))
            .fetch_one(connection)
            .await?
            .try_get_unchecked(0)
    }

    const UNBIND: Option<&'static str> = Some(
        "SET @tx_bound = NULL /*M!100300 , SESSION max_statement_time = COALESCE(@tx_work, @@SESSION.max_statement_time), \
         SESSION idle_transaction_timeout = COALESCE(@tx_idle, @@SESSION.idle_transaction_timeout), \
         @tx_work = NULL, @tx_idle = NULL */",
    );

    async fn interrupt(options: Options<Self>, backend: u64) -> Result<(), sqlx::Error> {
        let mut connection = options.connect().await?;
        let sql = own_sql(format!("KILL QUERY {backend}"));
        sqlx::raw_sql(sql).execute(&mut connection).await?;
        connection.close().await
    }

    fn fault(error: &sqlx::Error) -> Fault {
        driver_independent_fault(error).unwrap_or_else(|| match number(error) {
            Some(DEADLOCK | SNAPSHOT_CONFLICT) => Fault::Transaction,
            Some(1053 | 1927 | 2006 | 2013 | 4031) => Fault::Connection,
            _ => Fault::Statement,
        })
    }

    fn is_retryable(error: &sqlx::Error) -> bool {
        matches!(
            number(error),
            Some(DEADLOCK | SNAPSHOT_CONFLICT | LOCK_WAIT_TIMEOUT | LOCK_NOWAIT)
        )
    }

    fn ended_early(error: &sqlx::Error) -> bool {
        number(error) == Some(NO_SUCH_SAVEPOINT)
    }

    fn may_have_committed(error: &sqlx::Error, behind: bool) -> bool {
        if Self::is_retryable(error) || Self::lacks_rows(error) {
            // Nothing behind COMMIT fails with these.
            return false;
        }
        match number(error) {
            // It was told to stop, which it may have heard after it had committed.
            Some(INTERRUPTED | STATEMENT_TIMEOUT | EXECUTION_TIMEOUT) => true,
            _ => behind || Self::fault(error) == Fault::Connection,
        }
    }

    fn found_open_transaction(_: &sqlx::Error) -> bool {
        // BEGIN rolls it back.
        false
    }

    fn nothing_to_roll_back(_: &sqlx::Error) -> bool {
        // ROLLBACK without a transaction succeeds.
        false
    }

    fn interference(sql: &str) -> Option<Interference> {
        if sql::controls_transaction(sql, BACKSLASHES) {
            Some(Interference::Control)
        } else if sql::any_statement(sql, BACKSLASHES, commits_implicitly) {
            Some(Interference::ImplicitCommit)
        } else {
            None
        }
    }

    fn reads_only(_: &str) -> bool {
        false
    }

    const LOCKS: bool = true;

    fn take_locks(keys: &[Arc<str>], wait: Duration, when: LockTime) -> LockMessages {
        lock::take_locks(keys, wait, when)
    }

    fn lock_was_busy(error: &sqlx::Error) -> bool {
        lock::was_busy(error)
    }

    fn lock_came_too_late(_: &sqlx::Error) -> bool {
        // Locks are taken before START TRANSACTION.
        false
    }

    async fn lock_holder(connection: &mut MySqlConnection, key: &str) -> Option<String> {
        lock::holder(connection, key).await
    }

    async fn keeps_snapshot(
        connection: &mut MySqlConnection,
        isolation: Option<Isolation>,
    ) -> Result<bool, sqlx::Error> {
        lock::keeps_snapshot(connection, isolation).await
    }

    async fn fence(
        connection: &mut MySqlConnection,
        key: &str,
        token: i64,
    ) -> Result<Option<i64>, sqlx::Error> {
        lock::fence(connection, key, token).await
    }

    fn lacks_fence_table(error: &sqlx::Error) -> bool {
        number(error) == Some(NO_SUCH_TABLE)
    }

    const FENCE_TABLE: &'static str = lock::FENCE_TABLE;

    fn introduce(actor: Option<&str>, reason: Option<&str>) -> String {
        revision::introduce(actor, reason)
    }

    const FINISH_REVISION: Option<&'static str> = None;

    const FORGET_AUTHOR: Option<&'static str> = Some(revision::FORGET);

    const OPEN_REVISION: &'static str = "";

    fn lacks_history(_: &sqlx::Error) -> bool {
        false
    }

    const RECORDS_STRANGERS: bool = false;

    async fn revision(connection: &mut MySqlConnection) -> Result<Option<i64>, sqlx::Error> {
        revision::current(connection).await
    }

    #[cfg(feature = "history")]
    async fn survey(
        connection: &mut MySqlConnection,
        table: &TableName,
    ) -> Result<Survey, sqlx::Error> {
        history::survey(connection, table).await
    }

    #[cfg(feature = "history")]
    async fn audited(connection: &mut MySqlConnection) -> Result<Vec<TableName>, sqlx::Error> {
        history::audited(connection).await
    }

    #[cfg(feature = "history")]
    fn blueprint(place: &Place, table: &Relation) -> Blueprint {
        history::blueprint(place, table)
    }

    #[cfg(feature = "history")]
    fn repair(repair: &Repair, damage: &Damage) -> String {
        history::repair(repair, damage)
    }

    #[cfg(feature = "history")]
    fn reader(place: &Place) -> Reader {
        history::reader(place)
    }

    fn place(options: &Options<Self>) -> String {
        let at = options.get_socket().map_or_else(
            || format!("{}:{}", options.get_host(), options.get_port()),
            |socket| socket.display().to_string(),
        );
        let user = options.get_username();
        address::of_server("MySQL or MariaDB", &at, options.get_database(), user)
    }

    fn obstacle(_: &Options<Self>, error: &sqlx::Error) -> Obstacle {
        match number(error) {
            Some(1044 | 1045 | 1130 | 1698) => Obstacle::Denied,
            Some(1049) => Obstacle::NoDatabase,
            Some(1040 | 1203 | 1226) => Obstacle::Full,
            Some(1053) => Obstacle::NotReady,
            _ => Obstacle::of_network(error),
        }
    }

    fn concurrency(_: &Options<Self>) -> Concurrency {
        Concurrency::Concurrent
    }
}

#[cfg(test)]
mod tests {
    use super::commits_implicitly;

    #[test]
    fn tells_statements_that_commit_the_open_transaction() {
        for sql in [
            "create table t (id int)",
            "CREATE OR REPLACE VIEW v AS SELECT 1",
            "drop table t",
            "alter table t add c int",
            "truncate t",
            "lock tables t write",
            "analyze table t",
            "set password = password('x')",
            "SET DEFAULT ROLE NONE",
            "check table t",
            "backup stage start",
            "load index into cache t",
            "stop replica",
            "/*!50000 truncate t */",
        ] {
            assert!(commits_implicitly(sql), "{sql}");
        }
        for sql in [
            "create temporary table t (id int)",
            "create or replace temporary table t (id int)",
            "drop temporary table t",
            "insert into t values (1)",
            "select * from t lock in share mode",
            "analyze select * from t",
            "set role none",
            "set @password = 1",
            "load data infile 'x' into table t",
            "/* truncate */ delete from t",
        ] {
            assert!(!commits_implicitly(sql), "{sql}");
        }
    }
}
