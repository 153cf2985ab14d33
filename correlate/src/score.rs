//! The weight of a pair of alerts, from what they share, how rare that is and how long ago it was.

use std::sync::Arc;

use event::Tactic;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::board::Node;
use crate::evidence::{Evidence, GROUPS};
use crate::fixed::{ONE, decay, either, times};
use crate::parameters::File;
use crate::resolve::{Ask, Post};

/// An ask with the rarity of what it names, as the board knows it.
#[derive(Debug, Clone)]
pub(crate) struct Weighed {
    pub(crate) ask: Ask,
    pub(crate) rarity: u32,
    /// The same as counted, however little was seen so far.
    pub(crate) measured: u32,
}

/// One piece of shared evidence behind a weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reason {
    pub(crate) kind: Evidence,
    pub(crate) value: Arc<str>,
    pub(crate) steps: u8,
    /// The two alerts name it by different values.
    pub(crate) is_alias: bool,
    pub(crate) rarity: u32,
    pub(crate) score: u32,
}

/// The weight of a pair, with the strongest evidence of each group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) weight: u32,
    pub(crate) gap_us: i64,
    pub(crate) reasons: SmallVec<[Hit; 4]>,
}

/// A piece of evidence by its place among the asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    ask: usize,
    steps: u8,
    is_alias: bool,
    score: u32,
}

/// Scores an earlier `a` against `b`, whose asks are given. Symmetric in time: only the distance counts.
pub(crate) fn weigh(a: &Node, b: &Node, asks: &[Weighed], file: &File) -> Weight {
    let gap_us = gap(a, b);
    if gap_us > file.horizon.0 {
        return Weight { weight: 0, gap_us, reasons: SmallVec::new() };
    }
    let mut best: [Option<Hit>; GROUPS] = [None; GROUPS];
    for (i, post) in shared(asks, &a.posts) {
        let Some(hit) = hit(i, &asks[i], post, a, b, gap_us, file) else { continue };
        let slot = &mut best[asks[i].ask.post.kind.group()];
        if slot.is_none_or(|known| known.score < hit.score) {
            *slot = Some(hit);
        }
    }
    weaken_foreign_trees(&mut best, a, b, file);
    let mut reasons: SmallVec<[Hit; 4]> =
        best.iter().flatten().copied().filter(|hit| hit.score > 0).collect();
    reasons.sort_by_key(|hit| (std::cmp::Reverse(hit.score), asks[hit.ask].ask.post));
    let together = reasons.iter().fold(0, |sum, hit| either(sum, hit.score));
    let weight = times(times(together, a.sigma.min(b.sigma)), kappa(a, b, file));
    Weight { weight, gap_us, reasons }
}

/// The distance of two alerts: nothing where their times overlap.
pub(crate) fn gap(a: &Node, b: &Node) -> i64 {
    let later_begin = a.begin.max(b.begin);
    let earlier_end = a.end.min(b.end);
    later_begin.saturating_sub(earlier_end).max(0)
}

/// The distance of an alert and a moment.
fn gap_to(node: &Node, t: i64) -> i64 {
    node.begin.saturating_sub(t).max(t.saturating_sub(node.end)).max(0)
}

/// The asks that meet a post, both sorted by key.
fn shared<'a>(asks: &'a [Weighed], posts: &'a [Post]) -> impl Iterator<Item = (usize, &'a Post)> {
    let mut next = 0;
    asks.iter().enumerate().filter_map(move |(i, weighed)| {
        let key = weighed.ask.post.key;
        while next < posts.len() && posts[next].key < key {
            next += 1;
        }
        posts.get(next).filter(|post| post.key == key).map(|post| (i, post))
    })
}

fn hit(
    i: usize,
    weighed: &Weighed,
    post: &Post,
    a: &Node,
    b: &Node,
    gap_us: i64,
    file: &File,
) -> Option<Hit> {
    let own = &weighed.ask.post;
    let is_same_scene = own.kind == Evidence::Rule && a.principal == b.principal;
    if is_same_scene || (own.implied && post.implied) {
        return None;
    }
    let weighing = file.weighing(own.kind);
    let fresh = match &weighed.ask.lead {
        None => decay(gap_us, weighing.half_life.0),
        // The way to the event has its own decay; from there on it is between the event and the other alert.
        Some(lead) => decay(gap_to(a, lead.at.0), lead.half_life_us),
    };
    let mut score = times(times(weighing.beta.0, weighed.rarity), fresh);
    let steps = own.steps + post.steps;
    (0..steps).for_each(|_| score = times(score, file.tree.step.0));
    let is_alias = !b.posts.iter().any(|p| p.key == own.key);
    Some(Hit { ask: i, steps, is_alias, score })
}

/// On one device, two known process trees that share nothing are two stories until something else joins them:
/// the same user ran both, as users do.
fn weaken_foreign_trees(best: &mut [Option<Hit>; GROUPS], a: &Node, b: &Node, file: &File) {
    let share = |kind: Evidence| best[kind.group()].is_some_and(|hit| hit.score > 0);
    if !share(Evidence::Device) || share(Evidence::Process) || !are_foreign(a, b) {
        return;
    }
    for kind in [Evidence::Device, Evidence::User, Evidence::IpExternal] {
        if let Some(hit) = &mut best[kind.group()] {
            hit.score = times(hit.score, file.tree.foreign.0);
        }
    }
}

/// Whether both belong to a process tree, and these have no process in common.
fn are_foreign(a: &Node, b: &Node) -> bool {
    let has_tree = |node: &Node| node.tree_known || !node.adopted.is_empty();
    has_tree(a) && has_tree(b) && !a.tree().any(|key| b.tree().any(|other| other == key))
}

/// A step forward along the kill chain is a little more likely one story, a step back a little less.
fn kappa(a: &Node, b: &Node, file: &File) -> u32 {
    let (earlier, later) = if (a.begin, a.id()) <= (b.begin, b.id()) { (a, b) } else { (b, a) };
    let order = |stage: Option<Tactic>| stage.map(|tactic| tactic as u8);
    match (order(earlier.stage), order(later.stage)) {
        (Some(from), Some(to)) if to > from => file.kappa.forward.0,
        (Some(from), Some(to)) if to < from => file.kappa.backward.0,
        (Some(_), Some(_)) => file.kappa.same.0,
        _ => ONE,
    }
}

/// The reasons of a weight in full, strongest first.
pub(crate) fn reasons(weight: &Weight, asks: &[Weighed]) -> Vec<Reason> {
    weight
        .reasons
        .iter()
        .map(|hit| {
            let Weighed { ask, rarity, .. } = &asks[hit.ask];
            Reason {
                kind: ask.post.kind,
                value: Arc::clone(&ask.value),
                steps: hit.steps,
                is_alias: hit.is_alias,
                rarity: *rarity,
                score: hit.score,
            }
        })
        .collect()
}
