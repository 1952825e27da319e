//! One refresh alone: from the answer to the key that another process sees, and the whole cycle beside the script of
//! old.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::limits::Disk;
use crate::process::program;
use crate::scene::{Scene, channel, connect, name};
use crate::support::Spread;

/// What was measured of single refreshes.
#[derive(Default)]
pub struct Lone {
    /// From the endpoint's answer to the key being visible to another process.
    pub visible: Spread,
    /// A whole cycle of the agent, asked for at its control socket, until it answers that all is settled.
    pub daemon: Spread,
    /// `once NAME --force`, from the start of the process to its end, nobody else owning the vault.
    pub once: Spread,
    /// The script, from its start to its end; nothing where a tool of it is missing.
    pub script: Spread,
    /// Which tools are missing.
    pub missing: Vec<&'static str>,
    /// The limit: both commits as bare as they can be.
    pub disk: Option<Disk>,
}

impl Lone {
    /// In a few lines.
    pub fn in_words(&self) -> String {
        let limit = self.disk.as_ref().map(|disk| disk.both.in_words()).unwrap_or_default();
        let (visible, script) = (self.visible.in_words(), self.script.in_words());
        let (daemon, once) = (self.daemon.in_words(), self.once.in_words());
        format!("visible {visible} ms; both commits {limit} ms\nscript {script} ms; daemon {daemon} ms; once {once} ms")
    }
}

/// A cron job with `curl`, `jq`, `sqlite3` and `curl`.
const SCRIPT: &str = r#"#!/bin/bash
set -e
answer=$(curl -s -X POST "$TOKEN_URL" -d grant_type=refresh_token -d client_id=script -d refresh_token=none)
token=$(echo "$answer" | jq -r .access_token)
sqlite3 "$DATABASE" "UPDATE channels SET key = '$token-$1' WHERE id = 1"
curl -s "$TOKEN_URL" -d title=refreshed -d content="channel 1" > /dev/null
"#;

pub fn measure(turns: usize) -> Lone {
    let mut lone = Lone::default();
    let mut scene = Scene::new(10);
    scene.tell_of_refreshes();
    scene.deliver_everything();
    let script = scene.folder().join("refresh.sh");
    std::fs::write(&script, SCRIPT).unwrap();
    lone.missing = ["curl", "jq", "sqlite3"].into_iter().filter(|tool| !is_there(tool)).collect();

    let mut disk = Disk::new();
    let agent = scene.start();
    agent.said("is ready");
    scene.wait_until_delivered();
    // The first looks are over.
    std::thread::sleep(Duration::from_millis(500));
    for turn in 0..turns {
        let credential = turn % scene.size;
        let gateway = scene.gateway();
        let before = scene.endpoint.access_token(credential);
        let seen = std::thread::spawn(move || wait_for_another_key(&gateway, credential, &before));
        let began = Instant::now();
        agent.force(&name(credential));
        lone.daemon.add(began.elapsed());
        let seen_at = seen.join().unwrap();
        lone.visible.add(seen_at.saturating_duration_since(scene.endpoint.answered_at(credential).unwrap()));
        rest();
        disk.measure();
        rest();
    }
    agent.stop();

    for turn in 0..turns.div_ceil(2) {
        let mut once = Command::new(program());
        once.args(["once", &name(turn % scene.size), "--force", "--config"]).arg(scene.config()).env_clear();
        lone.once.add(time(&mut once));
        rest();
        if lone.missing.is_empty() {
            let mut cycle = Command::new("bash");
            cycle.arg(&script).arg(turn.to_string());
            cycle.env("TOKEN_URL", scene.endpoint.url()).env("DATABASE", scene.gateway());
            lone.script.add(time(&mut cycle));
        }
        rest();
    }
    assert_eq!(scene.undelivered() + scene.not_durable(), 0, "every key arrives and every token is durable");
    lone.disk = Some(disk);
    lone
}

/// What is alone finds the disk and the processor at rest, and so does its limit.
fn rest() {
    std::thread::sleep(Duration::from_millis(20));
}

fn time(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status().unwrap();
    let took = began.elapsed();
    assert!(status.success(), "{command:?} ends with {status}");
    took
}

fn is_there(tool: &str) -> bool {
    Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Waits as another process does, but reads only when the file has changed: a reader must not hold up the commit.
fn wait_for_another_key(gateway: &std::path::Path, credential: usize, before: &str) -> Instant {
    let changed_at = || std::fs::metadata(gateway).unwrap().modified().unwrap();
    let connection = connect(gateway);
    let mut look = connection.prepare("SELECT key FROM channels WHERE id = ?1").unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    let mut known = changed_at();
    while Instant::now() < patience {
        let now = changed_at();
        if now == known {
            std::thread::sleep(Duration::from_micros(20));
            continue;
        }
        known = now;
        // Busy while the commit is not over: asked again without the long sleeps of a busy timeout.
        connection.busy_timeout(Duration::ZERO).unwrap();
        loop {
            match look.query_row([channel(credential)], |row| row.get::<_, String>(0)) {
                Ok(key) if key != before => return Instant::now(),
                Ok(_) => break,
                Err(_) => std::thread::sleep(Duration::from_micros(20)),
            }
        }
        known = known.min(changed_at());
    }
    panic!("the key of credential {credential} does not arrive");
}
