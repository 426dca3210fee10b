//! How MySQL and MariaDB record changes: a trigger for each row.
//!
//! The server has no number for the running transaction, so who is to make changes is told by
//! variables of the session (see [`super::revision`]); without them a change is refused. The
//! triggers look first and then write what they have found to be needed: an `UPDATE` that finds
//! nothing would take gap locks and have all audited transactions wait for each other, and `ON
//! DUPLICATE KEY UPDATE` would overwrite history where the primary key is wrong.

use std::collections::HashMap;
use std::fmt::Write as _;

use sqlx::{MySqlConnection, Row};

use crate::dialect::history::{
    Blueprint, Cascade, Column, Damage, Place, REV, REVISIONS, REVSEQ, REVTYPE, Reader, Relation,
    RelationKind, Repair, Setting, Survey, TableName, Tool, ToolKind, UniqueIndex, Writer, joined,
    quoted,
};

/// Characters of an identifier, which are bytes at the least.
const LIMIT: usize = 64;

fn name(name: &str) -> String {
    quoted(name, '`')
}

fn within(schema: &str, object: &str) -> String {
    format!("{}.{}", name(schema), name(object))
}

// ----- what there is --------------------------------------------------------------------

pub(super) async fn survey(
    connection: &mut MySqlConnection,
    wanted: &TableName,
) -> Result<Survey, sqlx::Error> {
    let home: Option<String> = sqlx::query("SELECT CAST(DATABASE() AS CHAR)")
        .fetch_one(&mut *connection)
        .await?
        .try_get_unchecked(0)?;
    let schema = wanted.schema.clone().or_else(|| home.clone());
    let place = Place {
        schema: schema.clone().unwrap_or_default(),
        table: wanted.table.clone(),
        home: home.or(schema).unwrap_or_default(),
    };
    let table = relation(connection, &place.schema, &place.table).await?;
    let history = relation(connection, &place.schema, &place.history(LIMIT)).await?;
    let shared = relation(connection, &place.home, REVISIONS).await?;
    let cascades = cascades(connection, &place).await?;
    let settings = settings(connection).await?;
    let mut survey = Survey {
        place,
        table,
        history,
        tools: HashMap::new(),
        writers: Vec::new(),
        cascades,
        settings,
    };
    if shared.is_some() {
        survey.found(ToolKind::Table.key(REVISIONS), "", true);
    }
    let triggers = sqlx::query(
        "SELECT CAST(TRIGGER_NAME AS CHAR), CAST(CONCAT(ACTION_TIMING, ' ', EVENT_MANIPULATION, ' ', ACTION_STATEMENT) AS CHAR) \
         FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ?",
    )
    .bind(&survey.place.schema)
    .bind(&survey.place.table)
    .fetch_all(connection)
    .await?;
    for row in triggers {
        let (trigger, definition): (String, String) =
            (row.try_get_unchecked(0)?, row.try_get_unchecked(1)?);
        let history = survey.place.history(LIMIT).replace('`', "``");
        if definition.contains(&history) {
            survey.writers.push(Writer {
                drop: format!("DROP TRIGGER {};\n", within(&survey.place.schema, &trigger)),
                name: trigger.clone(),
            });
        }
        survey.found(ToolKind::Trigger.key(&trigger), &definition, true);
    }
    Ok(survey)
}

