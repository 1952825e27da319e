//! OpenAI, with the request of the original shell script.
//!
//! OpenAI documents this endpoint for no third party; the user brings a login of their own, as the script did. Newer
//! logins come from `https://auth.openai.com/oauth/token`: set `token_url` and `client_id` to what the login used.
//! A refresh token is good for one use (`refresh_token_reused`); errors are objects with a `code`; the lifetime may
//! stand only in the access token itself, a JWT.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "openai",
    own_token_url: None,
    fields: r#"
token_url = "https://auth0.openai.com/oauth/token"
encoding = "json"
client_id = "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh"
params.redirect_uri = "com.openai.chat://auth0.openai.com/ios/com.openai.chat/callback"
rotates = true
authorization_endpoint = "https://auth0.openai.com/authorize"
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
refresh_token = { env = "SEED" }
"#,
    request: r#"
POST https://auth0.openai.com/oauth/token
accept: application/json
content-type: application/json

{"client_id":"pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh","grant_type":"refresh_token","redirect_uri":"com.openai.chat://auth0.openai.com/ios/com.openai.chat/callback","refresh_token":"seed"}
"#,
    content_type: "application/json",
    answer: r#"{"access_token":"eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE4MDA4NjQwMDB9.c2ln","id_token":"i","scope":"openid offline_access","token_type":"Bearer","refresh_token":"next"}"#,
    access_token: "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE4MDA4NjQwMDB9.c2ln",
    refresh_token: Some("next"),
    lifetime: 864_000,
};
