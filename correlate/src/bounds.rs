//! How long an incident lasts and how large it gets. Both bounds are applied when an incident is read, never when an
//! alert is placed: the forest below stays the same whatever is cut, and so does what later alerts are compared with.

use std::collections::BTreeMap;

use event::{AlertId, Join};
use hashbrown::{HashMap, HashSet};

use crate::board::Node;
use crate::claims::{Calling, Hold};
use crate::evidence::Evidence;
use crate::fixed::ONE;
use crate::merge::{Ground, Group, HeldBack};
use crate::resolve::Post;

/// The parts of a group that are short and small enough; most often the group itself. The joins that were cut are
/// added to `held_back`. A group that no cut makes small enough (one alert that joins a thousand others) stays too
/// large.
pub(crate) fn within(
    ground: Ground<'_>,
    group: Group,
    names: &Calling,
    held_back: &mut Vec<HeldBack>,
) -> Vec<Group> {
    if group.nodes.len() == 1 {
        return vec![group];
    }
    let cut = Cut { ground, names };
    let before = held_back.len();
    let mut parts = Vec::new();
    for part in cut.by_age(group, held_back) {
        parts.extend(cut.by_size(part, held_back));
    }
    ground.link(&mut parts, &held_back[before..]);
    parts
}

struct Cut<'a> {
    ground: Ground<'a>,
    names: &'a Calling,
}

impl Cut<'_> {
    fn begin(&self, node: u32) -> i64 {
        self.ground.board.nodes[node as usize].begin
    }

    /// Cuts where a group rested for `idle`, and when it has lasted for `life_max`.
    fn by_age(&self, group: Group, held_back: &mut Vec<HeldBack>) -> Vec<Group> {
        let rules = &self.ground.file.incident;
        let (Some(first), Some(last)) = (group.nodes.first(), group.nodes.last()) else { return vec![group] };
        let lasted = self.begin(*last).saturating_sub(self.begin(*first));
        if lasted <= rules.idle.0.min(rules.life_max.0) {
            return vec![group];
        }
        let mut period = 0_u32;
        let mut periods: HashMap<AlertId, u32> = HashMap::new();
        let (mut start, mut end) = (self.begin(*first), i64::MIN);
        for node in &group.nodes {
            let node = &self.ground.board.nodes[*node as usize];
            let rested = node.begin.saturating_sub(end.max(start)) > rules.idle.0;
            if rested || node.begin.saturating_sub(start) > rules.life_max.0 {
                period += 1;
                start = node.begin;
            }
            end = end.max(node.end);
            periods.insert(node.id().clone(), period);
        }
        // What an analyst said belongs together does so however long it lasts.
        let is_said = |join: &Join| join.reasons.iter().any(|reason| reason.kind == "analyst");
        let is_kept = |join: &Join| periods.get(&join.a) == periods.get(&join.b) || is_said(join);
        self.cut(group, is_kept, Hold::Age, held_back)
    }

    /// Joins a large group anew, strongest join first, as long as no part gets too large; what stays a crumb then goes
    /// to the part that it is joined to most strongly.
    fn by_size(&self, group: Group, held_back: &mut Vec<HeldBack>) -> Vec<Group> {
        let rules = &self.ground.file.incident;
        let limit = Size { episodes: rules.episodes_max, entities: rules.entities_max };
        let Some(sizes) = self.sizes(&group, limit) else { return vec![group] };
        let places = self.places(&group);
        let mut joins: Vec<(usize, usize, &Join)> = group
            .joins
            .iter()
            .filter_map(|join| Some((*places.get(&join.a)?, *places.get(&join.b)?, join)))
            .collect();
        joins.sort_by_key(|(a, b, join)| (std::cmp::Reverse(join.weight_ppm), *a, *b));
        let mut parts = Parts::new(sizes);
        for (a, b, _) in &joins {
            parts.unite(*a, *b, |one, other| one.plus(other).is_within(limit));
        }
        let crumb = limit.times(rules.part_min.0);
        for (a, b, _) in &joins {
            parts.unite(*a, *b, |one, other| one.is_below(crumb) || other.is_below(crumb));
        }
        let is_kept = |join: &Join| match (places.get(&join.a), places.get(&join.b)) {
            (Some(a), Some(b)) => parts.root(*a) == parts.root(*b),
            _ => false,
        };
        self.cut(group, is_kept, Hold::Size, held_back)
    }

    /// What each alert adds to the size of a group: its episode where it is the first of it, and the entities that no
    /// earlier alert names. Nothing where the group is within the limit.
    fn sizes(&self, group: &Group, limit: Size) -> Option<Vec<Size>> {
        let nodes = || group.nodes.iter().map(|n| &self.ground.board.nodes[*n as usize]);
        let posts: usize = nodes().map(|node| node.posts.len()).sum();
        if group.nodes.len() <= limit.episodes && posts <= limit.entities {
            return None;
        }
        let (mut episodes, mut entities) = (HashSet::new(), HashSet::new());
        let size = |node: &Node| {
            let is_entity = |kind: Evidence| !matches!(kind, Evidence::Rule | Evidence::Record);
            let own = |post: &&Post| is_entity(post.kind) && !post.implied && post.steps == 0;
            Size {
                episodes: usize::from(episodes.insert(node.episode)),
                entities: node.posts.iter().filter(own).filter(|post| entities.insert(post.key)).count(),
            }
        };
        let sizes: Vec<Size> = nodes().map(size).collect();
        let all = sizes.iter().fold(Size::default(), |sum, size| sum.plus(*size));
        (!all.is_within(limit)).then_some(sizes)
    }

    fn places(&self, group: &Group) -> HashMap<AlertId, usize> {
        let nodes = &self.ground.board.nodes;
        group.nodes.iter().enumerate().map(|(i, n)| (nodes[*n as usize].id().clone(), i)).collect()
    }

    /// The parts that the kept joins hold together. The one with the alert that the group is called by keeps its name.
    fn cut(
        &self,
        group: Group,
        is_kept: impl Fn(&Join) -> bool,
        hold: Hold,
        held_back: &mut Vec<HeldBack>,
    ) -> Vec<Group> {
        let places = self.places(&group);
        let (kept, cut): (Vec<Join>, Vec<Join>) = group.joins.into_iter().partition(|join| is_kept(join));
        held_back.extend(cut.into_iter().map(|join| HeldBack { join, hold }));
        let mut parts = Parts::new(vec![Size::default(); group.nodes.len()]);
        for join in &kept {
            if let (Some(a), Some(b)) = (places.get(&join.a), places.get(&join.b)) {
                parts.unite(*a, *b, |_, _| true);
            }
        }
        let mut nodes: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (i, node) in group.nodes.iter().enumerate() {
            nodes.entry(parts.halved(i)).or_default().push(*node);
        }
        let mut joins: HashMap<usize, Vec<Join>> = HashMap::new();
        for join in kept {
            if let Some(place) = places.get(&join.a) {
                joins.entry(parts.halved(*place)).or_default().push(join);
            }
        }
        let part_of = |(root, nodes): (usize, Vec<u32>)| Group {
            id: self.ground.called(&nodes, self.names),
            nodes,
            joins: joins.remove(&root).unwrap_or_default(),
            standing: group.standing.clone(),
            links: group.links.clone(),
        };
        nodes.into_iter().map(part_of).collect()
    }
}

