//! GitHub Apps: the access token of a user.
//!
//! <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens>:
//! eight hours; a refresh ends the old access token and the old refresh token (six months) at once. Answers as a form
//! unless JSON is asked for; errors (`bad_refresh_token`) come with 200.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "github-app",
    own_token_url: None,
    fields: r#"
token_url = "https://github.com/login/oauth/access_token"
token_endpoint_auth_method = "client_secret_post"
rotates = true
revokes_previous = true
response.refresh_expires_in = "/refresh_token_expires_in"
authorization_endpoint = "https://github.com/login/oauth/authorize"
device_authorization_endpoint = "https://github.com/login/device/code"
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
client_id = "Iv1.app"
client_secret = { env = "CLIENT" }
refresh_token = { env = "SEED" }
"#,
    request: r#"
POST https://github.com/login/oauth/access_token
accept: application/json
content-type: application/x-www-form-urlencoded

client_id=Iv1.app&client_secret=secret&grant_type=refresh_token&refresh_token=seed
"#,
    content_type: "application/x-www-form-urlencoded; charset=utf-8",
    answer: r#"access_token=ghu_16C7&expires_in=28800&refresh_token=ghr_1B4a&refresh_token_expires_in=15811200&scope=&token_type=bearer"#,
    access_token: "ghu_16C7",
    refresh_token: Some("ghr_1B4a"),
    lifetime: 28_800,
};
