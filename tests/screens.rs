//! What people see: snapshots of every command's output in both languages, on a pipe and on a terminal.
//!
//! Paths, ports and lengths of time that a run decides are replaced by words; what the agent says comes from one that
//! always says the same.

mod support;

use std::path::Path;
use std::time::Duration;

use one_api_sidecar::cli::help;
use one_api_sidecar::messages::{About, explain_about};
use one_api_sidecar::reason::{ChannelReason, GatewayReason, Language, NotifierReason, Reason, TokenReason};
use serde_json::{Value, json};
use support::canned::Canned;
use support::endpoint::{Action, Endpoint, Options};
use support::process::{Bench, Output, PROGRAM, assert_no_secret};
use support::terminal::Terminal;
use support::{SENTINEL, SOON, database};

const LANGUAGES: [(Language, &str, &str); 2] =
    [(Language::English, "english", "en_US.UTF-8"), (Language::Chinese, "chinese", "zh_CN.UTF-8")];

/// A bench whose commands speak a language.
fn bench(locale: &str) -> Bench {
    let mut bench = Bench::new();
    bench.env("LC_ALL", locale);
    bench.env("TZ", "UTC");
    database::copy_fixture("one-api.db", &bench.path("one-api.db"));
    bench
}

const CREDENTIALS: [&str; 7] = ["active", "failing", "uncertain", "expired", "halted", "waiting", "disabled"];

/// A credential in each state, a channel in each, long names and Chinese ones, at a fixed moment.
fn every_state(language: Language) -> Value {
    let say = |reason: Reason, credential: &str, channel: &str| {
        let message = explain_about(language, &reason, About { credential, channel });
        format!("{} {}", message.what, message.remedy)
    };
    let token = |reason: TokenReason, name: &str| say(reason.into(), name, "ID");
    let channel = |id: i64, name: &str, state: &str, problem: Option<Reason>| {
        let problem = problem.map(|reason| say(reason, "NAME", &id.to_string()));
        json!({"gateway": "default", "id": id, "name": name, "state": state, "status": 1,
               "delivered_at": "2026-01-02T02:59:05Z", "problem": problem})
    };
    let credential = |state: &str| {
        let (reason, error, failures) = match state {
            "failing" => (None, Some(TokenReason::ServerError { status: 502 }), 3),
            "uncertain" => {
                let (host, error) = ("auth.example.com".into(), "connection reset by peer".into());
                (None, Some(TokenReason::AnswerLost { host, error }), 1)
            }
            "expired" => (None, Some(TokenReason::Blocked { status: 403 }), 12),
            "halted" => (Some("revoked"), Some(TokenReason::Revoked { code: "invalid_grant".into() }), 1),
            _ => (None, None, 0),
        };
        let known = !["waiting", "disabled"].contains(&state);
        let expires = if state == "expired" { "2026-01-02T02:04:05Z" } else { "2026-01-11T03:04:05Z" };
        let channels = match state {
            "active" => vec![
                channel(1, "codex-a", "delivered", None),
                channel(2, "两组渠道，名字很长很长很长很长很长很长很长很长很长很长", "delivered", None),
            ],
            "failing" => vec![channel(3, "somebody else's", "foreign", Some(ChannelReason::Foreign.into()))],
            "uncertain" => vec![
                channel(4, "gone", "missing", Some(ChannelReason::Missing.into())),
                channel(5, "by hand", "disabled_by_hand", None),
            ],
            "expired" => {
                let locked = Reason::from(GatewayReason::Busy { waited_ms: 5000 });
                vec![channel(6, "locked", "pending", Some(locked)), channel(7, "ours no more", "released", None)]
            }
            "halted" => vec![
                channel(8, "57", "unsupported", Some(ChannelReason::SelfRefreshing.into())),
                channel(9, "flaps", "flapping", Some(ChannelReason::Flapping.into())),
            ],
            _ => Vec::new(),
        };
        let name = if state == "failing" { "a-credential-with-a-name-longer-than-its-column" } else { state };
        json!({"name": name, "state": state, "reason": reason,
               "expires_at": known.then_some(expires),
               "refresh_at": (known && state != "halted").then_some("2026-01-02T03:24:05Z"),
               "refreshed_at": known.then_some("2026-01-02T02:59:05Z"), "failures": failures,
               "last_error": error.map(|error| token(error, name)), "channels": channels})
    };
    let refused = NotifierReason::Refused { status: 200, code: Some("903".into()), words: None };
    json!({
        "version": "0.1.0", "time": "2026-01-02T03:04:05Z",
        "agent": {"running": true, "since": "2026-01-01T00:00:00Z",
                  "config": {"path": "sidecar.toml", "loaded_at": null, "problem": null}},
        "credentials": CREDENTIALS.map(credential),
        "orphans": ["former"],
        "notifiers": [{"name": "wechat", "problem": say(refused.into(), "NAME", "ID")}, {"name": "mail", "problem": null}],
    })
}

