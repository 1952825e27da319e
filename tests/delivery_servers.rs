//! The key arrives in a gateway that runs on MariaDB or PostgreSQL, stays there, and nobody else's work is undone (fault
//! rows 22–37): the real agent beside tables that a real One-API made, and its commands.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::endpoint::{Endpoint, Options};
use support::engines::{Fork, Store, has_password};
use support::process::{Bench, Output, Sidecar};
use support::{SOON, eventually, looks};

/// How long healing may take: a checksum every three seconds, a write, and room for a busy machine.
const HEALS_WITHIN: Duration = Duration::from_secs(10);

struct Scene {
    bench: Bench,
    endpoint: Endpoint,
    store: Store,
}

impl Scene {
    fn new(store: Store) -> Self {
        let lifetime = Duration::from_secs(3600);
        let endpoint = Endpoint::start(Options { lifetime, ..Options::default() });
        let mut bench = Bench::new();
        bench.env("SEED", endpoint.issue());
        bench.env("SQL_DSN", store.dsn());
        Self { bench, endpoint, store }
    }

    fn config(&self, gateways: &str, channels: &str) -> String {
        format!(
            "{gateways}\n[vault]\npath = \"vault/vault.db\"\n[[credential]]\nname = \"a\"\ntoken_url = \"{}\"\n\
             client_id = \"a\"\nrefresh_token = {{ env = \"SEED\" }}\nchannels = [{channels}]\n",
            self.endpoint.url()
        )
    }

    fn start(&self, channel: i64) -> Sidecar {
        self.bench.write_config(&self.config(GATEWAY, &channel.to_string()));
        self.bench.start()
    }

    fn newest(&self) -> Option<String> {
        self.endpoint.accepted_tokens().pop()
    }

    fn holds_newest(&self, channel: i64) -> bool {
        self.newest().is_some_and(|newest| self.store.key(channel) == newest)
    }

    fn arrives(&self, channel: i64, agent: &Sidecar) {
        assert!(eventually(SOON, || self.holds_newest(channel)), "{}", agent.output());
    }

    /// A command, whose words hold no secret.
    fn command(&self, arguments: &[&str]) -> Output {
        let output = self.bench.run_command(arguments);
        assert!(!has_password(&format!("{output:?}")), "{arguments:?}: {output:?}");
        output
    }

    fn channel_state(&self) -> String {
        let output = self.command(&["status", "--json"]);
        let status: Value = serde_json::from_str(&output.stdout).unwrap();
        status["credentials"][0]["channels"][0]["state"].as_str().unwrap().to_owned()
    }

    fn ends(self, agent: Sidecar) {
        let output = agent.output();
        assert!(!has_password(&output), "{output}");
        agent.stop();
    }
}

const GATEWAY: &str = "[gateway]\ndatabase = { env = \"SQL_DSN\" }\ncache_lag = \"0s\"";

