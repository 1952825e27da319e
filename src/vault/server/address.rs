//! The address of the vault's server: from its parts to what the driver takes, and what is named after it.

use std::path::PathBuf;

use ring::digest::{SHA256, digest};
use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::dsn::{Dsn, Engine, Host};
use crate::reason::ConfigReason;
use crate::secret::Secret;

/// Options of other programs that mean nothing here and harm nothing.
const IGNORED: [&str; 16] = [
    "charset",
    "collation",
    "parseTime",
    "loc",
    "timeout",
    "readTimeout",
    "writeTimeout",
    "interpolateParams",
    "multiStatements",
    "allowNativePasswords",
    "checkConnLiveness",
    "connect_timeout",
    "application_name",
    "TimeZone",
    "host",
    "socket",
];

/// A server, a database, and in PostgreSQL a schema.
#[derive(Debug, Clone)]
pub struct Address {
    dsn: Dsn,
    /// `None`: the schema that the server chooses.
    pub(super) schema: Option<String>,
    tls: Tls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    Off,
    Preferred,
    /// Encrypted, and nobody looks at the certificate.
    Unverified,
    VerifyAuthority,
    VerifyHost,
}

/// What the driver takes.
#[derive(Debug, Clone)]
pub(super) enum Options {
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{}/{schema}", self.dsn),
            None => write!(f, "{}", self.dsn),
        }
    }
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is none, or names an option that is not known: nothing of it is repeated but the option's name.
    pub fn parse(text: &Secret) -> Result<Self, ConfigReason> {
        let bad = |detail: String| ConfigReason::BadDsn { detail };
        let dsn = crate::dsn::parse(text.expose()).map_err(|error| bad(error.to_string()))?;
        let (mut schema, mut tls) = (None, Tls::Preferred);
        for (name, value) in &dsn.options {
            let misread = || bad(format!("its option `{name}` has a value that is not known"));
            match (dsn.engine, name.as_str()) {
                (Engine::Postgres, "schema" | "search_path" | "currentSchema") => {
                    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    if value.is_empty() || !value.chars().all(is_plain) {
                        return Err(misread());
                    }
                    schema = Some(value.clone());
                }
                (_, "sslmode" | "ssl-mode" | "tls") => tls = Tls::parse(value).ok_or_else(misread)?,
                // Certificates are files: read when the connection is made.
                (_, "sslrootcert" | "sslcert" | "sslkey" | "ssl-ca" | "ssl-cert" | "ssl-key") => {}
                (_, name) if IGNORED.contains(&name) => {}
                _ => return Err(bad(format!("its option `{name}` is not known here"))),
            }
        }
        Ok(Self { dsn, schema, tls })
    }

    /// The kind of server.
    pub(super) fn engine(&self) -> Engine {
        self.dsn.engine
    }

    /// A number that stands for database and schema: the name of the lock.
    pub(super) fn lock_number(&self, database: &str, schema: &str) -> [u8; 8] {
        let mut number = [0; 8];
        let hash = digest(&SHA256, format!("one-api-sidecar\0{database}\0{schema}").as_bytes());
        number.copy_from_slice(&hash.as_ref()[..8]);
        number
    }

    /// What names the control socket on this host: in the runtime directory, after the address without its login.
    pub fn local(&self) -> PathBuf {
        let hash = digest(&SHA256, self.to_string().as_bytes());
        let name: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        runtime_directory().join(format!("{name}.vault"))
    }

    pub(super) fn options(&self) -> Options {
        let option = |names: [&str; 2]| names.iter().find_map(|name| self.dsn.options.get(*name));
        let (authority, certificate, key) =
            (option(["sslrootcert", "ssl-ca"]), option(["sslcert", "ssl-cert"]), option(["sslkey", "ssl-key"]));
        match self.dsn.engine {
            Engine::Postgres => {
                // Nothing is taken from the environment or a password file.
                let mut options = PgConnectOptions::new_without_pgpass()
                    .application_name("one-api-sidecar")
                    .database(&self.dsn.database)
                    .ssl_mode(match self.tls {
                        Tls::Off => PgSslMode::Disable,
                        Tls::Preferred => PgSslMode::Prefer,
                        Tls::Unverified => PgSslMode::Require,
                        Tls::VerifyAuthority => PgSslMode::VerifyCa,
                        Tls::VerifyHost => PgSslMode::VerifyFull,
                    });
                options = match &self.dsn.host {
                    Host::Tcp(host, port) => options.host(host).port(*port),
                    Host::Unix(path, port) => options.socket(path).port(*port),
                };
                if let Some(user) = &self.dsn.user {
                    options = options.username(user);
                }
                if let Some(password) = &self.dsn.password {
                    options = options.password(password.expose());
                }
                if let Some(file) = authority {
                    options = options.ssl_root_cert(file);
                }
                if let (Some(certificate), Some(key)) = (certificate, key) {
                    options = options.ssl_client_cert(certificate).ssl_client_key(key);
                }
                Options::Postgres(Box::new(options.disable_statement_logging()))
            }
            Engine::MySql => {
                let mut options = MySqlConnectOptions::new()
                    .database(&self.dsn.database)
                    .charset("utf8mb4")
                    // Sets the session's zone and mode, which this vault does not depend on.
                    .timezone(None)
                    .ssl_mode(match self.tls {
                        Tls::Off => MySqlSslMode::Disabled,
                        Tls::Preferred => MySqlSslMode::Preferred,
                        Tls::Unverified => MySqlSslMode::Required,
                        Tls::VerifyAuthority => MySqlSslMode::VerifyCa,
                        Tls::VerifyHost => MySqlSslMode::VerifyIdentity,
                    });
                options = match &self.dsn.host {
                    Host::Tcp(host, port) => options.host(host).port(*port),
                    Host::Unix(path, _) => options.socket(path),
                };
                if let Some(user) = &self.dsn.user {
                    options = options.username(user);
                }
                if let Some(password) = &self.dsn.password {
                    options = options.password(password.expose());
                }
                if let Some(file) = authority {
                    options = options.ssl_ca(file);
                }
                if let (Some(certificate), Some(key)) = (certificate, key) {
                    options = options.ssl_client_cert(certificate).ssl_client_key(key);
                }
                Options::MySql(Box::new(options.disable_statement_logging()))
            }
        }
    }
}

