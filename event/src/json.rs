//! How JSON writes text.

/// Appends text that is written with valid escapes. There may be one every few bytes: the names of a path.
pub fn unescape(written: &str, out: &mut String) {
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

/// Text that is written with valid escapes, these resolved.
pub fn unescaped(written: &str) -> String {
    let mut text = String::with_capacity(written.len());
    unescape(written, &mut text);
    text
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
