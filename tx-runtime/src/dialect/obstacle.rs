//! What stands between a program and its database.

use std::fmt;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use std::io::ErrorKind;

/// Why no connection to a database could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The URL cannot be read.
    Url,
    /// The host's name leads to no address.
    UnknownHost,
    /// No network leads to the host.
    NoRoute,
    /// Nobody listens at the host's port, or there is no such socket.
    Refused,
    /// No answer came in time.
    Silent,
    /// The server is starting, or shutting down.
    NotReady,
    /// The server has as many connections as it takes.
    Full,
    /// The user does not exist, gave another password than his, or has no right to connect.
    Denied,
    /// The server has no such database.
    NoDatabase,
    /// There is no file at the path (SQLite).
    NoFile,
    /// What is at the path cannot be opened (SQLite).
    Unopenable,
    /// Connections can be made, but the pool made none that it could use.
    PoolItself,
    /// Something else, which the driver's error tells.
    Other,
}

impl Obstacle {
    /// Whether it may go away by itself.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::NoRoute
                | Self::Refused
                | Self::Silent
                | Self::NotReady
                | Self::Full
                | Self::PoolItself
        )
    }

    /// What the network, rather than the database, has said.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(crate) fn of_network(error: &sqlx::Error) -> Self {
        let sqlx::Error::Io(error) = error else {
            return Self::Other;
        };
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Self::Refused,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Self::NoRoute,
            ErrorKind::TimedOut => Self::Silent,
            // The standard library has no kind for it.
            _ if error.to_string().contains("failed to lookup address") => Self::UnknownHost,
            _ => Self::Other,
        }
    }

    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Url => "correct it",
            Self::UnknownHost => "correct the host in the URL",
            Self::NoRoute => "correct the host in the URL, or the network",
            Self::Refused => "start the server, or correct the host and the port in the URL",
            Self::Silent => {
                "see whether a firewall is in between, and whether it is that database which \
                 listens there"
            }
            Self::NotReady => "try again when it has started",
            Self::Full => "let it take more of them, or give pools a smaller `max_connections`",
            Self::Denied => {
                "correct the user and the password in the URL, or let the user in on the server"
            }
            Self::NoDatabase => "create it, or correct its name in the URL",
            Self::NoFile => {
                "correct the path, or have the file created (`create_if_missing`, in the URL \
                 `?mode=rwc`) in a directory that exists"
            }
            Self::Unopenable => "see that it is a file that this program may read and write",
            Self::PoolItself => {
                "see what `after_connect` of the pool does, or give it a longer `acquire_timeout`"
            }
            Self::Other => "see what the driver says",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Url => "the URL cannot be read",
            Self::UnknownHost => "the name of the host leads to no address",
            Self::NoRoute => "no network leads there",
            Self::Refused => "nobody listens there",
            Self::Silent => "no answer came from there",
            Self::NotReady => "the server is starting or shutting down",
            Self::Full => "the server takes no more connections",
            Self::Denied => "the server does not let the user in",
            Self::NoDatabase => "the server has no such database",
            Self::NoFile => "there is no such file",
            Self::Unopenable => "what is there cannot be opened",
            Self::PoolItself => "no connection of the pool was ready in time",
            Self::Other => "no connection could be made",
        })
    }
}
