//! Addresses of database servers in the forms that the gateways' `SQL_DSN` has, and as URLs. Leaf.
//!
//! Takes `postgres://…` apart as pgx does and everything else as go-sql-driver does, because that is what the gateways
//! hand it to; `mysql://…`, which they do not take, where the address is the sidecar's own. Pure; what it holds of a
//! password is a [`Secret`], and what it shows is engine, host and database.

#[cfg(feature = "servers")]
pub mod options;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::secret::Secret;

/// What speaks at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// MySQL, MariaDB and what speaks as they do.
    MySql,
    /// PostgreSQL.
    Postgres,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host and a port.
    Tcp(String, u16),
    /// A Unix socket; for PostgreSQL its directory.
    Unix(PathBuf, u16),
}

/// How much encryption is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// None.
    Off,
    /// None, unless the server insists on it.
    IfNeeded,
    /// Whatever the server has.
    Preferred,
    /// Encrypted; nobody looks whose certificate it is.
    Required,
    /// Encrypted, and the certificate's authority is known.
    VerifyCa,
    /// Encrypted, and the certificate is the host's.
    Verified,
}

/// The address of a database on a server. `Debug` and `Display` show neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    /// What speaks there.
    pub engine: Engine,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The user.
    pub user: String,
    /// The password; may be empty.
    pub password: Secret,
    /// The database.
    pub database: String,
    /// How much encryption is wanted.
    pub tls: Tls,
    /// A PEM file of further authorities (`sslrootcert`; `ssl-ca` in a URL of MySQL's).
    pub ca_file: Option<PathBuf>,
    /// PEM files of the client's certificate and its key (`sslcert` and `sslkey`; `ssl-cert` and `ssl-key`).
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// How long connecting may take.
    pub connect_timeout: Option<Duration>,
    /// PostgreSQL: the schemas in which tables are looked for.
    pub search_path: Option<String>,
    /// What else stands behind the question mark: what a driver reads of it is no concern of a gateway's way in.
    pub rest: BTreeMap<String, String>,
}

/// Why a text is no address of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotADsn {
    /// One-API and New API take it for SQLite: it is empty, or begins with `local`.
    Sqlite,
    /// What is wrong with it, without the address.
    Bad(&'static str),
}

const MYSQL_FORM: &str = "MySQL is written like user:password@tcp(host:3306)/database";
const POSTGRES_FORM: &str = "PostgreSQL is written like postgres://user:password@host:5432/database";
const OWN_FORM: &str = "it has none of the forms that are known";

impl Dsn {
    /// Takes a gateway's address apart.
    ///
    /// Sources: one-api `model/main.go` (`chooseDB`) and new-api `model/main.go` for which driver gets it;
    /// go-sql-driver/mysql `dsn.go` and jackc/pgx `pgconn/config.go` for what they make of it.
    ///
    /// # Errors
    /// Why it is none. Nothing of the text is repeated.
    pub fn parse(text: &str) -> Result<Self, NotADsn> {
        let text = text.trim();
        if text.is_empty() || text.starts_with("local") {
            return Err(NotADsn::Sqlite);
        }
        match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
            Some(rest) => postgres(rest),
            None if text.contains("://") && !text.contains('(') => Err(NotADsn::Bad(MYSQL_FORM)),
            None if text.contains("dbname=") => Err(NotADsn::Bad(POSTGRES_FORM)),
            None => mysql(text),
        }
    }

    /// Takes an address apart that no gateway reads: in the same forms, or as `mysql://…` or `mariadb://…`.
    ///
    /// # Errors
    /// Why it is none. Nothing of the text is repeated.
    pub fn parse_own(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let parsed = match text.strip_prefix("mysql://").or_else(|| text.strip_prefix("mariadb://")) {
            Some(rest) => mysql_url(rest),
            None => Self::parse(text),
        };
        parsed.map_err(|problem| match problem {
            NotADsn::Sqlite | NotADsn::Bad(MYSQL_FORM) => OWN_FORM,
            NotADsn::Bad(detail) => detail,
        })
    }

    /// Whether a text of the config means a server rather than the path of a file.
    pub fn is_meant_by(text: &str) -> bool {
        if text.starts_with(['/', '.']) {
            return false;
        }
        let networks = ["tcp(", "tcp4(", "tcp6(", "unix("];
        let go_form = networks.iter().any(|network| text.starts_with(network) || text.contains(&format!("@{network}")));
        go_form || text.contains("@/") || text.contains("://") || text.contains("dbname=")
    }
}

