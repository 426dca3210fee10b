//! Items, imports and macros of a body stay in it.

use tx_runtime::{Error, PgDb, transactional};

#[transactional]
pub async fn import(db: &PgDb, rows: &[&str]) -> Result<usize, Error> {
    #![allow(clippy::items_after_statements)]
    use sqlx::Executor as _;

    const LIMIT: usize = 3;
    struct Row<'a>(&'a str);
    fn rows_of<'a>(rows: &[&'a str]) -> Vec<Row<'a>> {
        rows.iter().map(|row| Row(row)).collect()
    }
    macro_rules! insert {
        ($text:expr) => {
            db.execute(sqlx::query("insert into asset values ($1)").bind($text))
                .await?
        };
    }
    let rows = rows_of(rows);
    for row in rows.iter().take(LIMIT) {
        insert!(row.0);
    }
    Ok(rows.len())
}
