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

/// Bytes that are looked at at once.
const LANES: usize = 16;

/// Appends the text. There may be an escape every few bytes: the names of a path.
fn unescape(written: &str, out: &mut Vec<u8>) {
    let bytes = written.as_bytes();
    out.reserve(bytes.len() + LANES);
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<LANES>() {
        let backslashes = u8x16::new(*chunk).simd_eq(u8x16::splat(b'\\')).to_bitmask();
        let plain = LANES.min(backslashes.trailing_zeros() as usize);
        let end = out.len() + plain;
        // To copy a fixed number of bytes takes less time than to copy the right one.
        out.extend_from_slice(chunk);
        out.truncate(end);
        at += plain;
        if plain < LANES {
            at += push_escape(written, at, out);
        }
    }
    while let Some(byte) = bytes.get(at) {
        if *byte == b'\\' {
            at += push_escape(written, at, out);
        } else {
            out.push(*byte);
            at += 1;
        }
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
