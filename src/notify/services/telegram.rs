//! Telegram: a bot writes to a chat.
//!
//! Source: <https://core.telegram.org/bots/api#sendmessage>. Sent without `parse_mode`, so that nothing is markup. The
//! token is in the address.

use std::sync::Arc;

#[cfg(test)]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use super::address::{Address, post, value};
use super::answer::{Said, judge};
use super::wording::{first_chars, shown};
use super::{Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::NotifierReason;
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::{FromToml, Reader, Section, wrong_type};
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "telegram",
    parse,
    #[cfg(test)]
    schema: |generator| <TelegramSection as JsonSchema>::json_schema(generator),
};

/// The bot API.
const API: &str = "https://api.telegram.org";
/// The longest text, in characters.
const TEXT: usize = 4096;

/// A chat: `-1001234567890`, or `"@channel"`.
#[derive(Debug, Clone)]
pub struct ChatId(String);

impl FromToml for ChatId {
    const EXPECTED: &'static str = "a chat's number, or a channel's name like \"@channel\"";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Integer(_) => i64::from_toml(value, field, reader).map(|id| Self(id.to_string())),
            DeValue::String(_) => String::from_toml(value, field, reader).map(Self),
            _ => wrong_type(&value, field, reader),
        }
    }
}

#[cfg(test)]
impl JsonSchema for ChatId {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ChatId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer"}]})
    }
}

section! {
    /// Telegram.
    pub struct TelegramSection {
        /// The bot's token. Required.
        pub token: SecretSource,
        /// The chat: its number, or a channel's name like "@channel". Required.
        pub chat_id: ChatId,
        /// The bot API. Default: `https://api.telegram.org`.
        pub url: TextOrSecret,
    }
}

/// A bot and its chat.
#[derive(Debug)]
struct Telegram {
    token: SecretSource,
    chat_id: String,
    url: Address,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["token", "chat_id"]);
    let table = TelegramSection::take_from(section);
    let url = Address::or(section, table.url, API);
    Some(Arc::new(Telegram { token: table.token?.value, chat_id: table.chat_id?.value.0, url: url? }))
}

impl Service for Telegram {
    fn sources(&self) -> Vec<&SecretSource> {
        std::iter::once(&self.token).chain(self.url.source()).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let bot = format!("bot{}", value(values, &self.token)?);
        let url = self.url.below(&[&bot, "sendMessage"], values)?;
        post(&url, &json!({ "chat_id": self.chat_id, "text": first_chars(&notice.text(), TEXT) }))
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        judge(reply, |answer| {
            let code = answer["error_code"].as_i64();
            Some(match (answer["ok"].as_bool()?, code) {
                (true, _) => Said::Taken,
                (false, Some(429)) => Said::Limited("429".into()),
                (false, _) => Said::Refused {
                    code: code.map(|code| code.to_string()),
                    words: answer["description"].as_str().and_then(shown),
                },
            })
        })
    }

    /// What a bot may write to one group (<https://core.telegram.org/bots/faq#my-bot-is-hitting-limits>).
    fn limits(&self) -> Limits {
        Limits { per_minute: 20, ..Limits::COURTEOUS }
    }
}