/// What may be shown of it: `mysql://host:3306/database`.
impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = match self.engine {
            Engine::MySql => "mysql",
            Engine::Postgres => "postgres",
        };
        match &self.endpoint {
            Endpoint::Tcp(host, port) if host.contains(':') => write!(f, "{engine}://[{host}]:{port}")?,
            Endpoint::Tcp(host, port) => write!(f, "{engine}://{host}:{port}")?,
            Endpoint::Unix(path, _) => write!(f, "{engine}://({})", path.display())?,
        }
        write!(f, "/{}", self.database)
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({self})")
    }
}

/// `[user[:password]@][net[(address)]]/database[?name=value&…]`: the last `/` and, before it, the last `@` count, so that
/// a password may hold both.
fn mysql(text: &str) -> Result<Dsn, NotADsn> {
    const BAD_FORM: NotADsn = NotADsn::Bad(MYSQL_FORM);
    let (left, right) = text.rsplit_once('/').ok_or(BAD_FORM)?;
    let (login, network) = left.rsplit_once('@').unwrap_or(("", left));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (network, address) = match network.split_once('(') {
        Some((network, address)) => (network, address.strip_suffix(')').ok_or(BAD_FORM)?),
        None => (network, ""),
    };
    let endpoint = match (network, address) {
        ("" | "tcp" | "tcp4" | "tcp6", "") => Endpoint::Tcp("127.0.0.1".into(), 3306),
        ("" | "tcp" | "tcp4" | "tcp6", address) => {
            let (host, port) = host_and_port(address, 3306)?;
            Endpoint::Tcp(host.to_owned(), port)
        }
        ("unix", "") => Endpoint::Unix("/tmp/mysql.sock".into(), 0),
        ("unix", path) => Endpoint::Unix(path.into(), 0),
        _ => return Err(BAD_FORM),
    };
    let (database, params) = right.split_once('?').unwrap_or((right, ""));
    let mut dsn = Dsn {
        engine: Engine::MySql,
        endpoint,
        user: user.to_owned(),
        password: Secret::new(password),
        database: decoded(database)?,
        tls: Tls::IfNeeded,
        ca_file: None,
        client_cert: None,
        connect_timeout: None,
        search_path: None,
        rest: BTreeMap::new(),
    };
    if dsn.database.is_empty() {
        return Err(NO_DATABASE);
    }
    // What is left (charset, parseTime, loc, collation, …) says how Go reads values.
    for (name, value) in url::form_urlencoded::parse(params.as_bytes()) {
        match &*name {
            "tls" => dsn.tls = mysql_tls(&value)?,
            "timeout" => dsn.connect_timeout = humantime::parse_duration(&value).ok().filter(|time| !time.is_zero()),
            _ => drop(dsn.rest.insert(name.into_owned(), value.into_owned())),
        }
    }
    Ok(dsn)
}

fn mysql_tls(value: &str) -> Result<Tls, NotADsn> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(Tls::Verified),
        "false" | "0" => Ok(Tls::Off),
        "skip-verify" => Ok(Tls::Required),
        "preferred" => Ok(Tls::Preferred),
        // In Go a program registers such a name; the gateways register none.
        _ => Err(NotADsn::Bad("`tls` takes true, skip-verify, preferred or false")),
    }
}

/// What a URL of either engine says before its options.
struct Url<'t> {
    user: String,
    password: String,
    host: String,
    port: u16,
    database: String,
    params: &'t str,
}

/// What follows `scheme://`. The last `@` before the path counts: a password may hold one, as it is often written.
fn url(rest: &str, default_port: u16) -> Result<Url<'_>, NotADsn> {
    let (rest, params) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = host_and_port(address, default_port)?;
    let (user, password, database) = (decoded(user)?, decoded(password)?, decoded(database)?);
    Ok(Url { user, password, host: decoded(host)?, port, database, params })
}

