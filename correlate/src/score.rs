//! The weight of a pair of alerts, from what they share, how rare that is and how long ago it was.

use std::sync::Arc;

use event::{Alert, Tactic};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::board::Node;
use crate::evidence::{Evidence, GROUPS};
use crate::fixed::{ONE, decay, either, rarity, times};
use crate::parameters::File;
use crate::resolve::{Ask, Post};

/// An ask with the rarity of what it names, as the board knows it.
#[derive(Debug, Clone)]
pub(crate) struct Weighed {
    pub(crate) ask: Ask,
    pub(crate) rarity: u32,
    /// The same as counted, however little was seen so far.
    pub(crate) measured: u32,
    /// Where the board has it.
    pub(crate) place: Option<u32>,
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
    kind: Evidence,
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
    let near = Nearness::of(a, b, gap_us, file);
    let mut best: [Option<Hit>; GROUPS] = [None; GROUPS];
    for (i, post) in shared(asks, &a.posts) {
        let Some(hit) = hit(i, &asks[i], post, a, b, near, file) else { continue };
        let slot = &mut best[hit.kind.group()];
        if slot.is_none_or(|known| known.score < hit.score) {
            *slot = Some(hit);
        }
    }
    weaken_foreign_trees(&mut best, a, b, file);
    weaken_elsewhere(&mut best, a, b, asks, file);
    let mut reasons: SmallVec<[Hit; 4]> =
        best.iter().flatten().copied().filter(|hit| hit.score > 0).collect();
    reasons.sort_by_key(|hit| (std::cmp::Reverse(hit.score), asks[hit.ask].ask.post));
    let together = reasons.iter().fold(0, |sum, hit| either(sum, hit.score));
    let weight = times(together, telling(a, b, file));
    Weight { weight, gap_us, reasons }
}

/// What the two alerts by themselves make of evidence: how telling they are, and their order.
fn telling(a: &Node, b: &Node, file: &File) -> u32 {
    times(a.sigma.min(b.sigma), kappa(a, b, file))
}

impl Weight {
    /// The groups of evidence (a bit each) without which the pair would still be one story. What its entities meet
    /// in it says nothing about how common they are: one attacker on ten devices is not ten users of one account.
    pub(crate) fn groups_to_spare(&self, a: &Node, b: &Node, file: &File) -> u32 {
        let enough = file.corroborated.0;
        if self.weight < enough {
            return 0;
        }
        let telling = telling(a, b, file);
        let without = |group: usize| {
            let others = self.reasons.iter().filter(|hit| hit.kind.group() != group);
            times(others.fold(0, |sum, hit| either(sum, hit.score)), telling)
        };
        (0..GROUPS).filter(|group| without(*group) >= enough).fold(0, |mask, group| mask | (1 << group))
    }
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

/// How near two alerts are in time.
#[derive(Debug, Clone, Copy)]
struct Nearness {
    gap_us: i64,
    /// What beginning at one moment adds to whatever they share.
    at_once: u32,
}

impl Nearness {
    fn of(a: &Node, b: &Node, gap_us: i64, file: &File) -> Self {
        let apart_us = a.begin.saturating_sub(b.begin).saturating_abs();
        let at_once = times(file.at_once.share.0, decay(apart_us, file.at_once.half_life.0));
        Self { gap_us, at_once }
    }
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
    near: Nearness,
    file: &File,
) -> Option<Hit> {
    let own = &weighed.ask.post;
    let is_same_scene = own.kind == Evidence::Rule && a.principal == b.principal;
    if is_same_scene || (own.implied && post.implied) {
        return None;
    }
    // A mailbox that one side only implies is the user behind it, and fades like one.
    let is_implied = own.implied || post.implied;
    let weighing = file.weighing(if is_implied { Evidence::User } else { own.kind });
    let evidence = match &weighed.ask.lead {
        None => {
            let faded = times(weighing.beta.0, decay(near.gap_us, weighing.half_life.0));
            let breadth = a.breadth.of_kind(own.kind).max(b.breadth.of_kind(own.kind));
            let specific = rarity(breadth, weighing.free, weighing.population);
            times(either(faded, near.at_once), specific)
        }
        // The way to the event has its own decay; from there on it is between the event and the other alert.
        Some(lead) => times(weighing.beta.0, decay(gap_to(a, lead.at.0), lead.half_life_us)),
    };
    let mut score = times(evidence, weighed.rarity);
    let steps = own.steps + post.steps;
    (0..steps).for_each(|_| score = times(score, file.tree.step.0));
    let is_alias = !b.posts.iter().any(|p| p.key == own.key);
    Some(Hit { ask: i, kind: own.kind, steps, is_alias, score })
}

/// On one device, two known process trees that share nothing are two stories until something else joins them:
/// the same user ran both, as users do.
fn weaken_foreign_trees(best: &mut [Option<Hit>; GROUPS], a: &Node, b: &Node, file: &File) {
    let share = |kind: Evidence| best[kind.group()].is_some_and(|hit| hit.kind == kind && hit.score > 0);
    if !share(Evidence::Device) || share(Evidence::Process) || !are_foreign(a, b) {
        return;
    }
    for kind in [Evidence::Device, Evidence::User, Evidence::IpExternal] {
        if let Some(hit) = &mut best[kind.group()] {
            hit.score = times(hit.score, file.tree.foreign.0);
        }
    }
}

/// A user at another device than before may have moved on, or be an account that many use: it says less than one at
/// the same device. A name without domain, address or id says less wherever no device is shared.
fn weaken_elsewhere(best: &mut [Option<Hit>; GROUPS], a: &Node, b: &Node, asks: &[Weighed], file: &File) {
    if best[Evidence::Device.group()].is_some_and(|hit| hit.kind == Evidence::Device) {
        return;
    }
    let Some(hit) = &mut best[Evidence::User.group()] else { return };
    if asks[hit.ask].ask.is_bare {
        hit.score = times(hit.score, file.elsewhere.bare_name.0);
    }
    if are_elsewhere(a, b) {
        hit.score = times(hit.score, file.elsewhere.user.0);
    }
}

/// Whether both name devices, and none in common.
fn are_elsewhere(a: &Node, b: &Node) -> bool {
    fn devices(node: &Node) -> impl Iterator<Item = &Post> {
        node.posts.iter().filter(|post| post.kind == Evidence::Device)
    }
    let mut of_a = devices(a).peekable();
    let is_of_b = |device: &Post| b.posts.binary_search_by_key(&device.key, |post| post.key).is_ok();
    of_a.peek().is_some() && devices(b).next().is_some() && !of_a.any(is_of_b)
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

/// The reasons of a weight in full, strongest first; the asks are that alert's.
pub(crate) fn reasons(weight: &Weight, asks: &[Weighed], alert: &Alert) -> Vec<Reason> {
    weight
        .reasons
        .iter()
        .map(|hit| {
            let Weighed { ask, rarity, .. } = &asks[hit.ask];
            Reason {
                kind: ask.post.kind,
                value: ask.value(alert),
                steps: hit.steps,
                is_alias: hit.is_alias,
                rarity: *rarity,
                score: hit.score,
            }
        })
        .collect()
}
