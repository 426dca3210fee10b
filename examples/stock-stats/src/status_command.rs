//! The command `status`: the log of tickets.

use std::process::ExitCode;

use stage::Failure;
use stock_stats::batches::GROUP;
use stock_stats::store::Store;
use tx_runtime::TicketLocks;

use crate::arguments::Status;
use crate::database::{Place, Task};
use crate::ticket_table::table;

impl Task for Status {
    async fn run<DB: Store>(&self, place: &Place<DB>) -> Result<ExitCode, Failure> {
        let mut tickets = TicketLocks::new(&place.db).log(GROUP, self.last).await?;
        tickets.reverse();
        println!("{}", table(&tickets));
        Ok(ExitCode::SUCCESS)
    }
}
