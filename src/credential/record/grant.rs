//! The access token that serves, and the key that is made of it.

use std::collections::BTreeMap;

use crate::config::template::{Part, Template};
use crate::reason::ChannelReason;
use crate::secret::Secret;
use crate::time::Timestamp;

/// An access token and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessGrant {
    /// The access token.
    pub token: Secret,
    /// The ID token, if one came.
    pub id_token: Option<Secret>,
    /// Further fields of the answer that a `channel_key` asks for, by JSON pointer.
    pub fields: BTreeMap<String, Secret>,
    /// When the request for it was sent.
    pub issued_at: Timestamp,
    /// When it dies.
    pub expires_at: Timestamp,
    /// Whether nothing said how long it lives.
    pub lifetime_assumed: bool,
}

impl AccessGrant {
    /// What is written into a channel by this template.
    ///
    /// # Errors
    /// When the answer lacked a field of the template, or the key cannot travel in an HTTP header.
    pub fn key(&self, template: &Template) -> Result<Secret, ChannelReason> {
        // Of most channels the key is the token as it came: shared, and not once more in memory.
        let key = match template.parts() {
            [Part::AccessToken] => self.token.clone(),
            parts => self.filled(parts)?,
        };
        if key.fits_a_header() { Ok(key) } else { Err(ChannelReason::UnsafeKey) }
    }

    fn filled(&self, parts: &[Part]) -> Result<Secret, ChannelReason> {
        let missing = |field: &str| ChannelReason::TemplateField { field: field.to_owned() };
        let mut key = String::new();
        for part in parts {
            match part {
                Part::Text(text) => key.push_str(text),
                Part::AccessToken => key.push_str(self.token.expose()),
                Part::IdToken => key.push_str(self.id_token.as_ref().ok_or_else(|| missing("id_token"))?.expose()),
                Part::ExpiresAt => key.push_str(&self.expires_at.as_seconds().to_string()),
                Part::Pointer(pointer) => {
                    key.push_str(self.fields.get(pointer).ok_or_else(|| missing(pointer))?.expose());
                }
            }
        }
        Ok(Secret::new(key))
    }
}
