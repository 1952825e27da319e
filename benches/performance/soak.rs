//! Days in minutes: a hundred credentials with tokens of two seconds, and what becomes of memory and descriptors.

use std::time::{Duration, Instant};

use crate::process::descriptors;
use crate::scene::Scene;

/// How many credentials.
pub const CREDENTIALS: usize = 100;
/// How long their tokens live; each is replaced after half of that.
const LIFETIME: Duration = Duration::from_secs(2);

/// What a soak came to.
pub struct Soak {
    pub lasted: Duration,
    pub refreshes: usize,
    /// The slope of the process's own memory in KiB a minute over the last two thirds, and its standard error. Pages of
    /// the binary come in as its code is first used, and say nothing.
    pub slope: (f64, f64),
    /// Memory at the end in KiB.
    pub resident: f64,
    /// The fewest and the most descriptors in the last two thirds, between refreshes and within.
    pub descriptors: (usize, usize),
}

impl Soak {
    /// In a line.
    pub fn in_words(&self) -> String {
        let ((slope, error), (fewest, most)) = (self.slope, self.descriptors);
        let megabytes = self.resident * 1024.0 / 1e6;
        format!("{slope:+.1} ± {:.1} KiB/min at {megabytes:.1} MB; {fewest}–{most} descriptors", 2.0 * error)
    }

    /// Whether the memory stayed as it was, within noise.
    pub fn is_flat(&self) -> bool {
        let (slope, error) = self.slope;
        slope <= 2.0 * error || slope < 1.0
    }
}

/// Runs for so long; says each minute how much memory it is.
pub fn measure(length: Duration) -> Soak {
    let scene = Scene::new(CREDENTIALS);
    scene.endpoint.set_lifetime(LIFETIME);
    let agent = scene.start();
    agent.said("is ready");
    let began = Instant::now();
    let (mut samples, mut open) = (Vec::new(), Vec::new());
    let mut minute = 0;
    while began.elapsed() < length {
        std::thread::sleep(Duration::from_millis(500));
        if began.elapsed().as_secs() / 60 > minute {
            minute += 1;
            eprintln!("{minute} min: {} KiB of its own", agent.footprint().own);
        }
        if began.elapsed() > length / 3 {
            samples.push((began.elapsed().as_secs_f64() / 60.0, agent.footprint().own as f64));
            open.push(descriptors(agent.id()));
        }
    }
    let (lasted, refreshes) = (began.elapsed(), scene.endpoint.requests());
    agent.stop();
    assert_eq!(scene.endpoint.refused(), 0, "no spent token is sent");
    Soak {
        lasted,
        refreshes,
        slope: slope(&samples),
        resident: samples.last().map_or(0.0, |sample| sample.1),
        descriptors: (open.iter().copied().min().unwrap_or(0), open.iter().copied().max().unwrap_or(0)),
    }
}

/// The slope of a line through points at regular intervals, by least squares, and its standard error. Memory is mostly what
/// it was half a second ago, so that there are fewer observations than samples: so many as the correlation of what the
/// line leaves over with itself allows (Santer et al. 2000, doi:10.1029/1999JD901105).
fn slope(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
    let left: Vec<f64> = points.iter().map(|point| point.1 - y - slope * (point.0 - x)).collect();
    let squares: f64 = left.iter().map(|left| left.powi(2)).sum();
    let with_the_next: f64 = left.iter().zip(&left[1..]).map(|(left, next)| left * next).sum();
    let correlation = if squares > 0.0 { (with_the_next / squares).max(0.0) } else { 0.0 };
    let observations = (count * (1.0 - correlation) / (1.0 + correlation)).max(3.0);
    // The spread of so many observations is that part of the samples' spread.
    (slope, (squares / count / (observations - 2.0) / (spread / count)).sqrt())
}
