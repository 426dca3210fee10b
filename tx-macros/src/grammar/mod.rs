//! What the attributes say: tokens to typed options. Every value keeps the key that set it, so
//! that a later check can point at the word to change.

mod duration;
mod history;
mod list;
mod lock;
mod options;
mod retry;
mod rule;
mod suggest;
mod template;
mod word;

pub(crate) use history::History;
#[cfg(test)]
pub(crate) use list::keys;
pub(crate) use list::{Given, parse};
pub(crate) use lock::{Lock, Locked, Wait};
pub(crate) use options::{Exception, Options, Skip};
pub(crate) use retry::Retry;
pub(crate) use suggest::{list, nearest};
pub(crate) use template::{Hole, Template};
pub(crate) use word::{Propagation, Word};
