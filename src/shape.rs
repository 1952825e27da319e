//! Reads TOML tables field by field and gathers every problem with its place.
//!
//! The parser's own tree keeps spans and recovers from syntax errors; deserializing whole structs would stop at
//! the first mistake and lose the spans. [`section!`](crate::section) declares a table's shape once: the struct,
//! its reader and its JSON schema come from it. Called by `config` and by whatever parses its own table (a
//! notifier). Leaf: knows nothing of what the fields mean.

#[cfg(test)]
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(test)]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::finding::Severity;
use crate::reason::ConfigReason;
use crate::secret::{Secret, SecretSource, TextOrSecret};

/// A byte range in the config file's text.
pub type Span = Range<usize>;

/// A value and where it stands in the file.
#[derive(Debug, Clone)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

#[cfg(test)]
impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// One thing wrong in the config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// An error keeps the file from being applied; a warning does not.
    pub severity: Severity,
    /// The field, as a path: `credential "openai".token_url`, `gateway`.
    pub field: String,
    /// Where it stands; `None` for what is missing altogether.
    pub span: Option<Span>,
    /// Whether the source line may be shown: it cannot hold a secret.
    pub line_is_safe: bool,
    /// What is wrong.
    pub reason: ConfigReason,
}

/// Gathers problems while tables are read.
#[derive(Debug, Default)]
pub struct Reader {
    /// What was found so far.
    pub problems: Vec<Problem>,
}

impl Reader {
    /// Notes an error at a place.
    pub fn error(&mut self, field: impl Into<String>, span: impl Into<Option<Span>>, reason: ConfigReason) {
        self.problems.push(Problem {
            severity: Severity::Error,
            field: field.into(),
            span: span.into(),
            line_is_safe: false,
            reason,
        });
    }

    /// Notes a warning at a place.
    pub fn warning(&mut self, field: impl Into<String>, span: impl Into<Option<Span>>, reason: ConfigReason) {
        self.error(field, span, reason);
        if let Some(last) = self.problems.last_mut() {
            last.severity = Severity::Warning;
        }
    }
}

/// A type that can be read from a TOML value.
pub trait FromToml: Sized {
    /// What is expected, for the message: `text`, `a table`, …
    const EXPECTED: &'static str;

    /// Reads it; on failure the problem is noted and `None` returned.
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self>;
}

/// What stands there, in the words of TOML, without the value.
pub fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Notes that a value is of the wrong type.
pub fn wrong_type<T: FromToml>(value: &Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<T> {
    let reason = ConfigReason::WrongType { expected: T::EXPECTED.into(), found: type_name(value.get_ref()).into() };
    reader.error(field, value.span(), reason);
    None
}

/// A table that is read field by field.
pub struct Section<'a, 'r> {
    field: String,
    span: Span,
    table: DeTable<'a>,
    known: Vec<&'static str>,
    reader: &'r mut Reader,
}

impl<'a, 'r> Section<'a, 'r> {
    /// Opens a value that should be a table.
    pub fn open(value: Spanned<DeValue<'a>>, field: &str, reader: &'r mut Reader) -> Option<Self> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(Self { field: field.into(), span, table, known: Vec::new(), reader }),
            other => {
                let reason = ConfigReason::WrongType { expected: "a table".into(), found: type_name(&other).into() };
                reader.error(field, span, reason);
                None
            }
        }
    }

    /// Where the table stands.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Takes one field out, if it is there and of the right type.
    pub fn take<T: FromToml>(&mut self, key: &'static str) -> Option<At<T>> {
        let key = key.trim_start_matches("r#");
        self.known.push(key);
        let value = self.table.remove(key)?;
        let span = value.span();
        let field = join(&self.field, key);
        T::from_toml(value, &field, self.reader).map(|value| At { value, span })
    }

    /// Notes each of these fields that is not there. To be asked before they are taken.
    pub fn need(&mut self, keys: &[&str]) {
        for key in keys {
            if !self.table.contains_key(*key) {
                self.error("", None, ConfigReason::MissingField { field: (*key).to_owned() });
            }
        }
    }

    /// Notes an error about one of its fields, or about the whole where the key is empty.
    pub fn error(&mut self, key: &str, span: Option<Span>, reason: ConfigReason) {
        let field = if key.is_empty() { self.field.clone() } else { join(&self.field, key) };
        self.reader.error(field, span.unwrap_or_else(|| self.span.clone()), reason);
    }

    /// Notes what is left over: keys that nobody asked for.
    pub fn finish(self) {
        for (key, _) in &self.table {
            let name = key.get_ref();
            let reason = ConfigReason::UnknownKey {
                key: name.to_string(),
                nearest: nearest(name, self.known.iter().copied()),
                known: self.known.iter().map(|known| (*known).to_owned()).collect(),
            };
            self.reader.error(join(&self.field, name), key.span(), reason);
        }
    }
}

