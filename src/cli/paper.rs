//! What a text is shown on: how wide it is, whether it has colour, and whether it takes more than ASCII.

use std::io::IsTerminal;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The width that is counted on where nothing says one.
const WIDTH: usize = 80;
/// The narrowest terminal that lines are broken for.
const NARROWEST: usize = 40;

/// Standard output, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paper {
    width: usize,
    /// Lines may be broken: people read it, no program does.
    breaks: bool,
    colour: bool,
    utf8: bool,
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Good,
    Warning,
    Bad,
    Dim,
    Title,
}

impl Paper {
    /// Standard output: colour and line breaks on a terminal only, no colour where `NO_COLOR` is set.
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let breaks = stdout.is_terminal();
        let width = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        let width = if width == 0 { WIDTH } else { width.max(NARROWEST) };
        Self { width, breaks, colour: breaks && !no_color(), utf8: is_utf8(|name| std::env::var(name).ok()) }
    }

    /// Whether more than ASCII may be shown.
    pub fn is_utf8(self) -> bool {
        self.utf8
    }

    /// How many columns a table may take.
    pub fn width(self) -> usize {
        self.width
    }

    /// A text in a colour, where there is any.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Warning => "33",
            Paint::Bad => "31",
            Paint::Dim => "2",
            Paint::Title => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The text, broken into lines that fit; those after the first begin with `indent` blanks. On a pipe a line stays
    /// a line.
    pub fn wrap(self, text: &str, indent: usize) -> String {
        if self.breaks { wrapped(text, indent, self.width) } else { text.to_owned() }
    }
}

/// Whether nobody wants colour: <https://no-color.org>.
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Whether the locale's characters are UTF-8, as `setlocale(3)` finds it.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let of = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(of).unwrap_or_default().to_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}

/// How many columns of a terminal a text takes: Chinese characters take two, colours none.
pub fn columns(text: &str) -> usize {
    if !text.contains('\x1b') {
        return text.width();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = escape.split_once('m').map_or("", |(_, after)| after);
    }
    (plain + rest).width()
}

/// The text with blanks up to a width.
pub fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// As much of a text as fits, with a mark where something is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if kept.width() + c.width().unwrap_or(0) + 1 > width {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut at = 0;
    let mut blanks = 0;
    for piece in pieces(text) {
        if piece == " " {
            blanks += 1;
            continue;
        }
        let length = columns(piece);
        if at > indent && at + blanks + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            at = indent;
        } else {
            out.push_str(&" ".repeat(blanks));
            at += blanks;
        }
        blanks = 0;
        out.push_str(piece);
        at += length;
    }
    out
}

/// What must not be parted: words, single wide characters with the punctuation that belongs to them, single blanks.
fn pieces(text: &str) -> Vec<&str> {
    const CLOSES: &str = "，。；：、！？）」』》”’…,.;:)";
    let is_wide = |c: char| c.width() == Some(2);
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((_, c)) = chars.next() {
        let Some(&(next_at, next)) = chars.peek() else { break };
        let parts = c == ' ' || next == ' ' || ((is_wide(c) || is_wide(next)) && !CLOSES.contains(next) && c != '（');
        if parts {
            pieces.push(&text[start..next_at]);
            start = next_at;
        }
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_takes_two_columns_and_colours_none() {
        for (text, expected) in [("abc", 3), ("凭据", 4), ("\x1b[31m已停止\x1b[0m", 6), ("a…→", 3), ("", 0)] {
            assert_eq!(columns(text), expected, "{text}");
        }
        assert_eq!(padded("凭据", 6), "凭据  ");
        assert_eq!(padded("too long", 3), "too long");
    }

    #[test]
    fn what_does_not_fit_is_cut_with_a_mark() {
        for (text, width, expected) in [("abcdef", 6, "abcdef"), ("abcdef", 5, "abcd…"), ("渠道名称", 5, "渠道…")]
        {
            assert_eq!(cut(text, width), expected);
        }
    }

    #[test]
    fn lines_are_broken_between_words_and_between_chinese_characters() {
        let broken = |text, width| wrapped(text, 2, width).lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(broken("  one two three", 9), ["  one two", "  three"]);
        assert_eq!(broken("请检查本机网络。", 10), ["请检查本机", "  网络。"]);
        assert_eq!(broken("请检查本机。网络", 10), ["请检查本", "  机。网络"]);
        assert_eq!(broken("运行 `one-api` 即可", 12), ["运行", "  `one-api`", "  即可"]);
        // A word that fits nowhere stays whole: it may be a command or an address.
        assert_eq!(broken("a-very-long-word b", 5), ["a-very-long-word", "  b"]);
        for width in 4..40 {
            let text = "  ✗ 网关: The database /data/one-api.db 不存在，请检查。";
            let joined: String = wrapped(text, 0, width).chars().filter(|c| !c.is_whitespace()).collect();
            assert_eq!(joined, text.replace(' ', ""), "{width}");
        }
    }

    #[test]
    fn the_locale_says_whether_more_than_ascii_is_understood() {
        for (variables, expected) in [
            (&[("LANG", "en_US.UTF-8")][..], true),
            (&[("LANG", "zh_CN.utf8")], true),
            (&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], false),
            (&[("LC_CTYPE", "C.UTF-8"), ("LANG", "C")], true),
            (&[("LANG", "zh_CN.GB18030")], false),
            (&[("LC_ALL", ""), ("LANG", "C.UTF-8")], true),
            (&[], false),
        ] {
            let look =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(is_utf8(look), expected, "{variables:?}");
        }
    }
}
