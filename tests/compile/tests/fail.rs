//! Every program under `cases/*/fail` is refused, in the words that stand beside it.
//!
//! `TRYBUILD=overwrite cargo test -p tx-compile-tests --test fail` takes the words as they are;
//! read them before they are committed.

#[test]
fn misuse_is_refused_in_words() {
    trybuild::TestCases::new().compile_fail("cases/*/fail/*.rs");
}
