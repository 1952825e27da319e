//! Everything due at once: how fast it is refreshed, made durable and delivered, and what that takes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::process::{Agent, Footprint, descriptors};
use crate::scene::{Scene, connect};
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
        let mut connection = connect(&scene.gateway());
        // A busy timeout's sleeps grow to a tenth of a second, in which everything that has arrived would seem late.
        let asks_again = |_| {
            std::thread::sleep(Duration::from_micros(200));
            true
        };
        connection.busy_handler(Some(asks_again)).unwrap();
        let mut visible = Spread::default();
        let began = Instant::now();
        let look_again = |length| {
            assert!(began.elapsed() < Duration::from_secs(300), "keys do not arrive");
            std::thread::sleep(length);
        };
        while !waiting.is_empty() {
            look_again(LOOK_EVERY);
            // Before its answer a key is nowhere: looking for it would only take time from what is measured.
            let answered = scene.endpoint.answered(&waiting);
            let missing = scene.missing(&connection, answered.iter().map(|(credential, _)| *credential).collect());
            let seen_at = Instant::now();
            let arrived: HashMap<usize, Instant> =
                answered.into_iter().filter(|(credential, _)| !missing.contains(credential)).collect();
            arrived.values().for_each(|answered_at| visible.add(seen_at.duration_since(*answered_at)));
            waiting.retain(|credential| !arrived.contains_key(credential));
        }
        // The rest, which nobody watched one by one.
        let mut missing: Vec<usize> = (0..scene.size).collect();
        while !missing.is_empty() {
            look_again(if watched { LOOK_EVERY } else { LOOK_EVERY * 10 });
            if scene.endpoint.requests() >= scene.size {
                missing = scene.missing(&connection, missing);
            }
        }
        let ended = Instant::now();
        is_over.store(true, Ordering::Relaxed);
        (visible, counting.join().unwrap(), ended)
    })
}
