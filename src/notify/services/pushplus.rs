//! PushPlus (推送加): messages to WeChat.

use crate::notify::services::Registration;

/// The registry's line.
pub const REGISTRATION: Registration =
    Registration { name: "pushplus", parse: |_| None, schema: |_| schemars::json_schema!({}) };
