//! A server that crashes under load and comes back, again and again, while one `Db` lives on.

use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::pool::PoolOptions;
use sqlx::{ConnectOptions as _, MySql, Postgres};
use tokio::time::{sleep, timeout};
use tx_runtime::Db;
use tx_tests::server::{self, Kind};
use tx_tests::{Backend, ConnectOptions, Dice, PrivateServer};

use crate::block_on;
use crate::transfer::{CLIENTS, Claims, DROP_TABLES, any_transfer, ids, tables};
use crate::work::{Form, Told};

const ROUNDS: usize = 12;

/// A server crashes after at most so many transfers of a round.
const MOST: u64 = 300;

/// How long a round may take: everybody is to be served again.
const PATIENCE: Duration = Duration::from_mins(3);

/// How a server ends.
#[derive(Clone, Copy, Debug)]
enum Crash {
    /// SIGKILL to it.
    Killed,
    /// An immediate shutdown, as an administrator may order it.
    Immediate,
    /// SIGKILL to the process that serves one connection: the server ends all the others and
    /// recovers by itself.
    OneProcess,
}

impl Crash {
    async fn befall<B: Backend>(self, server: &PrivateServer) {
        match self {
            Self::Killed => server.crash("KILL").await,
            Self::Immediate => server.crash("QUIT").await,
            Self::OneProcess => {
                let mut eye = look::<B>(server).await;
                let all = B::ints(B::on(&mut eye), B::CONNECTIONS).await.unwrap();
                let one = all.first().expect("a connection").to_string();
                let killed = Command::new("kill").args(["-KILL", &one]).status();
                assert!(killed.is_ok_and(|status| status.success()));
            }
        }
    }

    async fn recover<B: Backend>(self, server: &PrivateServer) {
        match self {
            Self::Killed | Self::Immediate => server.restart::<B>().await,
            Self::OneProcess => server.recovered::<B>().await,
        }
    }
}

async fn look<B: Backend>(server: &PrivateServer) -> B::Connection {
    let options: ConnectOptions<B> = server.url().parse().unwrap();
    options.connect().await.unwrap()
}

/// What all clients of a round share.
struct Round<B: Backend> {
    form: Form,
    db: Db<B>,
    number: i64,
    claims: Arc<Mutex<Claims>>,
    is_back: AtomicBool,
}

impl<B: Backend> Round<B> {
    /// Lets all clients work, the server crash after some work, and all be served again.
    async fn go(self: Arc<Self>, server: &PrivateServer, crash: Crash, work: usize) {
        let clients = (0..CLIENTS).map(|client| tokio::spawn(Arc::clone(&self).client(client)));
        let clients: Vec<_> = clients.collect();
        let enough = self.committed() + work;
        while self.committed() < enough {
            sleep(Duration::from_millis(1)).await;
        }
        crash.befall::<B>(server).await;
        crash.recover::<B>(server).await;
        self.is_back.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }
        self.db.drain().await;
    }

    /// Transfers until the server has crashed, and served this client again.
    async fn client(self: Arc<Self>, client: i64) {
        let ids = ids(self.number, client);
        let mut dice = Dice::new(ids.start.unsigned_abs());
        for id in ids {
            let is_back = self.is_back.load(Ordering::SeqCst);
            let told = any_transfer(self.form, &self.db, id, &mut dice).await;
            self.claims.lock().unwrap().add(id, told);
            if is_back && told == Told::Committed {
                return;
            }
        }
    }

    fn committed(&self) -> usize {
        self.claims.lock().unwrap().committed.len()
    }
}

/// One `Db` on a server that crashes in each of these ways, until somebody has been told
/// something else than what is stored.
async fn course<B: Backend>(
    server: &PrivateServer,
    form: Form,
    crashes: impl Iterator<Item = Crash>,
    dice: &mut Dice,
) -> Result<Claims, String> {
    B::raw(B::on(&mut look::<B>(server).await), &tables())
        .await
        .unwrap();
    let pool = PoolOptions::new()
        .max_connections(8)
        .acquire_timeout(PATIENCE);
    let db = Db::<B>::connect_with(pool, server.url().parse().unwrap()).await;
    let db = db.unwrap();
    let claims = Arc::<Mutex<Claims>>::default();
    for (number, crash) in (1..).zip(crashes) {
        let round = Arc::new(Round {
            form,
            db: db.clone(),
            number,
            claims: Arc::clone(&claims),
            is_back: AtomicBool::new(false),
        });
        let work = usize::try_from(1 + dice.roll(MOST)).expect("few");
        let over = timeout(PATIENCE, round.go(server, crash, work)).await;
        assert!(over.is_ok(), "{} {crash:?}: no service", B::LABEL);
        let told = claims.lock().unwrap().clone();
        told.audit::<B>(&mut look::<B>(server).await).await?;
    }
    db.pool().close().await;
    let claims = claims.lock().unwrap().clone();
    Ok(claims)
}

async fn restarts<B: Backend>(kind: &Kind, crashes: &[Crash]) {
    let started = Instant::now();
    let Some(server) = PrivateServer::start::<B>(kind).await else {
        return;
    };
    let seed = Dice::wished_seed();
    let mut dice = Dice::new(seed);
    let cycle = || crashes.iter().copied().cycle();
    let claims = course::<B>(&server, Form::Ours, cycle().take(ROUNDS), &mut dice).await;
    let claims = claims.unwrap_or_else(|wrong| panic!("{}, seed {seed}: {wrong}", B::LABEL));
    B::raw(B::on(&mut look::<B>(&server).await), DROP_TABLES)
        .await
        .unwrap();
    // It ends with the first harm, which is a matter of chance.
    let rounds = cycle().take(4 * ROUNDS);
    let damage = course::<B>(&server, Form::Plain, rounds, &mut dice).await;
    let damage = damage.expect_err("crashes do no harm");
    report::<B>(&claims, &damage, seed, started);
    assert!(!claims.rolled_back.is_empty() || !claims.unknown.is_empty());
}

fn report<B: Backend>(claims: &Claims, damage: &str, seed: u64, started: Instant) {
    let line = format!(
        "restart: {} | {ROUNDS} crashes under {CLIENTS} clients: {} transfers told as committed, all stored; {} as rolled back, none stored; \
         {} as unknown; total conserved, nothing left open | without a transaction: {damage} | seed {seed}, {:.0?}",
        B::LABEL,
        claims.committed.len(),
        claims.rolled_back.len(),
        claims.unknown.len(),
        started.elapsed(),
    );
    drop(writeln!(std::io::stderr(), "{line}"));
}

#[test]
fn postgres() {
    let crashes = [Crash::Killed, Crash::Immediate, Crash::OneProcess];
    block_on(restarts::<Postgres>(&server::POSTGRES, &crashes));
}

#[test]
fn mysql() {
    block_on(restarts::<MySql>(&server::MYSQL, &[Crash::Killed]));
}
