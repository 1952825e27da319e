//! The key arrives in a running gateway, stays there, and nobody else's work is undone (fault rows 22–37, 59, 63, 64):
//! the real agent beside a database that a real One-API made.

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::endpoint::{Action, Endpoint, Options};
use support::gateway::{OneApi, Routed, times_open_in};
use support::process::{Bench, Sidecar};
use support::{SOON, database, eventually, looks};

/// How long healing may take: a look a second, a write, and room for a busy machine.
const HEALS_WITHIN: Duration = Duration::from_secs(4);

struct Scene {
    bench: Bench,
    endpoint: Endpoint,
}

impl Scene {
    fn new(lifetime: Duration) -> Self {
        let endpoint = Endpoint::start(Options { lifetime, ..Options::default() });
        let mut bench = Bench::new();
        bench.env("SEED", endpoint.issue());
        Self { bench, endpoint }
    }

    /// With a database that is there from the start.
    fn with_database(lifetime: Duration) -> Self {
        let scene = Self::new(lifetime);
        scene.bring_database();
        scene
    }

    fn bring_database(&self) {
        database::copy_fixture("one-api.db", &self.database());
    }

    fn database(&self) -> PathBuf {
        self.bench.path("one-api.db")
    }

    fn config(&self, channel: i64, gateway: &str) -> String {
        format!(
            "[gateway]\ndatabase = \"one-api.db\"\n{gateway}\n[[credential]]\nname = \"a\"\ntoken_url = \"{}\"\n\
             client_id = \"a\"\nrefresh_token = {{ env = \"SEED\" }}\nchannels = [{channel}]\n",
            self.endpoint.url()
        )
    }

    fn start(&self, channel: i64, gateway: &str) -> Sidecar {
        self.bench.write_config(&self.config(channel, gateway));
        self.bench.start()
    }

    /// The newest access token that the endpoint gave out.
    fn newest(&self) -> Option<String> {
        self.endpoint.accepted_tokens().pop()
    }

    fn key(&self, channel: i64) -> String {
        database::channel(&self.database(), channel).key
    }

    fn holds_newest(&self, channel: i64) -> bool {
        self.newest().is_some_and(|newest| self.key(channel) == newest)
    }

    fn arrives(&self, channel: i64, agent: &Sidecar) {
        assert!(eventually(SOON, || self.holds_newest(channel)), "{}", agent.output());
    }

    fn run_sql(&self, sql: &str) {
        support::gateway::connect(&self.database()).execute_batch(sql).unwrap();
    }

    fn channel_state(&self) -> String {
        let output = self.bench.run_command(&["status", "--json"]);
        let status: Value = serde_json::from_str(&output.stdout).unwrap();
        status["credentials"][0]["channels"][0]["state"].as_str().unwrap().to_owned()
    }

