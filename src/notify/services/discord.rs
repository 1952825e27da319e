//! Discord: a channel's webhook.
//!
//! Source: <https://docs.discord.com/developers/resources/webhook#execute-webhook>. Success is 204 without a body, or the
//! message itself where the address says `?wait=true`. `allowed_mentions` keeps every text from pinging anybody.

use std::sync::Arc;

use serde_json::json;

use super::address::{Address, post};
use super::answer::{Said, judge};
use super::wording::{first_chars, shown};
use super::{Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::NotifierReason;
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::Section;
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "discord",
    parse,
    #[cfg(test)]
    schema: |generator| <DiscordSection as schemars::JsonSchema>::json_schema(generator),
};

/// The longest text, in characters.
const TEXT: usize = 2000;

section! {
    /// Discord.
    pub struct DiscordSection {
        /// The webhook's whole address: text, or better a secret. Required.
        pub url: TextOrSecret,
    }
}

/// A webhook.
#[derive(Debug)]
struct Discord {
    url: Address,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["url"]);
    let table = DiscordSection::take_from(section);
    let url = Address::secret(section, table.url?)?;
    Some(Arc::new(Discord { url }))
}

impl Service for Discord {
    fn sources(&self) -> Vec<&SecretSource> {
        self.url.source().into_iter().collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let content = first_chars(&notice.text(), TEXT);
        post(&self.url.url(values)?, &json!({ "content": content, "allowed_mentions": { "parse": [] } }))
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        if reply.status == 204 {
            return Ok(());
        }
        judge(reply, |answer| {
            if answer["id"].is_string() {
                return Some(Said::Taken);
            }
            let words = answer["message"].as_str()?;
            let code = answer["code"].as_i64().map(|code| code.to_string());
            Some(Said::Refused { code, words: shown(words) })
        })
    }

    /// What one webhook may write.
    fn limits(&self) -> Limits {
        Limits { per_minute: 30, ..Limits::COURTEOUS }
    }
}