async fn relation(
    connection: &mut MySqlConnection,
    schema: &str,
    table: &str,
) -> Result<Option<Relation>, sqlx::Error> {
    let found = sqlx::query(
        "SELECT CAST(CASE WHEN t.TABLE_TYPE LIKE '%VIEW%' THEN 'view' WHEN t.TABLE_TYPE = 'SEQUENCE' THEN 'other' \
         WHEN e.TRANSACTIONS = 'YES' THEN 'table' ELSE 'engine' END AS CHAR) \
         FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE \
         WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?",
    )
    .bind(schema)
    .bind(table)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(found) = found else {
        return Ok(None);
    };
    let kind: String = found.try_get_unchecked(0)?;
    let columns = sqlx::query(
        "SELECT CAST(COLUMN_NAME AS CHAR), \
           CAST(CONCAT(COLUMN_TYPE, IF(COLLATION_NAME IS NULL, '', CONCAT(' CHARACTER SET ', CHARACTER_SET_NAME, ' COLLATE ', COLLATION_NAME))) AS CHAR), \
           CAST(CASE WHEN EXTRA LIKE '%auto_increment%' THEN 'auto_increment' WHEN EXTRA LIKE '%GENERATED%' AND EXTRA NOT LIKE '%DEFAULT_GENERATED%' THEN 'expression' \
             WHEN EXTRA LIKE '%on update%' THEN 'on update' ELSE '' END AS CHAR), \
           CAST(IF(COLLATION_NAME IS NULL, 'plain', 'text') AS CHAR) \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(&mut *connection)
    .await?;
    let columns = columns.iter().map(|row| {
        let compared: String = row.try_get_unchecked(3)?;
        let (name, kind): (String, String) = (row.try_get_unchecked(0)?, row.try_get_unchecked(1)?);
        Ok(Column {
            kind: without_width(&name, kind),
            name,
            filled: row.try_get_unchecked(2)?,
            text: compared == "text",
        })
    });
    let columns = columns.collect::<Result<_, sqlx::Error>>()?;
    let indexed = sqlx::query(
        "SELECT CAST(INDEX_NAME AS CHAR), CAST(COLUMN_NAME AS CHAR) FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 AND COLUMN_NAME IS NOT NULL ORDER BY INDEX_NAME, SEQ_IN_INDEX",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(connection)
    .await?;
    let mut found = Relation {
        kind: match kind.as_str() {
            "table" => RelationKind::Table,
            "view" => RelationKind::View,
            "engine" => RelationKind::NotTransactional,
            _ => RelationKind::Other,
        },
        columns,
        key: Vec::new(),
        key_name: None,
        unique: Vec::new(),
    };
    for row in indexed {
        let (index, column): (String, String) =
            (row.try_get_unchecked(0)?, row.try_get_unchecked(1)?);
        if index == "PRIMARY" {
            found.key.push(column);
            found.key_name = Some(index);
        } else if let Some(last) = found.unique.last_mut()
            && last.name == index
        {
            last.columns.push(column);
        } else {
            found.unique.push(UniqueIndex {
                name: index,
                columns: vec![column],
                constraint: false,
            });
        }
    }
    Ok(Some(found))
}

/// Of our own columns, the type without what MariaDB shows and MySQL does not.
fn without_width(column: &str, kind: String) -> String {
    match kind.split_once('(') {
        Some((kind, _)) if [REV, REVTYPE, REVSEQ].contains(&column) => kind.to_owned(),
        _ => kind,
    }
}

/// A foreign key, its target in SQL.
struct ForeignKey {
    constraint: String,
    rule: String,
    target: String,
    columns: Vec<String>,
    targets: Vec<String>,
}

/// The foreign keys of the table whose actions fire no triggers.
async fn cascades(
    connection: &mut MySqlConnection,
    place: &Place,
) -> Result<Vec<Cascade>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT CAST(r.CONSTRAINT_NAME AS CHAR), CAST(CONCAT('ON DELETE ', r.DELETE_RULE, ' ON UPDATE ', r.UPDATE_RULE) AS CHAR), \
           CAST(k.COLUMN_NAME AS CHAR), CAST(k.REFERENCED_TABLE_SCHEMA AS CHAR), CAST(k.REFERENCED_TABLE_NAME AS CHAR), CAST(k.REFERENCED_COLUMN_NAME AS CHAR) \
         FROM information_schema.REFERENTIAL_CONSTRAINTS r JOIN information_schema.KEY_COLUMN_USAGE k \
           ON k.CONSTRAINT_SCHEMA = r.CONSTRAINT_SCHEMA AND k.CONSTRAINT_NAME = r.CONSTRAINT_NAME AND k.TABLE_NAME = r.TABLE_NAME \
         WHERE r.CONSTRAINT_SCHEMA = ? AND r.TABLE_NAME = ? \
           AND (r.DELETE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT') OR r.UPDATE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT')) \
         ORDER BY r.CONSTRAINT_NAME, k.ORDINAL_POSITION",
    )
    .bind(&place.schema)
    .bind(&place.table)
    .fetch_all(connection)
    .await?;
    let mut keys: Vec<ForeignKey> = Vec::new();
    for row in rows {
        let text = |at: usize| row.try_get_unchecked::<String, _>(at);
        let constraint = text(0)?;
        if keys.last().is_none_or(|last| last.constraint != constraint) {
            keys.push(ForeignKey {
                constraint,
                rule: text(1)?,
                target: within(&text(3)?, &text(4)?),
                columns: Vec::new(),
                targets: Vec::new(),
            });
        }
        if let Some(last) = keys.last_mut() {
            last.columns.push(text(2)?);
            last.targets.push(text(5)?);
        }
    }
    let audited = within(&place.schema, &place.table);
    let cascades = keys.into_iter().map(|key| Cascade {
        fix: format!(
            "ALTER TABLE {audited} DROP FOREIGN KEY {quoted};\n\
             ALTER TABLE {audited} ADD CONSTRAINT {quoted} FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE RESTRICT ON UPDATE RESTRICT;\n",
            joined(&key.columns, ", ", |column| name(column)),
            key.target,
            joined(&key.targets, ", ", |column| name(column)),
            quoted = name(&key.constraint),
        ),
        constraint: key.constraint,
        rule: key.rule,
    });
    Ok(cascades.collect())
}

