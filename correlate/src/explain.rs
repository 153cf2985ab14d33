//! Why two alerts are in one incident, or why they are not.

use std::collections::BTreeSet;
use std::sync::Arc;

use event::{AlertId, EntityType, Explanation, Incident, Join, JoinReason, Time};
use hashbrown::HashMap;

use crate::board::{Board, Edge};
use crate::evidence::Key;
use crate::facts::Stale;
use crate::keyed::{BRUTE_FORCE, Keyed};
use crate::merge::{Group, HeldBack, join};
use crate::names::Names;
use crate::parameters::File;
use crate::resolve::Resolved;
use crate::score::{Weighed, reasons, weigh};
use crate::shard::Shard;
use crate::words::{duration, headline, share};

/// Explains a pair; `None` where the shard does not hold both.
pub(crate) fn explain(shard: &Shard, a: &AlertId, b: &AlertId, file: &File) -> Option<Explanation> {
    let (node_a, node_b) = (shard.node(a)?, shard.node(b)?);
    let (groups, held_back) = shard.groups_of(node_a, file);
    let of = |node: u32| groups.iter().find(|group| group.nodes.contains(&node));
    let own = of(node_a)?;
    let teller = Teller { shard, file };
    if own.nodes.contains(&node_b) {
        let tree = Tree::of(&own.joins);
        return Some(teller.together(a, b, tree.path(a, b), &tree));
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

/// Joins of an incident that are explained one by one: those that would give way first.
const JOINS_MAX: usize = 500;

/// Explains the joins of an incident, strongest first.
pub(crate) fn explain_joins(shard: &Shard, incident: &Incident, file: &File) -> Vec<Explanation> {
    let tree = Tree::of(&incident.joins);
    let teller = Teller { shard, file };
    let weakest = incident.joins.len().saturating_sub(JOINS_MAX);
    let joins = incident.joins[weakest..].iter();
    joins.map(|join| teller.together(&join.a, &join.b, vec![join.clone()], &tree)).collect()
}

/// Joins of one alert that are told; more of them say the same.
const JOINS_TOLD: usize = 8;

/// Why each alert of an incident is where it is: its joins, strongest first, or what it lacks to have one.
pub(crate) fn why(shard: &Shard, incident: &Incident, file: &File) -> Vec<(AlertId, Vec<String>)> {
    let tree = Tree::of(&incident.joins);
    let teller = Teller { shard, file };
    let mut own: HashMap<&AlertId, Vec<&Join>> = HashMap::new();
    for join in &incident.joins {
        own.entry(&join.a).or_default().push(join);
        own.entry(&join.b).or_default().push(join);
    }
    let tell = |id: &AlertId| match own.get(id) {
        Some(joins) => {
            let mut told: Vec<String> =
                joins.iter().take(JOINS_TOLD).map(|join| teller.why_joined(id, join, &tree)).collect();
            if joins.len() > JOINS_TOLD {
                told.push(format!("and {} more joins", joins.len() - JOINS_TOLD));
            }
            told
        }
        None => shard.node(id).map(|node| teller.why_alone(node)).into_iter().collect(),
    };
    incident.alerts.iter().map(|id| (id.clone(), tell(id))).collect()
}

struct Teller<'a> {
    shard: &'a Shard,
    file: &'a File,
}

impl Teller<'_> {
    fn together(&self, a: &AlertId, b: &AlertId, path: Vec<Join>, tree: &Tree<'_>) -> Explanation {
        let weakest = (0..path.len()).min_by_key(|i| (path[*i].weight_ppm, *i));
        let without_weakest = weakest.map_or_else(Vec::new, |i| tree.smaller_side(&path[i]));
        let text = match weakest {
            None => "One and the same alert.".to_owned(),
            Some(i) => {
                let lead = match path.len() {
                    1 => "Joined directly:".to_owned(),
                    joins => format!("Joined over {joins} joins, the weakest between"),
                };
                let falling = without_weakest.len();
                let fall = if falling == 1 { "falls" } else { "fall" };
                let (all, titles) = (tree.len(), self.titles(&without_weakest));
                let link = self.link(&path[i]);
                format!("{lead} {link}. Without it {falling} of {all} alerts {fall} away: {titles}.")
            }
        };
        let path = path.into_iter().map(|join| self.with_known_names(join)).collect();
        Explanation { a: a.clone(), b: b.clone(), path, weakest, without_weakest, text }
    }

    /// `"Odd sign-in", "Inbox rule hides mail" and 2 more`: different titles, in the order of the alerts.
    fn titles(&self, alerts: &[AlertId]) -> String {
        const TOLD: usize = 3;
        let mut titles: Vec<String> = Vec::new();
        for alert in alerts.iter().filter_map(|id| self.held(id)) {
            let title = format!("\"{}\"", headline(alert));
            if !titles.contains(&title) {
                titles.push(title);
            }
            // More are counted, not told apart: an incident may have thousands.
            if titles.len() > TOLD {
                titles.pop();
                return format!("{} and others", titles.join(", "));
            }
        }
        match titles.pop() {
            Some(last) if titles.is_empty() => last,
            Some(last) => format!("{} and {last}", titles.join(", ")),
            None => String::new(),
        }
    }

    /// `joined to "LSASS memory read" (a3), 11 min later, score 1.08: process ws-01/1 (rarity 1.00); without this join 2
    /// of 6 alerts fall away`.
    fn why_joined(&self, id: &AlertId, join: &Join, tree: &Tree<'_>) -> String {
        let (other, order) = if join.a == *id { (&join.b, "later") } else { (&join.a, "earlier") };
        let falling = tree.smaller_size(join);
        format!(
            "joined to {}, {}, score {}: {}; without this join {falling} of {} alerts {} away",
            self.alert(other),
            distance(join.gap_us, order),
            share(join.weight_ppm),
            self.reasons(join),
            tree.len(),
            if falling == 1 { "falls" } else { "fall" },
        )
    }

    fn why_alone(&self, node: u32) -> String {
        let id = self.shard.board.nodes[node as usize].id();
        let (_, held_back) = self.shard.groups_of(node, self.file);
        let held = held_back.iter().find(|held| held.join.a == *id || held.join.b == *id);
        if let Some(HeldBack { join, hold }) = held {
            let because = hold.because();
            return format!("stands alone: {because}, although these would join: {}", self.link(join));
        }
        let asks = self.asks(node);
        let near = self.shard.board.candidates(node, &asks);
        let links = near.into_iter().filter_map(|other| self.pair(node, other));
        let best = links.max_by_key(|edge| (edge.weight, std::cmp::Reverse((edge.a, edge.b))));
        match best {
            None => "stands alone: no alert near it shares anything rare enough to count".to_owned(),
            Some(edge) => format!("stands alone: {}", self.short_of(&edge)),
        }
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
        self.short_of(&edge)
    }

    /// Why a pair is no join, although it is the best there is.
    fn short_of(&self, edge: &Edge) -> String {
        let (theta, weight) = (self.file.theta.0, edge.weight);
        let link = self.link(&join(&self.shard.board, edge));
        if weight < theta {
            let just = if share(weight) == share(theta) { "just " } else { "" };
            return format!("the best link is {just}below the {} that joins: {link}", share(theta));
        }
        format!("{}. As far as is known now, these would join: {link}", self.missed(edge))
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
            reasons: reasons(&weight, &asks, &board.nodes[later as usize].alert),
        })
    }

    fn asks(&self, node: u32) -> Vec<Weighed> {
        let Shard { board, facts, .. } = self.shard;
        let alert = &board.nodes[node as usize].alert;
        let resolved = Resolved::of(alert, facts, self.file, &mut Stale::default());
        let mut asks = board.weighed(resolved, facts, node, &[], self.file);
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
        format!(
            "{} and {}, {}, score {}: {}",
            self.alert(&join.a),
            self.alert(&join.b),
            distance(join.gap_us, "apart"),
            share(join.weight_ppm),
            self.reasons(join),
        )
    }

    fn reasons(&self, join: &Join) -> String {
        let ends = [&join.a, &join.b].into_iter().filter_map(|id| self.held(id)).collect::<Vec<&Keyed>>();
        let names = Names::of(&ends, &self.shard.facts, self.file);
        join.reasons.iter().map(|reason| self.reason(join, reason, &names)).collect::<Vec<_>>().join(", ")
    }

    fn held(&self, id: &AlertId) -> Option<&Keyed> {
        self.shard.node(id).map(|node| &*self.shard.board.nodes[node as usize].alert)
    }

    fn alert(&self, id: &AlertId) -> String {
        self.held(id).map_or_else(|| id.to_string(), |alert| format!("\"{}\" ({id})", headline(alert)))
    }

    fn reason(&self, join: &Join, reason: &JoinReason, names: &Names<'_>) -> String {
        let kind = reason.kind.as_str();
        let entity_type = match kind {
            "process_tree" => Some(EntityType::Process),
            "alias" => Some(self.alias_type(&reason.value)),
            kind => EntityType::from_name(kind),
        };
        let known: Arc<str> = self.known_name(join, reason).into();
        let name = entity_type.map_or_else(|| Arc::clone(&known), |kind| self.said(kind, &known, names));
        // A name that nobody knows says itself what it is.
        let speaks = entity_type.is_some_and(|kind| *name != *known && name.starts_with(kind.as_str()));
        let what = match kind {
            "analyst" => return format!("said by {name}"),
            "alias" => format!("{name} under two names"),
            "rule" if *known == *BRUTE_FORCE => format!("guessed passwords ({name})"),
            "rule" => format!("the rule \"{name}\""),
            "event_join" => name.to_string(),
            "process_tree" => format!("the process tree of {name}"),
            _ if speaks => name.to_string(),
            kind => format!("{} {name}", kind.replace('_', " ")),
        };
        format!("{what} (rarity {})", share(reason.rarity_ppm))
    }

    /// Whether an alias is one of a user or of a device.
    fn alias_type(&self, value: &str) -> EntityType {
        let key = Key::of(self.shard.tenant(), EntityType::Device, value);
        let is_device = !self.shard.facts.aliases.cluster(key, Time(i64::MAX), &self.file.alias).is_empty();
        if is_device { EntityType::Device } else { EntityType::User }
    }

    /// What a person would call it; an ancestor of the two alerts' processes is in neither of them.
    fn said(&self, entity_type: EntityType, known: &Arc<str>, names: &Names<'_>) -> Arc<str> {
        let key = Key::of(self.shard.tenant(), entity_type, known);
        let image =
            (entity_type == EntityType::Process).then(|| self.shard.facts.lineage.image(key)).flatten();
        image.map_or_else(|| names.said_of(entity_type, known), Arc::clone)
    }

    /// What people call the shared value: a user's address, a device's full name.
    fn known_name(&self, join: &Join, reason: &JoinReason) -> String {
        let facts = &self.shard.facts;
        let key = |kind: EntityType| Key::of(self.shard.tenant(), kind, &reason.value);
        let kinds: &[EntityType] = match reason.kind.as_str() {
            "user" | "mailbox" => &[EntityType::User],
            "device" => &[EntityType::Device],
            "alias" => &[EntityType::User, EntityType::Device],
            _ => &[],
        };
        let at = [&join.a, &join.b].into_iter().filter_map(|id| self.held(id));
        let at = at.map(|alert| alert.time).max().unwrap_or_default();
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

/// `11 min later`, `at the same time`.
fn distance(gap_us: i64, order: &str) -> String {
    match duration(gap_us) {
        nothing if nothing == duration(0) => "at the same time".to_owned(),
        some => format!("{some} {order}"),
    }
}

/// The joins of an incident as a tree: what lies below each, and the way between two alerts.
struct Tree<'a> {
    joins: &'a [Join],
    index: HashMap<&'a AlertId, usize>,
    /// By alert.
    places: Vec<Place<'a>>,
}

