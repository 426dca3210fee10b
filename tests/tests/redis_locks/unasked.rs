//! A lease that is never asked about before COMMIT: as if every answer came too early.

use tx_runtime::{
    Fence, LockFailure, LockFuture, LockHold, LockProvider, LockQueue, LockRequest, RedisLocks,
};

/// [`RedisLocks`] that believes in all of its leases.
#[derive(Clone, Debug)]
pub(crate) struct Unasked(pub(crate) RedisLocks);

#[derive(Debug)]
struct Believed(Box<dyn LockHold>);

impl LockProvider for Unasked {
    fn queue(&self) -> &LockQueue {
        self.0.queue()
    }

    fn acquire<'a>(
        &'a self,
        request: LockRequest<'a>,
    ) -> LockFuture<'a, Result<Option<Box<dyn LockHold>>, LockFailure>> {
        Box::pin(async {
            let held = self.0.acquire(request).await?;
            Ok(held.map(|held| Box::new(Believed(held)) as Box<dyn LockHold>))
        })
    }
}

impl LockHold for Believed {
    fn check(&self) -> LockFuture<'_, Result<(), LockFailure>> {
        Box::pin(async { Ok(()) })
    }

    fn open(self: Box<Self>) -> LockFuture<'static, Result<(), LockFailure>> {
        self.0.open()
    }

    fn leave(self: Box<Self>) -> LockFuture<'static, ()> {
        self.0.leave()
    }

    fn fences(&self) -> Vec<Fence> {
        self.0.fences()
    }

    fn outrun(&self, token: i64) {
        self.0.outrun(token);
    }
}
