//! `replace_string`: a regular expression and what replaces its matches, as Python's `re.sub` has it.

use regex::{Captures, Regex};

use super::text::{Piece, Text};

/// A replacement in strings.
#[derive(Debug, Clone)]
pub(super) struct Replace {
    pub(super) pattern: Regex,
    pub(super) replacement: Replacement,
    /// Only plain parts are searched; wildcards and placeholders stay.
    pub(super) skip_special: bool,
    /// With `skip_special`: whether the result may have wildcards.
    pub(super) interpret_special: bool,
}

/// The text that replaces a match, with groups of the match in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replacement(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

/// A replacement repeats groups; a short one cannot blow a value up.
const REPLACEMENT_BYTES_MAX: usize = 4 << 10;

/// No value of a rule is nearly as long.
const VALUE_BYTES_MAX: usize = 64 << 10;

impl Replacement {
    /// Reads Python's syntax: `\1`, `\g<1>`, `\g<name>`, `\\`, `\n`, `\t`, `\r`.
    pub(super) fn parse(text: &str, pattern: &Regex) -> Result<Self, String> {
        if text.len() > REPLACEMENT_BYTES_MAX {
            return Err(format!("`replacement` exceeds {REPLACEMENT_BYTES_MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            plain.push_str(&rest[..at]);
            let (part, tail) = escape(&rest[at + 1..], pattern)?;
            match part {
                Part::Text(text) => plain.push_str(&text),
                group @ Part::Group(_) => {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(group);
                }
            }
            rest = tail;
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }

    fn expand(&self, captures: &Captures<'_>, out: &mut String) -> Result<(), String> {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(group) => out.push_str(captures.get(*group).map_or("", |m| m.as_str())),
            }
            if out.len() > VALUE_BYTES_MAX {
                return Err(format!("a replaced value exceeds {VALUE_BYTES_MAX} bytes"));
            }
        }
        Ok(())
    }
}

/// What stands after a backslash, and the rest.
fn escape<'a>(text: &'a str, pattern: &Regex) -> Result<(Part, &'a str), String> {
    let plain = |text: &str, rest| Ok((Part::Text(text.to_owned()), rest));
    let Some(first) = text.chars().next() else {
        return Err("`replacement` ends with a backslash; write two".to_owned());
    };
    let rest = &text[first.len_utf8()..];
    match first {
        '\\' => plain("\\", rest),
        'n' => plain("\n", rest),
        't' => plain("\t", rest),
        'r' => plain("\r", rest),
        'g' => {
            let name = rest.strip_prefix('<').and_then(|r| r.split_once('>'));
            let (name, rest) =
                name.ok_or_else(|| "`replacement`: `\\g` needs a group: `\\g<1>`".to_owned())?;
            Ok((Part::Group(group(name, pattern)?), rest))
        }
        '1'..='9' => {
            let digits = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
            Ok((Part::Group(group(&text[..digits], pattern)?), &text[digits..]))
        }
        letter if letter.is_ascii_alphanumeric() => {
            Err(format!("`replacement`: unknown escape `\\{letter}`; a backslash is written twice"))
        }
        other => plain(&format!("\\{other}"), rest),
    }
}

fn group(name: &str, pattern: &Regex) -> Result<usize, String> {
    let by_name = || pattern.capture_names().position(|n| n == Some(name));
    let index = name.parse().ok().or_else(by_name);
    let known = index.filter(|index| *index < pattern.captures_len());
    known.ok_or_else(|| format!("`replacement`: the expression has no group `{name}`"))
}

impl Replace {
    /// The text after replacement.
    pub(super) fn of(&self, text: &Text) -> Result<Text, String> {
        if self.skip_special { self.within_pieces(text) } else { self.over_all(text) }
    }

    fn within_pieces(&self, text: &Text) -> Result<Text, String> {
        let mut out = Text::default();
        for piece in text.pieces() {
            let Piece::Plain(plain) = piece else {
                out.push(piece.clone());
                continue;
            };
            let mut replaced = String::new();
            let mut at = 0;
            for captures in self.pattern.captures_iter(plain) {
                let Some(whole) = captures.get(0) else { continue };
                replaced.push_str(&plain[at..whole.start()]);
                self.replacement.expand(&captures, &mut replaced)?;
                at = whole.end();
            }
            replaced.push_str(&plain[at..]);
            match self.interpret_special {
                true => out.push_text(&Text::parse(&replaced)),
                false => out.push_plain(&replaced),
            }
        }
        Ok(out)
    }

