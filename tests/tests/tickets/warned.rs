//! What this process has warned of, as its log would have it.
//!
//! The heart of tickets beats on a task of its own, which has the subscriber of the process.

use std::io;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Instant;

use tokio::time::sleep;

use crate::setup::{PATIENCE, POLL};

static TEXT: Mutex<String> = Mutex::new(String::new());

struct Text;

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has warnings collected from now on.
pub(crate) fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(|| Text)
            .init();
    });
}

/// The lines with all of `words`.
pub(crate) fn lines(words: &[&str]) -> Vec<String> {
    let text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let found = text
        .lines()
        .filter(|line| words.iter().all(|word| line.contains(word)));
    found.map(str::to_owned).collect()
}

/// Waits for a line with all of `words`.
pub(crate) async fn until_line(words: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    while lines(words).is_empty() {
        assert!(Instant::now() < deadline, "no line with {words:?}");
        sleep(POLL).await;
    }
}
