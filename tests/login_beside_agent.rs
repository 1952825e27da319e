//! A login or an import beside a living agent: the refresh token goes to the agent, into its vault, and to work.

mod support;

use std::io::Write;
use std::process::ChildStdin;
use std::time::Duration;

use serde_json::json;
use support::endpoint::{Action, Options};
use support::process::{Sidecar, assert_no_secret};
use support::scene::{NAME, Scene};
use support::{SENTINEL, SOON, eventually};
use url::Url;

/// A scene whose credential can be logged in for by a browser elsewhere.
fn scene() -> Scene {
    let scene = Scene::new(Options::default(), "");
    let more = format!("authorization_endpoint = \"{}\"", scene.endpoint.url_of("/authorize"));
    scene.bench.write_config(&scene.config(&scene.credential(NAME, NAME, "seed", 1, &more)));
    scene
}

/// An agent whose credential the provider has revoked.
fn halted(scene: &Scene) -> Sidecar {
    let agent = scene.bench.start();
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    scene.endpoint.script([Action::json(400, r#"{"error":"invalid_grant"}"#)]);
    scene.bench.run_command(&["once", "--force"]);
    assert_eq!(scene.state(), "halted revoked");
    agent
}

/// A login that has shown its address, and how it goes on.
struct Login {
    command: Sidecar,
    stdin: ChildStdin,
}

impl Login {
    fn begin(scene: &Scene) -> Self {
        let (command, stdin) = scene.bench.spawn_command(&["login", NAME, "--paste"]);
        Self { command, stdin }
    }

    /// The person comes back with a code, for which the provider gives a new family's refresh token.
    fn finish(&mut self, scene: &Scene) -> String {
        let line = self.command.wait_for_line("response_type=code", SOON);
        let line = line.unwrap_or_else(|| panic!("no address:\n{}", self.command.output()));
        let address: Url = line.trim().parse().unwrap();
        let (_, state) = address.query_pairs().find(|(name, _)| name == "state").expect("it has a state");
        let seed = scene.endpoint.issue();
        let answer = json!({"access_token": format!("{SENTINEL}-unused"), "refresh_token": seed});
        scene.endpoint.script([Action::json(200, answer.to_string())]);
        writeln!(self.stdin, "http://127.0.0.1/callback?code={SENTINEL}-code&state={state}").unwrap();
        seed
    }

    fn ends(mut self, code: i32) -> String {
        let exit = self.command.wait_exit(SOON);
        let output = self.command.output();
        assert_eq!(exit.and_then(|exit| exit.code()), Some(code), "{output}");
        assert_no_secret("login", &output);
        output
    }
}

#[test]
fn a_login_brings_a_halted_credential_of_a_living_agent_back_at_once() {
    let scene = scene();
    let agent = halted(&scene);
    let mut login = Login::begin(&scene);
    let seed = login.finish(&scene);
    let output = login.ends(0);
    assert!(output.contains("is in the vault") && output.contains("active"), "{output}");
    assert!(scene.is_delivered(), "it said so when the key was there: {output}");
    let last = scene.endpoint.requests().pop().unwrap();
    assert_eq!(last.parameters()["refresh_token"], seed, "the one request after the login's own");
    assert_eq!((scene.state().as_str(), scene.endpoint.reuse_count()), ("active", 0));
    let log = agent.stop();
    assert_no_secret("the agent", &log);
    assert!(!log.contains("error"), "{log}");
}

#[test]
fn a_login_is_done_only_when_the_agents_vault_has_it() {
    let scene = scene();
    let mut agent = halted(&scene);
    let mut login = Login::begin(&scene);
    let seed = login.finish(&scene);
    scene.endpoint.script([Action::Hang]);
    let said = eventually(SOON, || login.command.output().contains("is in the vault"));
    assert!(said, "{}", login.command.output());
    agent.kill();
    let [record] = &scene.records()[..] else { panic!("{:?}", scene.records()) };
    assert!(record.state.halt.is_none());
    assert_eq!(record.candidate.as_ref().map(|candidate| candidate.expose() == seed), Some(true));
    login.ends(0);
}

#[test]
fn a_login_waits_for_a_request_that_is_under_way_and_none_is_lost() {
    let scene = scene();
    let agent = scene.bench.start();
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    let mut login = Login::begin(&scene);
    assert!(login.command.wait_for_line("response_type=code", SOON).is_some(), "{}", login.command.output());
    let asked = scene.endpoint.requests().len();
    scene.endpoint.script([Action::Delay(Duration::from_secs(2))]);
    let force = scene.bench.spawn(&["once", "--force"]);
    assert!(scene.endpoint.wait_for_requests(asked + 1, SOON));
    let seed = login.finish(&scene);
    login.ends(0);
    drop(force);
    let sent: Vec<_> = scene.endpoint.requests().iter().skip(asked).map(|request| request.parameters()).collect();
    let grants: Vec<&str> = sent.iter().map(|parameters| parameters["grant_type"].as_str()).collect();
    assert_eq!(grants, ["refresh_token", "authorization_code", "refresh_token"]);
    assert_eq!(sent[2]["refresh_token"], seed);
    assert!(scene.is_delivered() && scene.endpoint.reuse_count() == 0);
    agent.stop();
}

#[test]
fn a_stuck_agent_is_named_before_a_person_is_troubled() {
    let scene = scene();
    let mut agent = halted(&scene);
    agent.pause();
    let asked = scene.endpoint.requests().len();
    let login = scene.bench.run_command(&["login", NAME]);
    assert!(login.code == Some(1) && login.stderr.contains(&format!("process {}", agent.id())), "{login:?}");
    assert!(!login.stderr.contains("response_type=code"), "{login:?}");
    assert_eq!(scene.endpoint.requests().len(), asked);
}

#[test]
fn what_a_person_obtained_is_held_until_a_stuck_agent_is_gone() {
    let scene = scene();
    let mut agent = halted(&scene);
    let mut login = Login::begin(&scene);
    assert!(login.command.wait_for_line("response_type=code", SOON).is_some(), "{}", login.command.output());
    agent.pause();
    login.finish(&scene);
    let held = login.command.wait_for_line("holds the refresh token", SOON);
    assert!(held.is_some(), "{}", login.command.output());
    agent.kill();
    let output = login.ends(0);
    assert!(output.contains(&format!("process {}", agent.id())) && output.contains("is in the vault"), "{output}");
    scene.once();
    assert!(scene.is_delivered() && scene.endpoint.reuse_count() == 0);
}

#[test]
fn an_import_goes_to_the_agent_once_and_never_again_when_it_is_spent() {
    let scene = scene();
    let agent = halted(&scene);
    std::fs::write(scene.bench.path("answer.json"), json!({"refresh_token": scene.endpoint.issue()}).to_string())
        .unwrap();
    let done = scene.bench.run_command(&["import", "answer.json", "--yes"]);
    assert!(done.code == Some(0) && done.stdout.contains("active"), "{done:?}");
    assert!(scene.is_delivered());
    let asked = scene.endpoint.requests().len();
    let beside = scene.bench.run_command(&["import", "answer.json", "--yes"]);
    let log = agent.stop();
    let alone = scene.bench.run_command(&["import", "answer.json", "--yes"]);
    for again in [&beside, &alone] {
        assert!(again.code == Some(1) && again.stderr.contains("seen this refresh token before"), "{again:?}");
    }
    scene.once();
    assert_eq!((scene.endpoint.requests().len(), scene.endpoint.reuse_count()), (asked, 0));
    assert_no_secret("the agent", &log);
    assert_no_secret("import", &format!("{done:?} {beside:?} {alone:?}"));
}

#[test]
fn the_agent_refuses_what_is_not_for_one_of_its_clients() {
    let scene = scene();
    let agent = scene.bench.start();
    assert!(eventually(SOON, || scene.is_delivered()), "{}", agent.output());
    // The same vault, and a config that the agent does not have.
    let other = scene.bench.path("other.toml");
    std::fs::write(scene.bench.path("answer.json"), json!({"refresh_token": scene.endpoint.issue()}).to_string())
        .unwrap();
    for (name, client, said) in [("other", NAME, "no credential named `other`"), (NAME, "someone", "client `someone`")]
    {
        std::fs::write(&other, scene.config(&scene.credential(name, client, "seed", 1, ""))).unwrap();
        let other = other.to_str().unwrap();
        let refused = scene.bench.run_command(&["import", "answer.json", "--yes", "-c", other]);
        assert!(refused.code == Some(1) && refused.stderr.contains(said), "{refused:?}");
    }
    assert_eq!(scene.state(), "active");
    agent.stop();
}
