//! Everything due at once: how fast it is refreshed, made durable and delivered, and what that takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::process::{Agent, Footprint, descriptors};
use crate::scene::{Scene, channel, connect};
use crate::support::Spread;

/// How many credentials are watched one by one while all of them are refreshed.
const WATCHED: usize = 400;
/// How often they are looked at: this much of a measured delay may be the looking.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What one storm came to.
#[derive(Debug, Default, Clone)]
pub struct Storm {
    /// Refreshes a second, from the first request to the last key in the gateway.
    pub rate: f64,
    /// From the start of the process to the first request.
    pub to_first: Duration,
    /// From the start of the process to the last key.
    pub lasted: Duration,
    /// From the endpoint's answer to the key being visible to another process, of the watched ones.
    pub visible: Spread,
    /// The most descriptors that were open.
    pub descriptors: usize,
    /// Time on a processor for each refresh.
    pub processor_each: Duration,
    /// What the kernel knew at the end.
    pub footprint: Footprint,
    /// Keys that did not arrive, refresh tokens that are not in the vault, refresh tokens that were sent twice.
    pub lost: usize,
}

impl Storm {
    /// In one line.
    pub fn in_words(&self) -> String {
        format!(
            "{:.0}/s; answer → visible {} ms; processor {} µs each; at most {} descriptors, {:.1} MB; lost {}",
            self.rate,
            self.visible.in_words(),
            self.processor_each.as_micros(),
            self.descriptors,
            self.footprint.peak as f64 * 1024.0 / 1e6,
            self.lost
        )
    }
}

/// Starts the agent with everything overdue and waits until everything is delivered. A sample of the channels is
/// `watched` one by one, which the gateway's database feels as another reader.
pub fn storm(scene: &Scene, watched: bool) -> Storm {
    scene.make_everything_due();
    let refused = scene.endpoint.refused();
    let agent = scene.start();
    agent.said("is ready");
    // Reading the config and the vault is the start's; from here on it is the storm's.
    agent.forget_peak();
    let (visible, descriptors, ended) = watch(scene, &agent, watched);
    let first = scene.endpoint.first_request().unwrap();
    // What is written after the last key (the marks of delivery) is its work, too.
    std::thread::sleep(Duration::from_millis(100));
    let footprint = agent.footprint();
    let (started_at, size) = (agent.started_at, scene.size);
    agent.stop();
    Storm {
        rate: size as f64 / ended.duration_since(first).as_secs_f64(),
        to_first: first.duration_since(started_at),
        lasted: ended.duration_since(started_at),
        visible,
        descriptors,
        processor_each: footprint.processor / u32::try_from(size).unwrap(),
        footprint,
        lost: scene.undelivered() + scene.not_durable() + (scene.endpoint.refused() - refused),
    }
}

/// Watches a sample of channels, and the descriptors, until all keys are there.
fn watch(scene: &Scene, agent: &Agent, watched: bool) -> (Spread, usize, Instant) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let process = agent.id();
        let over = &is_over;
        let counting = scope.spawn(move || {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(descriptors(process));
                std::thread::sleep(Duration::from_millis(10));
            }
            most
        });
        let step = (scene.size / WATCHED).max(1);
        let mut waiting: Vec<usize> = if watched { (0..scene.size).step_by(step).collect() } else { Vec::new() };
        let before: Vec<String> = (0..scene.size).map(|at| scene.endpoint.access_token(at)).collect();
        let connection = connect(&scene.gateway());
        let mut look =
            connection.prepare("SELECT id, key FROM channels WHERE id IN (SELECT value FROM json_each(?1))").unwrap();
        let mut visible = Spread::default();
        let began = Instant::now();
        while !waiting.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(300), "{} keys do not arrive", waiting.len());
            std::thread::sleep(LOOK_EVERY);
            let ids: Vec<String> = waiting.iter().map(|at| channel(*at).to_string()).collect();
            let rows = look.query_map([format!("[{}]", ids.join(","))], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
            });
            let rows: Vec<(i64, String)> = rows.unwrap().map(Result::unwrap).collect();
            let seen_at = Instant::now();
            for (id, key) in rows {
                let credential = usize::try_from(id - channel(0)).unwrap();
                if key != before[credential] {
                    if let Some(answered_at) = scene.endpoint.answered_at(credential) {
                        visible.add(seen_at.duration_since(answered_at));
                    }
                    waiting.retain(|waiting| *waiting != credential);
                }
            }
        }
        // The rest, which nobody watched one by one.
        while scene.endpoint.requests() < scene.size || scene.undelivered() > 0 {
            assert!(began.elapsed() < Duration::from_secs(300), "keys do not arrive");
            std::thread::sleep(if watched { LOOK_EVERY } else { LOOK_EVERY * 10 });
        }
        let ended = Instant::now();
        is_over.store(true, Ordering::Relaxed);
        (visible, counting.join().unwrap(), ended)
    })
}
