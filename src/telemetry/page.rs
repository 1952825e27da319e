//! The page (`/`): how everything stands, for people. Pure: it renders the one [`Status`] that the command and the API
//! show too, whole on the server, so that it is complete without JavaScript; a small script asks for it again.
//!
//! Template, style and script lie in `page/`. What a status holds is escaped by the template; the few places that make
//! HTML here say so by their type ([`Safe`]). The style and the script are known to the browser by their hashes, and
//! nothing else is allowed to it.

mod attention;
mod rows;

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::Duration;

use askama::Template;
use askama::filters::{Html, Safe, escape};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ring::digest::{SHA256, digest};

use crate::channel::policy::ChannelState;
use crate::config::plan::DEFAULT_GATEWAY;
use crate::messages::{self, PageWords, Words};
use crate::telemetry::status::{
    ChannelStatus, CredentialState, CredentialStatus, EventStatus, NotifierStatus, Status, channel_word,
};
use crate::time::{LocalClock, Timestamp};

use attention::{Matter, matters};
use rows::{Row, rows};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// Events that are seen without a click.
const EVENTS_AT_ONCE: usize = 8;
/// Matters that are written out; what comes after them is in the list.
const MATTERS: usize = 20;
/// Credentials that are listed, what needs attention first: a browser is no place for ten thousand rows.
const ROWS: usize = 2000;
/// From so many rows on each takes one line.
const MANY_ROWS: usize = 12;

/// What goes with the page: the browser may use this style and this script and ask this server, and nothing else
/// (<https://www.w3.org/TR/CSP3/>); nobody may frame it, guess its type, or learn where its reader comes from.
pub static HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy)),
        (header::X_CONTENT_TYPE_OPTIONS, Ok(HeaderValue::from_static("nosniff"))),
        (header::X_FRAME_OPTIONS, Ok(HeaderValue::from_static("DENY"))),
        (header::REFERRER_POLICY, Ok(HeaderValue::from_static("no-referrer"))),
        (HeaderName::from_static("cross-origin-opener-policy"), Ok(HeaderValue::from_static("same-origin"))),
        (HeaderName::from_static("cross-origin-resource-policy"), Ok(HeaderValue::from_static("same-origin"))),
    ];
    headers.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))).collect()
});

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

/// How well something is: by its shape and its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Mood {
    /// A person is needed.
    Act,
    /// It mends itself, or may; or it can wait.
    Watch,
    /// Nothing is known of it, or nothing is wanted.
    Idle,
    /// All is well.
    Well,
}

impl Mood {
    fn of_credential(credential: &CredentialStatus) -> Self {
        match credential.state {
            // Its first refresh token cannot be read: it waits for a person.
            CredentialState::Waiting if credential.last_error.is_some() => Self::Act,
            CredentialState::Halted | CredentialState::Expired => Self::Act,
            CredentialState::Uncertain | CredentialState::Failing => Self::Watch,
            CredentialState::Waiting | CredentialState::Disabled => Self::Idle,
            CredentialState::Active => Self::Well,
        }
    }

    fn of_channel(channel: &ChannelStatus) -> Self {
        match channel.state {
            ChannelState::Foreign
            | ChannelState::Missing
            | ChannelState::Flapping
            | ChannelState::Unsupported
            | ChannelState::Conflict => Self::Act,
            // What a person did with a channel is no trouble.
            ChannelState::DisabledByHand | ChannelState::Released => Self::Idle,
            ChannelState::Pending | ChannelState::Delivered if channel.problem.is_some() => Self::Watch,
            ChannelState::Pending => Self::Idle,
            ChannelState::Delivered => Self::Well,
        }
    }

    fn of_notifier(notifier: &NotifierStatus) -> Self {
        match (&notifier.problem, notifier.at) {
            (Some(_), _) => Self::Watch,
            (None, Some(_)) => Self::Well,
            (None, None) => Self::Idle,
        }
    }

    /// The name in the style and of the symbol.
    fn as_str(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Watch => "watch",
            Self::Idle => "idle",
            Self::Well => "ok",
        }
    }

    /// The browser tab's picture: an SVG, as a data URL has it.
    fn icon(self) -> String {
        let shape = match self {
            Self::Act => "%3Cpath fill='%23c5372c' d='M5 0h6l5 5v6l-5 5H5l-5-5V5z'/%3E",
            Self::Watch => "%3Cpath fill='%23c98a12' d='M8 0l8 15H0z'/%3E",
            Self::Idle => "%3Ccircle cx='8' cy='8' r='8' fill='%23808a94'/%3E",
            Self::Well => "%3Ccircle cx='8' cy='8' r='8' fill='%232f9467'/%3E",
        };
        format!("%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E{shape}%3C/svg%3E")
    }
}

