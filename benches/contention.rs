//! Our write beside a busy gateway's own writes, and beside two other ways to write a key: a plain `busy_timeout`, and
//! the `sqlite3` shell of a cron job. Each of them, and the gateway alone, side by side in one run.
//!
//! ```sh
//! cargo bench --bench contention                                    # about a minute
//! CONTENTION_WRITES=900 cargo bench --bench contention              # at least so many writes of ours
//! CONTENTION_ROUNDS=8 cargo bench --bench contention                # at least so many times alone, then beside ours
//! cargo bench --bench contention -- --write docs/gateways.md --write docs/gateways.zh-CN.md
//! ```
//!
//! What we add to the gateway's own "database is locked" is the difference between a stretch alone and the one beside
//! ours right before or after it; the table has its mean over the rounds, and the half of its 95 % confidence interval.
//! An interval that holds 0 shows no harm.
//!
//! `CONTENTION_WRITES=0` measures an idle database only. `CONTENTION_DIR` is where the databases are made; by default
//! that is the folder of the build.
//!
//! The gateway is emulated (`tests/support/gateway.rs`): connections with a busy timeout of 3 s and deferred
//! transactions, five small ones a request, after a wait for the upstream. Ends with 1 if a write of ours failed.

#[path = "../tests/support/gateway.rs"]
mod gateway;
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use one_api_sidecar::gateway::Gateway;
use one_api_sidecar::gateway::sqlite::SqliteGateway;
use one_api_sidecar::reason::Language;
use one_api_sidecar::secret::Secret;
use rusqlite::Connection;
use support::{Spread, machine, milliseconds, table, write_between};

/// The channel that is written; the gateway's own writes go to its row too.
const CHANNEL: i64 = 1;
/// How often a key is written, if the one before it is done.
const PACE: Duration = Duration::from_millis(20);
/// For how long one writer is measured at a time: longer than the gateway's busy timeout.
const STRETCH: Duration = Duration::from_millis(3500);
/// How long ours and the plain one wait for the lock: the default of `busy_timeout` in `sidecar.toml`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the gateway waits for its upstream. With 4 connections there is room for other writers then; with 32 the
/// database is the bottleneck.
const UPSTREAM: Duration = Duration::from_millis(20);
/// Writes for each figure of an idle database.
const ALONE: usize = 60;

/// Who writes beside the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// The gateway alone: what it does to itself.
    Nobody,
    /// `SqliteGateway::publish`.
    Sidecar,
    /// `BEGIN IMMEDIATE` and SQLite's own busy handler.
    Plain,
    /// `sqlite3 DATABASE "UPDATE …"`.
    Shell,
}

const WRITERS: [Writer; 4] = [Writer::Nobody, Writer::Sidecar, Writer::Plain, Writer::Shell];

/// One write.
struct Attempt {
    /// From its beginning, opening included, to the lock, or to its giving up; of the shell the whole command.
    waited: Duration,
    /// From the lock to the end of the commit; nothing where it cannot be seen or did not happen.
    held: Option<Duration>,
    /// What it failed of.
    failure: Option<String>,
}

/// All stretches of one writer beside one gateway.
#[derive(Default)]
struct Tally {
    writes: usize,
    failures: Vec<String>,
    waited: Spread,
    held: Spread,
    requests: u64,
    locked: u64,
    lasted: Duration,
    /// Of each stretch, how many of a thousand requests' writes were locked.
    each_locked: Vec<f64>,
}

impl Tally {
    fn add(&mut self, attempt: Attempt) {
        self.writes += 1;
        self.waited.add(attempt.waited);
        if let Some(held) = attempt.held {
            self.held.add(held);
        }
        self.failures.extend(attempt.failure);
    }

    fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.lasted.as_secs_f64()
    }

    fn locked_per_1000(&self) -> f64 {
        self.locked as f64 * 1000.0 / self.requests.max(1) as f64
    }
}

/// A database of its own, a gateway's pool in one journal mode, and what each writer came to beside it.
struct Scene {
    database: PathBuf,
    mode: &'static str,
    connections: usize,
    tallies: [Tally; 4],
}

