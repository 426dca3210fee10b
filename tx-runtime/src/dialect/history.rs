//! What a database tells about a table and its history, and what it should tell.
//!
//! A dialect reads the catalogue into a [`Survey`] and writes a [`Blueprint`] from it; comparing
//! the two is not its business.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

/// The columns of a history table beside those of its table: the revision's number, the kind of
/// change, and the order of the changes of one row.
pub(crate) const REV: &str = "rev";
pub(crate) const REVTYPE: &str = "revtype";
pub(crate) const REVSEQ: &str = "revseq";

/// The table of revisions.
pub(crate) const REVISIONS: &str = "tx_revision";

/// A table by the name that the catalogue shows.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    pub schema: Option<String>,
    pub table: String,
}

impl TableName {
    /// `table` or `schema.table`, either part between quotation marks or backticks where it
    /// contains a dot or such a mark. Letters are taken as they are.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = vec![String::new()];
        let mut rest = text.chars().peekable();
        let mut inside = None;
        while let Some(c) = rest.next() {
            let at_start = parts.last().is_some_and(String::is_empty);
            match inside {
                Some(mark) if c == mark && rest.peek() == Some(&mark) => {
                    rest.next();
                }
                Some(mark) if c == mark => {
                    inside = None;
                    continue;
                }
                None if c == '.' => {
                    parts.push(String::new());
                    continue;
                }
                None if at_start && matches!(c, '"' | '`') => {
                    inside = Some(c);
                    continue;
                }
                _ => {}
            }
            if let Some(part) = parts.last_mut() {
                part.push(c);
            }
        }
        let table = parts.pop().unwrap_or_default();
        Self {
            schema: (!parts.is_empty()).then(|| parts.join(".")),
            table,
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            None => f.write_str(&self.table),
            Some(schema) => write!(f, "{schema}.{}", self.table),
        }
    }
}

/// Where a table and what belongs to its history stand.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Place {
    /// The table's schema; empty where there are none.
    pub schema: String,
    pub table: String,
    /// The schema of what all audited tables share.
    pub home: String,
}

impl Place {
    /// `<table>_history`, within `limit` bytes.
    pub(crate) fn history(&self, limit: usize) -> String {
        derived(&self.table, "_history", limit)
    }

    /// The name of a trigger or function of the table.
    pub(crate) fn tool(&self, suffix: &str, limit: usize) -> String {
        derived(&self.table, suffix, limit)
    }
}

/// `name` and `suffix`; a name that is too long is cut, and told from others that begin alike by
/// a number made of all of it.
fn derived(name: &str, suffix: &str, limit: usize) -> String {
    if name.len() + suffix.len() <= limit {
        return format!("{name}{suffix}");
    }
    let mut number: u32 = 0x811c_9dc5;
    for byte in name.bytes() {
        number = (number ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let mark = format!("_{number:08x}");
    let mut end = limit - suffix.len() - mark.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{mark}{suffix}", &name[..end])
}

/// What is of the name that was asked for.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    View,
    /// A table whose rows lie in others, or are a part of another's.
    Partitioned,
    /// A table whose changes do not roll back.
    NotTransactional,
    /// Anything else, such as a virtual or foreign table.
    Other,
}

/// A table as it is.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Relation {
    pub kind: RelationKind,
    pub columns: Vec<Column>,
    /// The columns of its primary key, in the key's order.
    pub key: Vec<String>,
    /// The primary key's own name, where it has one.
    pub key_name: Option<String>,
    pub unique: Vec<UniqueIndex>,
}

impl Relation {
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(crate) fn is_key(&self, column: &str) -> bool {
        self.key.iter().any(|key| key == column)
    }
}

/// A column as it is, or should be.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Its type, as one declares it.
    pub kind: String,
    /// What the database fills it with by itself; nothing for most.
    pub filled: String,
    /// Whether it is compared byte by byte, since its own order takes different texts for one.
    pub text: bool,
}

/// A unique index that is not the primary key.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct UniqueIndex {
    pub name: String,
    pub columns: Vec<String>,
    /// Whether it is a constraint by name.
    pub constraint: bool,
}

/// A trigger, a function or a table that all histories share, as it is.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Found {
    pub definition: String,
    pub enabled: bool,
}

/// What the catalogue says about a table and its history.
#[doc(hidden)]
#[derive(Debug)]
pub struct Survey {
    pub place: Place,
    pub table: Option<Relation>,
    pub history: Option<Relation>,
    /// By [`Tool::key`].
    pub tools: HashMap<String, Found>,
    /// Triggers of the table that write into its history, ours among them.
    pub writers: Vec<Writer>,
    pub cascades: Vec<Cascade>,
    pub settings: Vec<Setting>,
}

impl Survey {
    pub(crate) fn found(&mut self, key: String, definition: &str, enabled: bool) {
        let definition = in_one_line(definition);
        let found = Found {
            definition,
            enabled,
        };
        self.tools.insert(key, found);
    }
}

