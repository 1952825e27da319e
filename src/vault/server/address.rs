//! The address of the vault's server: from its parts to what the driver takes, and what is named after it.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use rustix::process::{Uid, geteuid};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::dsn::{Dsn, Engine, Tls, options};
use crate::reason::ConfigReason;
use crate::secret::Secret;

/// Options of other programs that mean nothing here and harm nothing.
const IGNORED: [&str; 12] = [
    "charset",
    "collation",
    "parseTime",
    "loc",
    "readTimeout",
    "writeTimeout",
    "interpolateParams",
    "multiStatements",
    "allowNativePasswords",
    "checkConnLiveness",
    "application_name",
    "TimeZone",
];

/// A server, a database, and in PostgreSQL a schema.
#[derive(Debug, Clone)]
pub struct Address {
    dsn: Dsn,
    /// `None`: the schema that the server chooses.
    pub(super) schema: Option<String>,
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
        let bad = |detail: String| ConfigReason::BadVaultUrl { detail };
        let dsn = Dsn::parse_own(text.expose()).map_err(|detail| bad(detail.into()))?;
        let mut schema = dsn.search_path.clone();
        for (name, value) in &dsn.rest {
            match (dsn.engine, name.as_str()) {
                (Engine::Postgres, "schema" | "currentSchema") => schema = Some(value.clone()),
                (_, name) if IGNORED.contains(&name) => {}
                _ => return Err(bad(format!("its option `{name}` is not known here"))),
            }
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if schema.as_ref().is_some_and(|schema| schema.is_empty() || !schema.chars().all(is_plain)) {
            return Err(bad("its schema is not one name of letters, digits and `_`".into()));
        }
        Ok(Self { dsn, schema })
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
        runtime_directory(|name| std::env::var_os(name), geteuid(), is_ours).join(format!("{name}.vault"))
    }

    pub(super) fn options(&self) -> Options {
        let dsn = &self.dsn;
        match dsn.engine {
            Engine::Postgres => {
                let mode = match dsn.tls {
                    Tls::Off => PgSslMode::Disable,
                    // What a gateway's driver does without, where it may, a vault does not.
                    Tls::IfNeeded | Tls::Preferred => PgSslMode::Prefer,
                    Tls::Required => PgSslMode::Require,
                    Tls::VerifyCa => PgSslMode::VerifyCa,
                    Tls::Verified => PgSslMode::VerifyFull,
                };
                Options::Postgres(Box::new(options::postgres(dsn).ssl_mode(mode)))
            }
            Engine::MySql => {
                let mode = match dsn.tls {
                    Tls::Off => MySqlSslMode::Disabled,
                    Tls::IfNeeded | Tls::Preferred => MySqlSslMode::Preferred,
                    Tls::Required => MySqlSslMode::Required,
                    Tls::VerifyCa => MySqlSslMode::VerifyCa,
                    Tls::Verified => MySqlSslMode::VerifyIdentity,
                };
                Options::MySql(Box::new(options::mysql(dsn).charset("utf8mb4").ssl_mode(mode)))
            }
        }
    }
}

/// What systemd makes for the unit, and root for itself.
const SYSTEM: &str = "/run/one-api-sidecar";

/// Where this host's processes meet: systemd's `$RUNTIME_DIRECTORY`; the same folder for root and for the unit's user,
/// who find the unit's agent from any shell; `$XDG_RUNTIME_DIR`; else the directory for temporary files, with the
/// user's number in the name.
fn runtime_directory(env: impl Fn(&str) -> Option<OsString>, us: Uid, is_ours: impl Fn(&Path, Uid) -> bool) -> PathBuf {
    let from_env = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let system = Path::new(SYSTEM);
    from_env("RUNTIME_DIRECTORY")
        .or_else(|| (us.is_root() || is_ours(system, us)).then(|| system.to_owned()))
        .or_else(|| from_env("XDG_RUNTIME_DIR").map(|directory| directory.join("one-api-sidecar")))
        .unwrap_or_else(|| std::env::temp_dir().join(format!("one-api-sidecar-{}", us.as_raw())))
}

