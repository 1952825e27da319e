//! ntfy: a topic on ntfy.sh or one's own server.
//!
//! Source: <https://docs.ntfy.sh/publish/#publish-as-json>: JSON, because headers hold no Chinese. Success is 2xx with
//! the message as the server keeps it; its errors have codes like 42901.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use serde_json::json;

use super::address::{Address, finish, json as to_json, post_to, value};
use super::answer::{Said, judge};
use super::wording::{first_bytes, shown};
use super::{Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::NotifierReason;
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::Section;
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "ntfy",
    parse,
    #[cfg(test)]
    schema: |generator| <NtfySection as schemars::JsonSchema>::json_schema(generator),
};

/// The public server.
const SERVER: &str = "https://ntfy.sh";
/// The longest text, in bytes; a longer one becomes an attachment.
const TEXT: usize = 4096;
/// "High" and "default" of 1 to 5.
const PRIORITIES: (u8, u8) = (4, 3);

section! {
    /// ntfy.
    pub struct NtfySection {
        /// The topic. Required.
        pub topic: String,
        /// An access token, tk_…, where the server wants one.
        pub token: SecretSource,
        /// The server. Default: `https://ntfy.sh`.
        pub url: TextOrSecret,
    }
}

/// A topic.
#[derive(Debug)]
struct Ntfy {
    topic: String,
    token: Option<SecretSource>,
    url: Address,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["topic"]);
    let table = NtfySection::take_from(section);
    let url = Address::or(section, table.url, SERVER);
    Some(Arc::new(Ntfy { topic: table.topic?.value, token: table.token.map(|token| token.value), url: url? }))
}

impl Service for Ntfy {
    fn sources(&self) -> Vec<&SecretSource> {
        self.token.iter().chain(self.url.source()).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let mut request = post_to(&self.url.url(values)?);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", value(values, token)?));
        }
        let message = json!({
            "topic": self.topic,
            "title": notice.title,
            "message": first_bytes(&notice.body, TEXT),
            "priority": if notice.urgent { PRIORITIES.0 } else { PRIORITIES.1 },
        });
        finish(request, to_json(&message)?)
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        judge(reply, |answer| {
            if answer["id"].is_string() {
                return Some(Said::Taken);
            }
            let code = answer["code"].as_i64()?;
            Some(match code / 100 {
                429 => Said::Limited(code.to_string()),
                _ => Said::Refused { code: Some(code.to_string()), words: answer["error"].as_str().and_then(shown) },
            })
        })
    }

    /// What ntfy.sh lets a visitor send (<https://docs.ntfy.sh/publish/#limitations>).
    fn limits(&self) -> Limits {
        Limits { per_minute: 12, per_day: 250 }
    }
}
