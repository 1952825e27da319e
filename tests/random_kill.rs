//! `kill -9` at random moments, with tokens of a second on a strict server (fault row 8): the vault stays readable, no
//! spent refresh token is sent that the vault knew to be spent, and every family that dies is named.
//!
//! `KILLS=1000 cargo test --test random_kill -- --nocapture` is the long form; `SEED` repeats a run's moments.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use one_api_sidecar::credential::record::{HaltKind, Record};
use one_api_sidecar::secret::Secret;
use one_api_sidecar::time::Timestamp;
use rusqlite::Connection;
use support::endpoint::{Action, Options};
use support::scene::Scene;
use support::{SOON, eventually};

/// How long the server's answer is on its way: the window that a kill may meet.
const ANSWER_TAKES: Duration = Duration::from_millis(50);
/// A process lives at most so long, in milliseconds.
const LONGEST_LIFE: u64 = 900;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What the run came to.
#[derive(Default)]
struct Figures {
    unreadable: usize,
    markers: usize,
    /// The logins whose family the server killed, and those that were named as lost.
    dead: BTreeSet<usize>,
    named: BTreeSet<usize>,
    known_spent: usize,
    logins: usize,
}

struct Run {
    scene: Scene,
    figures: Figures,
    judged: usize,
    /// When the halt came that a person has logged in for.
    answered: Option<Timestamp>,
}

impl Run {
    /// The record as the vault holds it; `None` before the first process got that far.
    fn record(&mut self) -> Option<Record> {
        if std::fs::metadata(self.scene.vault()).map_or(0, |file| file.len()) == 0 {
            return None;
        }
        let check = |vault: Connection| vault.query_row("PRAGMA quick_check", [], |row| row.get::<_, String>(0));
        match Connection::open(self.scene.vault()).and_then(check) {
            Ok(sound) if sound == "ok" => self.scene.records().pop(),
            trouble => {
                self.figures.unreadable += 1;
                panic!("the vault is unreadable: {trouble:?}")
            }
        }
    }

    /// Judges what was sent since the last time; `before` is what the vault held when that process started.
    fn judge(&mut self, before: Option<&Record>) {
        let known = before.map(|record| [&record.refresh_token, &record.candidate]);
        let is_known =
            |token: &str| known.iter().flatten().any(|held| held.as_ref().map(Secret::expose) == Some(token));
        let requests = self.scene.endpoint.requests();
        for request in &requests[self.judged..] {
            if request.reused {
                self.figures.dead.insert(self.figures.logins);
                let sent = request.parameters().remove("refresh_token").expect("a refresh sends one");
                // The vault holds one refresh token as the next to send; every other it has seen it knows to be spent.
                self.figures.known_spent += usize::from(!is_known(&sent));
            }
        }
        self.judged = requests.len();
    }

    /// If the family's loss is named, a person logs in again. The same halt stands until a process has lived long
    /// enough to take the new seed.
    fn log_in_if_named(&mut self, record: &Record) {
        if let Some(halt) = &record.state.halt
            && self.answered != Some(halt.at)
        {
            self.answered = Some(halt.at);
            assert_eq!(halt.kind, HaltKind::OutcomeUnknown, "{:?}", halt.reason);
            self.figures.named.insert(self.figures.logins);
            self.figures.logins += 1;
            self.scene.log_in();
        }
    }
}

#[test]
fn row_08_killed_at_random() {
    let kills = number("KILLS").unwrap_or(60);
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed} KILLS={kills}");
    let mut moments = fastrand::Rng::with_seed(seed);
    let lifetime = Duration::from_secs(1);
    let options = Options { lifetime, fallback: Action::Delay(ANSWER_TAKES), ..Options::default() };
    let mut run = Run { scene: Scene::new(options, ""), figures: Figures::default(), judged: 0, answered: None };

    // Not every process lives long enough for a request. As many are started as it takes: what is shown is about
    // kills among refreshes, on a slow machine too.
    let refreshes = kills / 6;
    let mut killed = 0;
    while killed < kills || (run.judged as u64) < refreshes {
        assert!(killed < kills * 20, "{} requests in {killed} lives", run.judged);
        killed += 1;
        let before = run.record();
        let mut agent = run.scene.bench.spawn_run();
        let life = Duration::from_millis(moments.u64(0..LONGEST_LIFE));
        assert!(!eventually(life, || !agent.is_running()), "it ended by itself:\n{}", agent.output());
        agent.kill();
        run.judge(before.as_ref());
        if let Some(record) = run.record() {
            run.figures.markers += usize::from(record.state.attempt.is_some());
            run.log_in_if_named(&record);
        }
    }

    // Left alone it converges: everything that is lost has a name, and a login heals it.
    let before = run.record();
    let mut agent = run.scene.bench.start();
    let converged = eventually(SOON * 3, || {
        let record = run.record();
        let record = record.expect("the vault has a record");
        if record.state.halt.is_some() {
            // What was sent until now was sent for this family, and not for the one that comes.
            run.judge(before.as_ref());
            run.log_in_if_named(&record);
            agent.hangup();
        }
        record.state.lost.is_none() && record.state.halt.is_none() && run.scene.serves()
    });
    assert!(converged, "{}", agent.output());
    agent.stop();
    run.judge(before.as_ref());

    let Figures { unreadable, markers, dead, named, known_spent, logins } = run.figures;
    let requests = run.scene.endpoint.requests().len();
    let share = markers as f64 * 100.0 / killed as f64;
    println!("row 8: {killed} kills, {requests} refreshes, {logins} logins: vault unreadable {unreadable}");
    println!("row 8: {markers} kills ({share:.1} %) met a request under way (an answer takes {ANSWER_TAKES:?} here)");
    println!(
        "row 8: families lost {}, named {}, lost and not named {}",
        dead.len(),
        named.len(),
        dead.difference(&named).count()
    );
    println!("row 8: spent refresh tokens sent that the vault knew to be spent: {known_spent}");
    assert_eq!(dead, named, "every family that died is named, and no other");
    assert_eq!((unreadable, known_spent), (0, 0));
}

#[test]
fn row_08_killed_while_the_vault_is_made() {
    const BIRTHS: u32 = 50;
    const APART: Duration = Duration::from_micros(1200);
    let outcomes: Vec<Option<i32>> = (0..BIRTHS)
        .map(|nth| {
            let scene = Scene::strict(Duration::from_secs(3600), "");
            let mut agent = scene.bench.spawn_run();
            let life = APART * nth;
            std::thread::sleep(life);
            agent.kill();
            let left = std::fs::read_dir(scene.bench.path("one-api-sidecar")).map_or(0, Iterator::count);
            let output = scene.bench.run_command(&["once"]);
            let named = ["uncertain", "halted outcome_unknown"].contains(&scene.state().as_str());
            let is_well = output.code == Some(0) && scene.is_delivered() || named;
            assert!(is_well, "killed after {life:?} with {left} files: {output:?}");
            output.code
        })
        .collect();
    let fine = outcomes.iter().filter(|code| **code == Some(0)).count();
    println!(
        "row 8: killed within {:?} of the first start: {fine} of {BIRTHS} go on, the rest is named",
        APART * BIRTHS
    );
}
