//! Which rows of a batch may take a side of a join: one condition after the other, each over a whole column.

use arrow::array::{Array, AsArray, StringViewArray};
use arrow::datatypes::Int64Type;
use event::EventBatch;

/// What one column must be.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    /// Place in the class's schema.
    pub(crate) column: usize,
    pub(crate) test: Test,
}

/// Words are in lower case; the case of values does not matter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Words { words: Vec<String>, lengths: u64 },
    Prefix(Vec<String>),
    Suffix(Vec<String>),
    Contains(Vec<String>),
    Numbers(Vec<i64>),
    Exists(bool),
}

impl Test {
    pub(crate) fn words(words: Vec<String>) -> Self {
        let lengths = words.iter().fold(0, |lengths, word| lengths | length_bit(word));
        Test::Words { words, lengths }
    }
}

/// Most values are of another length than all words, and need no comparison.
const fn length_bit(text: &str) -> u64 {
    1 << (text.len() & 63)
}

/// The rows that meet all conditions, in order.
pub(crate) fn select(batch: &EventBatch, conditions: &[Condition]) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..batch.len() as u32).collect();
    for condition in conditions {
        if rows.is_empty() {
            return rows;
        }
        retain(&mut rows, batch, condition);
    }
    rows
}

fn retain(rows: &mut Vec<u32>, batch: &EventBatch, condition: &Condition) {
    let column = batch.columns.column(condition.column);
    match (&condition.test, column.as_string_view_opt(), column.as_primitive_opt::<Int64Type>()) {
        (Test::Exists(exists), _, _) => rows.retain(|row| column.is_valid(*row as usize) == *exists),
        (Test::Numbers(numbers), _, Some(values)) => {
            rows.retain(|row| {
                values.is_valid(*row as usize) && numbers.contains(&values.value(*row as usize))
            });
        }
        (Test::Words { words, lengths }, Some(values), _) => {
            let is_one = |text: &str| {
                lengths & length_bit(text) != 0 && words.iter().any(|word| text.eq_ignore_ascii_case(word))
            };
            retain_text(rows, values, is_one);
        }
        (Test::Prefix(words), Some(values), _) => {
            retain_text(rows, values, |text| words.iter().any(|word| starts_with(text.as_bytes(), word)));
        }
        (Test::Suffix(words), Some(values), _) => {
            retain_text(rows, values, |text| words.iter().any(|word| ends_with(text.as_bytes(), word)));
        }
        (Test::Contains(words), Some(values), _) => {
            retain_text(rows, values, |text| words.iter().any(|word| contains(text.as_bytes(), word)));
        }
        // A condition is compiled for the type of its column.
        _ => rows.clear(),
    }
}

fn retain_text(rows: &mut Vec<u32>, values: &StringViewArray, test: impl Fn(&str) -> bool) {
    rows.retain(|row| values.is_valid(*row as usize) && test(values.value(*row as usize)));
}

fn starts_with(text: &[u8], word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
}

fn ends_with(text: &[u8], word: &str) -> bool {
    let start = text.len().checked_sub(word.len());
    start.is_some_and(|start| text[start..].eq_ignore_ascii_case(word.as_bytes()))
}

fn contains(text: &[u8], word: &str) -> bool {
    word.is_empty() || text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_without_case_and_without_panic() {
        assert!(starts_with(b"Consent to application.", "consent to application"));
        assert!(!starts_with("Ünder".as_bytes(), "u"));
        assert!(ends_with(b"C:\\a\\B.EXE", ".exe") && !ends_with(b"exe", ".exe"));
        assert!(contains(b"msedge.exe HTTPS://x", "https://") && !contains(b"", "a"));
        let Test::Words { words, lengths } = Test::words(vec!["chrome.exe".to_owned()]) else { panic!() };
        assert_eq!((words.len(), lengths), (1, 1 << 10));
    }
}
