//! Text patterns: literal text, the wildcards `*` and `?`, and the dash class of `windash`.

use std::fmt;

use rsigma_parser::{SigmaString, SpecialChar, StringPart};

use crate::fold::{fold, fold_char};

/// The dashes that command lines take for one another: hyphen, slash, en dash, em dash, horizontal bar.
pub(crate) const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// One element of a pattern. Adjacent literals are merged, adjacent stars are one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    /// Exactly this text, folded unless the pattern is cased.
    Literal(Box<str>),
    /// Exactly one character (`?`).
    One,
    /// Exactly one of [`DASHES`].
    Dash,
    /// Any run of characters, also none, also newlines (`*`).
    Star,
}

/// A pattern over a whole value. `contains` is a pattern that starts and ends with a star.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    elements: Vec<Element>,
    cased: bool,
}

/// The shapes that need no general matching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape<'a> {
    Equals(&'a str),
    Contains(&'a str),
    Prefix(&'a str),
    Suffix(&'a str),
    General,
}

impl Pattern {
    /// The pattern of a parsed Sigma string, case-insensitive.
    pub(crate) fn from_sigma(value: &SigmaString) -> Self {
        let elements = value.parts.iter().map(|part| match part {
            StringPart::Plain(text) => Element::Literal(text.as_str().into()),
            StringPart::Special(SpecialChar::WildcardMulti) => Element::Star,
            StringPart::Special(SpecialChar::WildcardSingle) => Element::One,
        });
        Self::new(elements.collect())
    }

    /// A pattern of literal text alone.
    pub(crate) fn literal(text: &str) -> Self {
        Self::new(vec![Element::Literal(text.into())])
    }

    fn new(elements: Vec<Element>) -> Self {
        Self { elements, cased: false }
    }

    pub(crate) fn is_cased(&self) -> bool {
        self.cased
    }

    /// Whether the pattern is one text, case-insensitive: a lookup finds its values.
    pub(crate) fn is_equals(&self) -> bool {
        !self.cased && matches!(self.shape(), Shape::Equals(_))
    }

    /// The text of a pattern without wildcards.
    pub(crate) fn plain(&self) -> Option<String> {
        self.elements
            .iter()
            .map(|e| if let Element::Literal(text) = e { Some(text.as_ref()) } else { None })
            .collect()
    }

    /// The pattern with stars added before or after.
    pub(crate) fn wrapped(mut self, before: bool, after: bool) -> Self {
        if before && self.elements.first() != Some(&Element::Star) {
            self.elements.insert(0, Element::Star);
        }
        if after && self.elements.last() != Some(&Element::Star) {
            self.elements.push(Element::Star);
        }
        self
    }

    /// `windash`: each dash that begins a word (`\B[-/]\b`) stands for any dash; one inside a word stays itself.
    pub(crate) fn windash(self) -> Self {
        let mut elements = Vec::new();
        let mut before: Option<char> = None;
        for element in self.elements {
            let Element::Literal(text) = element else {
                before = None;
                elements.push(element);
                continue;
            };
            let mut run = String::new();
            let mut chars = text.chars().peekable();
            while let Some(c) = chars.next() {
                let begins_word = chars.peek().is_some_and(is_word) && !before.as_ref().is_some_and(is_word);
                if DASHES.contains(&c) && begins_word {
                    elements.push(Element::Literal(std::mem::take(&mut run).into()));
                    elements.push(Element::Dash);
                } else {
                    run.push(c);
                }
                before = Some(c);
            }
            elements.push(Element::Literal(run.into()));
        }
        Self { elements, cased: self.cased }
    }

    /// The pattern ready to match: folded unless `cased`, literals and stars merged.
    pub(crate) fn finished(self, cased: bool) -> Self {
        let mut elements: Vec<Element> = Vec::new();
        for element in self.elements {
            match (elements.last_mut(), element) {
                (Some(Element::Star), Element::Star) => {}
                (_, Element::Literal(text)) if text.is_empty() => {}
                (Some(Element::Literal(last)), Element::Literal(text)) => {
                    *last = format!("{last}{}", spelled(&text, cased)).into();
                }
                (_, Element::Literal(text)) => elements.push(Element::Literal(spelled(&text, cased).into())),
                (_, other) => elements.push(other),
            }
        }
        Self { elements, cased }
    }

    /// The simple shape of this pattern, if it has one.
    pub(crate) fn shape(&self) -> Shape<'_> {
        match self.elements.as_slice() {
            [] => Shape::Equals(""),
            [Element::Literal(text)] => Shape::Equals(text),
            [Element::Star, Element::Literal(text), Element::Star] => Shape::Contains(text),
            [Element::Literal(text), Element::Star] => Shape::Prefix(text),
            [Element::Star, Element::Literal(text)] => Shape::Suffix(text),
            _ => Shape::General,
        }
    }

    /// Whether a value matches: as it is where case counts (see [`Pattern::is_cased`]), else folded.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self.shape() {
            Shape::Equals(literal) => text == literal,
            Shape::Contains(literal) => text.contains(literal),
            Shape::Prefix(literal) => text.starts_with(literal),
            Shape::Suffix(literal) => text.ends_with(literal),
            Shape::General => matches_general(&self.elements, text),
        }
    }

    /// Texts of which at least one stands, folded, in every folded value that matches; empty where there is none.
    pub(crate) fn required_literals(&self) -> Vec<String> {
        let dashes = self.elements.iter().filter(|e| **e == Element::Dash).count();
        if (1..=DASHES_EXPANDED_MAX).contains(&dashes) && self.is_one_run() {
            return self.dashes_expanded().iter().map(|p| p.longest_literal()).collect();
        }
        let longest = self.longest_literal();
        if longest.is_empty() { Vec::new() } else { vec![longest] }
    }

    /// Whether there are only literals and dashes between optional outer stars.
    fn is_one_run(&self) -> bool {
        let inner = self.elements.strip_prefix(&[Element::Star]).unwrap_or(&self.elements);
        let inner = inner.strip_suffix(&[Element::Star]).unwrap_or(inner);
        inner.iter().all(|e| matches!(e, Element::Literal(_) | Element::Dash))
    }

    /// Every spelling of the dashes, each a pattern without dash class.
    fn dashes_expanded(&self) -> Vec<Pattern> {
        let mut patterns = vec![Vec::new()];
        for element in &self.elements {
            if *element == Element::Dash {
                let with = |p: &Vec<Element>, dash: char| {
                    p.iter().cloned().chain([Element::Literal(dash.to_string().into())]).collect::<Vec<_>>()
                };
                patterns = patterns.iter().flat_map(|p| DASHES.map(|dash| with(p, dash))).collect();
            } else {
                patterns.iter_mut().for_each(|p| p.push(element.clone()));
            }
        }
        patterns.into_iter().map(|p| Self::new(p).finished(self.cased)).collect()
    }

    /// The alternatives of a pattern whose dashes must become text before an encoding.
    ///
    /// # Errors
    /// The number of dashes, where it exceeds what can be expanded.
    pub(crate) fn dashes_as_text(self) -> Result<Vec<Pattern>, usize> {
        match self.elements.iter().filter(|e| **e == Element::Dash).count() {
            0 => Ok(vec![self]),
            n if n <= DASHES_EXPANDED_MAX => {
                // Expansion must not fold: what is encoded is the text as written.
                let cased = Self { elements: self.elements, cased: true };
                Ok(cased.dashes_expanded())
            }
            n => Err(n),
        }
    }

    fn longest_literal(&self) -> String {
        let literals = self.elements.iter().filter_map(|e| match e {
            Element::Literal(text) => Some(text.as_ref()),
            _ => None,
        });
        let longest = literals.max_by_key(|text| text.len()).unwrap_or_default();
        fold(longest).into_owned()
    }
}

