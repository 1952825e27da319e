//! What a server's error codes mean for the person who has to do something about them.
//!
//! A server's own messages are not passed on: they can hold what a row holds. Codes, and what the system and the TLS library
//! say while connecting, are.

use std::time::Duration;

use sqlx::mysql::MySqlDatabaseError;

use crate::dsn::Dsn;
use crate::reason::GatewayReason;

/// What stands in the way: the server's or the library's words, or something we know by name already.
#[derive(Debug)]
pub(super) enum Obstacle {
    Sqlx(sqlx::Error),
    Known(GatewayReason),
}

impl From<sqlx::Error> for Obstacle {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}

impl From<GatewayReason> for Obstacle {
    fn from(reason: GatewayReason) -> Self {
        Self::Known(reason)
    }
}

/// What can be done about an obstacle here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Somebody else was let through first: the whole transaction is tried again.
    Again,
    /// This connection is of no use any more.
    Reconnect,
    /// Nothing here: it is told.
    Tell,
}

impl Obstacle {
    /// What can be done about it.
    pub(super) fn way(&self) -> Way {
        match self {
            Self::Known(GatewayReason::ConnectionLost { .. } | GatewayReason::Unreachable { .. }) => Way::Reconnect,
            Self::Known(_) => Way::Tell,
            Self::Sqlx(sqlx::Error::Database(_)) => match meaning_of(self) {
                Some(Meaning::Deadlock) => Way::Again,
                // A failover leaves the old primary behind, read-only: the name may lead elsewhere by now.
                Some(Meaning::Ended | Meaning::ReadOnly) => Way::Reconnect,
                _ => Way::Tell,
            },
            Self::Sqlx(_) => Way::Reconnect,
        }
    }

    /// The reason that a person can act upon. `waited` is for how long the operation had been at it; `connected`, whether
    /// there was a connection.
    pub(super) fn reason(self, dsn: &Dsn, waited: Duration, connected: bool) -> GatewayReason {
        let (at, user) = (dsn.to_string(), dsn.user.clone());
        let meaning = meaning_of(&self);
        let error = match self {
            Self::Known(reason) => return reason,
            Self::Sqlx(error) => error,
        };
        match meaning {
            Some(Meaning::AccessDenied) => GatewayReason::AccessDenied { at, user },
            Some(Meaning::UnknownDatabase) => GatewayReason::UnknownDatabase { at },
            Some(Meaning::TlsRequired) => GatewayReason::TlsRequired { at },
            Some(Meaning::TooMany) => GatewayReason::TooManyConnections { at },
            Some(Meaning::ReadOnly) => GatewayReason::ServerReadOnly { at, code: code(&error) },
            Some(Meaning::NoPrivilege) => GatewayReason::NoPrivilege { at, user },
            Some(Meaning::NoTable) => GatewayReason::NotMigrated { path: at },
            Some(Meaning::Locked | Meaning::Deadlock) => {
                GatewayReason::RowsLocked { at, waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX) }
            }
            Some(Meaning::Full) => GatewayReason::ServerFull { at },
            Some(Meaning::Ended) if connected => GatewayReason::ConnectionLost { at },
            Some(Meaning::Ended) => {
                GatewayReason::Unreachable { at, error: format!("not ready, error {}", code(&error)) }
            }
            None if matches!(error, sqlx::Error::Database(_)) => {
                GatewayReason::Failed { error: format!("server error {}", code(&error)) }
            }
            None if connected => GatewayReason::ConnectionLost { at },
            None => match tls_words(&error) {
                Some(error) => GatewayReason::TlsFailed { at, error },
                None => GatewayReason::Unreachable { at, error: connecting_words(&error) },
            },
        }
    }
}

/// What the codes that we know by name mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    AccessDenied,
    UnknownDatabase,
    TlsRequired,
    TooMany,
    ReadOnly,
    NoPrivilege,
    NoTable,
    Locked,
    Deadlock,
    Full,
    /// The server is ending, or has ended this connection, or is not ready yet.
    Ended,
}

fn meaning_of(obstacle: &Obstacle) -> Option<Meaning> {
    match obstacle {
        Obstacle::Sqlx(sqlx::Error::Database(error)) => match error.try_downcast_ref::<MySqlDatabaseError>() {
            Some(error) => mysql(error.number()),
            None => postgres(error.code().as_deref()?, error.message()),
        },
        // The one thing that the library itself refuses: a password, unencrypted.
        Obstacle::Sqlx(sqlx::Error::Configuration(_)) => Some(Meaning::TlsRequired),
        _ => None,
    }
}

