//! Episodes: the same rule on the same device and user, again within a minute, is one thing that happened.

use serde::{Deserialize, Serialize};

use crate::board::{Edge, Node};
use crate::evidence::Evidence;
use crate::fixed::ONE;
use crate::score::{Reason, gap};

/// The episodes of one rule on one scene (device and user).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Episode {
    /// The latest alert.
    pub(crate) latest: u32,
    /// Episodes begun in `generation`.
    begun: u32,
    generation: i64,
}

impl Episode {
    /// Episodes begun in this generation.
    pub(crate) fn count(&self, generation: i64) -> u32 {
        if self.generation == generation { self.begun } else { 0 }
    }
}

/// Whether `node` continues the episode of `before`.
pub(crate) fn is_same(before: &Node, node: &Node, gap_max_us: i64) -> bool {
    gap(before, node) <= gap_max_us
}

/// The state after one more alert.
pub(crate) fn after(known: Option<&Episode>, latest: u32, generation: i64, is_continued: bool) -> Episode {
    let begun = known.map_or(0, |episode| episode.count(generation));
    Episode { latest, begun: begun + u32::from(!is_continued), generation }
}

/// The edge that keeps an episode together.
pub(crate) fn edge(before: &Node, earlier: u32, node: &Node, index: u32) -> Edge {
    let reason = Reason {
        kind: Evidence::Rule,
        value: std::sync::Arc::clone(&node.alert.rule.title),
        steps: 0,
        is_alias: false,
        rarity: ONE,
        score: ONE,
    };
    Edge { a: earlier, b: index, weight: ONE, gap_us: gap(before, node), reasons: vec![reason] }
}
