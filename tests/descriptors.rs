//! Many credentials due at once: under a small limit of open files (fault row 65), beside a gateway that takes no key for
//! a while, and when those that got ready may not leave any more (rows 9 and 40).

mod support;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use support::endpoint::{Action, Options};
use support::process::assert_no_secret;
use support::scene::Scene;
use support::{SOON, database, eventually};

/// In a release build ten thousand take two seconds (`benches/performance`); a debug build and the endpoint of the tests
/// are slower.
const CREDENTIALS: i64 = 1000;
/// Fewer than there are credentials, and more than requests may be under way.
const DESCRIPTORS: usize = 160;
const IN_FLIGHT: usize = 128;

/// The lines of the config that allow so many requests at once.
fn bounds(in_flight: usize) -> String {
    format!("[agent]\nmax_in_flight = {in_flight}\nmax_in_flight_per_host = {in_flight}\n")
}

/// A channel, a seed in a file and a credential for each of these ids; the credentials' part of the config.
fn many(scene: &Scene, ids: RangeInclusive<i64>, channel: impl Fn(i64) -> String) -> String {
    let gateway = Connection::open(scene.database()).unwrap();
    gateway.execute_batch("BEGIN; CREATE TEMP TABLE copied AS SELECT * FROM channels WHERE id = 1").unwrap();
    let mut credentials = String::new();
    for id in ids {
        let name = format!("c{id}");
        scene.set_seed(&name, &scene.endpoint.issue());
        credentials += &scene.credential(&name, &name, &name, channel(id), "");
        gateway.execute("UPDATE copied SET id = ?1, key = ?2", (id, &name)).unwrap();
        gateway.execute("INSERT INTO channels SELECT * FROM copied", []).unwrap();
    }
    gateway.execute_batch("COMMIT").unwrap();
    credentials
}

/// How many channels of a gateway hold a key that is good for a request now.
fn delivered(scene: &Scene, database: &Path) -> usize {
    let gateway = Connection::open(database).unwrap();
    gateway.busy_timeout(Duration::from_secs(5)).unwrap();
    let mut statement = gateway.prepare("SELECT key FROM channels").unwrap();
    let keys = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    keys.filter(|key| scene.endpoint.is_valid(key.as_ref().unwrap())).count()
}

#[test]
fn row_65_a_thousand_due_at_once_under_160_descriptors_are_all_durable_and_delivered() {
    let mut scene = Scene::new(Options::default(), "");
    let limit = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    scene.bench.wrap(["sh", "-c", &limit]);
    let credentials = many(&scene, 101..=100 + CREDENTIALS, |id| id.to_string());
    scene.bench.write_config(&scene.config(&(bounds(IN_FLIGHT) + &credentials)));

    let agent = scene.bench.start();
    let delivered = || delivered(&scene, &scene.database());
    let everything = usize::try_from(CREDENTIALS).unwrap();
    let arrived = eventually(Duration::from_secs(180), || delivered() == everything);
    assert!(arrived, "{} of {everything} arrived:\n{}", delivered(), agent.output());

    assert_eq!(scene.endpoint.requests().len(), everything, "each was asked for once");
    assert_eq!(scene.endpoint.reuse_count(), 0);
    let durable = scene.records();
    assert!(durable.iter().all(|record| record.state.generation == 1 && record.state.failures == 0));
    assert_eq!(durable.iter().filter(|record| record.refresh_token.is_some()).count(), everything);
    let output = agent.stop();
    assert!(!output.contains("Too many open files"), "{output}");
    assert_no_secret("the agent", &output);
}

#[test]
fn while_a_gateway_takes_no_key_its_own_credentials_wait_unasked_and_others_do_not() {
    const FOR_THE_SLOW_ONE: i64 = 800;
    let scene = Scene::new(Options::default(), "");
    let other = scene.bench.path("other.db");
    database::copy_fixture("one-api.db", &other);
    let gateways = format!(
        r#"
[vault]
path = "{}"

[[gateway]]
name = "slow"
database = "{}"
busy_timeout = "5m"
cache_lag = "0s"

[[gateway]]
name = "other"
database = "{}"
cache_lag = "0s"
"#,
        scene.vault().display(),
        scene.database().display(),
        other.display()
    );
    let mut config = gateways
        + &bounds(16)
        + &many(&scene, 101..=100 + FOR_THE_SLOW_ONE, |id| format!("{{ gateway = \"slow\", id = {id} }}"));
    config += &scene.credential("last", "last", "last", "{ gateway = \"other\", id = 1 }", "");
    scene.bench.write_config(&config);

    let mut agent = scene.bench.start();
    let slow = Connection::open(scene.database()).unwrap();
    slow.busy_timeout(Duration::from_secs(5)).unwrap();
    let arrived = || delivered(&scene, &scene.database());
    assert!(eventually(SOON, || arrived() > 0), "{}", agent.output());
    slow.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = arrived();
    assert!(before < 400, "{before} is too late to see anything");

    scene.set_seed("last", &scene.endpoint.issue());
    agent.hangup();
    let served = eventually(SOON, || delivered(&scene, &other) == 1);
    assert!(served, "a gateway has nothing to do with another's wait: {}", agent.output());
    let mut asked = 0;
    let has_settled = || {
        std::thread::sleep(Duration::from_secs(1));
        let last = std::mem::replace(&mut asked, scene.endpoint.requests().len());
        asked == last
    };
    assert!(eventually(SOON, has_settled), "{}", agent.output());
    let waiting = asked - 1 - before;
    assert!((1..250).contains(&waiting), "of {waiting} the old keys may be dead by now: {}", agent.output());
    slow.execute_batch("ROLLBACK").unwrap();
    let everything = usize::try_from(FOR_THE_SLOW_ONE).unwrap();
    let all_arrived = eventually(Duration::from_secs(120), || arrived() == everything);
    assert!(all_arrived, "{} of {everything}: {}", arrived(), agent.output());
    assert_eq!((scene.endpoint.requests().len(), scene.endpoint.reuse_count()), (everything + 1, 0));
    assert_no_secret("the agent", &agent.stop());
}

