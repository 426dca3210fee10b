//! Reads what a client sends to MySQL or MariaDB.

use std::collections::HashMap;

use super::event::{PING, PREPARE};
use super::relay::{Message, Wire};

const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_PING: u8 = 0x0e;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;

/// A packet's length (3 bytes) and sequence number.
const HEADER: usize = 4;

/// As much of the answer to a prepare as tells the statement's id: header, status, id.
const PREPARED: usize = HEADER + 1 + 4;

/// The reader of one connection.
#[derive(Default)]
pub(super) struct Reader {
    pending: Vec<u8>,
    /// The SQL of each prepared statement, by its id.
    statements: HashMap<u32, String>,
    /// The SQL whose id the server is about to tell, and what it has said so far.
    preparing: Option<(String, Vec<u8>)>,
}

impl Reader {
    /// The length of the first packet in `pending`, once it is complete.
    fn complete(&self) -> Option<usize> {
        length(&self.pending).filter(|length| *length <= self.pending.len())
    }

    fn read(&mut self, bytes: Vec<u8>) -> Message {
        // Commands start a new sequence; what continues one belongs to the connection phase.
        let command = bytes.get(HEADER).copied().filter(|_| bytes[3] == 0);
        let body = bytes.get(HEADER + 1..).unwrap_or_default();
        let text = match command {
            Some(COM_QUERY) => Some(text(body)),
            Some(COM_STMT_PREPARE) => {
                let sql = text(body);
                let message = format!("{PREPARE}{sql}");
                self.preparing = Some((sql, Vec::new()));
                Some(message)
            }
            Some(COM_STMT_EXECUTE) => body
                .first_chunk()
                .and_then(|id| self.statements.get(&u32::from_le_bytes(*id)).cloned()),
            Some(COM_PING) => Some(PING.to_owned()),
            _ => None,
        };
        let farewell = command == Some(COM_QUIT);
        let answered = !farewell && command.is_some_and(|it| it != COM_STMT_CLOSE);
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

    fn take_from_server(&mut self, bytes: &[u8]) {
        let Some((_, answer)) = &mut self.preparing else {
            return;
        };
        answer.extend(bytes);
        if answer.len() < PREPARED {
            return;
        }
        let Some((sql, answer)) = self.preparing.take() else {
            return;
        };
        // Anything but 0 is a refusal.
        if let [0, id @ ..] = &answer[HEADER..PREPARED]
            && let Some(id) = id.first_chunk()
        {
            self.statements.insert(u32::from_le_bytes(*id), sql);
        }
    }

    fn length_from_server(&self, bytes: &[u8]) -> Option<usize> {
        length(bytes)
    }

    fn is_whole(&self, answer: &[u8]) -> bool {
        let mut rest = answer;
        let mut last = None;
        while let Some((header, body)) = rest.split_first_chunk::<HEADER>() {
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            let Some((packet, after)) = body.split_at_checked(length) else {
                return false;
            };
            (last, rest) = (Some(packet), after);
        }
        rest.is_empty() && last.is_some_and(is_last)
    }
}

/// Whether no further result follows this packet of an answer.
///
/// Only what is at the end of an answer is told right: a row may look like anything.
fn is_last(packet: &[u8]) -> bool {
    const MORE_RESULTS: u8 = 0x08;
    match packet {
        [0xff, ..] => true,
        // EOF: a count of warnings, then the status. OK: two numbers, here below 251 and so
        // of one byte, then the status.
        [0xfe, _, _, status, _] | [0x00, _, _, status, ..] => status & MORE_RESULTS == 0,
        _ => false,
    }
}

/// The length of a packet that begins like this.
fn length(bytes: &[u8]) -> Option<usize> {
    let [a, b, c, _] = *bytes.first_chunk::<HEADER>()?;
    Some(u32::from_le_bytes([a, b, c, 0]) as usize + HEADER)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
