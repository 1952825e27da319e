//! Google, for a user who gave consent.
//!
//! <https://developers.google.com/identity/protocols/oauth2/web-server#offline>: form encoding, the secret in the
//! body, an hour; no refresh token comes back and the old one goes on. A refresh token is only given when the
//! authorization asks for offline access: hence the query of `authorization_endpoint`.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "google",
    own_token_url: None,
    fields: r#"
token_url = "https://oauth2.googleapis.com/token"
token_endpoint_auth_method = "client_secret_post"
rotates = false
authorization_endpoint = "https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&prompt=consent"
device_authorization_endpoint = "https://oauth2.googleapis.com/device/code"
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
client_id = "app"
client_secret = { env = "CLIENT" }
refresh_token = { env = "SEED" }
"#,
    request: r#"
POST https://oauth2.googleapis.com/token
accept: application/json
content-type: application/x-www-form-urlencoded

client_id=app&client_secret=secret&grant_type=refresh_token&refresh_token=seed
"#,
    content_type: "application/json",
    answer: r#"{"access_token":"ya29.a0","expires_in":3599,"scope":"https://www.googleapis.com/auth/cloud-platform","token_type":"Bearer"}"#,
    access_token: "ya29.a0",
    refresh_token: None,
    lifetime: 3599,
};
