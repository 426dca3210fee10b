//! A process that is killed under load, again and again, and the audit of its database.
//!
//! The process is this test program, run once more for its test [`clients`]. It writes down
//! what each client was told when it was told.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::pool::PoolOptions;
use sqlx::{ConnectOptions as _, MySql, Postgres, Sqlite};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use tx_runtime::Db;
use tx_tests::{Backend, Bed, ConnectOptions, Dice};

use crate::block_on;
use crate::transfer::{CLIENTS, Claims, any_transfer, ids, tables};
use crate::work::{Form, Told};

const KILLS: i64 = 25;

/// Whether a kill meets somebody at work is chance: that many, and it has.
const MOST_KILLS: i64 = 4 * KILLS;

/// A process is killed after at most so many transfers.
const MOST: u64 = 150;

/// A process that says nothing in this time says nothing more.
const PATIENCE: Duration = Duration::from_mins(1);

const DATABASE: &str = "TX_FAULTS_DATABASE";
const URL: &str = "TX_FAULTS_URL";
const FORM: &str = "TX_FAULTS_FORM";
const ROUND: &str = "TX_FAULTS_ROUND";

const PLAIN: &str = "plain";

const COMMITTED: &str = "committed";
const ROLLED_BACK: &str = "rolled-back";
const UNKNOWN: &str = "unknown";

/// Not a test by itself: what the process does until it is killed.
#[test]
fn clients() {
    let Ok(database) = std::env::var(DATABASE) else {
        return;
    };
    match &*database {
        "sqlite" => block_on(transfer_without_end::<Sqlite>()),
        "postgres" => block_on(transfer_without_end::<Postgres>()),
        _ => block_on(transfer_without_end::<MySql>()),
    }
}