    /// Asserts that a key which was lost comes back by itself, without another request.
    fn heals(&self, what: &str, agent: &Sidecar) {
        let began = Instant::now();
        assert!(eventually(HEALS_WITHIN, || self.holds_newest(1)), "{what}:\n{}", agent.output());
        println!("{what}: healed after {} ms", began.elapsed().as_millis());
        assert_eq!(self.endpoint.requests().len(), 1, "{what}: no refresh is spent on it");
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const NO_CACHE: &str = "cache_lag = \"0s\"";

#[test]
fn row_22_a_missing_database_is_waited_for_and_nothing_is_spent_or_made() {
    let scene = Scene::new(HOUR);
    let agent = scene.start(1, NO_CACHE);
    let before = looks(Duration::from_millis(200), Duration::from_secs(2), || {
        (scene.endpoint.requests().len(), scene.database().exists())
    });
    assert!(!before.is_empty() && before.iter().all(|seen| *seen == (0, false)), "{before:?}");
    let said = agent.lines_with("is not there").len();
    assert_eq!(said, 1, "said once:\n{}", agent.output());
    scene.bring_database();
    let began = Instant::now();
    scene.arrives(1, &agent);
    println!("row 22: files created = 0, delivered {} ms after the database came", began.elapsed().as_millis());
    assert!(began.elapsed() < HEALS_WITHIN);
    agent.stop();
}

#[test]
fn row_23_tables_that_are_not_there_yet_are_waited_for() {
    let scene = Scene::new(HOUR);
    std::fs::write(scene.database(), b"").unwrap();
    let agent = scene.start(1, NO_CACHE);
    assert!(agent.wait_for_line("cannot be used now", SOON).is_some(), "{}", agent.output());
    assert_eq!(scene.endpoint.requests().len(), 0);
    std::fs::remove_file(scene.database()).unwrap();
    scene.bring_database();
    let began = Instant::now();
    scene.arrives(1, &agent);
    println!("row 23: first write after {} ms", began.elapsed().as_millis());
    agent.stop();
}

#[test]
fn row_25_a_database_that_is_replaced_by_rename_gets_its_key_again() {
    let scene = Scene::with_database(HOUR);
    let agent = scene.start(1, NO_CACHE);
    scene.arrives(1, &agent);
    let backup = scene.bench.path("backup.db");
    database::copy_fixture("one-api.db", &backup);
    std::fs::rename(&backup, scene.database()).unwrap();
    scene.heals("row 25", &agent);
    agent.stop();
}

#[test]
fn row_26_a_database_that_is_restored_in_place_gets_its_key_again() {
    let scene = Scene::with_database(HOUR);
    let agent = scene.start(1, NO_CACHE);
    scene.arrives(1, &agent);
    scene.run_sql("UPDATE channels SET key = 'fixture-access-token-1' WHERE id = 1");
    scene.heals("row 26", &agent);
    agent.stop();
}

#[test]
fn a_gateways_database_is_open_while_a_lone_request_is_away_and_closed_after() {
    let scene = Scene::with_database(HOUR);
    scene.endpoint.script([Action::Normal, Action::Delay(Duration::from_millis(700))]);
    let agent = scene.start(1, NO_CACHE);
    scene.arrives(1, &agent);
    let is_open = || times_open_in(agent.id(), &scene.database().canonicalize().unwrap()) > 0;
    assert!(eventually(SOON, || !is_open()), "nothing is done");
    // The look that comes from time to time is over sooner.
    std::thread::scope(|threads| {
        threads.spawn(|| scene.bench.run_command(&["once", "--force"]));
        assert!(eventually(SOON, || scene.endpoint.requests().len() == 2));
        let seen = looks(Duration::from_millis(10), Duration::from_millis(500), is_open);
        let open = seen.iter().filter(|open| **open).count();
        assert!(open * 2 > seen.len(), "open in {open} of {} looks", seen.len());
    });
    scene.arrives(1, &agent);
    assert!(eventually(SOON, || !is_open()));
    agent.stop();
}

#[test]
fn row_31_a_strangers_key_is_left_and_told_and_taken_over_when_the_config_says_so() {
    let scene = Scene::with_database(HOUR);
    let agent = scene.start(1, NO_CACHE);
    scene.arrives(1, &agent);
    scene.run_sql("UPDATE channels SET key = 'an-admins-own-key' WHERE id = 1");
    assert!(agent.wait_for_line("foreign_key", SOON).is_some(), "{}", agent.output());
    let keys = looks(Duration::from_millis(100), Duration::from_secs(2), || scene.key(1));
    let clobbers = keys.iter().filter(|key| *key != "an-admins-own-key").count();
    println!("row 31: clobbers = {clobbers} of {} looks", keys.len());
    assert!(!keys.is_empty() && clobbers == 0);
    assert_eq!(scene.channel_state(), "foreign");
    assert_eq!(agent.lines_with("foreign_key").len(), 1, "told once:\n{}", agent.output());
    scene.bench.rename_config(&scene.config(1, &format!("{NO_CACHE}\non_foreign_key = \"overwrite\"")));
    scene.heals("taken over", &agent);
    agent.stop();
}

#[test]
fn row_31_a_person_takes_a_strangers_key_over_and_gives_the_channel_back() {
    let scene = Scene::with_database(HOUR);
    let agent = scene.start(1, NO_CACHE);
    scene.arrives(1, &agent);
    scene.run_sql("UPDATE channels SET key = 'an-admins-own-key' WHERE id = 1");
    assert!(agent.wait_for_line("foreign_key", SOON).is_some(), "{}", agent.output());
    let adopted = scene.bench.run_command(&["adopt", "1"]);
    assert_eq!(adopted.code, Some(0), "{}{}\n{}", adopted.stdout, adopted.stderr, agent.output());
    assert!(scene.holds_newest(1), "the key is there when the command has ended");
    let released = scene.bench.run_command(&["release", "1"]);
    assert_eq!(released.code, Some(0), "{}{}\n{}", released.stdout, released.stderr, agent.output());
    assert!(eventually(SOON, || scene.key(1) == "an-admins-own-key"), "{}", agent.output());
    let keys = looks(Duration::from_millis(100), Duration::from_secs(2), || scene.key(1));
    assert!(!keys.is_empty() && keys.iter().all(|key| key == "an-admins-own-key"), "left alone since");
    assert_eq!(scene.endpoint.requests().len(), 1, "no refresh is spent on it");
    agent.stop();
    // Durably, and without an agent too.
    assert_eq!(scene.channel_state(), "released");
    let adopted = scene.bench.run_command(&["adopt", "1"]);
    assert_eq!(adopted.code, Some(0), "{}{}", adopted.stdout, adopted.stderr);
    assert!(scene.holds_newest(1));
    let unknown = scene.bench.run_command(&["adopt", "77"]);
    assert_eq!(unknown.code, Some(1), "{}{}", unknown.stdout, unknown.stderr);
}

#[test]
fn rows_32_and_63_a_deleted_channel_is_told_of_and_its_successor_is_not_written() {
    let scene = Scene::with_database(HOUR);
    let agent = scene.start(7, NO_CACHE);
    scene.arrives(7, &agent);
    scene.run_sql("DELETE FROM channels WHERE id = 7");
    assert!(agent.wait_for_line("channel_missing", SOON).is_some(), "{}", agent.output());
    scene.run_sql(
        "INSERT INTO channels (id, type, key, status, name, created_time) VALUES (7, 50, 'theirs', 1, 'new', 99)",
    );
    let keys = looks(Duration::from_millis(100), Duration::from_secs(3), || scene.key(7));
    let clobbers = keys.iter().filter(|key| *key != "theirs").count();
    println!("row 63: clobbers = {clobbers} of {} looks", keys.len());
    assert!(!keys.is_empty() && clobbers == 0);
    assert_eq!(scene.channel_state(), "missing");
    agent.stop();
}

#[test]
fn row_33_a_channel_that_is_disabled_by_hand_stays_so_and_its_key_is_kept_current() {
    let scene = Scene::with_database(HOUR);
    let agent = scene.start(3, NO_CACHE);
    scene.arrives(3, &agent);
    let statuses =
        looks(Duration::from_millis(100), Duration::from_secs(2), || database::channel(&scene.database(), 3).status);
    let flips = statuses.iter().filter(|status| **status != 2).count();
    println!("row 33: flips = {flips} of {} looks", statuses.len());
    assert!(!statuses.is_empty() && flips == 0);
    assert_eq!(scene.channel_state(), "disabled_by_hand");
    agent.stop();
}

#[test]
fn row_34_a_channel_that_died_of_its_old_key_serves_again_at_once() {
    let scene = Scene::with_database(HOUR);
    let one_api = OneApi::open(&scene.database());
    let upstream = |key: &str| scene.endpoint.is_valid(key);
    assert_eq!(one_api.request("default", "gpt-4", upstream), Routed::NoChannel);
    let agent = scene.start(4, NO_CACHE);
    let began = Instant::now();
    let serves = || one_api.request("default", "gpt-4", upstream) == Routed::Served(4);
    assert!(eventually(SOON, serves), "{}", agent.output());
    println!("row 34: live after {} ms", began.elapsed().as_millis());
    agent.stop();
}

#[test]
fn row_34_a_key_that_the_gateway_calls_dead_is_replaced_at_once() {
    /// From the first 401 to the first good answer. By design it is two seconds at most until the write is seen, and
    /// nothing waits from there on: a look, a request, a commit, a write.
    const PROMISED: Duration = Duration::from_secs(3);
    /// A machine that is busy with other things may be slow once; one that always is shows a wait of ours.
    const TRIES: usize = 3;
    let scene = Scene::with_database(HOUR);
    let one_api = OneApi::open(&scene.database());
    let agent = scene.start(1, NO_CACHE);
    scene.arrives(1, &agent);
    let mut took = Vec::new();
    while took.last().is_none_or(|took| *took >= PROMISED) && took.len() < TRIES {
        let revoked = scene.key(1);
        let upstream = |key: &str| key != revoked && scene.endpoint.is_valid(key);
        // Within ten seconds of our write a disabled channel is put down to the key before it.
        let settled = Instant::now() + Duration::from_secs(12);
        assert!(eventually(SOON + SOON, || Instant::now() >= settled));
        assert_eq!(one_api.request("default", "gpt-4o", upstream), Routed::Refused(1));
        let refused = Instant::now();
        let serves = || one_api.request("default", "gpt-4o", upstream) == Routed::Served(1);
        assert!(eventually(SOON, serves), "{}", agent.output());
        took.push(refused.elapsed());
        assert_eq!(scene.endpoint.requests().len(), 1 + took.len(), "one refresh for each dead key");
    }
    println!("row 34: first good answer after the first 401: {took:.2?}");
    assert!(took.last() < Some(&PROMISED), "{took:?}:\n{}", agent.output());
    assert_eq!(scene.endpoint.reuse_count(), 0);
    agent.stop();
}

#[test]
fn row_36_a_key_of_ours_that_is_one_generation_old_is_written_again() {
    let scene = Scene::with_database(Duration::from_secs(16));
    let agent = scene.start(1, NO_CACHE);
    scene.arrives(1, &agent);
    let old = scene.key(1);
    assert!(scene.endpoint.wait_for_requests(2, SOON), "{}", agent.output());
    scene.arrives(1, &agent);
    scene.run_sql(&format!("UPDATE channels SET key = '{old}' WHERE id = 1"));
    let began = Instant::now();
    assert!(eventually(HEALS_WITHIN, || scene.holds_newest(1)), "{}", agent.output());
    println!("row 36: stale for {} ms", began.elapsed().as_millis());
    assert_eq!(agent.lines_with("foreign_key").len(), 0, "{}", agent.output());
    agent.stop();
}

#[test]
fn row_37_a_stale_cache_that_disables_again_is_answered_until_the_lag_has_passed() {
    let scene = Scene::with_database(HOUR);
    let agent = scene.start(4, "cache_lag = \"10s\"");
    scene.arrives(4, &agent);
    let one_api = OneApi::open(&scene.database());
    for flip in 1..=3 {
        one_api.disable(4);
        let began = Instant::now();
        let back = || database::channel(&scene.database(), 4).status == 1;
        assert!(eventually(HEALS_WITHIN, back), "flip {flip}:\n{}", agent.output());
        println!("row 37: flip {flip}, an outage of {} ms", began.elapsed().as_millis());
    }
    assert_eq!(scene.endpoint.requests().len(), 1, "no refresh is spent on a stale cache");
    let models = |key: &str| scene.endpoint.is_valid(key);
    assert_eq!(one_api.request("default", "gpt-4", models), Routed::Served(4), "its abilities are on again");
    agent.stop();
}

#[test]
fn row_59_a_database_with_a_second_name_is_refused_before_anything_is_spent() {
    let scene = Scene::with_database(HOUR);
    let second = scene.bench.path("second-name.db");
    std::fs::hard_link(scene.database(), &second).unwrap();
    let agent = scene.start(1, NO_CACHE);
    assert!(agent.wait_for_line("cannot be used now", SOON).is_some(), "{}", agent.output());
    assert_eq!((scene.endpoint.requests().len(), scene.key(1).as_str()), (0, "fixture-access-token-1"));
    std::fs::remove_file(second).unwrap();
    assert!(eventually(SOON + SOON, || scene.holds_newest(1)), "{}", agent.output());
    agent.stop();
}

#[test]
fn row_29_a_database_of_somebody_else_is_diagnosed_before_anything_is_spent() {
    const NOBODY: &str = "65534";
    let mut scene = Scene::with_database(HOUR);
    let nobody = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    let program = env!("CARGO_BIN_EXE_one-api-sidecar");
    let possible = std::process::Command::new(nobody[0]).args(&nobody[1..]).args([program, "--version"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return println!("skipped: no other user can be had here");
    }
    // The folder is the sidecar's, the database somebody else's.
    let folder = scene.database().parent().unwrap().to_owned();
    std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).unwrap();
    scene.bench.write_config(&scene.config(1, NO_CACHE));
    scene.bench.wrap(nobody);
    let agent = scene.bench.start();
    assert!(agent.wait_for_line("may not write it", SOON).is_some(), "{}", agent.output());
    let doctor = scene.bench.run_command(&["doctor"]);
    assert!(doctor.stdout.contains("user: \"0:0\""), "{}{}", doctor.stdout, doctor.stderr);
    // doctor asks whether anybody is there, which spends nothing.
    let spent = scene.endpoint.requests().iter().filter(|request| request.method != "HEAD").count();
    println!("row 29: spent = {spent}");
    assert_eq!(spent, 0);
    std::os::unix::fs::chown(scene.database(), Some(65534), Some(65534)).unwrap();
    assert!(eventually(SOON + SOON, || scene.holds_newest(1)), "{}", agent.output());
    agent.stop();
}

#[test]
fn two_names_for_one_database_are_noticed_and_written_by_one() {
    let mut scene = Scene::with_database(HOUR);
    scene.bench.env("SECOND", scene.endpoint.issue());
    std::os::unix::fs::symlink("one-api.db", scene.bench.path("the-same.db")).unwrap();
    let credential = |name: &str, seed: &str, gateway: &str| {
        format!(
            "[[credential]]\nname = \"{name}\"\ntoken_url = \"{}\"\nclient_id = \"{name}\"\n\
             refresh_token = {{ env = \"{seed}\" }}\nchannels = [{{ gateway = \"{gateway}\", id = 1 }}]\n",
            scene.endpoint.url()
        )
    };
    let gateway =
        |name: &str, file: &str| format!("[[gateway]]\nname = \"{name}\"\ndatabase = \"{file}\"\n{NO_CACHE}\n");
    scene.bench.write_config(
        &(gateway("one", "one-api.db")
            + &gateway("two", "the-same.db")
            + "[vault]\npath = \"vault/vault.db\"\n"
            + &credential("a", "SEED", "one")
            + &credential("b", "SECOND", "two")),
    );
    let agent = scene.bench.start();
    assert!(eventually(SOON, || scene.holds_newest(1)), "{}", agent.output());
    let states = || {
        let status: Value = serde_json::from_str(&scene.bench.run_command(&["status", "--json"]).stdout).unwrap();
        let state = |nth: usize| status["credentials"][nth]["channels"][0]["state"].as_str().unwrap().to_owned();
        (state(0), state(1))
    };
    let noticed = || states() == ("delivered".to_owned(), "conflict".to_owned());
    assert!(eventually(SOON, noticed), "{:?}\n{}", states(), agent.output());
    assert_eq!(scene.endpoint.requests_of("b").len(), 0, "nothing is spent that cannot be delivered");
    agent.stop();
}

#[test]
fn a_name_that_several_channels_bear_is_refused_with_their_ids_and_one_that_is_unique_is_adopted() {
    let scene = Scene::with_database(HOUR);
    scene.run_sql("UPDATE channels SET name = 'twin' WHERE id IN (5, 7)");
    scene.bench.write_config(&scene.config(1, NO_CACHE).replace("channels = [1]", "channels = [\"twin\"]"));
    let agent = scene.bench.start();
    let told = agent.wait_for_line("twin", SOON).expect("it is told");
    assert!(told.contains('5') && told.contains('7'), "{told}");
    assert_eq!(scene.endpoint.requests().len(), 0);
    scene.run_sql("UPDATE channels SET name = 'other' WHERE id = 7");
    assert!(eventually(SOON, || scene.holds_newest(5)), "{}", agent.output());
    // Adopted: from now on its id counts, whatever it is called.
    scene.run_sql("UPDATE channels SET name = 'renamed', key = 'fixture-access-token-5' WHERE id = 5");
    assert!(eventually(SOON, || scene.holds_newest(5)), "{}", agent.output());
    agent.stop();
}

#[test]
fn a_channel_is_fed_on_when_the_config_names_it_otherwise_or_for_another_client() {
    let mut scene = Scene::with_database(HOUR);
    let agent = scene.start(1, NO_CACHE);
    scene.arrives(1, &agent);
    let force = |agent: &Sidecar| {
        let forced = scene.bench.run_command(&["once", "--force"]);
        assert_eq!(forced.code, Some(0), "{}{}\n{}", forced.stdout, forced.stderr, agent.output());
    };
    let by_name = |name: &str| scene.config(1, NO_CACHE).replace("channels = [1]", &format!("channels = [\"{name}\"]"));
    scene.bench.rename_config(&by_name("codex-a"));
    assert!(agent.wait_for_line("config applied", SOON).is_some(), "{}", agent.output());
    force(&agent);
    assert!(scene.holds_newest(1), "{}", agent.output());
    // Renamed in the gateway, and the config follows.
    scene.run_sql("UPDATE channels SET name = 'codex-b' WHERE id = 1");
    scene.bench.rename_config(&by_name("codex-b"));
    assert!(eventually(SOON, || agent.lines_with("config applied").len() == 2), "{}", agent.output());
    force(&agent);
    assert!(scene.holds_newest(1), "{}", agent.output());
    agent.stop();
    // Another client is another record, which has nothing yet.
    let other_client = by_name("codex-b").replace("client_id = \"a\"", "client_id = \"another\"");
    let seed = scene.endpoint.issue();
    scene.bench.env("SEED", seed);
    scene.bench.write_config(&other_client);
    let agent = scene.bench.start();
    assert!(eventually(SOON, || scene.endpoint.requests_of("another").len() == 1), "{}", agent.output());
    scene.arrives(1, &agent);
    assert_eq!(scene.channel_state(), "delivered");
    agent.stop();
}

#[test]
fn a_key_that_no_header_could_carry_comes_back_as_it_was() {
    const PASTED: &str = "{\n  \"type\": \"service_account\"\n}\n";
    for before in [PASTED, ""] {
        let scene = Scene::with_database(HOUR);
        database::set_channel(&scene.database(), 1, before, 1);
        let agent = scene.start(1, NO_CACHE);
        scene.arrives(1, &agent);
        let released = scene.bench.run_command(&["release", "1"]);
        assert_eq!(released.code, Some(0), "{}{}\n{}", released.stdout, released.stderr, agent.output());
        assert_eq!(scene.key(1), before, "it is back when the command has ended");
        agent.stop();
    }
}

#[test]
fn before_the_first_delivery_adopt_and_release_go_by_the_config() {
    let scene = Scene::with_database(HOUR);
    let run = |arguments: &[&str]| scene.bench.run_command(arguments);
    // Nothing was ever looked at, and nobody knows yet which channel bears the name.
    for channels in ["[1]", "[\"codex-a\"]"] {
        scene.bench.write_config(&scene.config(1, NO_CACHE).replace("[1]", channels));
        let adopted = run(&["adopt", "1"]);
        assert!(adopted.stdout.contains("pending"), "{channels}: {}{}", adopted.stdout, adopted.stderr);
        let released = run(&["release", "1"]);
        assert!(released.stderr.contains("nothing to give back"), "{channels}: {}", released.stderr);
        assert_eq!(released.code, Some(1), "{channels}");
    }
    assert_eq!(scene.endpoint.requests().len(), 0, "nothing is spent on it");
    // A name that cannot be looked up is no channel that nobody feeds.
    std::fs::rename(scene.database(), scene.bench.path("away.db")).unwrap();
    let adopted = run(&["adopt", "1"]);
    assert!(adopted.stderr.contains("is not there"), "{}{}", adopted.stdout, adopted.stderr);
    std::fs::rename(scene.bench.path("away.db"), scene.database()).unwrap();
    let unknown = run(&["adopt", "77"]);
    assert!(unknown.stderr.contains("No credential"), "{}{}", unknown.stdout, unknown.stderr);
}

#[test]
fn a_gateway_that_nothing_feeds_is_no_reason_not_to_be_ready() {
    let scene = Scene::with_database(HOUR);
    let config = scene.config(1, NO_CACHE).replace("[gateway]", "[[gateway]]\nname = \"fed\"");
    let config = config.replace("[1]", "[{ gateway = \"fed\", id = 1 }]");
    scene.bench.write_config(&format!(
        "{config}[[gateway]]\nname = \"idle\"\ndatabase = \"idle.db\"\n[vault]\npath = \"vault/vault.db\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\n"
    ));
    let agent = scene.bench.start();
    scene.arrives(1, &agent);
    let address = support::http::address(&agent);
    let is_ready = || support::http::get(address, "/readyz", "").status == 200;
    assert!(eventually(SOON, is_ready), "{}", agent.output());
    agent.stop();
}