async fn settings(connection: &mut MySqlConnection) -> Result<Vec<Setting>, sqlx::Error> {
    let distrusted = sqlx::query(
        "SELECT 1 FROM DUAL WHERE @@log_bin = 1 AND @@log_bin_trust_function_creators = 0 AND NOT EXISTS ( \
           SELECT 1 FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'SUPER' \
             AND REPLACE(GRANTEE, '''', '') = CURRENT_USER())",
    );
    let distrusted = distrusted.fetch_optional(connection).await?;
    let setting = distrusted.map(|_| Setting {
        name: "log_bin_trust_function_creators",
        problem: "the server writes a binary log and lets nobody make triggers who has not the right SUPER",
        fix: "SET GLOBAL log_bin_trust_function_creators = 1;\n",
        for_triggers: true,
    });
    Ok(setting.into_iter().collect())
}

/// The tables that have a history, or the beginnings of one.
pub(super) async fn audited(
    connection: &mut MySqlConnection,
) -> Result<Vec<TableName>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT CAST(t.TABLE_NAME AS CHAR) FROM information_schema.TABLES t WHERE t.TABLE_SCHEMA = DATABASE() AND ( \
           EXISTS (SELECT 1 FROM information_schema.TABLES h WHERE h.TABLE_SCHEMA = t.TABLE_SCHEMA AND h.TABLE_NAME = CONCAT(t.TABLE_NAME, '_history')) \
           OR EXISTS (SELECT 1 FROM information_schema.TRIGGERS g WHERE g.EVENT_OBJECT_SCHEMA = t.TABLE_SCHEMA \
             AND g.EVENT_OBJECT_TABLE = t.TABLE_NAME AND RIGHT(g.TRIGGER_NAME, 5) = '_tx_i')) ORDER BY 1",
    )
    .fetch_all(connection)
    .await?;
    let names = rows.iter().map(|row| {
        let table = row.try_get_unchecked(0)?;
        Ok(TableName {
            schema: None,
            table,
        })
    });
    names.collect()
}

// ----- what there should be -------------------------------------------------------------

