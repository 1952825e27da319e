//! The real agent as a child process: this very executable, with `run`.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long the agent may take to save what it sent.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A running agent; killed when it is dropped.
pub(super) struct Agent(Child);

impl Agent {
    /// Starts the agent on a config file; its output goes to `log`.
    pub(super) fn start(config: &Path, log: &Path) -> io::Result<Self> {
        let output = File::create(log)?;
        let child = Command::new(std::env::current_exe()?)
            .arg("run")
            .arg("--config")
            .arg(config)
            .env("NO_PROXY", "127.0.0.1") // the endpoints are on this machine, whatever proxy it uses
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0) // a Ctrl-C in the terminal is for the demo, which then stops the agent
            .spawn()?;
        Ok(Self(child))
    }

    /// Whether it ended, and how.
    pub(super) fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Asks it to stop and waits until it has; kills it when it does not.
    pub(super) async fn stop(mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status); // its process id may be somebody else's by now
        }
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.0.kill()?;
        self.0.wait()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already gone after `stop`; then both fail, and nothing is left to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An exit in words: `0`, `3`, `killed by signal 9`.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "unknown".into(),
    }
}

/// The last lines of a log.
pub(super) fn log_tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
