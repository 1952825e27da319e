//! ServerChan (Server酱): Turbo keys (`SCT…`) reach WeChat, keys of ServerChan³ (`sctp…`) its own app.
//!
//! Source: <https://sct.ftqq.com/sendkey> and <https://doc.sc3.ft07.com/serverchan3>. The key is in the address and says
//! which of the two services it belongs to. Titles end at 32 characters, so the whole title begins the text, which is
//! Markdown.

use std::sync::Arc;

use serde::Serialize;
use url::Url;

use super::address::{Address, post, unusable, value};
use super::answer::Coded;
use super::wording::{first_bytes, first_chars, markdown};
use super::{Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::NotifierReason;
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::Section;
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "serverchan",
    parse,
    #[cfg(test)]
    schema: |generator| <ServerChanSection as schemars::JsonSchema>::json_schema(generator),
};

/// Where messages of Turbo keys go, before the key.
const TURBO: &str = "https://sctapi.ftqq.com";
/// The longest title, in characters.
const TITLE: usize = 32;
/// The longest text, in bytes.
const TEXT: usize = 32 * 1024;
const ANSWER: Coded = Coded { code: "code", words: "message", taken: 0, limited: &[] };

section! {
    /// ServerChan.
    pub struct ServerChanSection {
        /// The send key, SCT… or sctp…. Required.
        pub key: SecretSource,
        /// What stands before the key. Default: by the key's form, `https://sctapi.ftqq.com` or
        /// `https://N.push.ft07.com/send`.
        pub url: TextOrSecret,
    }
}

/// A ServerChan account.
#[derive(Debug)]
struct ServerChan {
    key: SecretSource,
    /// In place of what the key's form says.
    url: Option<Address>,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["key"]);
    let table = ServerChanSection::take_from(section);
    let url = match table.url {
        Some(url) => Some(Address::of(section, url)?),
        None => None,
    };
    Some(Arc::new(ServerChan { key: table.key?.value, url }))
}

/// The request's body.
#[derive(Serialize)]
struct Message {
    title: String,
    desp: String,
}

impl ServerChan {
    fn address(&self, values: &Values) -> Result<Url, NotifierReason> {
        let key = value(values, &self.key)?;
        let last = format!("{key}.send");
        if let Some(url) = &self.url {
            return url.below(&[&last], values);
        }
        let mut url = match account_of(key) {
            Some(account) => Url::parse(&format!("https://{account}.push.ft07.com/send")),
            None => Url::parse(TURBO),
        }
        .map_err(|error| unusable(error.to_string()))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(&last);
        }
        Ok(url)
    }
}

/// The account's number in a key of ServerChan³: `sctp{number}t…`.
fn account_of(key: &str) -> Option<&str> {
    let (number, _) = key.strip_prefix("sctp")?.split_once('t')?;
    Some(number).filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Service for ServerChan {
    fn sources(&self) -> Vec<&SecretSource> {
        std::iter::once(&self.key).chain(self.url.as_ref().and_then(Address::source)).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let title = first_chars(&notice.title, TITLE);
        let text = if title == notice.title { &notice.body } else { &notice.text() };
        post(&self.address(values)?, &Message { title, desp: first_bytes(&markdown(text), TEXT) })
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        ANSWER.judge(reply)
    }

    /// What a free account may send.
    fn limits(&self) -> Limits {
        Limits { per_minute: 5, per_day: 5 }
    }
}
