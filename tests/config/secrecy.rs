//! Whatever is wrong with a config, no secret in it is ever shown, and nothing panics.

use one_api_sidecar::config::plan::Plan;
use one_api_sidecar::config::report::reports;
use one_api_sidecar::shape::Problem;
use proptest::prelude::*;

use super::{EXAMPLE, TEN_LINES, read_with, shown, words};

const SENTINEL: &str = "sentinel-9c1e";

/// Reads a text in a file that others can read too.
fn told(text: &str) -> (Option<Plan>, Vec<Problem>) {
    match read_with(text, &[], Some(0o644)) {
        Ok((plan, warnings)) => (Some(plan), warnings),
        Err(problems) => (None, problems),
    }
}

#[test]
fn a_secret_at_a_bad_place_is_never_shown() {
    let top = ["sentinel-9c1e", "sentinel-9c1e = 1", "\"sentinel-9c1e\" = 1", "language = \"sentinel-9c1e\""];
    let gateway = [
        "database = \"user:sentinel-9c1e@tcp(host:1)/db\"",
        "database = \"postgres://u:sentinel-9c1e@host/db\"",
        "database = { value = \"postgres://u:sentinel-9c1e@host/db\" }",
        "database = { value = \"sentinel-9c1e\" }",
        "database = \"u:sentinel-9c1e@tcp(host/db\"",
        "database = \"redis://u:sentinel-9c1e@host/db\"",
        "database = \"/a\"\nkind = \"sentinel-9c1e\"",
        "database = \"/a\"\napi = { token = \"sentinel-9c1e\" }",
        "[vault]\nencryption_key = \"sentinel-9c1e\"",
        "[vault]\nurl = \"postgres://u:sentinel-9c1e@host/db\"",
        "[server]\nlisten = \"sentinel-9c1e\"",
        "[agent]\nmax_in_flight = \"sentinel-9c1e\"",
        "[sentinel-9c1e]\nx = 1",
        "[[sentinel-9c1e]]",
        "[sentinel-9c1e",
    ];
    let credential = [
        "refresh_token = \"sentinel-9c1e\"",
        "refresh_token = 'sentinel-9c1e",
        "refresh_token = \"sentinel-9c1e",
        "refresh_token = sentinel-9c1e",
        "refresh_token sentinel-9c1e",
        "refresh_token: sentinel-9c1e",
        "refresh_token = \"\"\"\nsentinel-9c1e\n",
        "refresh_token = \"$sentinel-9c1e\"",
        "refresh_token = { value = \"sentinel-9c1e\" }",
        "refresh_token = { value = \"sentinel-9c1e\", env = \"X\" }",
        "refresh_token = { value = \"sentinel-9c1e\" env = \"X\" }",
        "refresh_token = { value = \"sentinel-9c1e\"",
        "refresh_token = { vale = \"sentinel-9c1e\" }",
        "refresh_token = { sentinel-9c1e }",
        "refresh_token = { sentinel-9c1e = 1 }",
        "refresh_token = { value = \"x\", service = \"sentinel-9c1e\" }",
        "refresh_token = [\"sentinel-9c1e\"]",
        "refresh_tokne = \"sentinel-9c1e\"",
        "refresh_token = { value = \"sentinel-9c1e\" }\nrefresh_token = { value = \"sentinel-9c1e\" }",
        "refresh_token = \"sentinel-9c1e\" # sentinel-9c1e\nrefresh_token = \"sentinel-9c1e\"",
        "refresh_token.value = \"sentinel-9c1e\"\nrefresh_token = \"sentinel-9c1e\"",
        "client_secret = \"sentinel-9c1e\"",
        "client_secret = { value = \"sentinel-9c1e\" }",
        "colour = \"sentinel-9c1e\"",
        "sentinel-9c1e = \"x\"",
        "sentinel-9c1e.x = \"x\"",
        "timeout = \"sentinel-9c1e\"",
        "timeout = sentinel-9c1e",
        "enabled = \"sentinel-9c1e\"",
        "encoding = \"sentinel-9c1e\"",
        "grant_type = \"sentinel-9c1e\"",
        "rotates = \"sentinel-9c1e\"",
        "scope = [\"sentinel-9c1e\"]",
        "preset = \"sentinel-9c1e\"",
        "issuer = \"sentinel-9c1e\"",
        "issuer = \"https://u:sentinel-9c1e@host/\"",
        "proxy = \"http://u:sentinel-9c1e@host:1\"",
        "params = { client_secret = \"sentinel-9c1e\" }",
        "params = { client_id = \"sentinel-9c1e\" }",
        "params = { x = [\"sentinel-9c1e\"] }",
        "params = \"sentinel-9c1e\"",
        "param_names = { sentinel-9c1e = \"x\" }",
        "headers = { authorization = \"sentinel-9c1e\" }",
        "headers = { \"a b\" = \"sentinel-9c1e\" }",
        "headers = { \"a sentinel-9c1e\" = \"x\" }",
        "headers = { x = \"sentinel-9c1e\\n\" }",
        "channel_key = \"sentinel-9c1e\"",
        "channel_key = \"{sentinel-9c1e}\"",
        "[credential.response]\nerror = \"sentinel-9c1e\"",
        "[credential.assertion]\nkey = \"sentinel-9c1e\"",
    ];
    let notify = [
        "token = \"sentinel-9c1e\"",
        "tokne = \"sentinel-9c1e\"",
        "token = { value = \"sentinel-9c1e\" }",
        "token = { value = \"sentinel-9c1e\" }\ntoken = \"sentinel-9c1e\"",
        "url = \"sentinel-9c1e\"",
        "url = \"ftp://u:sentinel-9c1e@host/\"",
        "proxy = \"sentinel-9c1e\"",
        "events = [\"sentinel-9c1e\"]",
        "events = \"sentinel-9c1e\"",
        "[[notify]]\ntype = \"sentinel-9c1e\"\ntoken = \"sentinel-9c1e\"",
    ];
    let credential_lines = TEN_LINES.split("[[notify]]").next().unwrap();
    let without = |text: &str, keys: &[&str]| -> String {
        let keep = |line: &&str| !keys.iter().any(|key| line.starts_with(key));
        text.lines().filter(keep).map(|line| format!("{line}\n")).collect()
    };
    let credential_lines = without(credential_lines, &["refresh_token"]);
    let notify_lines = without(TEN_LINES, &["token "]);
    let texts = top
        .map(|line| format!("{line}\n{TEN_LINES}"))
        .into_iter()
        .chain(gateway.map(|lines| format!("[gateway]\n{lines}\n")))
        .chain(credential.map(|lines| format!("{credential_lines}{lines}\n")))
        .chain(notify.map(|lines| format!("{notify_lines}{lines}\n")));
    for text in texts {
        // A number is a secret too, and the parser likes to repeat numbers.
        for text in [text.clone(), text.replace(SENTINEL, "918273645546372819"), text.replace(SENTINEL, "9c1e:[}{'")] {
            let (plan, problems) = told(&text);
            assert!(!problems.is_empty(), "nothing was told about\n{text}");
            let json = serde_json::to_string(&reports("sidecar.toml", &text, &problems, words)).unwrap();
            for shown in [format!("{problems:?}"), shown(&text, &problems), json, format!("{plan:?}")] {
                for secret in ["sentinel", "9c1e", "918273645546372819"] {
                    assert!(!shown.contains(secret), "{secret} of\n{text}\nis in\n{shown}");
                }
            }
        }
    }
}

/// Reads and shows a text; only that nothing panics matters.
fn survives(text: &str) {
    let (_, problems) = told(text);
    shown(text, &problems);
    reports("sidecar.toml", text, &problems, words);
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn anything_of_tomls_alphabet_is_read_without_a_panic(text in "[\\[\\]{}=.,\"'#a-c1\n \\\\-]{0,80}") {
        survives(&text);
    }

    #[test]
    fn a_mutilated_example_is_read_without_a_panic(
        cut in 0..EXAMPLE.len(),
        length in 0..60usize,
        insert in "[\\[\\]{}=.,\"'#a1\n ]{0,6}",
        uncommented in any::<bool>(),
    ) {
        let text = if uncommented { super::example::uncommented() } else { EXAMPLE.to_owned() };
        let kept = |range: std::ops::Range<usize>| String::from_utf8_lossy(&text.as_bytes()[range]).into_owned();
        let cut = cut.min(text.len());
        let end = (cut + length).min(text.len());
        survives(&format!("{}{insert}{}", kept(0..cut), kept(end..text.len())));
    }
}
