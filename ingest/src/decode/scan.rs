//! JSON text to a tape, in one pass and without copies.
//!
//! All of a record is checked, what nobody will read too: a record that other readers of the lake would refuse must not
//! become a row. What is valid is what RFC 8259 says, with characters beyond Unicode's (lone surrogates) refused.

use event::json::{code_escape, is_short_escape};
use wide::u8x16;

use super::names::Names;
use super::tape::{Node, Span, Tape};

/// Where and why text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) byte: usize,
    pub(crate) problem: Problem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    TooDeep,
    Other(&'static str),
}

/// Fills the tape with the values of its record, which is shorter than 4 GiB, and numbers the names of their members.
pub(crate) fn scan(tape: &mut Tape<'_>, names: &mut Names, depth_max: usize) -> Result<(), Broken> {
    tape.nodes.clear();
    tape.resolved.clear();
    tape.listed.clear();
    names.begin();
    let bytes = tape.record.as_bytes();
    let specials = Specials::default();
    let mut scan = Scan { bytes, at: 0, tape, names, specials, open: Vec::new(), depth_max, broken: None };
    match scan.document() {
        Some(()) => Ok(()),
        // Whatever ends the scan early says why.
        None => Err(scan.broken.unwrap_or(Broken { byte: scan.at, problem: Problem::Other("no JSON") })),
    }
}

/// Whether the text goes on as it must. What is wrong with it is told once, beside: there it costs nothing.
type Valid = Option<()>;

struct Scan<'t, 'r> {
    bytes: &'r [u8],
    at: usize,
    tape: &'t mut Tape<'r>,
    names: &'t mut Names,
    specials: Specials,
    /// Objects and lists that have begun.
    open: Vec<Open>,
    depth_max: usize,
    broken: Option<Broken>,
}

struct Open {
    node: usize,
    members: u32,
    is_object: bool,
    start: u32,
}

impl Scan<'_, '_> {
    fn document(&mut self) -> Valid {
        loop {
            self.skip_space();
            if self.begin_value()? {
                continue;
            }
            if self.end_values()? {
                break;
            }
        }
        self.skip_space();
        if self.at == self.bytes.len() { Some(()) } else { self.fail("text after the value") }
    }

    /// Reads a scalar, an empty container, or the beginning of a container: then `true`, and a value must follow.
    #[inline]
    fn begin_value(&mut self) -> Option<bool> {
        match self.bytes.get(self.at) {
            Some(b'"') => _ = self.text()?,
            Some(b'{') => return self.begin(true),
            Some(b'[') => return self.begin(false),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true", Node::Bool(true))?,
            Some(b'f') => self.word(b"false", Node::Bool(false))?,
            Some(b'n') => self.word(b"null", Node::Null)?,
            _ => return self.fail("expected a value"),
        }
        Some(false)
    }

    fn begin(&mut self, is_object: bool) -> Option<bool> {
        if self.open.len() >= self.depth_max {
            return self.fail_at(self.at, Problem::TooDeep);
        }
        let node = self.tape.nodes.len();
        self.open.push(Open { node, members: 0, is_object, start: self.at as u32 });
        self.tape.nodes.push(Node::Null);
        self.at += 1;
        self.skip_space();
        let close = if is_object { b'}' } else { b']' };
        if self.bytes.get(self.at) == Some(&close) {
            return Some(false);
        }
        if is_object {
            self.name()?;
        }
        Some(true)
    }

    /// After a value: ends the containers that end here. `true` where none is left, else another value follows.
    #[inline]
    fn end_values(&mut self) -> Option<bool> {
        loop {
            let Some(open) = self.open.last_mut() else { return Some(true) };
            // An empty container has no value before its end.
            open.members += u32::from(self.tape.nodes.len() > open.node + 1);
            let is_object = open.is_object;
            self.skip_space();
            match self.bytes.get(self.at) {
                Some(b',') => {
                    self.at += 1;
                    self.skip_space();
                    if is_object {
                        self.name()?;
                    }
                    return Some(false);
                }
                Some(b'}') if is_object => self.end(),
                Some(b']') if !is_object => self.end(),
                _ => return self.fail("expected a comma or the end"),
            }
        }
    }

