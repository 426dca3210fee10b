//! Processes that are killed and stopped in the middle of their work, while somebody checks that
//! every row says what is true.
//!
//! The processes are this test program, run once more for its test [`worker`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sqlx::pool::PoolOptions;
use sqlx::{ConnectOptions as _, MySql, Postgres, Sqlite};
use tokio::time::sleep;
use tx_runtime::{
    Db, Error, Isolation, Lock, Ticket, TicketLocks, TicketState, TransactionOptions,
};
use tx_tests::{Backend, Bed, ConnectOptions};

use crate::setup::{PATIENCE, ticketed};

const KEYS: u64 = 8;
const LEASE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(30);

/// How much longer than its lease a dead process may be in the way, on a machine that has time.
const SLACK: Duration = Duration::from_secs(2);

/// On one that has not, so many times as long as somebody who only looks is held up at most.
const HELD_UP: u32 = 10;

/// Whether somebody is overtaken is chance; the stress goes on for it, for so many rounds at most.
const ROUNDS: i64 = 10;

/// Of a hundred acquisitions, so many end with a kill, and as many stand still.
const PERCENT: u64 = 5;

const DATABASE: &str = "TX_TICKETS_DATABASE";
const URL: &str = "TX_TICKETS_URL";
const GOAL: &str = "TX_TICKETS_GOAL";
const WORKERS: &str = "TX_TICKETS_WORKERS";
const SEED: &str = "TX_TICKETS_SEED";

/// How many of each there are.
#[derive(Clone, Copy)]
struct Size {
    processes: u64,
    workers: u64,
    goal: i64,
}