/// Codes: <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>
fn mysql(number: u16) -> Option<Meaning> {
    Some(match number {
        1045 | 1698 | 1130 | 1251 | 1862 | 4151 => Meaning::AccessDenied,
        1044 | 1049 => Meaning::UnknownDatabase,
        3159 => Meaning::TlsRequired,
        1040 | 1203 | 1226 => Meaning::TooMany,
        // --read-only and --super-read-only; READ ONLY transactions; innodb_read_only.
        1290 | 1792 | 1836 => Meaning::ReadOnly,
        1142 | 1143 | 1227 | 1370 => Meaning::NoPrivilege,
        1146 => Meaning::NoTable,
        1205 | 3572 => Meaning::Locked,
        1213 => Meaning::Deadlock,
        1021 | 1114 => Meaning::Full,
        1053 | 1077 | 1079 | 1927 | 3169 | 4031 => Meaning::Ended,
        _ => return None,
    })
}

/// Codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn postgres(code: &str, message: &str) -> Option<Meaning> {
    Some(match code {
        // pg_hba.conf may have a line for this user with encryption only. The words are the same in each release:
        // src/backend/libpq/auth.c, `ClientAuthentication`.
        "28000" if message.contains("no encryption") || message.contains("SSL off") => Meaning::TlsRequired,
        "28000" | "28P01" => Meaning::AccessDenied,
        "3D000" => Meaning::UnknownDatabase,
        "53300" => Meaning::TooMany,
        "25006" => Meaning::ReadOnly,
        "42501" => Meaning::NoPrivilege,
        "42P01" | "3F000" => Meaning::NoTable,
        "55P03" => Meaning::Locked,
        "40P01" | "40001" => Meaning::Deadlock,
        "53100" => Meaning::Full,
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "08006" | "08003" => Meaning::Ended,
        _ => return None,
    })
}

/// Whether the server may let us in with TLS: it says so, or does not say why it does not.
pub(super) fn wants_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Configuration(_) => true,
        sqlx::Error::Database(error) => match error.try_downcast_ref::<MySqlDatabaseError>() {
            // A user that must use TLS (REQUIRE SSL) is refused like one with a wrong password.
            Some(error) => matches!(mysql(error.number()), Some(Meaning::TlsRequired | Meaning::AccessDenied)),
            None => error.code().and_then(|code| postgres(&code, error.message())) == Some(Meaning::TlsRequired),
        },
        _ => false,
    }
}

/// What the TLS library says, if it was that.
pub(super) fn tls_words(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::Tls(error) => Some(error.to_string()),
        // A handshake fails as I/O with the library's error within.
        sqlx::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>().map(ToString::to_string),
        _ => None,
    }
}

fn connecting_words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => error.to_string(),
        // The server's greeting was not understood; there is no row in it.
        sqlx::Error::Protocol(words) => words.clone(),
        _ => "the connection failed".to_owned(),
    }
}

/// A server's error as it may be shown: its code.
fn code(error: &sqlx::Error) -> String {
    let sqlx::Error::Database(error) = error else { return "?".to_owned() };
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => error.number().to_string(),
        None => error.code().map_or_else(|| "?".to_owned(), Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_a_server_has_its_own_meaning() {
        for (number, expected) in [
            (1045, Some(Meaning::AccessDenied)),
            (1049, Some(Meaning::UnknownDatabase)),
            (3159, Some(Meaning::TlsRequired)),
            (1040, Some(Meaning::TooMany)),
            (1290, Some(Meaning::ReadOnly)),
            (1792, Some(Meaning::ReadOnly)),
            (1836, Some(Meaning::ReadOnly)),
            (1142, Some(Meaning::NoPrivilege)),
            (1146, Some(Meaning::NoTable)),
            (1205, Some(Meaning::Locked)),
            (1213, Some(Meaning::Deadlock)),
            (1064, None),
        ] {
            assert_eq!(mysql(number), expected, "{number}");
        }
        for (code, expected) in [
            ("28P01", Some(Meaning::AccessDenied)),
            ("3D000", Some(Meaning::UnknownDatabase)),
            ("53300", Some(Meaning::TooMany)),
            ("25006", Some(Meaning::ReadOnly)),
            ("42501", Some(Meaning::NoPrivilege)),
            ("42P01", Some(Meaning::NoTable)),
            ("55P03", Some(Meaning::Locked)),
            ("40P01", Some(Meaning::Deadlock)),
            ("40001", Some(Meaning::Deadlock)),
            ("57P03", Some(Meaning::Ended)),
            ("42601", None),
        ] {
            assert_eq!(postgres(code, "whatever"), expected, "{code}");
        }
        let refused = r#"no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", no encryption"#;
        assert_eq!(postgres("28000", refused), Some(Meaning::TlsRequired));
    }
}
