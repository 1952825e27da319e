//! PushPlus (推送加): messages to WeChat, mail and others by one POST.
//!
//! Source: <https://www.pushplus.plus/doc/>. The default template is HTML; ours is `txt`, so nothing is escaped. The
//! service takes a message when `code` in the body is 200 and delivers it later.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::Value;

use super::{Limits, Notice, Registration, Reply, Service, Values, address, first_chars, shown};
use crate::reason::{ConfigReason, NotifierReason};
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::Section;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "pushplus",
    parse,
    schema: |generator| <PushPlusSection as schemars::JsonSchema>::json_schema(generator),
};

/// Where messages go unless the config says otherwise.
const SEND: &str = "https://www.pushplus.plus/send";
/// The longest title, in characters.
const TITLE: usize = 100;
/// Taken.
const TAKEN: i64 = 200;
/// The account is blocked for the rest of the day.
const LIMITED: i64 = 900;

section! {
    /// PushPlus.
    pub struct PushPlusSection {
        /// The user's token, or a message token. Required.
        pub token: SecretSource,
        /// The group that gets the message. Default: the user alone.
        pub topic: String,
        /// How it is delivered: wechat, webhook, cp, mail, sms. Default: wechat.
        pub channel: String,
        /// Where messages are sent. Default: `https://www.pushplus.plus/send`.
        pub url: TextOrSecret,
    }
}

/// A PushPlus account.
#[derive(Debug)]
struct PushPlus {
    token: SecretSource,
    topic: Option<String>,
    channel: Option<String>,
    url: TextOrSecret,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["token"]);
    let table = PushPlusSection::take_from(section);
    if let Some(at) = &table.url
        && let TextOrSecret::Text(text) = &at.value
        && let Err(detail) = address(text)
    {
        section.error("url", Some(at.span.clone()), ConfigReason::BadUrl { detail });
        return None;
    }
    Some(Arc::new(PushPlus {
        token: table.token?.value,
        topic: table.topic.map(|topic| topic.value),
        channel: table.channel.map(|channel| channel.value),
        url: table.url.map_or_else(|| TextOrSecret::Text(SEND.into()), |url| url.value),
    }))
}

/// The request's body.
#[derive(Serialize)]
struct Message<'a> {
    token: &'a str,
    title: &'a str,
    content: &'a str,
    template: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
}

impl Service for PushPlus {
    fn sources(&self) -> Vec<&SecretSource> {
        let url = match &self.url {
            TextOrSecret::Text(_) => None,
            TextOrSecret::Secret(source) => Some(source),
        };
        std::iter::once(&self.token).chain(url).collect()
    }

    fn request(&self, notice: &Notice, values: &Values) -> Result<http::Request<Vec<u8>>, NotifierReason> {
        let unusable = |error: String| NotifierReason::Unreachable { error };
        let value = |source: &SecretSource| {
            let value = values.get(source).map(|value| value.expose().trim());
            value.ok_or_else(|| unusable(format!("{source} was not read")))
        };
        let url = match &self.url {
            TextOrSecret::Text(text) => text,
            TextOrSecret::Secret(source) => value(source)?,
        };
        let url = address(url).map_err(|error| unusable(format!("`url` is not an address: {error}")))?;
        let message = Message {
            token: value(&self.token)?,
            title: &first_chars(&notice.title, TITLE),
            content: &notice.body,
            template: "txt",
            topic: self.topic.as_deref(),
            channel: self.channel.as_deref(),
        };
        let body = serde_json::to_vec(&message).map_err(|error| unusable(error.to_string()))?;
        http::Request::post(url.as_str())
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| unusable(format!("`url` is not an address: {error}")))
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        if reply.status == 429 {
            return Err(NotifierReason::RateLimited { code: "429".into() });
        }
        // Not into a struct: serde would take a list for one.
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        match answer["code"].as_i64() {
            Some(TAKEN) if reply.is_success() => Ok(()),
            Some(LIMITED) => Err(NotifierReason::RateLimited { code: LIMITED.to_string() }),
            Some(code) => Err(NotifierReason::Refused {
                status: reply.status,
                code: Some(code.to_string()),
                words: answer["msg"].as_str().and_then(shown),
            }),
            None if reply.is_success() => Err(NotifierReason::Unreadable { status: reply.status }),
            None => Err(NotifierReason::Refused { status: reply.status, code: None, words: None }),
        }
    }

    fn limits(&self) -> Limits {
        Limits { per_minute: 5, per_day: 200 }
    }
}
