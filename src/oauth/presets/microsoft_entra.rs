//! Microsoft Entra ID (Azure AD).
//!
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-auth-code-flow#refresh-the-access-token>: form
//! encoding, the secret in the body. A refresh brings a new refresh token and leaves the old one valid. Every tenant has
//! its address (`common` and `organizations` are tenants too). Without a user: `grant_type = "client_credentials"` and a
//! scope that ends in `/.default`.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "microsoft-entra",
    own_token_url: Some("https://login.microsoftonline.com/TENANT/oauth2/v2.0/token"),
    fields: r#"
token_endpoint_auth_method = "client_secret_post"
rotates = false
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
token_url = "https://login.microsoftonline.com/contoso/oauth2/v2.0/token"
client_id = "app"
client_secret = { env = "CLIENT" }
scope = "https://cognitiveservices.azure.com/.default offline_access"
refresh_token = { env = "SEED" }
"#,
    request: r#"
POST https://login.microsoftonline.com/contoso/oauth2/v2.0/token
accept: application/json
content-type: application/x-www-form-urlencoded

client_id=app&client_secret=secret&grant_type=refresh_token&refresh_token=seed&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default+offline_access
"#,
    content_type: "application/json",
    answer: r#"{"token_type":"Bearer","scope":"https://cognitiveservices.azure.com/.default","expires_in":4520,"ext_expires_in":4520,"access_token":"eyJ0","refresh_token":"0.AX"}"#,
    access_token: "eyJ0",
    refresh_token: Some("0.AX"),
    lifetime: 4520,
};
