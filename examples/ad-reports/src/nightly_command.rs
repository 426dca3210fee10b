//! The command `nightly`: the batch, in a process of its own.

use std::net::SocketAddr;
use std::process::ExitCode;

use ad_reports::plan::Plan;
use ad_reports::store::Store;
use ad_reports::variant::{Importer, Variant};
use stage::Failure;
use tx_runtime::Db;

/// What the batch says when it is about to begin.
pub(crate) const READY: &str = "ready";

#[derive(Debug)]
pub(crate) struct Nightly {
    pub(crate) api: SocketAddr,
    pub(crate) variant: Variant,
    pub(crate) plan: Plan,
}

impl Nightly {
    pub(crate) async fn run<DB: Store>(&self, db: &Db<DB>) -> Result<ExitCode, Failure> {
        println!("{READY}");
        let importer = Importer::new(db, self.api, self.variant);
        importer.import_all(&self.plan.nightly()).await?;
        Ok(ExitCode::SUCCESS)
    }
}
