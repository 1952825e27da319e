//! A webhook: any address that takes JSON.
//!
//! The body is a JSON template, read as JSON when the config is read: what is put into its texts is encoded by whoever
//! writes JSON and can never end them. With a secret the body is signed: `X-Signature-256: sha256=` and the HMAC-SHA256
//! in hexadecimal, as GitHub signs its own
//! (<https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>).

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use ring::hmac;
#[cfg(test)]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use toml::Spanned;
use toml::de::DeValue;

use super::address::{Address, finish, json as to_json, post_to, unusable, value};
use super::answer::{Said, judge};
use super::wording::shown;
use super::{Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::{ConfigReason, NotifierReason};
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::{At, FromToml, Reader, Section, wrong_type};
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "webhook",
    parse,
    #[cfg(test)]
    schema: |generator| <WebhookSection as JsonSchema>::json_schema(generator),
};

/// What a template's texts may name.
const FIELDS: [&str; 4] = ["title", "body", "urgent", "events"];
/// The signature's header.
const SIGNATURE: &str = "x-signature-256";

section! {
    /// Any address that takes JSON.
    pub struct WebhookSection {
        /// The whole address: text, or better a secret. Required.
        pub url: TextOrSecret,
        /// Headers that are sent as they are.
        pub headers: BTreeMap<String, At<TextOrSecret>>,
        /// The body, as JSON whose texts may hold {title}, {body}, {urgent} and {events}. Default: all four.
        pub body: String,
        /// What the answer must hold. Default: any status from 200 to 299.
        pub success: SuccessSection,
        /// Signs the body, in the header X-Signature-256.
        pub hmac_secret: SecretSource,
    }
}

section! {
    /// What the answer of a webhook must hold.
    pub struct SuccessSection {
        /// Where, as a JSON pointer like "/ok".
        pub pointer: String,
        /// What: a text, a whole number, true or false.
        pub equals: Plain,
    }
}

/// A text, a whole number, true or false.
#[derive(Debug, Clone)]
pub struct Plain(Value);

impl FromToml for Plain {
    const EXPECTED: &'static str = "text, a whole number, true or false";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        let plain: Value = match value.get_ref() {
            DeValue::String(_) => String::from_toml(value, field, reader)?.into(),
            DeValue::Integer(_) => i64::from_toml(value, field, reader)?.into(),
            DeValue::Boolean(is) => (*is).into(),
            _ => return wrong_type(&value, field, reader),
        };
        Some(Self(plain))
    }
}

#[cfg(test)]
impl JsonSchema for Plain {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Plain".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]})
    }
}

/// A webhook.
#[derive(Debug)]
struct Webhook {
    url: Address,
    headers: Vec<(HeaderName, TextOrSecret)>,
    body: Value,
    success: Option<(String, Value)>,
    hmac_secret: Option<SecretSource>,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["url"]);
    let table = WebhookSection::take_from(section);
    let headers = headers(section, table.headers);
    let body = match table.body {
        Some(body) => template(section, &body),
        None => Some(json!({ "title": "{title}", "body": "{body}", "urgent": "{urgent}", "events": "{events}" })),
    };
    let success = match table.success {
        Some(success) => Some(expected(section, success)?),
        None => None,
    };
    let url = Address::secret(section, table.url?)?;
    let hmac_secret = table.hmac_secret.map(|secret| secret.value);
    Some(Arc::new(Webhook { url, headers: headers?, body: body?, success, hmac_secret }))
}

type Headers = At<BTreeMap<String, At<TextOrSecret>>>;

fn headers(section: &mut Section<'_, '_>, written: Option<Headers>) -> Option<Vec<(HeaderName, TextOrSecret)>> {
    let mut headers = Vec::new();
    for (name, at) in written.map(|headers| headers.value).unwrap_or_default() {
        let sound = match &at.value {
            TextOrSecret::Text(text) => HeaderValue::from_str(text).is_ok(),
            TextOrSecret::Secret(_) => true,
        };
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if sound => headers.push((name, at.value)),
            _ => {
                section.error("headers", Some(at.span), ConfigReason::BadHeader);
                return None;
            }
        }
    }
    Some(headers)
}

fn expected(section: &mut Section<'_, '_>, written: At<SuccessSection>) -> Option<(String, Value)> {
    let At { value: SuccessSection { pointer, equals }, span } = written;
    for (field, is_there) in [("pointer", pointer.is_some()), ("equals", equals.is_some())] {
        if !is_there {
            section.error("success", Some(span.clone()), ConfigReason::MissingField { field: field.into() });
        }
    }
    let (pointer, equals) = (pointer?, equals?);
    if !pointer.value.starts_with('/') {
        section.error("success.pointer", Some(pointer.span), ConfigReason::BadPointer);
        return None;
    }
    Some((pointer.value, equals.value.0))
}

/// The template as JSON, if it is one that can be filled.
fn template(section: &mut Section<'_, '_>, written: &At<String>) -> Option<Value> {
    let read: Result<Value, String> = match serde_json::from_str::<Value>(&written.value) {
        Ok(template) => fill(&template, &|_| Some(Value::Null)).map(|_| template),
        // Its own words would show what stands there.
        Err(error) => Err(format!("it is not JSON at its line {}, column {}", error.line(), error.column())),
    };
    read.map_err(|detail| section.error("body", Some(written.span.clone()), ConfigReason::BadBody { detail })).ok()
}

