//! What New API stores in a channel's row as JSON. Pure; every way in through SQL reads it.

/// new-api `model/channel.go`: `ChannelInfo`, stored as JSON.
pub(super) fn is_multi_key(channel_info: &[u8]) -> bool {
    field(channel_info, "is_multi_key").is_some_and(|value| value == true)
}

/// new-api `model/channel.go`: `UpdateChannelStatus` keeps `status_reason` in `other_info`.
pub(super) fn status_reason(other_info: &[u8]) -> Option<String> {
    let reason = field(other_info, "status_reason")?;
    reason.as_str().filter(|reason| !reason.is_empty()).map(str::to_owned)
}

fn field(json: &[u8], name: &str) -> Option<serde_json::Value> {
    serde_json::from_slice::<serde_json::Value>(json).ok()?.get_mut(name).map(serde_json::Value::take)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_new_api_stores_as_json_is_read_and_rubbish_is_not() {
        assert!(is_multi_key(br#"{"is_multi_key":true,"multi_key_size":2}"#));
        for no in [&br#"{"is_multi_key":false}"#[..], b"", b"{", b"null", br#"{"is_multi_key":"true"}"#, b"[]"] {
            assert!(!is_multi_key(no));
        }
        let reason = br#"{"status_reason":"status_code=401","status_time":1}"#;
        assert_eq!(status_reason(reason).as_deref(), Some("status_code=401"));
        for none in [&b""[..], br#"{"status_reason":""}"#, br#"{"status_reason":5}"#, b"\xff"] {
            assert_eq!(status_reason(none), None);
        }
    }
}
