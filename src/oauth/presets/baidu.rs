//! Baidu AI Cloud (Qianfan, ERNIE).
//!
//! <https://ai.baidu.com/ai-doc/REFERENCE/Ck3dwjhhu>: the parameters in the query, the API key as `client_id`; thirty
//! days. The refresh token of the answer is of no use: the client asks anew.

use super::Preset;

pub(super) const PRESET: Preset = Preset {
    name: "baidu",
    own_token_url: None,
    fields: r#"
grant_type = "client_credentials"
token_url = "https://aip.baidubce.com/oauth/2.0/token"
encoding = "query"
token_endpoint_auth_method = "client_secret_post"
response.refresh_token = ""
"#,
};

#[cfg(test)]
pub(super) const CASE: super::tests::Case = super::tests::Case {
    written: r#"
client_id = "app"
client_secret = { env = "CLIENT" }
"#,
    request: r#"
POST https://aip.baidubce.com/oauth/2.0/token?client_id=app&client_secret=secret&grant_type=client_credentials
accept: application/json
"#,
    content_type: "application/json",
    answer: r#"{"refresh_token":"25.b55","expires_in":2592000,"session_key":"9mz","access_token":"24.6c5","scope":"public","session_secret":"dfa"}"#,
    access_token: "24.6c5",
    refresh_token: None,
    lifetime: 2_592_000,
};
