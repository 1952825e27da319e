//! PushPlus (推送加): messages to WeChat, mail and others by one POST.
//!
//! Source: <https://www.pushplus.plus/doc/>. The default template is HTML; ours is `txt`, so nothing is escaped. The
//! service takes a message when `code` in the body is 200 and delivers it later.

use std::sync::Arc;

use serde::Serialize;

use super::address::{Address, post, value};
use super::answer::Coded;
use super::wording::first_chars;
use super::{Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::NotifierReason;
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::Section;
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "pushplus",
    parse,
    #[cfg(test)]
    schema: |generator| <PushPlusSection as schemars::JsonSchema>::json_schema(generator),
};

/// Where messages go unless the config says otherwise.
const SEND: &str = "https://www.pushplus.plus/send";
/// The longest title, in characters.
const TITLE: usize = 100;
/// 900: the account is blocked for the rest of the day.
const ANSWER: Coded = Coded { code: "code", words: "msg", taken: 200, limited: &[900] };

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
    url: Address,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["token"]);
    let table = PushPlusSection::take_from(section);
    let url = Address::or(section, table.url, SEND);
    Some(Arc::new(PushPlus {
        token: table.token?.value,
        topic: table.topic.map(|topic| topic.value),
        channel: table.channel.map(|channel| channel.value),
        url: url?,
    }))
}

/// The request's body.
#[derive(Serialize)]
struct Message<'a> {
    token: &'a str,
    title: String,
    content: &'a str,
    template: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
}

impl Service for PushPlus {
    fn sources(&self) -> Vec<&SecretSource> {
        std::iter::once(&self.token).chain(self.url.source()).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let message = Message {
            token: value(values, &self.token)?,
            title: first_chars(&notice.title, TITLE),
            content: &notice.body,
            template: "txt",
            topic: self.topic.as_deref(),
            channel: self.channel.as_deref(),
        };
        post(&self.url.url(values)?, &message)
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        ANSWER.judge(reply)
    }

    fn limits(&self) -> Limits {
        Limits { per_minute: 5, per_day: 200 }
    }
}
