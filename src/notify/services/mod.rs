//! The services that carry messages, a file each, and their registry.
//!
//! A service parses its own table, says what is to be sent for a [`Notice`], and judges the answer. All of it is pure:
//! the secrets were read and the sending is done elsewhere ([`super::carriers`]). A newcomer is one file and one line
//! in [`REGISTRY`].

pub mod bark;
pub mod command;
pub mod dingtalk;
pub mod discord;
pub mod feishu;
pub mod gotify;
pub mod message_pusher;
pub mod ntfy;
pub mod pushplus;
pub mod serverchan;
pub mod slack;
pub mod smtp;
pub mod telegram;
pub mod webhook;
pub mod wecom;

mod address;
mod answer;
mod wording;

use std::path::PathBuf;
use std::sync::Arc;

use crate::reason::NotifierReason;
use crate::secret::{Secret, SecretSource};
use crate::shape::Section;
use crate::time::Timestamp;

pub use crate::secret::Values;

/// A message for people, in their language, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Notice {
    /// What to do, in a line.
    pub title: String,
    /// What happened, to what, since when, and the remedy; plain text, lines separated by `\n`.
    pub body: String,
    /// Whether a human is needed (services with priorities show it).
    pub urgent: bool,
    /// The same for programs: a list of events, as `docs/notifications.md` describes them.
    pub events: serde_json::Value,
}

/// What is to be sent, and by which way.
#[derive(Debug)]
pub enum Dispatch {
    /// An HTTP request.
    Http(http::Request<Vec<u8>>),
    /// A mail.
    Mail(Box<Mail>),
    /// A program that is run.
    Command(Command),
}

/// A mail and the server that takes it.
#[derive(Debug)]
pub struct Mail {
    /// The server's name, which its certificate must bear.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: smtp::Tls,
    /// User name and password, where the server wants them.
    pub login: Option<(String, Secret)>,
    /// The mail itself.
    pub message: lettre::Message,
}

/// A program and what it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program; a relative path starts from the config file's directory.
    pub program: PathBuf,
    /// Its arguments, as they are: there is no shell.
    pub args: Vec<String>,
    /// Its standard input.
    pub input: Vec<u8>,
}

/// A service's answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status, the SMTP code, or the program's exit status (128 and the signal's number where one killed it).
    pub status: u16,
    /// The body, the server's words, or the program's standard error; at most 64 KiB.
    pub body: Vec<u8>,
}

impl Reply {
    /// Whether the HTTP or SMTP status is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A service that carries messages.
pub trait Service: std::fmt::Debug + Send + Sync {
    /// The sources whose values [`Service::request`] needs.
    fn sources(&self) -> Vec<&SecretSource>;

    /// What carries a notice. Some services sign the time.
    ///
    /// # Errors
    /// When it cannot be built from the configured values.
    fn request(&self, notice: &Notice, values: &Values, now: Timestamp) -> Result<Dispatch, NotifierReason>;

    /// Whether the service took the message: what its body says, not HTTP 200.
    ///
    /// # Errors
    /// What the service said instead.
    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason>;

    /// How often it may be used, from the service's own documentation.
    fn limits(&self) -> Limits;

    /// Whether a proxy makes sense for it.
    fn speaks_http(&self) -> bool {
        true
    }

    /// Whether two configured services are the same (a changed one is replaced).
    fn same(&self, other: &dyn Service) -> bool {
        format!("{self:?}") == format!("{other:?}")
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

impl Limits {
    /// For services that name no limit: more than this nobody reads.
    pub const COURTEOUS: Self = Self { per_minute: 20, per_day: 500 };
}

/// A registered service: its `type`, its table's reader, its table's JSON schema.
pub struct Registration {
    /// The `type` in `[[notify]]`.
    pub name: &'static str,
    /// Reads the service's own fields from its table; problems are noted in the section's reader.
    pub parse: fn(&mut Section<'_, '_>) -> Option<Arc<dyn Service>>,
    /// The JSON schema of its own fields.
    #[cfg(test)]
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

/// Every service.
pub const REGISTRY: &[Registration] = &[
    pushplus::REGISTRATION,
    serverchan::REGISTRATION,
    bark::REGISTRATION,
    wecom::REGISTRATION,
    dingtalk::REGISTRATION,
    feishu::REGISTRATION,
    telegram::REGISTRATION,
    slack::REGISTRATION,
    discord::REGISTRATION,
    ntfy::REGISTRATION,
    gotify::REGISTRATION,
    smtp::REGISTRATION,
    message_pusher::REGISTRATION,
    webhook::REGISTRATION,
    command::REGISTRATION,
];

#[cfg(test)]
mod tests;
