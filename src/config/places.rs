//! Which keys the config file knows, and in which of its tables.
//!
//! Taken from the JSON schemas of the tables, so that a new field is known here without being told.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use crate::config::schema::schema;
use crate::config::words::repeatable;
use crate::shape::nearest;

/// A table of the file and its keys.
struct Place {
    name: &'static str,
    keys: Vec<&'static str>,
}

static PLACES: LazyLock<Vec<Place>> = LazyLock::new(|| {
    let keys = |table: &str| keys_of(&schema()["definitions"][table]).collect();
    vec![
        Place { name: "[gateway]", keys: keys("GatewaySection") },
        Place { name: "[vault]", keys: keys("VaultSection") },
        Place { name: "[server]", keys: keys("ServerSection") },
        Place { name: "[agent]", keys: keys("AgentSection") },
        Place { name: "[defaults]", keys: keys("DefaultsSection") },
        Place { name: "[[credential]]", keys: keys("CredentialSection") },
        Place { name: "[credential.response]", keys: keys("ResponseSection") },
        Place { name: "[credential.assertion]", keys: keys("AssertionSection") },
        Place { name: "[[notify]]", keys: of_every_service() },
    ]
});

/// Every key that may stand anywhere in the file.
static KEYS: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let mut all = BTreeSet::new();
    gather(schema(), &mut all);
    all
});

/// The keys that every service has.
fn of_every_service() -> Vec<&'static str> {
    let services = schema()["definitions"]["Notify"]["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some((first, others)) = services.split_first() else { return Vec::new() };
    keys_of(first).filter(|key| others.iter().all(|other| other["properties"].get(key).is_some())).collect()
}

fn gather(schema: &'static Value, all: &mut BTreeSet<&'static str>) {
    all.extend(keys_of(schema));
    match schema {
        Value::Object(parts) => parts.values().for_each(|part| gather(part, all)),
        Value::Array(parts) => parts.iter().for_each(|part| gather(part, all)),
        _ => {}
    }
}

fn keys_of(schema: &'static Value) -> impl Iterator<Item = &'static str> {
    schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys().map(String::as_str))
}

/// Parameters that services ask for and that people take for fields.
const PARAMETERS: [&str; 4] = ["audience", "redirect_uri", "resource", "state"];

/// Where a key belongs that is unknown in the table whose keys are `known`; `None` if it belongs nowhere.
pub(super) fn belongs(key: &str, known: &[String]) -> Option<String> {
    let is_secret_table = known.iter().any(|known| known == "systemd_credential");
    if is_secret_table {
        return None;
    }
    if key == "language" {
        return Some("above the first [table]".into());
    }
    if known.iter().any(|known| known == "params") && PARAMETERS.contains(&key) {
        return Some("[credential.params]".into());
    }
    let tables = ["gateway", "vault", "server", "agent", "defaults"].map(|name| (name, format!("[{name}]")));
    let lists = ["credential", "notify"].map(|name| (name, format!("[[{name}]]")));
    let nested = ["response", "assertion"].map(|name| (name, format!("[credential.{name}]")));
    if let Some((_, place)) = tables.into_iter().chain(lists).chain(nested).find(|(name, _)| *name == key) {
        return Some(place);
    }
    let places: Vec<_> = PLACES.iter().filter(|place| place.keys.contains(&key)).collect();
    (!places.is_empty()).then(|| places.iter().map(|place| place.name).collect::<Vec<_>>().join(", "))
}

/// A field's path as it may be shown: a key in it that could be a pasted secret is left out.
///
/// The names of entries (`credential "openai"`) were judged when the path was begun.
pub(super) fn shown_field(field: &str) -> String {
    let label = match field.find(['"', '.']) {
        Some(quote) if field[quote..].starts_with('"') => {
            field[quote + 1..].find('"').map_or(field.len(), |end| quote + 1 + end + 1)
        }
        _ => 0,
    };
    let shown = |segment: &str| {
        let key = segment.split('[').next().unwrap_or_default();
        // An entry without a name has its number: `credential #1`.
        let key = key.split(" #").next().unwrap_or_default();
        let may_be = key.is_empty() || repeatable(key) || resembles_a_key(key);
        if may_be { segment.to_owned() } else { "…".to_owned() }
    };
    let segments: Vec<String> = field[label..].split('.').map(shown).collect();
    format!("{}{}", &field[..label], segments.join("."))
}

/// Whether a key is known somewhere, or is a known one misspelt: such a key is no pasted secret.
pub(super) fn resembles_a_key(key: &str) -> bool {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    is_bare && nearest(key, KEYS.iter().copied()).is_some()
}
