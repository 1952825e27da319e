//! Arguments, logging, exit code; nothing else.

use std::process::ExitCode;

use one_api_sidecar::cli::progress::{log, tell};
use one_api_sidecar::cli::{Arguments, Exit, default_language};
use one_api_sidecar::telemetry::log::start as start_log;
use tracing::Level;

fn main() -> ExitCode {
    one_api_sidecar::memory::be_frugal();
    let arguments = Arguments::of_command_line();
    one_api_sidecar::failpoint::setup();
    let default = if arguments.is_agent() { Level::INFO } else { Level::WARN };
    start_log(default, default_language(), log);
    // An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match arguments.run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            tell(&format!("error: {error:#}\n"));
            Exit::Failed.into()
        }
    }
}