pub(super) fn blueprint(place: &Place, table: &Relation) -> Blueprint {
    let history = within(&place.schema, &place.history(LIMIT));
    let columns = columns(table);
    let declared = joined(&columns, ",\n  ", |column| declaration(table, column));
    let create = format!(
        "CREATE TABLE {history} (\n  {declared},\n  PRIMARY KEY ({}),\n  KEY ({REVSEQ}),\n  KEY ({REV})\n) ENGINE = InnoDB;\n{}",
        key(table),
        baseline(place, table, &history),
    );
    Blueprint {
        shared: vec![revisions(place)],
        create,
        drop: format!("DROP TABLE {history};\n"),
        name: history,
        columns,
        recorders: recorders(place, table),
    }
}

fn columns(table: &Relation) -> Vec<Column> {
    let copied = table.columns.iter().map(|column| Column {
        filled: String::new(),
        ..column.clone()
    });
    let own = [
        (REV, "bigint", ""),
        (REVTYPE, "tinyint", ""),
        (REVSEQ, "bigint", "auto_increment"),
    ];
    let own = own.map(|(name, kind, filled)| Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        filled: filled.to_owned(),
        text: false,
    });
    copied.chain(own).collect()
}

fn declaration(table: &Relation, column: &Column) -> String {
    let more = match column.name.as_str() {
        REVTYPE => " NOT NULL CHECK (revtype IN (0, 1, 2))",
        REVSEQ => " NOT NULL AUTO_INCREMENT",
        REV => " NOT NULL",
        other if table.is_key(other) => " NOT NULL",
        // Without it, old servers have their own ideas about timestamps.
        _ => " NULL",
    };
    format!("{} {}{more}", name(&column.name), column.kind)
}

fn key(table: &Relation) -> String {
    format!("{}, {REV}", joined(&table.key, ", ", |key| name(key)))
}

/// What is in the table already, as the insertions of one revision.
fn baseline(place: &Place, table: &Relation, history: &str) -> String {
    let audited = within(&place.schema, &place.table);
    let revisions = within(&place.home, REVISIONS);
    let columns = joined(&table.columns, ", ", |column| name(&column.name));
    format!(
        "INSERT INTO {revisions} (at, reason) SELECT UTC_TIMESTAMP(6), 'what was there before' FROM DUAL WHERE EXISTS (SELECT 1 FROM {audited});\n\
         INSERT INTO {history} ({columns}, {REV}, {REVTYPE}) SELECT {columns}, (SELECT MAX({REV}) FROM {revisions}), 0 FROM {audited};\n"
    )
}

fn revisions(place: &Place) -> Tool {
    let revisions = within(&place.home, REVISIONS);
    Tool {
        kind: ToolKind::Table,
        name: REVISIONS.to_owned(),
        key: ToolKind::Table.key(REVISIONS),
        definition: String::new(),
        create: format!(
            "CREATE TABLE {revisions} (\n  \
             rev bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,\n  \
             at datetime(6) NOT NULL COMMENT 'UTC',\n  \
             actor mediumtext CHARACTER SET utf8mb4,\n  \
             reason mediumtext CHARACTER SET utf8mb4\n\
             ) ENGINE = InnoDB;\n"
        ),
        drop: format!("DROP TABLE {revisions};\n"),
        enable: String::new(),
    }
}

fn recorders(place: &Place, table: &Relation) -> Vec<Tool> {
    let audited = within(&place.schema, &place.table);
    let events = [
        ("_tx_i", "INSERT", on_insert(place, table)),
        ("_tx_u", "UPDATE", on_update(place, table)),
        ("_tx_d", "DELETE", on_delete(place, table)),
    ];
    let tools = events.map(|(suffix, event, body)| {
        let trigger = place.tool(suffix, LIMIT);
        let qualified = within(&place.schema, &trigger);
        Tool {
            kind: ToolKind::Trigger,
            key: ToolKind::Trigger.key(&trigger),
            name: trigger,
            definition: format!("AFTER {event} {body}"),
            create: format!(
                "CREATE TRIGGER {qualified} AFTER {event} ON {audited} FOR EACH ROW {body};\n"
            ),
            drop: format!("DROP TRIGGER {qualified};\n"),
            enable: String::new(),
        }
    });
    tools.into()
}

