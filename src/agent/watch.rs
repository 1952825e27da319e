//! Watches the config file and says "read it again" when its content changed.
//!
//! `notify` on the lexical parent directory (a watch on the file itself dies at the first atomic rename, and a
//! Kubernetes `..data` swap is seen only there), debounced; and a content poll as the safety net where inotify is lost
//! or absent, and on network mounts. Runs on a thread of its own: a hanging mount hangs nothing else.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use ring::digest::{Digest, SHA256, digest};

use crate::config::plan::{Plan, Surroundings};
use crate::finding::Severity;
use crate::mounts::is_mounted_alone;
use crate::reason::{AgentReason, ConfigReason};
use crate::shape::Problem;

/// How long it must be quiet after an event before the file is read.
const QUIET: Duration = Duration::from_millis(100);
/// How long a storm of events may put the reading off.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the content is compared when no event comes.
const POLL: Duration = Duration::from_secs(30);
/// How long a file that is gone may be on its way back (an editor that deletes and writes anew).
const RETURNS_WITHIN: Duration = Duration::from_secs(1);

/// What the watcher saw.
#[derive(Debug)]
pub enum Sight {
    /// The content is another one.
    Changed(String),
    /// The file cannot be read.
    Unreadable(ConfigReason),
    /// There is no inotify here: the content poll does the work.
    NoInotify(AgentReason),
}

/// What wakes the thread.
enum Wake {
    Event,
    Now,
}

/// A watch that lasts until it is dropped.
pub struct ConfigWatch {
    wake: mpsc::Sender<Wake>,
}

impl ConfigWatch {
    /// Starts watching. `known` is the content that was read already; `see` is called on the watcher's thread and must
    /// not block.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(path: &Path, known: String, see: impl Fn(Sight) + Send + 'static) -> std::io::Result<Self> {
        let (wake, woken) = mpsc::channel();
        let known = Some(digest(&SHA256, known.as_bytes()));
        let thread = Thread { path: path.to_owned(), known, see: Box::new(see), told: None, gone: false };
        let events = wake.clone();
        std::thread::Builder::new().name("config-watch".into()).spawn(move || thread.run(&events, &woken))?;
        Ok(Self { wake })
    }

    /// Reads it again now, as SIGHUP asks; tells what it finds even if it is what it found before.
    pub fn read_now(&self) {
        // The thread lives as long as this sender does.
        let _ = self.wake.send(Wake::Now);
    }
}

struct Thread {
    path: PathBuf,
    /// Of the content that was told last. The content itself is long, and holds secrets sometimes.
    known: Option<Digest>,
    see: Box<dyn Fn(Sight) + Send>,
    /// The trouble that was told.
    told: Option<ConfigReason>,
    /// The file was not there at the last look.
    gone: bool,
}

impl Thread {
    fn run(mut self, events: &mpsc::Sender<Wake>, woken: &mpsc::Receiver<Wake>) {
        let directory = directory_of(&self.path);
        let (events, config) = (events.clone(), self.path.clone());
        let on_event = move |event: notify::Result<notify::Event>| {
            // An error may mean lost events: look, too.
            if event.as_ref().is_ok_and(|event| !concerns_content(event.kind) || !concerns(&config, &event.paths)) {
                return;
            }
            let _ = events.send(Wake::Event);
        };
        let watcher = watch(directory, on_event);
        if let Err(reason) = &watcher {
            (self.see)(Sight::NoInotify(reason.clone()));
        }
        // Dropping the watcher would end the sender that keeps the channel open.
        let _watcher = watcher;
        // It may have changed since it was read.
        let mut wait = self.read();
        loop {
            match woken.recv_timeout(wait) {
                Ok(Wake::Event) => self.settle(woken),
                Ok(Wake::Now) => self.forget(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            wait = self.read();
        }
    }

    /// Waits until it is quiet.
    fn settle(&mut self, woken: &mpsc::Receiver<Wake>) {
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience {
            match woken.recv_timeout(QUIET) {
                Ok(Wake::Event) => {}
                Ok(Wake::Now) => self.forget(),
                Err(_) => return,
            }
        }
    }

    /// Whoever asks for a reading gets an answer, be it an old one.
    fn forget(&mut self) {
        (self.known, self.told) = (None, None);
    }

    /// Reads the file, tells what is new, and says when to look again.
    fn read(&mut self) -> Duration {
        match std::fs::read(&self.path) {
            Ok(bytes) => {
                self.gone = false;
                let content = digest(&SHA256, &bytes);
                let is_news = self.known.is_none_or(|known| known.as_ref() != content.as_ref());
                match String::from_utf8(bytes) {
                    // After trouble the same content is news, too.
                    Ok(text) if is_news || self.told.is_some() => {
                        self.told = None;
                        self.known = Some(content);
                        (self.see)(Sight::Changed(text));
                    }
                    Ok(_) => {}
                    Err(_) => self.tell(ConfigReason::Syntax { detail: "not UTF-8".into() }),
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.gone => {
                self.gone = true;
                return RETURNS_WITHIN;
            }
            Err(error) => {
                let (path, error) = (self.path.display().to_string(), error.to_string());
                self.tell(ConfigReason::Unreadable { path, error });
            }
        }
        POLL
    }

    fn tell(&mut self, reason: ConfigReason) {
        if self.told.as_ref() != Some(&reason) {
            self.told = Some(reason.clone());
            (self.see)(Sight::Unreadable(reason));
        }
    }
}

/// Whether the system reports changes of the config file.
///
/// # Errors
/// Why it does not.
pub fn probe(path: &Path) -> Result<(), AgentReason> {
    watch(directory_of(path), |_| {}).map(drop)
}

fn watch(directory: &Path, on_event: impl notify::EventHandler) -> Result<RecommendedWatcher, AgentReason> {
    let watcher = RecommendedWatcher::new(on_event, notify::Config::default()).and_then(|mut watcher| {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher.map_err(|error| AgentReason::NoInotify { error: error.to_string() })
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Our own reading raises events too; only what may have changed the content counts.
fn concerns_content(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// Whether any of these may stand for the config. A database in the same folder is written many times a second, and
/// is none of it. A symbolic link may change by whatever it leads through (Kubernetes renames `..data`).
fn concerns(config: &Path, changed: &[PathBuf]) -> bool {
    let is_it = |path: &PathBuf| path.file_name() == config.file_name();
    changed.is_empty() || changed.iter().any(is_it) || config.is_symlink()
}

/// What a text means as a plan, here and now.
///
/// # Errors
/// Every problem, if one of them is an error.
pub fn load(path: &Path, text: &str) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    use std::os::unix::fs::PermissionsExt;
    let directory = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned));
    let surroundings = Surroundings {
        directory: directory.as_deref().unwrap_or(Path::new("/")),
        env: &|name| std::env::var(name).ok(),
        mode: std::fs::metadata(path).ok().map(|metadata| metadata.permissions().mode() & 0o777),
    };
    let mut read = Plan::read(text, &surroundings);
    if is_mounted_alone(path) {
        let (severity, reason) = (Severity::Warning, ConfigReason::SingleFileMount);
        let problem = Problem { severity, field: String::new(), span: None, line_is_safe: false, reason };
        match &mut read {
            Ok((_, problems)) | Err(problems) => problems.push(problem),
        }
    }
    read
}
