//! Bark: messages to iPhones, by its author's server or one's own.
//!
//! Source: <https://github.com/Finb/bark-server/blob/master/docs/API_V2.md>.

use std::sync::Arc;

use serde::Serialize;

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
    name: "bark",
    parse,
    #[cfg(test)]
    schema: |generator| <BarkSection as schemars::JsonSchema>::json_schema(generator),
};

/// The author's server.
const SERVER: &str = "https://api.day.app";
/// The longest text, in bytes: what Apple's push service carries is 4 KiB with everything around it.
const TEXT: usize = 3000;
const ANSWER: Coded = Coded { code: "code", words: "message", taken: 200, limited: &[] };

section! {
    /// Bark.
    pub struct BarkSection {
        /// The device's key. Required.
        pub device_key: SecretSource,
        /// The server. Default: `https://api.day.app`.
        pub url: TextOrSecret,
    }
}

/// A device.
#[derive(Debug)]
struct Bark {
    device_key: SecretSource,
    url: Address,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["device_key"]);
    let table = BarkSection::take_from(section);
    let url = Address::or(section, table.url, SERVER);
    Some(Arc::new(Bark { device_key: table.device_key?.value, url: url? }))
}

/// The request's body.
#[derive(Serialize)]
struct Message<'a> {
    device_key: &'a str,
    title: &'a str,
    body: String,
}

impl Service for Bark {
    fn sources(&self) -> Vec<&SecretSource> {
        std::iter::once(&self.device_key).chain(self.url.source()).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let device_key = value(values, &self.device_key)?;
        let message = Message { device_key, title: &notice.title, body: first_bytes(&notice.body, TEXT) };
        post(&self.url.below(&["push"], values)?, &message)
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        ANSWER.judge(reply)
    }

    fn limits(&self) -> Limits {
        Limits::COURTEOUS
    }
}