async fn transfer_without_end<B: Backend>() {
    let options: ConnectOptions<B> = std::env::var(URL).unwrap().parse().unwrap();
    let round: i64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let form = match &*std::env::var(FORM).unwrap() {
        PLAIN => Form::Plain,
        _ => Form::Ours,
    };
    let pool = PoolOptions::new()
        .max_connections(8)
        .acquire_timeout(PATIENCE);
    let db = Db::<B>::connect_with(pool, options).await.unwrap();
    let clients = (0..CLIENTS).map(|client| {
        let db = db.clone();
        tokio::spawn(async move {
            let ids = ids(round, client);
            let mut dice = Dice::new(ids.start.unsigned_abs());
            for id in ids {
                let word = match any_transfer(form, &db, id, &mut dice).await {
                    Told::Committed => COMMITTED,
                    Told::RolledBack => ROLLED_BACK,
                    Told::Unknown => UNKNOWN,
                };
                println!("{word} {id}");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

/// The process; dropped, it is killed.
struct Process {
    child: Child,
    said: UnboundedReceiver<(i64, Told)>,
}

impl Process {
    fn start<B: Backend>(bed: &Bed<B>, form: Form, round: i64) -> Self {
        let form = match form {
            Form::Ours => "ours",
            Form::Plain => PLAIN,
        };
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "sigkill::clients",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DATABASE, B::LABEL)
            .env(URL, bed.options().to_url_lossy().as_str())
            .env(FORM, form)
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("a process");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (says, said) = unbounded_channel();
        // Ends with the process.
        std::thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            for heard in lines.filter_map(|line| understood(&line)) {
                if says.send(heard).is_err() {
                    break;
                }
            }
        });
        Self { child, said }
    }

    async fn hears(&mut self) -> Option<(i64, Told)> {
        let heard = timeout(PATIENCE, self.said.recv()).await;
        heard.expect("the process says nothing")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn understood(line: &str) -> Option<(i64, Told)> {
    let (word, id) = line.split_once(' ')?;
    let told = match word {
        COMMITTED => Told::Committed,
        ROLLED_BACK => Told::RolledBack,
        UNKNOWN => Told::Unknown,
        // Words of the test runner.
        _ => return None,
    };
    Some((id.parse().ok()?, told))
}

/// Kills until somebody has been told something else than what is stored.
struct Course {
    claims: Claims,
    kills: i64,
    /// How many of them met somebody inside a transaction.
    at_work: usize,
    audit: Result<BTreeSet<i64>, String>,
}

impl Course {
    async fn run<B: Backend>(bed: &Bed<B>, form: Form, dice: &mut Dice) -> Self {
        bed.control_raw(&tables()).await;
        let mut course = Self {
            claims: Claims::default(),
            kills: 0,
            at_work: 0,
            audit: Ok(BTreeSet::new()),
        };
        while course.audit.is_ok() && course.goes_on(form) {
            course.kills += 1;
            course.kill(bed, form, dice).await;
            let mut eye = bed.options().connect().await.unwrap();
            course.audit = course.claims.audit::<B>(&mut eye).await;
        }
        course
    }

    /// For ours until somebody was killed at work; without a transaction until harm is done.
    fn goes_on(&self, form: Form) -> bool {
        let is_shown = form == Form::Ours && self.at_work > 0;
        self.kills < KILLS || (self.kills < MOST_KILLS && !is_shown)
    }

    async fn kill<B: Backend>(&mut self, bed: &Bed<B>, form: Form, dice: &mut Dice) {
        let mut process = Process::start(bed, form, self.kills);
        for _ in 0..=dice.roll(MOST) {
            let (id, told) = process.hears().await.expect("a process that goes on");
            self.claims.add(id, told);
        }
        sleep(Duration::from_micros(dice.roll(5_000))).await;
        self.at_work += usize::from(is_at_work(bed).await);
        // SIGKILL.
        process.child.kill().expect("it can be killed");
        process.child.wait().expect("it is dead");
        while let Some((id, told)) = process.hears().await {
            self.claims.add(id, told);
        }
    }
}

async fn kills<B: Backend>() {
    let started = Instant::now();
    let (Some(bed), Some(plain_bed)) = (Bed::<B>::new().await, Bed::<B>::new().await) else {
        return;
    };
    let seed = Dice::wished_seed();
    let mut dice = Dice::new(seed);
    let ours = Course::run(&bed, Form::Ours, &mut dice).await;
    let plain = Course::run(&plain_bed, Form::Plain, &mut dice).await;
    plain_bed.finish().await;
    let stored = ours
        .audit
        .unwrap_or_else(|wrong| panic!("{}, seed {seed}, kill {}: {wrong}", B::LABEL, ours.kills));
    let damage = plain.audit.expect_err("killing does no harm");
    let line = format!(
        "sigkill: {} | {} kills of {CLIENTS} clients, {} seen inside a transaction: {} transfers told as committed, all stored; \
         {} stored that nobody was told of; {} told as rolled back; total conserved, nothing left open | \
         without a transaction, after {} kill(s): {damage} | seed {seed}, {:.0?}",
        B::LABEL,
        ours.kills,
        ours.at_work,
        ours.claims.committed.len(),
        stored.difference(&ours.claims.committed).count(),
        ours.claims.rolled_back.len(),
        plain.kills,
        started.elapsed(),
    );
    drop(writeln!(std::io::stderr(), "{line}"));
    assert!(ours.at_work > 0, "nobody was killed inside a transaction");
    assert!(ours.claims.committed.len() > 500);
    assert!(ours.claims.unknown.is_empty(), "{:?}", ours.claims.unknown);
    bed.assert_clean().await;
    bed.finish().await;
}

/// Whether some client is inside a transaction.
async fn is_at_work<B: Backend>(bed: &Bed<B>) -> bool {
    if B::SERVER {
        bed.open_transactions().await > 0
    } else {
        !bed.free(1).await
    }
}

#[test]
fn sqlite() {
    block_on(kills::<Sqlite>());
}

#[test]
fn postgres() {
    block_on(kills::<Postgres>());
}

#[test]
fn mysql() {
    block_on(kills::<MySql>());
}