on_every_server! {
    fn row_34_a_channel_that_died_of_its_old_key_is_live_again_and_the_commands_show_it(engine) {
        let scene = Scene::new(Store::fixture(engine, Fork::OneApi));
        let began = Instant::now();
        let agent = scene.start(4);
        scene.arrives(4, &agent);
        println!("row 34: live {} ms after the start", began.elapsed().as_millis());
        assert_eq!(scene.store.query("SELECT status FROM channels WHERE id = 4"), "1");
        let off = "SELECT COUNT(*) FROM abilities WHERE channel_id = 4 AND enabled = FALSE";
        assert_eq!(scene.store.query(off), "0");
        assert!(eventually(SOON, || scene.channel_state() == "delivered"));

        let channels = scene.command(&["channels"]);
        assert_eq!(channels.code, Some(0), "{channels:?}");
        assert!(channels.stdout.contains("died of its old key  ← a"), "{}", channels.stdout);
        let doctor = scene.command(&["doctor"]);
        assert_eq!(doctor.code, Some(0), "{doctor:?}");
        scene.ends(agent);
    }

    fn row_22_and_29_nothing_is_spent_while_the_server_is_away_or_gives_no_right(engine) {
        let store = Store::on_its_own_server(engine);
        store.server().kill();
        let scene = Scene::new(store);
        let agent = scene.start(1);
        assert!(agent.wait_for_line("does not answer", SOON).is_some(), "{}", agent.output());
        let doctor = scene.command(&["doctor"]);
        assert_eq!(doctor.code, Some(1), "{doctor:?}");
        assert!(doctor.stdout.contains("does not answer"), "{doctor:?}");
        // doctor asks whether anybody is there, which spends nothing.
        let spent = || scene.endpoint.requests().iter().filter(|request| request.method != "HEAD").count();
        let spent = looks(Duration::from_millis(200), Duration::from_secs(2), spent);
        assert!(!spent.is_empty() && spent.iter().all(|spent| *spent == 0), "{spent:?}");

        scene.store.server().restart();
        let began = Instant::now();
        assert!(eventually(SOON + SOON, || scene.holds_newest(1)), "{}", agent.output());
        println!("row 22: delivered {} ms after the server came", began.elapsed().as_millis());
        scene.ends(agent);
    }

    fn a_server_that_is_killed_under_the_agent_comes_back_to_the_same_key(engine) {
        let scene = Scene::new(Store::on_its_own_server(engine));
        let agent = scene.start(1);
        scene.arrives(1, &agent);
        scene.store.server().kill();
        assert!(agent.wait_for_line("cannot be used now", SOON + SOON).is_some(), "{}", agent.output());
        scene.store.server().restart();
        scene.store.run("UPDATE channels SET {key} = 'fixture-access-token-1' WHERE id = 1");
        let began = Instant::now();
        assert!(eventually(SOON + SOON, || scene.holds_newest(1)), "{}", agent.output());
        println!("healed {} ms after a restored backup came up", began.elapsed().as_millis());
        assert_eq!(scene.endpoint.requests().len(), 1, "no refresh is spent on it");
        scene.ends(agent);
    }

    fn row_31_a_strangers_key_is_left_and_told_and_a_person_takes_it_over(engine) {
        let scene = Scene::new(Store::fixture(engine, Fork::NewApi));
        let agent = scene.start(1);
        scene.arrives(1, &agent);
        scene.store.run("UPDATE channels SET {key} = 'an-admins-own-key' WHERE id = 1");
        assert!(agent.wait_for_line("foreign_key", HEALS_WITHIN).is_some(), "{}", agent.output());
        let keys = looks(Duration::from_millis(300), Duration::from_secs(4), || scene.store.key(1));
        assert!(!keys.is_empty() && keys.iter().all(|key| key == "an-admins-own-key"), "{keys:?}");
        assert_eq!(scene.channel_state(), "foreign");
        let adopted = scene.command(&["adopt", "1"]);
        assert_eq!(adopted.code, Some(0), "{adopted:?}\n{}", agent.output());
        assert!(scene.holds_newest(1), "the key is there when the command has ended");
        let released = scene.command(&["release", "1"]);
        assert_eq!(released.code, Some(0), "{released:?}");
        assert!(eventually(SOON, || scene.store.key(1) == "an-admins-own-key"), "{}", agent.output());
        scene.ends(agent);
    }

    fn row_37_a_stale_cache_that_disables_again_is_answered_every_second(engine) {
        let scene = Scene::new(Store::fixture(engine, Fork::OneApi));
        let gateway = GATEWAY.replace("0s", "10s");
        scene.bench.write_config(&scene.config(&gateway, "4"));
        let agent = scene.bench.start();
        scene.arrives(4, &agent);
        for flip in 1..=3 {
            scene.store.run("UPDATE channels SET status = 3 WHERE id = 4");
            let began = Instant::now();
            let back = || scene.store.query("SELECT status FROM channels WHERE id = 4") == "1";
            assert!(eventually(HEALS_WITHIN, back), "flip {flip}:\n{}", agent.output());
            println!("row 37: flip {flip}, an outage of {} ms", began.elapsed().as_millis());
        }
        assert_eq!(scene.endpoint.requests().len(), 1, "no refresh is spent on a stale cache");
        scene.ends(agent);
    }

    fn two_gateways_that_lead_to_one_database_are_a_conflict(engine) {
        let scene = Scene::new(Store::fixture(engine, Fork::OneApi));
        // By another name of the same host, and other parameters.
        let dsn = scene.store.dsn().replace("127.0.0.1", "localhost");
        let second = format!("[[gateway]]\nname = \"second\"\ndatabase = {{ value = \"{dsn}\" }}\ncache_lag = \"0s\"");
        let first = GATEWAY.replace("[gateway]", "[[gateway]]\nname = \"first\"");
        let channels = "{ gateway = \"first\", id = 1 }, { gateway = \"second\", id = 2 }";
        scene.bench.write_config(&scene.config(&format!("{first}\n{second}"), channels));
        let agent = scene.bench.start();
        scene.arrives(1, &agent);
        let state_of = |index: usize| {
            let status: Value = serde_json::from_str(&scene.command(&["status", "--json"]).stdout).unwrap();
            status["credentials"][0]["channels"][index]["state"].as_str().unwrap().to_owned()
        };
        assert!(eventually(SOON, || state_of(1) == "conflict"), "{}", agent.output());
        assert_eq!(state_of(0), "delivered");
        assert_eq!(scene.store.key(2), "fixture-access-token-2");
        scene.ends(agent);
    }

    fn an_edit_leads_to_another_server_while_the_agent_runs(engine) {
        let scene = Scene::new(Store::fixture(engine, Fork::OneApi));
        scene.bench.write_config(&scene.config("[gateway]\ndatabase = \"nowhere.db\"\ncache_lag = \"0s\"", "1"));
        let agent = scene.bench.start();
        assert!(agent.wait_for_line("is not there", SOON).is_some(), "{}", agent.output());
        scene.bench.rename_config(&scene.config(GATEWAY, "1"));
        scene.arrives(1, &agent);
        let check = scene.command(&["check"]);
        assert_eq!(check.code, Some(0), "{check:?}");
        let written = GATEWAY.replace("{ env = \"SQL_DSN\" }", &format!("\"{}\"", scene.store.dsn()));
        scene.bench.rename_config(&scene.config(&written, "1"));
        let check = scene.command(&["check"]);
        assert!(check.stderr.contains("others can read it"), "{check:?}");
        scene.ends(agent);
    }
}
