//! Okta.
//!
//! <https://developer.okta.com/docs/guides/refresh-tokens/main/>: whether a refresh rotates is the application's setting;
//! where it does, a second use after the grace period ends the newest refresh token and all access tokens. The default
//! authorization server is called `default`; the organisation's own has no name in its path.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "okta",
    own_token_url: Some("https://ORGANISATION.okta.com/oauth2/default/v1/token"),
    fields: r#"
token_endpoint_auth_method = "client_secret_basic"
rotates = "auto"
on_lost_answer = "ask_late"
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
token_url = "https://acme.okta.com/oauth2/default/v1/token"
client_id = "app"
client_secret = { env = "CLIENT" }
scope = "offline_access openid"
refresh_token = { env = "SEED" }
"#,
    request: r#"
POST https://acme.okta.com/oauth2/default/v1/token
accept: application/json
authorization: Basic YXBwOnNlY3JldA==
content-type: application/x-www-form-urlencoded

grant_type=refresh_token&refresh_token=seed&scope=offline_access+openid
"#,
    content_type: "application/json",
    answer: r#"{"token_type":"Bearer","expires_in":3600,"access_token":"eyJhbG","scope":"offline_access openid","refresh_token":"MIOf-U1","id_token":"eyJraW"}"#,
    access_token: "eyJhbG",
    refresh_token: Some("MIOf-U1"),
    lifetime: 3600,
};
