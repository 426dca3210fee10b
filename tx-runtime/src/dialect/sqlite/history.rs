//! How SQLite records changes: a trigger for each row.
//!
//! A file has one writer at a time, so one row of one table says who it is and what its revision
//! is (see [`super::revision`]); a change without it is refused. As revisions are numbered by
//! the only writer there is, their order is that of the changes.

use std::collections::HashMap;

use sqlx::{Row, SqliteConnection};

use crate::dialect::history::{
    Blueprint, Column, Damage, Place, REV, REVISIONS, REVSEQ, REVTYPE, Reader, Relation,
    RelationKind, Repair, Setting, Survey, TableName, Tool, ToolKind, UniqueIndex, Writer, joined,
    quoted,
};

/// There is none in fact.
const LIMIT: usize = 200;

const OPEN: &str = super::revision::TABLE;

fn name(name: &str) -> String {
    quoted(name, '"')
}

// ----- what there is --------------------------------------------------------------------

pub(super) async fn survey(
    connection: &mut SqliteConnection,
    wanted: &TableName,
) -> Result<Survey, sqlx::Error> {
    let place = Place {
        schema: wanted.schema.clone().unwrap_or_default(),
        table: wanted.table.clone(),
        home: String::new(),
    };
    let table = match wanted.schema.as_deref() {
        None | Some("main") => relation(connection, &place.table).await?,
        // A trigger sees the database that it is in, and no other.
        Some(_) => None,
    };
    let history = relation(connection, &place.history(LIMIT)).await?;
    let recursive: i64 = sqlx::query_scalar("PRAGMA recursive_triggers")
        .fetch_one(&mut *connection)
        .await?;
    let setting = (recursive == 0).then_some(Setting {
        name: "recursive_triggers",
        problem: "without it, what `INSERT OR REPLACE` removes is removed without a record",
        fix: "PRAGMA recursive_triggers = ON;\n",
        for_triggers: false,
    });
    let mut survey = Survey {
        place,
        table,
        history,
        tools: HashMap::new(),
        writers: Vec::new(),
        cascades: Vec::new(),
        settings: setting.into_iter().collect(),
    };
    let found: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT type, name, CASE type WHEN 'trigger' THEN sql ELSE '' END FROM sqlite_master \
         WHERE (type = 'table' AND name IN (?, ?)) OR (type = 'trigger' AND tbl_name = ? COLLATE NOCASE)",
    )
    .bind(REVISIONS)
    .bind(OPEN)
    .bind(&survey.place.table)
    .fetch_all(connection)
    .await?;
    for (kind, found, definition) in found {
        let kind = if kind == "table" {
            ToolKind::Table
        } else {
            ToolKind::Trigger
        };
        let history = survey.place.history(LIMIT).replace('"', "\"\"");
        if kind == ToolKind::Trigger && definition.contains(&history) {
            survey.writers.push(Writer {
                drop: format!("DROP TRIGGER {};\n", name(&found)),
                name: found.clone(),
            });
        }
        survey.found(kind.key(&found), &definition, true);
    }
    Ok(survey)
}

