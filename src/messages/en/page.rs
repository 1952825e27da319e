//! The words of the page in English.

use crate::messages::PageWords;

/// See the module.
pub(super) const WORDS: PageWords = PageWords {
    lang: "en",
    all_well: "All is well",
    act: |count| if count == 1 { "One matter needs you".into() } else { format!("{count} matters need you") },
    watch: |count| if count == 1 { "One matter to watch".into() } else { format!("{count} matters to watch") },
    empty: "No credentials yet",
    empty_hint: "Add a `[[credential]]` table to `{}`. It is read as soon as it is saved.",
    count: |credentials, channels| {
        let credentials = if credentials == 1 { "1 credential".into() } else { format!("{credentials} credentials") };
        format!("{credentials}, {}", count_channels(channels))
    },
    next: |when, whose| format!("next refresh {when} ({whose})"),
    attention: "What needs attention",
    credentials: "Credentials",
    events: "Lately",
    notifiers: "Messages",
    remedy: "What to do",
    since: "since {}",
    more: "and {} more",
    more_below: "and {} more, in the list below",
    left_out: "{} more are not shown here: `one-api-sidecar status` lists all.",
    config_rejected: "config not taken",
    vault_trouble: "vault cannot be written",
    notifier_trouble: "messages do not get through",
    undelivered: "key not delivered",
    no_agent: "This is no running agent: nothing here is refreshed.",
    refresh: "refresh {}",
    refresh_now: "refresh due now",
    expires: "expires {}",
    expired: "expired {}",
    no_key: "no key yet",
    issued: "key from",
    refresh_at: "next refresh",
    deadline: "new key needed by",
    expires_at: "expires",
    refreshed_at: "last refreshed",
    failures: |count| if count == 1 { "1 failure".into() } else { format!("{count} failures in a row") },
    channel: "channel {}",
    channel_is: |channel, state| format!("{channel}: {state}"),
    channels: count_channels,
    no_channels: "no channel",
    lived: "the key's life so far",
    next_refresh: "next refresh",
    too_late: "a new key is needed before this",
    filter: "Filter by name, state or channel",
    filtered: "{shown} of {all}",
    no_events: "Nothing has happened yet.",
    no_notifiers: "Nobody is told of trouble: the config has no `[[notify]]` table. docs/notifications.md has one for each service.",
    takes: "takes messages",
    untried: "nothing sent yet",
    taken: |count| if count == 1 { "1 message taken".into() } else { format!("{count} messages taken") },
    last_message: "the last one {}",
    as_of: "As of {}",
    still: "This is a picture of that moment. Reload the page for a new one.",
    lost: "The agent has not answered since {}. What you see is from then.",
    runs_since: "running since {}",
    config_read: "config read {}",
    zone: "times in {}",
};

fn count_channels(count: usize) -> String {
    if count == 1 { "1 channel".into() } else { format!("{count} channels") }
}
