//! One connection to a MySQL or PostgreSQL server, with as much of `sqlx` as the gateway needs: statements with numbers
//! and texts in, rows of texts out.
//!
//! What is said here of TLS is what the gateways' own drivers do by default.

use std::time::Duration;

use sqlx::mysql::{MySqlConnection, MySqlSslMode};
use sqlx::postgres::{PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};

use super::diagnose::wants_tls;
use crate::dsn::{Dsn, Engine, Tls, options};

/// How long connecting may take where the address does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A value that is bound to a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Number(i64),
    Text(&'a str),
}

/// A row, every column of it cast to text by the statement.
pub(super) type TextRow = Vec<Option<String>>;

/// An open connection.
pub(super) enum Link {
    MySql(MySqlConnection),
    Postgres(PgConnection),
}

/// Binds values and runs a statement in the way that is named, on a connection of either kind.
macro_rules! run {
    ($connection:expr, $sql:expr, $values:expr, $how:ident) => {{
        // Never kept prepared: a pooler would hand the statement's name to another session.
        let mut query = sqlx::query(AssertSqlSafe($sql.to_owned())).persistent(false);
        for value in $values {
            query = match *value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text.to_owned()),
            };
        }
        query.$how($connection).await?
    }};
}

impl Link {
    /// Connects, and sets for this session how long it waits for locks.
    pub(super) async fn open(dsn: &Dsn, busy_timeout: Duration) -> sqlx::Result<Self> {
        let within = dsn.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let connecting = tokio::time::timeout(within, async {
            match dsn.engine {
                Engine::MySql => Self::open_mysql(dsn, busy_timeout).await,
                Engine::Postgres => Self::open_postgres(dsn).await,
            }
        });
        connecting.await.unwrap_or_else(|_| {
            let silence = format!("no answer within {} s", within.as_secs_f32());
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, silence).into())
        })
    }

    async fn open_mysql(dsn: &Dsn, busy_timeout: Duration) -> sqlx::Result<Self> {
        let options =
            options::mysql(dsn).pipes_as_concat(false).no_engine_substitution(false).statement_cache_capacity(0);
        let (first, then) = match dsn.tls {
            Tls::Off => (MySqlSslMode::Disabled, None),
            // Without TLS the server may not take a password that it has not seen before (caching_sha2_password).
            Tls::IfNeeded => (MySqlSslMode::Disabled, Some(MySqlSslMode::Required)),
            Tls::Preferred => (MySqlSslMode::Preferred, Some(MySqlSslMode::Disabled)),
            Tls::Required => (MySqlSslMode::Required, None),
            Tls::VerifyCa => (MySqlSslMode::VerifyCa, None),
            Tls::Verified => (MySqlSslMode::VerifyIdentity, None),
        };
        let mut connection = match (options.clone().ssl_mode(first).connect().await, then) {
            (Err(refused), Some(then)) if wants_other_tls(dsn.tls, &refused) => {
                options.ssl_mode(then).connect().await.map_err(|again| earlier_unless_known(refused, again))?
            }
            (connected, _) => connected?,
        };
        // Of this session, which is ours. A transaction that a frozen process left open ends with the connection.
        let seconds = busy_timeout.as_millis().div_ceil(1000).max(1);
        let session = format!(
            "SET SESSION autocommit = 1, innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}, \
             wait_timeout = 60"
        );
        connection.execute(sqlx::raw_sql(AssertSqlSafe(session))).await?;
        Ok(Self::MySql(connection))
    }

    async fn open_postgres(dsn: &Dsn) -> sqlx::Result<Self> {
        // A pooler refuses what it does not know.
        let mut options = options::postgres(dsn).extra_float_digits(None).statement_cache_capacity(0);
        if let Some(search_path) = &dsn.search_path {
            options = options.options([("search_path", search_path)]);
        }
        let (first, then) = match dsn.tls {
            Tls::Off => (PgSslMode::Disable, None),
            Tls::IfNeeded => (PgSslMode::Disable, Some(PgSslMode::Require)),
            Tls::Preferred => (PgSslMode::Prefer, Some(PgSslMode::Disable)),
            Tls::Required => (PgSslMode::Require, None),
            Tls::VerifyCa => (PgSslMode::VerifyCa, None),
            Tls::Verified => (PgSslMode::VerifyFull, None),
        };
        let connection = match (options.clone().ssl_mode(first).connect().await, then) {
            (Err(refused), Some(then)) if wants_other_tls(dsn.tls, &refused) => {
                options.ssl_mode(then).connect().await.map_err(|again| earlier_unless_known(refused, again))?
            }
            (connected, _) => connected?,
        };
        Ok(Self::Postgres(connection))
    }

    /// Runs a statement and brings its rows.
    pub(super) async fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> sqlx::Result<Vec<TextRow>> {
        macro_rules! texts {
            ($rows:expr) => {
                $rows
                    .iter()
                    .map(|row| {
                        let column = |at| Ok(row.try_get_unchecked::<Option<Vec<u8>>, usize>(at)?.map(text));
                        (0..row.len()).map(column).collect()
                    })
                    .collect()
            };
        }
        match self {
            Self::MySql(connection) => texts!(run!(connection, sql, values, fetch_all)),
            Self::Postgres(connection) => texts!(run!(connection, sql, values, fetch_all)),
        }
    }

    /// Runs a statement and says how many rows it was about.
    pub(super) async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> sqlx::Result<u64> {
        Ok(match self {
            Self::MySql(connection) => run!(connection, sql, values, execute).rows_affected(),
            Self::Postgres(connection) => run!(connection, sql, values, execute).rows_affected(),
        })
    }

    /// Runs what begins, sets or ends a transaction.
    pub(super) async fn say(&mut self, sql: &str) -> sqlx::Result<()> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::MySql(connection) => connection.execute(sql).await.map(drop),
            Self::Postgres(connection) => connection.execute(sql).await.map(drop),
        }
    }

    /// Takes leave of the server.
    pub(super) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::MySql(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        }
    }
}

/// Whether the other way with TLS may help, where the address leaves the choice.
fn wants_other_tls(wanted: Tls, refused: &sqlx::Error) -> bool {
    match wanted {
        Tls::IfNeeded => wants_tls(refused),
        Tls::Preferred => super::diagnose::tls_words(refused).is_some(),
        _ => false,
    }
}

/// The second attempt's failure says more, unless it is only that the server has no TLS.
fn earlier_unless_known(refused: sqlx::Error, again: sqlx::Error) -> sqlx::Error {
    if matches!(again, sqlx::Error::Tls(_)) { refused } else { again }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned())
}
