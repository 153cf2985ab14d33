//! Names of entities with `*` and `?`: `dc*`, `*.lab.example`, `srv-??`.

use event::Target;
use serde::{Deserialize, Serialize};

/// A pattern over entity values; case does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern where `*` stands for any run of characters and `?` for any one.
    pub fn new(text: &str) -> Self {
        Pattern(text.to_owned())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether any identifier of the target has this name, in full or as its host part before the first dot.
    pub fn names(&self, target: &Target) -> bool {
        let values = std::iter::once(&target.entity).chain(&target.identifiers).map(|e| &*e.value);
        values
            .into_iter()
            .any(|v| self.matches(v) || v.split('.').next().is_some_and(|host| self.matches(host)))
    }

    fn matches(&self, value: &str) -> bool {
        let pattern: Vec<char> = self.0.trim().to_lowercase().chars().collect();
        let value: Vec<char> = value.to_lowercase().chars().collect();
        glob(&pattern, &value)
    }
}

/// Greedy with one point of return: linear in practice, quadratic at worst, never exponential.
fn glob(pattern: &[char], value: &[char]) -> bool {
    let (mut p, mut v) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while v < value.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, v));
                p += 1;
            }
            Some(&c) if c == '?' || c == value[v] => {
                p += 1;
                v += 1;
            }
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    p = *at + 1;
                    v = *taken;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_like_a_file_name() {
        for (pattern, value, expected) in [
            ("dc*", "DC01", true),
            ("*-dc?", "ber-dc1", true),
            ("*-dc?", "ber-dc", false),
            ("ws-01", "ws-01", true),
            ("ws-01", "ws-011", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("", "x", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(value), expected, "{pattern} {value}");
        }
    }

    #[test]
    fn many_stars_stay_fast() {
        let pattern = Pattern::new(&"*a".repeat(200));
        assert!(!pattern.matches(&"a".repeat(199)));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(2_000))));
    }
}
