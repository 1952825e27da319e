//! Many credentials due at once under a small limit of open files (fault row 65).

mod support;

use std::time::Duration;

use rusqlite::Connection;
use support::endpoint::Options;
use support::eventually;
use support::process::assert_no_secret;
use support::scene::Scene;

/// In a release build ten thousand take two seconds (`benches/performance`); a debug build and the endpoint of the tests
/// are slower.
const CREDENTIALS: i64 = 1000;
/// Fewer than there are credentials, and more than requests may be under way.
const DESCRIPTORS: usize = 160;
const IN_FLIGHT: usize = 128;

#[test]
fn row_65_a_thousand_due_at_once_under_160_descriptors_are_all_durable_and_delivered() {
    let mut scene = Scene::new(Options::default(), "");
    let limit = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    scene.bench.wrap(["sh", "-c", &limit]);
    let mut credentials = format!("[agent]\nmax_in_flight = {IN_FLIGHT}\nmax_in_flight_per_host = {IN_FLIGHT}\n");
    let gateway = Connection::open(scene.database()).unwrap();
    gateway.execute_batch("BEGIN; CREATE TEMP TABLE copied AS SELECT * FROM channels WHERE id = 1").unwrap();
    for channel in 101..=100 + CREDENTIALS {
        let name = format!("c{channel}");
        // A seed in a file takes a descriptor, too.
        scene.set_seed(&name, &scene.endpoint.issue());
        credentials += &scene.credential(&name, &name, &name, channel, "");
        gateway.execute("UPDATE copied SET id = ?1, key = ?2", (channel, &name)).unwrap();
        gateway.execute("INSERT INTO channels SELECT * FROM copied", []).unwrap();
    }
    gateway.execute_batch("COMMIT").unwrap();
    drop(gateway);
    scene.bench.write_config(&scene.config(&credentials));

    let agent = scene.bench.start();
    let keys = || {
        let gateway = Connection::open(scene.database()).unwrap();
        gateway.busy_timeout(Duration::from_secs(5)).unwrap();
        let mut statement = gateway.prepare("SELECT key FROM channels WHERE id > 100").unwrap();
        let keys = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        keys.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let delivered = || keys().iter().filter(|key| scene.endpoint.is_valid(key)).count();
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
