//! Problems as people and editors read them: file, line, column, what is wrong, what to do.
//!
//! Owns the form; the sentences come from whoever calls. Of the file's text it shows table headers and keys that the
//! config knows, and never anything right of an `=`: a secret may stand there.

use std::fmt::Write;

use serde::Serialize;

use crate::config::lines::Lines;
use crate::config::places;
use crate::finding::Severity;
use crate::reason::ConfigReason;
use crate::shape::{Problem, Span};

/// What stands for a value.
const HIDDEN: char = '…';

/// The words around a problem.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// What keeps the file from being applied.
    pub error: &'a str,
    /// What does not.
    pub warning: &'a str,
    /// Before the remedy.
    pub help: &'a str,
}

impl Default for Labels<'_> {
    fn default() -> Self {
        Self { error: "error", warning: "warning", help: "help" }
    }
}

/// A problem in words, as `check --json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// The field: `credential "openai".token_url`.
    pub field: String,
    /// Whether it keeps the file from being applied.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Puts problems into words, sorted by place. `words` says of a reason what is wrong and what to do.
pub fn reports(
    file: &str,
    text: &str,
    problems: &[Problem],
    words: impl Fn(&ConfigReason) -> (String, String),
) -> Vec<Report> {
    let lines = Lines::of(text);
    let mut reports: Vec<Report> = problems
        .iter()
        .map(|problem| {
            let place = problem.span.as_ref().map(|span| lines.place(text, span.start));
            let (message, remedy) = words(&problem.reason);
            Report {
                file: file.to_owned(),
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                field: problem.field.clone(),
                severity: problem.severity,
                message,
                remedy,
            }
        })
        .collect();
    reports.sort_by_key(|report| (report.line, report.column));
    reports
}

/// The problems as a compiler would print them, sorted by place.
pub fn render(
    file: &str,
    text: &str,
    problems: &[Problem],
    labels: &Labels<'_>,
    words: impl Fn(&ConfigReason) -> (String, String),
) -> String {
    let lines = Lines::of(text);
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
    let mut out = String::new();
    for problem in sorted {
        out.push_str(file);
        if let Some(span) = &problem.span {
            let (line, column) = lines.place(text, span.start);
            // Writing to a String cannot fail, here and below.
            let _ = write!(out, ":{line}:{column}");
        }
        let severity = match problem.severity {
            Severity::Error => labels.error,
            Severity::Warning => labels.warning,
        };
        let (message, remedy) = words(&problem.reason);
        let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
        let _ = writeln!(out, ": {severity}: {field}{message}");
        if let Some(excerpt) = problem.span.as_ref().and_then(|span| excerpt(text, &lines, span)) {
            out.push_str(&excerpt);
        }
        let _ = writeln!(out, "  {}: {remedy}", labels.help);
    }
    out
}

/// The line with a caret under the place, if anything of the line may be shown.
fn excerpt(text: &str, lines: &Lines, span: &Span) -> Option<String> {
    let (line, column) = lines.place(text, span.start);
    let content = lines.text(text, line).trim_start_matches('\u{feff}');
    let shown = shown_of(content)?;
    // The caret is under the key, or under what stands for the value.
    let last = shown.chars().count() - 1;
    let start = (column - 1).min(last);
    let ends_with_value = shown.ends_with(HIDDEN);
    let end =
        if start == last { last + 1 } else { (start + span.len().max(1)).min(last + usize::from(!ends_with_value)) };
    let indent: String = shown.chars().take(start).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let carets = "^".repeat(end.saturating_sub(start).max(1));
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    Some(format!("  {number} | {shown}\n  {margin} | {indent}{carets}\n"))
}

/// What may be shown of a line: a table's header, or a key and a mark in place of its value.
fn shown_of(line: &str) -> Option<String> {
    let is_known = |path: &str| path.split('.').all(|key| places::resembles_a_key(key.trim()));
    let indent = &line[..line.len() - line.trim_start().len()];
    let rest = line.trim_start();
    if let Some(header) = rest.strip_prefix('[') {
        let header = header.trim_start_matches('[');
        let name = header.split(']').next()?;
        let brackets = header[name.len()..].chars().take_while(|c| *c == ']').count();
        return is_known(name).then(|| line[..line.len() - header.len() + name.len() + brackets].to_owned());
    }
    let (key, _) = rest.split_once('=')?;
    is_known(key).then(|| format!("{indent}{key}= {HIDDEN}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_line_only_known_keys_and_headers_are_shown() {
        for (line, expected) in [
            ("token_ulr = \"sentinel\"", Some("token_ulr = …")),
            ("  client_id=\"sentinel\" # sentinel", Some("  client_id= …")),
            ("backoff.min = \"1s\"", Some("backoff.min = …")),
            ("[[credential]] # sentinel", Some("[[credential]]")),
            ("[credential.response]", Some("[credential.response]")),
            ("[[credental]", Some("[[credental]")),
            ("[sk-sentinel]", None),
            ("sk-sentinel-12345 = 1", None),
            ("\"sentinel\" = 1", None),
            ("sentinel sentinel", None),
            ("# token_url = \"sentinel\"", None),
            ("", None),
        ] {
            assert_eq!(shown_of(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn the_caret_stands_under_the_key_or_under_the_hidden_value() {
        let text = "\ttoken_ulr = \"x\"\n";
        let lines = Lines::of(text);
        assert_eq!(excerpt(text, &lines, &(1..10)).unwrap(), "  1 | \ttoken_ulr = …\n    | \t^^^^^^^^^\n");
        assert_eq!(excerpt(text, &lines, &(13..16)).unwrap(), "  1 | \ttoken_ulr = …\n    | \t            ^\n");
        let text = "[gateway]";
        assert_eq!(excerpt(text, &Lines::of(text), &(0..9)).unwrap(), "  1 | [gateway]\n    | ^^^^^^^^^\n");
    }
}
