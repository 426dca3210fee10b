//! What is done on a connection, one thing at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::SqlStr;
use sqlx_core::describe::Describe;

use crate::author::Author;
use crate::dialect::{Dialect, Fault, LockMessages, LockTime, own_sql};
use crate::hook::Completion;
use crate::lease::Lease;
use crate::lock::Fence;
use crate::options::{Isolation, Terms};
use crate::prepared::Prepared;
use crate::rows::Rows;
use crate::statement::{self, Answer, Failure, Want};
use crate::verdict::{self, Witness};

/// One thing to do.
pub(crate) enum Operation<DB: Dialect> {
    Run(Prepared<DB>, Want),
    Stream(Prepared<DB>, Arc<Rows<DB>>),
    Commit {
        /// What proves that its locks are still held.
        proofs: String,
        read_only: bool,
        witness: Witness<DB>,
    },
    Task(Task<DB>),
}

/// An operation whose result is only whether it succeeded.
pub(crate) enum Task<DB: Dialect> {
    Begin {
        terms: Terms,
        author: Option<Arc<Author>>,
    },
    /// After tokens were written down, in a transaction of their own.
    BeginFenced {
        terms: Terms,
        fences: Vec<Fence>,
        /// A greater token, if one was found.
        outrun: Product<i64>,
    },
    BeginLocked {
        terms: Terms,
        author: Option<Arc<Author>>,
        first: bool,
        locks: ServerLocks,
    },
    Lock {
        nested: bool,
        locks: ServerLocks,
    },
    Fence(Fence, Product<Option<i64>>),
    Revision(Product<Option<i64>>),
    KeepsSnapshot(Option<Isolation>, Product<bool>),
    Control(SqlStr),
    Bind(Option<Duration>, Product<DB::Backend>),
    RollBack,
    Prepare(SqlStr, Vec<DB::TypeInfo>, Product<DB::Statement>),
    Describe(SqlStr, Product<Describe<DB>>),
}

impl<DB: Dialect> Operation<DB> {
    /// Whether it is a statement that the body wants to run.
    pub(crate) fn is_the_bodys(&self) -> bool {
        matches!(self, Self::Run(..) | Self::Stream(..))
    }

    /// The statement's text; empty for what is not the caller's own.
    pub(crate) fn sql(&self) -> &str {
        match self {
            Self::Run(query, _) | Self::Stream(query, _) => query.text(),
            Self::Task(Task::Prepare(sql, ..) | Task::Describe(sql, _)) => sql.as_str(),
            Self::Commit { .. } | Self::Task(_) => "",
        }
    }
}

/// Where an operation puts what is neither rows nor a summary.
pub(crate) struct Product<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Product<T> {
    fn clone(&self) -> Self {
        self.another()
    }
}

