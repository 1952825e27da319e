//! The services that carry messages, a file each, and their registry.
//!
//! A service parses its own table, turns a [`Notice`] into a request and judges the answer. All of it is pure:
//! the secrets were read and the request is sent elsewhere. A newcomer is one file and one line in [`REGISTRY`].

pub mod pushplus;

use std::collections::HashMap;
use std::sync::Arc;

use url::Url;

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

impl Reply {
    /// Whether the HTTP status is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A service's own words, fit to be shown: one line without control characters, at most 100 characters.
pub(crate) fn shown(words: &str) -> Option<String> {
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The first characters of a text, the last of them "…" where something was cut off.
pub(crate) fn first_chars(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// What an address in the config may be: absolute, http or https.
///
/// # Errors
/// What is wrong with it, without the address.
pub(crate) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it begins with neither https:// nor http://".into());
    }
    Ok(url)
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use toml::de::{DeTable, DeValue};

    use super::*;
    use crate::reason::ConfigReason;
    use crate::shape::{Problem, Reader};

    /// What a service must do with one notice and with every kind of answer.
    struct Case {
        service: &'static str,
        table: &'static str,
        uri: &'static str,
        headers: &'static [(&'static str, &'static str)],
        body: Value,
        taken: (u16, &'static str),
        /// HTTP 200 and yet refused: the service's code, and a part of its words.
        refused: (&'static str, &'static str, &'static str),
        /// Asked to be left alone, beside HTTP 429.
        limited: &'static str,
    }

    fn cases() -> Vec<Case> {
        vec![
            Case {
                service: "pushplus",
                table: r#"token = { env = "TOKEN" }"#,
                uri: "https://www.pushplus.plus/send",
                headers: &[("content-type", "application/json")],
                body: json!({ "token": "sentinel", "title": "Act: now", "content": "why\nhow", "template": "txt" }),
                taken: (200, r#"{"code":200,"msg":"ok","data":"id"}"#),
                refused: (r#"{"code":903,"msg":"bad\u0007 token"}"#, "903", "bad  token"),
                limited: r#"{"code":900,"msg":"limited"}"#,
            },
            Case {
                service: "pushplus",
                table: r#"
                    token = { value = "sentinel" }
                    topic = "ops"
                    channel = "mail"
                    url = "http://127.0.0.1:1/other/send?x=1"
                "#,
                uri: "http://127.0.0.1:1/other/send?x=1",
                headers: &[("content-type", "application/json")],
                body: json!({
                    "token": "sentinel", "title": "Act: now", "content": "why\nhow", "template": "txt",
                    "topic": "ops", "channel": "mail"
                }),
                taken: (200, r#"{"code":200}"#),
                refused: (r#"{"code":999,"msg":"no topic"}"#, "999", "no topic"),
                limited: r#"{"code":900}"#,
            },
        ]
    }

    fn parse(service: &str, table: &str) -> (Option<Arc<dyn Service>>, Vec<Problem>) {
        let registration = REGISTRY.iter().find(|registration| registration.name == service).unwrap();
        let table = DeTable::parse(table).unwrap();
        let span = table.span();
        let table = toml::Spanned::new(span, DeValue::Table(table.into_inner()));
        let mut reader = Reader::default();
        let mut section = Section::open(table, "notify", &mut reader).unwrap();
        let service = (registration.parse)(&mut section);
        section.finish();
        (service, reader.problems)
    }

    fn values(service: &dyn Service) -> Values {
        service.sources().into_iter().map(|source| (source.clone(), Secret::new("sentinel"))).collect()
    }

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: body.into() }
    }

    #[test]
    fn every_registered_service_has_a_case() {
        for registration in REGISTRY {
            assert!(cases().iter().any(|case| case.service == registration.name), "{}", registration.name);
        }
    }

    #[test]
    fn requests_are_field_by_field_as_the_service_documents_them() {
        let notice = Notice { title: "Act: now".into(), body: "why\nhow".into(), urgent: true };
        for case in cases() {
            let (service, problems) = parse(case.service, case.table);
            assert_eq!(problems, [], "{}", case.table);
            let service = service.unwrap();
            assert!(!format!("{service:?}").contains("sentinel"));
            let request = service.request(&notice, &values(&*service)).unwrap();
            assert_eq!(request.method(), http::Method::POST);
            assert_eq!(request.uri(), case.uri);
            let headers: Vec<(&str, &str)> =
                request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            assert_eq!(headers, case.headers);
            let body: Value = serde_json::from_slice(request.body()).unwrap();
            assert_eq!(body, case.body);
        }
    }

    #[test]
    fn success_is_what_the_body_says() {
        for case in cases() {
            let service = parse(case.service, case.table).0.unwrap();
            assert_eq!(service.accepted(&reply(case.taken.0, case.taken.1)), Ok(()));

            let (body, code, words) = case.refused;
            let refused = service.accepted(&reply(200, body));
            let expected = NotifierReason::Refused { status: 200, code: Some(code.into()), words: Some(words.into()) };
            assert_eq!(refused, Err(expected), "{body}");

            let limited = service.accepted(&reply(200, case.limited));
            assert!(matches!(limited, Err(NotifierReason::RateLimited { .. })), "{limited:?}");
            let limited = service.accepted(&reply(429, "slow down"));
            assert_eq!(limited, Err(NotifierReason::RateLimited { code: "429".into() }));

            for garbage in
                ["", "<html>ok</html>", "{", "null", "[200]", r#"{"msg":"ok"}"#, r#"{"code":"yes"}"#, "\u{0}"]
            {
                let read = service.accepted(&reply(200, garbage));
                assert_eq!(read, Err(NotifierReason::Unreadable { status: 200 }), "{garbage:?}");
            }
            let down = service.accepted(&reply(502, "<html>bad gateway</html>"));
            assert_eq!(down, Err(NotifierReason::Refused { status: 502, code: None, words: None }));
            assert!(service.accepted(&reply(500, case.taken.1)).is_err(), "a failed request was not taken");
        }
    }

    #[test]
    fn a_bad_table_is_told_with_its_fields() {
        let reasons = |table: &str| -> Vec<(String, ConfigReason)> {
            parse("pushplus", table).1.into_iter().map(|problem| (problem.field, problem.reason)).collect()
        };
        let missing = ConfigReason::MissingField { field: "token".into() };
        assert_eq!(reasons(""), [("notify".into(), missing)]);
        let bare = ConfigReason::BareSecret { env: None };
        assert_eq!(reasons(r#"token = "sentinel""#), [("notify.token".into(), bare)]);
        for url in ["nothing", "ftp://host/", "http://"] {
            let table = format!("token = {{ env = \"T\" }}\nurl = \"{url}\"");
            let found = reasons(&table);
            assert!(matches!(&found[..], [(field, ConfigReason::BadUrl { .. })] if field == "notify.url"), "{found:?}");
        }
    }

    #[test]
    fn a_secret_address_that_is_none_is_told_without_being_shown() {
        let service = parse(
            "pushplus",
            r#"token = { env = "T" }
                                           url = { env = "U" }"#,
        )
        .0
        .unwrap();
        assert_eq!(service.sources().len(), 2);
        let notice = Notice { title: "t".into(), body: "b".into(), urgent: false };
        let error = format!("{:?}", service.request(&notice, &values(&*service)).unwrap_err());
        assert!(!error.contains("sentinel"), "{error}");
    }

    #[test]
    fn texts_are_cut_at_characters() {
        assert_eq!(first_chars("短标题", 3), "短标题");
        assert_eq!(first_chars("一二三四五", 3), "一二…");
        assert_eq!(shown("a\r\nb\u{1b}[31m"), Some("a  b [31m".into()));
        assert_eq!(shown("\n"), None);
        assert_eq!(shown(&"错".repeat(200)).unwrap().chars().count(), 100);
    }
}
