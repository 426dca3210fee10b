//! How PostgreSQL records changes: statement-level triggers with transition tables.
//!
//! One function for each table looks at all the rows of a statement at once. It runs with the
//! rights of its owner, so that who may write the table need not be let into its history. The
//! transaction's revision is a setting local to it: see [`super::revision`].

use std::collections::HashMap;

use sqlx::{Connection, PgConnection, Row};

use crate::dialect::history::{
    Blueprint, Column, Damage, Place, REV, REVISIONS, REVSEQ, REVTYPE, Reader, Relation,
    RelationKind, Repair, Survey, TableName, Tool, ToolKind, UniqueIndex, Writer, joined, quoted,
};

/// Bytes of an identifier.
const LIMIT: usize = 63;

const CURRENT: &str = "tx_current_revision";
const NO_TRUNCATE: &str = "tx_no_truncate";

fn name(name: &str) -> String {
    quoted(name, '"')
}

fn within(schema: &str, object: &str) -> String {
    format!("{}.{}", name(schema), name(object))
}

// ----- what there is --------------------------------------------------------------------

pub(super) async fn survey(
    connection: &mut PgConnection,
    wanted: &TableName,
) -> Result<Survey, sqlx::Error> {
    let mut reading = connection.begin().await?;
    let survey = read(&mut reading, wanted).await?;
    reading.rollback().await?;
    Ok(survey)
}

async fn read(connection: &mut PgConnection, wanted: &TableName) -> Result<Survey, sqlx::Error> {
    let home: Option<String> = sqlx::query_scalar("SELECT current_schema()::text")
        .fetch_one(&mut *connection)
        .await?;
    let home = home.unwrap_or_else(|| "public".to_owned());
    let found: Option<(i64, String)> = sqlx::query_as(
        "SELECT c.oid::bigint, n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname = $1 AND CASE WHEN $2::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = $2 END",
    )
    .bind(&wanted.table)
    .bind(&wanted.schema)
    .fetch_optional(&mut *connection)
    .await?;
    // From here on, types that do not come with the server are shown with their schema.
    sqlx::query("SELECT set_config('search_path', '', true)")
        .execute(&mut *connection)
        .await?;
    let schema = found.as_ref().map(|(_, schema)| schema.clone());
    let schema = schema
        .or_else(|| wanted.schema.clone())
        .unwrap_or_else(|| home.clone());
    let place = Place {
        schema,
        table: wanted.table.clone(),
        home,
    };
    let mut survey = Survey {
        table: match &found {
            Some((oid, _)) => Some(relation(connection, *oid).await?),
            None => None,
        },
        history: history(connection, &place).await?,
        tools: HashMap::new(),
        writers: Vec::new(),
        cascades: Vec::new(),
        settings: Vec::new(),
        place,
    };
    if let Some((oid, _)) = found {
        tools(connection, &mut survey, oid).await?;
    }
    Ok(survey)
}

async fn history(
    connection: &mut PgConnection,
    place: &Place,
) -> Result<Option<Relation>, sqlx::Error> {
    let oid: Option<i64> = sqlx::query_scalar("SELECT to_regclass($1)::oid::bigint")
        .bind(within(&place.schema, &place.history(LIMIT)))
        .fetch_one(&mut *connection)
        .await?;
    match oid {
        Some(oid) => Ok(Some(relation(connection, oid).await?)),
        None => Ok(None),
    }
}

