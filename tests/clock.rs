//! Fault row 51: the clock is set by a day, forward and back, and the machine sleeps. The real agent runs in this
//! process on a clock of ours, against a strict endpoint.

mod support;

use std::sync::Arc;
use std::time::Duration;

use one_api_sidecar::agent::{Agent, Mode, Report, watch};
use one_api_sidecar::time::{Clock, ManualClock, SystemClock};
use one_api_sidecar::vault::Vault;
use support::endpoint::{Endpoint, Options};
use support::{SOON, database, looks};

const CREDENTIALS: usize = 3;
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn row_51_neither_a_storm_nor_a_key_that_dies_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(Options { lifetime: Duration::from_secs(3600), ..Options::default() });
    database::copy_fixture("one-api.db", &folder.path().join("one-api.db"));
    let mut text = String::from("[gateway]\ndatabase = \"one-api.db\"\ncache_lag = \"0s\"\n");
    for (name, channel) in ["a", "b", "c"].iter().zip([1, 2, 5]) {
        std::fs::write(folder.path().join(name), endpoint.issue()).unwrap();
        text += &format!(
            "[[credential]]\nname = \"{name}\"\ntoken_url = \"{}\"\nclient_id = \"{name}\"\n\
             refresh_token = {{ file = \"{name}\" }}\nchannels = [{channel}]\n",
            endpoint.url()
        );
    }
    let config = folder.path().join("sidecar.toml");
    std::fs::write(&config, &text).unwrap();

    let clock = ManualClock::new(SystemClock.now());
    let (plan, _) = watch::load(&config, &text).unwrap();
    let opened = Vault::open(&plan.vault.path).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let agents_clock = Arc::new(clock.clone());
    let running = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut agent = Agent::new(agents_clock, opened, plan, config, Mode::Run);
            tell.send(agent.reports()).unwrap();
            agent.run().await;
            agent.close();
        });
    });
    let reports = told.recv().unwrap();
    // The agent sleeps on the machine's own clock: whatever comes in makes it look at ours.
    let look = || reports.send(Report::Hangup).unwrap();
    let settles_at = |requests: usize, what: &str| {
        look();
        assert!(endpoint.wait_for_requests(requests, SOON), "{what}: {} requests", endpoint.requests().len());
        let counts = looks(Duration::from_millis(100), Duration::from_secs(1), || {
            look();
            endpoint.requests().len()
        });
        assert!(!counts.is_empty() && counts.iter().all(|count| *count == requests), "{what}: {counts:?}");
    };

    settles_at(CREDENTIALS, "the start");
    clock.set(clock.now() + DAY);
    settles_at(CREDENTIALS, "set forward by a day, nothing is due");
    clock.set(clock.now() - DAY - DAY);
    settles_at(CREDENTIALS, "set back by two days, nothing is due");
    clock.pass(Duration::from_secs(3500));
    settles_at(2 * CREDENTIALS, "an hour later everything is refreshed in time");
    clock.sleep(DAY);
    settles_at(3 * CREDENTIALS, "after a day's sleep dead keys are replaced at once");

    let reused = endpoint.reuse_count();
    reports.send(Report::Stop).unwrap();
    running.join().unwrap();
    println!("row 51: storms = 0, keys that died unseen = 0, spent tokens sent = {reused}");
    assert_eq!(reused, 0);
}
