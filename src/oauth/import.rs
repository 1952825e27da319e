//! Refresh tokens out of files that other tools keep. Pure: what a file is, and where in it things stand.
//!
//! An explicit list of formats, each publicly documented; nothing is guessed. What is in none of them is told by
//! JSON pointers on the command line.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::reason::LoginReason;
use crate::secret::Secret;

/// A file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// What people call it.
    pub name: &'static str,
    /// A field that only this format has, with its text, if that matters.
    mark: (&'static str, Option<&'static str>),
    /// JSON pointer to the refresh token; empty where such a file holds none.
    refresh_token: &'static str,
    /// JSON pointer to the client's identifier, if the file has it.
    client_id: &'static str,
    /// JSON pointer to the client's secret, if the file has it.
    client_secret: &'static str,
    /// The fields of a credential that uses it, a line each. `FILE` is the file, `REGION` a field of the AWS format.
    pub fields: &'static str,
}

/// Every format there is, the most particular first.
pub const FORMATS: &[Format] = &[
    // https://cloud.google.com/docs/authentication/application-default-credentials
    Format {
        name: "gcloud application default credentials",
        mark: ("/type", Some("authorized_user")),
        refresh_token: "/refresh_token",
        client_id: "/client_id",
        client_secret: "/client_secret",
        fields: "preset        = \"google\"",
    },
    // https://cloud.google.com/iam/docs/keys-create-delete
    Format {
        name: "Google service account key",
        mark: ("/type", Some("service_account")),
        refresh_token: "",
        client_id: "",
        client_secret: "",
        fields: "preset        = \"google-service-account\"\nassertion     = { key = { file = \"FILE\" } }",
    },
    // https://docs.aws.amazon.com/sdkref/latest/guide/understanding-sso.html
    Format {
        name: "AWS IAM Identity Center token cache",
        mark: ("/refreshToken", None),
        refresh_token: "/refreshToken",
        client_id: "/clientId",
        client_secret: "/clientSecret",
        fields: "preset        = \"aws-sso\"\ntoken_url     = \"https://oidc.REGION.amazonaws.com/token\"",
    },
    // https://github.com/openai/codex: codex-rs, auth storage
    Format {
        name: "Codex auth.json",
        mark: ("/tokens/refresh_token", None),
        refresh_token: "/tokens/refresh_token",
        client_id: "",
        client_secret: "",
        fields: "token_url     = \"https://auth.openai.com/oauth/token\"\nencoding      = \"json\"\nrotates       = true",
    },
    // RFC 6749 §5.1
    Format {
        name: "token answer",
        mark: ("/refresh_token", None),
        refresh_token: "/refresh_token",
        client_id: "/client_id",
        client_secret: "/client_secret",
        fields: "token_url     = \"https://…\"",
    },
];

/// Where the command line says that things stand.
pub const POINTERS: [&str; 2] = ["refresh_token", "client_id"];

/// What a file holds.
#[derive(Debug)]
pub struct Found {
    /// The format's name; `None` where pointers alone told what to take.
    pub format: Option<&'static Format>,
    /// The refresh token.
    pub refresh_token: Option<Secret>,
    /// The client's identifier.
    pub client_id: Option<String>,
    /// Where a client's secret stands.
    pub client_secret: Option<&'static str>,
    /// The region of an AWS file.
    pub region: Option<String>,
}

