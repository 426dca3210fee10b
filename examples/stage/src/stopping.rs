//! How a program that would go on for ever is told to stop.

use std::io;

use tokio::signal::ctrl_c;

/// Waits for Ctrl-C, or what a service manager sends.
///
/// # Errors
///
/// If the system does not let us wait for that.
pub async fn told_to_stop() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    ctrl_c().await
}
