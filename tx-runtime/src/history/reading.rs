//! A history read back.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::query::QueryAs;
use sqlx::{AssertSqlSafe, ColumnIndex, Database, Decode, Encode, FromRow, Row, Type};
use sqlx_core::database::HasStatementCache;

use crate::dialect::Dialect;
use crate::dialect::history::{Reader, Survey, joined};

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The row was inserted.
    Insert,
    /// The row was updated, or deleted and inserted again in one transaction.
    Update,
    /// The row was deleted; the history has it as it was before.
    Delete,
}

/// A row as one revision has left it, with who did so, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<T> {
    /// The number of the transaction's revision.
    pub revision: i64,
    /// What was done.
    pub kind: ChangeKind,
    /// When the transaction made its first change, by the database's clock, in microseconds (in
    /// milliseconds on SQLite).
    pub at: SystemTime,
    /// Who did so, if that is known.
    pub actor: Option<String>,
    /// Why, if that was said.
    pub reason: Option<String>,
    /// The row after the change; before it, if it was a deletion.
    pub row: T,
}

impl<'r, R, T> FromRow<'r, R> for Change<T>
where
    R: Row,
    T: FromRow<'r, R>,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let kind = match row.try_get::<i64, _>("tx_kind")? {
            0 => ChangeKind::Insert,
            1 => ChangeKind::Update,
            _ => ChangeKind::Delete,
        };
        let micros: i64 = row.try_get("tx_at")?;
        let since = Duration::from_micros(micros.unsigned_abs());
        Ok(Self {
            revision: row.try_get("tx_rev")?,
            kind,
            at: if micros < 0 {
                UNIX_EPOCH - since
            } else {
                UNIX_EPOCH + since
            },
            actor: row.try_get("tx_actor")?,
            reason: row.try_get("tx_reason")?,
            row: T::from_row(row)?,
        })
    }
}

/// Questions about the history of one table.
///
/// Each is an ordinary query of sqlx, run on `&db` or on `db.pool()`. Its rows are of any type
/// that knows the table's columns, or [`Change`]s of such a type.
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn read(db: tx_runtime::PgDb) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::{Duration, SystemTime};
/// use tx_runtime::history::{Change, History};
///
/// # type Membership = (i64, i64);
/// let memberships = History::table("membership").reader(&db).await?;
/// let yesterday = SystemTime::now() - Duration::from_hours(24);
/// let then: Vec<Membership> = memberships.at_time(yesterday).fetch_all(db.pool()).await?;
/// // The rest of a key of several columns is bound behind its first.
/// let one: Vec<Change<Membership>> = memberships
///     .changes_of(17_i64)
///     .bind("admins")
///     .fetch_all(db.pool())
///     .await?;
/// # Ok(())
/// # }
/// ```
pub struct HistoryReader<DB> {
    reader: Reader,
    key: Vec<String>,
    database: PhantomData<fn() -> DB>,
}

impl<DB: Dialect + HasStatementCache> HistoryReader<DB> {
    pub(super) fn new(survey: &Survey) -> Self {
        let reader = DB::reader(&survey.place);
        let key = survey.table.iter().flat_map(|table| &table.key);
        Self {
            key: key.map(|column| (reader.quote)(column)).collect(),
            reader,
            database: PhantomData,
        }
    }

    /// The rows of the table once all revisions up to this one had been committed.
    ///
    /// Revisions are numbered when they begin, and may commit in another order: where two of them
    /// have changed the same row, the one that did so last counts.
    pub fn at<O>(&self, revision: i64) -> QueryAs<'static, DB, O, DB::Arguments>
    where
        O: for<'r> FromRow<'r, DB::Row>,
    {
        self.latest(|row| format!("{row}.rev <= {revision}"))
    }

    /// The rows of the table at a point in time, of all revisions that had begun by then.
    pub fn at_time<O>(&self, time: SystemTime) -> QueryAs<'static, DB, O, DB::Arguments>
    where
        O: for<'r> FromRow<'r, DB::Row>,
    {
        let micros = micros(time);
        let begun = format!(
            "SELECT b.rev FROM {} b WHERE {} <= {micros}",
            self.reader.revisions,
            (self.reader.micros)("b.at")
        );
        self.latest(|row| format!("{row}.rev IN ({begun})"))
    }

    /// The changes of one row, the oldest first. `key` is the first column of its primary key; what
    /// follows is bound behind it.
    pub fn changes_of<'q, O, K>(&self, key: K) -> QueryAs<'q, DB, O, DB::Arguments>
    where
        O: for<'r> FromRow<'r, DB::Row>,
        K: 'q + Encode<'q, DB> + Type<DB>,
    {
        let mut position = 0;
        let found = joined(&self.key, " AND ", |column| {
            position += 1;
            format!("h.{column} = {}", (self.reader.parameter)(position))
        });
        self.query(&format!("WHERE {found} ORDER BY h.revseq"))
            .persistent(true)
            .bind(key)
    }

    /// What one revision has changed in the table.
    pub fn changes_in<O>(&self, revision: i64) -> QueryAs<'static, DB, O, DB::Arguments>
    where
        O: for<'r> FromRow<'r, DB::Row>,
    {
        self.query(&format!("WHERE h.rev = {revision} ORDER BY h.revseq"))
    }

    /// All changes of the table, the newest revision first.
    pub fn changes<O>(&self) -> QueryAs<'static, DB, O, DB::Arguments>
    where
        O: for<'r> FromRow<'r, DB::Row>,
    {
        self.query("ORDER BY h.rev DESC, h.revseq DESC")
    }

    /// The newest change of each row among those that `counts`, if it has left the row there.
    fn latest<O>(&self, counts: impl Fn(&str) -> String) -> QueryAs<'static, DB, O, DB::Arguments>
    where
        O: for<'r> FromRow<'r, DB::Row>,
    {
        let same = joined(&self.key, " AND ", |column| {
            format!("x.{column} = h.{column}")
        });
        let (here, later) = (counts("h"), counts("x"));
        let order = joined(&self.key, ", ", |column| format!("h.{column}"));
        self.query(&format!(
            "WHERE h.revtype <> 2 AND {here} AND NOT EXISTS (SELECT 1 FROM {} x WHERE {same} AND {later} \
             AND x.revseq > h.revseq) ORDER BY {order}",
            self.reader.history
        ))
    }

    fn query<'q, O>(&self, rest: &str) -> QueryAs<'q, DB, O, DB::Arguments>
    where
        O: for<'r> FromRow<'r, DB::Row>,
    {
        let Reader {
            history,
            revisions,
            micros,
            integer,
            ..
        } = &self.reader;
        let (rev, kind, at) = (integer("h.rev"), integer("h.revtype"), micros("r.at"));
        let sql = format!(
            "SELECT h.*, {rev} AS tx_rev, {kind} AS tx_kind, {at} AS tx_at, r.actor AS tx_actor, r.reason AS tx_reason \
             FROM {history} h JOIN {revisions} r ON r.rev = h.rev {rest}"
        );
        // A number in the text makes another statement of it, which need not be kept.
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false)
    }
}

fn micros(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_micros()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_micros()).unwrap_or(i128::MAX),
    }
}

impl<DB: Database> fmt::Debug for HistoryReader<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryReader")
            .field("history", &self.reader.history)
            .finish_non_exhaustive()
    }
}
