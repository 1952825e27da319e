//! What the agent shows of itself.

pub mod log;
pub mod metrics;
pub mod page;
pub mod recent;
pub mod server;
pub mod status;
pub mod systemd;