impl Tls {
    fn parse(value: &str) -> Option<Self> {
        Some(match value.to_ascii_lowercase().replace('-', "_").as_str() {
            "disable" | "disabled" | "false" => Self::Off,
            "allow" | "prefer" | "preferred" => Self::Preferred,
            "require" | "required" | "skip_verify" => Self::Unverified,
            "verify_ca" => Self::VerifyAuthority,
            "verify_full" | "verify_identity" | "true" => Self::VerifyHost,
            _ => return None,
        })
    }
}

/// Where this host's processes meet: `$XDG_RUNTIME_DIR`, systemd's `$RUNTIME_DIRECTORY`, `/run` for root, else the
/// directory for temporary files, with the user's number in the name.
fn runtime_directory() -> PathBuf {
    let from_env = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let us = rustix::process::geteuid();
    from_env("RUNTIME_DIRECTORY")
        .or_else(|| from_env("XDG_RUNTIME_DIR").map(|directory| directory.join("one-api-sidecar")))
        .or_else(|| us.is_root().then(|| PathBuf::from("/run/one-api-sidecar")))
        .unwrap_or_else(|| std::env::temp_dir().join(format!("one-api-sidecar-{}", us.as_raw())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, ConfigReason> {
        Address::parse(&Secret::new(text))
    }

    #[test]
    fn what_is_named_after_an_address_does_not_depend_on_its_login() {
        let here = |text| address(text).unwrap().local();
        assert_eq!(here("postgres://u:p@db/v"), here("postgres://db:5432/v?sslmode=require"));
        assert_ne!(here("postgres://db/v"), here("postgres://db/w"));
        assert_ne!(here("postgres://db/v"), here("postgres://db/v?schema=other"));
        assert_eq!(here("u:p@tcp(db)/v"), here("mysql://db/v"));
    }

    #[test]
    fn tls_and_schema_come_from_the_options() {
        let cases = [
            ("postgres://db/v", Tls::Preferred),
            ("postgres://db/v?sslmode=verify-full", Tls::VerifyHost),
            ("mysql://db/v?ssl-mode=VERIFY_CA", Tls::VerifyAuthority),
            ("u:p@tcp(db)/v?tls=skip-verify&charset=utf8mb4&parseTime=True&loc=Local", Tls::Unverified),
            ("u:p@tcp(db)/v?tls=true", Tls::VerifyHost),
            ("u:p@tcp(db)/v?tls=false", Tls::Off),
        ];
        for (text, tls) in cases {
            assert_eq!(address(text).unwrap().tls, tls, "{text}");
        }
        let address = address("postgres://u:sentinel@db/v?schema=sidecar").unwrap();
        assert_eq!(address.schema.as_deref(), Some("sidecar"));
        assert_eq!(address.to_string(), "postgres://db:5432/v/sidecar");
    }

    #[test]
    fn what_is_not_understood_is_refused_without_repeating_it() {
        for text in
            ["postgres://u:sentinel@db/v?sslmode=sentinel", "postgres://db/v?schema=a;b", "u:p@tcp(db)/v?x=sentinel"]
        {
            let error = format!("{:?}", address(text).unwrap_err());
            assert!(error.contains("BadDsn") && !error.contains("sentinel"), "{error}");
        }
    }
}
