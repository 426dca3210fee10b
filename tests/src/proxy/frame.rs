//! The single messages of a protocol, and what may befall one of them.

use super::trap::Moment;

/// Who sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connected.
    Client,
    /// The one that answers.
    Server,
}

/// One message that came to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Who sent it.
    pub side: Side,
    /// The word of [`Proxy::events`](crate::Proxy::events) that it is, if it is one.
    pub event: Option<&'static str>,
}

/// What befalls one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The connection is cut instead of passing it on.
    CutBefore,
    /// The connection is cut when this many 256ths of it have passed.
    CutWithin(u8),
    /// The connection is cut when it has passed, and nothing behind it.
    CutBehind,
    /// It is kept until [`Trap::release`](crate::Trap::release).
    Hold,
}

impl Strike {
    pub(super) fn moment(self) -> Moment {
        match self {
            Self::CutBefore => Moment::CutBefore,
            Self::CutWithin(share) => Moment::CutWithin(share),
            Self::CutBehind => Moment::CutBehind,
            Self::Hold => Moment::HoldBefore,
        }
    }
}
