//! What an edit changes, and what it leaves alone.

use std::sync::Arc;

use one_api_sidecar::config::plan::PlanDiff;

use super::{TEN_LINES, plan};

#[test]
fn an_edit_touches_only_what_changed() {
    let second = "\n[[credential]]\nname = \"b\"\ntoken_url = \"https://x.example/\"\nchannels = [2]\n";
    let with = |more: &str| format!("{TEN_LINES}{more}");
    let replaced = |from: &str, to: &str| TEN_LINES.replace(from, to);
    let openai = || vec!["openai".into()];
    for (before, after, expected) in [
        (with(""), with(""), PlanDiff::default()),
        (with(""), with("# a comment\n"), PlanDiff::default()),
        (with(""), with("timeout = \"10s\" # the default\n"), PlanDiff::default()),
        (with(""), with("[defaults]\nrefresh_before = \"5m\""), PlanDiff::default()),
        (with(""), with(second), PlanDiff { start: vec!["b".into()], ..PlanDiff::default() }),
        (with(second), with(""), PlanDiff { stop: vec!["b".into()], ..PlanDiff::default() }),
        (
            with(second),
            with(&second.replace("\"b\"", "\"c\"")),
            PlanDiff { stop: vec!["b".into()], start: vec!["c".into()], ..PlanDiff::default() },
        ),
        (with(second), format!("{second}{TEN_LINES}"), PlanDiff::default()),
        (with(""), replaced("[1]", "[2]"), PlanDiff { replace: openai(), ..PlanDiff::default() }),
        (with(""), replaced("OPENAI_REFRESH_TOKEN", "OTHER"), PlanDiff { replace: openai(), ..PlanDiff::default() }),
        (with(""), with("[defaults]\ntimeout = \"20s\""), PlanDiff { replace: openai(), ..PlanDiff::default() }),
        (
            replaced("{ env = \"OPENAI_REFRESH_TOKEN\" }", "{ value = \"x\" }"),
            replaced("{ env = \"OPENAI_REFRESH_TOKEN\" }", "{ value = \"y\" }"),
            PlanDiff { replace: openai(), ..PlanDiff::default() },
        ),
        (
            with(""),
            replaced("database = \"/data/one-api.db\"", "database = \"/data/one-api.db\"\ncache_lag = \"1s\""),
            PlanDiff { gateways: true, ..PlanDiff::default() },
        ),
        (
            format!("{}[vault]\npath = \"v\"", replaced("/data/one-api.db", "u:p@tcp(h)/d")),
            format!("{}[vault]\npath = \"v\"", replaced("/data/one-api.db", "u:changed@tcp(h)/d")),
            PlanDiff { gateways: true, ..PlanDiff::default() },
        ),
        (with(""), replaced("/data/", "/srv/"), PlanDiff { gateways: true, vault: true, ..PlanDiff::default() }),
        (with(""), with("[vault]\npath = \"v\""), PlanDiff { vault: true, ..PlanDiff::default() }),
        (with(""), with("[server]"), PlanDiff { server: true, ..PlanDiff::default() }),
        (with(""), with("[agent]\nmax_in_flight = 1"), PlanDiff { agent: true, ..PlanDiff::default() }),
        (with(""), format!("language = \"zh-CN\"{TEN_LINES}"), PlanDiff { language: true, ..PlanDiff::default() }),
        (with(""), with("timeout = \"1s\""), PlanDiff { notifiers: true, ..PlanDiff::default() }),
        (with(""), with("topic = \"x\""), PlanDiff { notifiers: true, ..PlanDiff::default() }),
        (
            replaced("{ env = \"PUSHPLUS_TOKEN\" }", "{ value = \"x\" }"),
            replaced("{ env = \"PUSHPLUS_TOKEN\" }", "{ value = \"y\" }"),
            PlanDiff { notifiers: true, ..PlanDiff::default() },
        ),
    ] {
        let diff = plan(&before).diff(&plan(&after));
        assert_eq!(diff, expected, "{before}\n→{after}");
        assert_eq!(diff.is_empty(), expected == PlanDiff::default());
    }
}

#[test]
fn what_an_edit_left_alone_is_in_memory_once() {
    let second = "\n[[credential]]\nname = \"b\"\ntoken_url = \"https://x.example/\"\nchannels = [2]\n";
    let before = plan(&format!("{TEN_LINES}{second}"));
    let mut after = plan(&format!("{}{TEN_LINES}", second.replace("[2]", "[3]")));
    after.share(&before);
    let is_shared = |name| Arc::ptr_eq(before.credential(name).unwrap(), after.credential(name).unwrap());
    assert!(is_shared("openai") && !is_shared("b"));
    assert_eq!(before.diff(&after), PlanDiff { replace: vec!["b".into()], ..PlanDiff::default() });
}
