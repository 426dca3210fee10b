//! `&Db` and `&Tx` as executors, so that ordinary sqlx calls run in the right place.

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::{Database, Either, Execute, Executor, SqlStr};
use sqlx_core::describe::Describe;

use crate::db::Db;
use crate::dialect::Dialect;
use crate::prepared::Prepared;
use crate::statement::Want;
use crate::tx::Tx;

/// Both handles differ only in how they find the target of a statement.
macro_rules! execute_through_target {
    ($handle:ty) => {
        impl<'p, DB: Dialect> Executor<'p> for $handle {
            type Database = DB;

            fn execute<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<DB::QueryResult, sqlx::Error>>
            where
                'p: 'e,
                E: 'q + Execute<'q, DB>,
            {
                let query = Prepared::of(query);
                self.target()
                    .run(query, Want::Summary, |answer| Ok(answer.summary()))
            }

            fn fetch_many<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxStream<'e, Result<Either<DB::QueryResult, DB::Row>, sqlx::Error>>
            where
                'p: 'e,
                E: 'q + Execute<'q, DB>,
            {
                self.target().stream(Prepared::of(query))
            }

            fn fetch<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<DB::Row, sqlx::Error>>
            where
                'p: 'e,
                E: 'q + Execute<'q, DB>,
            {
                self.target().rows(Prepared::of(query))
            }

            fn fetch_all<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Vec<DB::Row>, sqlx::Error>>
            where
                'p: 'e,
                E: 'q + Execute<'q, DB>,
            {
                let query = Prepared::of(query);
                self.target()
                    .run(query, Want::AllRows, |answer| Ok(answer.all_rows().0))
            }

            fn fetch_one<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<DB::Row, sqlx::Error>>
            where
                'p: 'e,
                E: 'q + Execute<'q, DB>,
            {
                let query = Prepared::of(query);
                self.target().run(query, Want::FirstRow, |answer| {
                    answer.first_row().ok_or(sqlx::Error::RowNotFound)
                })
            }

            fn fetch_optional<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Option<DB::Row>, sqlx::Error>>
            where
                'p: 'e,
                E: 'q + Execute<'q, DB>,
            {
                let query = Prepared::of(query);
                self.target()
                    .run(query, Want::FirstRow, |answer| Ok(answer.first_row()))
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<DB as Database>::TypeInfo],
            ) -> BoxFuture<'e, Result<DB::Statement, sqlx::Error>>
            where
                'p: 'e,
            {
                Box::pin(self.target().prepare(sql, parameters.to_vec()))
            }

            fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<DB>, sqlx::Error>>
            where
                'p: 'e,
            {
                Box::pin(self.target().describe(sql))
            }
        }
    };
}

execute_through_target!(&Db<DB>);
execute_through_target!(&Tx<'_, DB>);
