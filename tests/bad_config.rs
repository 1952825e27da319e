//! A config with mistakes: all are told at once, each with its place, and no secret is echoed.

mod support;

use support::SENTINEL;
use support::endpoint::{Endpoint, Options};
use support::process::{Bench, Output, assert_no_secret};

/// Runs a command on a config that must be refused.
fn refused(bench: &Bench, command: &str) -> String {
    let Output { code, stdout, stderr } = bench.run_command(&[command]);
    let said = stdout + &stderr;
    assert_eq!(code, Some(3), "{command}: {said}");
    assert_no_secret(command, &said);
    said
}

#[test]
fn three_mistakes_are_told_in_one_go_with_line_and_column() {
    let endpoint = Endpoint::start(Options::default());
    let bench = Bench::new();
    let text = format!(
        r#"[gateway]
database = "one-api.db"
busy_timeout = "a while"

[[credential]]
name          = "openai"
token_url     = "{}"
client_id     = "app"
refresh_token = "{SENTINEL}-bare"
chanels       = [1]
"#,
        endpoint.url()
    );
    bench.write_config(&text);
    for command in ["check", "once", "run"] {
        let said = refused(&bench, command);
        for (place, what) in [("3:16", "busy_timeout"), ("9:17", "refresh_token"), ("10:1", "chanels")] {
            let told = said.lines().any(|line| line.contains(&format!("sidecar.toml:{place}")));
            assert!(told && said.contains(what), "{command} tells of {what} at {place}:\n{said}");
        }
        assert!(said.contains("channels"), "the nearest known key is suggested:\n{said}");
    }
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn row_49_plain_http_goes_to_loopback_only() {
    let bench = Bench::new();
    bench.write_config(
        r#"[gateway]
database = "one-api.db"

[[credential]]
name          = "openai"
token_url     = "http://auth.example.com/oauth/token"
client_id     = "app"
refresh_token = { env = "SEED" }
channels      = [1]
"#,
    );
    let said = refused(&bench, "check");
    assert!(said.contains("sidecar.toml:6:17") && said.contains("token_url"), "{said}");
    assert!(said.contains("https"), "the remedy is told:\n{said}");
}

#[test]
fn text_that_is_not_toml_is_told_with_its_place_and_without_its_line() {
    let bench = Bench::new();
    bench.write_config(&format!("[gateway]\ndatabase = \"one-api.db\"\nrefresh_token = {{ value = \"{SENTINEL} }}\n"));
    assert!(refused(&bench, "check").contains("sidecar.toml:3:"));
}

#[test]
fn a_config_that_is_not_there_is_told_with_its_path() {
    let bench = Bench::new();
    assert!(refused(&bench, "run").contains("sidecar.toml"));
}

/// The image has no locale: what the config says is all there is.
#[test]
fn the_config_s_language_is_spoken_also_where_it_is_broken() {
    let bench = Bench::new();
    let good = r#"language = "zh-CN"
[gateway]
database = "one-api.db"

[[credential]]
name          = "openai"
token_url     = "https://auth.example.com/oauth/token"
client_id     = "app"
refresh_token = { env = "SEED" }
channels      = [1]
"#;
    bench.write_config(&good.replace("client_id", "client_di"));
    for command in ["check", "once", "run", "doctor", "status", "channels"] {
        let Output { stdout, stderr, .. } = bench.run_command(&[command]);
        let said = stdout + &stderr;
        assert!(said.contains("是不是想写 `client_id`") && !said.contains("Did you"), "{command}:\n{said}");
    }
    bench.write_config(good);
    let Output { stderr, .. } = bench.run_command(&["retry", "openia"]);
    assert!(stderr.contains("配置中没有名为 `openia` 的凭据"), "{stderr}");
    let Output { stderr, .. } = bench.run_command(&["health"]);
    assert!(stderr.contains("没有代理应答"), "{stderr}");
}
