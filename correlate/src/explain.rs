//! Why two alerts are in one incident, or why they are not.

use std::collections::{BTreeSet, HashMap, VecDeque};

use event::{AlertId, EntityType, Explanation, Join, JoinReason};

use crate::board::{Board, Edge};
use crate::evidence::Key;
use crate::facts::Stale;
use crate::merge::{Group, HeldBack, join};
use crate::parameters::File;
use crate::resolve::Resolved;
use crate::score::{Weighed, reasons, weigh};
use crate::shard::Shard;
use crate::words::{duration, share};

/// Explains a pair; `None` where the shard does not hold both.
pub(crate) fn explain(shard: &Shard, a: &AlertId, b: &AlertId, file: &File) -> Option<Explanation> {
    let (node_a, node_b) = (shard.node(a)?, shard.node(b)?);
    let (groups, held_back) = shard.groups_of(node_a, file);
    let of = |node: u32| groups.iter().find(|group| group.nodes.contains(&node));
    let own = of(node_a)?;
    let teller = Teller { shard, file };
    if own.nodes.contains(&node_b) {
        return Some(teller.together(a, b, own));
    }
    let decided = of(node_b).and_then(|other| teller.decided(own, other, &held_back));
    let why = decided.unwrap_or_else(|| teller.apart(node_a, node_b));
    Some(Explanation {
        a: a.clone(),
        b: b.clone(),
        path: Vec::new(),
        weakest: None,
        without_weakest: Vec::new(),
        text: format!("Not one incident: {why}."),
    })
}

struct Teller<'a> {
    shard: &'a Shard,
    file: &'a File,
}