fn config(bench: &Bench, token_url: &str, notifier_url: &str) {
    bench.write_config(&format!(
        r#"[gateway]
database  = "one-api.db"
cache_lag = "0s"

[[credential]]
name          = "kept"
token_url     = "{token_url}"
client_id     = "kept"
refresh_token = {{ file = "seed" }}
channels      = [1]

[[notify]]
type  = "pushplus"
token = {{ env = "PUSHPLUS_TOKEN" }}
url   = "{notifier_url}"
"#
    ));
}

/// Both streams and the exit code, without what a run decides.
fn shown(bench: &Bench, output: &Output) -> String {
    assert_no_secret("a screen", &format!("{output:?}"));
    let Output { code, stdout, stderr } = output;
    let code = code.map_or_else(|| "a signal".into(), |code| code.to_string());
    let text = format!("{stdout}--- standard error\n{stderr}--- exit {code}\n");
    let folder = bench.path("").canonicalize().unwrap();
    let text = text.replace(&format!("{}/", bench.path("").display().to_string().trim_end_matches('/')), "/data/");
    let text = text.replace(&folder.display().to_string(), "/data").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    anonymous(&text)
}

/// Digits after an address of this machine, and seconds, differ from run to run.
fn anonymous(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let mut line = line.to_owned();
        let mut from = 0;
        while let Some(at) = line[from..].find("127.0.0.1:").map(|at| from + at + "127.0.0.1:".len()) {
            let digits = line[at..].chars().take_while(char::is_ascii_digit).count();
            line.replace_range(at..at + digits, "PORT");
            from = at;
        }
        for unit in [" s ago", " 秒前"] {
            while let Some(end) = line.find(unit) {
                let start = line[..end].trim_end_matches(|c: char| c.is_ascii_digit()).len();
                if start == end {
                    break;
                }
                line.replace_range(start..end, "N");
            }
        }
        out.push_str(&line);
    }
    out
}

/// A snapshot for each language.
fn in_both_languages(name: &str, screen: impl Fn(Language, &str) -> String) {
    for (language, suffix, locale) in LANGUAGES {
        insta::assert_snapshot!(format!("{name}_{suffix}"), screen(language, locale));
    }
}

#[test]
fn status_shows_every_state_what_needs_attention_first() {
    in_both_languages("status", |language, locale| {
        let bench = bench(locale);
        config(&bench, "https://auth.example.com/token", "https://push.example.com");
        let _agent = Canned::start(&bench.path("one-api-sidecar/vault.db"), &every_state(language));
        shown(&bench, &bench.run_command(&["status"]))
    });
}