    fn end(&mut self) {
        self.at += 1;
        let Some(Open { node, members, is_object, start }) = self.open.pop() else { return };
        let after = self.tape.nodes.len() as u32;
        self.tape.nodes[node] =
            if is_object { Node::Object { members, after } } else { Node::List { members, after } };
        if is_object && self.open.last().is_some_and(|open| !open.is_object) {
            self.tape.listed.push((node as u32, self.span(start as usize)));
        }
    }

    /// The name of a member and the colon: mostly the one that followed its predecessor last time.
    #[inline]
    fn name(&mut self) -> Valid {
        let Some((id, bytes)) = self.names.expected(&self.bytes[self.at..]) else { return self.any_name() };
        let start = self.at + 1;
        self.at += bytes;
        self.tape.nodes.push(Node::Name(Span { start: start as u32, end: self.at as u32 - 2 }, id));
        Some(())
    }

    /// Names are looked up at once, so their escapes are resolved.
    fn any_name(&mut self) -> Valid {
        if self.bytes.get(self.at) != Some(&b'"') {
            return self.fail("expected the name of a member");
        }
        let span = self.text()?;
        let node = self.tape.nodes.len() - 1;
        self.tape.resolve(node);
        self.skip_space();
        if self.bytes.get(self.at) != Some(&b':') {
            return self.fail("expected a colon");
        }
        self.at += 1;
        if let Some(id) = self.names.find(self.tape.text(node).unwrap_or_default())
            && matches!(self.tape.nodes[node], Node::Text(_))
        {
            self.tape.nodes[node] = Node::Name(span, id);
        }
        Some(())
    }

    #[inline]
    fn text(&mut self) -> Option<Span> {
        let start = self.at + 1;
        let (mut at, mut is_escaped) = (start, false);
        loop {
            at = self.specials.next(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_escaped = true;
                    at += self.escape(at)?;
                }
                Some(_) => return self.fail_at(at, Problem::Other("control character in text")),
                None => return self.fail_at(at, Problem::Other("text without end")),
            }
        }
        self.at = at;
        let span = self.span(start);
        self.at += 1;
        self.tape.nodes.push(if is_escaped { Node::Escaped(span) } else { Node::Text(span) });
        Some(span)
    }

    /// The length of the escape at a byte.
    #[inline]
    fn escape(&mut self, at: usize) -> Option<usize> {
        let next = self.bytes.get(at + 1).copied().unwrap_or_default();
        if is_short_escape(next) { Some(2) } else { self.long_escape(at, next) }
    }

    fn long_escape(&mut self, at: usize, next: u8) -> Option<usize> {
        match code_escape(&self.tape.record[at..]) {
            Some((_, bytes)) if next == b'u' => Some(bytes),
            _ => self.fail_at(at, Problem::Other("escape of no character")),
        }
    }

    fn number(&mut self) -> Valid {
        let start = self.at;
        self.at += usize::from(self.bytes[self.at] == b'-');
        let integer = self.at;
        self.digits()?;
        if self.bytes[integer] == b'0' && self.at > integer + 1 {
            return self.fail("number that begins with 0");
        }
        if !matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E')) {
            let is_plain =
                self.at - integer <= INTEGER_DIGITS_MAX && (self.bytes[integer] != b'0' || integer == start);
            if !is_plain {
                return self.checked_number(start);
            }
            self.tape.nodes.push(Node::Integer(self.span(start)));
            return Some(());
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        self.checked_number(start)
    }

    fn checked_number(&mut self, start: usize) -> Valid {
        let span = self.span(start);
        if !self.tape.written(span).parse::<f64>().is_ok_and(f64::is_finite) {
            return self.fail("number out of range");
        }
        self.tape.nodes.push(Node::Number(span));
        Some(())
    }

    fn digits(&mut self) -> Valid {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > start { Some(()) } else { self.fail("expected a digit") }
    }

    fn word<const N: usize>(&mut self, word: &[u8; N], node: Node) -> Valid {
        if self.bytes[self.at..].first_chunk() != Some(word) {
            return self.fail("expected a value");
        }
        self.at += N;
        self.tape.nodes.push(node);
        Some(())
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn span(&self, start: usize) -> Span {
        Span { start: start as u32, end: self.at as u32 }
    }

    #[cold]
    fn fail<T>(&mut self, problem: &'static str) -> Option<T> {
        self.fail_at(self.at, Problem::Other(problem))
    }

    #[cold]
    fn fail_at<T>(&mut self, byte: usize, problem: Problem) -> Option<T> {
        self.broken = Some(Broken { byte, problem });
        None
    }
}

