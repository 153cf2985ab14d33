//! How JSON writes text.

use wide::u8x16;

/// Resolves the escapes of texts, one after the other in the same memory.
#[derive(Debug, Default)]
pub struct Unescaper {
    bytes: Vec<u8>,
}

impl Unescaper {
    /// The text that is written so, with valid escapes.
    pub fn text(&mut self, written: &str) -> &str {
        self.bytes.clear();
        unescape(written, &mut self.bytes);
        // What was text and characters is text.
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }
}

/// Text that is written with valid escapes, these resolved.
pub fn unescaped(written: &str) -> String {
    let mut bytes = Vec::new();
    unescape(written, &mut bytes);
    String::from_utf8(bytes).unwrap_or_default()
}

/// Bytes that are looked at at once, and bytes that are copied at once.
const BLOCK: usize = 64;
const COPIED: usize = 16;

/// Appends the text. There may be an escape every few bytes: the names of a path.
fn unescape(written: &str, out: &mut Vec<u8>) {
    let bytes = written.as_bytes();
    out.reserve(bytes.len() + COPIED);
    // What stands before it has been appended.
    let mut done = 0;
    let mut begin = 0;
    while let Some(block) = bytes[begin..].first_chunk::<BLOCK>() {
        let mut backslashes = backslashes(block);
        while backslashes != 0 {
            let at = begin + backslashes.trailing_zeros() as usize;
            backslashes &= backslashes - 1;
            // The second backslash of an escape, or one within a long escape, is done.
            if at >= done {
                push_plain(bytes, done, at, out);
                done = at + push_escape(written, at, out);
            }
        }
        begin += BLOCK;
    }
    while let Some(plain) = bytes[done..].iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&bytes[done..done + plain]);
        done += plain;
        done += push_escape(written, done, out);
    }
    out.extend_from_slice(&bytes[done..]);
}

/// A bit for each backslash.
#[inline]
fn backslashes(block: &[u8; BLOCK]) -> u64 {
    let bits = |(i, bytes): (usize, &[u8; 16])| {
        u64::from(u8x16::new(*bytes).simd_eq(u8x16::splat(b'\\')).to_bitmask()) << (16 * i)
    };
    block.as_chunks().0.iter().enumerate().map(bits).fold(0, |all, bits| all | bits)
}

/// Appends these bytes. To copy a fixed number of them takes less time than to copy the right one.
#[inline]
fn push_plain(bytes: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
    match bytes[start..].first_chunk::<COPIED>() {
        Some(copied) if end - start <= COPIED => {
            let length = out.len() + end - start;
            out.extend_from_slice(copied);
            out.truncate(length);
        }
        _ => out.extend_from_slice(&bytes[start..end]),
    }
}

/// Appends what the escape at a byte stands for. Its length.
#[inline]
fn push_escape(written: &str, at: usize, out: &mut Vec<u8>) -> usize {
    let next = written.as_bytes().get(at + 1).copied().unwrap_or_default();
    let resolved = SHORT_ESCAPES[usize::from(next)];
    if resolved != 0 {
        out.push(resolved);
        return 2;
    }
    let (resolved, bytes) = code_escape(&written[at..]).unwrap_or(('\\', 1));
    out.extend_from_slice(resolved.encode_utf8(&mut [0; 4]).as_bytes());
    bytes
}

/// What a backslash and a byte stand for: 0 for what they do not.
const SHORT_ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut rest: &[(u8, u8)] = &[
        (b'"', b'"'),
        (b'\\', b'\\'),
        (b'/', b'/'),
        (b'n', b'\n'),
        (b'r', b'\r'),
        (b't', b'\t'),
        (b'b', 0x8),
        (b'f', 0xc),
    ];
    while let [(written, resolved), others @ ..] = rest {
        table[*written as usize] = *resolved;
        rest = others;
    }
    table
};

/// Whether this byte may follow a backslash alone.
#[inline]
pub fn is_short_escape(byte: u8) -> bool {
    SHORT_ESCAPES[usize::from(byte)] != 0
}

/// The character of `\uXXXX`, or of the two of a surrogate pair, and its length; `None` where it is no character.
pub fn code_escape(text: &str) -> Option<(char, usize)> {
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
        let long = r"C:\\Windows\\System32\\drivers\\etc\\hosts and more ü\r\n\t".repeat(3);
        for written in [r#"a\\b\/\n\r\t\b\f\"\u0041\u00e9"#, r"\ud83d\ude00x", "plain ü", "", r"\\\\", &long]
        {
            let expected = serde_json::from_str::<String>(&format!("\"{written}\"")).unwrap();
            assert_eq!(unescaped(written), expected, "{written}");
            let mut unescaper = Unescaper::default();
            assert_eq!(unescaper.text("before"), "before");
            assert_eq!(unescaper.text(written), expected);
        }
        for written in [r"\ud83d", r"\ude00\ud83d", r"\ud83d\u0041", r"\u00g0", r"\u+041", r"\u12"] {
            assert_eq!(code_escape(written), None, "{written}");
            assert!(unescaped(written).starts_with(&written[..3]));
        }
    }
}