fn join(field: &str, key: &str) -> String {
    if field.is_empty() { key.into() } else { format!("{field}.{key}") }
}

/// The known word nearest to a misspelt one: at most a third of its letters (and at least one) may differ.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let word = word.to_lowercase().replace('-', "_");
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// Declares a table of the config file once: a struct whose fields are all optional and know their place, its
/// reader, and its JSON schema.
#[macro_export]
macro_rules! section {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        #[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
        pub struct $name {
            $($(#[$field_meta])* #[cfg_attr(test, schemars(default))] pub $field: Option<$crate::shape::At<$type>>,)*
        }

        impl $crate::shape::FromToml for $name {
            const EXPECTED: &'static str = "a table";

            fn from_toml(
                value: toml::Spanned<toml::de::DeValue<'_>>,
                field: &str,
                reader: &mut $crate::shape::Reader,
            ) -> Option<Self> {
                let mut section = $crate::shape::Section::open(value, field, reader)?;
                let read = Self::take_from(&mut section);
                section.finish();
                Some(read)
            }
        }

        impl $name {
            /// Takes these fields out of a table that may have others beside them.
            pub fn take_from(section: &mut $crate::shape::Section<'_, '_>) -> Self {
                Self { $($field: section.take(stringify!($field)),)* }
            }
        }
    };
}

impl FromToml for String {
    const EXPECTED: &'static str = "text";
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => wrong_type(&value, field, reader),
        }
    }
}

impl FromToml for bool {
    const EXPECTED: &'static str = "true or false";
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        value.get_ref().as_bool().or_else(|| wrong_type(&value, field, reader))
    }
}

impl FromToml for i64 {
    const EXPECTED: &'static str = "a whole number";
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        let Some(integer) = value.get_ref().as_integer() else { return wrong_type(&value, field, reader) };
        let parsed = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if parsed.is_none() {
            reader.error(field, value.span(), ConfigReason::OutOfRange { bounds: "64 bits".into() });
        }
        parsed
    }
}

impl FromToml for Duration {
    const EXPECTED: &'static str = "a length of time in quotes, like \"90s\" or \"1h 30m\"";
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else { return wrong_type(&value, field, reader) };
        let parsed = humantime::parse_duration(text.trim()).ok();
        if parsed.is_none() {
            reader.error(field, value.span(), ConfigReason::BadDuration);
        }
        parsed
    }
}

/// A [`Duration`] that has a JSON schema: text like `"1h 30m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(pub Duration);

impl FromToml for Length {
    const EXPECTED: &'static str = Duration::EXPECTED;
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        Duration::from_toml(value, field, reader).map(Self)
    }
}

#[cfg(test)]
impl JsonSchema for Length {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Length".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^\\s*([0-9]+\\s*[a-zA-Z]+\\s*)+$", "examples": ["90s", "1h 30m"]})
    }
}

impl FromToml for PathBuf {
    const EXPECTED: &'static str = "a path in quotes";
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        match value.get_ref().as_str() {
            Some("") => {
                reader.error(field, value.span(), ConfigReason::OutOfRange { bounds: "not empty".into() });
                None
            }
            Some(text) => Some(text.into()),
            None => wrong_type(&value, field, reader),
        }
    }
}

impl<T: FromToml> FromToml for Vec<At<T>> {
    const EXPECTED: &'static str = "a list in [ ]";
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        if !value.get_ref().is_array() {
            return wrong_type(&value, field, reader);
        }
        let DeValue::Array(array) = value.into_inner() else { return None };
        let mut items = Vec::new();
        for (index, item) in array.into_iter().enumerate() {
            let span = item.span();
            if let Some(value) = T::from_toml(item, &format!("{field}[{index}]"), reader) {
                items.push(At { value, span });
            }
        }
        Some(items)
    }
}

impl<T: FromToml> FromToml for BTreeMap<String, At<T>> {
    const EXPECTED: &'static str = "a table";
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        if !value.get_ref().is_table() {
            return wrong_type(&value, field, reader);
        }
        let DeValue::Table(table) = value.into_inner() else { return None };
        let mut entries = BTreeMap::new();
        for (key, item) in table {
            let span = item.span();
            let key = key.into_inner().into_owned();
            if let Some(value) = T::from_toml(item, &join(field, &key), reader) {
                entries.insert(key, At { value, span });
            }
        }
        Some(entries)
    }
}