fn on_insert(place: &Place, table: &Relation) -> String {
    format!(
        "BEGIN\n{DECLARED}{}{}END",
        open(place),
        record_insert(place, table)
    )
}

fn on_delete(place: &Place, table: &Relation) -> String {
    format!(
        "BEGIN\n{DECLARED}{}{}END",
        open(place),
        record_delete(place, table)
    )
}

fn on_update(place: &Place, table: &Relation) -> String {
    let kept = same(
        table
            .columns
            .iter()
            .filter(|column| table.is_key(&column.name)),
    );
    let (history, by_key) = (
        within(&place.schema, &place.history(LIMIT)),
        by_key(table, "NEW"),
    );
    format!(
        "BEGIN\n{DECLARED}  IF {changed} THEN\n{open}    IF {kept} THEN\n\
         SELECT revtype INTO tx_t FROM {history} WHERE {by_key};\n\
         IF tx_t IS NULL THEN {insert} ELSE {update} END IF;\n\
         ELSE\n{gone}SET tx_t = NULL;\n{come}END IF;\nEND IF;\nEND",
        changed = changed(place, table),
        open = open(place),
        insert = insert(place, table, "NEW", 1),
        update = update(place, table, "NEW", None),
        gone = record_delete(place, table),
        come = record_insert(place, table),
    )
}

/// Whether the row is another one than before.
///
/// Where an update changes nothing, a column that is set `ON UPDATE` is shown as if it were set,
/// and is not. So if there is no other difference, the table itself is asked.
fn changed(place: &Place, table: &Relation) -> String {
    let is_set = |column: &&Column| column.filled == "on update";
    let others = same(table.columns.iter().filter(|column| !is_set(column)));
    let set = table.columns.iter().filter(is_set);
    if set.clone().next().is_none() {
        return format!("NOT ({others})");
    }
    let stored = joined(set.clone(), " AND ", |column| {
        format!("s.{column} <=> OLD.{column}", column = name(&column.name))
    });
    let key = joined(&table.key, " AND ", |key| {
        format!("s.{key} = NEW.{key}", key = name(key))
    });
    format!(
        "NOT ({others}) OR (NOT ({}) AND EXISTS (SELECT 1 FROM {} s WHERE {key} AND NOT ({stored})))",
        same(set),
        within(&place.schema, &place.table),
    )
}

/// Whether some columns are as they were.
fn same<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    joined(columns, " AND ", |column| {
        let quoted = name(&column.name);
        if column.text {
            format!("CAST(OLD.{quoted} AS BINARY) <=> CAST(NEW.{quoted} AS BINARY)")
        } else {
            format!("OLD.{quoted} <=> NEW.{quoted}")
        }
    })
}

const DECLARED: &str =
    "  DECLARE tx_r BIGINT DEFAULT NULL;\n  DECLARE tx_t TINYINT DEFAULT NULL;\n";

/// Finds or makes the transaction's revision, `tx_r`.
fn open(place: &Place) -> String {
    let revisions = within(&place.home, REVISIONS);
    // A message of the server has 128 characters at most.
    let shown: String = place
        .table
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_')
        .take(50)
        .collect();
    format!(
        "  IF @tx_author IS NULL THEN\n    \
         SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'tx_runtime: {shown} is audited: change it in a scope with history(actor = ..)';\n  \
         END IF;\n  \
         SELECT rev INTO tx_r FROM {revisions} WHERE rev = @tx_revision;\n  \
         IF tx_r IS NULL THEN\n    \
         INSERT INTO {revisions} (at, actor, reason) VALUES (UTC_TIMESTAMP(6), @tx_actor, @tx_reason);\n    \
         SET tx_r = LAST_INSERT_ID();\n    \
         SET @tx_revision = tx_r;\n  \
         END IF;\n"
    )
}

