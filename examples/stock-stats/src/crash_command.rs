//! The option `--crash`: a batch is killed half-way, and the one behind it takes over.

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use chrono::{Days, NaiveDate};
use sqlx::Pool;
use stage::{Failure, make};
use stock_stats::batches::{Batches, GROUP};
use stock_stats::feed::Feed;
use stock_stats::market;
use stock_stats::pace::Unpaced;
use stock_stats::store::Store;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};
use tx_runtime::{Ticket, TicketLocks, TicketState};

use crate::arguments::Crash;
use crate::database::{Place, Task};
use crate::ticket_table::table;

/// How long a process may be silent before its tickets are given to others.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// How often a batch asks whether it is its turn.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// What the child says when it has its ticket.
pub(crate) const RUNNING: &str = "running";

/// What it says when it has written half of its rows.
pub(crate) const HALF_WAY: &str = "half-way";

/// The day on which it happens.
const DAY: NaiveDate = NaiveDate::from_ymd_opt(2026, 1, 1).expect("a day");

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(30);

impl Task for Crash {
    async fn run<DB: Store>(&self, place: &Place<DB>) -> Result<ExitCode, Failure> {
        let pool = place.db.pool();
        DB::empty(pool).await?;
        let outcome = self.watched(place).await;
        DB::empty(pool).await?;
        outcome
    }
}

impl Crash {
    async fn watched<DB: Store>(&self, place: &Place<DB>) -> Result<ExitCode, Failure> {
        let pool = place.db.pool();
        let tickets = TicketLocks::new(&place.db).lease(LEASE).poll(POLL);
        let batches = Batches::new(place.db.clone(), tickets.clone());
        self.open_a_day(pool, &batches).await?;
        let before = DB::worths_of(pool, DAY).await?;

        let (rows, database) = (self.users, make::<DB>());
        println!("a refresh of {rows} rows on {database}, in a process of its own");
        let mut victim = Victim::start(&place.url())?;
        victim.has_said(RUNNING).await?;
        let open_day = batches.open_day(DAY + Days::new(1));
        let both = Box::pin(async { Ok(tokio::join!(open_day, kill(victim, &tickets))) });
        let (opened, killed) = in_time("the next day is not opened", both).await?;
        let later = killed?.elapsed().as_secs_f64();
        opened?;
        println!("{later:.1} s later the next day is open:\n");
        let last = last_two(&tickets).await?;
        println!("{}\n", table(&last));

        let changed = changed_rows(&before, &DB::worths_of(pool, DAY).await?);
        println!("rows of the killed refresh that are stored: {changed}");
        let states = last.map(|ticket| ticket.state);
        if changed == 0 && states == [TicketState::Abandoned, TicketState::Done] {
            return Ok(ExitCode::SUCCESS);
        }
        println!("WRONG: this must not happen");
        Ok(ExitCode::FAILURE)
    }

    /// Stores a day that a further refresh would change.
    async fn open_a_day<DB: Store>(
        &self,
        pool: &Pool<DB>,
        batches: &Batches<DB>,
    ) -> Result<(), Failure> {
        market::fill(pool, self.users, self.seed).await?;
        batches.open_day(DAY).await?;
        batches.refresh(&Unpaced).await?;
        Feed::new(self.seed).tick(pool).await?;
        Ok(())
    }
}

/// Kills the refresh half-way, with another batch behind it; tells when.
async fn kill<DB: Store>(
    mut victim: Victim,
    tickets: &TicketLocks<DB>,
) -> Result<Instant, Failure> {
    until_two_in_line(tickets).await?;
    println!("\nit has its ticket, and the next day is to be opened:\n");
    println!("{}", table(&tickets.current(GROUP).await?));
    victim.go_on().await?;
    victim.has_said(HALF_WAY).await?;
    victim.child.kill().await?;
    println!("\nit is killed half-way, with a lease of {LEASE:?}");
    Ok(Instant::now())
}

/// The process that will be killed; also if we are.
struct Victim {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    fn start(url: &str) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["victim", "--database-url", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or("its input is not piped")?;
        let output = child.stdout.take().ok_or("its output is not piped")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    async fn has_said(&mut self, word: &str) -> Result<(), Failure> {
        let otherwise = format!("the refresh is not {word}");
        let line = async { Ok(self.output.next_line().await?) };
        match in_time(&otherwise, line).await? {
            Some(line) if line == word => Ok(()),
            _ => Err(otherwise.into()),
        }
    }

    async fn go_on(&mut self) -> Result<(), Failure> {
        Ok(self.input.write_all(b"\n").await?)
    }
}

async fn until_two_in_line<DB: Store>(tickets: &TicketLocks<DB>) -> Result<(), Failure> {
    let two = async {
        while tickets.current(GROUP).await?.len() < 2 {
            sleep(POLL).await;
        }
        Ok::<_, Failure>(())
    };
    in_time("nobody waits behind the refresh", two).await
}

/// What `step` gives, or the failure `otherwise` if that takes too long.
async fn in_time<T>(
    otherwise: &str,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let outcome = timeout(PATIENCE, step).await;
    outcome.unwrap_or_else(|_| Err(format!("{otherwise}, after {PATIENCE:?}").into()))
}

/// The tickets of the refresh that was killed and of the batch behind it.
async fn last_two<DB: Store>(tickets: &TicketLocks<DB>) -> Result<[Ticket; 2], Failure> {
    let [later, earlier] = tickets
        .log(GROUP, 2)
        .await?
        .try_into()
        .map_err(|_| "there are no two tickets")?;
    Ok([earlier, later])
}

fn changed_rows(before: &[i64], after: &[i64]) -> usize {
    before.iter().zip(after).filter(|(a, b)| a != b).count()
}