/// Twelve credentials of which eight may be in flight; what comes of the first eight.
fn twelve_of_which_eight(first: [Action; 8]) -> Scene {
    let scene = Scene::new(Options::default(), "");
    scene.endpoint.script(first);
    let credentials = many(&scene, 101..=112, |id| id.to_string());
    scene.bench.write_config(&scene.config(&(bounds(8) + &credentials)));
    scene
}

/// How many refreshes are marked: their requests leave, or may have left.
fn marked(scene: &Scene) -> usize {
    scene.records().iter().filter(|record| record.state.attempt.is_some()).count()
}

#[test]
fn row_09_what_only_got_ready_does_not_leave_any_more_and_leaves_no_mark() {
    let scene = twelve_of_which_eight([const { Action::Delay(Duration::from_secs(2)) }; 8]);
    let agent = scene.bench.start();
    assert!(eventually(SOON, || marked(&scene) == 9), "{} are marked: {}", marked(&scene), agent.output());
    let output = agent.stop();
    assert_eq!((scene.endpoint.requests().len(), marked(&scene)), (8, 0), "{output}");
    let agent = scene.bench.start();
    assert!(eventually(SOON, || delivered(&scene, &scene.database()) == 12), "{}", agent.output());
    assert_eq!((scene.endpoint.requests().len(), scene.endpoint.reuse_count()), (12, 0));
    assert_no_secret("the agent", &(output + &agent.stop()));
}

#[test]
fn row_40_what_only_got_ready_does_not_leave_for_a_host_that_wants_to_be_left_alone() {
    let mut first = [const { Action::Delay(Duration::from_secs(2)) }; 8];
    first[0] = Action::Delay(Duration::from_millis(500));
    let scene = twelve_of_which_eight(first);
    let headers = vec![("retry-after".to_owned(), "3".to_owned())];
    scene.endpoint.script([Action::Answer { status: 429, headers, body: Vec::new() }]);
    let agent = scene.bench.start();
    // The ninth takes the place of the first one, and the tenth gets ready.
    assert!(scene.endpoint.wait_for_requests(9, SOON), "{}", agent.output());
    assert!(eventually(SOON, || delivered(&scene, &scene.database()) == 12), "{}", agent.output());
    let requests = scene.endpoint.requests();
    assert_eq!((requests.len(), scene.endpoint.reuse_count()), (13, 0));
    let gap = requests[9].at - requests[8].at;
    assert!(gap >= Duration::from_secs(3), "nobody asks the host before its time: {gap:?}");
    assert_eq!(marked(&scene), 0);
    assert_no_secret("the agent", &agent.stop());
}

#[test]
fn whoever_is_killed_asks_again_with_what_only_got_ready() {
    let scene = twelve_of_which_eight([const { Action::Hang }; 8]);
    let mut agent = scene.bench.start();
    assert!(eventually(SOON, || marked(&scene) == 9), "{} are marked: {}", marked(&scene), agent.output());
    assert!(scene.endpoint.wait_for_requests(8, SOON), "{}", agent.output());
    agent.kill();
    assert_eq!(scene.endpoint.requests().len(), 8);
    let agent = scene.bench.start();
    let served = eventually(SOON, || delivered(&scene, &scene.database()) == 12);
    assert!(served, "{}", agent.output());
    assert_eq!((scene.endpoint.requests().len(), scene.endpoint.reuse_count()), (8 + 12, 0));
    assert_eq!(marked(&scene), 0);
    assert_no_secret("the agent", &agent.stop());
}

#[test]
fn one_pass_is_over_when_those_that_got_ready_have_settled_too() {
    let scene = twelve_of_which_eight([const { Action::Delay(Duration::from_millis(300)) }; 8]);
    scene.once();
    assert_eq!((delivered(&scene, &scene.database()), marked(&scene)), (12, 0));
    assert_eq!((scene.endpoint.requests().len(), scene.endpoint.reuse_count()), (12, 0));
}
