//! Keycloak.
//!
//! <https://www.keycloak.org/securing-apps/oidc-layers>: the answer says how long the refresh token itself lives (the
//! session's idle time), and the sidecar is earlier than that. Whether a refresh token is good for one use ("Revoke
//! Refresh Token") is the realm's setting.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "keycloak",
    own_token_url: Some("https://HOST/realms/REALM/protocol/openid-connect/token"),
    fields: r#"
rotates = "auto"
response.refresh_expires_in = "/refresh_expires_in"
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
token_url = "https://sso.example.com/realms/acme/protocol/openid-connect/token"
client_id = "app"
client_secret = { env = "CLIENT" }
token_endpoint_auth_method = "client_secret_basic"
refresh_token = { env = "SEED" }
"#,
    request: r#"
POST https://sso.example.com/realms/acme/protocol/openid-connect/token
accept: application/json
authorization: Basic YXBwOnNlY3JldA==
content-type: application/x-www-form-urlencoded

grant_type=refresh_token&refresh_token=seed
"#,
    content_type: "application/json",
    answer: r#"{"access_token":"eyJhbG","expires_in":300,"refresh_expires_in":1800,"refresh_token":"eyJhbH","token_type":"Bearer","not-before-policy":0,"session_state":"s","scope":"profile"}"#,
    access_token: "eyJhbG",
    refresh_token: Some("eyJhbH"),
    lifetime: 300,
};