/// An alert in the tree.
struct Place<'a> {
    alert: &'a AlertId,
    /// The alert above and the join to it; none at a root.
    above: Option<(usize, usize)>,
    depth: usize,
    /// Alerts below and at it.
    size: usize,
    children: Vec<usize>,
}

impl<'a> Tree<'a> {
    fn of(joins: &'a [Join]) -> Self {
        let mut tree = Self { joins, index: HashMap::new(), places: Vec::new() };
        let mut around: Vec<Vec<(usize, usize)>> = Vec::new();
        for (i, join) in joins.iter().enumerate() {
            let [a, b] = [&join.a, &join.b].map(|id| tree.place(id));
            around.resize_with(tree.places.len(), Vec::new);
            around[a].push((b, i));
            around[b].push((a, i));
        }
        tree.hang(&around);
        tree
    }

    fn place(&mut self, alert: &'a AlertId) -> usize {
        *self.index.entry(alert).or_insert_with(|| {
            self.places.push(Place { alert, above: None, depth: 0, size: 1, children: Vec::new() });
            self.places.len() - 1
        })
    }

    /// Hangs every alert below the one from which it is reached.
    fn hang(&mut self, around: &[Vec<(usize, usize)>]) {
        let mut reached = vec![false; self.places.len()];
        let mut order: Vec<usize> = Vec::new();
        for root in 0..self.places.len() {
            if std::mem::replace(&mut reached[root], true) {
                continue;
            }
            let mut next = order.len();
            order.push(root);
            while let Some(at) = order.get(next).copied() {
                next += 1;
                for (other, join) in &around[at] {
                    if !std::mem::replace(&mut reached[*other], true) {
                        self.places[*other].above = Some((at, *join));
                        self.places[*other].depth = self.places[at].depth + 1;
                        self.places[at].children.push(*other);
                        order.push(*other);
                    }
                }
            }
        }
        for at in order.into_iter().rev() {
            if let Some((above, _)) = self.places[at].above {
                self.places[above].size += self.places[at].size;
            }
        }
    }