impl Display for Mood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A status as a page in its language.
///
/// # Errors
/// When a value cannot be written out, which none of them can.
pub fn render(status: &Status) -> askama::Result<String> {
    let words = messages::words(status.language);
    let w = &words.page;
    let mut matters = matters(status, words);
    let acts = matters.iter().filter(|matter| matter.mood == Mood::Act).count();
    let (mood, headline) = match (acts, matters.len()) {
        (0, 0) if status.credentials.is_empty() => (Mood::Idle, w.empty.to_owned()),
        (0, 0) => (Mood::Well, w.all_well.to_owned()),
        (0, watches) => (Mood::Watch, (w.watch)(watches)),
        (acts, _) => (Mood::Act, (w.act)(acts)),
    };
    let unlisted = matters.len().saturating_sub(MATTERS);
    matters.truncate(MATTERS);
    let mut rows = rows(status, words);
    let left_out = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    let (latest, earlier) = status.events.split_at(status.events.len().min(EVENTS_AT_ONCE));
    let page = Page {
        status,
        words,
        w,
        clock: Clock(LocalClock::new(status.time)),
        build: build(status),
        mood,
        headline,
        subline: subline(status, words),
        matters,
        unlisted,
        dense: rows.len() >= MANY_ROWS,
        rows,
        left_out,
        latest,
        earlier,
        style: STYLE,
        script: SCRIPT,
    };
    let mut out = String::with_capacity(32 * 1024 + 1536 * page.rows.len());
    page.render_into(&mut out)?;
    Ok(out)
}

/// What a page that is open must be loaded anew for: its words, its style or its script are others.
fn build(status: &Status) -> String {
    static FILES: LazyLock<String> = LazyLock::new(|| hash(&[STYLE, SCRIPT].concat()));
    format!("{} {} {}", status.version, messages::words(status.language).page.lang, *FILES)
}

/// How many there are, and what comes next; or where to begin.
fn subline(status: &Status, words: &Words) -> String {
    if !status.agent.running {
        return words.page.no_agent.to_owned();
    }
    if status.credentials.is_empty() {
        return words.page.empty_hint.replace("{}", &status.agent.config.path);
    }
    let channels = status.credentials.iter().map(|credential| credential.channels.len()).sum();
    let count = (words.page.count)(status.credentials.len(), channels);
    let next =
        status.credentials.iter().filter_map(|credential| Some((credential.refresh_at?, &credential.name))).min();
    match next {
        Some((at, name)) => format!("{count} · {}", (words.page.next)(&distance(words, at, status.time), name)),
        None => count,
    }
}

/// How far a moment is from now, as exactly as it matters.
fn distance(words: &Words, at: Timestamp, now: Timestamp) -> String {
    if at > now { words.from_now(now + coarse(at.since(now)), now) } else { ago(words, at, now) }
}

/// How long ago something was, as exactly as it matters.
fn ago(words: &Words, at: Timestamp, now: Timestamp) -> String {
    words.since(now - coarse(now.since(at)), now)
}

/// Seconds count in the last minute, minutes on the last day.
fn coarse(length: Duration) -> Duration {
    let seconds = length.as_secs();
    Duration::from_secs(match seconds {
        0..60 => seconds,
        60..86_400 => seconds - seconds % 60,
        86_400.. => seconds - seconds % 3600,
    })
}

/// A text and what it ends with, apart.
fn without<'a>(text: Option<&'a String>, remedy: Option<&'a String>) -> (&'a str, &'a str) {
    let (text, remedy) = (text.map_or("", String::as_str), remedy.map_or("", String::as_str));
    (text.strip_suffix(remedy).unwrap_or(text).trim_end(), remedy)
}

/// A channel as its gateway and the commands call it: "channel 1", "channel eu/1".
fn channel_name(w: &PageWords, channel: &ChannelStatus) -> String {
    let known = channel.id.map_or_else(|| channel.name.clone(), |id| id.to_string());
    let address = match channel.gateway.as_str() {
        DEFAULT_GATEWAY => known,
        gateway => format!("{gateway}/{known}"),
    };
    w.channel.replace("{}", &address)
}

