//! Five credentials with tokens of a second, under kills, gateway locks and bad answers (fault row 58): it converges.
//!
//! `SOAK_SECONDS=600 cargo test --test soak -- --nocapture` is the long form.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use one_api_sidecar::credential::record::{HaltKind, Record};
use rusqlite::Connection;
use support::database;
use support::endpoint::Action;
use support::eventually;
use support::process::Sidecar;
use support::scene::Scene;

const CREDENTIALS: i64 = 5;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long after a disturbance an outage is put down to it: a token's life, and half a second to be back.
const AFTERMATH: Duration = Duration::from_millis(1500);

fn channel(credential: i64) -> i64 {
    100 + credential
}

fn name(credential: i64) -> String {
    format!("c{credential}")
}

fn scene() -> Scene {
    let scene = Scene::strict(Duration::from_secs(1), "");
    let credentials: Vec<String> = (1..=CREDENTIALS)
        .map(|credential| {
            database::copy_channel(&scene.database(), 1, channel(credential), "before");
            scene.set_seed(&name(credential), &scene.endpoint.issue());
            let timeouts = "timeout = \"2s\"\nconnect_timeout = \"1s\"";
            scene.credential(&name(credential), &name(credential), &name(credential), channel(credential), timeouts)
        })
        .collect();
    scene.bench.write_config(&scene.config(&credentials.concat()));
    scene
}

