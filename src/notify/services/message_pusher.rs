//! message-pusher: One-API's author's own message service, on one's own server.
//!
//! Source: <https://github.com/songquanpeng/message-pusher> (`controller/message.go`, `channel/`). What it does with the
//! fields depends on the channel behind it: a mail's subject is the description, robots show the content alone, which is
//! Markdown. So the title is in all three, and the content has everything. Most errors come with HTTP 200.

use std::sync::Arc;

use serde::Serialize;

use super::address::{Address, post, value};
use super::answer::{Said, judge};
use super::wording::{markdown, shown};
use super::{Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::NotifierReason;
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::Section;
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "message-pusher",
    parse,
    #[cfg(test)]
    schema: |generator| <MessagePusherSection as schemars::JsonSchema>::json_schema(generator),
};

section! {
    /// message-pusher.
    pub struct MessagePusherSection {
        /// The server. Required.
        pub url: TextOrSecret,
        /// The user's name there. Required.
        pub user: String,
        /// The push token, where the user or the channel has one.
        pub token: SecretSource,
        /// The channel's name there. Default: the user's own choice.
        pub channel: String,
    }
}

/// A user on a server.
#[derive(Debug)]
struct MessagePusher {
    url: Address,
    user: String,
    token: Option<SecretSource>,
    channel: Option<String>,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["url", "user"]);
    let table = MessagePusherSection::take_from(section);
    let url = Address::of(section, table.url?)?;
    Some(Arc::new(MessagePusher {
        url,
        user: table.user?.value,
        token: table.token.map(|token| token.value),
        channel: table.channel.map(|channel| channel.value),
    }))
}

/// The request's body.
#[derive(Serialize)]
struct Message<'a> {
    title: &'a str,
    description: &'a str,
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl Service for MessagePusher {
    fn sources(&self) -> Vec<&SecretSource> {
        self.token.iter().chain(self.url.source()).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let message = Message {
            title: &notice.title,
            description: &notice.title,
            content: markdown(&notice.text()),
            channel: self.channel.as_deref(),
            token: self.token.as_ref().map(|token| value(values, token)).transpose()?,
        };
        post(&self.url.below(&["push", &self.user], values)?, &message)
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        judge(reply, |answer| {
            Some(match answer["success"].as_bool()? {
                true => Said::Taken,
                false => Said::Refused { code: None, words: answer["message"].as_str().and_then(shown) },
            })
        })
    }

    fn limits(&self) -> Limits {
        Limits::COURTEOUS
    }
}
