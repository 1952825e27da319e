//! What services answer, where they answer in JSON: success is what the body says.

use serde_json::Value;

use super::Reply;
use super::wording::shown;
use crate::reason::NotifierReason;

/// What an answer's body says.
pub(super) enum Said {
    /// The service has the message.
    Taken,
    /// It wants fewer, and says so with this code.
    Limited(String),
    /// It does not want this one.
    Refused {
        /// Its own code.
        code: Option<String>,
        /// Its own words.
        words: Option<String>,
    },
}

/// An answer that is a code and words: `{"code": 0, "msg": "…"}`.
pub(super) struct Coded {
    /// The code's key.
    pub code: &'static str,
    /// The words' key.
    pub words: &'static str,
    /// The code that means success.
    pub taken: i64,
    /// The codes that ask for fewer messages.
    pub limited: &'static [i64],
}

impl Coded {
    /// What became of the message.
    pub(super) fn judge(&self, reply: &Reply) -> Result<(), NotifierReason> {
        judge(reply, |answer| {
            let code = answer[self.code].as_i64()?;
            Some(match code {
                _ if code == self.taken => Said::Taken,
                _ if self.limited.contains(&code) => Said::Limited(code.to_string()),
                _ => Said::Refused { code: Some(code.to_string()), words: answer[self.words].as_str().and_then(shown) },
            })
        })
    }
}

/// What became of a message, by HTTP status and body; `None` from `read` means that the body is not the service's.
pub(super) fn judge(reply: &Reply, read: impl FnOnce(&Value) -> Option<Said>) -> Result<(), NotifierReason> {
    let status = reply.status;
    if status == 429 {
        return Err(NotifierReason::RateLimited { code: "429".into() });
    }
    // Not into a struct: serde would take a list for one.
    let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    match read(&answer) {
        Some(Said::Taken) if reply.is_success() => Ok(()),
        Some(Said::Limited(code)) => Err(NotifierReason::RateLimited { code }),
        Some(Said::Refused { code, words }) => Err(NotifierReason::Refused { status, code, words }),
        None if reply.is_success() => Err(NotifierReason::Unreadable { status }),
        Some(Said::Taken) | None => Err(NotifierReason::Refused { status, code: None, words: None }),
    }
}
