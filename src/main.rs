//! Arguments, logging, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use one_api_sidecar::cli::{Arguments, Exit, default_language};
use one_api_sidecar::telemetry::log;
use tracing::Level;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    one_api_sidecar::failpoint::setup();
    log::start(if arguments.is_agent() { Level::INFO } else { Level::WARN }, default_language());
    // An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match arguments.run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Failed.into()
        }
    }
}
