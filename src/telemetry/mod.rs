//! What the agent shows of itself.

pub mod server;
pub mod status;
