//! The release binary as a child process: its output with the moment of each line, and what the kernel knows of it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The program that is measured: this build's, or another one to compare with.
pub fn program() -> OsString {
    std::env::var_os("PERFORMANCE_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_one-api-sidecar").into())
}

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running agent.
pub struct Agent {
    child: Child,
    /// When it was started.
    pub started_at: Instant,
    lines: Receiver<(Instant, String)>,
    vault: PathBuf,
}

impl Agent {
    /// Starts `run` with this config and so many descriptors.
    pub fn start(config: &Path, vault: &Path, descriptors: u32) -> Self {
        let mut command = Command::new("sh");
        // The shell becomes the program: same process.
        command
            .args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" run --config \"$1\"")])
            .arg(program())
            .arg(config);
        command.env_clear().env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Ok(filter) = std::env::var("PERFORMANCE_LOG") {
            command.env("ONE_API_SIDECAR_LOG", filter);
        }
        let started_at = Instant::now();
        let mut child = command.spawn().unwrap();
        let (said, lines) = channel();
        let output = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let of_interest =
                    ["is ready", "config applied", " WARN ", " ERROR "].iter().any(|word| line.contains(word));
                if of_interest && said.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Self { child, started_at, lines, vault: vault.to_owned() }
    }

    /// When a line with these words was said; what was said before is dropped.
    pub fn said(&self, words: &str) -> Instant {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((at, line)) if line.contains(words) => return at,
                Ok((_, line)) if line.contains(" ERROR ") => panic!("the agent says: {line}"),
                Ok(_) => {}
                Err(_) => panic!("the agent does not say {words:?}"),
            }
        }
    }

    /// Forces a refresh of one credential and waits until it has settled.
    pub fn force(&self, name: &str) {
        use std::io::{Read, Write};
        let body = format!(r#"{{"names":["{name}"],"force":true}}"#);
        let mut socket = UnixStream::connect(self.vault.with_extension("sock")).unwrap();
        let length = body.len();
        write!(
            socket,
            "POST /once HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// What the kernel knows of it now.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.child.id())
    }

    /// Lets the kernel count the peak of its memory from now on (proc(5), `clear_refs`).
    pub fn forget_peak(&self) {
        // Where that is not allowed the peak is the start's, too.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it as a service manager does, and waits.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the agent ends with {status}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // After `stop` there is nobody left; after a panic nobody may stay behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many descriptors a process has open.
pub fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

/// What the kernel knows of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Footprint {
    /// Resident memory in KiB.
    pub resident: u64,
    /// The part of it that is no page of a file, in KiB: what the process itself asked for.
    pub own: u64,
    /// The most resident memory there was, in KiB.
    pub peak: u64,
    /// Time on a processor, all threads that live.
    pub processor: Duration,
    /// How often a thread went to sleep by itself, all threads that live: each time something woke it before.
    pub switches: u64,
}

impl Footprint {
    /// Reads it from /proc.
    pub fn of(process: u32) -> Self {
        let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
        let field = |status: &str, name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let status = read(format!("/proc/{process}/status"));
        let mut footprint = Self {
            resident: field(&status, "VmRSS:"),
            peak: field(&status, "VmHWM:"),
            own: field(&status, "RssAnon:"),
            ..Self::default()
        };
        for task in std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
            let task = task.path().display().to_string();
            footprint.switches += field(&read(format!("{task}/status")), "voluntary_ctxt_switches:");
            let schedstat = read(format!("{task}/schedstat"));
            let nanoseconds = schedstat.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            footprint.processor += Duration::from_nanos(nanoseconds);
        }
        footprint
    }
}