/// The same with the name that people gave it.
fn full_channel_name(w: &PageWords, channel: &ChannelStatus) -> String {
    let further = if channel.id.is_some() { channel.name.as_str() } else { "" };
    format!("{} {further}", channel_name(w, channel)).trim_end().to_owned()
}

/// Moments as elements whose text the script may put into the reader's own time zone.
struct Clock(LocalClock);

impl Clock {
    fn short(&self, at: &Timestamp) -> Safe<String> {
        // Both texts are digits and what stands between them.
        Safe(format!("<time datetime=\"{at}\">{}</time>", self.0.short(*at)))
    }

    fn exact(&self, at: &Timestamp) -> Safe<String> {
        Safe(format!("<time datetime=\"{at}\" data-s>{}</time>", self.0.exact(*at)))
    }
}

/// Everything that the template shows.
#[derive(Template)]
#[template(path = "page.html", config = "src/telemetry/page/askama.toml")]
struct Page<'a> {
    status: &'a Status,
    words: &'static Words,
    w: &'static PageWords,
    clock: Clock,
    build: String,
    mood: Mood,
    headline: String,
    subline: String,
    matters: Vec<Matter<'a>>,
    unlisted: usize,
    rows: Vec<Row<'a>>,
    dense: bool,
    left_out: usize,
    latest: &'a [EventStatus],
    earlier: &'a [EventStatus],
    style: &'static str,
    script: &'static str,
}

impl Page<'_> {
    /// A pattern with its value.
    fn filled(&self, pattern: &str, value: impl Display) -> String {
        pattern.replace("{}", &value.to_string())
    }

    /// A pattern with a moment in it.
    fn stamped(&self, pattern: &str, at: &Timestamp) -> Safe<String> {
        Safe(escaped(pattern).replace("{}", &self.clock.short(at).0))
    }

    /// The moment that is shown, and its zone.
    fn as_of(&self) -> Safe<String> {
        let moment = format!("{} {}", self.clock.exact(&self.status.time).0, self.zone_name());
        Safe(escaped(self.w.as_of).replace("{}", &moment))
    }

    fn zone(&self) -> Safe<String> {
        Safe(escaped(self.w.zone).replace("{}", &self.zone_name()))
    }

    fn zone_name(&self) -> String {
        format!("<span class=\"zone\">{}</span>", self.clock.0.zone())
    }

    /// A sentence whose parts in backticks are code.
    fn prose(&self, text: impl AsRef<str>) -> Safe<String> {
        let text = text.as_ref();
        let mut out = String::with_capacity(text.len() + 32);
        for (nth, part) in text.split('`').enumerate() {
            let (before, after) = if nth % 2 == 1 { ("<code>", "</code>") } else { ("", "") };
            out.extend([before, &escaped(part), after]);
        }
        Safe(out)
    }

    fn ago(&self, at: &Timestamp) -> String {
        ago(self.words, *at, self.status.time)
    }

    /// Since when something is as it is.
    fn since(&self, at: &Timestamp) -> Safe<String> {
        let since = self.stamped(self.w.since, at);
        Safe(format!("{} · {}", since.0, escaped(&self.ago(at))))
    }

    fn channel(&self, channel: &ChannelStatus) -> String {
        full_channel_name(self.w, channel)
    }

    fn channel_word(&self, channel: &ChannelStatus) -> &'static str {
        channel_word(self.words, channel.state)
    }

    /// When the key came that the channel holds.
    fn delivered<'s>(&self, channel: &'s ChannelStatus) -> Option<&'s Timestamp> {
        channel.delivered_at.as_ref().filter(|_| channel.state == ChannelState::Delivered)
    }

    fn event(&self, event: &EventStatus) -> Safe<String> {
        let cause = event.cause.as_ref().map(|cause| format!("<i>{}</i>", self.prose(cause).0)).unwrap_or_default();
        Safe(format!(
            "<li><small>{}</small><div>{}{cause}</div></li>\n",
            self.clock.short(&event.at).0,
            escaped(&event.text)
        ))
    }

    fn notifier(&self, notifier: &NotifierStatus) -> &'static str {
        match Mood::of_notifier(notifier) {
            Mood::Well => self.w.takes,
            Mood::Idle => self.w.untried,
            Mood::Watch | Mood::Act => self.words.refused,
        }
    }

    fn taken(&self, notifier: &NotifierStatus) -> String {
        (self.w.taken)(notifier.taken)
    }
}

fn escaped(text: &str) -> String {
    escape(text, Html).map(|escaped| escaped.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
