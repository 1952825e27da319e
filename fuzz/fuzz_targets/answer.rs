//! Any bytes as a token endpoint's answer: no panic, and nothing unsound becomes a key or a lifetime (row 55).
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use one_api_sidecar::config::plan::{Plan, Surroundings};
use one_api_sidecar::credential::record::Outcome;
use one_api_sidecar::oauth::response::{Response, outcome};
use one_api_sidecar::time::Timestamp;

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let text = "[gateway]\ndatabase = \"/a\"\n[[credential]]\nname = \"a\"\ntoken_url = \"https://x.example/\"\n\
                channels = [1]\nchannel_key = \"{/a}{access_token}{id_token}{expires_at}\"\n\
                response = { expires_at = \"/expires_at\", refresh_expires_in = \"/refresh_expires_in\" }\n";
    let surroundings = Surroundings { directory: Path::new("/"), env: &|_| None, mode: None };
    Plan::read(text, &surroundings).expect("a sound config").0
});

fuzz_target!(|input: (u16, Option<String>, Option<String>, Option<String>, &[u8])| {
    let (status, content_type, date, retry_after, body) = input;
    let sent_at = Timestamp::from_seconds(1_800_000_000);
    let response = Response {
        status,
        content_type,
        date,
        retry_after,
        body: body.to_vec(),
        cut: false,
        sent_at,
        received_at: sent_at,
    };
    let plan = &PLAN.credentials[0];
    let Outcome::Answered(answer) = outcome(plan, &response, &[]) else { return };
    let Ok(grant) = answer.access else { return };
    let token = grant.token.expose();
    assert!(!token.is_empty() && token.len() <= 32 * 1024 && !token.chars().any(char::is_control));
    assert!(grant.expires_at >= grant.issued_at);
    if let Ok(key) = grant.key(&plan.channels[0].key) {
        assert!(!key.expose().chars().any(char::is_control));
    }
});
