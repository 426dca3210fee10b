//! Programs under the attributes, by theme: `cases/*/pass` must compile without a warning, as the
//! modules of this crate do, and `cases/*/fail` must not, in the words of the `.stderr` beside each.
//! `README.md` is made of both.
#![forbid(unsafe_code)]
#![deny(warnings, clippy::pedantic)]
#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "the cases are read, and nobody calls them"
)]

/// The runtime, re-exported as a crate on top of it would.
pub mod vendor {
    pub use tx_runtime;
}

#[path = "../cases/attribute/pass"]
pub mod attribute {
    pub mod async_trait;
    pub mod debug_handler;
    pub mod instrument;
    pub mod others;
}

#[path = "../cases/body/pass"]
pub mod body {
    pub mod coercions;
    pub mod control_flow;
    pub mod items;
    pub mod not_send;
    pub mod send;
    pub mod shadowed_names;
    pub mod spawn_on_purpose;
}

#[path = "../cases/function/pass"]
pub mod function {
    pub mod arguments;
    pub mod free;
    pub mod generics;
    pub mod made_by_macro;
    pub mod private;
    pub mod receivers;
    pub mod recursive;
    pub mod results;
    pub mod traits;
}

#[path = "../cases/history/pass"]
pub mod history {
    pub mod authors;
}

#[path = "../cases/impl_block/pass"]
pub mod impl_block {
    pub mod defaults;
    pub mod generic;
    pub mod of_a_trait;
}

#[path = "../cases/lock/pass"]
pub mod lock {
    pub mod keys;
    pub mod long_form;
}

#[path = "../cases/locked/pass"]
pub mod locked {
    pub mod without_transaction;
}

#[path = "../cases/option/pass"]
pub mod option {
    pub mod every_isolation;
    pub mod every_propagation;
    pub mod read_only;
    pub mod renamed_runtime;
    pub mod timeout;
    pub mod which_database;
}

#[path = "../cases/retry/pass"]
pub mod retry {
    pub mod arguments;
}

#[path = "../cases/rules/pass"]
pub mod rules {
    pub mod exceptions;
}
