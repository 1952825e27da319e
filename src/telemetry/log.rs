//! The log: where it goes, what passes its filter, how a line looks. Called once, by `main`.
//!
//! Lines go to standard error, by the way that `main` gives. `ONE_API_SIDECAR_LOG` filters them, `ONE_API_SIDECAR_LOG_FORMAT` says text or json.
//! Where standard error is the journal's, each line begins with its priority (sd-daemon(3)), and what the journal adds
//! by itself is left out.

use std::cell::RefCell;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::messages;
use crate::reason::{AgentReason, Language};
use crate::shape::nearest;

const FILTER: &str = "ONE_API_SIDECAR_LOG";
const FORMAT: &str = "ONE_API_SIDECAR_LOG_FORMAT";
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
const FORMATS: [&str; 2] = ["text", "json"];

/// Where whole lines go.
static OUT: OnceLock<fn(&[u8])> = OnceLock::new();

thread_local! {
    /// What this thread has logged since it began to gather.
    static GATHERED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// While it lasts, what this thread logs is gathered, and then written at once: thousands of lines a second cost more by
/// their writing than by what they say.
pub struct Gathering(());

impl Gathering {
    /// Begins now.
    pub fn begin() -> Self {
        GATHERED.with_borrow_mut(|gathered| _ = gathered.get_or_insert_default());
        Self(())
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        if let Some(gathered) = GATHERED.take().filter(|gathered| !gathered.is_empty()) {
            write_out(&gathered);
        }
    }
}

fn write_out(lines: &[u8]) {
    if let Some(out) = OUT.get() {
        out(lines);
    }
}

/// Gathers lines where that was begun, and writes them at once elsewhere.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        /// A pipe takes so much at once.
        const MOST: usize = 4096;
        let gather = |gathered: &RefCell<Option<Vec<u8>>>| match &mut *gathered.borrow_mut() {
            Some(gathered) if gathered.len() + line.len() <= MOST => {
                gathered.extend_from_slice(line);
                Vec::new()
            }
            Some(gathered) => std::mem::replace(gathered, line.to_vec()),
            None => line.to_vec(),
        };
        // A thread that is ending may have nothing to gather in any more.
        let full = GATHERED.try_with(gather).unwrap_or_else(|_| line.to_vec());
        if !full.is_empty() {
            write_out(&full);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Starts the log; `default` is what passes where the environment does not say it. What the environment says wrongly
/// is told, in this language, and left out. Whole lines go to `out`.
pub fn start(default: Level, language: Language, out: fn(&[u8])) {
    // It is started once.
    let _ = OUT.set(out);
    let words = std::env::var(FILTER).unwrap_or_default();
    let (filter, mut wrong) = filter(&words);
    // Each word was a filter, so all of them are; an empty text would be one that lets only errors pass. One that names
    // only some targets leaves the others as they are.
    let filter = if filter.is_empty() { Targets::new() } else { filter.join(",").parse().unwrap_or_default() };
    let filter = if filter.default_level().is_none() { filter.with_default(default) } else { filter };

    let form = std::env::var(FORMAT).unwrap_or_default();
    if !form.is_empty() && !FORMATS.contains(&form.as_str()) {
        wrong.push(AgentReason::LogFormat { found: form.clone() });
    }
    let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(|| Lines);
    // A line that cannot be written is told nowhere: telling would panic where standard error is closed.
    let lines = lines.log_internal_errors(false);
    match (form == "json", is_journal()) {
        (true, false) => lines.json().flatten_event(true).finish().with(filter).init(),
        (true, true) => lines.json().flatten_event(true).map_event_format(WithPriority).finish().with(filter).init(),
        (false, false) => lines.with_ansi(has_colour()).with_target(false).finish().with(filter).init(),
        (false, true) => {
            let lines = lines.with_ansi(false).with_target(false).without_time().map_event_format(WithPriority);
            lines.finish().with(filter).init();
        }
    }
    for reason in wrong {
        let message = messages::explain(language, &reason.into());
        if tracing::enabled!(Level::WARN) {
            tracing::warn!("{} {}", message.what, message.remedy);
        } else {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{} {}", message.what, message.remedy);
        }
    }
}

/// The words of a filter that hold, and what is wrong with the others. A level with a typing mistake would be taken for
/// the name of a module, and nothing would be logged at all.
fn filter(words: &str) -> (Vec<&str>, Vec<AgentReason>) {
    let (mut held, mut wrong) = (Vec::new(), Vec::new());
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let meant = level_meant(word);
        match word.parse::<Targets>() {
            Ok(_) if meant.is_none() => held.push(word),
            _ => wrong.push(AgentReason::LogFilter { found: word.to_owned(), nearest: meant }),
        }
    }
    (held, wrong)
}

/// The level that a word means which is none, and no module's name either.
fn level_meant(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase();
    let begins_alike = |level: &&&str| word.starts_with(**level) || word.len() > 2 && level.starts_with(&word);
    let meant = LEVELS.iter().find(begins_alike).map(|level| (*level).to_owned()).or_else(|| nearest(&word, LEVELS));
    meant.filter(|_| !LEVELS.contains(&word.as_str()) && !word.contains(['=', ':', '[']))
}

fn has_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether standard error goes to the journal, and was not redirected since (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// A line with its priority before it, as the journal reads it.
struct WithPriority<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithPriority<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, format::Writer::new(&mut text), event)?;
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        // The journal takes each line for an entry.
        text.lines().try_for_each(|line| writeln!(writer, "<{priority}>{line}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn gathered_lines_are_written_together_and_whole() {
        static WRITTEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
        OUT.set(|lines| WRITTEN.lock().unwrap().push(String::from_utf8(lines.to_vec()).unwrap())).unwrap();
        let written = || std::mem::take(&mut *WRITTEN.lock().unwrap());
        let log = |line: &str| Lines.write_all(line.as_bytes()).unwrap();
        log("before\n");
        assert_eq!(written(), ["before\n"]);
        let gathering = Gathering::begin();
        log("one\n");
        log("two\n");
        std::thread::spawn(move || log("elsewhere\n")).join().unwrap();
        assert_eq!(written(), ["elsewhere\n"]);
        drop(gathering);
        assert_eq!(written(), ["one\ntwo\n"]);
        let long = format!("{}\n", "x".repeat(4000));
        let panicked = std::panic::catch_unwind(|| {
            let _gathering = Gathering::begin();
            log(&long);
            log("short\n");
            log(&long);
            panic!("a bug");
        });
        assert!(panicked.is_err());
        assert_eq!(written(), [format!("{long}short\n"), long], "no line is parted");
    }

    #[test]
    fn what_is_wrong_in_a_filter_is_named_and_the_rest_holds() {
        let cases = [
            ("", "", None),
            ("debug", "debug", None),
            ("WARN", "WARN", None),
            (" info , hyper=debug,", "info hyper=debug", None),
            ("one_api_sidecar::agent", "one_api_sidecar::agent", None),
            ("inof", "", Some(("inof", Some("info")))),
            ("warning,hyper=off", "hyper=off", Some(("warning", Some("warn")))),
            ("err", "", Some(("err", Some("error")))),
            ("hyper=loud,error", "error", Some(("hyper=loud", None))),
        ];
        for (words, held, wrong) in cases {
            let (found, problems) = filter(words);
            assert_eq!(found.join(" "), held, "{words}");
            let named = |(found, nearest): (&str, Option<&str>)| AgentReason::LogFilter {
                found: found.to_owned(),
                nearest: nearest.map(str::to_owned),
            };
            assert_eq!(problems, wrong.map(named).into_iter().collect::<Vec<_>>(), "{words}");
        }
    }
}