async fn relation(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<Option<Relation>, sqlx::Error> {
    let found: Option<(String, i64)> = sqlx::query_as(
        "SELECT CASE WHEN m.type = 'view' THEN 'view' WHEN m.sql LIKE 'CREATE VIRTUAL%' THEN 'other' ELSE 'table' END, \
           (SELECT strict FROM pragma_table_list(m.name) WHERE schema = 'main') \
         FROM sqlite_master m WHERE m.type IN ('table', 'view') AND m.name = ? COLLATE NOCASE",
    )
    .bind(table)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((kind, strict)) = found else {
        return Ok(None);
    };
    let rows =
        sqlx::query("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?) WHERE hidden <> 1")
            .bind(table)
            .fetch_all(&mut *connection)
            .await?;
    let mut columns = Vec::new();
    let mut key: Vec<(i64, String)> = Vec::new();
    for row in &rows {
        let (column, kind): (String, String) =
            (row.try_get_unchecked(0)?, row.try_get_unchecked(1)?);
        let (position, hidden): (i64, i64) = (row.try_get_unchecked(2)?, row.try_get_unchecked(3)?);
        if position > 0 {
            key.push((position, column.clone()));
        }
        columns.push(Column {
            name: column,
            // The history is no strict table, where this would be a number.
            kind: if strict == 1 && kind == "ANY" {
                String::new()
            } else {
                kind
            },
            filled: if hidden > 0 { "expression" } else { "" }.to_owned(),
            text: true,
        });
    }
    key.sort_unstable();
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT l.name, i.name FROM pragma_index_list(?) l, pragma_index_info(l.name) i \
         WHERE l.\"unique\" = 1 AND l.origin <> 'pk' AND i.name IS NOT NULL ORDER BY l.seq, i.seqno",
    )
    .bind(table)
    .fetch_all(connection)
    .await?;
    let mut unique: Vec<UniqueIndex> = Vec::new();
    for (index, column) in indexes {
        match unique.last_mut().filter(|last| last.name == index) {
            Some(last) => last.columns.push(column),
            None => unique.push(UniqueIndex {
                name: index,
                columns: vec![column],
                constraint: false,
            }),
        }
    }
    Ok(Some(Relation {
        kind: match kind.as_str() {
            "table" => RelationKind::Table,
            "view" => RelationKind::View,
            _ => RelationKind::Other,
        },
        columns,
        key: key.into_iter().map(|(_, column)| column).collect(),
        key_name: None,
        unique,
    }))
}

/// The tables that have a history, or the beginnings of one.
pub(super) async fn audited(
    connection: &mut SqliteConnection,
) -> Result<Vec<TableName>, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT t.name FROM sqlite_master t WHERE t.type = 'table' AND EXISTS (SELECT 1 FROM sqlite_master o WHERE \
           (o.type = 'table' AND o.name = t.name || '_history') \
           OR (o.type = 'trigger' AND o.tbl_name = t.name AND substr(o.name, -5) = '_tx_i')) ORDER BY 1",
    )
    .fetch_all(connection)
    .await?;
    let names = names.into_iter().map(|table| TableName {
        schema: None,
        table,
    });
    Ok(names.collect())
}

// ----- what there should be -------------------------------------------------------------

pub(super) fn blueprint(place: &Place, table: &Relation) -> Blueprint {
    let history = name(&place.history(LIMIT));
    let columns = columns(table);
    let create = format!(
        "{}{}",
        table_sql(place, table, &columns, &history),
        baseline(place, table, &history),
    );
    Blueprint {
        shared: shared(),
        create,
        drop: format!("DROP TABLE {history};\n"),
        name: history,
        columns,
        recorders: recorders(place, table),
    }
}

fn table_sql(place: &Place, table: &Relation, columns: &[Column], history: &str) -> String {
    let declared = joined(columns, ",\n  ", declaration);
    format!(
        "CREATE TABLE {history} (\n  {declared},\n  PRIMARY KEY ({}, {REV})\n);\n\
         CREATE INDEX {} ON {history} ({REV});\n",
        joined(&table.key, ", ", |key| name(key)),
        name(&place.tool("_tx_rev", LIMIT)),
    )
}

fn columns(table: &Relation) -> Vec<Column> {
    let copied = table.columns.iter().map(|column| Column {
        filled: String::new(),
        ..column.clone()
    });
    let own = [
        (REV, "INTEGER", ""),
        (REVTYPE, "INTEGER", ""),
        (REVSEQ, "INTEGER", "expression"),
    ];
    let own = own.map(|(name, kind, filled)| Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        filled: filled.to_owned(),
        text: false,
    });
    copied.chain(own).collect()
}

fn declaration(column: &Column) -> String {
    let more = match column.name.as_str() {
        REV => " NOT NULL",
        REVTYPE => " NOT NULL CHECK (revtype IN (0, 1, 2))",
        REVSEQ => " GENERATED ALWAYS AS (rev)",
        _ => "",
    };
    format!("{} {}{more}", name(&column.name), column.kind)
}

