//! Case folding: how Sigma's "case-insensitive" is meant here.

use std::borrow::Cow;

/// Lower case, one character for one character, so that the wildcard `?` counts the characters of the event.
///
/// ASCII and the simple lower-case mapping of Unicode; final sigma equals sigma and the long s
/// equals s, as in Unicode case folding; `İ` becomes `i`. Text that is lower case already is borrowed.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return match text.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Cow::Owned(text.to_ascii_lowercase()),
            false => Cow::Borrowed(text),
        };
    }
    Cow::Owned(text.chars().map(fold_char).collect())
}

/// Appends [`fold`] of a text.
pub(crate) fn fold_into(text: &str, out: &mut String) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        out[start..].make_ascii_lowercase();
    } else {
        out.extend(text.chars().map(fold_char));
    }
}

/// [`fold`] of one character.
pub(crate) fn fold_char(c: char) -> char {
    match c {
        'ς' => 'σ',
        'ſ' => 's',
        c if c.is_ascii() => c.to_ascii_lowercase(),
        c => c.to_lowercase().next().unwrap_or(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_one_character_to_one() {
        assert_eq!(fold("PowerShell.EXE"), "powershell.exe");
        assert_eq!(fold("ÄÖÜ ΣΑΣ Привет"), "äöü σασ привет");
        assert_eq!(fold("İx").chars().count(), 2);
        assert!(matches!(fold("lower"), Cow::Borrowed(_)));
    }
}
