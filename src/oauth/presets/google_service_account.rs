//! Google, for a service account: a key file, no user and no refresh token.
//!
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>: an assertion signed by RS256,
//! with the scope in it; an hour. The JSON of the key says who signs and for whom.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "google-service-account",
    own_token_url: None,
    fields: r#"
grant_type = "jwt_bearer"
token_url = "https://oauth2.googleapis.com/token"
scope = "https://www.googleapis.com/auth/cloud-platform"
assertion.algorithm = "RS256"
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
assertion.key = { env = "ACCOUNT" }
"#,
    request: r#"
POST https://oauth2.googleapis.com/token
accept: application/json
content-type: application/x-www-form-urlencoded

assertion=ASSERTION&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer
"#,
    content_type: "application/json",
    answer: r#"{"access_token":"ya29.c.b0","expires_in":3599,"token_type":"Bearer"}"#,
    access_token: "ya29.c.b0",
    refresh_token: None,
    lifetime: 3599,
};
