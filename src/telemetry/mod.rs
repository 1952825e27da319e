//! What the agent shows of itself.

pub mod page;
pub mod recent;
pub mod server;
pub mod status;