    /// Searches the text as it is shown, where a literal wildcard and an escaped one look alike; so only what was
    /// replaced is read anew, and the rest keeps its meaning.
    fn over_all(&self, text: &Text) -> Result<Text, String> {
        let (shown, units) = units_of(text);
        let mut out =
            Unread { text: Text::default(), pending: String::new(), names: text.placeholder().is_some() };
        let mut at = 0;
        for captures in self.pattern.captures_iter(&shown) {
            let Some(whole) = captures.get(0) else { continue };
            out.keep(&shown, &units, at, whole.start());
            self.replacement.expand(&captures, &mut out.pending)?;
            at = whole.end();
        }
        out.keep(&shown, &units, at, shown.len());
        out.read_pending();
        match out.text.size() {
            0..=VALUE_BYTES_MAX => Ok(out.text),
            _ => Err(format!("a replaced value exceeds {VALUE_BYTES_MAX} bytes")),
        }
    }
}

/// A character or a wildcard, and where it ends in the shown text.
struct Unit {
    piece: Piece,
    end: usize,
}

fn units_of(text: &Text) -> (String, Vec<Unit>) {
    let mut shown = String::new();
    let mut units = Vec::new();
    let mut push = |piece: Piece| {
        shown.push_str(&piece.shown());
        units.push(Unit { piece, end: shown.len() });
    };
    for piece in text.pieces() {
        match piece {
            Piece::Plain(plain) => plain.chars().for_each(|c| push(Piece::Plain(c.to_string()))),
            other => push(other.clone()),
        }
    }
    (shown, units)
}

/// A text under construction with a part that is still to be read.
struct Unread {
    text: Text,
    pending: String,
    /// Whether the text has placeholders.
    names: bool,
}

impl Unread {
    /// Takes over what stands between two places of the shown text; a unit cut in two is read anew.
    fn keep(&mut self, shown: &str, units: &[Unit], start: usize, end: usize) {
        let first = units.partition_point(|unit| unit.end <= start);
        let mut at = first.checked_sub(1).map_or(0, |before| units[before].end);
        for unit in &units[first..] {
            if at >= end {
                break;
            }
            if at >= start && unit.end <= end {
                self.read_pending();
                self.text.push(unit.piece.clone());
            } else {
                self.pending.push_str(&shown[at.max(start)..unit.end.min(end)]);
            }
            at = unit.end;
        }
    }

    /// Reads the replaced text: a backslash is one unless it escapes a wildcard.
    fn read_pending(&mut self) {
        let mut escaped = String::with_capacity(self.pending.len());
        let mut chars = self.pending.chars().peekable();
        while let Some(c) = chars.next() {
            escaped.push(c);
            if c == '\\' && !matches!(chars.peek(), Some('*' | '?')) {
                escaped.push('\\');
            }
        }
        let read = match self.names {
            true => Text::with_placeholders(&escaped, Text::parse),
            false => Text::parse(&escaped),
        };
        self.text.push_text(&read);
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, replacement: &str, text: &str) -> String {
        let pattern = Regex::new(pattern).unwrap();
        let replacement = Replacement::parse(replacement, &pattern).unwrap();
        let replace = Replace { pattern, replacement, skip_special: false, interpret_special: false };
        replace.of(&Text::parse(text)).unwrap().to_sigma().original
    }

    #[test]
    fn groups_are_written_as_in_python() {
        assert_eq!(replaced("(?P<a>b+)(c)", r"\2\g<a>\g<1>", "xbbcx"), "xcbbbbx");
        let pattern = Regex::new("a").unwrap();
        for bad in [r"\2", r"\g<x>", r"\g1", r"\q", "\\"] {
            assert!(Replacement::parse(bad, &pattern).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_replaced_is_read_anew() {
        // The star after the backslash is a wildcard and stays one.
        assert_eq!(replaced("^C:", "D:", r"C:\\Windows\\*"), r"D:\\Windows\\*");
        assert_eq!(replaced("x", "*", "axb"), "a*b");
        assert_eq!(replaced(r"\*", "b", "a*"), "ab");
        assert_eq!(replaced(r"\\\*$", r"\\\\*", r"a\*"), r"a\\\*");
    }
}
