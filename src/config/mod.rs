//! The config file: from text to a plan.
//!
//! [`mod@file`] has the TOML shapes one to one, [`plan`] what they mean, [`resolve`] the way from one to the other,
//! [`report`] the problems as people and editors read them, [`schema`] the JSON schema. All of it is pure: whoever
//! calls has read the file and knows the surroundings.

pub mod credentials;
pub mod diff;
pub mod file;
pub mod lines;
mod pieces;
mod places;
pub mod plan;
mod preset;
pub mod report;
pub mod resolve;
pub mod schema;
mod syntax;
pub mod template;
pub mod words;
