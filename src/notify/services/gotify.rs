//! Gotify: an application on one's own server.
//!
//! Source: <https://gotify.net/api-docs#/message/createMessage>. The application's token is in the address. Success is
//! HTTP 200 with the message as the server keeps it.

use std::sync::Arc;

use serde_json::json;

use super::address::{Address, post, value};
use super::answer::{Said, judge};
use super::wording::shown;
use super::{Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::NotifierReason;
use crate::secret::{SecretSource, TextOrSecret};
use crate::section;
use crate::shape::Section;
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "gotify",
    parse,
    #[cfg(test)]
    schema: |generator| <GotifySection as schemars::JsonSchema>::json_schema(generator),
};

/// From 8 on the Android client makes a noise whatever its settings; 4 to 7 are ordinary.
const PRIORITIES: (u8, u8) = (8, 5);

section! {
    /// Gotify.
    pub struct GotifySection {
        /// The server. Required.
        pub url: TextOrSecret,
        /// The application's token. Required.
        pub token: SecretSource,
    }
}

/// An application on a server.
#[derive(Debug)]
struct Gotify {
    url: Address,
    token: SecretSource,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["url", "token"]);
    let table = GotifySection::take_from(section);
    let url = Address::of(section, table.url?)?;
    Some(Arc::new(Gotify { url, token: table.token?.value }))
}

impl Service for Gotify {
    fn sources(&self) -> Vec<&SecretSource> {
        std::iter::once(&self.token).chain(self.url.source()).collect()
    }

    fn request(&self, notice: &Notice, values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let mut url = self.url.below(&["message"], values)?;
        url.query_pairs_mut().append_pair("token", value(values, &self.token)?);
        let priority = if notice.urgent { PRIORITIES.0 } else { PRIORITIES.1 };
        post(&url, &json!({ "title": notice.title, "message": notice.body, "priority": priority }))
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        judge(reply, |answer| {
            if answer["id"].is_u64() {
                return Some(Said::Taken);
            }
            let code = answer["errorCode"].as_i64()?;
            let words = answer["errorDescription"].as_str().and_then(shown);
            Some(Said::Refused { code: Some(code.to_string()), words })
        })
    }

    fn limits(&self) -> Limits {
        Limits::COURTEOUS
    }
}
