//! The services that carry messages, a file each, and their registry.
//!
//! A service parses its own table, turns a [`Notice`] into a request and judges the answer. All of it is pure:
//! the secrets were read and the request is sent elsewhere. A newcomer is one file and one line in [`REGISTRY`].

pub mod pushplus;

use std::collections::HashMap;
use std::sync::Arc;

use crate::reason::NotifierReason;
use crate::secret::{Secret, SecretSource};
use crate::shape::Section;

/// A message for people, in their language, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Notice {
    /// What to do, in a line.
    pub title: String,
    /// What happened, to what, since when, and the remedy; plain text, lines separated by `\n`.
    pub body: String,
    /// Whether a human is needed (services with priorities show it).
    pub urgent: bool,
}

/// The values behind the sources that a service named.
pub type Values = HashMap<SecretSource, Secret>;

/// A service's answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body, at most 64 KiB.
    pub body: Vec<u8>,
}

/// A service that carries messages over HTTP.
pub trait Service: std::fmt::Debug + Send + Sync {
    /// The sources whose values [`Service::request`] needs.
    fn sources(&self) -> Vec<&SecretSource>;

    /// The request that carries a notice.
    ///
    /// # Errors
    /// When the request cannot be built from the configured values.
    fn request(&self, notice: &Notice, values: &Values) -> Result<http::Request<Vec<u8>>, NotifierReason>;

    /// Whether the service took the message: what its body says, not HTTP 200.
    ///
    /// # Errors
    /// What the service said instead.
    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason>;

    /// How often it may be used, from the service's own documentation.
    fn limits(&self) -> Limits;

    /// Whether two configured services are the same (a changed one is replaced).
    fn same(&self, other: &dyn Service) -> bool {
        format!("{:?}", self) == format!("{:?}", other)
    }
}

/// How often a service may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages a minute.
    pub per_minute: u32,
    /// Messages a day.
    pub per_day: u32,
}

/// A registered service: its `type`, its table's reader, its table's JSON schema.
pub struct Registration {
    /// The `type` in `[[notify]]`.
    pub name: &'static str,
    /// Reads the service's own fields from its table; problems are noted in the section's reader.
    pub parse: fn(&mut Section<'_, '_>) -> Option<Arc<dyn Service>>,
    /// The JSON schema of its own fields.
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

/// Every service.
pub const REGISTRY: &[Registration] = &[pushplus::REGISTRATION];
