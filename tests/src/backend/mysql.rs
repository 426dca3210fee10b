//! MariaDB and MySQL.

use futures_util::future::BoxFuture;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection, Executor, MySql, Row};

use super::{Answer, Backend, statements};
use crate::proxy::Protocol;
use crate::scratch::{self, Scratch};
use crate::server;

/// How MariaDB and MySQL answer to a row that is locked, asked with NOWAIT.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const LOCK_NOWAIT: u16 = 3572;

const TABLES: &str = "
    create table t (id bigint primary key, v varchar(100)) engine = InnoDB";

async fn create(name: String, admin: MySqlConnectOptions) -> Result<Scratch<MySql>, sqlx::Error> {
    let mut connection = admin.connect().await?;
    MySql::raw(&mut connection, &format!("create database {name}")).await?;
    let options = admin.database(&name);
    let scratch = Scratch::new(name.clone(), options);
    MySql::raw(&mut connection, &format!("use {name}; {TABLES}")).await?;
    connection.close().await?;
    Ok(scratch)
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let database = error.as_database_error()?;
    Some(database.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// The threads whose transactions `SHOW ENGINE INNODB STATUS` calls active.
fn active_threads(status: &str) -> Vec<i64> {
    status
        .split("---TRANSACTION ")
        .skip(1)
        .filter(|transaction| {
            let heading = transaction.lines().next().unwrap_or_default();
            heading.contains("ACTIVE")
        })
        .filter_map(|transaction| {
            let (_, from_id) = transaction.split_once(" thread id ")?;
            from_id.split(',').next()?.trim().parse().ok()
        })
        .collect()
}

impl Backend for MySql {
    const LABEL: &'static str = "mysql";
    const SERVER: bool = true;
    const TELLS_FATES: bool = false;
    const LIST_DATABASES: &'static str = "
        select cast(schema_name as char) from information_schema.schemata";
    const SERVER_VIEW: &'static str = "
        select cast(concat_ws(' ', p.id, p.command, p.state, p.info, concat('trx ', x.trx_state))
            as char)
        from information_schema.processlist p
        left join information_schema.innodb_trx x on x.trx_mysql_thread_id = p.id
        where p.db = database() and p.id <> connection_id()
        order by p.id";
    const CONNECTIONS: &'static str = "
        select cast(id as signed) from information_schema.processlist
        where db = database() and id <> connection_id()";
    const PID: &'static str = "select cast(connection_id() as signed)";
    const PROTOCOL: Option<Protocol> = Some(Protocol::MySql);

    fn scratch() -> BoxFuture<'static, Option<Scratch<Self>>> {
        Box::pin(async {
            let url = server::MYSQL.url::<Self>().await?;
            let name = scratch::fresh_name();
            let scratch = create(name, server::options::<Self>(url)).await;
            Some(scratch.unwrap_or_else(|error| panic!("mysql: no scratch database: {error}")))
        })
    }

    fn discard(name: String, options: MySqlConnectOptions) -> Answer<'static, ()> {
        Box::pin(async move {
            let mut admin = options.database("information_schema").connect().await?;
            // DROP waits for every open transaction that has touched the database.
            let connected = format!(
                "select cast(id as signed) from information_schema.processlist where db = '{name}'"
            );
            for pid in Self::ints(&mut admin, &connected).await? {
                // It may have left in between.
                drop(Self::raw(&mut admin, &Self::kill(pid)).await);
            }
            Self::raw(&mut admin, &format!("drop database if exists {name}")).await?;
            admin.close().await
        })
    }

    statements!(MySql);

    fn is_inside(connection: &mut MySqlConnection) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            // Unprepared, so that the connection's statement cache stays as the test left
            // it. A connection that cannot be asked has no transaction, and MySQL has no
            // such variable: there only the control connection sees.
            let row = connection
                .fetch_one(sqlx::raw_sql(AssertSqlSafe("select @@in_transaction")))
                .await;
            row.and_then(|row| row.try_get_unchecked::<i64, _>(0))
                .is_ok_and(|inside| inside == 1)
        })
    }

    fn in_transaction(connection: &mut MySqlConnection) -> Answer<'_, Vec<i64>> {
        Box::pin(async move {
            // Not information_schema.innodb_trx: that view is a cache which stays as it is
            // while somebody reads it more often than every 100 ms, as parallel tests do.
            let status = "show engine innodb status";
            let row = connection.fetch_one(sqlx::raw_sql(status)).await?;
            let active = active_threads(&row.try_get_unchecked::<String, _>(2)?);
            let mut ours = Self::ints(connection, Self::CONNECTIONS).await?;
            ours.retain(|id| active.contains(id));
            Ok(ours)
        })
    }

    fn is_free(connection: &mut MySqlConnection, id: i64) -> Answer<'_, bool> {
        Box::pin(async move {
            let sql = format!("select id from t where id = {id} for update nowait");
            match Self::ints(connection, &sql).await {
                Ok(_) => Ok(true),
                Err(error) if matches!(number(&error), Some(LOCK_WAIT_TIMEOUT | LOCK_NOWAIT)) => {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        })
    }

    fn kill(pid: i64) -> String {
        format!("kill {pid}")
    }

    fn lock_name(key: &str) -> String {
        let digits = key
            .bytes()
            .fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
        format!("sha2(concat('tx_runtime:', hex(database()), ':', '{digits}'), 256)")
    }

    fn lock_holders(name: &str) -> String {
        format!(
            "select cast(h.id as signed) from (select is_used_lock({name}) as id) h where h.id is not null"
        )
    }

    fn take_lock(name: &str) -> String {
        format!("select get_lock({name}, 10)")
    }

    fn open_lock(name: &str) -> String {
        format!("select release_lock({name})")
    }

    // The plugin that lists them is not there by default.
    const ALL_LOCK_HOLDERS: Option<&'static str> = None;

    fn quoted(name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }

    fn address(options: &MySqlConnectOptions) -> Option<String> {
        Some(format!("{}:{}", options.get_host(), options.get_port()))
    }

    fn through(options: MySqlConnectOptions, port: u16) -> MySqlConnectOptions {
        options
            .host("127.0.0.1")
            .port(port)
            .ssl_mode(MySqlSslMode::Disabled)
    }
}
