//! one-api-sidecar keeps the OAuth-backed channels of a One-API gateway alive.
//!
//! It refreshes each access token before it expires, keeps the rotated refresh token in a durable vault, delivers
//! the key into the running gateway's database, sees to it that it stays there, and tells people when a human is
//! needed.
//!
//! # Two flows
//!
//! **A config edit.** [`agent::watch`] says "read it again" → [`config::file`] (text → config and problems) →
//! [`config::plan`] (config → plan, every problem at once) → the diff against the running plan → [`agent::apply`].
//! A bad edit changes nothing.
//!
//! **A refresh.** The agent's timer fires → [`credential::policy`] decides → the attempt marker is durable → HTTP →
//! [`oauth::response`] → the record rotates → **vault commit** → [`agent::deliver`] (observe the channels →
//! [`channel::policy`] → [`gateway`] → mark) → event → next due time.
//!
//! # Words
//!
//! A *credential* is one grant that is kept alive; its *seed* is the configured refresh token; what is remembered
//! of it is its *record*, in the *vault*. A *refresh* is the HTTP request, a *publish* the write into the gateway.
//! The first publish *adopts* a channel; *drift* is a channel that no longer holds our key; a credential that only
//! a human can help is *halted*. The *cache lag* is how long a gateway may go on using the previous key.
//!
//! # Rooms
//!
//! Imports point one way: `cli → agent → {oauth::client, vault, gateway, notify, telemetry, secrets} →
//! {credential, channel, oauth::request, oauth::response, messages} → config → {notify::services, oauth::presets} →
//! leaves` (`secret`, `dsn`, `time`, `reason`, `finding`, `shape`, `memory`, `failpoint`).

// `print!` and its kin panic where nobody reads: `cli::print` and `cli::progress::tell` do not.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod agent;
pub mod channel;
pub mod cli;
pub mod config;
pub mod credential;
pub mod demo;
pub mod dsn;
pub mod failpoint;
pub mod finding;
pub mod gateway;
pub mod memory;
pub mod messages;
pub mod mounts;
pub mod notify;
pub mod oauth;
pub mod reason;
pub mod secret;
pub mod secrets;
pub mod shape;
pub mod shared;
pub mod telemetry;
pub mod time;
pub mod transport;
pub mod vault;