async fn relation(connection: &mut PgConnection, oid: i64) -> Result<Relation, sqlx::Error> {
    let kind: String = sqlx::query_scalar(
        "SELECT CASE WHEN relkind IN ('v', 'm') THEN 'view' \
         WHEN relkind = 'p' OR relispartition OR EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid OR inhparent = c.oid) THEN 'part' \
         WHEN relkind = 'r' THEN 'table' ELSE 'other' END FROM pg_class c WHERE oid = $1::oid",
    )
    .bind(oid)
    .fetch_one(&mut *connection)
    .await?;
    let columns = sqlx::query(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) || \
           CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation \
             THEN ' COLLATE ' || quote_ident(cn.nspname) || '.' || quote_ident(c.collname) ELSE '' END, \
           CASE WHEN a.attidentity <> '' THEN 'identity' WHEN a.attgenerated <> '' THEN 'expression' ELSE '' END \
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_collation c ON c.oid = a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace \
         WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .bind(oid)
    .fetch_all(&mut *connection)
    .await?;
    let columns = columns.iter().map(|row| {
        Ok(Column {
            name: row.try_get(0)?,
            kind: row.try_get(1)?,
            filled: row.try_get(2)?,
            text: false,
        })
    });
    let columns = columns.collect::<Result<_, sqlx::Error>>()?;
    let indexes: Vec<(String, bool, bool, Vec<String>)> = sqlx::query_as(
        "SELECT ic.relname::text, i.indisprimary, EXISTS (SELECT FROM pg_constraint x WHERE x.conindid = i.indexrelid AND x.contype IN ('p', 'u')), \
           ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(n, o) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE k.o <= i.indnkeyatts ORDER BY k.o) \
         FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid WHERE i.indrelid = $1::oid AND i.indisunique ORDER BY 1",
    )
    .bind(oid)
    .fetch_all(&mut *connection)
    .await?;
    let mut found = Relation {
        kind: match kind.as_str() {
            "table" => RelationKind::Table,
            "view" => RelationKind::View,
            "part" => RelationKind::Partitioned,
            _ => RelationKind::Other,
        },
        columns,
        key: Vec::new(),
        key_name: None,
        unique: Vec::new(),
    };
    for (name, primary, constraint, columns) in indexes {
        if primary {
            found.key = columns;
            found.key_name = Some(name);
        } else {
            found.unique.push(UniqueIndex {
                name,
                columns,
                constraint,
            });
        }
    }
    Ok(found)
}

async fn tools(
    connection: &mut PgConnection,
    survey: &mut Survey,
    table: i64,
) -> Result<(), sqlx::Error> {
    let place = survey.place.clone();
    let shared: Option<String> = sqlx::query_scalar("SELECT to_regclass($1)::text")
        .bind(within(&place.home, REVISIONS))
        .fetch_one(&mut *connection)
        .await?;
    if shared.is_some() {
        survey.found(ToolKind::Table.key(REVISIONS), "", true);
    }
    let functions: Vec<(String, String)> = sqlx::query_as(
        "SELECT p.proname::text, p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE (n.nspname = $1 AND p.proname = ANY($2)) OR (n.nspname = $3 AND p.proname = $4)",
    )
    .bind(&place.home)
    .bind([CURRENT, NO_TRUNCATE])
    .bind(&place.schema)
    .bind(place.tool("_tx", LIMIT))
    .fetch_all(&mut *connection)
    .await?;
    for (function, body) in functions {
        survey.found(ToolKind::Function.key(&function), &body, true);
    }
    let triggers: Vec<(String, String, bool, bool)> = sqlx::query_as(
        "SELECT t.tgname::text, concat_ws(' ', t.tgtype, t.tgoldtable, t.tgnewtable, n.nspname, p.proname, t.tgattr::text, \
           CASE WHEN t.tgqual IS NOT NULL THEN 'when' END), t.tgenabled IN ('O', 'A'), position($2 IN p.prosrc) > 0 \
         FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE t.tgrelid = $1::oid AND NOT t.tgisinternal",
    )
    .bind(table)
    .bind(place.history(LIMIT).replace('"', "\"\""))
    .fetch_all(connection)
    .await?;
    for (trigger, definition, enabled, writes) in triggers {
        if writes {
            survey.writers.push(Writer {
                drop: drop_trigger(&place, &trigger),
                name: trigger.clone(),
            });
        }
        survey.found(ToolKind::Trigger.key(&trigger), &definition, enabled);
    }
    Ok(())
}

/// The tables that have a history, or the beginnings of one.
pub(super) async fn audited(connection: &mut PgConnection) -> Result<Vec<TableName>, sqlx::Error> {
    let names: Vec<(String, String)> = sqlx::query_as(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_class h WHERE h.relnamespace = c.relnamespace \
           AND h.relname = c.relname || '_history' AND h.relkind = 'r') \
         OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND right(t.tgname, 5) = '_tx_i') ORDER BY 1, 2",
    )
    .fetch_all(connection)
    .await?;
    let names = names.into_iter().map(|(schema, table)| TableName {
        schema: Some(schema),
        table,
    });
    Ok(names.collect())
}