/// How large a group is.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    episodes: usize,
    entities: usize,
}

impl Size {
    fn plus(self, other: Size) -> Size {
        Size { episodes: self.episodes + other.episodes, entities: self.entities + other.entities }
    }

    fn is_within(self, limit: Size) -> bool {
        self.episodes <= limit.episodes && self.entities <= limit.entities
    }

    fn is_below(self, least: Size) -> bool {
        self.episodes < least.episodes && self.entities < least.entities
    }

    fn times(self, share: u32) -> Size {
        let part = |n: usize| (n as u64 * u64::from(share) / u64::from(ONE)) as usize;
        Size { episodes: part(self.episodes), entities: part(self.entities) }
    }
}

/// The parts of a group: union-find over the places of its alerts; the first place stands for a part.
struct Parts {
    parent: Vec<usize>,
    sizes: Vec<Size>,
}

impl Parts {
    fn new(sizes: Vec<Size>) -> Self {
        Self { parent: (0..sizes.len()).collect(), sizes }
    }

    fn root(&self, mut i: usize) -> usize {
        while self.parent[i] != i {
            i = self.parent[i];
        }
        i
    }

    /// Makes one part of two where their sizes allow it.
    fn unite(&mut self, a: usize, b: usize, allows: impl Fn(Size, Size) -> bool) {
        let (a, b) = (self.halved(a), self.halved(b));
        let (first, second) = (a.min(b), a.max(b));
        if first != second && allows(self.sizes[first], self.sizes[second]) {
            self.parent[second] = first;
            self.sizes[first] = self.sizes[first].plus(self.sizes[second]);
        }
    }

    /// The root, with the way there halved.
    fn halved(&mut self, mut i: usize) -> usize {
        while self.parent[i] != i {
            self.parent[i] = self.parent[self.parent[i]];
            i = self.parent[i];
        }
        i
    }
}
