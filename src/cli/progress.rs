//! One line on standard error that says what goes on, on a terminal only, gone at the end; and standard error itself,
//! which may be closed, and which must not write into that line.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::paper::cut;

/// Whether the line stands there now.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// A line that is rewritten in place; erased when it is dropped.
pub struct Progress {
    /// Columns of the terminal; `None` where nobody watches.
    width: Option<usize>,
}

impl Progress {
    /// Nothing is shown yet; nothing ever is where standard error is no terminal.
    pub fn begin() -> Self {
        let stderr = std::io::stderr();
        let can_rewrite = stderr.is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let columns = || rustix::termios::tcgetwinsize(&stderr).ok().map(|size| usize::from(size.ws_col));
        Self { width: can_rewrite.then(columns).flatten().filter(|width| *width > 2) }
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.width.is_some()
    }

    /// Shows this in place of what was shown.
    pub fn show(&mut self, text: &str) {
        let Some(width) = self.width else { return };
        SHOWN.store(true, Ordering::Relaxed);
        // A terminal that has gone away is no trouble of ours.
        let _ = write!(std::io::stderr(), "\r{}\x1b[K", cut(text, width - 1));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        erase();
    }
}

fn erase() {
    if SHOWN.swap(false, Ordering::Relaxed) {
        let _ = std::io::stderr().write_all(b"\r\x1b[K");
    }
}

/// Standard error for people: a reader that has gone away is no error, and what is shown of progress makes room.
pub fn tell(text: &str) {
    log(text.as_bytes());
}

/// Standard error for the log's lines; the same.
pub fn log(lines: &[u8]) {
    erase();
    let _ = std::io::stderr().write_all(lines);
}
