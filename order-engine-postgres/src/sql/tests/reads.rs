//! How many rows the statements read.

mod feed;
mod nonces;
mod queue;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::database_with_schema;
use crate::sql::Sql;

/// The tables, and the rows of them that statements read.
struct Tables {
    connection: PgConnection,
    sql: Sql,
    schema: String,
}

/// What a statement returns, and how many rows of a table it finds by indexes.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    values: Vec<String>,
    rows: i64,
}

impl Tables {
    async fn new() -> Self {
        let (connection, sql, schema) = database_with_schema().await;
        Self { connection, sql, schema }
    }

    /// Runs SQL in which an `@` stands for the schema.
    async fn execute(&mut self, sql: &str) {
        let sql = sql.replace('@', &format!("{}.", self.schema));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.unwrap();
    }

    /// Runs a statement in a transaction that is undone, and returns a column of its rows.
    async fn read(&mut self, text: &str, arguments: &str, column: &str, table: &str) -> Read {
        self.execute("BEGIN").await;
        let before = self.counts(table).await;
        sqlx::raw_sql(AssertSqlSafe(format!("PREPARE reading AS {text}")))
            .execute(&mut self.connection)
            .await
            .unwrap();
        let found = sqlx::raw_sql(AssertSqlSafe(format!("EXECUTE reading ({arguments})")))
            .fetch_all(&mut self.connection)
            .await
            .unwrap();
        let after = self.counts(table).await;
        self.execute("ROLLBACK; DEALLOCATE reading").await;
        assert_eq!(after.1, before.1, "it walks through the table: {text}");
        let value =
            |row: &PgRow| row.try_get_unchecked::<Option<String>, _>(column).unwrap().unwrap_or_default();
        Read { values: found.iter().map(value).collect(), rows: after.0 - before.0 }
    }

    /// Returns how many rows of a table were found by indexes lately, and how often it was walked through.
    async fn counts(&mut self, table: &str) -> (i64, i64) {
        let sql = "SELECT idx_tup_fetch, seq_scan FROM pg_stat_xact_user_tables
            WHERE schemaname = $1 AND relname = $2";
        let query = sqlx::query(sql).bind(&*self.schema).bind(table);
        let row = query.fetch_one(&mut self.connection).await.unwrap();
        (row.get(0), row.get(1))
    }
}
