//! The command `serve`: the service, until it is told to stop.

use std::io;
use std::process::ExitCode;

use interest_asset::http;
use interest_asset::instance::Instance;
use interest_asset::store::Store;
use interest_asset::variant::Application;
use stage::Failure;
use stage::server::serve;

use crate::arguments::Serve;
use crate::instances::Task;

impl Task for Serve {
    async fn run<DB: Store>(&self, instances: &[Instance<DB>]) -> Result<ExitCode, Failure> {
        tracing_subscriber::fmt().with_writer(io::stderr).init();
        let application = Application::new(&instances[0], self.variant);
        serve(self.listen, http::router(application)).await
    }
}
