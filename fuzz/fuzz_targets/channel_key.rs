//! Any text as a `channel_key`: no panic, and a template that is taken can be filled (row 55).
#![no_main]

use libfuzzer_sys::fuzz_target;
use one_api_sidecar::config::template::{Part, Template};

fuzz_target!(|text: &str| {
    let Ok(template) = Template::parse(text) else { return };
    assert!(template.parts().iter().any(|part| !matches!(part, Part::Text(_) | Part::ExpiresAt)), "it holds a token");
    assert!(template.pointers().all(|pointer| pointer.starts_with('/')));
});
