//! What a transactional function returns, and what that means for its transaction.

use crate::error::Error;

/// A return type that says whether to commit: `Result<T, E>` with `E: From<Error>`.
#[diagnostic::on_unimplemented(
    message = "a `#[transactional]` or `#[locked]` function returns `Result<T, E>` with `E: From<tx_runtime::Error>`",
    label = "not a `Result`, or one whose error cannot be made of `tx_runtime::Error`",
    note = "`Ok` commits and `Err` rolls back; a commit that fails, or a lock that is not had, is returned as `E::from(tx_runtime::Error)`"
)]
pub trait TransactionResult {
    /// What is returned when the transaction committed.
    type Ok;
    /// What is returned when it did not.
    type Error: From<Error>;

    /// The outcome as a plain result.
    ///
    /// # Errors
    ///
    /// The function's own.
    fn into_result(self) -> Result<Self::Ok, Self::Error>;

    /// The outcome made of a plain result.
    fn from_result(result: Result<Self::Ok, Self::Error>) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T, E: From<Error>> TransactionResult for Result<T, E> {
    type Ok = T;
    type Error = E;

    fn into_result(self) -> Self {
        self
    }

    fn from_result(result: Self) -> Self {
        result
    }
}
