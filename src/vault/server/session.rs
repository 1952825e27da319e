//! One connection to the vault's server, PostgreSQL or MySQL alike.
//!
//! Blocking, with a small runtime of its own: whoever holds it is a thread that has nothing else to do. Each step has
//! a deadline. What was cut off or came too late ends the session: nobody can tell what of it has happened.

use std::time::Duration;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row as _};
use tokio::runtime::{Builder, Runtime};

use super::address::{Address, Options};
use crate::dsn::Engine;
use crate::reason::VaultReason;
use crate::vault::VaultError;
use crate::vault::failure::Failure;

/// How long the server may take to let us in.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one statement may take.
const STATEMENT: Duration = Duration::from_secs(10);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What can go wrong with a statement.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection is gone. What was under way may have happened.
    Cut(String),
    /// The server refused the statement: it has not happened.
    Refused(String),
    /// The server's disk is full.
    Full,
    /// Anything that has a name already.
    Known(Failure),
}

impl From<VaultReason> for Trouble {
    fn from(reason: VaultReason) -> Self {
        Self::Known(reason.into())
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Known(failure)
    }
}

impl Trouble {
    /// Puts the server's name to it.
    pub(super) fn named(self, address: &Address) -> VaultError {
        let server = address.to_string();
        VaultError(match self {
            Self::Cut(error) => VaultReason::ServerAway { server, error },
            Self::Refused(error) => VaultReason::ServerRefused { server, error },
            Self::Full => VaultReason::Full { path: server },
            Self::Known(failure) => return failure.named(server.as_ref()),
        })
    }
}

/// A value of a statement. Those that may be missing are bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'v> {
    Int(i64),
    Text(&'v str),
    Bytes(Option<&'v [u8]>),
}

/// A row of an answer.
pub(super) enum Row {
    Postgres(PgRow),
    MySql(MySqlRow),
}

macro_rules! column {
    ($name:ident, $type:ty) => {
        pub(super) fn $name(&self, index: usize) -> Result<$type, Trouble> {
            // The server's types are ours, but their names differ between versions.
            let read = match self {
                Self::Postgres(row) => row.try_get_unchecked(index),
                Self::MySql(row) => row.try_get_unchecked(index),
            };
            read.map_err(|_| Failure::Damaged("a column that is not what it should be").into())
        }
    };
}

impl Row {
    column!(int, i64);
    column!(text, String);
    column!(bytes, Option<Vec<u8>>);
}

enum Wire {
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

/// See the module.
pub(super) struct Session {
    wire: Option<Wire>,
    runtime: Option<Runtime>,
    /// The server's number for this session.
    pub(super) number: i64,
    /// How long a statement may take.
    patience: Duration,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.wire = None;
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped where nobody may wait.
            runtime.shutdown_background();
        }
    }
}

macro_rules! bound {
    ($sql:expr, $values:expr) => {
        $values.iter().fold(sqlx::query(AssertSqlSafe($sql)), |query, value| match *value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value.to_owned()),
            Value::Bytes(value) => query.bind(value.map(<[u8]>::to_vec)),
        })
    };
}

