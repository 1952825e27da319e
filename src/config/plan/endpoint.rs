//! Token endpoints: where they are, how they are spoken to, what their answers look like.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::HeaderName;
use url::{Host, Url};

use crate::secret::{SecretSource, TextOrSecret};

/// A token endpoint and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The token endpoint.
    pub url: Url,
    /// POST or GET.
    pub method: Method,
    /// How the parameters travel.
    pub encoding: Encoding,
    /// How the client proves itself (RFC 6749 §2.3).
    pub auth: ClientAuth,
    /// The client's identifier, where the service has one.
    pub client_id: Option<String>,
    /// The client's secret.
    pub client_secret: Option<SecretSource>,
    /// The `scope` parameter.
    pub scope: Option<String>,
    /// Parameters that are sent as they are.
    pub params: BTreeMap<String, TextOrSecret>,
    /// Standard parameters that have another name here.
    pub param_names: BTreeMap<String, String>,
    /// Headers that are sent as they are.
    pub headers: Vec<(HeaderName, TextOrSecret)>,
    /// Where the answer's fields are.
    pub response: ResponsePointers,
    /// How long a whole request may take.
    pub timeout: Duration,
    /// How the connection is made; clients are shared by this.
    pub transport: Transport,
}

impl Endpoint {
    /// Its host, for bounds and messages.
    pub fn host(&self) -> String {
        host(&self.url)
    }
}

/// Host and port of an address; never the path or query, which may hold a secret.
pub fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether an address is on this machine: 127.0.0.0/8, ::1 and localhost.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(Host::Ipv6(address)) => Ipv6Addr::is_loopback(&address),
        Some(Host::Domain(domain)) => domain == "localhost",
        None => false,
    }
}

/// How a connection is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transport {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// A proxy; `None` takes the usual environment variables.
    pub proxy: Option<Url>,
    /// A PEM file of further roots.
    pub ca_file: Option<PathBuf>,
    /// A PEM file of the client's certificate, and its key.
    pub client_cert: Option<(PathBuf, SecretSource)>,
}

/// The method of the token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// POST.
    #[default]
    Post,
    /// GET; the parameters travel in the query.
    Get,
}

/// How the parameters of the token request travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// `application/x-www-form-urlencoded` (RFC 6749).
    #[default]
    Form,
    /// One JSON object.
    Json,
    /// In the address.
    Query,
}

/// How the client proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// A public client: `client_id` among the parameters.
    #[default]
    None,
    /// `client_id` and `client_secret` among the parameters.
    ClientSecretPost,
    /// HTTP Basic.
    ClientSecretBasic,
}

/// JSON pointers (RFC 6901) into the answer; an empty one is not looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponsePointers {
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// The lifetime in seconds.
    pub expires_in: String,
    /// The moment of expiry: epoch seconds or milliseconds, or RFC 3339.
    pub expires_at: String,
    /// The refresh token's own lifetime in seconds.
    pub refresh_expires_in: String,
    /// The error: text, or an object with `code` or `type`.
    pub error: String,
}

impl Default for ResponsePointers {
    fn default() -> Self {
        Self {
            access_token: "/access_token".into(),
            refresh_token: "/refresh_token".into(),
            expires_in: "/expires_in".into(),
            expires_at: String::new(),
            refresh_expires_in: String::new(),
            error: "/error".into(),
        }
    }
}
