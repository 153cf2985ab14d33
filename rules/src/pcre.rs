//! Regular expressions as rules write them, in the syntax of PCRE, for the engine that we have. What the two read
//! differently is rewritten; what the engine does not have stays as it is, and the engine refuses it.
//!
//! - `{` that begins no repetition is itself: `${jndi:`.
//! - Within a class `[`, `&&`, `--` and `~~` are themselves, and no operations on sets.
//! - `\<` and `\>` are the signs, and no borders of words.
//! - `\Z` is the end of the text, or before a line break that ends it; `\h` is a blank or a tab.

/// The expression in the syntax of the engine.
pub(crate) fn translated(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 8);
    let mut rest = source;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '\\' => escape(rest, in_class, &mut out),
            '[' if in_class => in_class_bracket(rest, &mut out),
            '[' => {
                in_class = true;
                class_head(rest, &mut out)
            }
            ']' => {
                in_class = false;
                keep(1, rest, &mut out)
            }
            '-' if in_class && rest.starts_with("--") => two_hyphens(&mut out),
            '&' | '~' if in_class && rest[1..].starts_with(c) => {
                out.push('\\');
                keep(1, rest, &mut out)
            }
            '{' if !in_class => match repetition(rest) {
                Some(length) => keep(length, rest, &mut out),
                None => {
                    out.push('\\');
                    keep(1, rest, &mut out)
                }
            },
            c => keep(c.len_utf8(), rest, &mut out),
        };
        rest = &rest[taken..];
    }
    out
}

/// Takes so many bytes over as they are.
fn keep(length: usize, rest: &str, out: &mut String) -> usize {
    out.push_str(&rest[..length]);
    length
}

/// A backslash and what it belongs to.
fn escape(rest: &str, in_class: bool, out: &mut String) -> usize {
    let Some(c) = rest[1..].chars().next() else { return keep(1, rest, out) };
    let length = 1 + c.len_utf8();
    match c {
        '<' | '>' => out.push(c),
        'Z' if !in_class => out.push_str(r"(?:\n?\z)"),
        'h' if in_class => out.push_str(r" \t"),
        'h' => out.push_str(r"[ \t]"),
        // What these have in braces is theirs.
        'p' | 'P' | 'x' | 'u' | 'U' if rest[length..].starts_with('{') => {
            let end = rest[length..].find('}').map_or(length, |end| length + end + 1);
            return keep(end, rest, out);
        }
        _ => return keep(length, rest, out),
    }
    length
}

/// The beginning of a class: a `]` that stands first is one of its members.
fn class_head(rest: &str, out: &mut String) -> usize {
    let mut length = 1;
    if rest[length..].starts_with('^') {
        length += 1;
    }
    if rest[length..].starts_with(']') {
        length += 1;
    }
    keep(length, rest, out)
}

/// Two hyphens within a class: of a range that begins, or else ends, with one.
fn two_hyphens(out: &mut String) -> usize {
    let begins = out.ends_with('[') || out.ends_with("[^");
    out.push_str(if begins { r"\--" } else { r"-\-" });
    2
}

/// A bracket within a class: of a named class (`[:alpha:]`), else itself.
fn in_class_bracket(rest: &str, out: &mut String) -> usize {
    let named = rest.strip_prefix("[:").and_then(|inner| inner.find(":]"));
    match named {
        Some(length) => keep(length + 4, rest, out),
        None => {
            out.push('\\');
            keep(1, rest, out)
        }
    }
}

/// The length of a repetition: `{2}`, `{2,}`, `{2,5}`.
fn repetition(rest: &str) -> Option<usize> {
    let inner = &rest[1..rest.find('}')?];
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (!least.is_empty() && is_number(least) && is_number(most)).then_some(inner.len() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(expression: &str, text: &str) -> bool {
        regex::Regex::new(&translated(expression)).unwrap().is_match(text)
    }

    #[test]
    fn what_is_read_alike_stays() {
        for same in [
            r"^a{2,5}b{3}c{1,}(?i:d)\{x\}\p{L}\x{41}[^]a-z[:alpha:]\]]+\\$",
            r"(?P<n>é|ü)?\d+\.\w*?[\-a]",
            "",
            "[",
            "\\",
        ] {
            assert_eq!(translated(same), same);
        }
    }

    #[test]
    fn signs_are_themselves_where_they_are_in_pcre() {
        assert!(finds(r"\${jndi:(ldap|rmi)", "x${jndi:ldap}"));
        assert!(finds("a{,5}", "a{,5}") && finds("{{7*7}}", "x{{7777}}"));
        assert!(finds("^[^[]+$", "ab") && !finds("^[^[]+$", "a[b"));
        assert!(finds("^[a&&b]+$", "a&b") && finds("^[~~]$", "~"));
        assert!(finds("^[+--]$", ",") && !finds("^[+--]$", ".") && finds("^[--a]$", "A"));
        assert!(finds(r"\<b\>", "a <b>") && !finds(r"\<b\>", "a b"));
        assert!(finds(r"b\Z", "ab\n") && !finds(r"b\Z", "b\na"));
        assert!(finds(r"a\hb[\h]c", "a\tb c"));
    }
}
