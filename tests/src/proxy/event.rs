//! What a message does to a transaction, in the same words for every database.

/// What announces that a statement is only prepared.
pub(super) const PREPARE: &str = "PREPARE ";
/// A ping on MySQL.
pub(super) const PING: &str = "PING";
/// A ping on PostgreSQL.
pub(super) const SYNC: &str = "SYNC";

const ALL: [&str; 6] = [
    "BEGIN",
    "SAVEPOINT",
    "RELEASE",
    "ROLLBACK TO",
    "COMMIT",
    "ROLLBACK",
];

/// Whether the server executes something for this message.
pub(super) fn is_execution(message: &str) -> bool {
    !message.starts_with(PREPARE) && message != PING && message != SYNC
}

/// The event that `message` is, if it is one.
///
/// A message may hold several statements: one that begins a transaction is a BEGIN whatever
/// stands before, and one that ends in COMMIT is a COMMIT.
pub(super) fn of(message: &str) -> Option<&'static str> {
    if !is_execution(message) {
        return None;
    }
    let statements: Vec<String> = message
        .split(';')
        .map(|statement| statement.trim().to_ascii_uppercase())
        .filter(|statement| !statement.is_empty())
        .collect();
    let begins = |word: &str| statements.iter().any(|part| starts_with_word(part, word));
    if begins("BEGIN") || begins("START TRANSACTION") {
        return Some("BEGIN");
    }
    if begins("COMMIT") {
        return Some("COMMIT");
    }
    let first = statements.first()?;
    if starts_with_word(first, "ROLLBACK TO") {
        return Some("ROLLBACK TO");
    }
    ["SAVEPOINT", "RELEASE", "ROLLBACK"]
        .into_iter()
        .find(|word| starts_with_word(first, word))
}

/// Whether `pattern` means `message`.
pub(super) fn matches(pattern: &str, message: &str) -> bool {
    if ALL.contains(&pattern) {
        return of(message) == Some(pattern);
    }
    if message.starts_with(PREPARE) && !pattern.starts_with("PREPARE") {
        return false;
    }
    let pattern = pattern.to_ascii_lowercase();
    message.to_ascii_lowercase().contains(&pattern)
}

fn starts_with_word(statement: &str, word: &str) -> bool {
    statement
        .strip_prefix(word)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
}