/// What follows `mysql://`, with the options of MySQL's own clients.
fn mysql_url(rest: &str) -> Result<Dsn, NotADsn> {
    let Url { user, password, host, port, database, params } = url(rest, 3306)?;
    if user.is_empty() {
        return Err(NO_USER);
    }
    if database.is_empty() {
        return Err(NO_DATABASE);
    }
    let mut dsn = Dsn {
        engine: Engine::MySql,
        endpoint: match host.as_str() {
            "" => Endpoint::Tcp("localhost".into(), port),
            socket if socket.starts_with('/') => Endpoint::Unix(socket.into(), 0),
            host => Endpoint::Tcp(host.into(), port),
        },
        user,
        password: Secret::new(password),
        database,
        tls: Tls::Preferred,
        ca_file: None,
        client_cert: None,
        connect_timeout: None,
        search_path: None,
        rest: BTreeMap::new(),
    };
    let (mut cert, mut key) = (None, None);
    for (name, value) in url::form_urlencoded::parse(params.as_bytes()) {
        let value = value.into_owned();
        match &*name {
            "socket" => dsn.endpoint = Endpoint::Unix(value.into(), 0),
            "ssl-mode" => dsn.tls = mysql_ssl_mode(&value)?,
            "tls" => dsn.tls = mysql_tls(&value)?,
            "ssl-ca" => dsn.ca_file = Some(value.into()),
            "ssl-cert" => cert = Some(PathBuf::from(value)),
            "ssl-key" => key = Some(PathBuf::from(value)),
            _ => drop(dsn.rest.insert(name.into_owned(), value)),
        }
    }
    dsn.client_cert = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(NotADsn::Bad("`ssl-cert` and `ssl-key` go together")),
    };
    Ok(dsn)
}

/// Source: the MySQL manual, `--ssl-mode`.
fn mysql_ssl_mode(value: &str) -> Result<Tls, NotADsn> {
    match value.to_ascii_lowercase().as_str() {
        "disabled" => Ok(Tls::Off),
        "preferred" => Ok(Tls::Preferred),
        "required" => Ok(Tls::Required),
        "verify_ca" => Ok(Tls::VerifyCa),
        "verify_identity" => Ok(Tls::Verified),
        _ => Err(NotADsn::Bad("`ssl-mode` takes DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY")),
    }
}

/// What follows `postgres://`.
fn postgres(rest: &str) -> Result<Dsn, NotADsn> {
    let Url { mut user, mut password, mut host, mut port, mut database, params } = url(rest, 5432)?;
    let (mut mode, mut ca_file, mut cert, mut key) = ("prefer".to_owned(), None, None, None);
    let (mut connect_timeout, mut search_path, mut rest) = (None, None, BTreeMap::new());
    for (name, value) in url::form_urlencoded::parse(params.as_bytes()) {
        let value = value.into_owned();
        match &*name {
            "user" => user = value,
            "password" => password = value,
            "dbname" | "database" => database = value,
            "host" | "hostaddr" => host = value,
            "port" => port = value.parse().map_err(|_| BAD_PORT)?,
            "sslmode" => mode = value,
            "sslrootcert" => ca_file = Some(PathBuf::from(value)),
            "sslcert" => cert = Some(PathBuf::from(value)),
            "sslkey" => key = Some(PathBuf::from(value)),
            "connect_timeout" => connect_timeout = value.parse().ok().filter(|s| *s > 0).map(Duration::from_secs),
            "search_path" => search_path = Some(value),
            "options" => search_path = search_path_of(&value).or(search_path),
            // TimeZone, application_name, …
            _ => drop(rest.insert(name.into_owned(), value)),
        }
    }
    if host.contains(',') {
        return Err(NotADsn::Bad("it names several hosts; name the one that takes writes"));
    }
    if user.is_empty() {
        return Err(NO_USER);
    }
    let tls = match mode.as_str() {
        "disable" => Tls::Off,
        "allow" => Tls::IfNeeded,
        "prefer" => Tls::Preferred,
        // As libpq and pgx have it: who names an authority wants it checked.
        "require" if ca_file.is_some() => Tls::VerifyCa,
        "require" => Tls::Required,
        "verify-ca" => Tls::VerifyCa,
        "verify-full" => Tls::Verified,
        _ => return Err(NotADsn::Bad("`sslmode` takes disable, allow, prefer, require, verify-ca or verify-full")),
    };
    let client_cert = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(NotADsn::Bad("`sslcert` and `sslkey` go together")),
    };
    let endpoint = match host.as_str() {
        "" => Endpoint::Tcp("localhost".into(), port),
        directory if directory.starts_with('/') => Endpoint::Unix(directory.into(), port),
        host => Endpoint::Tcp(host.into(), port),
    };
    Ok(Dsn {
        engine: Engine::Postgres,
        endpoint,
        // The server's own default.
        database: if database.is_empty() { user.clone() } else { database },
        user,
        password: Secret::new(password),
        tls,
        ca_file,
        client_cert,
        connect_timeout,
        search_path,
        rest,
    })
}

