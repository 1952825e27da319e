//! The words of the page that [`crate::telemetry::page`] renders.

/// The words of the page. Patterns hold `{}` once.
#[derive(Debug, Clone, Copy)]
pub struct PageWords {
    /// The value of `lang`.
    pub lang: &'static str,
    /// The headline when nothing is the matter.
    pub all_well: &'static str,
    /// The headline when so many matters need a person.
    pub act: fn(usize) -> String,
    /// The headline when so many matters mend themselves, or may.
    pub watch: fn(usize) -> String,
    /// The headline when the config has no credential.
    pub empty: &'static str,
    /// Pattern for the config file to add one to.
    pub empty_hint: &'static str,
    /// How many credentials and channels there are.
    pub count: fn(usize, usize) -> String,
    /// Pattern for how far away the next refresh is, and whose.
    pub next: fn(&str, &str) -> String,
    /// Headings.
    pub attention: &'static str,
    /// The same.
    pub credentials: &'static str,
    /// The same.
    pub events: &'static str,
    /// The same.
    pub notifiers: &'static str,
    /// Before a remedy.
    pub remedy: &'static str,
    /// Pattern for when a trouble began.
    pub since: &'static str,
    /// Pattern for how many names are not written out.
    pub more: &'static str,
    /// Pattern for how many matters, or rows, are not.
    pub more_below: &'static str,
    /// The same for credentials that the page leaves out.
    pub left_out: &'static str,
    /// A matter's title where it is not a state: config, vault, notifier, channel that waits.
    pub config_rejected: &'static str,
    /// The same.
    pub vault_trouble: &'static str,
    /// The same.
    pub notifier_trouble: &'static str,
    /// The same.
    pub undelivered: &'static str,
    /// The agent is one pass, or the page was asked of something that is no agent.
    pub no_agent: &'static str,
    /// Pattern for when the next request is due.
    pub refresh: &'static str,
    /// The next request is due now.
    pub refresh_now: &'static str,
    /// Pattern for when the key dies.
    pub expires: &'static str,
    /// Pattern for when it died.
    pub expired: &'static str,
    /// Where there is no key.
    pub no_key: &'static str,
    /// Labels of moments in a credential's details.
    pub issued: &'static str,
    /// The same.
    pub refresh_at: &'static str,
    /// The same.
    pub deadline: &'static str,
    /// The same.
    pub expires_at: &'static str,
    /// The same.
    pub refreshed_at: &'static str,
    /// Failures in a row.
    pub failures: fn(u32) -> String,
    /// Pattern for a channel's address.
    pub channel: &'static str,
    /// A channel and its state.
    pub channel_is: fn(&str, &str) -> String,
    /// How many channels there are.
    pub channels: fn(usize) -> String,
    /// A credential without a channel that was seen.
    pub no_channels: &'static str,
    /// The legend of the bars: what has passed of a life.
    pub lived: &'static str,
    /// The same: the next refresh.
    pub next_refresh: &'static str,
    /// The same: the span in which the gateway may go on using a key that dies meanwhile.
    pub too_late: &'static str,
    /// What stands in the filter field while it is empty.
    pub filter: &'static str,
    /// How many rows the filter leaves; fields shown, all.
    pub filtered: &'static str,
    /// Nothing happened yet.
    pub no_events: &'static str,
    /// The config has no notifier.
    pub no_notifiers: &'static str,
    /// A notifier that took its last message.
    pub takes: &'static str,
    /// A notifier that got none yet.
    pub untried: &'static str,
    /// How many messages a notifier took.
    pub taken: fn(u64) -> String,
    /// Pattern for when the last message went.
    pub last_message: &'static str,
    /// Pattern for the moment that is shown.
    pub as_of: &'static str,
    /// Without JavaScript.
    pub still: &'static str,
    /// Pattern for since when the agent does not answer.
    pub lost: &'static str,
    /// Pattern for since when the agent runs.
    pub runs_since: &'static str,
    /// Pattern for when the config was read.
    pub config_read: &'static str,
    /// Pattern for the time zone.
    pub zone: &'static str,
}
