//! Addresses of database servers: text in, parts out. Leaf, pure.
//!
//! Three forms are taken: `postgres://…` and `mysql://…` as URLs, and the Go driver's `user:pass@tcp(host:3306)/db`,
//! which One-API's `SQL_DSN` holds (github.com/go-sql-driver/mysql, README, "DSN"). The password stays a [`Secret`];
//! what is shown is engine, host and database.

use std::collections::BTreeMap;
use std::fmt;

use crate::secret::Secret;

/// A database server's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

impl Engine {
    /// The scheme of its URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::MySql => 3306,
        }
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name or an address (IPv6 without brackets), and a port.
    Tcp(String, u16),
    /// A Unix socket: the file for MySQL, its directory and the port in its name for PostgreSQL.
    Unix(String, u16),
}

/// A server's address in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    /// The server's kind.
    pub engine: Engine,
    /// Where it listens.
    pub host: Host,
    /// The user; `None` leaves it to the server's default.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// What stands behind the question mark, decoded.
    pub options: BTreeMap<String, String>,
}

/// Why a text is no address. Nothing of the text is in it: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// None of the forms.
    #[error("none of postgres://…, mysql://…, user:pass@tcp(host:3306)/db")]
    Form,
    /// A port that is no number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// A percent sign that encodes nothing.
    #[error("a percent sign in it encodes nothing; in a URL write % as %25")]
    Encoding,
    /// No database is named.
    #[error("it names no database")]
    NoDatabase,
    /// A network that is neither `tcp` nor `unix`.
    #[error("its network is neither tcp nor unix")]
    Network,
}

/// Engine, host and database: what may be shown.
impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (engine, database) = (self.engine.as_str(), &self.database);
        match &self.host {
            Host::Tcp(host, port) if host.contains(':') => write!(f, "{engine}://[{host}]:{port}/{database}"),
            Host::Tcp(host, port) => write!(f, "{engine}://{host}:{port}/{database}"),
            Host::Unix(path, _) => write!(f, "{engine}://{path}/{database}"),
        }
    }
}

