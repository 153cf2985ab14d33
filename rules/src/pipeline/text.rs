//! The text of a value while pipelines work on it: plain parts, wildcards, and placeholders that wait for values.

use std::sync::Arc;

use rsigma_parser::{SigmaString, SpecialChar, StringPart};

/// A text in pieces. Neighbouring plain pieces are one, and none is empty, so that equal texts are equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Text(Vec<Piece>);

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Plain(String),
    /// `*`
    Star,
    /// `?`
    One,
    /// `%name%` under the modifier `expand`.
    Placeholder(Arc<str>),
}

impl Text {
    /// A Sigma value: wildcards and their escapes are read.
    pub(crate) fn parse(text: &str) -> Self {
        let mut out = Self::default();
        out.push_sigma(&SigmaString::new(text));
        out
    }

    /// A text without wildcards: what stands in it is meant.
    pub(crate) fn verbatim(text: &str) -> Self {
        let mut out = Self::default();
        out.push_plain(text);
        out
    }

    /// A value with placeholders. `read` turns what stands between them into text: with wildcards or without.
    pub(crate) fn with_placeholders(text: &str, read: fn(&str) -> Self) -> Self {
        let mut out = Self::default();
        for part in split(text) {
            match part {
                Part::Raw(raw) => out.push_text(&read(raw)),
                Part::Percent => out.push_plain("%"),
                Part::Placeholder(name) => out.push(Piece::Placeholder(name.into())),
            }
        }
        out
    }

    /// The text of a parsed value.
    pub(crate) fn from_sigma(text: &SigmaString) -> Self {
        let mut out = Self::default();
        out.push_sigma(text);
        out
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.0
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        match piece {
            Piece::Plain(text) => self.push_plain(&text),
            other => self.0.push(other),
        }
    }

    pub(crate) fn push_plain(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Plain(last)) => last.push_str(text),
            _ => self.0.push(Piece::Plain(text.to_owned())),
        }
    }

    pub(crate) fn push_text(&mut self, text: &Text) {
        text.0.iter().for_each(|piece| self.push(piece.clone()));
    }

    fn push_sigma(&mut self, text: &SigmaString) {
        for part in &text.parts {
            match part {
                StringPart::Plain(text) => self.push_plain(text),
                StringPart::Special(SpecialChar::WildcardMulti) => self.push(Piece::Star),
                StringPart::Special(SpecialChar::WildcardSingle) => self.push(Piece::One),
            }
        }
    }

    /// The text with stars added where it has none yet.
    pub(crate) fn wrapped(mut self, before: bool, after: bool) -> Self {
        if before && self.0.first() != Some(&Piece::Star) {
            self.0.insert(0, Piece::Star);
        }
        if after && self.0.last() != Some(&Piece::Star) {
            self.0.push(Piece::Star);
        }
        self
    }

    /// The text with `change` made to its plain pieces.
    pub(crate) fn map_plain(&self, change: impl Fn(&str) -> Text) -> Text {
        let mut out = Self::default();
        for piece in &self.0 {
            match piece {
                Piece::Plain(text) => out.push_text(&change(text)),
                other => out.push(other.clone()),
            }
        }
        out
    }

    pub(crate) fn has_wildcard(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Star | Piece::One))
    }

    pub(crate) fn placeholder(&self) -> Option<&Arc<str>> {
        self.0.iter().find_map(|piece| if let Piece::Placeholder(name) = piece { Some(name) } else { None })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes, about.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(|piece| if let Piece::Plain(text) = piece { text.len() } else { 1 }).sum()
    }

    /// As pySigma shows a string, which is what patterns and maps of pipelines are written for: wildcards as
    /// themselves, literal `*` and `?` with a backslash, backslashes single.
    pub(crate) fn shown(&self) -> String {
        self.0.iter().map(Piece::shown).collect()
    }

    /// The plain text, with wildcards as they are written; for what is no pattern.
    pub(crate) fn raw(&self) -> String {
        let raw = |piece: &Piece| match piece {
            Piece::Plain(text) => text.clone(),
            other => other.shown(),
        };
        self.0.iter().map(raw).collect()
    }

    /// The value for the compiler.
    pub(crate) fn to_sigma(&self) -> SigmaString {
        let mut original = String::new();
        let mut parts = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Plain(text) => {
                    original.push_str(&text.replace('\\', "\\\\").replace('*', "\\*").replace('?', "\\?"));
                    parts.push(StringPart::Plain(text.clone()));
                }
                Piece::Star => parts.push(StringPart::Special(SpecialChar::WildcardMulti)),
                Piece::One => parts.push(StringPart::Special(SpecialChar::WildcardSingle)),
                Piece::Placeholder(name) => parts.push(StringPart::Plain(format!("%{name}%"))),
            }
            if !matches!(piece, Piece::Plain(_)) {
                original.push_str(&piece.shown());
            }
        }
        SigmaString { parts, original }
    }
}

impl Piece {
    pub(crate) fn shown(&self) -> String {
        match self {
            Piece::Plain(text) => text.replace('*', "\\*").replace('?', "\\?"),
            Piece::Star => "*".to_owned(),
            Piece::One => "?".to_owned(),
            Piece::Placeholder(name) => format!("%{name}%"),
        }
    }
}

enum Part<'a> {
    Raw(&'a str),
    /// `\%`
    Percent,
    Placeholder(&'a str),
}

/// A text in raw parts and placeholders. `\%` is a percent sign, `\\%` a backslash before a placeholder; a name is
/// not empty and holds neither `%` nor a backslash.
fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let (end, part) = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'%')) => (at + 2, Part::Percent),
            (b'\\', Some(b'\\')) => {
                at += 2;
                continue;
            }
            (b'%', _) => match name_at(text, at + 1) {
                Some(name) => (at + name.len() + 2, Part::Placeholder(name)),
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        parts.push(Part::Raw(&text[start..at]));
        parts.push(part);
        (start, at) = (end, end);
    }
    parts.push(Part::Raw(&text[start..]));
    parts
}

fn name_at(text: &str, start: usize) -> Option<&str> {
    let rest = &text[start..];
    let name = &rest[..rest.find('%')?];
    (!name.is_empty() && !name.contains('\\')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Piece> {
        Text::with_placeholders(text, Text::parse).0
    }

    #[test]
    fn placeholders_are_found_and_escapes_respected() {
        let plain = |text: &str| Piece::Plain(text.to_owned());
        let name = |name: &str| Piece::Placeholder(name.into());
        assert_eq!(pieces("%a%"), [name("a")]);
        assert_eq!(pieces(r"C:\Users\\%user%\*"), [plain(r"C:\Users\"), name("user"), plain("*")]);
        assert_eq!(pieces(r"100\% of %b%*"), [plain("100% of "), name("b"), Piece::Star]);
        assert_eq!(pieces("%% é"), [plain("%% é")]);
        assert_eq!(pieces("50%"), [plain("50%")]);
        assert_eq!(pieces(r"%a\b%c%"), [plain(r"%a\b"), name("c")]);
    }

    #[test]
    fn what_is_written_back_reads_the_same() {
        for text in [r"a\*b?c*", r"C:\\Windows\\*", r"\\\\srv\x", r"\", "", r"x\\"] {
            let parsed = Text::parse(text);
            assert_eq!(Text::parse(&parsed.to_sigma().original), parsed, "{text}");
            assert_eq!(Text::from_sigma(&parsed.to_sigma()), parsed, "{text}");
        }
    }
}
