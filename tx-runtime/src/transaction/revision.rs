//! The one revision that a transaction has in the history.

use std::sync::Arc;

use super::Transaction;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::level::Level;
use crate::operation::{Operation, Product, Task};
use crate::site::Site;
use crate::wire::Step;

impl<DB: Dialect> Transaction<DB> {
    /// The revision's number, if a change was recorded by now.
    pub(crate) async fn revision(
        &self,
        level: &Arc<Level>,
        function: Site,
    ) -> Result<Option<i64>, Error> {
        let mut wire = self.turn(level, function).await?;
        let recorded = self.author.is_some() || DB::RECORDS_STRANGERS;
        if wire.is_unused() || !recorded {
            return Ok(None);
        }
        let answer = Product::new();
        let step = Step::Statement {
            level: Arc::clone(level),
            function,
        };
        let task = Operation::Task(Task::Revision(answer.another()));
        let asked = wire.perform(step, task).await;
        asked.and_then(|_| answer.take()).map_err(Error::Database)
    }
}
