//! Programs under the attributes, by theme: `cases/*/pass` must compile without a warning, as the
//! modules of this crate do, and `cases/*/fail` must not, in the words of the `.stderr` beside each.
//! `README.md` is made of both.
