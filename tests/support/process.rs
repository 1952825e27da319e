//! The real binary as a process: a folder with its config, its output, its signals, its exit.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{SENTINEL, SOON, eventually};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_one-api-sidecar");

/// Variables of the surroundings that the program may see.
const KEPT: [&str; 3] = ["PATH", "HOME", "TMPDIR"];

/// One test's folder, config and environment.
pub struct Bench {
    folder: TempDir,
    config: PathBuf,
    env: BTreeMap<String, String>,
    wrapper: Vec<String>,
}

/// What a command said.
#[derive(Debug)]
pub struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    /// An empty folder, an empty environment.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("sidecar.toml");
        Self { folder, config, env: BTreeMap::new(), wrapper: Vec::new() }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the config file is.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Puts the config file elsewhere in the folder.
    pub fn set_config(&mut self, path: PathBuf) {
        self.config = path;
    }

    /// Writes the config file in place.
    pub fn write_config(&self, text: &str) {
        std::fs::write(&self.config, text).unwrap();
    }

    /// Replaces the config file by a new one, as editors do.
    pub fn rename_config(&self, text: &str) {
        let beside = self.config.with_extension("toml.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, &self.config).unwrap();
    }

    /// Sets a variable of the environment of every later process.
    pub fn env(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.into(), value.into());
    }

    /// Runs every later process under another program, which must `exec` it: the process id stays the same.
    pub fn wrap<const N: usize>(&mut self, wrapper: [&str; N]) {
        self.wrapper = wrapper.map(str::to_owned).to_vec();
    }

    /// A command that is ready to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.wrapper.iter().map(String::as_str).chain([PROGRAM]);
        let mut command = Command::new(words.next().expect("the program itself is always there"));
        command.args(words).args(arguments).env_clear().envs(&self.env).env("ONE_API_SIDECAR_CONFIG", &self.config);
        command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn run_command(&self, arguments: &[&str]) -> Output {
        let mut sidecar = Sidecar::spawn(self.command(arguments));
        let exit = sidecar.wait_exit(Duration::from_secs(60));
        let exit = exit.unwrap_or_else(|| panic!("{arguments:?} did not end:\n{}", sidecar.output()));
        Output { code: exit.code(), stdout: sidecar.stdout.text(), stderr: sidecar.stderr.text() }
    }

    /// Starts a command and does not wait for it.
    pub fn spawn(&self, arguments: &[&str]) -> Sidecar {
        Sidecar::spawn(self.command(arguments))
    }

    /// Starts a command that goes on beside the test; what it reads comes by the pipe.
    pub fn spawn_command(&self, arguments: &[&str]) -> (Sidecar, ChildStdin) {
        let mut command = self.command(arguments);
        let mut sidecar = {
            command.stdin(Stdio::piped());
            Sidecar::spawn(command)
        };
        let stdin = sidecar.child.stdin.take().expect("stdin is piped");
        (sidecar, stdin)
    }

    /// Starts the agent.
    pub fn spawn_run(&self) -> Sidecar {
        self.spawn(&["run"])
    }

    /// Starts the agent and waits until it says that it is ready.
    pub fn start(&self) -> Sidecar {
        let sidecar = self.spawn_run();
        sidecar.wait_ready();
        sidecar
    }
}

/// A running process; killed when it is dropped.
pub struct Sidecar {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

impl Sidecar {
    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = Stream::read(child.stdout.take().expect("stdout is piped"));
        let stderr = Stream::read(child.stderr.take().expect("stderr is piped"));
        Self { child, stdout, stderr }
    }

    /// Waits for a line on standard error that contains `pattern`, in upper or lower case, and returns it.
    pub fn wait_for_line(&self, pattern: &str, timeout: Duration) -> Option<String> {
        self.stderr.wait_for_line(&pattern.to_lowercase(), timeout)
    }

    /// Waits until the agent says that it is ready.
    pub fn wait_ready(&self) {
        // The blank keeps "already" out.
        assert!(self.wait_for_line(" ready", SOON).is_some(), "the agent did not get ready:\n{}", self.output());
    }

    /// The lines on standard error that contain `pattern`, in upper or lower case.
    pub fn lines_with(&self, pattern: &str) -> Vec<String> {
        let pattern = pattern.to_lowercase();
        self.stderr.text().lines().filter(|line| line.to_lowercase().contains(&pattern)).map(str::to_owned).collect()
    }

    /// Everything it wrote so far, to both streams.
    pub fn output(&self) -> String {
        self.stdout.text() + &self.stderr.text()
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            kill_process(Pid::from_child(&self.child), signal).unwrap();
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to read its config again (SIGHUP).
    pub fn hangup(&mut self) {
        self.signal(Signal::HUP);
    }

    /// Stops it in its tracks (SIGSTOP): it holds what it holds and answers nobody.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Ends it on the spot (SIGKILL).
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Waits for its end, its output read to the last byte; `None` if it does not come in time.
    pub fn wait_exit(&mut self, timeout: Duration) -> Option<std::process::ExitStatus> {
        if !eventually(timeout, || !self.is_running()) {
            return None;
        }
        self.stdout.finish();
        self.stderr.finish();
        self.child.try_wait().unwrap()
    }

    /// SIGTERM, and exit 0 in time.
    pub fn stop(mut self) -> String {
        self.terminate();
        let exit = self.wait_exit(SOON);
        let output = self.output();
        assert_eq!(exit.and_then(|exit| exit.code()), Some(0), "the agent did not end well:\n{output}");
        output
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One output stream, read as it comes.
struct Stream {
    shared: Arc<(Mutex<Vec<u8>>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn read(source: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let sink = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                sink.0.lock().unwrap_or_else(PoisonError::into_inner).append(&mut line);
                sink.1.notify_all();
            }
        });
        Self { shared, reader: Some(reader) }
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn wait_for_line(&self, pattern: &str, timeout: Duration) -> Option<String> {
        let found = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.lines().find(|line| line.to_lowercase().contains(pattern)).map(str::to_owned)
        };
        let absent = |bytes: &mut Vec<u8>| found(bytes).is_none();
        let waited = self.shared.1.wait_timeout_while(self.bytes(), timeout, absent);
        found(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading does not panic");
        }
    }
}

/// Asserts that no secret of a test is in a text.
pub fn assert_no_secret(what: &str, text: &str) {
    let leak = text.lines().find(|line| line.contains(SENTINEL));
    assert!(leak.is_none(), "{what} shows a secret: {}", leak.unwrap_or_default());
}
