//! Which gateway a database belongs to, and which of its channels a bare access token can feed. Pure.
//!
//! Decides by the columns that are there and by nothing else; called by every way in and by the agent.

use std::collections::HashSet;

use crate::channel::view::ChannelView;
use crate::config::plan::GatewayKind;
use crate::reason::{ChannelReason, GatewayReason};

/// What every gateway's `channels` has, and what we cannot do without.
const NEEDED: [&str; 6] = ["id", "type", "key", "status", "name", "created_time"];

/// Tells the gateways apart by the columns of `channels`.
///
/// One-hub comes first (it soft-deletes), New API before One-API: a database that New API took over keeps One-API's
/// `config`. A fork with one half of a mark is nobody we know.
///
/// Sources: `type Channel struct` in `model/channel.go` of songquanpeng/one-api@8df4a267,
/// QuantumNous/new-api@ef8ae4db and MartialBE/one-hub@387f8bf1.
///
/// # Errors
/// The columns that were looked for and not found.
pub fn recognise(columns: &HashSet<String>) -> Result<GatewayKind, Vec<String>> {
    let missing_of = |names: &[&str]| -> Vec<String> {
        names.iter().filter(|name| !columns.contains(**name)).map(|name| (*name).to_owned()).collect()
    };
    let has = |name| columns.contains(name);

    let (kind, mut missing) = if has("deleted_at") {
        let only_one_hub = ["proxy", "plugin", "only_chat"];
        let missing = missing_of(&only_one_hub);
        // Any of them will do: they came with different versions.
        (GatewayKind::OneHub, if missing.len() < only_one_hub.len() { Vec::new() } else { missing })
    } else if has("auto_ban") || has("other_info") {
        (GatewayKind::NewApi, missing_of(&["auto_ban", "other_info"]))
    } else if has("config") {
        (GatewayKind::OneApi, Vec::new())
    } else {
        (GatewayKind::OneApi, missing_of(&["config", "auto_ban", "other_info"]))
    };
    missing.extend(missing_of(&NEEDED));
    if missing.is_empty() { Ok(kind) } else { Err(missing) }
}

/// [`recognise`] by the columns of both tables, for a database that has `channels`. `place` is its name, as it may be shown.
///
/// # Errors
/// That it is nobody's we know, or still in the making.
pub fn identify(
    channels: &HashSet<String>,
    abilities: &HashSet<String>,
    place: &str,
) -> Result<GatewayKind, GatewayReason> {
    let kind = recognise(channels).map_err(|missing| GatewayReason::Unknown { missing })?;
    if kind == GatewayKind::OneHub {
        return Ok(kind);
    }
    if abilities.is_empty() {
        return Err(GatewayReason::NotMigrated { path: place.to_owned() });
    }
    let needed = ["channel_id", "enabled"].into_iter();
    let missing: Vec<String> =
        needed.filter(|name| !abilities.contains(*name)).map(|name| format!("abilities.{name}")).collect();
    if missing.is_empty() { Ok(kind) } else { Err(GatewayReason::Unknown { missing }) }
}

