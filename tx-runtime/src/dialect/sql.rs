//! Just enough reading of SQL to see which statement it starts with.

/// The bytes of `parts`, one behind the other, as hexadecimal digits.
pub(super) fn hex(parts: &[&str]) -> String {
    use std::fmt::Write as _;
    let mut digits = String::new();
    for byte in parts.iter().flat_map(|part| part.bytes()) {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

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
            comment if comment.starts_with("/*") => {
                executable(comment).unwrap_or_else(|| after(comment, "*/"))
            }
            other => return other,
        };
    }
}

/// What MariaDB and MySQL run of a comment: `/*! ..`, `/*M! ..`, maybe with a version.
fn executable(comment: &str) -> Option<&str> {
    let body = comment
        .strip_prefix("/*!")
        .or_else(|| comment.strip_prefix("/*M!"))?;
    Some(body.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.find(end)
        .map_or("", |position| &text[position + end.len()..])
}

/// Whether one of the statements in `sql` begins or ends a transaction.
pub(super) fn controls_transaction(sql: &str, backslashes: bool) -> bool {
    any_statement(sql, backslashes, starts_with_control)
}

/// Whether one of the statements in `sql` `is_one`.
///
/// `backslashes`: whether a backslash quotes the next character inside a string.
pub(super) fn any_statement(sql: &str, backslashes: bool, is_one: fn(&str) -> bool) -> bool {
    is_one(sql)
        || (has_several_statements(sql)
            // The body of a trigger or procedure has its own semicolons, BEGIN and END.
            && !Words::of(sql).next_is(&["create"])
            && Statements::of(sql, backslashes).any(is_one))
}

fn has_several_statements(sql: &str) -> bool {
    // Nearly no statement has one at all.
    sql.contains(';')
        && sql
            .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
            .contains(';')
}

/// What stands behind each semicolon that is not quoted or in a comment.
struct Statements<'a> {
    rest: &'a str,
    backslashes: bool,
}

impl<'a> Statements<'a> {
    fn of(sql: &'a str, backslashes: bool) -> Self {
        Self {
            rest: sql,
            backslashes,
        }
    }

    /// What follows the quoted text or comment that `rest` may start with.
    fn after_quoted(&self) -> &'a str {
        let rest = self.rest;
        match rest.as_bytes() {
            // PostgreSQL's strings in which a backslash quotes, whatever the others do.
            [b'e' | b'E', b'\'', ..] => after_string(&rest[1..], b'\'', true),
            [first, ..] if is_part_of_word(*first) => {
                rest.trim_start_matches(|c: char| c.is_ascii() && is_part_of_word(c as u8))
            }
            [quote @ (b'\'' | b'"' | b'`'), ..] => after_string(rest, *quote, self.backslashes),
            [b'-', b'-', ..] => after(rest, "\n"),
            [b'/', b'*', ..] => after(rest, "*/"),
            [b'$', ..] => after_dollar_quoted(rest),
            _ => rest.get(1..).unwrap_or_else(|| after_first_char(rest)),
        }
    }
}

/// What follows the string that `sql` starts with.
fn after_string(sql: &str, quote: u8, backslashes: bool) -> &str {
    let mut bytes = sql.bytes().enumerate().skip(1);
    while let Some((position, byte)) = bytes.next() {
        if byte == quote {
            return &sql[position + 1..];
        }
        if byte == b'\\' && backslashes {
            bytes.next();
        }
    }
    ""
}

fn is_part_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl<'a> Iterator for Statements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        while !self.rest.is_empty() {
            let at_end_of_statement = self.rest.starts_with(';');
            self.rest = self.after_quoted();
            if at_end_of_statement {
                return Some(self.rest);
            }
        }
        None
    }
}

fn after_first_char(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

/// PostgreSQL's `$tag$ .. $tag$`; any other `$` is a character like the rest.
fn after_dollar_quoted(sql: &str) -> &str {
    let tag_end = sql[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    match tag_end {
        Some(end) if sql[1 + end..].starts_with('$') => {
            let (tag, body) = sql.split_at(end + 2);
            after(body, tag)
        }
        _ => &sql[1..],
    }
}

fn starts_with_control(sql: &str) -> bool {
    // Nearly every statement is SELECT, INSERT, UPDATE or DELETE; their first letters tell.
    let is_plain = match sql.as_bytes() {
        [b's' | b'S', _, third, ..] => third.eq_ignore_ascii_case(&b'l'),
        [first, ..] => matches!(first.to_ascii_lowercase(), b'i' | b'u' | b'd'),
        [] => true,
    };
    if is_plain {
        return false;
    }
    let mut words = Words::of(sql);
    let first = words.next_word();
    if is_one_of(first, &["begin", "commit", "end", "abort", "xa"]) {
        true
    } else if is_one_of(first, &["start", "prepare"]) {
        words.next_is(&["transaction"])
    } else if is_one_of(first, &["set"]) {
        words.next_is(&["transaction"]) || sets_autocommit(sql)
    } else {
        is_one_of(first, &["rollback"]) && !rolls_back_to_savepoint(&mut words)
    }
}

/// MySQL's switch, by any of its spellings (`@@`, SESSION, one assignment of several).
fn sets_autocommit(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    let mut after = lower.split("autocommit").skip(1);
    after.any(|rest| rest.trim_start().starts_with(['=', ':']))
}

fn rolls_back_to_savepoint(after_rollback: &mut Words<'_>) -> bool {
    let mut word = after_rollback.next_word();
    if is_one_of(word, &["work", "transaction"]) {
        word = after_rollback.next_word();
    }
    is_one_of(word, &["to"])
}

pub(super) fn is_one_of(word: &str, known: &[&str]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::controls_transaction;

    #[test]
    fn finds_transaction_control_behind_semicolons() {
        for sql in [
            "insert into t values (1); commit",
            "insert into t values ('a;b'); commit; begin",
            "select 'it''s'; rollback",
            "select 1 /* ; */; end",
            "select $$;$$; commit",
            r"select E'\'' ; commit",
            r"select '\' ; commit",
            "select date'2020-01-01'; commit",
        ] {
            assert!(controls_transaction(sql, false), "{sql}");
        }
        assert!(controls_transaction(r"select '\'; x'; commit", true));
        for sql in [
            "select 1;",
            "select '; commit'",
            "select \"; commit\"",
            "select 1 -- ; commit\n; select 2",
            "select $x$; commit $x$; select 2",
            "insert into t values (1); insert into t values ('ä; commit')",
            r"insert into t values (E'it\'s; commit'); select 1",
            r"insert into t values (1, e'\\\'; commit')",
            "do $$ begin perform 1; end $$",
            "create trigger x after insert on t begin select 1; end",
            "set @note = 'no autocommit here'; select 1",
        ] {
            assert!(!controls_transaction(sql, false), "{sql}");
        }
        assert!(!controls_transaction(
            r"select '\'; commit'; select 1",
            true
        ));
    }

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
            "set session autocommit=0",
            "SET @@autocommit = 0",
            "set @x = 1, autocommit = 0",
            "prepare transaction 'x'",
            "/*! commit */",
            "/*!50000 commit */",
            "/*M!100300 rollback */",
            "/*M! set */ /* then */ autocommit = 0",
        ] {
            assert!(controls_transaction(sql, false), "{sql}");
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
            assert!(!controls_transaction(sql, false), "{sql}");
        }
    }
}
