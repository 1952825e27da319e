//! Feishu (飞书) and Lark: a group's robot, with or without a signing secret.
//!
//! Source: <https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot>: the signature is the HMAC-SHA256 of
//! nothing under the key "timestamp\nsecret", in base64; both travel in the body. For Lark `url` is
//! `https://open.larksuite.com/open-apis/bot/v2/hook`. A robot in keyword mode takes the keyword `One-API`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
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
    name: "feishu",
    parse,
    #[cfg(test)]
    schema: |generator| <FeishuSection as schemars::JsonSchema>::json_schema(generator),
};

/// Where messages go, before the token.
const HOOK: &str = "https://open.feishu.cn/open-apis/bot/v2/hook";
/// The longest text, in bytes: a whole request may have 20 KiB, and JSON makes two of a line break.
const TEXT: usize = 15_000;
/// 9499 and 11232: too many requests.
const ANSWER: Coded = Coded { code: "code", words: "msg", taken: 0, limited: &[9499, 11_232] };

section! {
    /// A Feishu or Lark group robot.
    pub struct FeishuSection {
        /// The robot's token: the last part of its webhook address. Required.
        pub token: SecretSource,
        /// The signing secret, if the robot has one.
        pub secret: SecretSource,
        /// What stands before the token. Default: `https://open.feishu.cn/open-apis/bot/v2/hook`.
        pub url: TextOrSecret,
    }
}

/// A robot.
#[derive(Debug)]
struct Feishu {
    token: SecretSource,
    secret: Option<SecretSource>,
    url: Address,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["token"]);
    let table = FeishuSection::take_from(section);
    let url = Address::or(section, table.url, HOOK);
    Some(Arc::new(Feishu { token: table.token?.value, secret: table.secret.map(|secret| secret.value), url: url? }))
}

/// The signature of a moment, in seconds.
fn sign(secret: &str, timestamp_seconds: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{timestamp_seconds}\n{secret}").as_bytes());
    STANDARD.encode(hmac::sign(&key, b""))
}

impl Service for Feishu {
    fn sources(&self) -> Vec<&SecretSource> {
        std::iter::once(&self.token).chain(&self.secret).chain(self.url.source()).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, now: Timestamp) -> Result<Dispatch, NotifierReason> {
        // `<at user_id="all">` in a text would ping everybody.
        let text = notice.text().replace('<', "＜");
        let mut message = json!({ "msg_type": "text", "content": { "text": first_bytes(&text, TEXT) } });
        if let Some(secret) = &self.secret {
            let timestamp_seconds = now.as_millis() / 1000;
            message["timestamp"] = timestamp_seconds.to_string().into();
            message["sign"] = sign(value(values, secret)?, timestamp_seconds).into();
        }
        post(&self.url.below(&[value(values, &self.token)?], values)?, &message)
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        ANSWER.judge(reply)
    }

    fn limits(&self) -> Limits {
        Limits { per_minute: 100, ..Limits::COURTEOUS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_an_independent_computation() {
        // python3: base64.b64encode(hmac.new(f"{t}\n{s}".encode(), b"", "sha256").digest())
        for (secret, timestamp_seconds, expected) in [
            ("demo", 1_599_360_473, "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="),
            ("密钥", 1, "8mRtW400pTb36n68I5tG9xjiGHUswQtinhluzxoPKxw="),
        ] {
            assert_eq!(sign(secret, timestamp_seconds), expected);
        }
    }
}