impl Scene {
    fn new(folder: &Path, mode: &'static str, connections: usize) -> Self {
        let database = folder.join(format!("{mode}-{connections}.db"));
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/one-api.db"), &database).unwrap();
        let set_mode = format!("PRAGMA journal_mode = {mode}");
        let set: String = gateway::connect(&database).query_row(&set_mode, [], |row| row.get(0)).unwrap();
        assert!(set.eq_ignore_ascii_case(mode), "{set}");
        Self { database, mode, connections, tallies: Default::default() }
    }

    /// One stretch of one writer beside the pool.
    fn play(&mut self, writer: Writer, round: usize) {
        let mut write = hand(writer, &self.database);
        let mut last = self.key();
        let tally = &mut self.tallies[writer as usize];
        let is_over = AtomicBool::new(false);
        let began = Instant::now();
        let pool = gateway::Writers::start(&self.database, self.connections, UPSTREAM);
        let (requests, locked) = std::thread::scope(|scope| {
            // It goes on writing until the last request of the pool is done: what those meet is counted too.
            scope.spawn(|| {
                for turn in 0.. {
                    let at = Instant::now();
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    if let Some(write) = &mut write {
                        let key = format!("{writer:?}-{round}-{turn}");
                        let attempt = write(&key);
                        if attempt.failure.is_none() {
                            last = key;
                        }
                        tally.add(attempt);
                    }
                    std::thread::sleep(PACE.saturating_sub(at.elapsed()));
                }
            });
            std::thread::sleep(STRETCH);
            let counts = pool.stop();
            is_over.store(true, Ordering::Relaxed);
            counts
        });
        tally.each_locked.push(locked as f64 * 1000.0 / requests.max(1) as f64);
        tally.requests += requests;
        tally.locked += locked;
        tally.lasted += began.elapsed();
        assert_eq!(self.key(), last, "{writer:?}: what was written is there, and what failed is not");
    }

    fn key(&self) -> String {
        let sql = "SELECT key FROM channels WHERE id = ?1";
        gateway::connect(&self.database).query_row(sql, [CHANNEL], |row| row.get(0)).unwrap()
    }

    /// The rows of the table, with the gateway alone as the measure.
    fn rows(&self, words: &Words) -> Vec<Vec<String>> {
        let alone = &self.tallies[Writer::Nobody as usize];
        let ours = self.tallies[Writer::Sidecar as usize].waited.permille(990);
        let row = |writer: Writer| {
            let tally = &self.tallies[writer as usize];
            let ratio = |of: Duration| of.as_secs_f64() / ours.unwrap_or_default().as_secs_f64();
            // The shell does not wait.
            let waits = matches!(writer, Writer::Sidecar | Writer::Plain);
            let times = tally.waited.permille(990).filter(|_| waits).map(|p99| format!(" ({:.1}×)", ratio(p99)));
            let share = tally.requests_per_second() / alone.requests_per_second();
            vec![
                format!("{} · {}", self.connections, words.mode(self.mode)),
                words.writers[writer as usize].to_owned(),
                match writer {
                    Writer::Nobody => "–".to_owned(),
                    _ => format!("{} / {}", tally.failures.len(), tally.writes),
                },
                format!("{:.0} ({share:.2}×)", tally.requests_per_second()),
                format!(
                    "{:.1} ({}/{}; {:.1}){}",
                    tally.locked_per_1000(),
                    tally.locked,
                    tally.requests,
                    alone.locked_per_1000(),
                    added(&tally.each_locked, &alone.each_locked)
                ),
                tally.waited.in_words() + &times.unwrap_or_default(),
                tally.held.in_words(),
            ]
        };
        WRITERS.into_iter().filter(|writer| self.tallies[*writer as usize].requests > 0).map(row).collect()
    }
}

