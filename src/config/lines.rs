//! Where the lines of the config file begin: from a byte offset to a line and a column.

/// The starts of a text's lines, without the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    /// Finds the lines of a text.
    pub fn of(text: &str) -> Self {
        Self { starts: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect() }
    }

    /// The line that holds a byte offset, counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// The text of a line, counted from 1, without its line break.
    pub fn text<'t>(&self, text: &'t str, line: usize) -> &'t str {
        let Some(&start) = line.checked_sub(1).and_then(|index| self.starts.get(index)) else { return "" };
        text[start..].split('\n').next().unwrap_or_default().trim_end_matches('\r')
    }

    /// Line and column of a byte offset, both counted from 1, the column in characters.
    pub fn place(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = text[start..].char_indices().take_while(|(at, _)| start + at < offset);
        // A byte order mark is not a character that an editor shows.
        (line, before.filter(|(_, c)| *c != '\u{feff}').count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_in_characters_and_lines_from_one() {
        let text = "\u{feff}a = 1\r\n名 = 2\n\nlast";
        let lines = Lines::of(text);
        for (what, expected) in [("a", (1, 1)), ("1", (1, 5)), ("名", (2, 1)), ("= 2", (2, 3)), ("last", (4, 1))] {
            assert_eq!(lines.place(text, text.find(what).unwrap()), expected, "{what}");
        }
        assert_eq!(lines.place(text, text.len()), (4, 5));
        assert_eq!(lines.text(text, 1), "\u{feff}a = 1");
        assert_eq!(lines.text(text, 2), "名 = 2");
        assert_eq!(lines.text(text, 9), "");
        assert_eq!(Lines::of("").place("", 0), (1, 1));
    }
}
