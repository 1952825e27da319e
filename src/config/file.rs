//! The TOML shapes of `sidecar.toml`, one to one, and the reading of its text.

use crate::shape::Problem;

/// The config file as it is written.
#[derive(Debug, Clone, Default)]
pub struct Config {}

impl Config {
    /// Reads the text; what cannot be read is left out and told.
    pub fn parse(text: &str) -> (Self, Vec<Problem>) {
        let _ = text;
        (Self::default(), Vec::new())
    }
}