/// A trigger that writes into a history.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Writer {
    pub name: String,
    pub drop: String,
}

/// A foreign key of the table whose actions change it without its triggers.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Cascade {
    pub constraint: String,
    pub rule: String,
    pub fix: String,
}

/// A setting with which changes go unrecorded, or triggers cannot be made.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub problem: &'static str,
    pub fix: &'static str,
    /// Whether it only keeps triggers from being made.
    pub for_triggers: bool,
}

/// What there should be.
#[doc(hidden)]
#[derive(Debug)]
pub struct Blueprint {
    /// What all audited tables share, in the order in which it is made.
    pub shared: Vec<Tool>,
    /// The history table: its name in SQL, what makes it, and what removes it.
    pub name: String,
    pub create: String,
    pub drop: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// What records changes.
    pub recorders: Vec<Tool>,
}

/// A trigger, a function or a table that all histories share, as it should be.
#[doc(hidden)]
#[derive(Debug)]
pub struct Tool {
    pub kind: ToolKind,
    pub name: String,
    /// What it is found by.
    pub key: String,
    /// As the catalogue would show it, but for white space.
    pub definition: String,
    pub create: String,
    pub drop: String,
    /// What switches it on again; empty where nothing can switch it off.
    pub enable: String,
}

#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolKind {
    Table,
    Function,
    Trigger,
}

impl Tool {
    pub(crate) fn is_as(&self, found: &Found) -> bool {
        in_one_line(&self.definition) == found.definition
    }
}

impl ToolKind {
    pub(crate) fn key(self, name: &str) -> String {
        let kind = match self {
            Self::Table => "table",
            Self::Function => "function",
            Self::Trigger => "trigger",
        };
        format!("{kind} {name}")
    }
}

/// What may be wrong with a history table.
#[doc(hidden)]
#[derive(Debug)]
pub enum Damage<'a> {
    ColumnMissing(&'a Column),
    ColumnDiffers(&'a Column),
    Key,
    Unique(&'a UniqueIndex),
}

/// All that mends a history table.
#[doc(hidden)]
#[derive(Debug)]
pub struct Repair<'a> {
    pub place: &'a Place,
    pub blueprint: &'a Blueprint,
    pub table: &'a Relation,
    pub history: &'a Relation,
}

/// The words in which a history is asked for.
#[doc(hidden)]
#[derive(Debug)]
pub struct Reader {
    /// The history table and the table of revisions, in SQL.
    pub history: String,
    pub revisions: String,
    /// A point in time as microseconds since 1970, in UTC.
    pub micros: fn(&str) -> String,
    /// A small number as a 64-bit one.
    pub integer: fn(&str) -> String,
    pub quote: fn(&str) -> String,
    /// The parameter at a position, counted from 1.
    pub parameter: fn(usize) -> String,
}

/// `text` with single spaces between its words: tools may change line ends and indentation.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `one` and `two` and `three`, of SQL that `each` writes.
pub(crate) fn joined<T>(
    items: impl IntoIterator<Item = T>,
    between: &str,
    mut each: impl FnMut(T) -> String,
) -> String {
    let mut sql = String::new();
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            sql.push_str(between);
        }
        let _ = write!(sql, "{}", each(item));
    }
    sql
}

/// `name` between quotation marks, those inside it doubled.
pub(crate) fn quoted(name: &str, mark: char) -> String {
    let doubled = name.replace(mark, &format!("{mark}{mark}"));
    format!("{mark}{doubled}{mark}")
}

#[cfg(test)]
mod tests {
    use super::{TableName, derived};

    #[test]
    fn names_are_read_as_they_are_written() {
        let parsed = |text| {
            let TableName { schema, table } = TableName::parse(text);
            (schema, table)
        };
        let own = |schema: Option<&str>, table: &str| (schema.map(str::to_owned), table.to_owned());
        assert_eq!(parsed("applicant"), own(None, "applicant"));
        assert_eq!(parsed("Odd name"), own(None, "Odd name"));
        assert_eq!(parsed("school.applicant"), own(Some("school"), "applicant"));
        assert_eq!(parsed(r#""a.b"."c""d""#), own(Some("a.b"), r#"c"d"#));
        assert_eq!(parsed("`a.b`"), own(None, "a.b"));
    }

    #[test]
    fn long_names_stay_apart_and_within_the_limit() {
        assert_eq!(derived("applicant", "_history", 63), "applicant_history");
        let long = "x".repeat(60);
        let (one, other) = (format!("{long}one"), format!("{long}two"));
        for suffix in ["_history", "_tx_i", "_tx_u"] {
            let (one, other) = (derived(&one, suffix, 63), derived(&other, suffix, 63));
            assert_ne!(one, other);
            assert!(one.len() <= 63 && one.ends_with(suffix), "{one}");
        }
        let wide = "é".repeat(40);
        assert!(derived(&wide, "_history", 63).len() <= 63);
    }
}
