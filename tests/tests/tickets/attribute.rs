//! The attributes over tickets.

use tokio::join;
use tokio::sync::oneshot;
use tx_runtime::{Db, Error, TicketLocks, TicketState, locked, transactional};
use tx_tests::{Backend, case};

use crate::setup::{states, ticketed, tickets, until_states};

struct Batches<B: Backend> {
    db: Db<B>,
    tickets: TicketLocks<B>,
}

impl<B: Backend> Batches<B> {
    #[locked(key = "report:{account}", on = self.tickets, label = "report of {account}", wait = "10m")]
    async fn report(&self, account: i64, fails: bool) -> Result<i64, Error> {
        if fails {
            return Err(Error::Database(sqlx::Error::ColumnNotFound(
                "day".to_owned(),
            )));
        }
        Ok(account)
    }

    #[transactional(lock(key = "day", on = self.tickets, label = "open day {day}"))]
    async fn open_day(&self, day: i64) -> Result<(), Error> {
        B::exec(&self.db, &format!("insert into t (id) values ({day})")).await?;
        Ok(())
    }

    #[transactional(lock(key = "day", on = self.tickets), retry(attempts = 3, backoff = "1ms..2ms"))]
    async fn retried(&self, day: i64) -> Result<(), Error> {
        B::exec(&self.db, &format!("insert into t (id) values ({day})")).await?;
        Ok(())
    }
}

case! {
    attributes on sqlite, postgres, mysql; bed = ticketed::<B>();
    "functions under the attributes have tickets with their labels, or their names";
    async fn<B>(bed) {
        let batches = Batches { db: bed.db.clone(), tickets: tickets(bed) };
        assert_eq!(batches.report(7, false).await.unwrap(), 7);
        batches.report(7, true).await.unwrap_err();
        batches.open_day(19).await.unwrap();
        // The day is there already.
        batches.open_day(19).await.unwrap_err();
        batches.retried(20).await.unwrap();
        assert_eq!(states(bed).await, ["DONE", "FAILED", "DONE", "FAILED", "DONE"]);
        let log = batches.tickets.log_of_all(10).await.unwrap();
        assert_eq!(log[4].label, "report of 7");
        assert!(log[3].error.as_ref().unwrap().contains("day"), "{:?}", log[3]);
        assert_eq!(log[2].label, "open day 19");
        assert!(log[0].label.ends_with("retried"), "{}", log[0].label);
        assert_eq!(log[0].state, TicketState::Done);
    }
}

#[locked(key = "report", wait = "10m")]
async fn report<B: Backend>(db: &Db<B>, wait: oneshot::Receiver<()>) -> Result<(), Error> {
    wait.await.expect("it is told to end");
    Ok(())
}

case! {
    of_a_db on sqlite, postgres, mysql; bed = ticketed::<B>();
    "who waits for a lock of a `Db` that keeps its locks as tickets is seen to wait";
    async fn<B>(bed) {
        let db = Db::builder(bed.db.pool().clone()).locks(tickets(bed)).build();
        let (end_first, first) = oneshot::channel();
        let (end_second, second) = oneshot::channel();
        let looks = async {
            until_states(bed, &["RUNNING", "WAITING"]).await;
            end_first.send(()).expect("it runs");
            end_second.send(()).expect("it is next");
        };
        let (first, second, ()) = join!(report(&db, first), report(&db, second), looks);
        first.unwrap();
        second.unwrap();
        assert_eq!(states(bed).await, ["DONE", "DONE"]);
    }
}
