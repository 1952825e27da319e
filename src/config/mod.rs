//! The config file: from text to a plan.
//!
//! [`file`] has the TOML shapes one to one, [`plan`] what they mean. Both are pure: whoever calls them has read
//! the file and knows the surroundings.

pub mod file;
pub mod plan;
pub mod template;
