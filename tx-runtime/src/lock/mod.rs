//! Named locks: who may have one, in which order, and when it opens.
//!
//! A [`LockQueue`] stands before every [`LockProvider`], so that at most one call per key and
//! process reaches whatever is behind it. What was taken is a [`Held`]: the chain that took it
//! refers to it, and so does every transaction that ran under it; it opens when the last of
//! them lets go.

mod adopted;
mod doing;
mod held;
mod local;
mod origin;
mod provider;
mod queue;
#[cfg(feature = "redis")]
mod redis;
mod request;
mod taking;

#[cfg(feature = "redis")]
pub use self::redis::RedisLocks;
pub(crate) use adopted::{Adopted, Unsettled};
pub(crate) use doing::Doing;
pub(crate) use held::{DOUBT_LIMIT, Held};
pub use local::LocalLocks;
pub(crate) use origin::{random, this_process};
pub(crate) use provider::Share;
pub use provider::{
    Conclusion, Fence, LockFailure, LockFuture, LockHold, LockProvider, LockRequest,
};
pub use queue::LockQueue;
pub(crate) use request::Bound;
pub use request::Lock;
pub(crate) use taking::Wanted;