    /// Alerts in it; one that has no join is a tree too.
    fn len(&self) -> usize {
        self.places.len().max(1)
    }

    /// The joins from `a` to `b`.
    fn path(&self, a: &AlertId, b: &AlertId) -> Vec<Join> {
        let ends = self.index.get(a).copied().zip(self.index.get(b).copied());
        let Some((mut from, mut to)) = ends else { return Vec::new() };
        let (mut start, mut end) = (Vec::new(), Vec::new());
        while from != to {
            let climbs_from = self.places[from].depth >= self.places[to].depth;
            let (at, way) = if climbs_from { (&mut from, &mut start) } else { (&mut to, &mut end) };
            let Some((above, join)) = self.places[*at].above else { return Vec::new() };
            way.push(join);
            *at = above;
        }
        start.into_iter().chain(end.into_iter().rev()).map(|join| self.joins[join].clone()).collect()
    }

    /// The lower end of a join, and whether that is its later alert.
    fn lower(&self, join: &Join) -> Option<(usize, bool)> {
        let (a, b) = (*self.index.get(&join.a)?, *self.index.get(&join.b)?);
        let is_b = self.places[b].above.is_some_and(|(above, _)| above == a);
        Some(if is_b { (b, true) } else { (a, false) })
    }

    fn smaller_size(&self, join: &Join) -> usize {
        let below = self.lower(join).map_or(0, |(lower, _)| self.places[lower].size);
        below.min(self.places.len() - below)
    }

    /// The smaller part without one join, sorted; the later alert's part where both are alike.
    fn smaller_side(&self, join: &Join) -> Vec<AlertId> {
        let Some((lower, is_later)) = self.lower(join) else { return Vec::new() };
        let mut below = vec![false; self.places.len()];
        let mut next = vec![lower];
        while let Some(at) = next.pop() {
            below[at] = true;
            next.extend(&self.places[at].children);
        }
        let (size, all) = (self.places[lower].size, self.places.len());
        let takes_below = size * 2 < all || (size * 2 == all && is_later);
        let side: BTreeSet<&AlertId> = self
            .places
            .iter()
            .zip(below)
            .filter(|(_, is)| *is == takes_below)
            .map(|(p, _)| p.alert)
            .collect();
        side.into_iter().cloned().collect()
    }
}
