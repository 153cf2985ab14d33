//! The tape of a record: its values in the order of the document, told by where they stand in the record.
//!
//! Most values of most records are asked by nobody: no mapping and no rule names them. So the tape only says where a value
//! begins and ends, the escapes of a text are resolved when somebody wants it ([`Tape::resolve`]), and digits become a
//! number when they are read.

use super::names::NameId;

/// A value, or the name before a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// Text that the record writes without escapes: these bytes of it.
    Text(Span),
    /// Text that the record writes with escapes: these bytes of it.
    Escaped(Span),
    /// Text whose escapes are resolved: these bytes of [`Tape::texts`].
    Resolved(Span),
    /// A name that has a number: these bytes of the record. Other names are text.
    Name(Span, NameId),
    /// An integer that is written as we write it: these bytes of the record.
    Integer(Span),
    /// Another number: these bytes of the record.
    Number(Span),
    Bool(bool),
    Null,
    /// A name and a value for each member follow, up to the node `after`.
    Object {
        members: u32,
        after: u32,
    },
    /// A value for each member follows, up to the node `after`.
    List {
        members: u32,
        after: u32,
    },
}

/// Bytes `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A parsed record.
#[derive(Debug, Default)]
pub(crate) struct Tape<'r> {
    pub(crate) record: &'r str,
    pub(crate) nodes: Vec<Node>,
    /// Resolved texts, one after the other.
    pub(crate) texts: String,
    /// Where objects that are members of lists stand, in the order in which they end: the node, and its bytes.
    pub(crate) listed: Vec<(u32, Span)>,
}

impl Tape<'_> {
    #[inline]
    pub(crate) fn node(&self, at: usize) -> Option<Node> {
        self.nodes.get(at).copied()
    }

    /// Bytes of the record.
    #[inline]
    pub(crate) fn written(&self, span: Span) -> &str {
        &self.record[span.start as usize..span.end as usize]
    }

    /// The text of a node that is text and not [`Node::Escaped`].
    #[inline]
    pub(crate) fn text(&self, at: usize) -> Option<&str> {
        match self.node(at)? {
            Node::Text(span) | Node::Name(span, _) => Some(self.written(span)),
            Node::Resolved(span) => Some(self.resolved(span)),
            _ => None,
        }
    }

    /// The same, or the digits of an integer.
    #[inline]
    pub(crate) fn scalar(&self, at: usize) -> Option<&str> {
        match self.node(at)? {
            Node::Text(span) | Node::Integer(span) => Some(self.written(span)),
            Node::Resolved(span) => Some(self.resolved(span)),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn resolved(&self, span: Span) -> &str {
        &self.texts[span.start as usize..span.end as usize]
    }

    /// The node after the value at `at`.
    #[inline]
    pub(crate) fn after(&self, at: usize) -> usize {
        match self.node(at) {
            Some(Node::Object { after, .. } | Node::List { after, .. }) => after as usize,
            _ => at + 1,
        }
    }

    /// The bytes of an object that is a member of a list. `from` is 0 at first, and then where the member before was found.
    pub(crate) fn bytes_of_listed(&self, node: usize, from: &mut usize) -> Option<Span> {
        let found = self.listed.get(*from..)?.iter().position(|(other, _)| *other as usize == node)?;
        *from += found;
        Some(self.listed[*from].1)
    }

    /// Resolves the escapes of the value at `at` and of all that it holds.
    #[inline]
    pub(crate) fn resolve(&mut self, at: usize) {
        match self.node(at) {
            Some(Node::Escaped(span)) => self.resolve_text(at, span),
            Some(Node::Object { after, .. } | Node::List { after, .. }) => {
                for at in at + 1..after as usize {
                    if let Some(Node::Escaped(span)) = self.node(at) {
                        self.resolve_text(at, span);
                    }
                }
            }
            _ => {}
        }
    }

    fn resolve_text(&mut self, at: usize, span: Span) {
        let Self { record, nodes, texts, .. } = self;
        let start = texts.len() as u32;
        unescape(&record[span.start as usize..span.end as usize], texts);
        // Resolved text is shorter than written, and a record is shorter than 4 GiB.
        nodes[at] = Node::Resolved(Span { start, end: texts.len() as u32 });
    }
}

/// Appends text that is written with valid escapes. There may be one every few bytes: the names of a path.
pub(crate) fn unescape(written: &str, out: &mut String) {
    out.reserve(written.len());
    let mut rest = written;
    while let Some(plain) = rest.bytes().position(|byte| byte == b'\\') {
        let (before, escaped) = rest.split_at(plain);
        out.push_str(before);
        let (resolved, bytes) = match escaped.as_bytes() {
            [_, b'\\', ..] => ('\\', 2),
            _ => escape(escaped),
        };
        out.push(resolved);
        rest = &escaped[bytes..];
    }
    out.push_str(rest);
}

/// What an escape stands for, and its length. What is no valid escape stands for itself; the parser refuses it.
fn escape(text: &str) -> (char, usize) {
    let resolved = match text.as_bytes().get(1) {
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return code_escape(text).unwrap_or(('\\', 1)),
        Some(same @ (b'"' | b'\\' | b'/')) => char::from(*same),
        _ => return ('\\', 1),
    };
    (resolved, 2)
}

/// The character of `\uXXXX`, or of the two of a surrogate pair, and its length; `None` where it is no character.
pub(crate) fn code_escape(text: &str) -> Option<(char, usize)> {
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4).filter(|digits| !digits.starts_with('+'))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = unit(text)?;
    if let Some(found) = char::from_u32(first) {
        return Some((found, 6));
    }
    let second = unit(text.get(6..)?).filter(|second| (0xdc00..0xe000).contains(second))?;
    let code = 0x1_0000 + ((first.checked_sub(0xd800)? & 0x3ff) << 10) + (second - 0xdc00);
    (first < 0xdc00).then(|| char::from_u32(code).map(|found| (found, 12)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_json() {
        for written in [r#"a\\b\/\n\r\t\b\f\"\u0041\u00e9"#, r"\ud83d\ude00x", "plain ü", "", r"\\\\"] {
            let mut text = String::new();
            unescape(written, &mut text);
            assert_eq!(text, serde_json::from_str::<String>(&format!("\"{written}\"")).unwrap(), "{written}");
        }
        for written in [r"\ud83d", r"\ude00\ud83d", r"\ud83d\u0041", r"\u00g0", r"\u+041", r"\u12"] {
            assert_eq!(code_escape(written), None, "{written}");
        }
    }
}
