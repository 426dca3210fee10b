//! The option `--crash`: a batch is killed half-way, and the one behind it takes over.

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use chrono::{Days, NaiveDate};
use stage::Failure;
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
        market::fill(pool, self.users, self.seed).await?;
        batches.open_day(DAY).await?;
        batches.refresh(&Unpaced).await?;
        let before = DB::worths_of(pool, DAY).await?;
        // From here on a refresh changes every row.
        Feed::new(self.seed).tick(pool).await?;

        println!(
            "a refresh of {} rows on {}, in a process of its own",
            self.users,
            DB::NAME
        );
        let mut victim = Victim::start(&place.url())?;
        victim.has_said(RUNNING).await?;
        let open_day = batches.open_day(DAY + Days::new(1));
        let kill = async {
            until_two_in_line(&tickets).await?;
            println!("\nit has its ticket, and the next day is to be opened:\n");
            println!("{}", table(&tickets.current(GROUP).await?));
            victim.go_on().await?;
            victim.has_said(HALF_WAY).await?;
            victim.child.kill().await?;
            println!("\nit is killed half-way, with a lease of {LEASE:?}");
            Ok::<_, Failure>(Instant::now())
        };
        let (opened, killed) = timeout(PATIENCE, async { tokio::join!(open_day, kill) }).await?;
        let killed = killed?.elapsed();
        opened?;
        println!(
            "{:.1} s later the next day is open:\n",
            killed.as_secs_f64()
        );
        let [abandoned, done] = last_two(&tickets).await?;
        println!("{}\n", table(&[abandoned.clone(), done.clone()]));

        let changed = changed_rows(&before, &DB::worths_of(pool, DAY).await?);
        println!("rows of the killed refresh that are stored: {changed}");
        let is_right = changed == 0
            && abandoned.state == TicketState::Abandoned
            && done.state == TicketState::Done;
        Ok(if is_right {
            ExitCode::SUCCESS
        } else {
            println!("WRONG: this must not happen");
            ExitCode::FAILURE
        })
    }
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
        let line = timeout(PATIENCE, self.output.next_line()).await??;
        if line.as_deref() == Some(word) {
            return Ok(());
        }
        Err(format!("the refresh is not {word}").into())
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
    timeout(PATIENCE, two).await?
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