#[test]
fn on_a_terminal_no_line_is_wider_than_it_and_colour_is_there_unless_nobody_wants_it() {
    in_both_languages("status_on_a_terminal", |language, locale| {
        let mut bench = bench(locale);
        config(&bench, "https://auth.example.com/token", "https://push.example.com");
        let _agent = Canned::start(&bench.path("one-api-sidecar/vault.db"), &every_state(language));
        let (code, coloured) = Terminal::start(bench.command(&["status"])).finish(SOON);
        assert_eq!(code, Some(4), "{coloured}");
        assert!(coloured.contains("\x1b[31m"), "{coloured}");
        bench.env("NO_COLOR", "1");
        let (_, plain) = Terminal::start(bench.command(&["status"])).finish(SOON);
        assert!(!plain.contains('\x1b'), "{plain}");
        for line in plain.lines() {
            let width = unicode_width::UnicodeWidthStr::width(line);
            assert!(width <= 80, "{width}: {line}");
        }
        plain.replace("\r\n", "\n")
    });
}

#[test]
fn watched_on_a_terminal_it_leaves_the_screen_as_it_was() {
    let bench = bench("en_US.UTF-8");
    config(&bench, "https://auth.example.com/token", "https://push.example.com");
    let _agent = Canned::start(&bench.path("one-api-sidecar/vault.db"), &every_state(Language::English));
    let terminal = Terminal::start(bench.command(&["status", "--watch"]));
    assert!(terminal.wait_for("CREDENTIAL", SOON), "{}", terminal.text());
    let twice = support::eventually(SOON, || terminal.text().matches("CREDENTIAL").count() > 1);
    assert!(twice, "{}", terminal.text());
    // The table has more lines than the terminal: it is cut, and says by how much.
    assert!(terminal.text().contains("… +"), "{}", terminal.text());
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let (code, text) = terminal.finish(SOON);
    assert_eq!(code, Some(4));
    assert!(text.starts_with("\x1b[?1049h\x1b[?25l") && text.ends_with("\x1b[?25h\x1b[?1049l"), "{text:?}");
    assert!(!text.contains("\x1b[2J"), "it is never cleared, so it does not flicker");
}

#[test]
fn watched_without_a_config_it_says_why_not_where_it_stays() {
    let mut bench = bench("en_US.UTF-8");
    bench.set_config(bench.path("nowhere.toml"));
    let (code, text) = Terminal::start(bench.command(&["status", "--watch"])).finish(SOON);
    let (_, after) = text.rsplit_once("\x1b[?1049l").unwrap();
    assert!(code == Some(3) && after.contains("nowhere.toml"), "{code:?} {text:?}");
}

#[test]
fn watched_on_a_pipe_it_prints_once_for_each_change() {
    let bench = bench("en_US.UTF-8");
    config(&bench, "https://auth.example.com/token", "https://push.example.com");
    let vault = bench.path("one-api-sidecar/vault.db");
    let mut status = every_state(Language::English);
    let agent = Canned::start(&vault, &status);
    let watching = bench.spawn(&["status", "--watch"]);
    let tables = || watching.output().matches("CREDENTIAL").count();
    assert!(support::eventually(SOON, || tables() == 1), "{}", watching.output());
    drop(agent);
    status["time"] = json!("2026-01-02T03:05:05Z");
    status["credentials"][0]["failures"] = json!(5);
    let _agent = Canned::start(&vault, &status);
    assert!(
        support::eventually(SOON, || watching.output().contains("active") && tables() > 1),
        "{}",
        watching.output()
    );
}

#[test]
fn commands_that_act_show_the_table_of_who_did_it() {
    in_both_languages("acting", |language, locale| {
        let bench = bench(locale);
        config(&bench, "https://auth.example.com/token", "https://push.example.com");
        let mut status = every_state(language);
        status["credentials"] = json!([status["credentials"][0]]);
        let _agent = Canned::start(&bench.path("one-api-sidecar/vault.db"), &status);
        let commands: [&[&str]; 6] = [
            &["once"],
            &["once", "--force", "kept"],
            &["retry", "kept"],
            &["adopt", "1"],
            &["release", "1"],
            &["retry", "kpet"],
        ];
        let run = |arguments: &&[&str]| {
            let output = bench.run_command(arguments);
            format!("$ {}\n{}\n", arguments.join(" "), shown(&bench, &output))
        };
        commands.iter().map(run).collect::<String>()
    });
}

