//! SMTP: mail, by the mail provider's submission server.
//!
//! Source: RFC 5321; RFC 8314 for port 465 with TLS from the first byte, RFC 6409 and RFC 3207 for port 587 with
//! STARTTLS, without which nothing is sent there. The mail is built by a library, which keeps line breaks out of headers.

#[cfg(test)]
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
#[cfg(test)]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeValue;

use super::address::{unusable, value};
use super::wording::shown;
use super::{Dispatch, Limits, Mail, Notice, Registration, Reply, Service, Values};
use crate::reason::{ConfigReason, NotifierReason};
use crate::secret::{Secret, SecretSource};
use crate::section;
use crate::shape::{At, FromToml, Reader, Section, wrong_type};
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "smtp",
    parse,
    #[cfg(test)]
    schema: |generator| <SmtpSection as JsonSchema>::json_schema(generator),
};

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// TLS from the first byte.
    Implicit,
    /// TLS before anything is said; without it nothing is sent.
    Starttls,
    /// None: for a server on this machine.
    None,
}

impl Tls {
    const ALL: [(&'static str, Self); 3] =
        [("implicit", Self::Implicit), ("starttls", Self::Starttls), ("none", Self::None)];

    /// The port that goes with it, and the other way round.
    fn port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::Starttls => 587,
            Self::None => 25,
        }
    }
}

impl FromToml for Tls {
    const EXPECTED: &'static str = "implicit, starttls or none, in quotes";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else { return wrong_type(&value, field, reader) };
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, tls)| tls);
        if found.is_none() {
            let expected = Self::ALL.map(|(name, _)| name.to_owned()).to_vec();
            reader.error(field, value.span(), ConfigReason::NotOneOf { found: None, expected, nearest: None });
        }
        found
    }
}

/// Who gets the mail: one address, or several.
#[derive(Debug, Clone)]
pub struct Recipients(Vec<At<String>>);

impl FromToml for Recipients {
    const EXPECTED: &'static str = "a mail address, or a list of them";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        let span = value.span();
        match value.get_ref() {
            DeValue::String(_) => {
                String::from_toml(value, field, reader).map(|address| Self(vec![At { value: address, span }]))
            }
            DeValue::Array(_) => Vec::from_toml(value, field, reader).map(Self),
            _ => wrong_type(&value, field, reader),
        }
    }
}

#[cfg(test)]
impl JsonSchema for Recipients {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Recipients".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    }
}

section! {
    /// Mail.
    pub struct SmtpSection {
        /// The submission server. Required.
        pub host: String,
        /// Its port. Default: 465, 587 or 25, as `tls` says.
        pub port: i64,
        /// How the connection is protected: implicit, starttls or none. Default: as `port` says, else implicit.
        pub tls: Tls,
        /// The user name, with `password`. Default: the server wants none.
        pub username: String,
        /// The password, often one made for applications.
        pub password: SecretSource,
        /// The sender: "sidecar@example.com", or "One-API <sidecar@example.com>". Required.
        pub from: String,
        /// Who gets it: an address, or a list of them. Required.
        pub to: Recipients,
    }
}

/// A mail server and who writes to whom.
#[derive(Debug)]
struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    login: Option<(String, SecretSource)>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["host", "from", "to"]);
    let table = SmtpSection::take_from(section);
    let port = match table.port {
        Some(port) => Some(checked_port(section, port)?),
        None => None,
    };
    let by_port = |port: &u16| Tls::ALL.into_iter().map(|(_, tls)| tls).find(|tls| tls.port() == *port);
    let tls = table.tls.map(|tls| tls.value).or_else(|| port.as_ref().and_then(by_port)).unwrap_or(Tls::Implicit);
    let login = match (table.username, table.password) {
        (Some(name), Some(password)) => Some((name.value, password.value)),
        (None, None) => None,
        (Some(name), None) => return lonely(section, "username", name.span, "password"),
        (None, Some(password)) => return lonely(section, "password", password.span, "username"),
    };
    let from = mailbox(section, "from", table.from?);
    let to = table.to?;
    if to.value.0.is_empty() {
        let reason = ConfigReason::OutOfRange { bounds: "at least one address".into() };
        section.error("to", Some(to.span), reason);
        return None;
    }
    let to: Vec<Option<Mailbox>> = to.value.0.into_iter().map(|address| mailbox(section, "to", address)).collect();
    let to = to.into_iter().collect::<Option<Vec<_>>>();
    let host = table.host?.value;
    Some(Arc::new(Smtp { host, port: port.unwrap_or_else(|| tls.port()), tls, login, from: from?, to: to? }))
}

fn checked_port(section: &mut Section<'_, '_>, port: At<i64>) -> Option<u16> {
    let checked = u16::try_from(port.value).ok().filter(|port| *port > 0);
    if checked.is_none() {
        section.error("port", Some(port.span), ConfigReason::OutOfRange { bounds: "1 to 65535".into() });
    }
    checked
}

/// A field that makes no sense without another.
fn lonely<T>(section: &mut Section<'_, '_>, field: &str, span: crate::shape::Span, other: &str) -> Option<T> {
    section.error(field, Some(span), ConfigReason::Needs { field: field.into(), other: other.into() });
    None
}

fn mailbox(section: &mut Section<'_, '_>, field: &str, address: At<String>) -> Option<Mailbox> {
    let parsed = address.value.trim().parse().ok();
    if parsed.is_none() {
        section.error(field, Some(address.span), ConfigReason::BadMailAddress);
    }
    parsed
}

impl Smtp {
    fn message(&self, notice: &Notice, now: Timestamp) -> Result<Message, lettre::error::Error> {
        let sent = UNIX_EPOCH + Duration::from_millis(now.as_millis().unsigned_abs());
        let id = format!("<{}.one-api-sidecar@{}>", now.as_millis(), self.from.email.domain());
        let mut mail = Message::builder().from(self.from.clone()).subject(notice.title.clone());
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        mail.date(sent).message_id(Some(id)).header(ContentType::TEXT_PLAIN).body(notice.body.clone())
    }
}

impl Service for Smtp {
    fn sources(&self) -> Vec<&SecretSource> {
        self.login.iter().map(|(_, password)| password).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let message = self.message(notice, now).map_err(|error| unusable(error.to_string()))?;
        let login = match &self.login {
            Some((name, password)) => Some((name.clone(), Secret::new(value(values, password)?))),
            None => None,
        };
        let (host, port, tls) = (self.host.clone(), self.port, self.tls);
        Ok(Dispatch::Mail(Box::new(Mail { host, port, tls, login, message })))
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        if reply.is_success() {
            return Ok(());
        }
        let words = shown(&String::from_utf8_lossy(&reply.body));
        Err(NotifierReason::MailRefused { code: reply.status, words })
    }

    fn limits(&self) -> Limits {
        Limits::COURTEOUS
    }

    fn speaks_http(&self) -> bool {
        false
    }
}
