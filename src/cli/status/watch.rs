//! `status --watch`: on a terminal redrawn in place, on a pipe a table for each change.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{exit, now, table};
use crate::cli::paper::Paper;
use crate::cli::{ConfigPlace, Exit};
use crate::telemetry::status::Status;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// Shows how everything stands, until somebody ends it or nobody reads any more.
pub async fn watch(place: &ConfigPlace, vault: Option<&Path>) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut view = View::open();
    loop {
        let last = match now(place, vault).await {
            Ok((status, language)) => {
                let text = table::whole(&status, language, Paper::of_stdout());
                let last = exit(&status);
                if !view.show(&status, &text)? {
                    return Ok(last);
                }
                last
            }
            Err(_) if matches!(view, View::Terminal(_)) => {
                // What was said is gone with the other screen: it is said again where it stays.
                drop(view);
                return Ok(now(place, vault).await.map_or_else(|exit| exit, |(status, _)| exit(&status)));
            }
            Err(exit) => return Ok(exit),
        };
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = resized.recv() => {}
            _ = interrupt.recv() => return Ok(last),
            _ = terminate.recv() => return Ok(last),
        }
    }
}

/// Where it is shown.
enum View {
    Terminal(Screen),
    /// A pipe, and what it was told last.
    Pipe(Option<String>),
}

impl View {
    fn open() -> Self {
        if std::io::stdout().is_terminal() { Self::Terminal(Screen::open()) } else { Self::Pipe(None) }
    }

    /// False when nobody reads any more.
    fn show(&mut self, status: &Status, text: &str) -> anyhow::Result<bool> {
        let written = match self {
            Self::Terminal(_) => Screen::draw(text),
            Self::Pipe(told) => {
                let news = Some(without_time(status)?);
                if *told == news {
                    // Nothing would be written for a while: is anybody there still?
                    return Ok(is_read());
                }
                *told = news;
                let mut out = std::io::stdout().lock();
                out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush())
            }
        };
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }
}

/// What a change is: anything but the moment at which it was looked.
fn without_time(status: &Status) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(status)?;
    value["time"] = serde_json::Value::Null;
    Ok(value.to_string())
}

/// Whether the reading end of standard output is still open.
fn is_read() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = std::io::stdout();
    let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ends, Some(&at_once)).is_err() || !ends[0].revents().intersects(PollFlags::ERR)
}

/// The terminal's other screen, so that what was on it is there again afterwards.
struct Screen;

impl Screen {
    fn open() -> Self {
        write(b"\x1b[?1049h\x1b[?25l");
        Self
    }

    /// Drawn over what is there: nothing is cleared first, so nothing flickers. What is too long for the terminal is
    /// left out at the end: what needs attention stands at the top.
    fn draw(text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        let rows = rustix::termios::tcgetwinsize(&out).map_or(0, |size| usize::from(size.ws_row));
        let rows = if rows == 0 { usize::MAX } else { rows };
        let lines: Vec<&str> = text.lines().collect();
        let shown = if lines.len() > rows { rows.saturating_sub(1) } else { lines.len() };
        let mut frame = String::from("\x1b[H");
        frame.push_str(&lines[..shown].join("\x1b[K\r\n"));
        if shown < lines.len() {
            frame.push_str(&format!("\x1b[0m\x1b[K\r\n… +{}", lines.len() - shown));
        }
        frame.push_str("\x1b[K\x1b[J");
        out.write_all(frame.as_bytes()).and_then(|()| out.flush())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(b"\x1b[?25h\x1b[?1049l");
    }
}

/// A terminal that has gone away needs nothing.
fn write(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}
