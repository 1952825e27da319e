//! What a gateway's admin API answers, and what it means. Pure.
//!
//! A failure is mostly HTTP 200 with `"success": false`, and says what is wrong in words only. No answer is ever
//! repeated: the gateways echo the channel with its key.
//!
//! Sources: `controller/channel.go`, `middleware/auth.go` and `middleware/rate-limit.go` of songquanpeng/one-api@8df4a267,
//! QuantumNous/new-api@ef8ae4db and MartialBE/one-hub@387f8bf1; answers of the real programs.

use std::collections::HashSet;

use serde_json::Value;

use crate::channel::view::{ChannelView, Status};
use crate::config::plan::GatewayKind;
use crate::gateway::kind;
use crate::gateway::stored;
use crate::reason::{ApiFailure, GatewayReason};
use crate::secret::Secret;

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The API as a whole.
    Api(ApiFailure),
    /// There is no such channel.
    NoChannel,
    /// There is no such route: the gateway is of another kind, or older.
    NoRoute,
}

/// The `data` of a successful answer; `None` where it has none.
///
/// # Errors
/// What the answer means otherwise.
pub(super) fn data(status: u16, body: &[u8]) -> Result<Option<Value>, Refusal> {
    let envelope: Option<Value> = serde_json::from_slice(body).ok().filter(Value::is_object);
    let words = envelope.as_ref().and_then(|envelope| envelope["message"].as_str()).unwrap_or_default();
    match (status, envelope.as_ref().map(|envelope| &envelope["success"])) {
        (429, _) => Err(Refusal::Api(ApiFailure::RateLimited)),
        (200, Some(Value::Bool(true))) => {
            Ok(envelope.and_then(|mut envelope| envelope.get_mut("data").map(Value::take)))
        }
        (_, Some(Value::Bool(false))) => Err(meaning(words)),
        (401 | 403, _) => Err(Refusal::Api(ApiFailure::Denied)),
        (404 | 405, _) => Err(Refusal::NoRoute),
        (status, _) => Err(Refusal::Api(ApiFailure::NotTheApi { status })),
    }
}

/// What the words of a failure mean, in the languages of the gateways.
fn meaning(words: &str) -> Refusal {
    let words = words.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|one| words.contains(one));
    if says(&["new-api-user"]) {
        Refusal::Api(ApiFailure::WrongUser)
    } else if says(&["权限不足", "insufficient privilege", "permission"]) {
        Refusal::Api(ApiFailure::NotAnAdministrator)
    } else if says(&["access token", "未登录", "not logged in", "unauthorized", "封禁", "banned"]) {
        Refusal::Api(ApiFailure::Denied)
    } else if says(&["record not found", "不存在", "not found", "not exist"]) {
        Refusal::NoChannel
    } else if says(&["too many requests", "请求过于频繁"]) {
        Refusal::Api(ApiFailure::RateLimited)
    } else {
        Refusal::Api(ApiFailure::Refused)
    }
}

/// The channels of a page of `GET /api/channel/`, in each gateway's way of wrapping them.
///
/// # Errors
/// When it is no list.
pub(super) fn page(data: &Value) -> Result<&[Value], ApiFailure> {
    let wrapped = || ["items", "data"].iter().find_map(|name| data.get(name));
    match if data.is_object() { wrapped() } else { Some(data) } {
        Some(Value::Array(list)) => Ok(list),
        // one-hub and new-api write `null` for an empty list.
        Some(Value::Null) => Ok(&[]),
        _ => Err(ApiFailure::NotTheApi { status: 200 }),
    }
}