/// Five spellings a dash: three dashes are 125 literals for one value, which no automaton thanks for.
const DASHES_EXPANDED_MAX: usize = 2;

fn spelled(text: &str, cased: bool) -> String {
    if cased { text.to_owned() } else { fold(text).into_owned() }
}

fn is_word(c: &char) -> bool {
    c.is_alphanumeric() || *c == '_'
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for element in &self.elements {
            match element {
                Element::Literal(text) => write!(f, "{}", text.replace('*', "\\*").replace('?', "\\?"))?,
                Element::One => f.write_str("?")?,
                Element::Dash => f.write_str("[-]")?,
                Element::Star => f.write_str("*")?,
            }
        }
        Ok(())
    }
}

/// Stars split a pattern into segments of fixed character count: the first is anchored at the start, the last
/// at the end, each one between at its leftmost place. That never has to backtrack.
fn matches_general(elements: &[Element], text: &str) -> bool {
    let mut segments = elements.split(|e| *e == Element::Star);
    let first = segments.next().unwrap_or_default();
    let Some(mut at) = match_here(first, text, 0) else { return false };
    let Some(mut pending) = segments.next() else { return at == text.len() };
    for segment in segments {
        match find_from(pending, text, at) {
            Some(end) => at = end,
            None => return false,
        }
        pending = segment;
    }
    start_of_tail(pending, text)
        .is_some_and(|start| start >= at && match_here(pending, text, start) == Some(text.len()))
}

