//! Arguments, logging, exit code; nothing else.

use std::io::IsTerminal;
use std::process::ExitCode;

use one_api_sidecar::cli::progress::{LogWriter, tell};
use one_api_sidecar::cli::{Arguments, Exit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

fn main() -> ExitCode {
    let arguments = Arguments::of_command_line();
    one_api_sidecar::failpoint::setup();
    log(if arguments.is_agent() { LevelFilter::INFO } else { LevelFilter::WARN });
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

/// Logs go to standard error: `ONE_API_SIDECAR_LOG` filters (`debug`, or `warn,one_api_sidecar::agent=trace`),
/// `ONE_API_SIDECAR_LOG_FORMAT` says text or json.
fn log(default: LevelFilter) {
    let wanted = std::env::var("ONE_API_SIDECAR_LOG").ok().filter(|filter| !filter.is_empty());
    let parsed = wanted.as_ref().map_or_else(|| Ok(Targets::new()), |filter| filter.parse::<Targets>());
    let not_a_filter = parsed.as_ref().err().map(ToString::to_string);
    let filter = parsed.unwrap_or_default();
    // A filter that names only some targets leaves the others as they are.
    let filter = if filter.default_level().is_none() { filter.with_default(default) } else { filter };
    if std::env::var("ONE_API_SIDECAR_LOG_FORMAT").is_ok_and(|format| format == "json") {
        let json = fmt::layer().with_writer(|| LogWriter).log_internal_errors(false).json().flatten_event(true);
        tracing_subscriber::registry().with(json.with_filter(filter)).init();
    } else {
        let colour =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let text =
            fmt::layer().with_writer(|| LogWriter).log_internal_errors(false).with_ansi(colour).with_target(false);
        tracing_subscriber::registry().with(text.with_filter(filter)).init();
    }
    if let Some(error) = not_a_filter {
        tracing::warn!(error, "ONE_API_SIDECAR_LOG is no filter, the default is used: write a level, or target=level");
    }
}
