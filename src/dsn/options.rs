//! What the driver takes of an address: where to, as whom, with which certificates. How TLS is used and what a session is
//! like is for those who connect. Secrets leave a [`Dsn`] here and nowhere else.

use sqlx::ConnectOptions;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::{Dsn, Endpoint};

/// For a MySQL or MariaDB server; the session keeps the server's time zone.
pub fn mysql(dsn: &Dsn) -> MySqlConnectOptions {
    let mut options = MySqlConnectOptions::new()
        .username(&dsn.user)
        .database(&dsn.database)
        .timezone(None)
        .disable_statement_logging();
    options = match &dsn.endpoint {
        Endpoint::Tcp(host, port) => options.host(host).port(*port),
        Endpoint::Unix(path, _) => options.socket(path),
    };
    if !dsn.password.is_empty() {
        options = options.password(dsn.password.expose());
    }
    if let Some(file) = &dsn.ca_file {
        options = options.ssl_ca(file);
    }
    if let Some((certificate, key)) = &dsn.client_cert {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    options
}

/// For a PostgreSQL server; nothing is taken from the environment or a password file.
pub fn postgres(dsn: &Dsn) -> PgConnectOptions {
    let mut options = PgConnectOptions::new_without_pgpass()
        .username(&dsn.user)
        .database(&dsn.database)
        .application_name("one-api-sidecar")
        .disable_statement_logging();
    options = match &dsn.endpoint {
        Endpoint::Tcp(host, port) => options.host(host).port(*port),
        Endpoint::Unix(directory, port) => options.socket(directory).port(*port),
    };
    if !dsn.password.is_empty() {
        options = options.password(dsn.password.expose());
    }
    if let Some(file) = &dsn.ca_file {
        options = options.ssl_root_cert(file);
    }
    if let Some((certificate, key)) = &dsn.client_cert {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    options
}
