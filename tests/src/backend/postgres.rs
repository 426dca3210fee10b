//! PostgreSQL.

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Connection, Postgres};

use super::{Answer, Backend, statements};
use crate::proxy::Protocol;
use crate::scratch::{self, Scratch};
use crate::server;

const LOCK_NOT_AVAILABLE: &str = "55P03";

const TABLES: &str = "
    create table t (id bigint primary key, v text);
    create table parent (id bigint primary key);
    create table child (
        id bigint primary key,
        parent_id bigint references parent deferrable initially deferred
    )";

async fn create(name: String, admin: PgConnectOptions) -> Result<Scratch<Postgres>, sqlx::Error> {
    let mut connection = admin.connect().await?;
    // template1 refuses to be copied while anybody is connected to it.
    let create = format!("create database {name} template template0");
    Postgres::raw(&mut connection, &create).await?;
    connection.close().await?;
    let options = admin.database(&name);
    let scratch = Scratch::new(name, options.clone());
    let mut connection = options.connect().await?;
    Postgres::raw(&mut connection, TABLES).await?;
    connection.close().await?;
    Ok(scratch)
}

impl Backend for Postgres {
    const LABEL: &'static str = "postgres";
    const SERVER: bool = true;
    const TELLS_FATES: bool = true;
    const LIST_DATABASES: &'static str = "select datname::text from pg_database";
    const SERVER_VIEW: &'static str = "
        select format('%s %s since %s: %s', pid, state, now() - state_change, query)
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
          and backend_type = 'client backend'
        order by pid";
    const CONNECTIONS: &'static str = "
        select pid::bigint from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
          and backend_type = 'client backend'";
    const PID: &'static str = "select pg_backend_pid()";
    const PROTOCOL: Option<Protocol> = Some(Protocol::Postgres);

    fn scratch() -> BoxFuture<'static, Option<Scratch<Self>>> {
        Box::pin(async {
            let url = server::POSTGRES.url::<Self>().await?;
            let name = scratch::fresh_name();
            let scratch = create(name, server::options::<Self>(url)).await;
            Some(scratch.unwrap_or_else(|error| panic!("postgres: no scratch database: {error}")))
        })
    }

    fn discard(name: String, options: PgConnectOptions) -> Answer<'static, ()> {
        Box::pin(async move {
            let mut admin = options.database("postgres").connect().await?;
            let sql = format!("drop database if exists {name} with (force)");
            Self::raw(&mut admin, &sql).await?;
            admin.close().await
        })
    }

    statements!(Postgres);

    fn is_inside(_: &mut PgConnection) -> BoxFuture<'_, bool> {
        // The control connection sees it.
        Box::pin(async { false })
    }

    fn in_transaction(connection: &mut PgConnection) -> Answer<'_, Vec<i64>> {
        Self::ints(
            connection,
            "
        select pid::bigint from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
          and backend_type = 'client backend' and xact_start is not null",
        )
    }

    fn is_free(connection: &mut PgConnection, id: i64) -> Answer<'_, bool> {
        Box::pin(async move {
            let sql = format!("select id from t where id = {id} for update nowait");
            match Self::ints(connection, &sql).await {
                Ok(_) => Ok(true),
                Err(sqlx::Error::Database(error))
                    if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) =>
                {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        })
    }

    fn kill(pid: i64) -> String {
        format!("select pg_terminate_backend({pid}::int)")
    }

    fn lock_name(key: &str) -> String {
        let key = key.replace('\'', "''");
        format!(
            "('x' || left(encode(sha256(convert_to('tx_runtime:{key}', 'UTF8')), 'hex'), 16))::bit(64)::bigint"
        )
    }

    fn lock_holders(name: &str) -> String {
        format!(
            "select pid::bigint from pg_locks
            where locktype = 'advisory' and granted
              and database = (select oid from pg_database where datname = current_database())
              and (classid::bigint << 32) | objid::bigint = {name}"
        )
    }

    fn take_lock(name: &str) -> String {
        format!("select pg_advisory_lock({name})")
    }

    fn open_lock(name: &str) -> String {
        format!("select pg_advisory_unlock({name})")
    }

    const ALL_LOCK_HOLDERS: Option<&'static str> = Some(
        "select pid::bigint from pg_locks
        where locktype = 'advisory' and pid <> pg_backend_pid()
          and database = (select oid from pg_database where datname = current_database())",
    );

    fn address(options: &PgConnectOptions) -> Option<String> {
        Some(format!("{}:{}", options.get_host(), options.get_port()))
    }

    fn through(options: PgConnectOptions, port: u16) -> PgConnectOptions {
        options
            .host("127.0.0.1")
            .port(port)
            .ssl_mode(PgSslMode::Disable)
    }
}