/// The end of `segment` matched exactly at byte `at`.
fn match_here(segment: &[Element], text: &str, mut at: usize) -> Option<usize> {
    for element in segment {
        let rest = &text[at..];
        at += match element {
            Element::Literal(literal) => rest.starts_with(literal.as_ref()).then_some(literal.len())?,
            Element::One => rest.chars().next()?.len_utf8(),
            Element::Dash => rest.chars().next().filter(|c| DASHES.contains(c))?.len_utf8(),
            Element::Star => 0,
        };
    }
    Some(at)
}

/// The end of the leftmost match of `segment` at or after byte `from`.
fn find_from(segment: &[Element], text: &str, from: usize) -> Option<usize> {
    if let [Element::Literal(literal)] = segment {
        return text[from..].find(literal.as_ref()).map(|i| from + i + literal.len());
    }
    let starts = text[from..].char_indices().map(|(i, _)| from + i).chain([text.len()]);
    starts.into_iter().find_map(|start| match_here(segment, text, start))
}

/// Where a segment that ends the text must begin.
fn start_of_tail(segment: &[Element], text: &str) -> Option<usize> {
    let chars: usize = segment
        .iter()
        .map(|e| match e {
            Element::Literal(literal) => literal.chars().count(),
            Element::One | Element::Dash => 1,
            Element::Star => 0,
        })
        .sum();
    match chars {
        0 => Some(text.len()),
        n => text.char_indices().rev().nth(n - 1).map(|(i, _)| i),
    }
}

/// A second, obvious matcher for the reference interpreter: character by character, with every place of the pattern that
/// the text so far leads to. It shares nothing with the fast one, and takes text times pattern, whatever stars there are.
pub(crate) fn matches_plainly(pattern: &Pattern, raw: &str) -> bool {
    let steps: Vec<Step> = pattern.elements.iter().flat_map(Step::of).collect();
    let mut reached = vec![false; steps.len() + 1];
    reached[0] = true;
    skip_stars(&steps, &mut reached);
    for c in raw.chars().map(|c| if pattern.cased { c } else { fold_char(c) }) {
        let mut next = vec![false; steps.len() + 1];
        for (place, step) in steps.iter().enumerate().filter(|(place, _)| reached[*place]) {
            match step {
                Step::Star => next[place] = true,
                step if step.takes(c) => next[place + 1] = true,
                _ => {}
            }
        }
        skip_stars(&steps, &mut next);
        reached = next;
    }
    reached[steps.len()]
}

/// One character of a pattern, or a star.
enum Step {
    Exactly(char),
    One,
    Dash,
    Star,
}

