//! What the demo counts and what it shows: live lines while it runs, a summary and a verdict at the end.
//!
//! A fold over events; never shows a token.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::Event;

/// Prints the live lines to standard error.
#[derive(Clone, Copy)]
pub(super) struct Screen {
    started: Instant,
    colour: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { started: Instant::now(), colour: wanted && std::io::stderr().is_terminal() }
    }

    /// One line: when, what about, what.
    pub(super) fn line(&self, topic: &str, text: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let (dim, bold, plain) = if self.colour { ("\x1b[2m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        // A reader that went away (`demo | head`) is no reason to fail.
        let _ = writeln!(std::io::stderr(), "{dim}{seconds:6.1} s{plain}  {bold}{topic:<8}{plain} {text}");
    }
}

/// What happened so far.
pub(super) struct Tally {
    screen: Screen,
    /// Answers whose key has not been seen yet: access token → credential and moment.
    awaited: HashMap<String, (String, Instant)>,
    refreshes: BTreeMap<String, u32>,
    delays: Vec<Duration>,
    served: u32,
    refused: u32,
}

impl Tally {
    pub(super) fn new(screen: Screen) -> Self {
        let (awaited, refreshes) = (HashMap::new(), BTreeMap::new());
        Self { screen, awaited, refreshes, delays: Vec::new(), served: 0, refused: 0 }
    }

    /// How often this credential was refreshed, if every key that came of it has been seen.
    pub(super) fn delivered_refreshes(&self, credential: &str) -> u32 {
        let awaits = self.awaited.values().any(|(name, _)| name == credential);
        if awaits { 0 } else { self.refreshes.get(credential).copied().unwrap_or(0) }
    }

    /// Counts one event and shows it, if it is worth a line.
    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::Answered { client, access_token, at } => {
                let count = self.refreshes.entry(client.clone()).or_default();
                *count += 1;
                self.screen.line("refresh", &format!("{client}, number {count}"));
                self.awaited.insert(access_token, (client, at));
            }
            Event::KeyVisible { channel, key, at } => {
                let Some((client, answered)) = self.awaited.remove(&key) else { return };
                let delay = at.saturating_duration_since(answered);
                self.delays.push(delay);
                let (served, refused) = (self.served, self.refused);
                let text = format!(
                    "{client} → channel {channel}, {} after the answer · {served} requests served, {refused} refused",
                    milliseconds(delay)
                );
                self.screen.line("key", &text);
            }
            Event::Request { served: true } => self.served += 1,
            Event::Request { served: false } => self.refused += 1,
        }
    }

    pub(super) fn report(mut self, reuse_detected: u32, agent_exit: String) -> DemoReport {
        self.delays.sort_unstable();
        DemoReport {
            refreshes: self.refreshes,
            undelivered: self.awaited.len(),
            reuse_detected,
            served: self.served,
            refused: self.refused,
            visible_p50: self.delays.get(self.delays.len() / 2).copied(),
            visible_worst: self.delays.last().copied(),
            agent_exit,
        }
    }
}

/// What the demo came to.
#[derive(Debug, Clone)]
pub struct DemoReport {
    /// Refreshes by credential.
    pub refreshes: BTreeMap<String, u32>,
    /// Access tokens that were answered and never seen in a channel.
    pub undelivered: usize,
    /// Spent refresh tokens that the token endpoint saw again.
    pub reuse_detected: u32,
    /// Requests that the model endpoint served after a channel's first delivery.
    pub served: u32,
    /// Requests that it refused after a channel's first delivery.
    pub refused: u32,
    /// From the token endpoint's answer until the key could be read in the database: the median.
    pub visible_p50: Option<Duration>,
    /// The same, the worst.
    pub visible_worst: Option<Duration>,
    /// How the agent ended: its exit code, or the signal in words.
    pub agent_exit: String,
}

impl DemoReport {
    /// The promises that were not kept; empty when all is well.
    pub fn broken_promises(&self) -> Vec<String> {
        let promises = [
            (self.reuse_detected == 0, format!("{} spent refresh tokens were sent again", self.reuse_detected)),
            (self.refused == 0, format!("{} requests were refused", self.refused)),
            (self.served > 0, "no request was served".into()),
            (self.undelivered == 0, format!("{} keys never arrived", self.undelivered)),
            (self.agent_exit == "0", format!("the agent ended with {} in place of 0", self.agent_exit)),
        ];
        promises.into_iter().filter(|(kept, _)| !kept).map(|(_, broken)| broken).collect()
    }
}

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refreshes: Vec<String> = self.refreshes.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let delay = |delay: Option<Duration>| delay.map_or("–".into(), milliseconds);
        writeln!(f, "refreshes                {}", refreshes.join(", "))?;
        writeln!(f, "reuse detected           {}", self.reuse_detected)?;
        writeln!(f, "requests refused         {} of {}", self.refused, self.served + self.refused)?;
        writeln!(f, "answer → key visible     p50 {}, worst {}", delay(self.visible_p50), delay(self.visible_worst))?;
        write!(f, "agent's exit code        {}", self.agent_exit)
    }
}

fn milliseconds(length: Duration) -> String {
    format!("{:.1} ms", length.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_from_its_answer_and_a_missing_one_breaks_the_promise() {
        let mut tally = Tally::new(Screen::new());
        let answered = Instant::now();
        let answer = |token: &str| Event::Answered { client: "first".into(), access_token: token.into(), at: answered };
        tally.note(answer("a"));
        assert_eq!(tally.delivered_refreshes("first"), 0);
        let at = answered + Duration::from_millis(7);
        tally.note(Event::KeyVisible { channel: 1, key: "a".into(), at });
        assert_eq!(tally.delivered_refreshes("first"), 1);
        tally.note(Event::Request { served: true });
        tally.note(answer("b"));

        let report = tally.report(0, "0".into());
        assert_eq!(report.visible_p50, Some(Duration::from_millis(7)));
        assert_eq!(report.broken_promises(), ["1 keys never arrived"]);
    }
}
