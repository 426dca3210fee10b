//! Reads what a client sends to PostgreSQL.

use std::collections::HashMap;

use super::event::{PREPARE, SYNC};
use super::relay::{Message, Wire};

/// The reader of one connection.
#[derive(Default)]
pub(super) struct Reader {
    pending: Vec<u8>,
    started: bool,
    /// The SQL of each prepared statement, by its name.
    statements: HashMap<Vec<u8>, String>,
    /// Whether anything came since the last Sync, which is a ping otherwise.
    extended: bool,
}

impl Reader {
    /// The length of the first message in `pending`, once it is complete.
    fn complete(&self) -> Option<usize> {
        // The start-up message is the only one without a type in front.
        let prefix = usize::from(self.started);
        let length = self.pending.get(prefix..prefix + 4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize + prefix;
        (self.pending.len() >= length).then_some(length)
    }

    fn read(&mut self, bytes: Vec<u8>) -> Message {
        if !self.started {
            // An SSL or GSS request (length 8) is followed by another start-up message.
            self.started = bytes.len() != 8;
            return Message {
                bytes,
                text: None,
                answered: false,
                farewell: false,
            };
        }
        let body = &bytes[5..];
        let text = match bytes[0] {
            b'Q' => Some(text(body)),
            b'P' => {
                let (name, rest) = split_at_nul(body);
                let sql = text(rest);
                self.statements.insert(name.to_vec(), sql.clone());
                Some(format!("{PREPARE}{sql}"))
            }
            b'B' => {
                let (_portal, rest) = split_at_nul(body);
                let (name, _) = split_at_nul(rest);
                self.statements.get(name).cloned()
            }
            b'S' if !self.extended => Some(SYNC.to_owned()),
            _ => None,
        };
        self.extended = matches!(bytes[0], b'P' | b'B' | b'D' | b'E' | b'C' | b'H');
        let farewell = bytes[0] == b'X';
        // Passwords belong to the connection phase, and nobody answers a farewell.
        let answered = !farewell && bytes[0] != b'p';
        Message {
            bytes,
            text,
            answered,
            farewell,
        }
    }
}

impl Wire for Reader {
    fn take_from_client(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.pending.extend(bytes);
        let mut messages = Vec::new();
        while let Some(length) = self.complete() {
            let rest = self.pending.split_off(length);
            let bytes = std::mem::replace(&mut self.pending, rest);
            messages.push(self.read(bytes));
        }
        messages
    }

    fn take_from_server(&mut self, _: &[u8]) {}

    fn length_from_server(&self, bytes: &[u8]) -> Option<usize> {
        let length = bytes.get(1..5)?.try_into().ok()?;
        Some(u32::from_be_bytes(length) as usize + 1)
    }

    fn is_whole(&self, answer: &[u8]) -> bool {
        // ReadyForQuery, with the state of the transaction.
        matches!(answer, [.., b'Z', 0, 0, 0, 5, _])
    }
}

fn text(bytes: &[u8]) -> String {
    let (text, _) = split_at_nul(bytes);
    String::from_utf8_lossy(text).trim().to_owned()
}

fn split_at_nul(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}
