//! What the page shows of a status, as text.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use one_api_sidecar::reason::Language::{Chinese, English};
use one_api_sidecar::reason::TokenReason;
use one_api_sidecar::telemetry::page::{HEADERS, render};
use one_api_sidecar::telemetry::status::{CredentialState, Status};
use ring::digest::{SHA256, digest};

use crate::sample;

fn page(status: &Status) -> String {
    render(status).unwrap()
}

/// What stands between two texts.
fn between<'a>(page: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("{before} is there"));
    rest.split_once(after).unwrap_or_else(|| panic!("{after} is there")).0
}

/// The places of texts in a page, which must all be there.
fn places(page: &str, texts: &[&str]) -> Vec<usize> {
    texts.iter().map(|text| page.find(text).unwrap_or_else(|| panic!("{text} is in {page}"))).collect()
}

#[test]
fn the_browser_is_allowed_this_style_and_this_script_and_nothing_else() {
    let page = page(&sample::house(English));
    let policy = HEADERS["content-security-policy"].to_str().unwrap();
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let text = between(&page, &format!("<{tag}>"), &format!("</{tag}>"));
        assert!(text.len() > 1000, "{tag}");
        let hash = STANDARD.encode(digest(&SHA256, text.as_bytes()));
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{policy}");
    }
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
    for (name, value) in [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")] {
        assert_eq!(HEADERS[name], value);
    }
    for attribute in [" style=", " onclick=", " onload=", "javascript:"] {
        assert!(!page.contains(attribute), "{attribute} would be refused");
    }
    assert!(!page.contains("=\"http"), "it asks nobody else");
}

