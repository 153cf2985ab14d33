//! What sources can give, and how far event time has come with those of each kind: who waits for some events does not
//! wait for sources that have none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::Logsource;
use crate::class::Class;
use crate::time::Watermark;

/// What the sources of one kind can give.
#[derive(Debug, Clone)]
pub struct Feed {
    /// Source kind (`windows_event`).
    pub kind: Arc<str>,
    /// Rows of its mapping variants.
    pub rows: Vec<RowShape>,
}

/// The rows of one mapping variant.
#[derive(Debug, Clone)]
pub struct RowShape {
    /// Their class.
    pub class: Class,
    /// Their Sigma logsources. Empty: rules are not gated.
    pub logsources: Arc<[Logsource]>,
    /// Places in the class's schema of the columns that may have a value.
    pub columns: BTreeSet<usize>,
}

impl Feed {
    /// The kinds of `feeds` that have no rows of which `takes` is true. A kind that is not among them may have any.
    pub fn unrelated(feeds: &[Feed], takes: impl Fn(&RowShape) -> bool) -> BTreeSet<Arc<str>> {
        let unrelated = feeds.iter().filter(|feed| !feed.rows.iter().any(&takes));
        unrelated.map(|feed| Arc::clone(&feed.kind)).collect()
    }
}

/// How far event time has come with all sources, and with those of each kind.
///
/// ```
/// use std::collections::BTreeSet;
/// use event::{Time, Watermark, Watermarks};
///
/// let mut watermarks = Watermarks::from(Watermark(Time(100)));
/// watermarks.note(["mail"], Watermark(Time(100)));
/// watermarks.note(["sysmon"], Watermark(Time(900)));
/// let not_mail = BTreeSet::from(["mail".into()]);
/// assert_eq!(watermarks.all(), Watermark(Time(100)));
/// assert_eq!(watermarks.without(&not_mail), Watermark(Time(900)));
/// assert_eq!(watermarks.of("sysmon"), Watermark(Time(900)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermarks {
    all: Watermark,
    kinds: BTreeMap<Arc<str>, Watermark>,
}

impl From<Watermark> for Watermarks {
    /// The same for every kind.
    fn from(all: Watermark) -> Self {
        Self { all, kinds: BTreeMap::new() }
    }
}

impl Watermarks {
    /// A source of these kinds has come so far.
    pub fn note<'a>(&mut self, kinds: impl IntoIterator<Item = &'a str>, watermark: Watermark) {
        for kind in kinds {
            match self.kinds.get_mut(kind) {
                Some(known) => *known = watermark.min(*known),
                None => drop(self.kinds.insert(kind.into(), watermark)),
            }
        }
    }

    /// With all sources.
    pub fn all(&self) -> Watermark {
        self.all
    }

    /// With the sources of a kind; with all sources where none of that kind delivers.
    pub fn of(&self, kind: &str) -> Watermark {
        self.kinds.get(kind).copied().unwrap_or(self.all).max(self.all)
    }

    /// With the sources of all kinds but these; with all sources where no other delivers.
    pub fn without(&self, kinds: &BTreeSet<Arc<str>>) -> Watermark {
        let others = self.kinds.iter().filter(|(kind, _)| !kinds.contains(*kind));
        others.map(|(_, watermark)| *watermark).min().unwrap_or(self.all).max(self.all)
    }
}