impl Teller<'_> {
    fn together(&self, a: &AlertId, b: &AlertId, group: &Group) -> Explanation {
        let path = path(&group.joins, a, b);
        let weakest = (0..path.len()).min_by_key(|i| (path[*i].weight_ppm, *i));
        let without_weakest =
            weakest.map_or_else(Vec::new, |i| smaller_side(&group.joins, &path[i], group.nodes.len()));
        let text = match weakest {
            None => "One and the same alert.".to_owned(),
            Some(i) => {
                let lead = match path.len() {
                    1 => "Joined directly:".to_owned(),
                    joins => format!("Joined over {joins} joins, the weakest between"),
                };
                let falling = without_weakest.len();
                let fall = if falling == 1 { "falls" } else { "fall" };
                let all = group.nodes.len();
                format!("{lead} {}. Without it {falling} of {all} alerts {fall} away.", self.link(&path[i]))
            }
        };
        let path = path.into_iter().map(|join| self.with_known_names(join)).collect();
        Explanation { a: a.clone(), b: b.clone(), path, weakest, without_weakest, text }
    }

    /// What analysts decided, where that is what keeps two groups apart.
    fn decided(&self, own: &Group, other: &Group, held_back: &[HeldBack]) -> Option<String> {
        let touches = |held: &&HeldBack, group: &Group| {
            let ends = [&held.join.a, &held.join.b];
            ends.iter().any(|end| self.shard.node(end).is_some_and(|n| group.nodes.contains(&n)))
        };
        let between = held_back.iter().find(|s| touches(s, own) && touches(s, other));
        if let Some(HeldBack { join, hold }) = between {
            let because = hold.because();
            return Some(format!("{because}, although these would join: {}", self.link(join)));
        }
        if let Some(hold) = own.standing.conflict(&other.standing) {
            return Some(hold.because().to_owned());
        }
        let on_the_way = held_back.iter().find(|s| touches(s, own) || touches(s, other))?;
        let HeldBack { join, hold } = on_the_way;
        let because = hold.because();
        Some(format!("a join on the way between them is held back, as {because}: {}", self.link(join)))
    }

    /// What kept two alerts in different components.
    fn apart(&self, a: u32, b: u32) -> String {
        let Some(edge) = self.best_between(a, b) else {
            return "they share nothing that is rare enough and near enough in time to count".to_owned();
        };
        let (theta, weight) = (self.file.theta.0, edge.weight);
        let link = self.link(&join(&self.shard.board, &edge));
        if weight < theta {
            let just = if share(weight) == share(theta) { "just " } else { "" };
            return format!("their best link is {just}below the {} that joins: {link}", share(theta));
        }
        format!("{}. As far as is known now, these would join: {link}", self.missed(&edge))
    }

    /// The best pair between the incidents of two alerts, as it would score with what is known now. The two alerts
    /// come first; then the others, as far as the bound allows.
    fn best_between(&self, a: u32, b: u32) -> Option<Edge> {
        /// Alerts of each side that are tried: an answer for a person must come within a second.
        const SIDE_MAX: usize = 60;
        let side = |node: u32| {
            let (groups, _) = self.shard.groups_of(node, self.file);
            let own = groups.into_iter().find(|group| group.nodes.contains(&node));
            let others = own.into_iter().flat_map(|group| group.nodes).filter(move |n| *n != node);
            std::iter::once(node).chain(others).take(SIDE_MAX).collect::<Vec<u32>>()
        };
        let near_a = side(a);
        let mut best: Option<Edge> = None;
        for (v, u) in side(b).into_iter().flat_map(|v| near_a.iter().map(move |u| (v, *u))) {
            let Some(edge) = self.pair(u, v) else { continue };
            if best.as_ref().is_none_or(|known| known.weight < edge.weight) {
                best = Some(edge);
            }
        }
        best
    }

    /// Scores a pair as the board does: the alert that was placed later asks.
    fn pair(&self, u: u32, v: u32) -> Option<Edge> {
        let (earlier, later) = (u.min(v), u.max(v));
        let board = &self.shard.board;
        let asks = self.asks(later);
        let weight = weigh(&board.nodes[earlier as usize], &board.nodes[later as usize], &asks, self.file);
        (weight.weight > 0).then(|| Edge {
            a: earlier,
            b: later,
            weight: weight.weight,
            gap_us: weight.gap_us,
            reasons: reasons(&weight, &asks),
        })
    }

    fn asks(&self, node: u32) -> Vec<Weighed> {
        let Shard { board, facts, .. } = self.shard;
        let alert = &board.nodes[node as usize].alert;
        let resolved = Resolved::of(alert, facts, self.file, &mut Stale::default());
        let mut asks = board.weighed(resolved, facts, Some(node), self.file);
        asks.retain(|weighed| weighed.rarity > 0);
        asks
    }

    /// Why a pair that scores enough was not joined when the later one was placed.
    fn missed(&self, edge: &Edge) -> String {
        let board: &Board = &self.shard.board;
        let later = self.alert(board.nodes[edge.b as usize].id());
        if board.is_repetition(edge.b) {
            return format!(
                "{later} repeats the alert of its rule just before it, and a repetition is not compared anew"
            );
        }
        let posts = &board.nodes[edge.a as usize].posts;
        let keys = self.asks(edge.b).into_iter().map(|weighed| weighed.ask.post.key);
        let shared: Vec<Key> =
            keys.filter(|key| posts.binary_search_by_key(key, |post| post.key).is_ok()).collect();
        let neighbours = self.file.neighbours;
        if !board.was_near(edge.a, edge.b, &shared, neighbours) {
            return format!(
                "when {later} came, {neighbours} other alerts were nearer to it in all that the two share, and no more are compared"
            );
        }
        format!(
            "when {later} was compared, what was known of names, process trees and rarity made it score less"
        )
    }

    /// `"Script from browser" (a2) and "LSASS memory read" (a3), 11 min apart, score 1.08: process ws-01/1 (rarity 1.00)`.
    fn link(&self, join: &Join) -> String {
        let reasons: Vec<String> = join.reasons.iter().map(|reason| self.reason(join, reason)).collect();
        format!(
            "{} and {}, {} apart, score {}: {}",
            self.alert(&join.a),
            self.alert(&join.b),
            duration(join.gap_us),
            share(join.weight_ppm),
            reasons.join(", "),
        )
    }

    fn alert(&self, id: &AlertId) -> String {
        let node = self.shard.node(id).map(|node| &self.shard.board.nodes[node as usize]);
        node.map_or_else(|| id.to_string(), |node| format!("\"{}\" ({id})", node.alert.title))
    }

    fn reason(&self, join: &Join, reason: &JoinReason) -> String {
        let name = self.known_name(join, reason);
        let what = match reason.kind.as_str() {
            "analyst" => return format!("said by {name}"),
            "alias" => format!("{name} under two names"),
            "rule" => format!("the rule \"{name}\""),
            "process_tree" => format!("the process tree of {name}"),
            kind => format!("{} {name}", kind.replace('_', " ")),
        };
        format!("{what} (rarity {})", share(reason.rarity_ppm))
    }

    /// What people call the shared value: a user's address, a device's full name, a process's image.
    fn known_name(&self, join: &Join, reason: &JoinReason) -> String {
        let Shard { facts, .. } = self.shard;
        let key = |kind: EntityType| Key::of(self.shard.tenant(), kind, &reason.value);
        if matches!(reason.kind.as_str(), "process" | "process_tree") {
            let image = facts.lineage.image(key(EntityType::Process));
            return image
                .map_or_else(|| reason.value.to_string(), |image| format!("{image} {}", reason.value));
        }
        let kinds: &[EntityType] = match reason.kind.as_str() {
            "user" | "mailbox" => &[EntityType::User],
            "device" => &[EntityType::Device],
            "alias" => &[EntityType::User, EntityType::Device],
            _ => &[],
        };
        let at = [&join.a, &join.b].into_iter().filter_map(|id| self.shard.node(id));
        let at = at.map(|node| self.shard.board.nodes[node as usize].alert.time).max().unwrap_or_default();
        let found = kinds.iter().find_map(|kind| facts.aliases.display(key(*kind), at, &self.file.alias));
        found.unwrap_or_else(|| reason.value.clone()).to_string()
    }

    /// Users and devices by the names that the incident's list of entities and its graph call them by.
    fn with_known_names(&self, mut join: Join) -> Join {
        for i in 0..join.reasons.len() {
            if matches!(join.reasons[i].kind.as_str(), "user" | "mailbox" | "device" | "alias") {
                join.reasons[i].value = self.known_name(&join, &join.reasons[i]).into();
            }
        }
        join
    }
}