impl<T> Product<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn another(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// What was put, if anything was.
    pub(crate) fn found(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// What was put; an operation that succeeded has put something.
    pub(crate) fn take(&self) -> Result<T, sqlx::Error> {
        self.found().ok_or(sqlx::Error::WorkerCrashed)
    }
}

/// How an operation ended.
pub(crate) struct Report<DB: Dialect> {
    pub(crate) result: Result<Answer<DB>, sqlx::Error>,
    /// What a failure means; a stream's error itself went to its consumer.
    pub(crate) failure: Option<Failure>,
    /// What became of the transaction, if this was its COMMIT.
    pub(crate) completion: Option<Completion>,
}

impl<DB: Dialect> Report<DB> {
    pub(crate) fn success(answer: Answer<DB>) -> Self {
        Self {
            result: Ok(answer),
            failure: None,
            completion: None,
        }
    }

    /// Of a statement on the connection of `lease`.
    pub(crate) async fn failed_statement(lease: &mut Lease<DB>, error: sqlx::Error) -> Self {
        let failure = Failure::confirmed::<DB>(&error, lease.use_connection()).await;
        Self {
            result: Err(error),
            failure: Some(failure),
            completion: None,
        }
    }

    pub(crate) fn is_connection_lost(&self) -> bool {
        matches!(&self.failure, Some(failure) if failure.fault == Fault::Connection)
    }
}

/// Does it.
pub(crate) async fn operate<DB: Dialect>(
    lease: &mut Lease<DB>,
    operation: Operation<DB>,
) -> Report<DB> {
    match operation {
        Operation::Run(query, want) => run(lease, query, want).await,
        Operation::Stream(query, rows) => Report {
            failure: rows.read(lease.use_connection(), query).await,
            result: Ok(Answer::default()),
            completion: None,
        },
        Operation::Commit {
            proofs,
            read_only,
            witness,
        } => {
            let committed = verdict::commit(lease, proofs, read_only, &witness);
            let (answer, completion) = committed.await;
            Report {
                failure: answer.as_ref().err().map(Failure::of::<DB>),
                result: answer.map(|()| Answer::default()),
                completion: Some(completion),
            }
        }
        Operation::Task(task) => {
            let locks = matches!(task, Task::Lock { .. });
            let result = carry_out(lease, task).await.map(|()| Answer::default());
            let failure = result.as_ref().err().map(Failure::of::<DB>);
            Report {
                result,
                // A lock that was not had has been mended, and cost the transaction nothing.
                failure: failure.filter(|failure| !locks || failure.fault != Fault::Statement),
                completion: None,
            }
        }
    }
}

async fn run<DB: Dialect>(lease: &mut Lease<DB>, query: Prepared<DB>, want: Want) -> Report<DB> {
    match statement::run::<DB>(lease.use_connection(), query, want).await {
        Ok(answer) => Report::success(answer),
        Err(error) => Box::pin(Report::failed_statement(lease, error)).await,
    }
}

async fn carry_out<DB: Dialect>(lease: &mut Lease<DB>, task: Task<DB>) -> Result<(), sqlx::Error> {
    match task {
        Task::Control(sql) => DB::control(lease.use_connection(), sql).await,
        Task::Begin { terms, author } => {
            let begun = begin(lease, terms, author.as_deref()).await;
            mended(lease, begun).await
        }
        Task::BeginFenced {
            terms,
            fences,
            outrun,
        } => {
            // In a box, as all that is rare, so that the others have no room for it.
            let begun = Box::pin(begin_fenced(lease, terms, &fences, &outrun)).await;
            mended(lease, begun).await
        }
        Task::BeginLocked {
            terms,
            author,
            first,
            locks,
        } => {
            let when = LockTime::Begin { terms, first };
            let introduction = introduction(lease, author.as_deref());
            let begun = locks.take(lease, when, introduction).await;
            mended(lease, begun).await
        }
        Task::Lock { nested, locks } => {
            let inside = LockTime::Inside { nested };
            locks.take(lease, inside, None).await
        }
        Task::Fence(fence, product) => {
            let seen = DB::fence(lease.use_connection(), &fence.key, fence.token).await?;
            product.put(seen);
            Ok(())
        }
        Task::Revision(product) => {
            product.put(DB::revision(lease.use_connection()).await?);
            Ok(())
        }
        Task::KeepsSnapshot(isolation, product) => {
            product.put(DB::keeps_snapshot(lease.use_connection(), isolation).await?);
            Ok(())
        }
        Task::Bind(limit, product) => {
            product.put(lease.bind(limit).await?);
            Ok(())
        }
        Task::RollBack => lease.roll_back().await,
        Task::Prepare(sql, parameters, product) => {
            let statement = DB::prepare_with(lease.use_connection(), sql, &parameters).await?;
            product.put(statement);
            Ok(())
        }
        Task::Describe(sql, product) => {
            product.put(DB::describe(lease.use_connection(), sql).await?);
            Ok(())
        }
    }
}

async fn begin<DB: Dialect>(
    lease: &mut Lease<DB>,
    terms: Terms,
    author: Option<&Author>,
) -> Result<(), sqlx::Error> {
    let mut sql = DB::begin_sql(terms);
    lease.owe(DB::restore_sql(terms).map(str::to_owned));
    if let Some(introduction) = introduction(lease, author) {
        sql = own_sql(format!("{}; {introduction}", sql.as_str()));
    }
    lease.begin(sql).await
}

/// What, sent behind BEGIN, tells the database who makes the changes; its end is seen to.
fn introduction<DB: Dialect>(lease: &mut Lease<DB>, author: Option<&Author>) -> Option<String> {
    let author = author?;
    lease.finish_with(DB::FINISH_REVISION);
    lease.owe(DB::FORGET_AUTHOR.map(str::to_owned));
    Some(DB::introduce(author.actor_text(), author.reason_text()))
}

async fn begin_fenced<DB: Dialect>(
    lease: &mut Lease<DB>,
    terms: Terms,
    fences: &[Fence],
    outrun: &Product<i64>,
) -> Result<(), sqlx::Error> {
    let writing = Terms {
        isolation: Some(Isolation::ReadCommitted),
        read_only: false,
    };
    begin(lease, writing, None).await?;
    for fence in fences {
        let seen = DB::fence(lease.use_connection(), &fence.key, fence.token).await?;
        if let Some(greater) = seen {
            outrun.put(greater);
        }
    }
    DB::commit(lease.use_connection(), String::new(), String::new()).await?;
    begin(lease, terms, None).await
}

/// Leaves no transaction open behind a BEGIN that failed.
async fn mended<DB: Dialect>(
    lease: &mut Lease<DB>,
    answer: Result<(), sqlx::Error>,
) -> Result<(), sqlx::Error> {
    if let Err(error) = &answer {
        Box::pin(lease.roll_back_after(error)).await;
    }
    answer
}

/// Named locks of the server, to be taken on a connection.
#[derive(Clone)]
pub(crate) struct ServerLocks {
    pub(crate) keys: Vec<Arc<str>>,
    pub(crate) wait: Duration,
    /// Who had them, if they were busy.
    pub(crate) holder: Product<String>,
}

impl ServerLocks {
    pub(crate) fn new(keys: &[Arc<str>], wait: Duration) -> Self {
        Self {
            keys: keys.to_vec(),
            wait,
            holder: Product::new(),
        }
    }

    /// Sends what takes the locks at `when`. Failed, it has taken none.
    ///
    /// `behind` follows what begins the transaction, in the same message.
    pub(crate) async fn take<DB: Dialect>(
        &self,
        lease: &mut Lease<DB>,
        when: LockTime,
        behind: Option<String>,
    ) -> Result<(), sqlx::Error> {
        let LockMessages {
            first,
            then,
            undo,
            open,
        } = DB::take_locks(&self.keys, self.wait, when);
        let then = match (then, behind) {
            (Some(then), Some(behind)) => Some(format!("{then}; {behind}")),
            (then, behind) => then.or(behind),
        };
        let mut sent = Ok(());
        if let Some(sql) = first {
            sent = DB::control(lease.use_connection(), own_sql(sql)).await;
        }
        if let (Ok(()), Some(sql)) = (&sent, then) {
            sent = match when {
                LockTime::Begin { .. } => lease.begin(own_sql(sql)).await,
                _ => DB::control(lease.use_connection(), own_sql(sql)).await,
            };
        }
        match &sent {
            Ok(()) => lease.owe(open),
            Err(error) if DB::fault(error) == Fault::Connection => {}
            Err(error) => {
                if let Some(undo) = undo {
                    DB::control(lease.use_connection(), own_sql(undo)).await?;
                }
                if DB::lock_was_busy(error) {
                    self.ask_for_holder(lease).await;
                }
            }
        }
        sent
    }

    async fn ask_for_holder<DB: Dialect>(&self, lease: &mut Lease<DB>) {
        for key in &self.keys {
            let holder = DB::lock_holder(lease.use_connection(), key).await;
            if let Some(holder) = holder {
                self.holder.put(holder);
                return;
            }
        }
    }
}