/// Takes an address apart.
///
/// # Errors
/// When it has none of the forms, or a part of it is not what it must be.
pub fn parse(text: &str) -> Result<Dsn, DsnError> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return go_form(text);
    };
    match scheme.to_ascii_lowercase().as_str() {
        "postgres" | "postgresql" => url_form(Engine::Postgres, rest),
        "mysql" | "mariadb" => url_form(Engine::MySql, rest),
        _ => Err(DsnError::Form),
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// `user:pass@host:port/db?option=value`, each part percent-encoded.
fn url_form(engine: Engine, rest: &str) -> Result<Dsn, DsnError> {
    let (rest, options) = split_options(rest, true)?;
    // The last @ before the path: an unencoded one in a password is a frequent slip, and harmless.
    let (authority, path) = rest.split_once('/').ok_or(DsnError::NoDatabase)?;
    let (login, address) = authority.rsplit_once('@').map_or((None, authority), |(login, at)| (Some(login), at));
    let (user, password) = login.map_or((None, None), |login| match login.split_once(':') {
        Some((user, password)) => (Some(user), Some(password)),
        None => (Some(login), None),
    });
    let decoded = |text: &str| decode(text).ok_or(DsnError::Encoding);
    let (host, port) = split_port(address, engine.port())?;
    let host = decoded(host)?;
    // libpq's way of saying a socket's directory: as the host, encoded, or as an option.
    let socket = options.get("host").filter(|host| host.starts_with('/')).cloned();
    let host = match socket.or_else(|| host.starts_with('/').then(|| host.clone())) {
        Some(path) => Host::Unix(path, port),
        None if host.is_empty() => Host::Tcp("localhost".into(), port),
        None => Host::Tcp(host, port),
    };
    let host = match options.get("socket").filter(|_| engine == Engine::MySql) {
        Some(path) => Host::Unix(path.clone(), port),
        None => host,
    };
    Ok(Dsn {
        engine,
        host,
        user: user.map(decoded).transpose()?.filter(|user| !user.is_empty()),
        password: password.map(decoded).transpose()?.map(Secret::new),
        database: Some(decoded(path)?).filter(|name| !name.is_empty()).ok_or(DsnError::NoDatabase)?,
        options,
    })
}

/// `user:pass@tcp(host:port)/db?option=value`. User and password stand as they are: the last slash ends the address,
/// the last `@` before it the password.
fn go_form(text: &str) -> Result<Dsn, DsnError> {
    let (head, tail) = text.rsplit_once('/').ok_or(DsnError::Form)?;
    let (database, options) = split_options(tail, false)?;
    let (login, network) = head.rsplit_once('@').map_or((None, head), |(login, network)| (Some(login), network));
    let (network, address) = match network.split_once('(') {
        Some((network, address)) => (network, Some(address.strip_suffix(')').ok_or(DsnError::Form)?)),
        None => (network, None),
    };
    let port = Engine::MySql.port();
    let host = match (network, address) {
        ("" | "tcp" | "tcp4" | "tcp6", None | Some("")) => Host::Tcp("127.0.0.1".into(), port),
        ("tcp" | "tcp4" | "tcp6", Some(address)) => {
            let (host, port) = split_port(address, port)?;
            Host::Tcp(host.to_owned(), port)
        }
        ("unix", Some(path)) if path.starts_with('/') => Host::Unix(path.to_owned(), port),
        ("unix", _) => return Err(DsnError::Form),
        // Without a login nothing says that this is meant as an address at all.
        _ if login.is_none() => return Err(DsnError::Form),
        _ => return Err(DsnError::Network),
    };
    let (user, password) = login.map_or((None, None), |login| match login.split_once(':') {
        Some((user, password)) => (Some(user), Some(password)),
        None => (Some(login), None),
    });
    Ok(Dsn {
        engine: Engine::MySql,
        host,
        user: user.filter(|user| !user.is_empty()).map(str::to_owned),
        password: password.map(Secret::new),
        database: decode(database).filter(|name| !name.is_empty()).ok_or(DsnError::NoDatabase)?,
        options,
    })
}

fn split_options(text: &str, plus_is_plus: bool) -> Result<(&str, BTreeMap<String, String>), DsnError> {
    let Some((before, query)) = text.split_once('?') else { return Ok((text, BTreeMap::new())) };
    let mut options = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // The Go driver reads values as a query, where a plus is a blank.
        let value = if plus_is_plus { value.to_owned() } else { value.replace('+', " ") };
        options.insert(name.to_owned(), decode(&value).ok_or(DsnError::Encoding)?);
    }
    Ok((before, options))
}

/// `host`, `host:1`, `[::1]`, `[::1]:1`.
fn split_port(address: &str, default: u16) -> Result<(&str, u16), DsnError> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(DsnError::Form)?;
            (host, rest.strip_prefix(':').or(if rest.is_empty() { None } else { return Err(DsnError::Port) }))
        }
        None => match address.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = port.map_or(Ok(default), |port| port.parse().ok().filter(|port| *port != 0).ok_or(DsnError::Port))?;
    Ok((host, port))
}