/// What is in the table already, as the insertions of one revision.
fn baseline(place: &Place, table: &Relation, history: &str) -> String {
    let audited = name(&place.table);
    let columns = joined(&table.columns, ", ", |column| name(&column.name));
    format!(
        "INSERT INTO {REVISIONS} (reason) SELECT 'what was there before' WHERE EXISTS (SELECT 1 FROM {audited});\n\
         INSERT INTO {history} ({columns}, {REV}, {REVTYPE}) SELECT {columns}, (SELECT max({REV}) FROM {REVISIONS}), 0 FROM {audited};\n"
    )
}

fn shared() -> Vec<Tool> {
    let table = |name: &str, create: String| Tool {
        kind: ToolKind::Table,
        name: name.to_owned(),
        key: ToolKind::Table.key(name),
        definition: String::new(),
        create,
        drop: format!("DROP TABLE {name};\n"),
        enable: String::new(),
    };
    vec![
        table(
            REVISIONS,
            format!(
                "CREATE TABLE {REVISIONS} (\n  \
                 rev INTEGER PRIMARY KEY AUTOINCREMENT,\n  \
                 at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),\n  \
                 actor TEXT,\n  \
                 reason TEXT\n);\n"
            ),
        ),
        table(
            OPEN,
            format!(
                "CREATE TABLE {OPEN} (\n  \
                 one INTEGER PRIMARY KEY CHECK (one = 1),\n  \
                 is_open INTEGER NOT NULL DEFAULT 0,\n  \
                 rev INTEGER,\n  \
                 actor TEXT,\n  \
                 reason TEXT\n);\n\
                 INSERT INTO {OPEN} (one) VALUES (1);\n"
            ),
        ),
    ]
}

fn recorders(place: &Place, table: &Relation) -> Vec<Tool> {
    let audited = name(&place.table);
    let differs = |columns: &mut dyn Iterator<Item = &String>, between: &str, is: &str| {
        joined(columns, between, |column| {
            format!(
                "OLD.{column} COLLATE BINARY {is} NEW.{column}",
                column = name(column)
            )
        })
    };
    let all: Vec<String> = table
        .columns
        .iter()
        .map(|column| column.name.clone())
        .collect();
    let moved = differs(&mut table.key.iter(), " OR ", "IS NOT");
    let kept = differs(&mut table.key.iter(), " AND ", "IS");
    let changed = differs(&mut all.iter(), " OR ", "IS NOT");
    let inserted = format!(
        "{}{}",
        update(place, table, "NEW", "1", " AND revtype = 2"),
        insert(place, table, "NEW", 0)
    );
    let updated = format!(
        "{}{}",
        update(place, table, "NEW", "revtype", ""),
        insert(place, table, "NEW", 1)
    );
    let deleted = format!(
        "{}{}{}",
        update(place, table, "OLD", "2", " AND revtype = 1"),
        insert(place, table, "OLD", 2),
        forget(place, table)
    );
    let events = [
        ("_tx_i", "INSERT", String::new(), inserted.clone()),
        (
            "_tx_u",
            "UPDATE",
            format!(" WHEN ({kept}) AND ({changed})"),
            updated,
        ),
        // An insertion finds what the deletion has left, and not the other way round.
        (
            "_tx_k",
            "UPDATE",
            format!(" WHEN {moved}"),
            format!("{deleted}{inserted}"),
        ),
        ("_tx_d", "DELETE", String::new(), deleted),
    ];
    let tools = events.map(|(suffix, event, when, body)| {
        let trigger = place.tool(suffix, LIMIT);
        let quoted = name(&trigger);
        let definition = format!(
            "CREATE TRIGGER {quoted} AFTER {event} ON {audited} FOR EACH ROW{when} BEGIN\n{}{body}END",
            open(place)
        );
        Tool {
            kind: ToolKind::Trigger,
            key: ToolKind::Trigger.key(&trigger),
            name: trigger,
            create: format!("{definition};\n"),
            definition,
            drop: format!("DROP TRIGGER {quoted};\n"),
            enable: String::new(),
        }
    });
    tools.into()
}

