//! Arguments, logging, exit code; nothing else.

use std::io::IsTerminal;
use std::process::ExitCode;

use one_api_sidecar::cli::progress::{LogWriter, tell};
use one_api_sidecar::cli::{Arguments, Exit};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = Arguments::of_command_line();
    one_api_sidecar::failpoint::setup();
    log(if arguments.is_agent() { "info" } else { "warn" });
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

/// Logs go to standard error: `ONE_API_SIDECAR_LOG` filters, `ONE_API_SIDECAR_LOG_FORMAT` says text or json.
fn log(default: &str) {
    let filter = EnvFilter::builder()
        .with_default_directive(default.parse().unwrap_or_default())
        .with_env_var("ONE_API_SIDECAR_LOG")
        .from_env_lossy()
        // The D-Bus library traces whole messages.
        .add_directive("zbus=warn".parse().unwrap_or_default());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogWriter);
    // A line that cannot be written is told nowhere: telling would panic where standard error is closed.
    let subscriber = subscriber.log_internal_errors(false);
    if std::env::var("ONE_API_SIDECAR_LOG_FORMAT").is_ok_and(|format| format == "json") {
        subscriber.json().flatten_event(true).init();
    } else {
        let colour =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        subscriber.with_ansi(colour).with_target(false).init();
    }
}