// ----- what there should be -------------------------------------------------------------

pub(super) fn blueprint(place: &Place, table: &Relation) -> Blueprint {
    let history = within(&place.schema, &place.history(LIMIT));
    let columns = columns(table);
    let declared = joined(&columns, ",\n  ", |column| declaration(table, column));
    let create = format!(
        "CREATE TABLE {history} (\n  {declared},\n  PRIMARY KEY ({})\n);\n\
         CREATE INDEX {} ON {history} ({REV});\n{}",
        key(table),
        name(&place.tool("_tx_rev", LIMIT)),
        baseline(place, table, &history),
    );
    Blueprint {
        shared: shared(place),
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
        (REVTYPE, "smallint", ""),
        (REVSEQ, "bigint", "identity"),
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
        REVSEQ => " GENERATED ALWAYS AS IDENTITY",
        REV => " NOT NULL",
        other if table.is_key(other) => " NOT NULL",
        _ => "",
    };
    format!("{} {}{more}", name(&column.name), column.kind)
}

/// The columns of the history's primary key.
fn key(table: &Relation) -> String {
    format!("{}, {REV}", joined(&table.key, ", ", |key| name(key)))
}

/// What is in the table already, as the insertions of one revision.
fn baseline(place: &Place, table: &Relation, history: &str) -> String {
    let audited = within(&place.schema, &place.table);
    let revisions = within(&place.home, REVISIONS);
    let columns = joined(&table.columns, ", ", |column| name(&column.name));
    format!(
        "INSERT INTO {revisions} (reason) SELECT 'what was there before' WHERE EXISTS (SELECT FROM {audited});\n\
         INSERT INTO {history} ({columns}, {REV}, {REVTYPE}) SELECT {columns}, (SELECT max({REV}) FROM {revisions}), 0 FROM {audited};\n"
    )
}

fn shared(place: &Place) -> Vec<Tool> {
    let revisions = within(&place.home, REVISIONS);
    let table = Tool {
        kind: ToolKind::Table,
        name: REVISIONS.to_owned(),
        key: ToolKind::Table.key(REVISIONS),
        definition: String::new(),
        create: format!(
            "CREATE TABLE {revisions} (\n  \
             rev bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n  \
             at timestamptz NOT NULL DEFAULT clock_timestamp(),\n  \
             actor text,\n  \
             reason text\n);\n"
        ),
        drop: format!("DROP TABLE {revisions};\n"),
        enable: String::new(),
    };
    // The mark names its transaction, so that none can be taken for that of another.
    let current = format!(
        "
DECLARE
  mark text[] := string_to_array(current_setting('tx_runtime.revision', true), ' ');
  made bigint;
BEGIN
  IF mark[2] = txid_current()::text THEN
    RETURN mark[1]::bigint;
  END IF;
  INSERT INTO {revisions} (actor, reason)
    VALUES (nullif(current_setting('tx_runtime.actor', true), ''), nullif(current_setting('tx_runtime.reason', true), ''))
    RETURNING rev INTO made;
  PERFORM set_config('tx_runtime.revision', made || ' ' || txid_current(), true);
  RETURN made;
END
"
    );
    let no_truncate = "
BEGIN
  RAISE EXCEPTION 'tx_runtime: TRUNCATE would leave no history of %: use DELETE', TG_TABLE_NAME;
END
";
    vec![
        table,
        function(&place.home, CURRENT, "bigint", &current),
        function(&place.home, NO_TRUNCATE, "trigger", no_truncate),
    ]
}

fn function(schema: &str, function: &str, returns: &str, body: &str) -> Tool {
    let (qualified, quotes) = (within(schema, function), dollar_quotes(body));
    // Plans are kept, and one made for a single row must not join thousands row by row.
    Tool {
        kind: ToolKind::Function,
        name: function.to_owned(),
        key: ToolKind::Function.key(function),
        definition: body.to_owned(),
        create: format!(
            "CREATE OR REPLACE FUNCTION {qualified}() RETURNS {returns} LANGUAGE plpgsql SECURITY DEFINER\n\
             SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS {quotes}{body}{quotes};\n"
        ),
        drop: format!("DROP FUNCTION {qualified}();\n"),
        enable: String::new(),
    }
}

