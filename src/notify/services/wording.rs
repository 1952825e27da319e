//! Texts as services want them: cut where they count, escaped where they have a markup.

use super::Notice;

/// What stands where something was cut off.
const CUT: char = '…';

impl Notice {
    /// Title and body as one text, for services that know no titles.
    pub(super) fn text(&self) -> String {
        format!("{}\n\n{}", self.title, self.body)
    }
}

/// A service's own words, fit to be shown: one line without control characters, at most 100 characters.
pub(super) fn shown(words: &str) -> Option<String> {
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The first characters of a text, the last of them "…" where something was cut off.
pub(super) fn first_chars(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain([CUT]).collect()
}

/// The first bytes of a text in UTF-8, cut between characters, with "…" at the end where something was cut off.
pub(super) fn first_bytes(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub(CUT.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", &text[..end])
}

/// A plain text as Markdown: every line is one, and nothing but commands in backticks has a form.
pub(super) fn markdown(text: &str) -> String {
    // Renderers join single lines; an empty one between them parts them in every dialect.
    text.lines().filter(|line| !line.is_empty()).map(markdown_line).collect::<Vec<_>>().join("\n\n")
}

fn markdown_line(line: &str) -> String {
    // A backtick without its partner is a character like the others.
    let has_code = line.matches('`').count().is_multiple_of(2);
    let mut escaped = String::with_capacity(line.len());
    let mut in_code = false;
    for c in line.chars() {
        in_code ^= has_code && c == '`';
        let special = matches!(c, '\\' | '*' | '_' | '[' | '<') || (c == '`' && !has_code);
        if special && !in_code {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
