//! Slack: an incoming webhook.
//!
//! Source: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/>; escaping:
//! <https://docs.slack.dev/messaging/formatting-message-text/#escaping>. Success is HTTP 200 with the text `ok`, an
//! error a word like `no_service`. Escaped, no `<!channel>` pings anybody.

use std::sync::Arc;

use serde_json::json;

use super::address::{Address, post};
use super::wording::first_chars;
use super::{Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::NotifierReason;
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::Section;
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "slack",
    parse,
    #[cfg(test)]
    schema: |generator| <SlackSection as schemars::JsonSchema>::json_schema(generator),
};

/// The longest text, in characters, before Slack cuts it.
const TEXT: usize = 40_000;

section! {
    /// Slack.
    pub struct SlackSection {
        /// The webhook's whole address: text, or better a secret. Required.
        pub url: TextOrSecret,
    }
}

/// An incoming webhook.
#[derive(Debug)]
struct Slack {
    url: Address,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["url"]);
    let table = SlackSection::take_from(section);
    let url = Address::secret(section, table.url?)?;
    Some(Arc::new(Slack { url }))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// One of Slack's error words: `invalid_payload`, `no_service`, …
fn error_word(body: &str) -> Option<&str> {
    let fits = |c: char| c.is_ascii_lowercase() || c == '_';
    Some(body).filter(|word| word.len() <= 40 && word.contains('_') && word.chars().all(fits))
}

impl Service for Slack {
    fn sources(&self) -> Vec<&SecretSource> {
        self.url.source().into_iter().collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let text = escaped(&first_chars(&notice.text(), TEXT / 2));
        post(&self.url.url(values)?, &json!({ "text": text }))
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        let (status, body) = (reply.status, String::from_utf8_lossy(&reply.body));
        match body.trim() {
            _ if status == 429 => Err(NotifierReason::RateLimited { code: "429".into() }),
            "ok" if reply.is_success() => Ok(()),
            "rate_limited" => Err(NotifierReason::RateLimited { code: "rate_limited".into() }),
            other => match error_word(other) {
                None if reply.is_success() => Err(NotifierReason::Unreadable { status }),
                code => Err(NotifierReason::Refused { status, code: code.map(str::to_owned), words: None }),
            },
        }
    }

    fn limits(&self) -> Limits {
        Limits { per_minute: 60, ..Limits::COURTEOUS }
    }
}
