//! What notices are made of in English.

use crate::credential::event::{ChannelName, Topic};
use crate::messages::notice::{Headline, Kind, Phrases};
use crate::reason::{Reason, TokenReason};

/// The phrases of notices.
pub(in crate::messages) const PHRASES: Phrases = Phrases {
    title,
    note,
    channel,
    notifier: |name| format!("notifier {name}"),
    others: |count| match count {
        1 => " · and another matter".into(),
        _ => format!(" · and {count} other matters"),
    },
    since: |clock, ago| format!("since {clock}, {ago}"),
    dies: |clock, distance, dead| {
        if dead {
            format!("its key died at {clock}, {distance}")
        } else {
            format!("its key dies at {clock}, {distance}")
        }
    },
    failures: |count| if count == 1 { "1 failure".into() } else { format!("{count} failures in a row") },
    lasted: |length| format!("lasted {length}"),
    more: |count| format!("… and {count} more: `one-api-sidecar status` lists all."),
    test: [
        "Test: messages arrive",
        "Nothing has to be done. This is what `one-api-sidecar notify test` sends; real messages say what to do.",
    ],
    happened,
    sidecar: "The sidecar",
    cause: "Cause: ",
    remedy: "Do: ",
};

fn title(headline: &Headline<'_>) -> String {
    let who = who(headline);
    let dies = |otherwise: &str| match &headline.dies {
        Some((clock, distance)) => format!("{clock}, {distance}"),
        None => otherwise.to_owned(),
    };
    match headline.topic {
        Topic::Halted if headline.subjects.len() > 1 => format!("Act: {who} have stopped being refreshed"),
        Topic::Halted => match headline.reason {
            Some(Reason::Token(
                TokenReason::Misconfigured { .. }
                | TokenReason::SharedSeed { .. }
                | TokenReason::OtherClientsSeed { .. },
            )) => {
                format!("Correct the configuration of {who}")
            }
            _ => format!("Authorize {who} again"),
        },
        Topic::Uncertain => format!("No action yet: an answer for {who} was lost"),
        Topic::Expiring => format!("Help {who}: refreshing fails, the key dies at {}", dies("an unknown time")),
        Topic::Expired => format!("Help {who}: refreshing fails, and the key is dead"),
        Topic::Failing => format!("Watch {who}: refreshing fails"),
        Topic::Undelivered => format!("Mend the gateway: the key for {who} cannot be delivered"),
        Topic::ForeignKey => format!("Decide: somebody else changed the key of {who}"),
        Topic::ChannelMissing => format!("Correct the channels: {who} is not in the gateway"),
        Topic::Flapping => format!("Test {who}: the gateway keeps disabling it"),
        Topic::VaultTrouble => "Mend the vault: it cannot be written".into(),
        Topic::ConfigRejected => "Correct the config file: the edit was not taken".into(),
        Topic::UnusedDatabase => "Check the database path: no gateway seems to use it".into(),
        Topic::NotifierTrouble => format!("Mend {who}: messages do not get through"),
        Topic::Recovered => match &headline.lasted {
            Some(length) => format!("Over after {length}: {who} works again"),
            None => format!("Over: {who} works again"),
        },
        Topic::Reenabled => format!("For your information: {who} is enabled again"),
        Topic::Refreshed => format!("For your information: {who} was refreshed"),
        Topic::Started => "For your information: the sidecar has started".into(),
    }
}

fn happened(who: &str, topic: Topic, lasted: Option<&str>) -> String {
    match topic {
        Topic::Halted => format!("{who} is halted"),
        Topic::Uncertain => format!("An answer for {who} was lost"),
        Topic::Expiring => format!("Refreshing {who} goes on failing, and its key dies soon"),
        Topic::Expired => format!("The key of {who} died"),
        Topic::Failing => format!("Refreshing {who} fails"),
        Topic::Undelivered => format!("The key for {who} could not be delivered"),
        Topic::ForeignKey => format!("Somebody else changed the key of {who}"),
        Topic::ChannelMissing => format!("{who} is not in the gateway"),
        Topic::Flapping => format!("The gateway keeps disabling {who}"),
        Topic::VaultTrouble => "The vault could not be written".into(),
        Topic::ConfigRejected => "An edit of the config was not taken".into(),
        Topic::UnusedDatabase => "No gateway seems to use the database".into(),
        Topic::NotifierTrouble => format!("{who} did not take a message"),
        Topic::Recovered => match lasted {
            Some(length) => format!("{who} works again, after {length}"),
            None => format!("{who} works again"),
        },
        Topic::Reenabled => format!("{who} was enabled again"),
        Topic::Refreshed => format!("{who} was refreshed"),
        Topic::Started => "The sidecar started".into(),
    }
}

fn who(headline: &Headline<'_>) -> String {
    match headline.subjects.as_slice() {
        [] => "the sidecar".into(),
        [only] => only.clone(),
        [one, other] => format!("{one} and {other}"),
        many => {
            let kind = match headline.kind {
                Kind::Credentials => "credentials",
                Kind::Channels => "channels",
                Kind::Notifiers => "notifiers",
            };
            format!("{} {kind}", many.len())
        }
    }
}

fn note(topic: Topic) -> Option<&'static str> {
    match topic {
        Topic::Uncertain => Some("The present key goes on serving. The sidecar asks once more before it dies."),
        Topic::Expiring | Topic::Failing => Some("The present key still serves, and the sidecar goes on trying."),
        Topic::Expired => Some("Requests through its channels fail. The sidecar goes on trying."),
        Topic::Undelivered => Some("The fresh key is safe in the vault and is delivered as soon as that works."),
        Topic::ForeignKey => Some("The channel is left as it is; the credential goes on being refreshed."),
        Topic::ConfigRejected => Some(
            "The sidecar goes on with the last good config. `one-api-sidecar check` shows every problem and its place.",
        ),
        Topic::NotifierTrouble => Some("What is meant for it waits, and goes out together when it works again."),
        Topic::Halted
        | Topic::VaultTrouble
        | Topic::ChannelMissing
        | Topic::Flapping
        | Topic::UnusedDatabase
        | Topic::Recovered
        | Topic::Reenabled
        | Topic::Refreshed
        | Topic::Started => None,
    }
}

fn channel(channel: &ChannelName) -> String {
    let name = channel.further_name().map(|name| format!(" ({name})")).unwrap_or_default();
    format!("channel {}{name}", channel.address())
}