/// A template with its fields filled in.
///
/// A text that is a field and nothing else becomes the field's value with its type; `{{` and `}}` are braces.
fn fill(template: &Value, field: &dyn Fn(&str) -> Option<Value>) -> Result<Value, String> {
    Ok(match template {
        Value::String(text) => fill_text(text, field)?,
        Value::Array(items) => Value::Array(items.iter().map(|item| fill(item, field)).collect::<Result<_, _>>()?),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((key.clone(), fill(value, field)?)));
            Value::Object(entries.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn fill_text(text: &str, field: &dyn Fn(&str) -> Option<Value>) -> Result<Value, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        filled.push_str(&rest[..at]);
        let (brace, after) = (&rest[at..=at], &rest[at + 1..]);
        if let Some(after_pair) = after.strip_prefix(brace) {
            filled.push_str(brace);
            rest = after_pair;
            continue;
        }
        let end = after.find('}').filter(|_| brace == "{").ok_or("a brace without its partner")?;
        let known = FIELDS.iter().find(|known| **known == &after[..end]);
        // What stands there instead is not repeated: it may be anything.
        let value = known.and_then(|name| field(name)).ok_or_else(|| {
            let names = FIELDS.map(|name| format!("{{{name}}}")).join(", ");
            format!("it names a field that does not exist; there are {names}")
        })?;
        if at == 0 && rest.len() == text.len() && after.len() == end + 1 {
            return Ok(value);
        }
        match value {
            Value::String(text) => filled.push_str(&text),
            other => filled.push_str(&other.to_string()),
        }
        rest = &after[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled.into())
}

/// The value of the signature's header.
fn sign(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().fold("sha256=".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

impl Service for Webhook {
    fn sources(&self) -> Vec<&SecretSource> {
        let headers = self.headers.iter().filter_map(|(_, value)| match value {
            TextOrSecret::Text(_) => None,
            TextOrSecret::Secret(source) => Some(source),
        });
        self.url.source().into_iter().chain(headers).chain(&self.hmac_secret).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let field = |name: &str| {
            Some(match name {
                "title" => notice.title.as_str().into(),
                "body" => notice.body.as_str().into(),
                "urgent" => notice.urgent.into(),
                "events" => notice.events.clone(),
                _ => return None,
            })
        };
        let body = to_json(&fill(&self.body, &field).map_err(unusable)?)?;
        let mut request = post_to(&self.url.url(values)?);
        if let Some(secret) = &self.hmac_secret {
            request = request.header(SIGNATURE, sign(value(values, secret)?, &body));
        }
        for (name, header) in &self.headers {
            let text = match header {
                TextOrSecret::Text(text) => text,
                TextOrSecret::Secret(source) => value(values, source)?,
            };
            let header =
                HeaderValue::from_str(text).map_err(|_| unusable(format!("no value for the header {name}")))?;
            // In place of ours, where the config names the same.
            request.headers_mut().map(|headers| headers.insert(name, header));
        }
        finish(request, body)
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        let Some((pointer, equals)) = &self.success else {
            return match reply.status {
                429 => Err(NotifierReason::RateLimited { code: "429".into() }),
                status if !reply.is_success() => Err(NotifierReason::Refused { status, code: None, words: None }),
                _ => Ok(()),
            };
        };
        judge(reply, |answer| {
            let found = answer.pointer(pointer)?;
            if found == equals {
                return Some(Said::Taken);
            }
            // A long text in that place is no code.
            let code = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
            Some(Said::Refused { code: shown(&code).filter(|code| code.len() <= 40), words: None })
        })
    }

    fn limits(&self) -> Limits {
        Limits::COURTEOUS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_an_independent_computation() {
        // python3: hmac.new(b"It's a Secret to Everybody", b"Hello, World!", "sha256").hexdigest(), GitHub's own example
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(sign("It's a Secret to Everybody", b"Hello, World!"), expected);
    }

    #[test]
    fn what_is_filled_in_never_ends_a_text() {
        let hostile = "\", \"admin\": true, \"x\": \"{body}\\\n";
        let field = |name: &str| {
            Some(if name == "urgent" { Value::Bool(true) } else { Value::String(format!("{name}: {hostile}")) })
        };
        let template = json!({ "text": "{title} — {{{urgent}}}", "flag": "{urgent}", "list": ["{body}", 5, null] });
        let filled = fill(&template, &field).unwrap();
        let expected = json!({
            "text": format!("title: {hostile} — {{true}}"), "flag": true, "list": [format!("body: {hostile}"), 5, null]
        });
        assert_eq!(filled, expected);
    }

    #[test]
    fn templates_that_cannot_be_filled_say_why_and_repeat_nothing() {
        for (text, why) in [("{sentinel}", "does not exist"), ("a } b", "partner"), ("{title", "partner")] {
            let error = fill(&json!([text]), &|_| Some(Value::Null)).unwrap_err();
            assert!(error.contains(why) && !error.contains("sentinel"), "{text}: {error}");
        }
    }
}