/// The smaller part of a tree of `all` alerts without one join; the later alert's part where both are alike.
fn smaller_side(joins: &[Join], without: &Join, all: usize) -> Vec<AlertId> {
    let later = side_of(joins, without, &without.b);
    if later.len() * 2 <= all { later } else { side_of(joins, without, &without.a) }
}

/// The joins from `a` to `b` in the tree.
fn path(joins: &[Join], a: &AlertId, b: &AlertId) -> Vec<Join> {
    let mut around: HashMap<&AlertId, Vec<&Join>> = HashMap::new();
    for join in joins {
        around.entry(&join.a).or_default().push(join);
        around.entry(&join.b).or_default().push(join);
    }
    let mut came_by: HashMap<&AlertId, Option<&Join>> = HashMap::from([(a, None)]);
    let mut next = VecDeque::from([a]);
    while let Some(at) = next.pop_front() {
        for join in around.get(at).into_iter().flatten() {
            let other = if join.a == *at { &join.b } else { &join.a };
            if !came_by.contains_key(other) {
                came_by.insert(other, Some(join));
                next.push_back(other);
            }
        }
    }
    let mut path = Vec::new();
    let mut at = b;
    while let Some(Some(join)) = came_by.get(at) {
        path.push((*join).clone());
        at = if join.a == *at { &join.b } else { &join.a };
    }
    path.reverse();
    path
}

/// The alerts on the side of `end` when one join is taken out of the tree, sorted.
fn side_of(joins: &[Join], without: &Join, end: &AlertId) -> Vec<AlertId> {
    let mut side = BTreeSet::from([end.clone()]);
    let mut around: HashMap<&AlertId, Vec<&AlertId>> = HashMap::new();
    for join in joins.iter().filter(|join| *join != without) {
        around.entry(&join.a).or_default().push(&join.b);
        around.entry(&join.b).or_default().push(&join.a);
    }
    let mut next = vec![end];
    while let Some(at) = next.pop() {
        for other in around.get(at).into_iter().flatten() {
            if side.insert((*other).clone()) {
                next.push(other);
            }
        }
    }
    side.into_iter().collect()
}
