//! The page: what it shows of a status, and what a real browser makes of it.

mod browsing;
mod chromium;
mod pictures;
mod rendering;
mod sample;
#[path = "../support/mod.rs"]
mod support;
