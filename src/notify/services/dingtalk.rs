//! DingTalk (钉钉): a group's robot, with or without a signing secret.
//!
//! Source: <https://open.dingtalk.com/document/robots/custom-robot-access> and
//! <https://open.dingtalk.com/document/robots/customize-robot-security-settings>: the signature is the HMAC-SHA256 of
//! "timestamp\nsecret" under the secret, in base64. A robot in keyword mode takes the keyword `One-API`, which every
//! title begins with.

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
    name: "dingtalk",
    parse,
    #[cfg(test)]
    schema: |generator| <DingTalkSection as schemars::JsonSchema>::json_schema(generator),
};

/// Where messages go, before the access token.
const SEND: &str = "https://oapi.dingtalk.com/robot/send";
/// The longest text, in bytes: a whole request may have 20,000, and JSON makes two of a line break.
const TEXT: usize = 15_000;
/// 130101, 410100, 660026: sent too fast.
const ANSWER: Coded = Coded { code: "errcode", words: "errmsg", taken: 0, limited: &[130_101, 410_100, 660_026] };

section! {
    /// A DingTalk group robot.
    pub struct DingTalkSection {
        /// The robot's access token. Required.
        pub access_token: SecretSource,
        /// The signing secret, SEC…, if the robot has one.
        pub secret: SecretSource,
        /// What stands before `?access_token=`. Default: `https://oapi.dingtalk.com/robot/send`.
        pub url: TextOrSecret,
    }
}

/// A robot.
#[derive(Debug)]
struct DingTalk {
    access_token: SecretSource,
    secret: Option<SecretSource>,
    url: Address,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["access_token"]);
    let table = DingTalkSection::take_from(section);
    let url = Address::or(section, table.url, SEND);
    Some(Arc::new(DingTalk {
        access_token: table.access_token?.value,
        secret: table.secret.map(|secret| secret.value),
        url: url?,
    }))
}

/// The signature of a moment, in milliseconds.
fn sign(secret: &str, timestamp_ms: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, format!("{timestamp_ms}\n{secret}").as_bytes()))
}

impl Service for DingTalk {
    fn sources(&self) -> Vec<&SecretSource> {
        std::iter::once(&self.access_token).chain(&self.secret).chain(self.url.source()).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let mut url = self.url.url(values)?;
        url.query_pairs_mut().append_pair("access_token", value(values, &self.access_token)?);
        if let Some(secret) = &self.secret {
            let timestamp_ms = now.as_millis();
            let sign = sign(value(values, secret)?, timestamp_ms);
            url.query_pairs_mut().append_pair("timestamp", &timestamp_ms.to_string()).append_pair("sign", &sign);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_an_independent_computation() {
        // python3: base64.b64encode(hmac.new(s.encode(), f"{t}\n{s}".encode(), "sha256").digest())
        for (secret, timestamp_ms, expected) in [
            ("SEC0123456789abcdef", 1_767_000_000_123, "9fCAUbgSHCblUzZ0xL4tSQLdGRoA71iGbU6v0CUteg8="),
            ("密钥", 1, "6dXDYPPDSOcZIIryRviORo2m8hjAtCCHmaE9grXhBw0="),
        ] {
            assert_eq!(sign(secret, timestamp_ms), expected);
        }
    }
}
