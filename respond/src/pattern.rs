//! Names of entities with `*` and `?`: `dc*`, `*.lab.example`, `srv-??`.

use std::collections::BTreeMap;

use event::{Entity, EntityType, Target};
use serde::{Deserialize, Serialize};

/// Patterns by type of entity: `{device = ["dc*"], user = ["breakglass*"]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patterns(BTreeMap<EntityType, Vec<Pattern>>);

impl Patterns {
    /// Patterns of these texts.
    pub fn new(patterns: &[(EntityType, &[&str])]) -> Self {
        let of = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text)).collect();
        Self(patterns.iter().map(|(entity_type, texts)| (*entity_type, of(texts))).collect())
    }

    /// The first pattern that names the target, of those for its type.
    pub fn find(&self, target: &Target) -> Option<&Pattern> {
        self.0.get(&target.entity.entity_type)?.iter().find(|pattern| pattern.names(target))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }

    /// Every pattern.
    pub fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.0.values().flatten()
    }
}

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

    /// Whether any identifier of the target, of its own type, has this name: in full or in short, a host without its
    /// domain, an account without its own.
    pub fn names(&self, target: &Target) -> bool {
        let of_type = |e: &&Entity| e.entity_type == target.entity.entity_type;
        let mut all = std::iter::once(&target.entity).chain(target.identifiers.iter().filter(of_type));
        all.any(|e| self.matches(&e.value) || short(e).is_some_and(|name| self.matches(name)))
    }

    /// Whether a text is such a name.
    pub(crate) fn matches(&self, value: &str) -> bool {
        let pattern: Vec<char> = self.0.trim().to_lowercase().chars().collect();
        let value: Vec<char> = value.to_lowercase().chars().collect();
        glob(&pattern, &value)
    }
}

/// A name without its domain.
fn short(entity: &Entity) -> Option<&str> {
    match entity.entity_type {
        EntityType::Device => entity.value.split('.').next(),
        EntityType::User | EntityType::Mailbox => {
            let account = entity.value.rsplit('\\').next()?;
            account.split('@').next()
        }
        _ => None,
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
    fn a_pattern_is_of_one_type_and_knows_names_without_their_domain() {
        let named = |entity_type, value: &str| {
            let entity = Entity { entity_type, role: event::Role::Target, value: value.into() };
            Target { identifiers: Vec::new(), entity, label: None }
        };
        let patterns = Patterns::new(&[(EntityType::User, &["svc-*"]), (EntityType::Device, &["dc?"])]);
        for (entity_type, value, expected) in [
            (EntityType::User, "corp\\svc-backup", true),
            (EntityType::User, "svc-backup@corp.example", true),
            (EntityType::Device, "svc-1", false),
            (EntityType::Device, "dc1.corp.example", true),
            (EntityType::App, "dc1", false),
        ] {
            assert_eq!(patterns.find(&named(entity_type, value)).is_some(), expected, "{value}");
        }
    }

    #[test]
    fn many_stars_stay_fast() {
        let pattern = Pattern::new(&"*a".repeat(200));
        assert!(!pattern.matches(&"a".repeat(199)));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(2_000))));
    }
}
