//! Auth0.
//!
//! <https://auth0.com/docs/secure/tokens/refresh-tokens/refresh-token-rotation>: whether a refresh token is good for one
//! use is the application's setting; where it is, a second use ends the whole family. A refused refresh token is
//! answered with 403. How the client proves itself is the application's setting too.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "auth0",
    own_token_url: Some("https://TENANT.auth0.com/oauth/token"),
    fields: r#"
encoding = "form"
rotates = "auto"
on_lost_answer = "ask_late"
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
token_url = "https://acme.eu.auth0.com/oauth/token"
client_id = "app"
refresh_token = { env = "SEED" }
"#,
    request: r#"
POST https://acme.eu.auth0.com/oauth/token
accept: application/json
content-type: application/x-www-form-urlencoded

client_id=app&grant_type=refresh_token&refresh_token=seed
"#,
    content_type: "application/json",
    answer: r#"{"access_token":"eyJz93a","refresh_token":"GEbRxBN","id_token":"eyJ0XAi","token_type":"Bearer","expires_in":86400}"#,
    access_token: "eyJz93a",
    refresh_token: Some("GEbRxBN"),
    lifetime: 86_400,
};