impl Step {
    fn of(element: &Element) -> Vec<Step> {
        match element {
            Element::Literal(text) => text.chars().map(Step::Exactly).collect(),
            Element::One => vec![Step::One],
            Element::Dash => vec![Step::Dash],
            Element::Star => vec![Step::Star],
        }
    }

    fn takes(&self, c: char) -> bool {
        match self {
            Step::Exactly(own) => *own == c,
            Step::One => true,
            Step::Dash => DASHES.contains(&c),
            Step::Star => false,
        }
    }
}

/// A star may stand for nothing.
fn skip_stars(steps: &[Step], reached: &mut [bool]) {
    for (place, step) in steps.iter().enumerate() {
        if reached[place] && matches!(step, Step::Star) {
            reached[place + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::from_sigma(&SigmaString::new(text)).finished(false)
    }

    fn hits(text: &str, value: &str) -> bool {
        pattern(text).matches(&fold(value))
    }

    #[test]
    fn wildcards_span_newlines_and_count_characters() {
        assert!(hits("a*c", "A\nx\nC") && hits("a*c", "ac") && !hits("a*c", "acd"));
        assert!(hits("a?c", "aéc") && !hits("a?c", "ac") && !hits("a?c", "aééc"));
        assert!(hits("*a?*b", "xa1 b") && hits("?", "é") && !hits("?", ""));
        assert!(hits("*", "") && hits("", "") && !hits("", "x"));
        assert!(hits("*b*b", "bb") && !hits("*b*b", "b") && hits("a*a", "aa") && !hits("a*a", "a"));
    }

    #[test]
    fn escapes_follow_the_specification() {
        assert!(hits(r"a\*c", "a*c") && !hits(r"a\*c", "axc"));
        assert!(hits(r"a\\*c", r"a\xc") && hits(r"a\\\*b", r"a\*b") && !hits(r"a\\\*b", r"a\xb"));
        assert!(hits(r"C:\Windows", r"c:\windows") && hits(r"C:\\Windows", r"c:\windows"));
        assert!(hits(r"a\\\b", r"a\\b") && hits(r"a\\\\b", r"a\\b"));
    }

    #[test]
    fn windash_changes_dashes_that_begin_a_word() {
        let p = Pattern::literal(" -foo-bar --baz").windash().wrapped(true, true).finished(false);
        for text in ["x /foo-bar -/baz", "x –foo-bar -—baz", "x ―foo-bar --baz"] {
            assert!(p.matches(text), "{text}");
        }
        for text in ["x /foo/bar --baz", "x -foo-bar //baz"] {
            assert!(!p.matches(text), "{text}");
        }
        assert_eq!(Pattern::literal(" -f ").windash().finished(false).required_literals().len(), 5);
    }

    #[test]
    fn many_stars_on_a_long_text_are_judged_at_once_by_both() {
        let text = "ab".repeat(20_000);
        let stars = pattern("*a*b*a*b*a*b*a*b*c");
        assert!(!stars.matches(&text) && !matches_plainly(&stars, &text));
        let ended = format!("{text}c");
        assert!(stars.matches(&ended) && matches_plainly(&stars, &ended));
    }

    proptest! {
        #[test]
        fn the_fast_matcher_agrees_with_the_plain_one(p in "[aAb?*\\\\é/-]{0,8}", text in "[aAbBéÉ*?\\\\/\n-]{0,10}", dash: bool, cased: bool) {
            let parsed = Pattern::from_sigma(&SigmaString::new(&p));
            let parsed = if dash { parsed.windash() } else { parsed }.finished(cased);
            let fast = if cased { parsed.matches(&text) } else { parsed.matches(&fold(&text)) };
            prop_assert_eq!(fast, matches_plainly(&parsed, &text), "{} on {:?}", parsed, text);
            let required = parsed.required_literals();
            if fast && !required.is_empty() {
                prop_assert!(required.iter().any(|l| fold(&text).contains(l.as_str())));
            }
        }
    }
}
