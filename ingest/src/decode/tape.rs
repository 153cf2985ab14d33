//! The tape of a record: its values in the order of the document, told by where they stand in the record.
//!
//! Most values of most records are asked by nobody: no mapping and no rule names them. So the tape only says where a value
//! begins and ends, the escapes of a text are resolved when somebody wants it ([`Tape::resolve`]), and digits become a
//! number when they are read.

use event::json::Unescaper;

use super::names::NameId;

/// A value, or the name before a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// Text that the record writes without escapes: these bytes of it.
    Text(Span),
    /// Text that the record writes with escapes: these bytes of it.
    Escaped(Span),
    /// Text whose escapes are resolved: this number of [`Tape::resolved`].
    Resolved(u32),
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
    pub(crate) resolved: Resolved,
    /// Where objects that are members of lists stand, in the order in which they end: the node, and its bytes.
    pub(crate) listed: Vec<(u32, Span)>,
}

/// Texts whose escapes were resolved.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// One after the other.
    texts: String,
    /// By number: the bytes of `texts`, and those of the record.
    spans: Vec<(Span, Span)>,
    unescaper: Unescaper,
}

impl Resolved {
    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.spans.clear();
    }

    fn add(&mut self, written: &str, span: Span) -> u32 {
        let start = self.texts.len() as u32;
        self.texts.push_str(self.unescaper.text(written));
        // Resolved text is shorter than written, and a record is shorter than 4 GiB.
        self.spans.push((Span { start, end: self.texts.len() as u32 }, span));
        self.spans.len() as u32 - 1
    }

    #[inline]
    fn text(&self, number: u32) -> &str {
        let (span, _) = self.spans[number as usize];
        &self.texts[span.start as usize..span.end as usize]
    }
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
            Node::Resolved(number) => Some(self.resolved(number)),
            _ => None,
        }
    }

    /// The same, or the digits of an integer.
    #[inline]
    pub(crate) fn scalar(&self, at: usize) -> Option<&str> {
        match self.node(at)? {
            Node::Text(span) | Node::Integer(span) => Some(self.written(span)),
            Node::Resolved(number) => Some(self.resolved(number)),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn resolved(&self, number: u32) -> &str {
        self.resolved.text(number)
    }

    /// Where the record writes a scalar whose form is that of the record, or, told by `true`, text with escapes.
    #[inline]
    pub(crate) fn place(&self, at: usize) -> Option<(Span, bool)> {
        match self.node(at)? {
            Node::Text(span) | Node::Integer(span) => Some((span, false)),
            Node::Escaped(span) => Some((span, true)),
            Node::Resolved(number) => Some((self.resolved.spans[number as usize].1, true)),
            _ => None,
        }
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
        let record = self.record;
        let written = &record[span.start as usize..span.end as usize];
        self.nodes[at] = Node::Resolved(self.resolved.add(written, span));
    }
}