/// Whether SQL may feed a gateway of this kind, and whether it is what the config says. `is_told` says that its admin API
/// makes it load what SQL wrote.
///
/// # Errors
/// Why not.
pub fn accept(found: GatewayKind, wanted: Option<GatewayKind>, is_told: bool) -> Result<(), GatewayReason> {
    match wanted {
        // It routes from memory and its master never reloads: what SQL wrote is never seen.
        _ if found == GatewayKind::OneHub && !is_told => Err(GatewayReason::OneHub),
        Some(wanted) if wanted != found => {
            Err(GatewayReason::OtherKind { wanted: wanted.as_str().to_owned(), found: found.as_str().to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether a channel is one that nobody but the gateway may write, whatever the key.
///
/// Sources: `ChannelInfo.IsMultiKey` in new-api `model/channel.go` (its key is a list, one a line);
/// `ChannelTypeCodex = 57` in new-api `constant/channel.go` (new-api refreshes these itself, and the refresh token
/// is single-use).
pub fn belongs_to_the_gateway(kind: GatewayKind, channel_type: i64, multi_key: bool) -> Option<ChannelReason> {
    const NEW_API_CODEX: i64 = 57;
    if multi_key {
        return Some(ChannelReason::MultiKey);
    }
    (kind == GatewayKind::NewApi && channel_type == NEW_API_CODEX).then_some(ChannelReason::SelfRefreshing)
}

/// Whether a key written into this channel would do what it is meant to.
///
/// `key_is_explicit` says that the config wrote a `channel_key` for it: then a key that is not a bare token is
/// somebody's intention.
///
/// Sources: one-api `relay/channeltype/define.go` and the adaptors beside it: 33 AWS and 42 Vertex read `config`
/// and ignore the key; 15 Baidu, 18 Xunfei and 23 Tencent split it at `|`; 43 (proxy) sends it verbatim as
/// `Authorization`. new-api `constant/channel.go` and `relay/channel/*`: 33 AWS, 50 Kling and 51 Jimeng split it too,
/// 41 Vertex takes a JSON document; its 42 and 43 are ordinary bearer channels.
///
/// # Errors
/// Why it would not.
pub fn supports(kind: GatewayKind, view: &ChannelView, key_is_explicit: bool) -> Result<(), ChannelReason> {
    if let Some(reason) = belongs_to_the_gateway(kind, view.kind, view.multi_key) {
        return Err(reason);
    }
    if view.key.as_ref().is_some_and(|key| key.expose().contains(char::REPLACEMENT_CHARACTER)) {
        // What it holds is not text. We could neither compare it before a write nor put it back afterwards.
        return Err(ChannelReason::UnsafeKey);
    }
    match (kind, view.kind) {
        (GatewayKind::OneApi, 33 | 42) => Err(ChannelReason::KeyIgnored { kind: view.kind }),
        (GatewayKind::OneApi, 15 | 18 | 23 | 43) | (GatewayKind::NewApi, 15 | 18 | 23 | 33 | 41 | 50 | 51)
            if !key_is_explicit =>
        {
            Err(ChannelReason::NeedsChannelKey { kind: view.kind })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::view::Status;
    use crate::secret::Secret;

    fn columns(more: &[&str]) -> HashSet<String> {
        NEEDED.iter().chain(more).map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_forks_are_told_apart_in_order() {
        for (more, expected) in [
            (&["config"][..], Ok(GatewayKind::OneApi)),
            (&["auto_ban", "other_info"], Ok(GatewayKind::NewApi)),
            (&["auto_ban", "other_info", "config", "channel_info"], Ok(GatewayKind::NewApi)),
            (&["deleted_at", "proxy", "plugin", "only_chat"], Ok(GatewayKind::OneHub)),
            (&["deleted_at", "only_chat", "config"], Ok(GatewayKind::OneHub)),
            (&[], Err(vec!["config", "auto_ban", "other_info"])),
            (&["auto_ban"], Err(vec!["other_info"])),
            (&["other_info", "config"], Err(vec!["auto_ban"])),
            (&["deleted_at", "config"], Err(vec!["proxy", "plugin", "only_chat"])),
        ] {
            let expected = expected.map_err(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(recognise(&columns(more)), expected, "{more:?}");
        }
    }

    #[test]
    fn every_needed_column_is_missed_by_name() {
        for name in NEEDED {
            let mut columns = columns(&["config"]);
            columns.remove(name);
            assert_eq!(recognise(&columns), Err(vec![name.to_owned()]));
        }
    }

    fn channel(kind: i64, key: &str) -> ChannelView {
        ChannelView {
            id: 1,
            kind,
            name: "a".into(),
            status: Status::Enabled,
            key: Some(Secret::new(key)),
            created_time: 1,
            multi_key: false,
            status_reason: None,
            abilities_off: false,
        }
    }

    #[test]
    fn row_38_types_that_a_bare_token_does_not_fit_are_refused() {
        use ChannelReason::{KeyIgnored, NeedsChannelKey, SelfRefreshing};
        use GatewayKind::{NewApi, OneApi};
        for (kind, channel_type, explicit, expected) in [
            (OneApi, 50, false, Ok(())),
            (OneApi, 33, true, Err(KeyIgnored { kind: 33 })),
            (OneApi, 42, false, Err(KeyIgnored { kind: 42 })),
            (OneApi, 18, false, Err(NeedsChannelKey { kind: 18 })),
            (OneApi, 43, true, Ok(())),
            (OneApi, 57, false, Ok(())),
            (NewApi, 57, true, Err(SelfRefreshing)),
            (NewApi, 43, false, Ok(())),
            (NewApi, 42, false, Ok(())),
            (NewApi, 41, false, Err(NeedsChannelKey { kind: 41 })),
        ] {
            let shown = format!("{kind:?} type {channel_type}, explicit {explicit}");
            assert_eq!(supports(kind, &channel(channel_type, "k"), explicit), expected, "{shown}");
        }
        let multi_key = ChannelView { multi_key: true, ..channel(1, "a\nb") };
        assert_eq!(supports(NewApi, &multi_key, true), Err(ChannelReason::MultiKey));
        assert_eq!(supports(OneApi, &channel(50, "\u{fffd}"), true), Err(ChannelReason::UnsafeKey));
    }
}
