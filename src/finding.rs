//! What a room found when it examined itself; `check`, `doctor` and the start print these.

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Works, and somebody should know.
    Warning,
    /// Does not work.
    Error,
}

/// One thing that a room has to say about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about: `credential "openai"`, `gateway "default"`, `vault`; empty for the whole.
    pub about: String,
    /// What is the matter.
    pub reason: Reason,
    /// How much it matters.
    pub severity: Severity,
}

impl Finding {
    /// A finding that stops something from working.
    pub fn error(about: impl Into<String>, reason: impl Into<Reason>) -> Self {
        Self { about: about.into(), reason: reason.into(), severity: Severity::Error }
    }

    /// A finding that somebody should know of.
    pub fn warning(about: impl Into<String>, reason: impl Into<Reason>) -> Self {
        Self { about: about.into(), reason: reason.into(), severity: Severity::Warning }
    }
}