/// Finds or makes the transaction's revision.
fn open(place: &Place) -> String {
    let shown = place.table.replace('\'', "''");
    format!(
        "  SELECT RAISE(ABORT, 'tx_runtime: {shown} is audited: change it in a scope with history(actor = ..)')\n    \
         WHERE (SELECT is_open FROM {OPEN}) IS NOT 1;\n  \
         INSERT INTO {REVISIONS} (actor, reason) SELECT actor, reason FROM {OPEN} WHERE rev IS NULL;\n  \
         UPDATE {OPEN} SET rev = last_insert_rowid() WHERE rev IS NULL;\n"
    )
}

fn by_key(table: &Relation, row: &str) -> String {
    let key = joined(&table.key, " AND ", |key| {
        format!("{key} IS {row}.{key}", key = name(key))
    });
    format!("{key} AND rev = (SELECT rev FROM {OPEN})")
}

fn update(place: &Place, table: &Relation, row: &str, kind: &str, only: &str) -> String {
    let set = joined(&table.columns, ", ", |column| {
        format!("{column} = {row}.{column}", column = name(&column.name))
    });
    format!(
        "  UPDATE {} SET {set}, revtype = {kind} WHERE {}{only};\n",
        name(&place.history(LIMIT)),
        by_key(table, row)
    )
}

fn insert(place: &Place, table: &Relation, row: &str, kind: u8) -> String {
    let history = name(&place.history(LIMIT));
    let columns = joined(&table.columns, ", ", |column| name(&column.name));
    let values = joined(&table.columns, ", ", |column| {
        format!("{row}.{}", name(&column.name))
    });
    format!(
        "  INSERT INTO {history} ({columns}, rev, revtype) SELECT {values}, (SELECT rev FROM {OPEN}), {kind}\n    \
         WHERE NOT EXISTS (SELECT 1 FROM {history} WHERE {});\n",
        by_key(table, row)
    )
}

/// What was inserted and deleted in one transaction has never been.
fn forget(place: &Place, table: &Relation) -> String {
    format!(
        "  DELETE FROM {} WHERE {} AND revtype = 0;\n",
        name(&place.history(LIMIT)),
        by_key(table, "OLD")
    )
}

// ----- what mends -----------------------------------------------------------------------

/// A table of SQLite cannot be altered in most of these ways, so it is made anew around its rows.
/// It is not renamed: SQLite would rename it in the triggers as well.
pub(super) fn repair(repair: &Repair, _: &Damage) -> String {
    let history = &repair.blueprint.name;
    let old = name(&format!("{}_tx_old", repair.place.history(LIMIT)));
    let kept =
        repair.blueprint.columns.iter().filter(|column| {
            column.filled.is_empty() && repair.history.column(&column.name).is_some()
        });
    let kept: Vec<&Column> = kept.collect();
    let mut columns = joined(&kept, ", ", |column| name(&column.name));
    let mut values = columns.clone();
    for (own, value) in [(REV, "0"), (REVTYPE, "1")] {
        if repair.history.column(own).is_none() {
            columns = format!("{columns}, {own}");
            values = format!("{values}, {value}");
        }
    }
    let create = table_sql(
        repair.place,
        repair.table,
        &repair.blueprint.columns,
        history,
    );
    format!(
        "CREATE TABLE {old} AS SELECT * FROM {history};\n\
         DROP TABLE {history};\n\
         {create}\
         INSERT INTO {history} ({columns}) SELECT {values} FROM {old};\n\
         DROP TABLE {old};\n"
    )
}

// ----- reading --------------------------------------------------------------------------

pub(super) fn reader(place: &Place) -> Reader {
    Reader {
        history: name(&place.history(LIMIT)),
        revisions: REVISIONS.to_owned(),
        micros: |at| {
            format!("CAST(round((julianday({at}) - 2440587.5) * 86400000) AS INTEGER) * 1000")
        },
        integer: str::to_owned,
        quote: name,
        parameter: |_| "?".to_owned(),
    }
}
