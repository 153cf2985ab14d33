//! Which rows may hold a literal that rules look for, told from JSON as it is written: without parsing records for keywords, and
//! without resolving and folding long texts.
//!
//! Keywords search every value of a record, so a rule of keywords alone would have every record of its logsource parsed
//! and every value of it scanned. Messages are the longest values there are, and few rules name them. Nearly all rows hold
//! nothing of what is looked for, and that shows in their bytes: a folded value that contains a literal was written with the
//! characters of the literal, but for escapes and for the few characters that fold to ASCII without being ASCII. Rows with
//! such are looked at.

use aho_corasick::{AhoCorasick, packed};
use arrow::array::AsArray;
use event::EventBatch;

use crate::atom::{AtomId, Atoms, Field};
use crate::field::{Cell, FieldReader, Kept};
use crate::predicate::Predicate;
use crate::rows::Rows;

/// Finds the rows that may hold one of some literals.
#[derive(Debug)]
pub(crate) struct WrittenFilter(Search);

#[derive(Debug)]
enum Search {
    /// Vectorised, for few fragments and where the processor can.
    Packed(packed::Searcher),
    Automaton(AhoCorasick),
}

/// The characters beyond ASCII that [`fold_char`](crate::fold::fold_char) makes ASCII: `İ`, `ſ`, the Kelvin sign.
const FOLD_TO_ASCII: [char; 3] = ['\u{130}', '\u{17f}', '\u{212a}'];

/// How JSON may write a character of a fragment otherwise: any of ASCII, and those of [`FOLD_TO_ASCII`].
const ESCAPES: [&str; 4] = ["\\u00", "\\u0130", "\\u017f", "\\u212a"];

/// A field is filtered whose values have so many bytes in the mean of all rows.
const LONG_BYTES: usize = 128;

/// After so many rows it is seen whether the filter keeps any away.
const TRIED_ROWS: usize = 32;

/// More are no longer found by vector instructions.
const FRAGMENTS_OF_FIELD_MAX: usize = 32;

/// Shorter fragments are found nearly everywhere.
const FRAGMENT_BYTES_MIN: usize = 3;

impl WrittenFilter {
    /// The filter for these scanned atoms; `None` where one of them says too little about how what holds it is written.
    /// A field of its own has none for so many literals that looking for them takes an automaton.
    pub(crate) fn new(atoms: &Atoms, field: &Field, ids: &[AtomId]) -> Option<Self> {
        let mut fragments = Vec::new();
        for id in ids {
            let required = atoms.required(*id);
            // A case-sensitive pattern or an expression folds its required literals too.
            let is_known = matches!(atoms.get(*id).predicate, Predicate::Text(_) | Predicate::Regex(_));
            if required.is_empty() || !is_known {
                return None;
            }
            for literal in required {
                fragments.push(fragment(literal)?);
            }
        }
        let is_worth_it = *field == Field::Keywords || fragments.len() <= FRAGMENTS_OF_FIELD_MAX;
        is_worth_it.then(|| Self::of_fragments(fragments)).flatten()
    }

    fn of_fragments(mut fragments: Vec<&str>) -> Option<Self> {
        fragments.extend(ESCAPES);
        Search::new(&fragments).map(Self)
    }

    /// The rows in which the field may hold one. `None` where it is faster to look at all of its values.
    pub(crate) fn rows(&self, batch: &EventBatch, field: &Field, reader: &FieldReader<'_>) -> Option<Rows> {
        let mut lower = Vec::new();
        if *field == Field::Keywords {
            return Some(self.rows_of_records(batch, &mut lower));
        }
        if reader.native_bytes() < LONG_BYTES * batch.len() {
            return None;
        }
        let (mut rows, mut found) = (Rows::none(batch.len()), 0);
        for row in 0..batch.len() {
            let may_hold = match reader.kept(row) {
                Kept::Written(text) => self.may_hold(text, &mut lower),
                Kept::Cell(Cell::One(text)) => self.may_hold(&text, &mut lower),
                Kept::Cell(Cell::Many(_)) => true,
                Kept::Cell(Cell::Absent | Cell::Null) => false,
            };
            if may_hold {
                rows.insert(row);
                found += 1;
            }
            // Where nearly all rows pass, the filter is one look too many.
            if row == TRIED_ROWS && found > TRIED_ROWS / 2 {
                return None;
            }
        }
        Some(rows)
    }