section! {
    /// A secret's table: exactly one of the sources.
    pub struct SecretTable {
        /// An environment variable; if it is unset, the file named by NAME_FILE.
        pub env: String,
        /// A file; one trailing newline is trimmed.
        pub file: String,
        /// An entry in the Secret Service.
        pub keyring: String,
        /// The keyring entry's service. Default: one-api-sidecar.
        pub service: String,
        /// A file in $CREDENTIALS_DIRECTORY.
        pub systemd_credential: String,
        /// The value itself; only in a file that nobody else can read.
        pub value: String,
    }
}

impl FromToml for SecretSource {
    const EXPECTED: &'static str = "a table that says where the secret is, like { env = \"NAME\" }";
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        let span = value.span();
        if let DeValue::String(text) = value.get_ref() {
            reader.error(field, span, ConfigReason::BareSecret { env: variable_in(text) });
            return None;
        }
        if !value.get_ref().is_table() {
            return wrong_type(&value, field, reader);
        }
        let before = reader.problems.len();
        let table = SecretTable::from_toml(value, field, reader)?;
        if reader.problems.len() > before {
            return None;
        }
        let service = table.service.map(|service| service.value);
        let has_service = service.is_some();
        let sources: Vec<Self> = [
            table.env.map(|env| Self::Env(env.value)),
            table.file.map(|file| Self::File(file.value.into())),
            table.keyring.map(|entry| Self::Keyring {
                service: service.unwrap_or_else(|| Self::DEFAULT_KEYRING_SERVICE.into()),
                entry: entry.value,
            }),
            table.systemd_credential.map(|name| Self::SystemdCredential(name.value)),
            table.value.map(|value| Self::Value(Secret::new(value.value))),
        ]
        .into_iter()
        .flatten()
        .collect();
        let [source] = <[Self; 1]>::try_from(sources)
            .map_err(|_| reader.error(field, span.clone(), ConfigReason::SecretSources))
            .ok()?;
        if has_service && !matches!(source, Self::Keyring { .. }) {
            let reason = ConfigReason::Needs { field: "service".into(), other: "keyring".into() };
            reader.error(field, span, reason);
            return None;
        }
        if source.names_nothing() {
            reader.error(field, span, ConfigReason::OutOfRange { bounds: "not empty".into() });
            return None;
        }
        Some(source)
    }
}

impl SecretSource {
    fn names_nothing(&self) -> bool {
        match self {
            Self::Env(name) | Self::SystemdCredential(name) => name.is_empty() || name.contains(['=', '\0', '/']),
            Self::File(path) => path.as_os_str().is_empty(),
            Self::Keyring { service, entry } => service.is_empty() || entry.is_empty(),
            Self::Value(value) => value.is_empty(),
        }
    }
}

/// The variable that `$X` or `${X}` names.
fn variable_in(text: &str) -> Option<String> {
    let name = text.strip_prefix('$')?;
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    // A variable's name begins with no digit; `$2024…` is more likely a secret.
    let sane = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    sane.then(|| name.to_owned())
}

#[cfg(test)]
impl JsonSchema for SecretSource {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        SecretTable::json_schema(generator)
    }
}

impl FromToml for TextOrSecret {
    const EXPECTED: &'static str = "text, or a table that says where the secret is";
    fn from_toml(value: Spanned<DeValue<'_>>, field: &str, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => Some(Self::Text(text.to_string())),
            DeValue::Table(_) => SecretSource::from_toml(value, field, reader).map(Self::Secret),
            _ => wrong_type(&value, field, reader),
        }
    }
}

#[cfg(test)]
impl JsonSchema for TextOrSecret {
    fn schema_name() -> Cow<'static, str> {
        "TextOrSecret".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<SecretSource>();
        json_schema!({"anyOf": [{"type": "string"}, secret]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found_and_far_ones_are_not() {
        let known = ["token_url", "timeout", "client_id", "refresh_token"];
        for (written, expected) in [
            ("token_ulr", Some("token_url")),
            ("tokenurl", Some("token_url")),
            ("token-url", Some("token_url")),
            ("clientid", Some("client_id")),
            ("refresh_tokn", Some("refresh_token")),
            ("xyz", None),
        ] {
            assert_eq!(nearest(written, known).as_deref(), expected, "{written}");
        }
    }

    #[test]
    fn a_dollar_name_suggests_the_variable() {
        assert_eq!(variable_in("$OPENAI_KEY").as_deref(), Some("OPENAI_KEY"));
        assert_eq!(variable_in("${OPENAI_KEY}").as_deref(), Some("OPENAI_KEY"));
        assert_eq!(variable_in("$2y$10$abcdef"), None);
        assert_eq!(variable_in("$20240101"), None);
        assert_eq!(variable_in("sk-abc"), None);
    }
}
