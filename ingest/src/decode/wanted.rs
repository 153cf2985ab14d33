//! The native fields that rules name, and which events they are for.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use event::Logsource;
use hashbrown::HashMap;

/// The native field names that loaded rules name, by the logsource of the rules. Of an event the decoder extracts those
/// that rules of its logsources name: nobody asks it for the others.
///
/// Made of names alone, they are wanted of every event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NativeWanted {
    by_logsource: BTreeMap<Logsource, HashSet<Arc<str>>>,
}

impl From<BTreeMap<Logsource, HashSet<Arc<str>>>> for NativeWanted {
    fn from(by_logsource: BTreeMap<Logsource, HashSet<Arc<str>>>) -> Self {
        Self { by_logsource }
    }
}

impl From<HashSet<Arc<str>>> for NativeWanted {
    fn from(names: HashSet<Arc<str>>) -> Self {
        // A rule without a logsource applies to every event.
        Self { by_logsource: BTreeMap::from([(Logsource::default(), names)]) }
    }
}

impl FromIterator<Arc<str>> for NativeWanted {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(names: I) -> Self {
        names.into_iter().collect::<HashSet<_>>().into()
    }
}

/// Number of a wanted native field, over all source kinds.
pub(crate) type WantedId = u16;

/// The wanted native fields, numbered in order of name.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) names: Vec<Arc<str>>,
    by_logsource: Vec<(Logsource, Vec<WantedId>)>,
    /// By the logsources of events, which are few: those of variants.
    asked: RefCell<HashMap<Arc<[Logsource]>, Asked>>,
}

/// By [`WantedId`]: whether a rule may ask an event for the field.
pub(crate) type Asked = Arc<[bool]>;

impl Wanted {
    pub(crate) fn new(wanted: &NativeWanted) -> Self {
        let all: HashSet<&Arc<str>> = wanted.by_logsource.values().flatten().collect();
        let mut names: Vec<Arc<str>> = all.into_iter().cloned().collect();
        names.sort_unstable();
        names.truncate(usize::from(WantedId::MAX));
        let mut numbered = Self { names, ..Self::default() };
        for (logsource, names) in &wanted.by_logsource {
            let ids = names.iter().filter_map(|name| numbered.find(name)).collect();
            numbered.by_logsource.push((logsource.clone(), ids));
        }
        numbered
    }

    pub(crate) fn find(&self, name: &str) -> Option<WantedId> {
        self.names.binary_search_by(|n| n.as_ref().cmp(name)).ok().map(|i| i as WantedId)
    }

    /// What rules may ask events with these logsources; events without any are asked by all.
    pub(crate) fn asked(&self, logsources: &Arc<[Logsource]>) -> Asked {
        let mut known = self.asked.borrow_mut();
        if let Some(asked) = known.get(logsources) {
            return Arc::clone(asked);
        }
        let asked = self.asked_anew(logsources);
        known.insert(Arc::clone(logsources), Arc::clone(&asked));
        asked
    }

    fn asked_anew(&self, logsources: &[Logsource]) -> Asked {
        let mut asked = vec![logsources.is_empty(); self.names.len()];
        for (of_rules, ids) in &self.by_logsource {
            if logsources.iter().any(|event| of_rules.covers(event)) {
                ids.iter().for_each(|id| asked[usize::from(*id)] = true);
            }
        }
        asked.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_asked_for_what_rules_of_their_logsources_name() {
        let of = |product: &str, category: Option<&str>| Logsource {
            product: Some(product.into()),
            category: category.map(Into::into),
            service: None,
        };
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<HashSet<Arc<str>>>();
        let wanted = BTreeMap::from([
            (Logsource::default(), names(&["any"])),
            (of("windows", None), names(&["Channel"])),
            (of("windows", Some("process_creation")), names(&["Image"])),
            (of("azure", None), names(&["ipAddress"])),
        ]);
        let wanted = Wanted::new(&wanted.into());
        let asked = |logsources: &[Logsource]| {
            let asked = wanted.asked(&logsources.into());
            wanted
                .names
                .iter()
                .zip(asked.iter())
                .filter(|(_, asked)| **asked)
                .map(|(name, _)| name.to_string())
                .collect()
        };
        let all: Vec<String> = asked(&[]);
        assert_eq!(all, ["Channel", "Image", "any", "ipAddress"]);
        assert_eq!(asked(&[of("windows", Some("process_creation"))]), ["Channel", "Image", "any"]);
        assert_eq!(
            asked(&[of("windows", Some("dns_query")), of("azure", None)]),
            ["Channel", "any", "ipAddress"]
        );
        assert_eq!(asked(&[of("linux", None)]), ["any"]);
    }
}