/// Answers that are bad, the last two of which lose a successor.
fn bad_answers() -> Vec<Action> {
    let retry = vec![("retry-after".to_owned(), "1".to_owned())];
    vec![
        Action::json(503, ""),
        Action::Answer { status: 429, headers: retry, body: Vec::new() },
        Action::json(500, r#"{"message":"oops"}"#),
        Action::json(200, "<html>Sign in</html>"),
        Action::json(200, ""),
        Action::Reset,
        Action::Hang,
        Action::Truncate,
        Action::CommitThenReset,
    ]
}

/// Holds the gateway's database as a long writer does; ends by itself.
fn lock(scene: &Scene, length: Duration) -> std::thread::JoinHandle<()> {
    let database = scene.database();
    std::thread::spawn(move || {
        let connection = Connection::open(database).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        std::thread::sleep(length);
        connection.execute_batch("COMMIT").unwrap();
    })
}

/// What was seen of one credential.
#[derive(Default)]
struct Tally {
    looks: usize,
    valid: usize,
    /// Outside what was declared beforehand.
    calm: usize,
    calm_valid: usize,
}

/// A process's memory in KiB and its open files.
fn footprint(agent: &Sidecar) -> (f64, usize) {
    let process = format!("/proc/{}", agent.id());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says VmRSS");
    let files = std::fs::read_dir(format!("{process}/fd")).unwrap().count();
    (memory.trim().trim_end_matches(" kB").parse().unwrap(), files)
}

/// The slope of a line through points, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let rise: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    rise / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

struct Soak {
    scene: Scene,
    agent: Sidecar,
    named: usize,
    /// Credentials that wait for a person, or for the key after a login.
    waiting: BTreeMap<String, Instant>,
}

impl Soak {
    /// Whoever is halted is logged in again, as a person does; a loss must have its name.
    fn log_in(&mut self) {
        let halted = |record: &Record| record.state.halt.as_ref().map(|halt| halt.kind);
        for record in self.scene.records() {
            match halted(&record) {
                Some(kind) if !self.waiting.contains_key(&record.name) => {
                    assert_eq!(kind, HaltKind::OutcomeUnknown, "{}: {:?}", record.name, record.state.last_error);
                    self.named += 1;
                    self.scene.set_seed(&record.name, &self.scene.endpoint.issue());
                    self.waiting.insert(record.name, Instant::now());
                    self.agent.hangup();
                }
                // The signal may have met a dying process.
                Some(_) => self.agent.hangup(),
                None => {
                    self.waiting.remove(&record.name);
                }
            }
        }
    }

    fn key_is_valid(&self, credential: i64) -> bool {
        self.scene.endpoint.is_valid(&database::channel(&self.scene.database(), channel(credential)).key)
    }
}

#[test]
fn row_58_soak() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let seed = fastrand::u64(..);
    println!("{seconds} s, random seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let scene = scene();
    let agent = scene.bench.start();
    let mut soak = Soak { scene, agent, named: 0, waiting: BTreeMap::new() };
    let all_valid = |soak: &Soak| (1..=CREDENTIALS).all(|credential| soak.key_is_valid(credential));
    assert!(eventually(support::SOON, || all_valid(&soak)), "the first keys arrive:\n{}", soak.agent.output());

    let length = Duration::from_secs(seconds);
    let kills_until = length * 2 / 3;
    let start = Instant::now();
    let (mut kill_at, mut lock_at, mut bad_at) = (start, start, start);
    let (mut kills, mut locks, mut bad, mut most_files) = (0, 0, 0, 0);
    let (mut look_in_at, mut declared_until) = (start, start);
    let mut tallies: Vec<Tally> = (0..CREDENTIALS).map(|_| Tally::default()).collect();
    let mut memory = Vec::new();
    let mut locked = None;
    let mut soon = |least: u64, most: u64| Instant::now() + Duration::from_millis(random.u64(least..most));
    support::looks(LOOK_EVERY, length, || {
        let now = Instant::now();
        if now >= kill_at && start.elapsed() < kills_until {
            kills += 1;
            soak.agent.kill();
            soak.agent = soak.scene.bench.start();
            declared_until = declared_until.max(Instant::now() + AFTERMATH);
            kill_at = soon(4000, 8000);
        }
        if now >= lock_at {
            locks += 1;
            let hold = soon(200, 2000);
            locked = Some(lock(&soak.scene, hold.saturating_duration_since(now)));
            declared_until = declared_until.max(hold + AFTERMATH);
            lock_at = soon(5000, 9000);
        }
        if now >= bad_at {
            bad += 1;
            let mut answers = bad_answers();
            let chosen = answers.swap_remove(bad % answers.len());
            // A hanging answer is given up after 2 s.
            let until = if chosen == Action::Hang { Duration::from_secs(2) } else { Duration::ZERO };
            soak.scene.endpoint.script([chosen]);
            declared_until = declared_until.max(now + until + AFTERMATH);
            bad_at = soon(4000, 7000);
        }
        if now >= look_in_at {
            soak.log_in();
            let (kilobytes, files) = footprint(&soak.agent);
            most_files = most_files.max(files);
            if start.elapsed() > kills_until {
                memory.push((start.elapsed().as_secs_f64() / 60.0, kilobytes));
            }
            look_in_at = now + Duration::from_millis(500);
        }
        for (tally, credential) in tallies.iter_mut().zip(1..) {
            let valid = usize::from(soak.key_is_valid(credential));
            let calm = usize::from(now >= declared_until && !soak.waiting.contains_key(&name(credential)));
            tally.looks += 1;
            tally.valid += valid;
            tally.calm += calm;
            tally.calm_valid += calm * valid;
        }
    });
    if let Some(locked) = locked {
        locked.join().unwrap();
    }

    let calm_at = Instant::now();
    let converged = eventually(Duration::from_secs(30), || {
        soak.log_in();
        let settled = |record: &Record| record.state.halt.is_none() && record.state.lost.is_none();
        soak.scene.records().iter().all(settled) && all_valid(&soak)
    });
    assert!(converged, "it does not converge:\n{}", soak.agent.output());
    let converged_in = calm_at.elapsed();
    let seen = support::looks(LOOK_EVERY, Duration::from_secs(3), || all_valid(&soak));
    let still = seen.iter().filter(|valid| **valid).count();
    let status = soak.scene.bench.run_command(&["status", "--json"]);
    let Soak { agent, named, scene, .. } = soak;
    let output = agent.stop();

    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let share = |valid: usize, looks: usize| valid as f64 * 100.0 / looks.max(1) as f64;
    let (looks, calm) = (sum(|tally| tally.looks), sum(|tally| tally.calm));
    let (all, outside) = (share(sum(|tally| tally.valid), looks), share(sum(|tally| tally.calm_valid), calm));
    let slope = slope(&memory);
    println!(
        "row 58: {kills} kills, {locks} locks, {bad} bad answers, {} refreshes; {named} families lost, each named",
        scene.endpoint.requests().len()
    );
    println!("row 58: a valid key in {all:.1} % of {looks} looks, all disturbances counted");
    println!(
        "row 58: in {outside:.2} % of the {calm} looks outside the declared windows (a kill, a lock, a bad answer and \
         {AFTERMATH:?} after each; a credential that waits for a login)"
    );
    println!(
        "row 58: converged {converged_in:.1?} after the last disturbance; then valid in {still} of {} looks",
        seen.len()
    );
    println!(
        "row 58: memory {slope:+.0} KiB/min over the last third ({} samples), at most {most_files} descriptors",
        memory.len()
    );
    assert!(kills > 2 && locks > 2 && bad > 2, "there were disturbances");
    assert!(calm > 0 && outside >= 99.0, "{outside} % of {calm}");
    assert!(!seen.is_empty() && share(still, seen.len()) >= 95.0, "{still} of {}", seen.len());
    assert!(status.stdout.matches(r#""state": "active""#).count() == tallies.len(), "{status:?}");
    assert!(most_files < 64, "{most_files} descriptors");
    assert!(slope < 4096.0, "{slope} KiB/min");
    support::process::assert_no_secret("the agent", &output);
}
