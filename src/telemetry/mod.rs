//! What the agent shows of itself.

pub mod status;