const BAD_PORT: NotADsn = NotADsn::Bad("its port is no number up to 65535");
const NO_DATABASE: NotADsn = NotADsn::Bad("it names no database");
const NO_USER: NotADsn = NotADsn::Bad("it names no user");

/// `host`, `host:port`, `[v6]:port`, `:port`.
fn host_and_port(address: &str, default: u16) -> Result<(&str, u16), NotADsn> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(NotADsn::Bad("its host lacks a `]`"))?;
            (host, rest.strip_prefix(':'))
        }
        None => match address.rsplit_once(':') {
            Some((host, port)) if !host.contains([':', ',']) => (host, Some(port)),
            _ => (address, None),
        },
    };
    let port = port.map_or(Ok(default), |port| port.parse().map_err(|_| BAD_PORT))?;
    Ok((host, port))
}

/// `-c search_path=a,b` among a server's options.
fn search_path_of(options: &str) -> Option<String> {
    let words = options.split_whitespace();
    let settings = words.map(|word| word.strip_prefix("-c").or_else(|| word.strip_prefix("--")).unwrap_or(word));
    settings.filter_map(|setting| setting.strip_prefix("search_path=")).next_back().map(str::to_owned)
}

fn decoded(text: &str) -> Result<String, NotADsn> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| NotADsn::Bad("what its %-signs stand for is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp(host.into(), port)
    }

    #[test]
    fn mysql_addresses_are_read_as_go_reads_them() {
        for (text, endpoint, user, password, database, tls) in [
            ("oneapi:123456@tcp(db:3306)/one-api", tcp("db", 3306), "oneapi", "123456", "one-api", Tls::IfNeeded),
            ("root:p@ss/w:rd@tcp(10.0.0.2)/d", tcp("10.0.0.2", 3306), "root", "p@ss/w:rd", "d", Tls::IfNeeded),
            ("u@tcp([::1]:3307)/d?tls=true", tcp("::1", 3307), "u", "", "d", Tls::Verified),
            ("u:p@/d?charset=utf8mb4&parseTime=True&loc=Local", tcp("127.0.0.1", 3306), "u", "p", "d", Tls::IfNeeded),
            ("u:p@tcp(h)/d?tls=skip-verify", tcp("h", 3306), "u", "p", "d", Tls::Required),
            ("u:p@tcp(h)/d?tls=preferred", tcp("h", 3306), "u", "p", "d", Tls::Preferred),
            ("u:p@tcp(h)/d?tls=false&loc=Asia%2FShanghai", tcp("h", 3306), "u", "p", "d", Tls::Off),
            ("u:p@unix(/run/m.sock)/d%20e", Endpoint::Unix("/run/m.sock".into(), 0), "u", "p", "d e", Tls::IfNeeded),
        ] {
            let dsn = Dsn::parse(text).unwrap();
            assert_eq!((dsn.engine, &dsn.endpoint), (Engine::MySql, &endpoint), "{text}");
            let expected = (user, Secret::new(password), database, tls);
            assert_eq!((dsn.user.as_str(), dsn.password, dsn.database.as_str(), dsn.tls), expected, "{text}");
            assert!(Dsn::is_meant_by(text), "{text}");
        }
    }

    #[test]
    fn postgres_addresses_are_read_as_pgx_reads_them() {
        for (text, endpoint, user, password, database, tls) in [
            ("postgres://root:123@db:5432/new-api", tcp("db", 5432), "root", "123", "new-api", Tls::Preferred),
            ("postgresql://u:p%40%2F@h/d?sslmode=disable", tcp("h", 5432), "u", "p@/", "d", Tls::Off),
            ("postgres://u@h:6432?sslmode=verify-full", tcp("h", 6432), "u", "", "u", Tls::Verified),
            ("postgres://u@[::1]/d?sslmode=require", tcp("::1", 5432), "u", "", "d", Tls::Required),
            ("postgres://u@h/d?sslmode=require&sslrootcert=/ca.pem", tcp("h", 5432), "u", "", "d", Tls::VerifyCa),
            (
                "postgres:///d?host=/run/pg&user=u&port=5433",
                Endpoint::Unix("/run/pg".into(), 5433),
                "u",
                "",
                "d",
                Tls::Preferred,
            ),
            (
                "postgres://u@%2Frun%2Fpg/d?TimeZone=UTC",
                Endpoint::Unix("/run/pg".into(), 5432),
                "u",
                "",
                "d",
                Tls::Preferred,
            ),
        ] {
            let dsn = Dsn::parse(text).unwrap();
            assert_eq!((dsn.engine, &dsn.endpoint), (Engine::Postgres, &endpoint), "{text}");
            let expected = (user, Secret::new(password), database, tls);
            assert_eq!((dsn.user.as_str(), dsn.password, dsn.database.as_str(), dsn.tls), expected, "{text}");
            assert!(Dsn::is_meant_by(text), "{text}");
        }
        for options in [
            "search_path=oneapi,public",
            "options=-csearch_path%3Doneapi%2Cpublic",
            "options=-c%20search_path%3Doneapi,public",
        ] {
            let dsn = Dsn::parse(&format!("postgres://u@h/d?{options}")).unwrap();
            assert_eq!(dsn.search_path.as_deref(), Some("oneapi,public"), "{options}");
        }
        let timeout = Dsn::parse("postgres://u@h/d?connect_timeout=3").unwrap().connect_timeout;
        assert_eq!(timeout, Some(Duration::from_secs(3)));
        assert_eq!(Dsn::parse("u@tcp(h)/d?timeout=1m30s").unwrap().connect_timeout, Some(Duration::from_secs(90)));
    }

    #[test]
    fn an_address_of_our_own_may_be_a_url_of_mysql() {
        let unix = |path: &str| Endpoint::Unix(path.into(), 0);
        for (text, endpoint, password, tls) in [
            ("mysql://u:a%40b%2Fc@db/v", tcp("db", 3306), "a@b/c", Tls::Preferred),
            ("mysql://u:a@b@db:3307/v", tcp("db", 3307), "a@b", Tls::Preferred),
            ("mysql://u@[::1]:3307/v?ssl-mode=VERIFY_IDENTITY", tcp("::1", 3307), "", Tls::Verified),
            ("mysql://u@db/v?ssl-mode=required", tcp("db", 3306), "", Tls::Required),
            ("mysql://u@db/v?tls=false", tcp("db", 3306), "", Tls::Off),
            ("mariadb://u@/v?socket=/run/m.sock", unix("/run/m.sock"), "", Tls::Preferred),
            ("mariadb://u@%2Frun%2Fm.sock/v", unix("/run/m.sock"), "", Tls::Preferred),
            ("u@tcp(db)/v", tcp("db", 3306), "", Tls::IfNeeded),
        ] {
            let dsn = Dsn::parse_own(text).unwrap();
            assert_eq!((dsn.engine, &dsn.endpoint), (Engine::MySql, &endpoint), "{text}");
            let expected = ("u", Secret::new(password), "v", tls);
            assert_eq!((dsn.user.as_str(), dsn.password, dsn.database.as_str(), dsn.tls), expected, "{text}");
        }
        let dsn = Dsn::parse_own("mysql://u@db/v?ssl-ca=/ca.pem&ssl-cert=/c.pem&ssl-key=/k.pem").unwrap();
        assert_eq!(dsn.ca_file, Some("/ca.pem".into()));
        assert_eq!(dsn.client_cert, Some(("/c.pem".into(), "/k.pem".into())));
        let dsn = Dsn::parse_own("postgres://u:p@db/v").unwrap();
        assert_eq!((dsn.engine, dsn.tls), (Engine::Postgres, Tls::Preferred));
    }

    #[test]
    fn what_is_no_address_of_our_own_is_refused_by_reason() {
        for (text, detail) in [
            ("", OWN_FORM),
            ("local", OWN_FORM),
            ("/data/vault.db", OWN_FORM),
            ("vault.db", OWN_FORM),
            ("http://sentinel/v", OWN_FORM),
            ("sqlite:///sentinel.db", OWN_FORM),
            ("u:sentinel@udp(db)/v", OWN_FORM),
            ("u:sentinel@tcp(db/v", OWN_FORM),
            ("host=h user=u password=sentinel dbname=d", POSTGRES_FORM),
            ("mysql://sentinel/v", "it names no user"),
            ("postgres://sentinel/v", "it names no user"),
            ("mysql://u:sentinel@db", "it names no database"),
            ("u:sentinel@tcp(db)/", "it names no database"),
            ("mysql://u:sentinel@db:70000/v", "its port is no number up to 65535"),
            ("mysql://u:sentinel@db/v?ssl-cert=/c", "`ssl-cert` and `ssl-key` go together"),
        ] {
            assert_eq!(Dsn::parse_own(text), Err(detail), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        let rest = |text: &str| {
            let rest = Dsn::parse_own(text).unwrap().rest;
            rest.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let go = rest("u:p@tcp(db)/v?charset=utf8mb4&tls=true&loc=Asia%2FShanghai&init=a+b&flag");
        assert_eq!(go, ["charset=utf8mb4", "flag=", "init=a b", "loc=Asia/Shanghai"]);
        assert_eq!(rest("postgres://u@db/v?schema=s&sslmode=require"), ["schema=s"]);
        assert_eq!(rest("mysql://u@db/v?ssl-mode=required&x=y"), ["x=y"]);
    }

    #[test]
    fn what_is_no_address_is_told_from_what_means_sqlite() {
        for text in ["", "  ", "local", "local://anything"] {
            assert_eq!(Dsn::parse(text), Err(NotADsn::Sqlite), "{text:?}");
        }
        for text in [
            "mysql://u:sentinel@h/d",
            "u:sentinel@tcp(h:3306)",
            "u:sentinel@tcp(h:3306/d",
            "u:sentinel@tcp(h:port)/d",
            "u:sentinel@tcp(h)/",
            "u:sentinel@udp(h)/d",
            "u:sentinel@tcp(h)/d?tls=mine",
            "u:sentinel@tcp(h)/d?loc=Asia/Shanghai",
            "host=h user=u password=sentinel dbname=d",
            "postgres://u:sentinel@h1,h2/d",
            "postgres://u:sentinel@h:1:2:x/d?host=a,b",
            "postgres://:sentinel@h/d",
            "postgres://u:sentinel@h/d?sslmode=maybe",
            "postgres://u:sentinel@h/d?sslcert=/c",
            "postgres://u:sentinel%ff@h/d",
        ] {
            match Dsn::parse(text) {
                Err(NotADsn::Bad(detail)) => assert!(!detail.contains("sentinel"), "{detail}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn paths_are_paths() {
        for path in ["/data/one-api.db", "one-api.db", "./a@tcp(b)/c.db", "data/one-api.db", "/a@/b.db", "C:\\a.db"] {
            assert!(!Dsn::is_meant_by(path), "{path}");
        }
    }

    #[test]
    fn what_is_shown_has_no_login() {
        for (text, shown) in [
            ("me:sentinel@tcp(db:3306)/d", "mysql://db:3306/d"),
            ("me:sentinel@unix(/m.sock)/d", "mysql://(/m.sock)/d"),
            ("postgres://me:sentinel@[::1]/d", "postgres://[::1]:5432/d"),
        ] {
            let dsn = Dsn::parse(text).unwrap();
            assert_eq!(dsn.to_string(), shown);
            assert_eq!(format!("{dsn:?}"), format!("Dsn({shown})"));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC*", start in "(postgres://|postgresql://|mysql://|u:p@tcp|)") {
            let _ = Dsn::parse(&format!("{start}{text}"));
            let _ = Dsn::parse_own(&format!("{start}{text}"));
        }

        #[test]
        fn a_go_password_comes_back_as_it_was_written(password in "[^/?@]{0,20}") {
            let dsn = Dsn::parse_own(&format!("u:{password}@tcp(db:1)/v")).unwrap();
            prop_assert_eq!(dsn.password, Secret::new(password));
        }
    }
}