/// Whether a folder is there and belongs to us: in another user's nobody is met.
fn is_ours(folder: &Path, us: Uid) -> bool {
    std::fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == us.as_raw())
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
        assert_eq!(here("postgres://u:p@db/v"), here("postgres://other@db:5432/v?sslmode=require"));
        assert_ne!(here("postgres://u@db/v"), here("postgres://u@db/w"));
        assert_ne!(here("postgres://u@db/v"), here("postgres://u@db/v?schema=other"));
        assert_eq!(here("u:p@tcp(db)/v"), here("mysql://other@db/v"));
    }

    #[test]
    fn commands_look_where_the_unit_s_agent_is() {
        let place = |env: &'static [(&str, &str)], us, ours: bool| {
            let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            runtime_directory(env, Uid::from_raw(us), |_, _| ours)
        };
        let unit = include_str!("../../../packaging/one-api-sidecar.service");
        let made = unit.lines().find_map(|line| line.strip_prefix("RuntimeDirectory=")).expect("the unit has one");
        assert_eq!(Path::new("/run").join(made), Path::new(SYSTEM));

        let login = &[("XDG_RUNTIME_DIR", "/run/user/7"), ("RUNTIME_DIRECTORY", "")];
        assert_eq!(
            place(&[("RUNTIME_DIRECTORY", "/run/other"), ("XDG_RUNTIME_DIR", "/x")], 0, true),
            Path::new("/run/other")
        );
        assert_eq!(place(login, 0, false), Path::new(SYSTEM), "root, whatever its login brings along");
        assert_eq!(place(login, 7, true), Path::new(SYSTEM), "the unit's user");
        assert_eq!(place(login, 7, false), Path::new("/run/user/7/one-api-sidecar"), "anybody else");
        assert_eq!(place(&[], 7, false), std::env::temp_dir().join("one-api-sidecar-7"));
        assert!(!is_ours(Path::new("/proc"), Uid::from_raw(7)) && !is_ours(Path::new("/nowhere"), geteuid()));
    }

    #[test]
    fn a_server_that_offers_tls_is_taken_at_its_word_and_one_that_must_is_looked_at() {
        let mysql = |text: &str| match address(text).unwrap().options() {
            Options::MySql(options) => format!("{:?}", options.get_ssl_mode()),
            Options::Postgres(_) => panic!("{text}"),
        };
        let postgres = |text: &str| match address(text).unwrap().options() {
            Options::Postgres(options) => format!("{:?}", options.get_ssl_mode()),
            Options::MySql(_) => panic!("{text}"),
        };
        assert_eq!(mysql("u:p@tcp(db)/v?charset=utf8mb4&parseTime=True&loc=Local"), "Preferred");
        assert_eq!(mysql("u:p@tcp(db)/v?tls=true"), "VerifyIdentity");
        assert_eq!(mysql("u:p@tcp(db)/v?tls=false"), "Disabled");
        assert_eq!(mysql("mysql://u@db/v?ssl-mode=VERIFY_CA"), "VerifyCa");
        assert_eq!(postgres("postgres://u@db/v"), "Prefer");
        assert_eq!(postgres("postgres://u@db/v?sslmode=verify-full"), "VerifyFull");
    }

    #[test]
    fn the_schema_comes_from_the_options() {
        for option in ["schema=sidecar", "currentSchema=sidecar", "search_path=sidecar"] {
            let address = address(&format!("postgres://u:sentinel@db/v?{option}")).unwrap();
            assert_eq!(address.schema.as_deref(), Some("sidecar"));
            assert_eq!(address.to_string(), "postgres://db:5432/v/sidecar");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_without_repeating_it() {
        for text in [
            "postgres://u:sentinel@db/v?sslmode=sentinel",
            "postgres://u@db/v?schema=sentinel;b",
            "postgres://u@db/v?search_path=sentinel,b",
            "postgres://u@db/v?schema=",
            "u:p@tcp(db)/v?x=sentinel",
            "mysql://u@db/v?sslmode=sentinel",
        ] {
            let error = format!("{:?}", address(text).unwrap_err());
            assert!(error.contains("BadVaultUrl") && !error.contains("sentinel"), "{error}");
        }
    }
}
