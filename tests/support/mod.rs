//! The harness: what the program meets outside (a token endpoint that misbehaves, a gateway's database) and the
//! real binary as a process. Every test binary compiles it and uses a part.
#![allow(dead_code)]

pub mod admin_api;
pub mod canned;
pub mod database;
pub mod endpoint;
pub mod engines;
pub mod gateway;
pub mod http;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod scene;
pub mod service;
pub mod terminal;
pub mod tls;
pub mod wire;

use std::time::{Duration, Instant};

/// What every secret of a test begins with; it must never be seen in any output.
pub const SENTINEL: &str = "sentinel-5d3b9f";

/// How long anything may take that should happen at once.
pub const SOON: Duration = Duration::from_secs(10);

/// Waits until `condition` holds and says whether it came to hold in time.
pub fn eventually(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Looks every `interval` for as long as `length` and returns what was seen each time.
pub fn looks<T>(interval: Duration, length: Duration, mut look: impl FnMut() -> T) -> Vec<T> {
    let deadline = Instant::now() + length;
    let mut seen = Vec::new();
    while Instant::now() < deadline {
        seen.push(look());
        std::thread::sleep(interval);
    }
    seen
}

/// Whether a program is there. Where the variable `required` is 1, it must be; else the test says that it is skipped.
pub fn require(program: &str, required: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|folder| folder.join(program).is_file());
    if !found {
        assert!(!std::env::var(required).is_ok_and(|value| value == "1"), "{program} is not here, and {required}=1");
        println!("skipped: {program} is not here");
    }
    found
}
