//! The command `status`: the last tickets of the database, those of all accounts among them.

use std::process::ExitCode;

use ad_reports::store::Store;
use ad_reports::tickets;
use stage::Failure;
use tx_runtime::Db;

use crate::line;

#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) limit: u32,
}

impl Status {
    pub(crate) async fn run<DB: Store>(&self, db: &Db<DB>) -> Result<ExitCode, Failure> {
        let tickets = tickets::of(db).log_of_all(self.limit).await?;
        println!("{}", line::table(&tickets));
        Ok(ExitCode::SUCCESS)
    }
}