/// Looks into a file.
///
/// # Errors
/// When it is in no known format, or a pointer leads to nothing. Nothing of the file is shown.
pub fn read(text: &str, pointers: &BTreeMap<String, String>) -> Result<Found, LoginReason> {
    let unknown =
        || LoginReason::UnknownFormat { known: FORMATS.iter().map(|format| format.name.to_owned()).collect() };
    let body: Value = serde_json::from_str(text).map_err(|_| unknown())?;
    let at = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).filter(|text| is_plain(text));
    let told = |field: &str| -> Result<Option<&str>, LoginReason> {
        let Some(pointer) = pointers.get(field) else { return Ok(None) };
        at(pointer).map(Some).ok_or_else(|| LoginReason::NothingThere { field: field.into(), pointer: pointer.clone() })
    };
    let has_mark = |format: &&Format| match format.mark {
        (pointer, Some(word)) => at(pointer) == Some(word),
        (pointer, None) => at(pointer).is_some(),
    };
    let (refresh_token, client_id) = (told("refresh_token")?, told("client_id")?);
    let format = if refresh_token.is_some() { None } else { Some(FORMATS.iter().find(has_mark).ok_or_else(unknown)?) };
    let of_format = |pointer: fn(&Format) -> &'static str| {
        format.map(pointer).filter(|pointer| !pointer.is_empty()).and_then(|pointer| Some((pointer, at(pointer)?)))
    };
    let refresh_token = refresh_token.or(of_format(|format| format.refresh_token).map(|(_, token)| token));
    if refresh_token.is_none() && format.is_some_and(|format| !format.refresh_token.is_empty()) {
        return Err(unknown());
    }
    Ok(Found {
        format,
        refresh_token: refresh_token.map(Secret::new),
        client_id: client_id.or(of_format(|format| format.client_id).map(|(_, id)| id)).map(str::to_owned),
        client_secret: of_format(|format| format.client_secret).map(|(pointer, _)| pointer),
        region: at("/region").filter(|region| is_region(region)).map(str::to_owned),
    })
}

/// Whether a text may be a token or an identifier: one line of visible ASCII.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 * 1024 && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

fn is_region(text: &str) -> bool {
    text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, pointers: &[(&str, &str)]) -> Result<Found, LoginReason> {
        let pointers = pointers.iter().map(|(field, at)| ((*field).to_owned(), (*at).to_owned())).collect();
        read(text, &pointers)
    }

    #[test]
    fn every_format_is_told_by_its_mark() {
        for (text, name, token, client) in [
            (
                r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r","account":""}"#,
                "gcloud application default credentials",
                Some("r"),
                Some("c"),
            ),
            (
                r#"{"type":"service_account","client_email":"e","private_key":"k"}"#,
                "Google service account key",
                None,
                None,
            ),
            (
                r#"{"startUrl":"u","region":"eu-west-1","accessToken":"a","expiresAt":"t","clientId":"c","clientSecret":"s","refreshToken":"r"}"#,
                "AWS IAM Identity Center token cache",
                Some("r"),
                Some("c"),
            ),
            (
                r#"{"OPENAI_API_KEY":null,"tokens":{"id_token":"i","access_token":"a","refresh_token":"r","account_id":"x"},"last_refresh":"t"}"#,
                "Codex auth.json",
                Some("r"),
                None,
            ),
            (r#"{"access_token":"a","refresh_token":"r","expires_in":3600}"#, "token answer", Some("r"), None),
        ] {
            let found = found(text, &[]).unwrap();
            assert_eq!(found.format.map(|format| format.name), Some(name));
            assert_eq!(found.refresh_token, token.map(Secret::new), "{name}");
            assert_eq!(found.client_id.as_deref(), client, "{name}");
            assert_eq!(found.client_secret.is_some(), client.is_some(), "{name}");
        }
    }

    #[test]
    fn pointers_win_and_must_lead_somewhere() {
        let text = r#"{"refresh_token":"r","deep":{"t":"sentinel","id":"c"}}"#;
        let told = found(text, &[("refresh_token", "/deep/t"), ("client_id", "/deep/id")]).unwrap();
        assert_eq!((told.refresh_token, told.client_id.as_deref()), (Some(Secret::new("sentinel")), Some("c")));
        assert!(told.format.is_none());
        let nothing = found(text, &[("refresh_token", "/deep")]).unwrap_err();
        assert_eq!(nothing, LoginReason::NothingThere { field: "refresh_token".into(), pointer: "/deep".into() });
    }

    #[test]
    fn what_is_in_no_format_is_refused_without_being_shown() {
        for text in [
            "",
            "sentinel",
            "{}",
            "[1]",
            r#"{"refresh_token":7}"#,
            r#"{"refresh_token":"a\nb"}"#,
            r#"{"type":"authorized_user"}"#,
        ] {
            assert!(matches!(found(text, &[]), Err(LoginReason::UnknownFormat { .. })), "{text}");
        }
    }
}
