//! What the integration tests are built on.

pub mod gateway;
