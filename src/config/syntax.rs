//! From text to TOML's tree, recovering from as many syntax errors as it can.
//!
//! Owns what of the parser's words may be shown: never the text that it stumbled over.

use std::borrow::Cow;
use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::DeTable;

use crate::config::lines::Lines;
use crate::reason::ConfigReason;
use crate::shape::{Problem, Reader};

/// So many syntax errors are told at once; more are most likely one mistake's echo.
const MOST: usize = 20;

/// A text, and what is wrong with it as TOML.
pub(super) struct Syntax<'t> {
    /// The text, with blanks for the lines that would make the parser give up.
    text: Cow<'t, str>,
    /// A problem for each line with an error.
    pub(super) problems: Vec<Problem>,
    /// The headers (by offset) of the tables that have one.
    pub(super) broken: Vec<usize>,
    /// Where the first header with an error begins: what follows may have come into another table.
    pub(super) unreliable_from: Option<usize>,
}

impl<'t> Syntax<'t> {
    /// Finds the errors.
    pub(super) fn of(text: &'t str) -> Self {
        let lines = Lines::of(text);
        let mut reader = Reader::default();
        let mut broken = BTreeSet::new();
        let mut told = BTreeSet::new();
        let mut unreliable_from: Option<usize> = None;
        let mut text = Cow::Borrowed(text);
        loop {
            let (_, errors) = DeTable::parse_recoverable(&text);
            let mut fatal = None;
            for error in &errors {
                let span = error.span().unwrap_or_default();
                let span = span.start.min(text.len())..span.end.min(text.len());
                let line = lines.line(span.start);
                if told.len() < MOST && told.insert(line) {
                    let header = header_before(&text, span.start);
                    broken.insert(header);
                    if lines.line(header) == line && text[header..].starts_with('[') {
                        unreliable_from = Some(unreliable_from.map_or(header, |first| first.min(header)));
                    }
                    reader.error("", span, ConfigReason::Syntax { detail: detail(error.message()) });
                }
                // The parser gives up at a key without a value; the rest of the file is worth reading all the same.
                if WITHOUT_VALUE.iter().any(|words| error.message().starts_with(words)) {
                    fatal.get_or_insert(line);
                }
            }
            let line = fatal.filter(|_| told.len() < MOST);
            let Some(rest) = line.and_then(|line| without_line(&text, &lines, line)) else {
                let broken = broken.into_iter().collect();
                return Self { text, problems: reader.problems, broken, unreliable_from };
            };
            text = Cow::Owned(rest);
        }
    }

    /// The tree of what parses.
    pub(super) fn tree(&self) -> Spanned<DeTable<'_>> {
        DeTable::parse_recoverable(&self.text).0
    }
}

/// How the parser's words begin where it gives up.
const WITHOUT_VALUE: [&str; 2] = ["key with no value", "missing value for key"];

/// The text with a line turned into blanks, so that all offsets stay; `None` if it was blank already.
fn without_line(text: &str, lines: &Lines, line: usize) -> Option<String> {
    let content = lines.text(text, line);
    let start = content.as_ptr() as usize - text.as_ptr() as usize;
    let blank = " ".repeat(content.len());
    (content != blank).then(|| format!("{}{blank}{}", &text[..start], &text[start + content.len()..]))
}

/// Where the table begins that an offset lies in: the last line before it that starts with a bracket.
fn header_before(text: &str, offset: usize) -> usize {
    let mut start = 0;
    let mut header = 0;
    for line in text.split_inclusive('\n') {
        if start > offset {
            break;
        }
        if line.trim_start().starts_with('[') {
            header = start + (line.len() - line.trim_start().len());
        }
        start += line.len();
    }
    header
}

/// The parser's words without anything of the file: it quotes what it expected, and must not quote what it found.
fn detail(message: &str) -> String {
    let mut shown = String::new();
    for (index, piece) in message.split('`').enumerate() {
        let quoted = index % 2 == 1;
        match quoted {
            true if piece.chars().count() <= 3 && !piece.chars().any(char::is_alphanumeric) => {
                shown.push_str(&format!("`{piece}`"));
            }
            true => shown.push('…'),
            false => shown.extend(piece.chars().filter(|c| !c.is_ascii_digit())),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parsers_words_lose_what_they_quote_of_the_file() {
        assert_eq!(detail("key with no value, expected `=`"), "key with no value, expected `=`");
        assert_eq!(detail("invalid integer `48151623`"), "invalid integer …");
        assert_eq!(detail("unexpected 48151623 here"), "unexpected  here");
        assert_eq!(detail("unexpected `ab`"), "unexpected …");
    }

    #[test]
    fn a_line_that_is_no_toml_does_not_hide_the_rest() {
        let text = "[a]\nx = 1\nstray words\ny = 2\n[b\nz = 3\n[c]\nw = = 4\n";
        let syntax = Syntax::of(text);
        let tree = syntax.tree();
        let root = tree.get_ref();
        let lines: Vec<_> =
            syntax.problems.iter().map(|p| Lines::of(text).line(p.span.clone().unwrap().start)).collect();
        assert_eq!(lines, [3, 5, 8]);
        assert!(root.get("a").unwrap().get_ref().as_table().unwrap().contains_key("y"));
        assert!(root.contains_key("c"));
        assert_eq!(syntax.broken, [0, text.find("[b").unwrap(), text.find("[c]").unwrap()]);
    }
}
