//! Just enough reading of SQL to see which statement it starts with.

/// The words of a statement, lower-cased, comments and white space skipped.
pub(super) struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn of(sql: &'a str) -> Self {
        Self { rest: sql }
    }

    /// Whether the next word is one of `words`; consumes it.
    pub(super) fn next_is(&mut self, words: &[&str]) -> bool {
        is_one_of(self.next_word(), words)
    }

    pub(super) fn next_word(&mut self) -> &'a str {
        self.rest = after_blanks(self.rest);
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }
}

fn after_blanks(mut sql: &str) -> &str {
    loop {
        let trimmed = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '(');
        sql = match trimmed {
            comment if comment.starts_with("--") => after(comment, "\n"),
            comment if comment.starts_with('#') => after(comment, "\n"),
            comment if comment.starts_with("/*") && !comment.starts_with("/*!") => {
                after(comment, "*/")
            }
            other => return other,
        };
    }
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.find(end)
        .map_or("", |position| &text[position + end.len()..])
}

/// Whether `sql` starts by beginning or ending a transaction, in any dialect.
pub(super) fn controls_transaction(sql: &str) -> bool {
    // Nearly every statement is one of these four; they are told by their first letter.
    if let Some(b's' | b'i' | b'u' | b'd' | b'S' | b'I' | b'U' | b'D') = sql.as_bytes().first()
        && !sql.get(..3).is_some_and(|start| {
            start.eq_ignore_ascii_case("set") || start.eq_ignore_ascii_case("sta")
        })
    {
        return false;
    }
    let mut words = Words::of(sql);
    let first = words.next_word();
    if is_one_of(first, &["begin", "commit", "end", "abort", "xa"]) {
        true
    } else if is_one_of(first, &["start", "prepare"]) {
        words.next_is(&["transaction"])
    } else if is_one_of(first, &["set"]) {
        words.next_is(&["transaction", "autocommit"])
    } else {
        is_one_of(first, &["rollback"]) && !rolls_back_to_savepoint(&mut words)
    }
}

fn rolls_back_to_savepoint(after_rollback: &mut Words<'_>) -> bool {
    let mut word = after_rollback.next_word();
    if is_one_of(word, &["work", "transaction"]) {
        word = after_rollback.next_word();
    }
    is_one_of(word, &["to"])
}

pub(super) fn starts_with_any(sql: &str, words: &[&str]) -> bool {
    Words::of(sql).next_is(words)
}

pub(super) fn is_one_of(word: &str, known: &[&str]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::controls_transaction;

    #[test]
    fn tells_transaction_control_from_other_statements() {
        for sql in [
            "BEGIN",
            "begin immediate",
            "  commit;",
            "-- done\nCOMMIT",
            "/* now */ rollback",
            "ROLLBACK WORK",
            "end",
            "abort",
            "start transaction read only",
            "set transaction isolation level serializable",
            "SET autocommit = 0",
            "prepare transaction 'x'",
        ] {
            assert!(controls_transaction(sql), "{sql}");
        }
        for sql in [
            "select 1",
            "insert into t values (1)",
            "savepoint mine",
            "release savepoint mine",
            "rollback to savepoint mine",
            "ROLLBACK WORK TO mine",
            "set local lock_timeout = 1",
            "with x as (select 1) select * from x",
            "update begin set commit = 1",
            "",
        ] {
            assert!(!controls_transaction(sql), "{sql}");
        }
    }
}