/// Quotation marks that do not occur in `body`, where names of all kinds may stand.
fn dollar_quotes(body: &str) -> String {
    let mut quotes = String::from("$tx_runtime$");
    while body.contains(&quotes) {
        quotes.insert(quotes.len() - 1, '_');
    }
    quotes
}

fn drop_trigger(place: &Place, trigger: &str) -> String {
    let audited = within(&place.schema, &place.table);
    format!("DROP TRIGGER {} ON {audited};\n", name(trigger))
}

fn recorders(place: &Place, table: &Relation) -> Vec<Tool> {
    let recorder = place.tool("_tx", LIMIT);
    let body = recorder_body(place, table);
    let mut tools = vec![function(&place.schema, &recorder, "trigger", &body)];
    let recorder = within(&place.schema, &recorder);
    let proc = |schema: &str, function: &str| format!("{schema} {function}");
    let own = proc(&place.schema, &place.tool("_tx", LIMIT));
    let events = [
        (
            "_tx_i",
            "AFTER INSERT",
            " REFERENCING NEW TABLE AS n",
            format!("4 n {own}"),
            recorder.clone(),
        ),
        (
            "_tx_u",
            "AFTER UPDATE",
            " REFERENCING OLD TABLE AS o NEW TABLE AS n",
            format!("16 o n {own}"),
            recorder.clone(),
        ),
        (
            "_tx_d",
            "AFTER DELETE",
            " REFERENCING OLD TABLE AS o",
            format!("8 o {own}"),
            recorder,
        ),
        (
            "_tx_t",
            "BEFORE TRUNCATE",
            "",
            format!("34 {}", proc(&place.home, NO_TRUNCATE)),
            within(&place.home, NO_TRUNCATE),
        ),
    ];
    let audited = within(&place.schema, &place.table);
    tools.extend(events.map(|(suffix, event, tables, definition, function)| {
        let trigger = place.tool(suffix, LIMIT);
        let quoted = name(&trigger);
        Tool {
            kind: ToolKind::Trigger,
            key: ToolKind::Trigger.key(&trigger),
            definition,
            create: format!(
                "CREATE TRIGGER {quoted} {event} ON {audited}{tables} FOR EACH STATEMENT EXECUTE FUNCTION {function}();\n"
            ),
            drop: drop_trigger(place, &trigger),
            enable: format!("ALTER TABLE {audited} ENABLE TRIGGER {quoted};\n"),
            name: trigger,
        }
    }));
    tools
}

fn recorder_body(place: &Place, table: &Relation) -> String {
    let history = within(&place.schema, &place.history(LIMIT));
    let current = within(&place.home, CURRENT);
    let all = joined(&table.columns, ", ", |column| name(&column.name));
    let of = |side: &str| {
        joined(&table.columns, ", ", |column| {
            format!("{side}.{}", name(&column.name))
        })
    };
    let same = |one: &str, other: &str| {
        joined(&table.key, " AND ", |key| {
            format!("{one}.{key} = {other}.{key}", key = name(key))
        })
    };
    let (new, old) = (of("n"), of("o"));
    let conflict = joined(&table.key, ", ", |key| name(key));
    let taken = joined(&table.columns, "", |column| {
        format!(
            "{column} = EXCLUDED.{column}, ",
            column = name(&column.name)
        )
    });
    let first = name(&table.key[0]);
    format!(
        "
#variable_conflict use_column
<<tx>>
DECLARE
  r bigint;
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NOT EXISTS (SELECT FROM n) THEN
      RETURN NULL;
    END IF;
    tx.r := {current}();
    INSERT INTO {history} AS h ({all}, rev, revtype) SELECT {new}, tx.r, 0 FROM n
      ON CONFLICT ({conflict}, rev) DO UPDATE SET {taken}revtype = CASE h.revtype WHEN 2 THEN 1 ELSE h.revtype END;
    RETURN NULL;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF NOT EXISTS (SELECT FROM n LEFT JOIN o ON {same_on} WHERE o.{first} IS NULL OR n.* *<> o.*) THEN
      RETURN NULL;
    END IF;
    tx.r := {current}();
    INSERT INTO {history} AS h ({all}, rev, revtype)
      SELECT {old}, tx.r, 2 FROM o WHERE NOT EXISTS (SELECT FROM n WHERE {same_on})
      ON CONFLICT ({conflict}, rev) DO UPDATE SET {taken}revtype = 2 WHERE h.revtype <> 0;
    DELETE FROM {history} h USING o
      WHERE {same_ho} AND h.rev = tx.r AND h.revtype = 0 AND NOT EXISTS (SELECT FROM n WHERE {same_on});
    INSERT INTO {history} AS h ({all}, rev, revtype)
      SELECT {new}, tx.r, CASE WHEN o.{first} IS NULL THEN 0 ELSE 1 END FROM n LEFT JOIN o ON {same_on}
      WHERE o.{first} IS NULL OR n.* *<> o.*
      ON CONFLICT ({conflict}, rev) DO UPDATE SET {taken}revtype = CASE h.revtype WHEN 2 THEN 1 ELSE h.revtype END;
    RETURN NULL;
  END IF;
  IF NOT EXISTS (SELECT FROM o) THEN
    RETURN NULL;
  END IF;
  tx.r := {current}();
  INSERT INTO {history} AS h ({all}, rev, revtype) SELECT {old}, tx.r, 2 FROM o
    ON CONFLICT ({conflict}, rev) DO UPDATE SET {taken}revtype = 2 WHERE h.revtype <> 0;
  DELETE FROM {history} h USING o WHERE {same_ho} AND h.rev = tx.r AND h.revtype = 0;
  RETURN NULL;
END
",
        same_on = same("n", "o"),
        same_ho = same("h", "o"),
    )
}

