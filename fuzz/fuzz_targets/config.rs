//! Any bytes as `sidecar.toml`: no panic, and no secret in what is told (row 55).
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use one_api_sidecar::config::plan::{Plan, Surroundings};
use one_api_sidecar::config::report::{Labels, render, reports};
use one_api_sidecar::messages;
use one_api_sidecar::reason::{Language, Reason};

/// Stands to the right of an `=` in the seeds; nothing of the kind is ever shown.
const SENTINEL: &str = "sentinel-9c1e";

fuzz_target!(|text: &str| {
    let surroundings = Surroundings { directory: Path::new("/etc"), env: &|_| None, mode: Some(0o644) };
    let problems = match Plan::read(text, &surroundings) {
        Ok((plan, problems)) => {
            assert!(!format!("{plan:?}").contains("value = \""));
            problems
        }
        Err(problems) => problems,
    };
    let words = |reason: &_| {
        let message = messages::explain(Language::English, &Reason::Config(Clone::clone(reason)));
        (message.what, message.remedy)
    };
    let shown = render("sidecar.toml", text, &problems, &Labels::default(), words);
    let _ = reports("sidecar.toml", text, &problems, words);
    let beside_an_equals_sign = text.contains(&format!("= \"{SENTINEL}\"")) && text.matches(SENTINEL).count() == 1;
    assert!(!beside_an_equals_sign || !shown.contains(SENTINEL), "{shown}");
});