/// `%41` → `A`; `None` when it is not that, or not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Host {
        Host::Tcp(host.into(), port)
    }

    fn login(dsn: &Dsn) -> (Option<&str>, Option<&str>) {
        (dsn.user.as_deref(), dsn.password.as_ref().map(Secret::expose))
    }

    #[test]
    fn every_form_is_taken_apart() {
        let unix = |path: &str, port| Host::Unix(path.into(), port);
        let cases = [
            ("postgres://u:p@db:5433/vault", Engine::Postgres, tcp("db", 5433), (Some("u"), Some("p")), "vault"),
            ("postgresql://u@db/vault", Engine::Postgres, tcp("db", 5432), (Some("u"), None), "vault"),
            ("postgres://[::1]:5433/v", Engine::Postgres, tcp("::1", 5433), (None, None), "v"),
            ("postgres:///v?host=/run/pg", Engine::Postgres, unix("/run/pg", 5432), (None, None), "v"),
            ("postgres://u@%2Frun%2Fpg:6/v", Engine::Postgres, unix("/run/pg", 6), (Some("u"), None), "v"),
            ("mysql://u:a%40b%2Fc@db/v", Engine::MySql, tcp("db", 3306), (Some("u"), Some("a@b/c")), "v"),
            ("mysql://u:a@b@db/v", Engine::MySql, tcp("db", 3306), (Some("u"), Some("a@b")), "v"),
            ("mariadb://db/v?socket=/run/m.sock", Engine::MySql, unix("/run/m.sock", 3306), (None, None), "v"),
            (
                "root:123456@tcp(db:3306)/one-api",
                Engine::MySql,
                tcp("db", 3306),
                (Some("root"), Some("123456")),
                "one-api",
            ),
            ("u:p@ss/w:rd@tcp(db)/v", Engine::MySql, tcp("db", 3306), (Some("u"), Some("p@ss/w:rd")), "v"),
            ("u:p%41@tcp([::1]:3307)/v", Engine::MySql, tcp("::1", 3307), (Some("u"), Some("p%41")), "v"),
            ("u@unix(/run/m.sock)/v", Engine::MySql, unix("/run/m.sock", 3306), (Some("u"), None), "v"),
            ("u:p@tcp/v", Engine::MySql, tcp("127.0.0.1", 3306), (Some("u"), Some("p")), "v"),
            ("u:p@/v", Engine::MySql, tcp("127.0.0.1", 3306), (Some("u"), Some("p")), "v"),
            ("u:://x@tcp(db)/v", Engine::MySql, tcp("db", 3306), (Some("u"), Some("://x")), "v"),
        ];
        for (text, engine, host, expected, database) in cases {
            let dsn = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((dsn.engine, &dsn.host, login(&dsn)), (engine, &host, expected), "{text}");
            assert_eq!(dsn.database, database, "{text}");
        }
    }

    #[test]
    fn options_are_decoded() {
        let dsn = parse("u:p@tcp(db)/v?charset=utf8mb4&loc=Asia%2FShanghai&init=a+b&flag").unwrap();
        let options: Vec<_> = dsn.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [("charset", "utf8mb4"), ("flag", ""), ("init", "a b"), ("loc", "Asia/Shanghai")];
        assert_eq!(options, expected);
        assert_eq!(parse("postgres://db/v?a=b+c").unwrap().options["a"], "b+c");
    }

    #[test]
    fn what_is_no_address_is_refused_by_reason() {
        let cases = [
            ("", DsnError::Form),
            ("/data/one-api.db", DsnError::Form),
            ("one-api.db", DsnError::Form),
            ("http://db/v", DsnError::Form),
            ("sqlite:///v.db", DsnError::Form),
            ("postgres://db", DsnError::NoDatabase),
            ("postgres://db/", DsnError::NoDatabase),
            ("u:p@tcp(db)/", DsnError::NoDatabase),
            ("postgres://db:x/v", DsnError::Port),
            ("mysql://db:70000/v", DsnError::Port),
            ("u:p@tcp(db:0)/v", DsnError::Port),
            ("mysql://[::1]x/v", DsnError::Port),
            ("mysql://u:%zz@db/v", DsnError::Encoding),
            ("u:p@udp(db)/v", DsnError::Network),
            ("u:p@tcp(db/v", DsnError::Form),
            ("u:p@unix(run)/v", DsnError::Form),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        for text in ["postgres://u:sentinel@db/v", "mysql://u:sentinel@[::1]:1/v", "u:sentinel@tcp(db)/v"] {
            let dsn = parse(text).unwrap();
            assert!(!format!("{dsn} {dsn:?}").contains("sentinel"), "{dsn}");
        }
        assert_eq!(parse("u:p@tcp(db)/v").unwrap().to_string(), "mysql://db:3306/v");
        assert_eq!(parse("postgres://u:p@[::1]/v?sslmode=require").unwrap().to_string(), "postgres://[::1]:5432/v");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_go_password_comes_back_as_it_was_written(password in "[^/?@]{0,20}") {
            let dsn = parse(&format!("u:{password}@tcp(db:1)/v")).unwrap();
            assert_eq!(dsn.password.as_ref().map(Secret::expose), Some(password.as_str()));
        }
    }
}
