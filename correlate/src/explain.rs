//! Why two alerts are in one incident, or why they are not.

use std::collections::{BTreeSet, HashMap, VecDeque};

use event::{AlertId, Explanation, Join};

use crate::board::{Board, Edge};
use crate::facts::Stale;
use crate::merge::{Group, join};
use crate::parameters::File;
use crate::resolve::Resolved;
use crate::score::{reasons, weigh};
use crate::shard::Shard;

/// Explains a pair; `None` where the shard does not hold both.
pub(crate) fn explain(shard: &Shard, a: &AlertId, b: &AlertId, file: &File) -> Option<Explanation> {
    let (node_a, node_b) = (shard.node(a)?, shard.node(b)?);
    let (groups, held_back) = shard.groups_of(node_a);
    let group = groups.iter().find(|group| group.nodes.contains(&node_a))?;
    if group.nodes.contains(&node_b) {
        return Some(together(a, b, group));
    }
    let held_back = held_back.iter().find(|suggestion| {
        let ends = [&suggestion.join.a, &suggestion.join.b].map(|end| shard.node(end));
        let is_in = |group: &Group| ends.iter().flatten().any(|n| group.nodes.contains(n));
        is_in(group) && groups.iter().any(|other| other.nodes.contains(&node_b) && is_in(other))
    });
    let text = match held_back {
        Some(suggestion) => format!(
            "Not one incident: {}, although \"{}\" and \"{}\" would join with {} ({}).",
            suggestion.because,
            suggestion.join.a,
            suggestion.join.b,
            share(suggestion.join.weight_ppm),
            because(&suggestion.join),
        ),
        None => apart(shard, node_a, node_b, file),
    };
    Some(Explanation {
        a: a.clone(),
        b: b.clone(),
        path: Vec::new(),
        weakest: None,
        without_weakest: Vec::new(),
        text,
    })
}

fn together(a: &AlertId, b: &AlertId, group: &Group) -> Explanation {
    let path = path(&group.joins, a, b);
    let weakest = (0..path.len()).min_by_key(|i| (path[*i].weight_ppm, *i));
    let without_weakest = weakest.map_or_else(Vec::new, |i| side_of(&group.joins, &path[i], b));
    let text = match weakest {
        None => "One and the same alert.".to_owned(),
        Some(i) => {
            let link = &path[i];
            let steps =
                if path.len() == 1 { "directly".to_owned() } else { format!("over {} joins", path.len()) };
            format!(
                "Joined {steps}; the {} is \"{}\" to \"{}\" with {} ({}, {} apart). Without it {} of {} alerts fall away.",
                if path.len() == 1 { "join" } else { "weakest" },
                link.a,
                link.b,
                share(link.weight_ppm),
                because(link),
                duration(link.gap_us),
                without_weakest.len(),
                group.nodes.len(),
            )
        }
    };
    Explanation { a: a.clone(), b: b.clone(), path, weakest, without_weakest, text }
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

/// The alerts on the side of `b` when one join is taken out of the tree, sorted.
fn side_of(joins: &[Join], without: &Join, b: &AlertId) -> Vec<AlertId> {
    let mut side = BTreeSet::from([b.clone()]);
    let mut around: HashMap<&AlertId, Vec<&AlertId>> = HashMap::new();
    for join in joins.iter().filter(|join| *join != without) {
        around.entry(&join.a).or_default().push(&join.b);
        around.entry(&join.b).or_default().push(&join.a);
    }
    let mut next = vec![b];
    while let Some(at) = next.pop() {
        for other in around.get(at).into_iter().flatten() {
            if side.insert((*other).clone()) {
                next.push(other);
            }
        }
    }
    side.into_iter().collect()
}

/// What kept two alerts in different components.
fn apart(shard: &Shard, a: u32, b: u32, file: &File) -> String {
    let theta = share(file.theta.0);
    let Some(edge) = best_between(shard, a, b, file) else {
        return "Not one incident: they share nothing that is rare enough and near enough in time to count."
            .to_owned();
    };
    let best = join(&shard.board, &edge);
    format!(
        "Not one incident: their best link scores {}, below {theta} ({}, {} apart).",
        share(edge.weight),
        because(&best),
        duration(edge.gap_us),
    )
}

/// The best pair between the two, as it would score with what is known now. The two alerts come first; then
/// their components, as far as the bound allows.
fn best_between(shard: &Shard, a: u32, b: u32, file: &File) -> Option<Edge> {
    /// Alerts of each side that are tried: an answer for a person must come within a second.
    const SIDE_MAX: usize = 60;
    let board = &shard.board;
    let near =
        |v: u32| std::iter::once(v).chain(board.forest.members(v).filter(move |m| *m != v)).take(SIDE_MAX);
    let mut best: Option<Edge> = None;
    for (v, u) in near(b).flat_map(|v| near(a).map(move |u| (v, u))) {
        let Some(edge) = pair(board, shard, u, v, file) else { continue };
        if best.as_ref().is_none_or(|known| known.weight < edge.weight) {
            best = Some(edge);
        }
    }
    best
}

fn pair(board: &Board, shard: &Shard, u: u32, v: u32, file: &File) -> Option<Edge> {
    let (u, v) =
        if board.nodes[u as usize].order() <= board.nodes[v as usize].order() { (u, v) } else { (v, u) };
    let (a, b) = (&board.nodes[u as usize], &board.nodes[v as usize]);
    let resolved = Resolved::of(&b.alert, &shard.facts, file, &mut Stale::default());
    let asks = board.weighed(resolved, &shard.facts, Some(v), file);
    let weight = weigh(a, b, &asks, file);
    (weight.weight > 0).then(|| Edge {
        a: u,
        b: v,
        weight: weight.weight,
        gap_us: weight.gap_us,
        reasons: reasons(&weight, &asks),
    })
}

fn because(join: &Join) -> String {
    let reasons: Vec<String> = join
        .reasons
        .iter()
        .map(|r| format!("{} {} rarity {}", r.kind.replace('_', " "), r.value, share(r.rarity_ppm)))
        .collect();
    reasons.join("; ")
}

/// Millionths as a share with two decimals.
fn share(ppm: u32) -> String {
    format!("{}.{:02}", ppm / 1_000_000, ppm % 1_000_000 / 10_000)
}

/// Microseconds in the unit a person would use.
fn duration(us: i64) -> String {
    let seconds = us / 1_000_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
