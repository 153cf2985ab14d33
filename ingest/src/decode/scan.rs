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

/// Fills the tape with the values of its record, which is shorter than 4 GiB, and numbers the names of their members. `open` is
/// memory to work in.
pub(crate) fn scan(
    tape: &mut Tape<'_>,
    names: &mut Names,
    open: &mut Vec<Open>,
    depth_max: usize,
) -> Result<(), Broken> {
    open.clear();
    tape.nodes.clear();
    tape.resolved.clear();
    tape.listed.clear();
    names.begin();
    let bytes = tape.record.as_bytes();
    let specials = Specials::default();
    let mut scan = Scan { bytes, at: 0, tape, names, specials, open, depth_max, broken: None };
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
    open: &'t mut Vec<Open>,
    depth_max: usize,
    broken: Option<Broken>,
}

/// An object or list that has begun.
#[derive(Debug)]
pub(crate) struct Open {
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
        let (mut at, mut escapes) = (start, 0);
        loop {
            self.specials.look_at(self.bytes, at);
            let Specials { stops, escaped, .. } = self.specials;
            let (stops, escaped) = (stops >> (at % BLOCK), escaped >> (at % BLOCK));
            if stops == 0 {
                escapes |= escaped;
                at = (at / BLOCK + 1) * BLOCK;
                if at >= self.bytes.len() {
                    return self.fail_at(self.bytes.len(), Problem::Other("text without end"));
                }
                continue;
            }
            let plain = stops.trailing_zeros();
            // Those before the stop, and whether it is one.
            escapes |= escaped & (stops ^ (stops - 1));
            at += plain as usize;
            match self.bytes.get(at) {
                _ if escaped >> plain & 1 == 1 => at = self.after_escape(at)?,
                Some(b'"') => break,
                Some(_) => return self.fail_at(at, Problem::Other("control character in text")),
                None => return self.fail_at(at, Problem::Other("text without end")),
            }
        }
        self.at = at;
        let span = self.span(start);
        self.at += 1;
        self.tape.nodes.push(if escapes != 0 { Node::Escaped(span) } else { Node::Text(span) });
        Some(span)
    }

    /// Where the escape ends whose backslash stands before `at`.
    #[inline]
    fn after_escape(&mut self, at: usize) -> Option<usize> {
        match self.bytes.get(at) {
            Some(byte) if is_short_escape(*byte) => Some(at + 1),
            byte => self.after_long_escape(at - 1, byte.copied()),
        }
    }

    fn after_long_escape(&mut self, backslash: usize, next: Option<u8>) -> Option<usize> {
        match code_escape(&self.tape.record[backslash..]) {
            Some((_, bytes)) if next == Some(b'u') => Some(backslash + bytes),
            _ => self.fail_at(backslash, Problem::Other("escape of no character")),
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

/// What stands in a text of [`BLOCK`] bytes at once, a bit for each of them.
#[derive(Default)]
struct Specials {
    /// Number of the block, from 1.
    block: usize,
    /// Bytes that end a text or that must be looked at: quotes, control characters, and what is escaped but for backslashes, of
    /// which nothing can be wrong.
    stops: u64,
    /// Bytes that a backslash before them escapes.
    escaped: u64,
    /// Whether the first byte after the block is escaped.
    is_next_escaped: bool,
}

const BLOCK: usize = 64;

impl Specials {
    /// Makes it the block of the byte `at`, which stands in a text. What comes before that text in the block may be told wrong:
    /// the quote with which the text begins ends every row of backslashes.
    #[inline]
    fn look_at(&mut self, bytes: &[u8], at: usize) {
        let block = at / BLOCK + 1;
        if self.block != block {
            let is_first_escaped = self.is_next_escaped && self.block + 1 == block;
            *self = Self { block, ..Self::of(bytes, block - 1, is_first_escaped) };
        }
    }

    #[inline]
    fn of(bytes: &[u8], block: usize, is_first_escaped: bool) -> Self {
        let from = bytes.get(block * BLOCK..).unwrap_or_default();
        match from.first_chunk() {
            Some(whole) => Self::of_block(whole, is_first_escaped),
            None => {
                let mut padded = [b' '; BLOCK];
                padded[..from.len()].copy_from_slice(from);
                Self::of_block(&padded, is_first_escaped)
            }
        }
    }

    #[inline]
    fn of_block(block: &[u8; BLOCK], is_first_escaped: bool) -> Self {
        let (mut ends, mut backslashes) = (0, 0);
        for (i, bytes) in block.as_chunks().0.iter().enumerate() {
            let bytes = u8x16::new(*bytes);
            let bits = |equal: u8x16| u64::from(equal.to_bitmask()) << (16 * i);
            // Less than a space is what the smaller of it and 0x1f is.
            let controls = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
            ends |= bits(bytes.simd_eq(u8x16::splat(b'"')) | controls);
            backslashes |= bits(bytes.simd_eq(u8x16::splat(b'\\')));
        }
        let (escaped, is_next_escaped) = escaped(backslashes, is_first_escaped);
        let stops = ends | (escaped & !backslashes);
        Self { block: 0, stops, escaped, is_next_escaped }
    }
}

/// The bytes that a backslash escapes, and whether the byte after the last one is: every second one of a row of backslashes, and
/// what follows a row of an odd number. The subtraction carries along each row (the method of simdjson).
#[inline]
fn escaped(backslashes: u64, is_first_escaped: bool) -> (u64, bool) {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let first = u64::from(is_first_escaped);
    if backslashes == 0 {
        return (first, false);
    }
    let may_escape = backslashes & !first;
    let escapes_and_ends = ((may_escape << 1) | ODD).wrapping_sub(may_escape) ^ ODD;
    (escapes_and_ends ^ (backslashes | first), (escapes_and_ends & backslashes) >> 63 == 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::Json;
    use super::*;

    /// What the tape says, read twice: as it is, and resolved.
    fn read(text: &str) -> Option<serde_json::Value> {
        let mut tape = Tape { record: text, ..Tape::default() };
        scan(&mut tape, &mut Names::default(), &mut Vec::new(), 128).ok()?;
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
        fn knows_what_is_escaped(text in r#"[a\\\\"]{0,200}"#, is_first_escaped: bool) {
            let (mut block, mut expected) = ([b'a'; BLOCK], 0);
            let bytes = text.as_bytes();
            let bytes = &bytes[..bytes.len().min(BLOCK)];
            block[..bytes.len()].copy_from_slice(bytes);
            let mut escapes = is_first_escaped;
            for (i, byte) in block.iter().enumerate() {
                expected |= u64::from(escapes) << i;
                escapes = *byte == b'\\' && !escapes;
            }
            let found = Specials::of_block(&block, is_first_escaped);
            prop_assert_eq!((found.escaped, found.is_next_escaped), (expected, escapes));
        }

        #[test]
        fn long_texts_agree_with_serde_json(
            pieces in prop::collection::vec(r#"[a-zé]{0,20}|(\\\\){1,40}|\\["/bfnrt\\]|\\u00e9|\\x|\\|"|\t"#, 0..30),
        ) {
            let text = format!("{{\"a\":\"{}\",\"b\":\"x\"}}", pieces.concat());
            let expected = serde_json::from_str::<serde_json::Value>(&text).ok();
            prop_assert_eq!(read(&text), expected, "{}", text);
        }
    }

    #[test]
    fn tells_where_text_is_broken() {
        let told = |text: &str| {
            let mut tape = Tape { record: text, ..Tape::default() };
            scan(&mut tape, &mut Names::default(), &mut Vec::new(), 2).unwrap_err()
        };
        assert_eq!(told(r#"{"a" 1}"#), Broken { byte: 5, problem: Problem::Other("expected a colon") });
        assert_eq!(told(r#"{"a":[[1]]}"#), Broken { byte: 6, problem: Problem::TooDeep });
    }
}
