//! The `channel_key` template: what is written into a channel, made from a token answer.
//!
//! Fields in braces: `{access_token}`, `{id_token}`, `{expires_at}` (Unix seconds) and any JSON pointer into the
//! answer, `{/a/b}`. `{{` and `}}` are literal braces. Pure.

use std::borrow::Cow;

use crate::config::words::repeatable;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Cow<'static, [Part]>,
}

/// One piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that is written as it stands.
    Text(String),
    /// The access token.
    AccessToken,
    /// The ID token.
    IdToken,
    /// When the access token dies, in Unix seconds.
    ExpiresAt,
    /// A value from the answer, by JSON pointer (RFC 6901).
    Pointer(String),
}

impl Default for Template {
    /// `{access_token}`.
    fn default() -> Self {
        Self { parts: Cow::Borrowed(&[Part::AccessToken]) }
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// A short English phrase that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(after_pair) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after_pair;
                continue;
            }
            let end = after.find('}').filter(|_| brace == "{").ok_or("a brace without its partner")?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(match &after[..end] {
                "access_token" => Part::AccessToken,
                "id_token" => Part::IdToken,
                "expires_at" => Part::ExpiresAt,
                pointer if pointer.starts_with('/') => Part::Pointer(pointer.to_owned()),
                other => {
                    // Somebody may have pasted a token here.
                    let other = if repeatable(other) { other } else { "…" };
                    return Err(format!(
                        "no field {{{other}}}; there are {{access_token}}, {{id_token}}, {{expires_at}} and {{/json/pointer}}"
                    ));
                }
            });
            rest = &after[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        if parts.iter().all(|part| matches!(part, Part::Text(_) | Part::ExpiresAt)) {
            return Err("it holds no token, e.g. {access_token}".into());
        }
        if parts.iter().any(|part| matches!(part, Part::Text(text) if text.chars().any(char::is_control))) {
            return Err("it holds a line break or another control character".into());
        }
        Ok(if parts == [Part::AccessToken] { Self::default() } else { Self { parts: parts.into() } })
    }

    /// The pieces in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The JSON pointers it needs from the answer.
    pub fn pointers(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Pointer(pointer) => Some(pointer.as_str()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse_into_their_parts() {
        assert_eq!(Template::parse("{access_token}").unwrap(), Template::default());
        let template = Template::parse("Bearer {access_token}").unwrap();
        assert_eq!(template.parts(), [Part::Text("Bearer ".into()), Part::AccessToken]);
        let template = Template::parse(r#"{{"t":"{/a/b}","e":{expires_at}}}"#).unwrap();
        assert_eq!(
            template.parts(),
            [
                Part::Text("{\"t\":\"".into()),
                Part::Pointer("/a/b".into()),
                Part::Text("\",\"e\":".into()),
                Part::ExpiresAt,
                Part::Text("}".into()),
            ]
        );
        assert_eq!(template.pointers().collect::<Vec<_>>(), ["/a/b"]);
    }

    proptest::proptest! {
        #[test]
        fn row_55_any_text_is_read_without_a_panic(text in "[{}/a-z_ \\n\\u{0}é]{0,40}") {
            if let Ok(template) = Template::parse(&text) {
                let is_token = |part: &Part| !matches!(part, Part::Text(_) | Part::ExpiresAt);
                proptest::prop_assert!(template.parts().iter().any(is_token));
            }
        }
    }

    #[test]
    fn bad_templates_say_why() {
        for (text, why) in [
            ("plain", "no token"),
            ("{expires_at}", "no token"),
            ("{token}", "no field {token}"),
            ("{access_token", "partner"),
            ("access_token}", "partner"),
            ("a\n{access_token}", "line break"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
