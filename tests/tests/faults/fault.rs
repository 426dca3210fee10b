//! What may happen at one message.

use std::pin::pin;
use std::time::Duration;

use tx_tests::{Dice, Strike, Trap};

/// What happens when one message comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is cut.
    Cut(Strike),
    /// It arrives later.
    Late(Duration),
    /// It is under way while the caller walks away.
    Abandoned,
    /// It is under way while the server ends the connection.
    Killed,
}

impl Fault {
    /// One of every kind.
    pub(crate) fn all(dice: &mut Dice) -> [Self; 6] {
        let share = u8::try_from(dice.roll(256)).expect("below 256");
        [
            Self::Cut(Strike::CutBefore),
            Self::Cut(Strike::CutWithin(share)),
            Self::Cut(Strike::CutBehind),
            Self::Late(Duration::from_micros(dice.roll(20_000))),
            Self::Abandoned,
            Self::Killed,
        ]
    }

    /// What it does to the message itself.
    pub(crate) fn strike(self) -> Strike {
        match self {
            Self::Cut(strike) => strike,
            Self::Late(_) | Self::Abandoned | Self::Killed => Strike::Hold,
        }
    }

    /// Whether the message itself still arrives, and the connection ends behind it.
    pub(crate) fn ends_behind(self) -> bool {
        matches!(self, Self::Cut(Strike::CutBehind) | Self::Killed)
    }

    /// Runs `work` up to `trap` and beyond, with everything that happens there. There is no
    /// output if the work was abandoned.
    pub(crate) async fn befall<T>(
        self,
        trap: &Trap,
        kill: impl Future<Output = ()>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        match self {
            Self::Cut(_) => Some(work.await),
            Self::Late(by) => {
                let (output, ()) = tokio::join!(work, async {
                    trap.sprung().await;
                    tokio::time::sleep(by).await;
                    trap.release();
                });
                Some(output)
            }
            Self::Killed => {
                let (output, ()) = tokio::join!(work, async {
                    trap.sprung().await;
                    kill.await;
                    trap.release();
                });
                Some(output)
            }
            Self::Abandoned => {
                let output = {
                    let mut work = pin!(work);
                    tokio::select! {
                        biased;
                        output = &mut work => Some(output),
                        () = trap.sprung() => None,
                    }
                };
                // Some messages come only when the work has ended.
                trap.sprung().await;
                trap.release();
                output
            }
        }
    }
}