#[test]
fn names_from_other_peoples_databases_are_text() {
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&`";
    let mut status = sample::house(English);
    for credential in &mut status.credentials {
        credential.name = hostile.into();
        credential.last_error = credential.last_error.as_ref().map(|error| format!("{hostile} {error}"));
        for channel in &mut credential.channels {
            (channel.name, channel.gateway) = (hostile.into(), hostile.into());
            channel.problem = channel.problem.as_ref().map(|problem| format!("{hostile} {problem}"));
        }
    }
    for notifier in &mut status.notifiers {
        notifier.name = hostile.into();
    }
    for event in &mut status.events {
        (event.text, event.cause) = (hostile.into(), Some(hostile.into()));
    }
    status.agent.config.path = hostile.into();
    status.agent.config.problem = Some(hostile.into());
    status.orphans = vec![hostile.into()];
    let page = page(&status);
    assert_eq!(page.matches("<script").count(), 1, "its own");
    assert!(!page.contains("<img"));
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;&#34;&#39;&#62;&#60;img"), "it is shown as it is");
    assert!(sample::empty(English).credentials.is_empty());
    let mut empty = sample::empty(English);
    empty.agent.config.path = hostile.into();
    assert!(!self::page(&empty).contains("<img"));
}

#[test]
fn what_needs_attention_comes_first_and_says_what_to_do() {
    let page = page(&sample::house(English));
    let headings = [
        "<h1>2 matters need you</h1>",
        "What needs attention</h2>",
        "Credentials</h2>",
        "Lately</h2>",
        "Messages</h2>",
    ];
    assert!(places(&page, &headings).is_sorted());
    let attention = between(&page, "id=\"attention\"", "</section>");
    let matters = ["codex-team</b>", "claude → channel 9 claude-us</b>", "gemini</b>", "mail</b>"];
    assert!(places(attention, &matters).is_sorted(), "{attention}");
    for part in ["halted", "<code>invalid_grant</code>", "What to do", "<code>one-api-sidecar login codex-team</code>"]
    {
        assert!(attention.contains(part), "{part} in {attention}");
    }
    let rows = between(&page, "id=\"rows\"", "</section>");
    let names = ["codex-team", "claude", "gemini", "openai", "baidu"].map(|name| format!("id=\"c-{name}\""));
    assert!(places(rows, &names.each_ref().map(String::as_str)).is_sorted(), "the config has openai first");
    for part in
        ["refresh in 22 min", "expires in 38 min", "<circle cx=\"73.5%\"/>", "channel 9: somebody else&#39;s key"]
    {
        assert!(rows.contains(part), "{part} in {rows}");
    }
    assert!(page.contains("next refresh in 2 min (gemini)"));
    assert!(page.contains("<title>2 matters need you · one-api-sidecar</title>"), "the tab tells it too");
}

#[test]
fn a_good_day_is_calm() {
    let page = page(&sample::well(English));
    assert!(page.contains("<h1>All is well</h1>") && page.contains("id=\"attention\" data-live hidden"), "{page}");
    assert!(page.contains("5 credentials, 6 channels"));
    assert!(!page.contains("What to do"));
}

#[test]
fn it_speaks_chinese() {
    let page = page(&sample::house(Chinese));
    assert!(page.contains("<html lang=\"zh-CN\""));
    for part in [
        "有 2 件事需要您处理",
        "需要关注",
        "处理办法",
        "已停止",
        "22 分钟后刷新",
        "最近动态",
        "codex-team 已停止刷新",
        "渠道 9（claude-us）的密钥",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let shown = between(&page, "<header", "<script>");
    for english in ["What", "refresh in", "expires", "Lately", "since", "credential"] {
        let elsewhere = shown.replace("id=\"credentials\"", "");
        assert!(!elsewhere.contains(english), "{english}");
    }
}

#[test]
fn before_the_first_credential_it_says_where_to_write_one() {
    for (language, headline) in [(English, "No credentials yet"), (Chinese, "还没有凭据")] {
        let page = page(&sample::empty(language));
        assert!(page.contains(&format!("<h1>{headline}</h1>")), "{page}");
        assert!(page.contains("<section id=\"credentials\" hidden>"), "there is nothing to list");
        assert!(page.contains("<code>[[credential]]</code>") && page.contains("<code>/data/sidecar.toml</code>"));
        assert!(page.contains("<code>[[notify]]</code>"), "nobody would be told");
    }
}

#[test]
fn a_thousand_credentials_are_a_short_page_with_the_sick_one_on_top() {
    for count in [10, 1000] {
        let status = sample::crowd(count, English);
        let began = Instant::now();
        let page = page(&status);
        println!("{count} credentials: {} kB in {:?}", page.len() / 1024, began.elapsed());
    }
    let mut status = sample::crowd(1000, English);
    let last = status.credentials.last_mut().unwrap();
    *last = sample::halted("sick", English, &[(1000, "the last")]);
    let page = page(&status);
    assert_eq!(page.matches("<details>").count(), 1000);
    assert!(places(&page, &["id=\"c-sick\"", "id=\"c-credential-0001\""]).is_sorted());
    let rows = between(&page, "id=\"rows\"", "</section>");
    assert!(rows.len() < 1000 * 1000, "{} bytes a row", rows.len() / 1000);
}

#[test]
fn ten_thousand_are_not_listed_to_the_end() {
    let mut status = sample::crowd(3000, English);
    *status.credentials.last_mut().unwrap() = sample::halted("sick", English, &[(1, "the last")]);
    let page = page(&status);
    assert_eq!(page.matches("<details>").count(), 2000);
    assert!(page.contains("1000 more are not shown here") && page.contains("id=\"c-sick\""));
}

#[test]
fn what_has_one_cause_is_one_matter() {
    let mut status = sample::crowd(500, English);
    let busy = TokenReason::Busy { status: 503, until: None };
    for credential in &mut status.credentials {
        *credential = sample::troubled(credential.clone(), English, CredentialState::Failing, busy.clone(), 5);
    }
    let page = page(&status);
    let attention = between(&page, "id=\"attention\"", "</section>");
    assert_eq!(attention.matches("HTTP 503").count(), 1);
    assert!(page.contains("<h1>One matter to watch</h1>") && attention.contains("and 488 more"), "{attention}");
}

#[test]
fn of_many_causes_the_first_are_written_out() {
    let mut status = sample::crowd(30, English);
    for credential in &mut status.credentials {
        *credential = sample::halted(&credential.name, English, &[]);
    }
    let page = page(&status);
    let attention = between(&page, "id=\"attention\"", "</section>");
    assert_eq!(attention.matches("What to do").count(), 20);
    assert!(page.contains("<h1>30 matters need you</h1>") && attention.contains("and 10 more, in the list below"));
}

#[test]
fn what_the_page_shows_is_in_the_status_for_programs_too() {
    let status = sample::house(English);
    let json = serde_json::to_value(&status).unwrap();
    let halted = &json["credentials"][1];
    assert_eq!(halted["troubled_since"], "2026-01-02T14:02:10Z");
    assert_eq!(
        (&halted["issued_at"], &halted["deadline_at"]),
        (&"2026-01-02T13:18:10Z".into(), &"2026-01-02T14:08:10Z".into())
    );
    assert!(halted["last_error"].as_str().unwrap().ends_with(halted["remedy"].as_str().unwrap()));
    assert_eq!(json["events"][1]["topic"], "halted");
    assert_eq!(json["events"][1]["text"], "codex-team is halted");
    assert_eq!(json["language"], "en");
    assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
}

/// The relative luminance of a colour (WCAG 2.2).
fn luminance(colour: &str) -> f64 {
    let digits = colour.strip_prefix('#').unwrap();
    let wide: String =
        if digits.len() == 3 { digits.chars().flat_map(|digit| [digit, digit]).collect() } else { digits.into() };
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&wide[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}

#[test]
fn every_text_can_be_read_on_every_ground_by_light_and_by_night() {
    let page = page(&sample::empty(English));
    let style = between(&page, "<style>", "</style>");
    let schemes: Vec<&str> =
        style.split(":root {").skip(1).take(2).map(|rest| rest.split('}').next().unwrap()).collect();
    assert_eq!(schemes.len(), 2);
    for scheme in schemes {
        let colour = |name: &str| scheme.split(&format!("--{name}: ")).nth(1).unwrap().split(';').next().unwrap();
        for ground in ["ground", "sheet", "watch-tint", "act-tint", "code"] {
            for text in ["ink", "soft", "ok", "watch", "act", "idle"] {
                let (one, other) = (luminance(colour(text)), luminance(colour(ground)));
                let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                assert!(contrast >= 4.5, "{text} {} on {ground} {}: {contrast:.2}", colour(text), colour(ground));
            }
        }
    }
}
