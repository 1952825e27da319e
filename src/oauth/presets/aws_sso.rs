//! AWS IAM Identity Center (AWS SSO), by its OIDC API.
//!
//! <https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/API_CreateToken.html>: one JSON object, its own
//! names for everything. The client is one that `RegisterClient` made; it dies after some ninety days, and its secret with
//! it. Every region has its address. `StartDeviceAuthorization` wants the portal's address (`startUrl`) besides.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "aws-sso",
    own_token_url: Some("https://oidc.REGION.amazonaws.com/token"),
    fields: r#"
encoding = "json"
token_endpoint_auth_method = "client_secret_post"
param_names.client_id = "clientId"
param_names.client_secret = "clientSecret"
param_names.grant_type = "grantType"
param_names.refresh_token = "refreshToken"
param_names.device_code = "deviceCode"
response.access_token = "/accessToken"
response.refresh_token = "/refreshToken"
response.expires_in = "/expiresIn"
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
token_url = "https://oidc.eu-west-1.amazonaws.com/token"
client_id = "app"
client_secret = { env = "CLIENT" }
refresh_token = { env = "SEED" }
"#,
    request: r#"
POST https://oidc.eu-west-1.amazonaws.com/token
accept: application/json
content-type: application/json

{"clientId":"app","clientSecret":"secret","grantType":"refresh_token","refreshToken":"seed"}
"#,
    content_type: "application/json",
    answer: r#"{"accessToken":"aoaAAAA","expiresIn":28800,"refreshToken":"aorAAAA","tokenType":"Bearer"}"#,
    access_token: "aoaAAAA",
    refresh_token: Some("aorAAAA"),
    lifetime: 28_800,
};
