//! Reads a file piece by piece: what stands before its first `[[credential]]`, and then each credential by itself.
//!
//! TOML's tree takes many times the room of its text. With thousands of credentials one tree of all would be most of
//! the memory that the program ever needs, and would leave its holes behind. A piece is a file of its own; together
//! they mean what the whole means as long as no table but the credentials is in two of them. Where that is not so, or
//! anything is wrong with the syntax, the whole is read at once.

use std::mem;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::file::{CredentialSection, Entry, Many, Tables};
use crate::config::preset;
use crate::shape::{At, Problem, Reader};

/// How a credential begins.
const HEADER: &str = "[[credential]]";

/// Reads the text, and tells what is wrong with its fields; `None` when it is to be read as a whole.
pub(super) fn read(text: &str) -> Option<(Tables, Vec<Problem>)> {
    let mut reader = Reader::default();
    let mut others = DeTable::new();
    let mut credentials: Option<At<Many<CredentialSection>>> = None;
    let mut count = 0;
    for (number, piece) in pieces(text).enumerate() {
        let tree = DeTable::parse(&text[piece.clone()]).ok()?;
        let mut root = moved_table(tree.into_inner(), piece.start);
        // Above the first header there is none.
        if number > 0 {
            preset::fill(&mut root);
            let list = root.remove("credential")?;
            let span = list.span();
            let DeValue::Array(tables) = list.into_inner() else { return None };
            let read = credentials.get_or_insert_with(|| At { value: Many(Vec::new()), span });
            for table in tables {
                count += 1;
                read.value.0.extend(Entry::read(table, "credential", Some(count), &mut reader));
            }
        }
        for (key, value) in root {
            if key.get_ref() == "credential" || others.insert(key, value).is_some() {
                return None;
            }
        }
    }
    Some((Tables { credential: credentials, ..Tables::of(others, &mut reader) }, reader.problems))
}

/// From one header that begins a line to the next. A text that only looks like a header, within a value, parts a value,
/// and what comes before it is no TOML then.
fn pieces(text: &str) -> impl Iterator<Item = Range<usize>> {
    let before = |at: usize| text[..at].trim_end_matches([' ', '\t']);
    let headers = text.match_indices(HEADER).map(|(at, _)| at);
    let starts = headers.filter(move |&at| before(at).is_empty() || before(at).ends_with('\n'));
    let mut from = 0;
    starts.chain([text.len()]).map(move |to| mem::replace(&mut from, to)..to)
}

/// A piece's tree with the places that it has in the whole text.
fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    table
        .into_iter()
        .map(|(key, value)| (moved(key, by, |key| key), moved(value, by, |value| moved_value(value, by))))
        .collect()
}

fn moved_value(value: DeValue<'_>, by: usize) -> DeValue<'_> {
    match value {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| moved(item, by, |item| moved_value(item, by))).collect())
        }
        other => other,
    }
}

fn moved<T>(spanned: Spanned<T>, by: usize, inner: impl FnOnce(T) -> T) -> Spanned<T> {
    let Range { start, end } = spanned.span();
    Spanned::new(start + by..end + by, inner(spanned.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Config;

    const TEXT: &str = "\
language = \"zh\"
[gateway]
database = 'one-api.db' # [[credential]]
  [[credential]]
name = \"a\"
channels = [7, { name = \"seven\" }]
refresh_token = { file = '''
[[credential]]
''' }
[credential.params]
audience = \"x\"
[[credential]]
preset = \"openai\"
unknown = { key = [1, 2] }
channels = [
  8,
]
[agent]
max_in_flight = \"many\"
[[credential]]
name = 3
";

    /// What is read of a text, in words; the second is read of the whole at once.
    fn both(text: &str) -> (Option<String>, String) {
        let words = |(tables, problems): (Tables, Vec<Problem>)| format!("{tables:#?} {problems:#?}");
        let (tables, problems, _) = Config::parse_whole(text);
        let sorted = |mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| problem.span.clone().map(|span| span.start));
            problems
        };
        let pieces = read(text).map(|(tables, problems)| words((tables, sorted(problems))));
        (pieces, words((tables, sorted(problems))))
    }

    #[test]
    fn pieces_mean_what_the_whole_means() {
        let plain = TEXT.replace("'''\n[[credential]]\n'''", "'x'");
        for text in [
            "",
            "[[credential]]",
            "[[credential]]\n[[ credential ]]\n[[credential]]\n",
            "\u{feff}language = \"en\"\n[[credential]]\n[[credential]]\n",
            &plain,
        ] {
            let (pieces, whole) = both(text);
            assert_eq!(pieces.as_ref(), Some(&whole), "{text}");
        }
        assert_eq!(read(&plain).unwrap().0.credential.unwrap().value.0.len(), 3);
    }

    #[test]
    fn what_is_no_row_of_pieces_is_read_as_a_whole() {
        for text in [
            TEXT,
            "[[credential]]\n[[notify]]\n[[credential]]\n[[notify]]\n",
            "[[credential]]\n[agent]\n[[credential]]\n[agent]\n",
            "credential = []\n[[credential]]\n",
            "[credential]\n[[credential]]\n",
            "[[credential]]\nname = \n[[credential]]\n",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_header_anywhere_changes_nothing() {
        for (at, _) in TEXT.match_indices('\n') {
            let text = format!("{}\n[[credential]]{}", &TEXT[..at], &TEXT[at..]);
            if let (Some(pieces), whole) = both(&text) {
                assert_eq!(pieces, whole, "{text}");
            }
        }
    }
}