/// Not a test by itself: what the processes of the stress run.
#[test]
fn worker() {
    let Ok(database) = std::env::var(DATABASE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    match &*database {
        "sqlite" => runtime.block_on(work::<Sqlite>()),
        "postgres" => runtime.block_on(work::<Postgres>()),
        _ => runtime.block_on(work::<MySql>()),
    }
}

fn given(name: &str) -> u64 {
    let value = std::env::var(name).ok();
    value
        .and_then(|value| value.parse().ok())
        .expect("a number")
}

async fn work<B: Backend>() {
    let options: ConnectOptions<B> = std::env::var(URL).unwrap().parse().unwrap();
    let pool = PoolOptions::new().max_connections(6);
    let db = Db::<B>::connect_with(pool, options).await.unwrap();
    let tickets = TicketLocks::new(&db).lease(LEASE).poll(POLL);
    let workers = (0..given(WORKERS)).map(|n| {
        let (db, tickets) = (db.clone(), tickets.clone());
        tokio::spawn(async move {
            let mut dice = Dice(given(SEED) * 31 + n);
            while acquired(&db).await < i64::try_from(given(GOAL)).unwrap() {
                once(&db, &tickets, &mut dice).await;
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    db.drain().await;
}

async fn acquired<B: Backend>(db: &Db<B>) -> i64 {
    let sql = "select count(*) from tx_ticket where token is not null";
    B::int(B::pool(db.pool()), sql).await.unwrap_or(0)
}

/// Adds one to the counter of a key, under the lock of that key.
async fn once<B: Backend>(db: &Db<B>, tickets: &TicketLocks<B>, dice: &mut Dice) {
    let key = dice.roll() % KEYS;
    let fate = dice.roll() % 100;
    let options = match dice.roll() % 3 {
        0 => TransactionOptions::new().isolation(Isolation::Serializable),
        1 => TransactionOptions::new().isolation(Isolation::ReadCommitted),
        _ => TransactionOptions::new(),
    };
    let lock = Lock::key(format!("key {key}")).on(tickets).label("stress");
    let with = options.lock(lock.wait(Duration::from_secs(50)));
    let done = db.transaction_with(with, async || {
        if !B::SERVER && (PERCENT..2 * PERCENT).contains(&fate) {
            // Later it would be the one writer, whom nobody can overtake.
            signal(std::process::id(), "STOP");
        }
        let read = format!("select v from t where id = {key}");
        let value: i64 = B::texts(db, &read).await?[0].parse().unwrap();
        sleep(Duration::from_millis(1)).await;
        let write = format!("update t set v = '{}' where id = {key}", value + 1);
        B::exec(db, &write).await?;
        if fate < PERCENT {
            signal(std::process::id(), "KILL");
        } else if B::SERVER && fate < 2 * PERCENT {
            signal(std::process::id(), "STOP");
        }
        Ok::<_, Error>(())
    });
    match done.await {
        Ok(()) => println!("did"),
        Err(Error::LockLost { .. }) => println!("refused"),
        Err(error) => println!("failed: {error}"),
    }
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .stderr(Stdio::null())
        .status();
    // It may be gone by itself.
    drop(sent);
}

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // The step of a linear congruence; its high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// One process of the stress; dropped, it is ended.
struct Process(Child);

impl Process {
    fn start<B: Backend>(bed: &Bed<B>, size: Size, seed: u64) -> Self {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "stress::worker",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DATABASE, B::LABEL)
            .env(URL, bed.options().to_url_lossy().as_str())
            .env(GOAL, size.goal.to_string())
            .env(WORKERS, size.workers.to_string())
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("a process"))
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()));
        // The state follows the name, which is in brackets.
        stat.is_ok_and(|stat| {
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    }

    fn says(mut self) -> String {
        let mut said = String::new();
        if let Some(mut out) = self.0.stdout.take() {
            drop(std::io::Read::read_to_string(&mut out, &mut said));
        }
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What happened to the processes, and what they said.
#[derive(Default)]
struct Course {
    killed: BTreeMap<u32, SystemTime>,
    stops: Vec<Range<SystemTime>>,
    said: String,
}

impl Course {
    /// For how long a holder that died stood in the way of somebody who wanted the key.
    ///
    /// `log` is that of its key.
    fn in_the_way<B: Backend>(&self, log: &[&Ticket], holder: &Ticket) -> Duration {
        let pid = |id: u32| holder.owner.contains(&format!("process {id} "));
        let killed = self.killed.iter().find(|(id, _)| pid(**id));
        let next = log.iter().find(|ticket| ticket.id > holder.id);
        let (TicketState::Abandoned, Some((_, &killed)), Some(next), Some(ended)) =
            (holder.state, killed, next, holder.ended)
        else {
            return Duration::ZERO;
        };
        let wanted = killed.max(next.requested)..ended;
        // A process that is stopped while it has the one write lock of SQLite stops all.
        let stops: &[_] = if B::SERVER { &[] } else { &self.stops };
        let stood_still = stops.iter().map(|stop| overlap(stop, &wanted)).sum();
        span(&wanted).saturating_sub(stood_still)
    }

    /// Whether everything has happened that makes this a stress.
    fn was_eventful(&self) -> bool {
        self.count("refused") > 0 && !self.killed.is_empty() && !self.stops.is_empty()
    }

    fn count(&self, word: &str) -> usize {
        self.said.lines().filter(|line| line.contains(word)).count()
    }
}

fn span(time: &Range<SystemTime>) -> Duration {
    time.end.duration_since(time.start).unwrap_or_default()
}

fn overlap(one: &Range<SystemTime>, other: &Range<SystemTime>) -> Duration {
    span(&(one.start.max(other.start)..one.end.min(other.end)))
}

/// Keeps so many processes going until they have done it all.
async fn run<B: Backend>(
    bed: &Bed<B>,
    size: Size,
    seeds: &mut impl Iterator<Item = u64>,
    course: &mut Course,
) {
    let mut start = || Process::start(bed, size, seeds.next().expect("a number"));
    let mut processes: Vec<Process> = (0..size.processes).map(|_| start()).collect();
    let mut waiting: Vec<std::thread::JoinHandle<String>> = Vec::new();
    let mut stopped: BTreeMap<u32, SystemTime> = BTreeMap::new();
    while !processes.is_empty() {
        let mut going = Vec::new();
        for mut process in processes {
            let id = process.0.id();
            if let Some(status) = process.0.try_wait().expect("a state") {
                let finished = status.success();
                waiting.push(std::thread::spawn(|| process.says()));
                if !finished {
                    course.killed.insert(id, SystemTime::now());
                    going.push(start());
                }
                continue;
            }
            if process.is_stopped() {
                let since = *stopped.entry(id).or_insert_with(SystemTime::now);
                let stop = |end| since..end;
                // Until the others have declared it dead, or long after they should have.
                if is_given_up(bed, id).await || span(&stop(SystemTime::now())) > LEASE + SLACK {
                    stopped.remove(&id);
                    signal(id, "CONT");
                    course.stops.push(stop(SystemTime::now()));
                }
            }
            going.push(process);
        }
        processes = going;
        sleep(Duration::from_millis(5)).await;
    }
    for said in waiting {
        course.said.push_str(&said.join().unwrap());
    }
}

async fn is_given_up<B: Backend>(bed: &Bed<B>, process: u32) -> bool {
    let alive = format!(
        "select count(*) from tx_ticket where state in ('WAITING', 'RUNNING') and owner like '%process {process} %'"
    );
    bed.control_ints(&alive).await == [0]
}

/// How often somebody has looked, and for how long a look took at most.
#[derive(Clone, Copy, Default)]
struct Looks {
    count: u64,
    longest: Duration,
}

/// Looks again and again, in one statement each, at what must be true at every moment.
async fn check<B: Backend>(options: ConnectOptions<B>, looks: Arc<Mutex<Looks>>) {
    let mut eye = options.connect().await.unwrap();
    let name = match B::LABEL {
        "mysql" => "concat('key ', t.id)",
        _ => "'key ' || t.id",
    };
    // What is stored is as much as what is DONE says; and one at a time is RUNNING.
    let sql = format!(
        "select t.id from t where t.v <> (select count(*) from tx_ticket k where k.name = {name} and k.state = 'DONE') \
         or 1 < (select count(*) from tx_ticket k where k.name = {name} and k.state = 'RUNNING')"
    )
    .replace("t.v <>", match B::LABEL {
        "postgres" => "t.v::bigint <>",
        "mysql" => "t.v <>",
        _ => "cast(t.v as integer) <>",
    });
    loop {
        let began = Instant::now();
        let untrue = B::ints(B::on(&mut eye), &sql).await;
        match untrue {
            Ok(untrue) => assert!(untrue.is_empty(), "untrue about the keys {untrue:?}"),
            Err(error) => panic!("{error}"),
        }
        sleep(Duration::from_millis(2)).await;
        let mut looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.count += 1;
        looks.longest = looks.longest.max(began.elapsed());
    }
}

/// What the log says in the end, against what has happened.
fn audit<B: Backend>(course: &Course, log: &[Ticket], stored: &[i64], looks: Looks) {
    let mut by_key: BTreeMap<&str, Vec<&Ticket>> = BTreeMap::new();
    for ticket in log {
        assert!(ticket.state.has_ended(), "{ticket:?}");
        if ticket.token.is_some() {
            by_key.entry(&ticket.key).or_default().push(ticket);
        }
    }
    let mut done = Vec::new();
    let mut latest = Duration::ZERO;
    for tickets in by_key.values_mut() {
        tickets.sort_by_key(|ticket| ticket.token);
        let tokens: Vec<_> = tickets.iter().filter_map(|ticket| ticket.token).collect();
        let count = i64::try_from(tokens.len()).unwrap();
        assert_eq!(
            tokens,
            (1..=count).collect::<Vec<_>>(),
            "tokens are repeated or left out"
        );
        // In the order of asking, and one after the other.
        for pair in tickets.windows(2) {
            assert!(pair[0].id < pair[1].id, "not in order: {pair:?}");
            assert!(pair[0].ended <= pair[1].started, "two at once: {pair:?}");
        }
        for ticket in &*tickets {
            latest = latest.max(course.in_the_way::<B>(tickets, ticket));
        }
        let is_done = |ticket: &&&Ticket| ticket.state == TicketState::Done;
        done.push(i64::try_from(tickets.iter().filter(is_done).count()).unwrap());
    }
    assert_eq!(done, stored, "what is DONE is not what is stored");
    let of = |state| log.iter().filter(|ticket| ticket.state == state).count();
    let held = log.iter().filter(|ticket| ticket.token.is_some()).count();
    eprintln!(
        "{}: {held} acquisitions: {} DONE, {} FAILED, {} ABANDONED, {} CANCELLED; {} processes killed, {} stopped; \
         {} zombies refused; dead holders in the way for {latest:?} at most; looked at {} times, for {:?} at most, always true",
        B::LABEL,
        of(TicketState::Done),
        of(TicketState::Failed),
        of(TicketState::Abandoned),
        of(TicketState::Cancelled),
        course.killed.len(),
        course.stops.len(),
        course.count("refused"),
        looks.count,
        looks.longest,
    );
    let slack = SLACK.max(HELD_UP * looks.longest);
    assert!(
        latest < LEASE + slack,
        "a dead holder was in the way for {latest:?}"
    );
    assert!(course.count("did") <= usize::try_from(done.iter().sum::<i64>()).unwrap());
    assert!(course.was_eventful(), "nobody was overtaken");
    // A successor can meet with the row locks of a zombie that is stopped.
    let conflicts = [
        "serializ",
        "Deadlock",
        "deadlock",
        "Lock wait",
        "database is locked",
    ];
    let is_conflict = |line: &&str| conflicts.iter().any(|words| line.contains(words));
    let failed = course
        .said
        .lines()
        .filter(|line| line.starts_with("failed"));
    let odd: Vec<_> = failed.filter(|line| !is_conflict(line)).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}

async fn stress<B: Backend>(size: Size) {
    let Some(bed) = ticketed::<B>().await else {
        return;
    };
    for key in 0..KEYS {
        bed.control(&format!("insert into t (id, v) values ({key}, '0')"))
            .await;
    }
    let looks = Arc::<Mutex<Looks>>::default();
    let checker = tokio::spawn(check::<B>(bed.options().clone(), Arc::clone(&looks)));
    let (mut course, mut seeds) = (Course::default(), 1..);
    for round in 1..=ROUNDS {
        let goal = round * size.goal;
        run(&bed, Size { goal, ..size }, &mut seeds, &mut course).await;
        if course.was_eventful() {
            break;
        }
    }
    // Whatever is left of the dead is cleared away by who comes next.
    let tickets = TicketLocks::new(&bed.db).lease(LEASE).poll(POLL);
    for key in 0..KEYS {
        let lock = Lock::key(format!("key {key}")).on(&tickets).wait(PATIENCE);
        let with = TransactionOptions::new().lock(lock);
        let add = match B::LABEL {
            "postgres" => "update t set v = (v::bigint + 1)::text where id =",
            _ => "update t set v = v + 1 where id =",
        };
        let last = bed.db.transaction_with(with, async || {
            B::exec(&bed.db, &format!("{add} {key}")).await?;
            Ok::<_, Error>(())
        });
        last.await.unwrap();
    }
    assert!(!checker.is_finished(), "{:?}", checker.await);
    checker.abort();
    let log = tickets.log_of_all(1_000_000).await.unwrap();
    let stored = bed.control_texts("select v from t order by id").await;
    let stored: Vec<i64> = stored.iter().map(|v| v.parse().unwrap()).collect();
    let looks = *looks.lock().unwrap_or_else(PoisonError::into_inner);
    audit::<B>(&course, &log, &stored, looks);
    bed.assert_clean().await;
    bed.finish().await;
}

fn block_on(stress: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(stress);
}

const LARGE: Size = Size {
    processes: 4,
    workers: 4,
    goal: 2_000,
};

#[test]
fn postgres() {
    block_on(stress::<Postgres>(LARGE));
}

#[test]
fn mysql() {
    block_on(stress::<MySql>(LARGE));
}

#[test]
fn sqlite() {
    // One writer at a time, and a stopped one stops all.
    block_on(stress::<Sqlite>(Size {
        processes: 3,
        workers: 2,
        goal: 150,
    }));
}
