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
    /// It is under way when the time of the scope is over.
    Expired,
}

impl Fault {
    /// One of every kind that needs no limit.
    pub(crate) fn all(dice: &mut Dice) -> [Self; 6] {
        let [before, within, behind] = Self::cuts(dice);
        [
            before,
            within,
            behind,
            Self::Late(Duration::from_micros(dice.roll(20_000))),
            Self::Abandoned,
            Self::Killed,
        ]
    }

    /// One of every place where a connection can be cut.
    pub(crate) fn cuts(dice: &mut Dice) -> [Self; 3] {
        let share = u8::try_from(dice.roll(256)).expect("below 256");
        [
            Strike::CutBefore,
            Strike::CutWithin(share),
            Strike::CutBehind,
        ]
        .map(Self::Cut)
    }

    /// What it does to the message itself.
    pub(crate) fn strike(self) -> Strike {
        match self {
            Self::Cut(strike) => strike,
            Self::Late(_) | Self::Abandoned | Self::Killed | Self::Expired => Strike::Hold,
        }
    }

    /// Whether the message itself still arrives, and the connection ends behind it.
    pub(crate) fn ends_behind(self) -> bool {
        matches!(self, Self::Cut(Strike::CutBehind) | Self::Killed)
    }

    /// Whether a connection is lost.
    pub(crate) fn loses_connection(self) -> bool {
        matches!(self, Self::Cut(_) | Self::Killed)
    }

    /// Runs `work` up to `trap` and beyond, with everything that happens there. There is no
    /// output if the work was abandoned. `limit`: the time of the scope.
    pub(crate) async fn befall<T>(
        self,
        trap: &Trap,
        limit: Duration,
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
            Self::Expired => {
                let mut work = pin!(work);
                let early = tokio::select! {
                    biased;
                    output = &mut work => Some(output),
                    () = trap.sprung() => None,
                };
                if let Some(output) = early {
                    // What comes only now, or never, is held up no more.
                    trap.release();
                    return Some(output);
                }
                let (output, ()) = tokio::join!(work, async {
                    // The scope was entered before the message came.
                    tokio::time::sleep(limit).await;
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