/// Integers of so many digits fit into 64 bits.
const INTEGER_DIGITS_MAX: usize = 18;

/// Where plain text ends, of [`BLOCK`] bytes at once.
#[derive(Default)]
struct Specials {
    /// Number of the block, from 1.
    block: usize,
    /// A bit for each byte of the block.
    bits: u64,
}

const BLOCK: usize = 64;

impl Specials {
    /// The first byte from `at` on that ends plain text: a quote, a backslash, a control character; else the end.
    #[inline]
    fn next(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while at < bytes.len() {
            let block = at / BLOCK + 1;
            if self.block != block {
                *self = Self { block, bits: specials_of(bytes, block - 1) };
            }
            let rest = self.bits >> (at % BLOCK);
            if rest != 0 {
                return at + rest.trailing_zeros() as usize;
            }
            at = block * BLOCK;
        }
        bytes.len()
    }
}

#[inline]
fn specials_of(bytes: &[u8], block: usize) -> u64 {
    let from = &bytes[block * BLOCK..];
    match from.first_chunk() {
        Some(whole) => specials(whole),
        None => {
            let mut padded = [b' '; BLOCK];
            padded[..from.len()].copy_from_slice(from);
            specials(&padded)
        }
    }
}

#[inline]
fn specials(block: &[u8; BLOCK]) -> u64 {
    let (quote, backslash, control) = (u8x16::splat(b'"'), u8x16::splat(b'\\'), u8x16::splat(0x1f));
    let mut bits = 0;
    for (i, bytes) in block.as_chunks().0.iter().enumerate() {
        let bytes = u8x16::new(*bytes);
        // Less than a space is what the smaller of it and 0x1f is.
        let special = bytes.simd_eq(quote) | bytes.simd_eq(backslash) | bytes.simd_eq(bytes.min(control));
        bits |= u64::from(special.to_bitmask()) << (16 * i);
    }
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::Json;
    use super::*;

    /// What the tape says, read twice: as it is, and resolved.
    fn read(text: &str) -> Option<serde_json::Value> {
        let mut tape = Tape { record: text, ..Tape::default() };
        scan(&mut tape, &mut Names::default(), 128).ok()?;
        tape.resolve(0);
        Some(Json::Tape(&tape, 0).to_value())
    }

    /// Texts that are nearly JSON.
    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just(":"),
            Just("\""),
            Just("\\"),
            Just(" "),
            Just("\\u00e9"),
            Just("\\ud83d"),
            Just("\\ude00"),
            Just("\\n"),
            Just("abcdefgh"),
            Just("é"),
            Just("\u{1}"),
            Just("null"),
            Just("true"),
            Just("fals"),
            Just("-"),
            Just("0"),
            Just("12"),
            Just("."),
            Just("e"),
            Just("+"),
            Just("18446744073709551616"),
            Just("1e400"),
            Just("\"a\":1"),
            Just("\"b\":[1,{}]"),
            Just("\"x\\\\y\""),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in nearly_json()) {
            // A negative zero is the integer 0 here, a float there.
            prop_assume!(!text.contains("-0"));
            for text in [text.clone(), format!("[{text}]"), format!("\"{text}\""), format!("{{{text}}}")] {
                let expected = serde_json::from_str::<serde_json::Value>(&text).ok();
                prop_assert_eq!(read(&text), expected, "{}", text);
            }
        }

        #[test]
        fn finds_what_ends_plain_text(text in "[a-zé\"\\\\\u{0}-\u{20}\u{7f}]{0,200}", from in 0_usize..200) {
            let bytes = text.as_bytes();
            let from = from.min(bytes.len());
            let plain = bytes[from..].iter().position(|b| *b == b'"' || *b == b'\\' || *b < 0x20);
            prop_assert_eq!(Specials::default().next(bytes, from), plain.map_or(bytes.len(), |i| from + i));
        }
    }

    #[test]
    fn tells_where_text_is_broken() {
        let told = |text: &str| {
            let mut tape = Tape { record: text, ..Tape::default() };
            scan(&mut tape, &mut Names::default(), 2).unwrap_err()
        };
        assert_eq!(told(r#"{"a" 1}"#), Broken { byte: 5, problem: Problem::Other("expected a colon") });
        assert_eq!(told(r#"{"a":[[1]]}"#), Broken { byte: 6, problem: Problem::TooDeep });
    }
}