fn record_insert(place: &Place, table: &Relation) -> String {
    let (history, by_key) = (
        within(&place.schema, &place.history(LIMIT)),
        by_key(table, "NEW"),
    );
    format!(
        "  SELECT revtype INTO tx_t FROM {history} WHERE {by_key};\n  \
         IF tx_t IS NULL THEN {} ELSE {} END IF;\n",
        insert(place, table, "NEW", 0),
        update(place, table, "NEW", Some("IF(tx_t = 2, 1, tx_t)")),
    )
}

fn record_delete(place: &Place, table: &Relation) -> String {
    let (history, by_key) = (
        within(&place.schema, &place.history(LIMIT)),
        by_key(table, "OLD"),
    );
    format!(
        "  SELECT revtype INTO tx_t FROM {history} WHERE {by_key};\n  \
         IF tx_t IS NULL THEN {}\n  \
         ELSEIF tx_t = 0 THEN DELETE h FROM {history} h FORCE INDEX (PRIMARY) WHERE {by_key};\n  \
         ELSE {} END IF;\n",
        insert(place, table, "OLD", 2),
        update(place, table, "OLD", Some("2")),
    )
}

fn by_key(table: &Relation, row: &str) -> String {
    let mut sql = joined(&table.key, " AND ", |key| {
        format!("{key} = {row}.{key}", key = name(key))
    });
    let _ = write!(sql, " AND rev = tx_r");
    sql
}

fn insert(place: &Place, table: &Relation, row: &str, kind: u8) -> String {
    let history = within(&place.schema, &place.history(LIMIT));
    let columns = joined(&table.columns, ", ", |column| name(&column.name));
    let values = joined(&table.columns, ", ", |column| {
        format!("{row}.{}", name(&column.name))
    });
    format!("INSERT INTO {history} ({columns}, rev, revtype) VALUES ({values}, tx_r, {kind});")
}

fn update(place: &Place, table: &Relation, row: &str, kind: Option<&str>) -> String {
    let history = within(&place.schema, &place.history(LIMIT));
    let set = joined(&table.columns, ", ", |column| {
        format!("{column} = {row}.{column}", column = name(&column.name))
    });
    let kind = kind.map_or_else(String::new, |kind| format!(", revtype = {kind}"));
    format!(
        "UPDATE {history} FORCE INDEX (PRIMARY) SET {set}{kind} WHERE {};",
        by_key(table, row)
    )
}

// ----- what mends -----------------------------------------------------------------------

pub(super) fn repair(repair: &Repair, damage: &Damage) -> String {
    let history = &repair.blueprint.name;
    match damage {
        Damage::ColumnMissing(column) => {
            let declared = declaration(repair.table, column);
            // There may be rows already.
            let more = match column.name.as_str() {
                REVTYPE => " DEFAULT 1",
                REV => " DEFAULT 0",
                REVSEQ => ", ADD KEY (revseq)",
                _ => "",
            };
            let declared = declared.replace(" CHECK (revtype IN (0, 1, 2))", "");
            format!("ALTER TABLE {history} ADD COLUMN {declared}{more};\n")
        }
        Damage::ColumnDiffers(column) => {
            let declared = declaration(repair.table, column);
            format!("ALTER TABLE {history} MODIFY COLUMN {declared};\n")
        }
        Damage::Key => {
            let dropped = repair.history.key_name.as_ref();
            let dropped = dropped.map_or("", |_| "DROP PRIMARY KEY, ");
            format!(
                "ALTER TABLE {history} {dropped}ADD PRIMARY KEY ({});\n",
                key(repair.table)
            )
        }
        Damage::Unique(index) => {
            format!("ALTER TABLE {history} DROP INDEX {};\n", name(&index.name))
        }
    }
}

// ----- reading --------------------------------------------------------------------------

pub(super) fn reader(place: &Place) -> Reader {
    Reader {
        history: within(&place.schema, &place.history(LIMIT)),
        revisions: within(&place.home, REVISIONS),
        micros: |at| format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {at})"),
        integer: |value| format!("CAST({value} AS SIGNED)"),
        quote: name,
        parameter: |_| "?".to_owned(),
    }
}