// ----- what mends -----------------------------------------------------------------------

pub(super) fn repair(repair: &Repair, damage: &Damage) -> String {
    let history = &repair.blueprint.name;
    match damage {
        Damage::ColumnMissing(column) => {
            let declared = declaration(repair.table, column);
            // There may be rows already.
            let filling = match column.name.as_str() {
                REVTYPE => " DEFAULT 1",
                REV => " DEFAULT 0",
                _ => "",
            };
            format!("ALTER TABLE {history} ADD COLUMN {declared}{filling};\n")
        }
        Damage::ColumnDiffers(column) => {
            let (quoted, kind) = (name(&column.name), &column.kind);
            let found = repair.history.column(&column.name);
            let unfilled = match found.map_or("", |found| found.filled.as_str()) {
                filled if filled == column.filled => String::new(),
                "identity" => {
                    format!("ALTER TABLE {history} ALTER COLUMN {quoted} DROP IDENTITY;\n")
                }
                "expression" => {
                    format!("ALTER TABLE {history} ALTER COLUMN {quoted} DROP EXPRESSION;\n")
                }
                _ => {
                    return format!(
                        "ALTER TABLE {history} DROP COLUMN {quoted};\n\
                         ALTER TABLE {history} ADD COLUMN {};\n",
                        declaration(repair.table, column)
                    );
                }
            };
            let cast = kind.split(" COLLATE ").next().unwrap_or(kind);
            format!(
                "{unfilled}ALTER TABLE {history} ALTER COLUMN {quoted} TYPE {kind} USING {quoted}::{cast};\n"
            )
        }
        Damage::Key => {
            let dropped = repair.history.key_name.as_ref();
            let dropped = dropped.map_or_else(String::new, |key| {
                format!("DROP CONSTRAINT {}, ", name(key))
            });
            format!(
                "ALTER TABLE {history} {dropped}ADD PRIMARY KEY ({});\n",
                key(repair.table)
            )
        }
        Damage::Unique(index) if index.constraint => {
            format!(
                "ALTER TABLE {history} DROP CONSTRAINT {};\n",
                name(&index.name)
            )
        }
        Damage::Unique(index) => {
            format!(
                "DROP INDEX {};\n",
                within(&repair.place.schema, &index.name)
            )
        }
    }
}

// ----- reading --------------------------------------------------------------------------

pub(super) fn reader(place: &Place) -> Reader {
    Reader {
        history: within(&place.schema, &place.history(LIMIT)),
        revisions: within(&place.home, REVISIONS),
        micros: |at| format!("(extract(epoch from {at}) * 1000000)::bigint"),
        integer: |value| format!("{value}::bigint"),
        quote: name,
        parameter: |position| format!("${position}"),
    }
}
