//! An agent with nothing to do, and how fast it is there: memory, processor, wake-ups, start, edits.

use std::time::{Duration, Instant};

use crate::process::Footprint;
use crate::scene::Scene;
use crate::support::Spread;

/// What was measured of an agent at rest.
#[derive(Default)]
pub struct Idle {
    /// From the start of the process to "ready".
    pub ready: Spread,
    /// From the rename of the edited config to "applied".
    pub applied: Spread,
    /// Its memory after it came to rest, before any edit.
    pub footprint: Footprint,
    /// The share of a core that it takes.
    pub processor: f64,
    /// How often a second something wakes one of its threads.
    pub wakes: f64,
}

/// Measures an agent whose keys are all delivered.
pub fn measure(scene: &mut Scene, starts: usize, edits: usize, length: Duration) -> Idle {
    let mut idle = Idle::default();
    for _ in 1..starts {
        let agent = scene.start();
        idle.ready.add(agent.said("is ready").duration_since(agent.started_at));
        agent.stop();
    }
    let agent = scene.start();
    idle.ready.add(agent.said("is ready").duration_since(agent.started_at));
    // The first look and what follows from it.
    std::thread::sleep(Duration::from_secs(2));
    let (before, began) = (agent.footprint(), Instant::now());
    std::thread::sleep(length);
    let (after, lasted) = (agent.footprint(), began.elapsed().as_secs_f64());
    idle.footprint = after;
    idle.processor = after.processor.saturating_sub(before.processor).as_secs_f64() / lasted;
    idle.wakes = after.switches.saturating_sub(before.switches) as f64 / lasted;
    for _ in 0..edits {
        let began = Instant::now();
        scene.edit();
        idle.applied.add(agent.said("config applied").duration_since(began));
        std::thread::sleep(Duration::from_millis(300));
    }
    agent.stop();
    idle
}