impl Session {
    /// Connects; the session is as the server gives it.
    pub(super) fn connect(address: &Address) -> Result<Self, Trouble> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Trouble::Cut(error.to_string()))?;
        let connecting = async {
            Ok(match address.options() {
                Options::Postgres(options) => Wire::Postgres(PgConnection::connect_with(&options).await?),
                Options::MySql(options) => Wire::MySql(MySqlConnection::connect_with(&options).await?),
            })
        };
        let late = || Err(Trouble::Cut(format!("no answer within {} s", CONNECT.as_secs())));
        let connected = runtime.block_on(async {
            match tokio::time::timeout(CONNECT, connecting).await {
                Ok(connected) => connected.map_err(|error| judge(&error)),
                Err(_) => late(),
            }
        });
        let mut session = Self { wire: None, runtime: Some(runtime), number: 0, patience: STATEMENT };
        session.wire = Some(connected?);
        let number = match address.engine() {
            Engine::Postgres => "SELECT pg_backend_pid()::bigint",
            Engine::MySql => "SELECT CAST(CONNECTION_ID() AS SIGNED)",
        };
        session.number = session.one(number, &[])?.ok_or_else(|| Trouble::Cut("no session number".into()))?.int(0)?;
        Ok(session)
    }

    /// Runs a statement without values that returns nothing.
    pub(super) fn run(&mut self, sql: &str) -> Result<(), Trouble> {
        let sql = sql.to_owned();
        self.step(async |wire| match wire {
            Wire::Postgres(wire) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(wire).await.map(|_| ()),
            Wire::MySql(wire) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(wire).await.map(|_| ()),
        })
    }

    /// Runs a statement, its places marked `?`, and says how many rows it met.
    pub(super) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, Trouble> {
        self.step(async |wire| {
            Ok(match wire {
                Wire::Postgres(wire) => bound!(numbered(sql), values).execute(wire).await?.rows_affected(),
                Wire::MySql(wire) => bound!(sql.to_owned(), values).execute(wire).await?.rows_affected(),
            })
        })
    }

    /// The rows that a statement brings.
    pub(super) fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Trouble> {
        self.step(async |wire| {
            Ok(match wire {
                Wire::Postgres(wire) => {
                    let rows = bound!(numbered(sql), values).fetch_all(wire).await?;
                    rows.into_iter().map(Row::Postgres).collect()
                }
                Wire::MySql(wire) => {
                    let rows = bound!(sql.to_owned(), values).fetch_all(wire).await?;
                    rows.into_iter().map(Row::MySql).collect()
                }
            })
        })
    }

    /// The first row, if there is one.
    pub(super) fn one(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>, Trouble> {
        Ok(self.rows(sql, values)?.into_iter().next())
    }

    /// Leaves nobody waiting long for what is still said before the end.
    pub(super) fn hurry(&mut self) {
        self.patience = FAREWELL;
    }

    /// Ends it in good order.
    pub(super) fn close(mut self) {
        if let (Some(wire), Some(runtime)) = (self.wire.take(), &self.runtime) {
            let closing = async {
                match wire {
                    Wire::Postgres(wire) => wire.close().await,
                    Wire::MySql(wire) => wire.close().await,
                }
            };
            // The server notices the end of the connection, too.
            let _ = runtime.block_on(async { tokio::time::timeout(FAREWELL, closing).await });
        }
    }

    fn step<T>(&mut self, work: impl AsyncFnOnce(&mut Wire) -> Result<T, sqlx::Error>) -> Result<T, Trouble> {
        let (Some(wire), Some(runtime)) = (&mut self.wire, &self.runtime) else {
            return Err(Trouble::Cut("the connection is closed".into()));
        };
        let done = runtime.block_on(async { tokio::time::timeout(self.patience, work(wire)).await });
        let trouble = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => judge(&error),
            Err(_) => Trouble::Cut(format!("no answer within {} s", self.patience.as_secs())),
        };
        if matches!(trouble, Trouble::Cut(_)) {
            self.wire = None;
        }
        Err(trouble)
    }
}

/// `?` → `$1`, `$2`, … None of our statements has one in a text.
fn numbered(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (nth, part) in parts.enumerate() {
        out.push_str(&format!("${}{part}", nth + 1));
    }
    out
}

/// What the driver's error means. Only the server's own words are kept: it was never told a secret but the password.
fn judge(error: &sqlx::Error) -> Trouble {
    let sqlx::Error::Database(refusal) = error else {
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnIndexOutOfBounds { .. } => {
                Failure::Damaged("a column that is not what it should be").into()
            }
            sqlx::Error::Io(error) => Trouble::Cut(error.to_string()),
            sqlx::Error::Tls(error) => Trouble::Cut(error.to_string()),
            sqlx::Error::Protocol(words) => Trouble::Cut(words.clone()),
            _ => Trouble::Cut("the driver gave up".into()),
        };
    };
    let words = refusal.message().to_owned();
    let (state, number) = match refusal.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        Some(refusal) => (refusal.code().unwrap_or_default().to_owned(), refusal.number()),
        None => (refusal.code().unwrap_or_default().into_owned(), 0),
    };
    match (state.as_str(), number) {
        ("53100", _) | (_, 1021 | 1114) => Trouble::Full,
        // PostgreSQL: shut down, crashed, starting, idle for too long, in a transaction too; too many clients.
        ("57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "53300", _) => Trouble::Cut(words),
        // MySQL: too many clients, shut down, killed, idle for too long.
        (_, 1040 | 1053 | 1203 | 1226 | 1927 | 4031) => Trouble::Cut(words),
        // After a failover this is the old primary, or a replica that is none yet: the name may lead elsewhere by now.
        ("25006", _) | (_, 1290 | 1792 | 1836) => Trouble::Cut(format!("it is read-only ({words})")),
        (state, _) if state.starts_with("08") && number != 1047 => Trouble::Cut(words),
        _ => Trouble::Refused(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_for_postgres() {
        assert_eq!(numbered("SELECT ? FROM t WHERE a = ? AND b = ?"), "SELECT $1 FROM t WHERE a = $2 AND b = $3");
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
    }
}