#[test]
fn commands_without_an_agent() {
    in_both_languages("alone", |_, locale| {
        let endpoint = Endpoint::start(Options { lifetime: Duration::from_secs(30 * 86_400), ..Options::default() });
        let notifier = Endpoint::answering(200, r#"{"code":200}"#);
        let mut bench = bench(locale);
        config(&bench, &endpoint.url(), &notifier.url_of("/send"));
        std::fs::write(bench.path("seed"), endpoint.issue()).unwrap();
        bench.env("PUSHPLUS_TOKEN", format!("{SENTINEL}-pushplus"));
        let credential = json!({"tokens": {"refresh_token": format!("{SENTINEL}-imported"), "access_token": "x"}});
        std::fs::write(bench.path("auth.json"), credential.to_string()).unwrap();
        std::fs::write(bench.path("odd.json"), "{}").unwrap();
        let commands: [&[&str]; 18] = [
            &["check"],
            &["doctor"],
            &["status"],
            &["channels"],
            &["health"],
            &["vault", "check"],
            &["retry", "kept"],
            &["adopt", "1"],
            &["once"],
            &["status"],
            &["doctor"],
            &["channels"],
            &["vault", "check"],
            &["retry", "kept"],
            &["notify", "test"],
            &["login", "kept"],
            &["import", "odd.json"],
            &["import", "auth.json", "--pointer", "refresh_token=/tokens/refresh_token"],
        ];
        let run = |arguments: &&[&str]| {
            let output = bench.run_command(arguments);
            format!("$ {}\n{}\n", arguments.join(" "), shown(&bench, &output))
        };
        commands.iter().map(run).collect::<String>()
    });
}

#[test]
fn doctor_and_check_on_what_is_broken() {
    in_both_languages("broken", |_, locale| {
        let refusing = Endpoint::answering(200, r#"{"code":903,"msg":"the token is wrong"}"#);
        let mut bench = bench(locale);
        bench.env("PUSHPLUS_TOKEN", format!("{SENTINEL}-pushplus"));
        // Nobody listens at port 1.
        config(&bench, "http://127.0.0.1:1/token", &refusing.url_of("/send"));
        std::fs::remove_file(bench.path("one-api.db")).unwrap();
        let mut out = String::new();
        for arguments in [["doctor"].as_slice(), &["notify", "test"], &["channels"]] {
            out += &format!("$ {}\n{}\n", arguments.join(" "), shown(&bench, &bench.run_command(arguments)));
        }
        bench.write_config(MISTAKES);
        for arguments in [["check"].as_slice(), &["doctor"], &["status"], &["once"]] {
            out += &format!("$ {}\n{}\n", arguments.join(" "), shown(&bench, &bench.run_command(arguments)));
        }
        out
    });
}

/// The mistakes that people make most, all in one file.
const MISTAKES: &str = r#"language = "de"
timeout = "30s"

[gateway]
databse = "/data/one-api.db"
busy_timeout = "a while"

[[credential]]
name          = "openai"
token_ulr     = "https://auth.example.com/token"
token_url     = "http://auth.example.com/token"
client_id     = 12
refresh_token = "$OPENAI_REFRESH_TOKEN"
chanels       = [1]
channels      = [1, 1]

[[credential]]
name          = "openai"
token_url     = "https://auth.example.com/token"
encoding      = "forn"
refresh_token = { evn = "OPENAI_REFRESH_TOKEN" }

[[notify]]
type  = "pushpuls"
token = { env = "PUSHPLUS_TOKEN" }
"#;

#[test]
fn every_command_has_its_help() {
    fn walk(bench: &Bench, command: &clap::Command, path: &[&str], out: &mut String) {
        let asked: Vec<&str> = path.iter().copied().chain(["--help"]).collect();
        let Output { code, stdout, stderr } = bench.run_command(&asked);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{asked:?}");
        *out += &format!("$ one-api-sidecar {}\n{stdout}\n", asked.join(" "));
        for sub in command.get_subcommands() {
            walk(bench, sub, &[path, &[sub.get_name()]].concat(), out);
        }
    }
    let mut out = String::new();
    walk(&bench("en_US.UTF-8"), &help::command(), &[], &mut out);
    insta::assert_snapshot!("help", out);
}

#[test]
fn the_demo_tells_what_it_sees() {
    let bench = bench("en_US.UTF-8");
    let Output { code, stdout, stderr } = bench.run_command(&["demo", "--cycles", "1"]);
    assert_eq!(code, Some(0), "{stderr}");
    let figures = |text: &str| -> String {
        let mut words = String::new();
        for c in text.chars() {
            match c {
                '0'..='9' | '.' if words.ends_with('N') => {}
                '0'..='9' => words.push('N'),
                c => words.push(c),
            }
        }
        words
    };
    // The order of what happens at once is not the same each time, nor are the figures.
    let topics: std::collections::BTreeSet<&str> =
        stderr.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    insta::assert_snapshot!("demo", format!("{topics:?}\n{}", figures(&stdout)));
}

/// Each command, and the exit code that it has anyway.
#[test]
fn a_closed_pipe_and_closed_streams_end_nothing_with_a_panic() {
    let bench = bench("en_US.UTF-8");
    config(&bench, "http://127.0.0.1:1/token", "http://127.0.0.1:1/send");
    let commands: [&[&str]; 21] = [
        &["--help"],
        &["--version"],
        &["nonsense"],
        &["check"],
        &["doctor"],
        &["doctor", "--json"],
        &["status"],
        &["status", "--json"],
        &["status", "--watch"],
        &["channels"],
        &["health"],
        &["once"],
        &["retry", "kept"],
        &["adopt", "1"],
        &["import", "nowhere.json"],
        &["login", "kept"],
        &["notify", "test"],
        &["vault", "check"],
        &["schema"],
        &["completions", "bash"],
        &["man"],
    ];
    for arguments in commands {
        let whole = if arguments.contains(&"--watch") { Some(0) } else { bench.run_command(arguments).code };
        // Both streams into a pipe that nobody reads; then standard error closed altogether.
        for redirection in ["2>&1 | true", ">/dev/null 2>&-", "2>&- | true"] {
            let line = format!("set -o pipefail; \"$0\" \"$@\" {redirection}; exit ${{PIPESTATUS[0]}}");
            let mut command = bench.command(&[]);
            let mut shell = std::process::Command::new("bash");
            shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            shell.current_dir(bench.path("")).args(["--norc", "-c", &line, PROGRAM]).args(arguments);
            if redirection.starts_with('>') && arguments.contains(&"--watch") {
                continue;
            }
            let output = shell.output().unwrap();
            let code = output.status.code();
            assert_eq!(code, whole, "{arguments:?} {redirection}: {output:?}");
            command.arg("--version");
        }
    }
}

#[test]
fn the_agent_goes_on_when_nobody_reads_its_log() {
    let bench = bench("en_US.UTF-8");
    config(&bench, "http://127.0.0.1:1/token", "http://127.0.0.1:1/send");
    std::fs::write(bench.path("seed"), format!("{SENTINEL}-seed")).unwrap();
    let command = bench.command(&[]);
    let mut shell = std::process::Command::new("bash");
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(bench.path(""));
    // The reader is gone before the agent says its first word.
    shell.args(["--norc", "-c", "{ sleep 0.5; exec \"$0\" run; } 2>&1 | true; echo ${PIPESTATUS[0]}", PROGRAM]);
    let shell = shell.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lives = || bench.run_command(&["health"]).code == Some(0);
    assert!(support::eventually(SOON, lives), "it lives");
    // A refresh fails, and that cannot be logged.
    let failed = || bench.run_command(&["status"]).stdout.contains("could not be reached");
    assert!(support::eventually(SOON, failed) && lives());
    let holder = std::fs::read_to_string(bench.path("one-api-sidecar/vault.lock")).unwrap();
    let pid: i32 = holder.split(' ').nth(1).unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
}

#[test]
fn a_full_disk_is_told_and_is_a_failure() {
    let bench = bench("en_US.UTF-8");
    config(&bench, "http://127.0.0.1:1/token", "http://127.0.0.1:1/send");
    let mut command = bench.command(&["status"]);
    command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
}

#[test]
fn the_completions_complete_in_a_real_bash() {
    let bench = bench("en_US.UTF-8");
    let script = bench.run_command(&["completions", "bash"]).stdout;
    std::fs::write(bench.path("completions.bash"), script).unwrap();
    let complete = |line: &str| {
        let shell = r#"source completions.bash
            read -ra COMP_WORDS <<<"$0"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE=$0; COMP_POINT=${#0}
            function=$(complete -p one-api-sidecar | sed 's/.*-F \([^ ]*\).*/\1/')
            $function one-api-sidecar "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        let output =
            std::process::Command::new("bash").args(["--norc", "-c", shell, line]).current_dir(bench.path("")).output();
        String::from_utf8(output.unwrap().stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("one-api-sidecar st"), ["status"]);
    assert_eq!(complete("one-api-sidecar status --w"), ["--watch"]);
    assert_eq!(complete("one-api-sidecar vault re"), ["rekey", "reset"]);
    assert_eq!(complete("one-api-sidecar completions f"), ["fish"]);
    for shell in ["zsh", "fish"] {
        let script = bench.run_command(&["completions", shell]).stdout;
        assert!(script.contains("one-api-sidecar") && script.contains("doctor"), "{shell}: {script}");
    }
}

#[test]
fn the_manual_is_sound_and_names_every_command() {
    let bench = bench("en_US.UTF-8");
    let page = bench.run_command(&["man"]).stdout;
    for sub in help::command().get_subcommands() {
        let heading = format!(".SS \"one\\-api\\-sidecar {}\"", sub.get_name());
        assert!(page.contains(&heading), "{heading}");
    }
    let folder = bench.path("man1");
    assert_eq!(bench.run_command(&["man", "--out", "man1"]).code, Some(0));
    assert!(folder.join("one-api-sidecar-vault-rekey.1").exists());
    std::fs::write(bench.path("whole.1"), page).unwrap();
    let pages = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for page in pages.chain([bench.path("whole.1")]) {
        let warnings = warnings_of(&page);
        assert!(warnings.as_deref().is_none_or(str::is_empty), "{}: {warnings:?}", page.display());
    }
}

/// What groff has to say; `None`, said by name, where it is not installed.
fn warnings_of(page: &Path) -> Option<String> {
    let groff = std::process::Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(page).output();
    match groff {
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(_) => {
            println!("skipped: groff is not installed");
            None
        }
    }
}

#[test]
fn a_progress_line_is_on_terminals_only_and_gone_at_the_end() {
    let endpoint = Endpoint::start(Options::default());
    endpoint.script([Action::Delay(Duration::from_secs(2))]);
    let mut bench = bench("en_US.UTF-8");
    bench.env("TERM", "xterm");
    config(&bench, &endpoint.url(), "http://127.0.0.1:1/send");
    std::fs::write(bench.path("seed"), endpoint.issue()).unwrap();
    let (code, text) = Terminal::start(bench.command(&["once"])).finish(SOON);
    assert_eq!(code, Some(0), "{text}");
    let (before, after) = text.rsplit_once("\r\x1b[K").expect("a line was shown and erased");
    assert!(before.contains("0 of 1 refreshed") && after.contains("CREDENTIAL"), "{text:?}");
    let piped = bench.run_command(&["once", "--force"]);
    assert_eq!((piped.code, piped.stderr.as_str()), (Some(0), ""), "{piped:?}");
}
