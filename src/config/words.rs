//! The fields that take one of a few words: `method = "POST"`, `cache_lag = "auto"`.
//!
//! Owns how a word is read and what of a mistaken one may be repeated. What the words mean is [`super::plan`]'s.

#[cfg(test)]
use std::borrow::Cow;
use std::time::Duration;

#[cfg(test)]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::config::plan::{Algorithm, ClientAuth, Encoding, GatewayKind, Method, OnForeignKey, OnLostAnswer};
use crate::oauth::presets::{Preset, REGISTRY};
use crate::reason::{ConfigReason, Language};
use crate::shape::{FromToml, Reader, nearest, wrong_type};

/// Declares a field's words and what each stands for.
macro_rules! words {
    ($($type:ty: $($word:literal => $value:expr),+;)*) => {
        $(impl FromToml for $type {
            const EXPECTED: &'static str = "one of a few words, in quotes";

            fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
                word(&value, field, reader, &[$(($word, $value)),+])
            }
        })*
    };
}

words! {
    Language: "en" => Self::English, "zh-CN" => Self::Chinese;
    Kind: "auto" => Self(None), "one-api" => Self(Some(GatewayKind::OneApi)),
        "new-api" => Self(Some(GatewayKind::NewApi)), "one-hub" => Self(Some(GatewayKind::OneHub));
    OnForeignKey: "report" => Self::Report, "overwrite" => Self::Overwrite;
    Reenable: "auto" => Self::Auto, "never" => Self::Never;
    GrantType: "refresh_token" => Self::RefreshToken, "client_credentials" => Self::ClientCredentials,
        "jwt_bearer" => Self::JwtBearer, "urn:ietf:params:oauth:grant-type:jwt-bearer" => Self::JwtBearer;
    Algorithm: "RS256" => Self::Rs256, "ES256" => Self::Es256;
    Method: "POST" => Self::Post, "GET" => Self::Get;
    Encoding: "form" => Self::Form, "json" => Self::Json, "query" => Self::Query;
    ClientAuth: "none" => Self::None, "client_secret_post" => Self::ClientSecretPost,
        "client_secret_basic" => Self::ClientSecretBasic;
    OnLostAnswer: "ask_late" => Self::AskLate, "ask_now" => Self::AskNow, "halt" => Self::Halt;
}

/// Looks a word up.
fn word<T: FromToml + Clone>(
    value: &Spanned<DeValue<'_>>,
    field: &str,
    reader: &mut Reader,
    words: &[(&str, T)],
) -> Option<T> {
    let Some(text) = value.get_ref().as_str() else { return wrong_type(value, field, reader) };
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
    if found.is_none() {
        reader.error(field, value.span(), not_one_of(text, words.iter().map(|(word, _)| *word)));
    }
    found
}

/// The complaint about a word that nobody knows.
pub(super) fn not_one_of<'k>(text: &str, words: impl Iterator<Item = &'k str> + Clone) -> ConfigReason {
    ConfigReason::NotOneOf {
        found: repeatable(text).then(|| text.to_owned()),
        nearest: nearest(text, words.clone()),
        expected: words.map(str::to_owned).collect(),
    }
}

/// Whether a mistaken word may be repeated in a message: it reads like a word and so cannot be a pasted secret.
pub(super) fn repeatable(text: &str) -> bool {
    let wordlike = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && text.len() <= 24 && text.chars().all(wordlike)
}

/// What the gateway must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub Option<GatewayKind>);

#[cfg(test)]
impl JsonSchema for Kind {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": ["auto", "one-api", "new-api", "one-hub"]})
    }
}

/// A provider that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresetName(pub &'static Preset);

impl FromToml for PresetName {
    const EXPECTED: &'static str = "a known provider's name, in quotes";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        let Some(name) = value.get_ref().as_str() else { return wrong_type(&value, field, reader) };
        let found = Preset::named(name).map(Self);
        if found.is_none() {
            reader.error(field, value.span(), not_one_of(name, REGISTRY.iter().map(|preset| preset.name)));
        }
        found
    }
}

#[cfg(test)]
impl JsonSchema for PresetName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Preset".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = REGISTRY.iter().map(|preset| preset.name).collect();
        json_schema!({"enum": names})
    }
}

/// Whether a channel that the old key got disabled is enabled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(rename_all = "snake_case"))]
pub enum Reenable {
    /// It is, where the key was the cause.
    Auto,
    /// It is left as it is.
    Never,
}

/// How a new access token is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(rename_all = "snake_case"))]
pub enum GrantType {
    /// With a refresh token (RFC 6749 §6).
    RefreshToken,
    /// With the client's own credentials (RFC 6749 §4.4).
    ClientCredentials,
    /// With a signed assertion (RFC 7523).
    #[cfg_attr(test, schemars(extend("enum" = ["jwt_bearer", "urn:ietf:params:oauth:grant-type:jwt-bearer"])))]
    JwtBearer,
}

/// `"auto"`, `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotates(pub Option<bool>);

impl FromToml for Rotates {
    const EXPECTED: &'static str = "\"auto\", true or false";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(known) => Some(Self(Some(*known))),
            DeValue::String(_) => word(&value, field, reader, &[("auto", Self(None))]),
            _ => wrong_type(&value, field, reader),
        }
    }
}

#[cfg(test)]
impl JsonSchema for Rotates {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Rotates".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": ["auto", true, false]})
    }
}

/// `"auto"` or a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoOrLength(pub Option<Duration>);

impl FromToml for AutoOrLength {
    const EXPECTED: &'static str = "\"auto\" or a length of time in quotes, like \"90s\"";

    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        match value.get_ref().as_str() {
            None => wrong_type(&value, field, reader),
            Some("auto") => Some(Self(None)),
            Some(_) => Duration::from_toml(value, field, reader).map(|length| Self(Some(length))),
        }
    }
}

#[cfg(test)]
impl JsonSchema for AutoOrLength {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AutoOrLength".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^(auto|\\s*([0-9]+\\s*[a-zA-Z]+\\s*)+)$", "examples": ["auto", "0s", "10m"]})
    }
}
