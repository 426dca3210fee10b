//! Transfers between accounts, and their audit: money is neither made nor lost.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::Pool;
use tokio::time::timeout;
use tx_runtime::{Db, Error, transactional};
use tx_tests::{Backend, Dice};

use crate::work::{Form, Told};

/// How many clients transfer at once.
pub(crate) const CLIENTS: i64 = 32;

/// Between one round and the next, and one client of a round and the next, so many ids are free.
const IDS_OF_ROUND: i64 = 1_000_000;
const IDS_OF_CLIENT: i64 = 20_000;

const ACCOUNTS: u64 = 10;
const BALANCE: i64 = 1_000;

/// How long anything may be in the way after a crash.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const DROP_TABLES: &str = "drop table account; drop table transfer";

/// Makes the accounts.
pub(crate) fn tables() -> String {
    let accounts: Vec<String> = (0..ACCOUNTS)
        .map(|id| format!("({id}, {BALANCE})"))
        .collect();
    format!(
        "create table account (id bigint primary key, balance bigint not null);
         create table transfer (id bigint primary key, debit bigint not null, credit bigint not null, amount bigint not null);
         insert into account (id, balance) values {}",
        accounts.join(", ")
    )
}

/// The ids of a client's transfers.
pub(crate) fn ids(round: i64, client: i64) -> std::ops::Range<i64> {
    let first = round * IDS_OF_ROUND + client * IDS_OF_CLIENT;
    first..first + IDS_OF_CLIENT
}

/// The transfer `id`, of any amount between any two accounts.
pub(crate) async fn any_transfer<B: Backend>(
    form: Form,
    db: &Db<B>,
    id: i64,
    dice: &mut Dice,
) -> Told {
    let debit = dice.roll(ACCOUNTS);
    let credit = (debit + 1 + dice.roll(ACCOUNTS - 1)) % ACCOUNTS;
    let statements = statements(id, debit, credit, 1 + dice.roll(50));
    match form {
        Form::Ours => Told::by(&transfer(db, &statements).await),
        Form::Plain => match one_by_one(db.pool(), &statements).await {
            Ok(()) => Told::Committed,
            Err(_) => Told::RolledBack,
        },
    }
}

fn statements(id: i64, debit: u64, credit: u64, amount: u64) -> [String; 3] {
    let mut changes = [(debit, '-'), (credit, '+')];
    // In one order, or they wait for each other.
    changes.sort_unstable();
    let [first, second] = changes.map(|(account, sign)| {
        format!("update account set balance = balance {sign} {amount} where id = {account}")
    });
    let entry = format!(
        "insert into transfer (id, debit, credit, amount) values ({id}, {debit}, {credit}, {amount})"
    );
    [first, second, entry]
}

#[transactional(retry(attempts = 20, backoff = "1ms..50ms"))]
async fn transfer<B: Backend>(db: &Db<B>, statements: &[String]) -> Result<(), Error> {
    for statement in statements {
        B::exec(db, statement).await?;
    }
    Ok(())
}

/// What happens without a transaction.
async fn one_by_one<B: Backend>(pool: &Pool<B>, statements: &[String]) -> Result<(), sqlx::Error> {
    for statement in statements {
        B::exec(B::pool(pool), statement).await?;
    }
    Ok(())
}

/// What the clients were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    pub(crate) committed: BTreeSet<i64>,
    pub(crate) rolled_back: BTreeSet<i64>,
    pub(crate) unknown: BTreeSet<i64>,
}

impl Claims {
    pub(crate) fn add(&mut self, id: i64, told: Told) {
        let claims = match told {
            Told::Committed => &mut self.committed,
            Told::RolledBack => &mut self.rolled_back,
            Told::Unknown => &mut self.unknown,
        };
        claims.insert(id);
    }

    /// Compares them with what is stored; gives the ids of all transfers that are.
    ///
    /// The error says what money or which transfers were made or lost.
    pub(crate) async fn audit<B: Backend>(
        &self,
        eye: &mut B::Connection,
    ) -> Result<BTreeSet<i64>, String> {
        left_nothing::<B>(eye).await;
        let balances = B::ints(B::on(&mut *eye), "select balance from account").await;
        let total: i64 = balances.unwrap().iter().sum();
        if total != i64::try_from(ACCOUNTS).unwrap() * BALANCE {
            return Err(format!("the total is {total}"));
        }
        let odd = format!(
            "select id from account where balance <> {BALANCE}
             + coalesce((select sum(amount) from transfer where credit = account.id), 0)
             - coalesce((select sum(amount) from transfer where debit = account.id), 0)"
        );
        let odd = B::ints(B::on(&mut *eye), &odd).await.unwrap();
        if !odd.is_empty() {
            return Err(format!("half a transfer on {odd:?}"));
        }
        let stored = B::ints(B::on(eye), "select id from transfer").await;
        let stored: BTreeSet<i64> = stored.unwrap().into_iter().collect();
        let lost: Vec<_> = self.committed.difference(&stored).collect();
        if !lost.is_empty() {
            return Err(format!("told as committed, and not stored: {lost:?}"));
        }
        let found: Vec<_> = self.rolled_back.intersection(&stored).collect();
        if !found.is_empty() {
            return Err(format!("told as rolled back, and stored: {found:?}"));
        }
        Ok(stored)
    }
}

/// Waits until the server has noticed whose clients are gone: no open transaction, no lock.
async fn left_nothing<B: Backend>(eye: &mut B::Connection) {
    let over = timeout(PATIENCE, async {
        while !B::in_transaction(eye).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (begin, lock) = if B::SERVER {
            ("begin", "select id from account for update")
        } else {
            ("begin immediate", "pragma integrity_check")
        };
        B::raw(B::on(&mut *eye), begin).await.unwrap();
        let answer = B::texts(B::on(&mut *eye), lock).await;
        if !B::SERVER {
            assert_eq!(answer.unwrap(), ["ok"]);
        }
        B::raw(B::on(&mut *eye), "rollback").await.unwrap();
    });
    assert!(over.await.is_ok(), "{}: something is left open", B::LABEL);
}
