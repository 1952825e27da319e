//! WeCom (企业微信): a group's robot.
//!
//! Source: <https://developer.work.weixin.qq.com/document/path/91770>. Text is counted in bytes of UTF-8; people are
//! mentioned by fields of their own only, which are never sent.

use std::sync::Arc;

use serde_json::json;

use super::address::{Address, post, value};
use super::answer::Coded;
use super::wording::first_bytes;
use super::{Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::NotifierReason;
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::Section;
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "wecom",
    parse,
    #[cfg(test)]
    schema: |generator| <WeComSection as schemars::JsonSchema>::json_schema(generator),
};

/// Where messages go, before the key.
const SEND: &str = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send";
/// The longest text, in bytes.
const TEXT: usize = 2048;
/// 45009, 45033: too often, too many at once (<https://developer.work.weixin.qq.com/document/path/90313>).
const ANSWER: Coded = Coded { code: "errcode", words: "errmsg", taken: 0, limited: &[45009, 45033] };

section! {
    /// A WeCom group robot.
    pub struct WeComSection {
        /// The robot's key. Required.
        pub key: SecretSource,
        /// What stands before `?key=`. Default: `https://qyapi.weixin.qq.com/cgi-bin/webhook/send`.
        pub url: TextOrSecret,
    }
}

/// A robot.
#[derive(Debug)]
struct WeCom {
    key: SecretSource,
    url: Address,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["key"]);
    let table = WeComSection::take_from(section);
    let url = Address::or(section, table.url, SEND);
    Some(Arc::new(WeCom { key: table.key?.value, url: url? }))
}

impl Service for WeCom {
    fn sources(&self) -> Vec<&SecretSource> {
        std::iter::once(&self.key).chain(self.url.source()).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let mut url = self.url.url(values)?;
        url.query_pairs_mut().append_pair("key", value(values, &self.key)?);
        let content = first_bytes(&notice.text(), TEXT);
        post(&url, &json!({ "msgtype": "text", "text": { "content": content } }))
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        ANSWER.judge(reply)
    }

    fn limits(&self) -> Limits {
        Limits { per_minute: 20, ..Limits::COURTEOUS }
    }
}