/// What one stretch adds to the other of the same round, with its 95 % confidence interval (Student's t); nothing for
/// fewer than three rounds.
fn added(beside: &[f64], alone: &[f64]) -> String {
    const T: [f64; 12] = [4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16];
    let differences: Vec<f64> = beside.iter().zip(alone).map(|(beside, alone)| beside - alone).collect();
    let count = differences.len() as f64;
    if differences.len() < 3 || std::ptr::eq(beside, alone) {
        return String::new();
    }
    let mean = differences.iter().sum::<f64>() / count;
    let deviation = (differences.iter().map(|each| (each - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
    let t = T.get(differences.len() - 3).copied().unwrap_or(2.1);
    format!(" {mean:+.1} ± {:.1}", t * deviation / count.sqrt())
}

type Hand = Box<dyn FnMut(&str) -> Attempt + Send>;

/// How a writer writes a key.
fn hand(writer: Writer, database: &Path) -> Option<Hand> {
    let database = database.to_owned();
    match writer {
        Writer::Nobody => None,
        Writer::Sidecar => {
            let mut plan = gateway::plan(&database);
            plan.busy_timeout = BUSY_TIMEOUT;
            let mut sidecar = SqliteGateway::new(database, Arc::new(plan));
            let mut next = gateway::publication(&gateway::look(&mut sidecar, CHANNEL), "");
            Some(Box::new(move |key| {
                next.key = Secret::new(key);
                let began = Instant::now();
                match sidecar.publish(std::slice::from_ref(&next)).remove(0) {
                    Ok(published) => {
                        next.expected = Some(next.key.clone());
                        Attempt { waited: published.waited, held: Some(published.held), failure: None }
                    }
                    Err(error) => Attempt { waited: began.elapsed(), held: None, failure: Some(format!("{error:?}")) },
                }
            }))
        }
        Writer::Plain => Some(Box::new(move |key| {
            let began = Instant::now();
            let written = || -> rusqlite::Result<(Duration, Duration)> {
                let connection = Connection::open(&database)?;
                connection.busy_timeout(BUSY_TIMEOUT)?;
                connection.execute_batch("BEGIN IMMEDIATE")?;
                let waited = began.elapsed();
                commit(&connection, key)?;
                Ok((waited, began.elapsed().saturating_sub(waited)))
            };
            match written() {
                Ok((waited, held)) => Attempt { waited, held: Some(held), failure: None },
                Err(error) => Attempt { waited: began.elapsed(), held: None, failure: Some(error.to_string()) },
            }
        })),
        Writer::Shell => Some(Box::new(move |key| {
            let began = Instant::now();
            let update = format!("UPDATE channels SET key = '{key}' WHERE id = {CHANNEL}");
            let output = Command::new("sqlite3").arg(&database).arg(update).output().unwrap();
            let failure = (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned());
            Attempt { waited: began.elapsed(), held: None, failure }
        })),
    }
}

/// The rest of a transaction that was begun.
fn commit(connection: &Connection, key: &str) -> rusqlite::Result<()> {
    connection.execute("UPDATE channels SET key = ?1 WHERE id = ?2", (key, CHANNEL))?;
    connection.execute_batch("COMMIT")
}

/// What each writer takes with nobody else there, and a commit by a connection that is open already: the disk's limit.
struct Idle {
    mode: &'static str,
    bare: Spread,
    tallies: Vec<(Writer, Tally)>,
}

impl Idle {
    fn measure(scene: &Scene, writers: &[Writer]) -> Self {
        // It stays open, as the gateway's do.
        let connection = gateway::connect(&scene.database);
        let mut bare = Spread::default();
        let mut tallies: Vec<(Writer, Tally)> = writers.iter().map(|writer| (*writer, Tally::default())).collect();
        // One after another and not side by side: what else goes on on the disk meets all of them alike.
        for turn in 0..ALONE {
            // Another one begins each time: a commit right behind another one may find the disk still busy with it.
            tallies.rotate_left(1);
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            let began = Instant::now();
            commit(&connection, &format!("bare-{turn}")).unwrap();
            bare.add(began.elapsed());
            for (writer, tally) in &mut tallies {
                let Some(mut write) = hand(*writer, &scene.database) else { continue };
                tally.add(write(&format!("alone-{writer:?}-{turn}")));
            }
        }
        let failed = tallies.iter().find(|(_, tally)| !tally.failures.is_empty());
        assert!(failed.is_none(), "with nobody else there: {:?}", failed.map(|(_, tally)| &tally.failures));
        tallies.retain(|(_, tally)| tally.writes > 0);
        tallies.sort_by_key(|(writer, _)| *writer as usize);
        Self { mode: scene.mode, bare, tallies }
    }

    fn rows(&self, words: &Words) -> Vec<Vec<String>> {
        let limit = self.bare.permille(500).unwrap_or_default().as_secs_f64();
        let row = |writer: &str, waited: String, held: &Spread| {
            let times = held.permille(500).map(|held| format!("{:.2}×", held.as_secs_f64() / limit));
            let times = times.unwrap_or_else(|| "–".to_owned());
            vec![words.mode(self.mode), writer.to_owned(), waited, held.in_words(), times]
        };
        let bare = row(words.bare, "–".to_owned(), &self.bare);
        let others = self
            .tallies
            .iter()
            .map(|(writer, tally)| row(words.writers[*writer as usize], tally.waited.in_words(), &tally.held));
        std::iter::once(bare).chain(others).collect()
    }
}

/// The table's words.
struct Words {
    rollback: &'static str,
    writers: [&'static str; 4],
    bare: &'static str,
    head: [&'static str; 7],
    limits_head: [&'static str; 5],
    measured: &'static str,
}

impl Words {
    fn mode(&self, mode: &str) -> String {
        if mode == "WAL" { mode } else { self.rollback }.to_owned()
    }
}

const ENGLISH: Words = Words {
    rollback: "rollback",
    writers: [
        "nobody",
        "**one-api-sidecar**",
        "`BEGIN IMMEDIATE`, plain `busy_timeout`",
        "`sqlite3 FILE \"UPDATE …\"`",
    ],
    bare: "a bare commit, connection open (the disk's limit)",
    head: [
        "gateway's connections",
        "who writes beside it",
        "failed / writes",
        "gateway's requests/s (of alone)",
        "its locked writes per 1,000 requests (counts; alone) added by this writer ± 95 %",
        "wait, ms: p50 / p99 / max (p99, of ours)",
        "lock held, ms: p50 / p99 / max",
    ],
    limits_head: [
        "idle database",
        "who writes",
        "wait, ms: p50 / p99 / max",
        "lock held, ms: p50 / p99 / max",
        "of the limit",
    ],
    measured: "Measured on",
};

const CHINESE: Words = Words {
    rollback: "回滚日志",
    writers: [
        "没有别人",
        "**one-api-sidecar**",
        "`BEGIN IMMEDIATE`，普通 `busy_timeout`",
        "`sqlite3 FILE \"UPDATE …\"`",
    ],
    bare: "连接已打开，只提交一次（磁盘的极限）",
    head: [
        "网关的连接数",
        "谁在旁边写",
        "失败 / 写入次数",
        "网关每秒请求数（与单独运行相比）",
        "网关每 1000 个请求的 locked 次数（计数；单独运行时）由此写入者增加 ± 95 %",
        "等待，毫秒：p50 / p99 / 最长（p99 与本程序相比）",
        "占用锁，毫秒：p50 / p99 / 最长",
    ],
    limits_head: [
        "空闲的数据库",
        "谁在写",
        "等待，毫秒：p50 / p99 / 最长",
        "占用锁，毫秒：p50 / p99 / 最长",
        "与极限相比",
    ],
    measured: "测量环境：",
};

/// What was measured, as it stands in a document.
struct Report {
    scenes: Vec<Scene>,
    idle: Vec<Idle>,
    machine: String,
}

impl Report {
    fn in_words(&self, language: Language) -> String {
        let words = words(language);
        let rows: Vec<_> = self.scenes.iter().flat_map(|scene| scene.rows(words)).collect();
        let idle: Vec<_> = self.idle.iter().flat_map(|idle| idle.rows(words)).collect();
        format!(
            "{}\n{}\n{} {}.\n",
            table(&words.head, &rows),
            table(&words.limits_head, &idle),
            words.measured,
            self.machine
        )
    }
}

fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &ENGLISH,
        Language::Chinese => &CHINESE,
    }
}

fn main() -> ExitCode {
    // Cargo says so when it is `cargo bench`, and not when it is `cargo test --benches`.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("a benchmark: run it by `cargo bench --bench contention`");
        return ExitCode::SUCCESS;
    }
    let documents = match documents(std::env::args().skip(1)) {
        Ok(documents) => documents,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let wanted = std::env::var("CONTENTION_WRITES").ok().and_then(|number| number.parse().ok()).unwrap_or(1);
    let report = measure(wanted);
    println!("{}", report.in_words(Language::English));
    let ours: Vec<&Tally> = report.scenes.iter().map(|scene| &scene.tallies[Writer::Sidecar as usize]).collect();
    let failures: Vec<&String> = ours.iter().flat_map(|tally| &tally.failures).collect();
    let writes: usize = ours.iter().map(|tally| tally.writes).sum();
    println!("ours: {} of {writes} failed", failures.len());
    for writer in WRITERS {
        let kinds: BTreeSet<&str> = report
            .scenes
            .iter()
            .flat_map(|scene| &scene.tallies[writer as usize].failures)
            .map(|failure| failure.trim())
            .collect();
        kinds.iter().for_each(|kind| println!("{writer:?} failed of: {kind}"));
    }
    for document in documents {
        let is_chinese = document.to_string_lossy().ends_with(".zh-CN.md");
        let language = if is_chinese { Language::Chinese } else { Language::English };
        if let Err(error) = write_between(&document, "contention", &report.in_words(language)) {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The documents that the table is to be written into.
fn documents(mut arguments: impl Iterator<Item = String>) -> Result<Vec<PathBuf>, String> {
    let mut documents = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--write" => documents.push(arguments.next().ok_or("--write wants a document")?.into()),
            other => return Err(format!("unknown argument {other}; there is --write FILE")),
        }
    }
    Ok(documents)
}

/// Round by round, each writer beside each gateway, until as many writes of ours as wanted are done.
fn measure(wanted: usize) -> Report {
    // By default in the folder of the build and not in /tmp, which may be in memory.
    let place = std::env::var_os("CONTENTION_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let folder = tempfile::TempDir::new_in(place).unwrap();
    let mut machine = machine(folder.path());
    let shell = Command::new("sqlite3").arg("--version").output().ok().filter(|output| output.status.success());
    let has_shell = shell.is_some();
    let shell = shell.map_or_else(
        || "sqlite3 is not installed and is left out".to_owned(),
        |output| format!("sqlite3 {}", String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or("?")),
    );
    machine += &format!("; SQLite {}, {shell}", rusqlite::version());
    machine += &format!("; upstream {} ms, a key every {} ms", UPSTREAM.as_millis(), PACE.as_millis());

    let modes = [("DELETE", 4), ("WAL", 4), ("DELETE", 32), ("WAL", 32)];
    let mut scenes: Vec<Scene> =
        modes.into_iter().map(|(mode, connections)| Scene::new(folder.path(), mode, connections)).collect();
    let writers: Vec<Writer> = WRITERS.into_iter().filter(|writer| *writer != Writer::Shell || has_shell).collect();
    let idle = scenes[..2].iter().map(|scene| Idle::measure(scene, &writers)).collect();

    let writes_of_ours =
        |scenes: &[Scene]| scenes.iter().map(|scene| scene.tallies[Writer::Sidecar as usize].writes).sum::<usize>();
    let rounds = std::env::var("CONTENTION_ROUNDS").ok().and_then(|number| number.parse().ok()).unwrap_or(1);
    let mut round = 0;
    while writes_of_ours(&scenes) < wanted || wanted > 0 && round < rounds {
        // Once there are enough writes of all, further rounds are for what ours adds.
        let rest = if writes_of_ours(&scenes) < wanted { &writers[..] } else { &[Writer::Nobody, Writer::Sidecar] };
        for scene in &mut scenes {
            for turn in 0..rest.len() {
                // Another one begins each time.
                scene.play(rest[(turn + round) % rest.len()], round);
            }
            let tally = &scene.tallies[Writer::Sidecar as usize];
            eprintln!(
                "round {}, {} connections, {}: {} writes of ours, wait p99 {} ms",
                round + 1,
                scene.connections,
                scene.mode,
                tally.writes,
                milliseconds(tally.waited.permille(990).unwrap_or_default())
            );
        }
        round += 1;
    }
    for scene in &scenes {
        let sound: String =
            gateway::connect(&scene.database).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok", "{}", scene.database.display());
    }
    Report { scenes, idle, machine }
}