    /// Keywords are looked for in all of a record.
    fn rows_of_records(&self, batch: &EventBatch, lower: &mut Vec<u8>) -> Rows {
        let mut rows = Rows::none(batch.len());
        let raw = batch.column("raw").and_then(|column| column.as_string_view_opt());
        for (row, raw) in raw.into_iter().flatten().enumerate() {
            if raw.is_some_and(|raw| self.may_hold(raw, lower)) {
                rows.insert(row);
            }
        }
        rows
    }

    fn may_hold(&self, raw: &str, lower: &mut Vec<u8>) -> bool {
        lower.clear();
        let mut any = 0;
        lower.extend(raw.bytes().map(|byte| {
            any |= byte;
            byte.to_ascii_lowercase()
        }));
        self.0.finds(lower) || (!any.is_ascii() && folds_to_ascii(raw))
    }
}

impl Search {
    fn new(fragments: &[&str]) -> Option<Self> {
        let packed =
            packed::Config::new().heuristic_pattern_limits(false).builder().extend(fragments).build();
        match packed {
            Some(searcher) => Some(Self::Packed(searcher)),
            // It fails on too many states only; then records are parsed.
            None => AhoCorasick::new(fragments).ok().map(Self::Automaton),
        }
    }

    fn finds(&self, text: &[u8]) -> bool {
        match self {
            Search::Packed(searcher) => searcher.find(text).is_some(),
            Search::Automaton(automaton) => automaton.is_match(text),
        }
    }
}

/// The longest part of a folded literal that JSON writes as it is, unless by `\u`; `None` where it is too short, or where
/// the literal may be of a number, which has several spellings.
fn fragment(literal: &str) -> Option<&str> {
    let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e');
    if literal.chars().all(is_of_number) {
        return None;
    }
    let is_plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '/');
    let longest = literal.split(|c| !is_plain(c)).max_by_key(|part| part.len())?;
    (longest.len() >= FRAGMENT_BYTES_MIN).then_some(longest)
}

fn folds_to_ascii(text: &str) -> bool {
    FOLD_TO_ASCII.iter().any(|c| text.contains(*c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold_char;

    fn may_hold(fragments: &[&str], raw: &str) -> bool {
        WrittenFilter::of_fragments(fragments.to_vec()).unwrap().may_hold(raw, &mut Vec::new())
    }

    #[test]
    fn a_fragment_is_what_json_never_escapes() {
        assert_eq!(fragment("c:\\temp\\mimilib.dll"), Some("mimilib.dll"));
        assert_eq!(fragment("a/b\"\n"), None);
        assert_eq!(fragment("größe"), None);
        assert_eq!(fragment("größer als"), Some("er als"));
    }

    #[test]
    fn a_literal_that_may_be_a_number_says_nothing() {
        // `1e3` and `1000.0` are written in other ways than the leaf says.
        assert_eq!(fragment("1000"), None);
        assert_eq!(fragment("-1.5e+10"), None);
        assert_eq!(fragment("4624:"), Some("4624:"));
    }

    #[test]
    fn finds_what_is_written_plainly_in_any_case() {
        assert!(may_hold(&["sekurlsa::"], r#"{"m":"SEKURLSA::logon"}"#));
        assert!(!may_hold(&["sekurlsa::"], r#"{"m":"sekurlsa:logon C:\\users"}"#));
    }

    #[test]
    fn what_may_be_written_otherwise_is_not_ruled_out() {
        assert!(may_hold(&["sekurlsa::"], r#"{"m":"\u0073ekurlsa::"}"#));
        assert!(may_hold(&["sekurlsa::"], r#"{"m":"\u017Fekurlsa::"}"#));
        assert!(may_hold(&["sekurlsa::"], "{\"m\":\"\u{17f}ekurlsa::\"}"));
        assert!(!may_hold(&["sekurlsa::"], "{\"m\":\"größe\"}"));
    }

    #[test]
    fn many_fragments_are_found_too() {
        let fragments: Vec<String> = (0..1_000).map(|i| format!("key{i}word")).collect();
        let fragments: Vec<&str> = fragments.iter().map(String::as_str).collect();
        assert!(may_hold(&fragments, "{\"m\":\"a KEY777Word\"}"));
        assert!(!may_hold(&fragments, "{\"m\":\"keyword\"}"));
    }

    #[test]
    fn the_characters_that_fold_to_ascii_are_known() {
        let found: Vec<char> = ('\u{80}'..=char::MAX).filter(|c| fold_char(*c).is_ascii()).collect();
        assert_eq!(found, FOLD_TO_ASCII);
    }
}
