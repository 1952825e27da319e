//! What days do (fault rows 51 and 64): the real agent runs in this process on a clock of ours.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use one_api_sidecar::agent::{Agent, Mode, Report, watch};
use one_api_sidecar::time::{Clock, ManualClock, SystemClock};
use one_api_sidecar::vault::Vault;
use support::endpoint::{Action, Endpoint, Options};
use support::{SOON, database, eventually, looks};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedSender;

const DAY: Duration = Duration::from_secs(86_400);

/// The agent with three credentials whose access tokens live an hour, on a clock of ours.
struct OnOurClock {
    folder: TempDir,
    endpoint: Endpoint,
    clock: ManualClock,
    reports: UnboundedSender<Report>,
    running: std::thread::JoinHandle<()>,
}

const CREDENTIALS: usize = 3;

impl OnOurClock {
    fn start(further: &str) -> Self {
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
        text += further;
        let config = folder.path().join("sidecar.toml");
        std::fs::write(&config, &text).unwrap();

        let clock = ManualClock::new(SystemClock.now());
        let (plan, _) = watch::load(&config, &text).unwrap();
        let opened = Vault::open(Path::new(&plan.vault.place.to_string()), None, plan.agent.max_in_flight).unwrap();
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
        Self { folder, endpoint, clock, reports, running }
    }

    /// The agent sleeps on the machine's own clock: whatever comes in makes it look at ours.
    fn nudge(&self) {
        self.reports.send(Report::Hangup).unwrap();
    }

    /// Asserts that the endpoint was asked so often by now, and is not asked again.
    fn settles_at(&self, requests: usize, what: &str) {
        self.nudge();
        let came = self.endpoint.wait_for_requests(requests, SOON);
        assert!(came, "{what}: {} requests", self.endpoint.requests().len());
        let counts = looks(Duration::from_millis(100), Duration::from_secs(1), || {
            self.nudge();
            self.endpoint.requests().len()
        });
        assert!(!counts.is_empty() && counts.iter().all(|count| *count == requests), "{what}: {counts:?}");
    }

    fn stop(self) {
        self.reports.send(Report::Stop).unwrap();
        self.running.join().unwrap();
    }
}

#[test]
fn row_51_neither_a_storm_nor_a_key_that_dies_unseen() {
    let agent = OnOurClock::start("");
    let clock = &agent.clock;
    agent.settles_at(CREDENTIALS, "the start");
    clock.set(clock.now() + DAY);
    agent.settles_at(CREDENTIALS, "set forward by a day, nothing is due");
    clock.set(clock.now() - DAY - DAY);
    agent.settles_at(CREDENTIALS, "set back by two days, nothing is due");
    clock.pass(Duration::from_secs(3500));
    agent.settles_at(2 * CREDENTIALS, "an hour later everything is refreshed in time");
    clock.sleep(DAY);
    agent.settles_at(3 * CREDENTIALS, "after a day's sleep dead keys are replaced at once");
    let reused = agent.endpoint.reuse_count();
    println!("row 51: storms = 0, keys that died unseen = 0, spent tokens sent = {reused}");
    assert_eq!(reused, 0);
    agent.stop();
}

#[test]
fn row_64_a_database_that_only_we_write_to_is_told_of_after_a_day() {
    let pushes = Endpoint::answering(200, r#"{"code":200}"#);
    let agent = OnOurClock::start(&format!(
        "[[notify]]\ntype = \"pushplus\"\ntoken = {{ file = \"a\" }}\nurl = \"{}\"\nevents = [\"unused_database\"]\n",
        pushes.url()
    ));
    agent.settles_at(CREDENTIALS, "the start");
    let keys_are_there = || {
        let key = |id| database::channel(&agent.folder.path().join("one-api.db"), id).key;
        [1, 2, 5].iter().all(|id| agent.endpoint.is_valid(&key(*id)))
    };
    assert!(eventually(SOON, keys_are_there));
    agent.clock.pass(DAY - Duration::from_secs(60));
    agent.settles_at(2 * CREDENTIALS, "the day's end");
    assert_eq!(pushes.requests().len(), 0, "not before the day is over");
    agent.clock.pass(Duration::from_secs(120));
    let told = || {
        agent.nudge();
        // The message gathers company for two seconds of our clock.
        agent.clock.pass(Duration::from_secs(1));
        pushes.requests().len() == 1
    };
    assert!(eventually(SOON, told), "nobody was told");
    println!("row 64: told once after a day");
    agent.stop();
}

#[test]
fn row_51_a_host_that_wants_to_be_left_alone_is_left_so_for_that_long_whatever_the_clock_says() {
    let agent = OnOurClock::start("[agent]\nmax_in_flight_per_host = 1\n");
    let clock = &agent.clock;
    agent.settles_at(CREDENTIALS, "the start");
    let headers = vec![("retry-after".to_owned(), "600".to_owned())];
    agent.endpoint.script([Action::Answer { status: 429, headers, body: Vec::new() }]);
    clock.pass(Duration::from_secs(3500));
    agent.settles_at(CREDENTIALS + 1, "one was told to wait, and so all do");
    clock.set(clock.now() - DAY);
    agent.settles_at(CREDENTIALS + 1, "set back by a day, they wait still");
    clock.pass(Duration::from_secs(700));
    agent.settles_at(2 * CREDENTIALS + 1, "and not for a day");
    agent.stop();
}
