//! Anthropic, by workload identity federation: an assertion of one's own key for an access token of a service account.
//!
//! <https://platform.claude.com/docs/en/manage-claude/wif-reference>: one JSON object; beside the assertion it holds
//! `federation_rule_id`, `organization_id` and `service_account_id`. The rule names the issuer whose key is trusted. The
//! refresh tokens of Anthropic's own programs are documented for no third party and are no part of this.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "anthropic",
    own_token_url: None,
    fields: r#"
grant_type = "jwt_bearer"
token_url = "https://api.anthropic.com/v1/oauth/token"
encoding = "json"
assertion.audience = "https://api.anthropic.com"
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
assertion = { key = { env = "RSA" }, issuer = "https://id.example.com", subject = "sidecar" }
params = { federation_rule_id = "fdrl_1", organization_id = "0f", service_account_id = "svac_1" }
"#,
    request: r#"
POST https://api.anthropic.com/v1/oauth/token
accept: application/json
content-type: application/json

{"assertion":"ASSERTION","federation_rule_id":"fdrl_1","grant_type":"urn:ietf:params:oauth:grant-type:jwt-bearer","organization_id":"0f","service_account_id":"svac_1"}
"#,
    content_type: "application/json",
    answer: r#"{"access_token":"sk-ant-oat01-x","token_type":"Bearer","expires_in":3600,"scope":"workspace:developer"}"#,
    access_token: "sk-ant-oat01-x",
    refresh_token: None,
    lifetime: 3600,
};