/// A channel as the API shows it: mostly without its key.
pub(super) fn view(channel: &Value) -> Option<ChannelView> {
    let json = |name: &str| match &channel[name] {
        // Stored as text in one version, as JSON in another.
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    Some(ChannelView {
        id: channel["id"].as_i64()?,
        kind: channel["type"].as_i64()?,
        name: channel["name"].as_str().unwrap_or_default().to_owned(),
        status: Status::from(channel["status"].as_i64()?),
        key: key(channel),
        created_time: channel["created_time"].as_i64().unwrap_or_default(),
        status_reason: stored::status_reason(&json("other_info")),
        multi_key: stored::is_multi_key(&json("channel_info")),
        abilities_off: false,
    })
}

/// The key, where it is shown: in the answer to a write.
pub(super) fn key(channel: &Value) -> Option<Secret> {
    channel["key"].as_str().filter(|key| !key.is_empty()).map(Secret::new)
}

/// Which gateway shows its channels in this way.
///
/// # Errors
/// The fields that were looked for and not found.
pub(super) fn recognise(channel: &Value) -> Result<GatewayKind, GatewayReason> {
    let fields = channel.as_object().map(|fields| fields.keys().cloned().collect());
    let mut fields: HashSet<String> = fields.unwrap_or_default();
    // Hidden, or left out where empty, in some version of each.
    fields.insert("key".to_owned());
    if ["only_chat", "plugin"].iter().any(|mark| fields.contains(*mark)) && !fields.contains("auto_ban") {
        fields.insert("deleted_at".to_owned());
    }
    kind::recognise(&fields).map_err(|missing| GatewayReason::Unknown { missing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(status: u16, body: &Value) -> Refusal {
        data(status, body.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn a_failure_in_an_answer_of_200_is_a_failure() {
        let says = |message: &str| refusal(200, &json!({"success": false, "message": message}));
        for (message, expected) in [
            ("无权进行此操作，access token 无效", Refusal::Api(ApiFailure::Denied)),
            ("无权进行此操作，未登录且未提供 access token", Refusal::Api(ApiFailure::Denied)),
            ("无权进行此操作，权限不足", Refusal::Api(ApiFailure::NotAnAdministrator)),
            ("无权进行此操作，与登录用户不匹配，请检查 New-Api-User", Refusal::Api(ApiFailure::WrongUser)),
            ("record not found", Refusal::NoChannel),
            ("database is locked", Refusal::Api(ApiFailure::Refused)),
            ("", Refusal::Api(ApiFailure::Refused)),
        ] {
            assert_eq!(says(message), expected, "{message}");
        }
    }

    #[test]
    fn statuses_that_are_no_answer_are_told_apart() {
        let success = json!({"success": true, "data": 1});
        assert_eq!(data(200, success.to_string().as_bytes()), Ok(Some(json!(1))));
        assert_eq!(data(200, br#"{"success":true}"#), Ok(None));
        assert_eq!(refusal(429, &json!({})), Refusal::Api(ApiFailure::RateLimited));
        assert_eq!(refusal(401, &json!({"message": "x"})), Refusal::Api(ApiFailure::Denied));
        let user = json!({"success": false, "message": "无权进行此操作，未提供 New-Api-User"});
        assert_eq!(refusal(401, &user), Refusal::Api(ApiFailure::WrongUser));
        assert_eq!(data(404, b"404 page not found"), Err(Refusal::NoRoute));
        assert_eq!(data(502, b"<html>"), Err(Refusal::Api(ApiFailure::NotTheApi { status: 502 })));
        assert_eq!(data(200, b"<!doctype html>"), Err(Refusal::Api(ApiFailure::NotTheApi { status: 200 })));
        assert_eq!(data(200, b"{}"), Err(Refusal::Api(ApiFailure::NotTheApi { status: 200 })));
        assert_eq!(data(301, &[]), Err(Refusal::Api(ApiFailure::NotTheApi { status: 301 })));
    }

    #[test]
    fn every_gateways_list_is_read() {
        let one = json!({"id": 1});
        for list in [json!([one]), json!({"items": [one], "total": 1}), json!({"data": [one], "page": 1})] {
            assert_eq!(page(&list).unwrap(), std::slice::from_ref(&one), "{list}");
        }
        for empty in [json!([]), json!(null), json!({"items": null, "total": 0}), json!({"data": []})] {
            assert!(page(&empty).unwrap().is_empty(), "{empty}");
        }
        for no_list in [json!("text"), json!({}), json!({"total": 0}), json!({"items": 0}), json!({"data": {}})] {
            assert_eq!(page(&no_list), Err(ApiFailure::NotTheApi { status: 200 }), "{no_list}");
        }
    }

    #[test]
    fn the_gateways_are_told_apart_by_what_they_show() {
        let fields = |more: &[&str]| {
            let common = ["id", "type", "status", "name", "created_time"];
            Value::Object(common.iter().chain(more).map(|name| ((*name).to_owned(), Value::Null)).collect())
        };
        assert_eq!(recognise(&fields(&["key", "config"])), Ok(GatewayKind::OneApi));
        assert_eq!(recognise(&fields(&["auto_ban", "other_info", "channel_info"])), Ok(GatewayKind::NewApi));
        assert_eq!(recognise(&fields(&["only_chat", "plugin", "proxy"])), Ok(GatewayKind::OneHub));
        assert!(matches!(recognise(&json!({"id": 1})), Err(GatewayReason::Unknown { .. })));
    }

    #[test]
    fn a_channel_is_read_with_the_reason_it_was_disabled_for() {
        let shown = json!({
            "id": 7, "type": 50, "name": "a", "status": 3, "key": "", "created_time": 5,
            "other_info": "{\"status_reason\":\"status_code=401\"}", "channel_info": {"is_multi_key": true},
        });
        let view = view(&shown).unwrap();
        assert_eq!((view.id, view.kind, view.status, view.created_time), (7, 50, Status::AutoDisabled, 5));
        assert_eq!((view.key, view.multi_key, view.status_reason.as_deref()), (None, true, Some("status_code=401")));
        assert_eq!(super::view(&json!({"name": "a"})), None);
    }
}
