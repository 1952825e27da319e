//! GitLab, gitlab.com; for a server of one's own, set `token_url` and `issuer`.
//!
//! <https://docs.gitlab.com/api/oauth2/#authorization-code-flow>: two hours; a refresh ends the old access token and the
//! old refresh token at once.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "gitlab",
    own_token_url: None,
    fields: r#"
token_url = "https://gitlab.com/oauth/token"
token_endpoint_auth_method = "client_secret_post"
rotates = true
revokes_previous = true
issuer = "https://gitlab.com"
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
client_id = "app"
client_secret = { env = "CLIENT" }
params.redirect_uri = "http://127.0.0.1:7171/callback"
refresh_token = { env = "SEED" }
"#,
    request: r#"
POST https://gitlab.com/oauth/token
accept: application/json
content-type: application/x-www-form-urlencoded

client_id=app&client_secret=secret&grant_type=refresh_token&redirect_uri=http%3A%2F%2F127.0.0.1%3A7171%2Fcallback&refresh_token=seed
"#,
    content_type: "application/json",
    answer: r#"{"access_token":"c4879","token_type":"bearer","expires_in":7200,"refresh_token":"803c1","created_at":1800000000}"#,
    access_token: "c4879",
    refresh_token: Some("803c1"),
    lifetime: 7200,
};
