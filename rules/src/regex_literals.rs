//! Literals that a regular expression requires, so that the automaton of its field can rule it out.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::fold::fold_char;

/// Folded texts of which at least one stands, folded, in every text that the expression matches.
/// Empty where nothing is known. All members are at least [`LITERAL_CHARS_MIN`] long.
pub(crate) fn required(source: &str) -> Vec<String> {
    let parsed = regex_syntax::ParserBuilder::new().nest_limit(64).build().parse(source);
    let literals = parsed.ok().and_then(|hir| of(&hir)).unwrap_or_default();
    if literals.iter().all(|l| l.chars().count() >= LITERAL_CHARS_MIN) { literals } else { Vec::new() }
}

/// Shorter literals hit nearly everywhere, so looking for them only costs.
const LITERAL_CHARS_MIN: usize = 2;

/// More alternatives than this are no filter any more.
const ALTERNATIVES_MAX: usize = 64;

fn of(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(_) | HirKind::Class(_) => exact(hir).map(|text| vec![text]),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        HirKind::Alternation(branches) => {
            let all: Option<Vec<Vec<String>>> = branches.iter().map(of).collect();
            all.map(|lists| lists.concat()).filter(|list| list.len() <= ALTERNATIVES_MAX)
        }
        HirKind::Concat(parts) => of_sequence(parts),
        _ => None,
    }
}

/// The best of: the longest run of exact characters, and what single parts require.
fn of_sequence(parts: &[Hir]) -> Option<Vec<String>> {
    let mut candidates = Vec::new();
    let mut run = String::new();
    for part in parts {
        match exact(part) {
            Some(text) => run.push_str(&text),
            None => {
                candidates.push(vec![std::mem::take(&mut run)]);
                candidates.extend(of(part));
            }
        }
    }
    candidates.push(vec![run]);
    let weakest = |list: &Vec<String>| list.iter().map(String::len).min().unwrap_or(0);
    candidates.into_iter().max_by_key(weakest).filter(|list| weakest(list) > 0)
}

/// The folded text of a part that matches one text alone, but for case.
fn exact(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            std::str::from_utf8(&literal.0).ok().map(|text| text.chars().map(fold_char).collect())
        }
        HirKind::Class(Class::Unicode(class)) => {
            let mut chars =
                class.ranges().iter().take(5).flat_map(|r| r.start()..=r.end()).take(5).map(fold_char);
            let first = chars.next()?;
            chars.all(|c| c == first).then(|| first.to_string())
        }
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(exact).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_text_must_contain() {
        assert_eq!(required(r"\\AppData\\.*\.(exe|dll)$"), [r"\appdata\"]);
        assert_eq!(required(r"(?i)net1?\s+USERS"), ["users"]);
        assert_eq!(required("(foo|bar+)x"), ["foo", "ba"].map(str::to_owned));
        assert_eq!(required(".*"), [""; 0]);
        assert_eq!(required("a|.*"), [""; 0]);
    }
}
