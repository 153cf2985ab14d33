//! When two incidents become one, and when they do not: components of the forest, subject to what analysts said.
//!
//! A component that no analyst spoke of is one incident. In the others the alerts of each recorded input are
//! united first, then the forest's edges unite what they may, strongest first: never a closed incident with
//! anything new, different assignees, different classifications, different scopes, what was split or vetoed apart, or
//! two incidents that people work on over a weak join. An edge that is refused so is held back, and most often a
//! suggestion. What lasted too long or became too large is cut at last (`bounds.rs`). All of it is a function of the
//! forest and the inputs.

use std::collections::{BTreeMap, BTreeSet};

use event::{
    AlertId, EntityType, Guard, IncidentId, IncidentLink, Join, JoinReason, LinkKind, Suggestion,
    SuggestionId, TenantId,
};
use hashbrown::HashMap;

use crate::board::{Board, Edge};
use crate::bounds;
use crate::claims::{Calling, Claims, Hold, Standing};
use crate::evidence::{Evidence, Key};
use crate::facts::Facts;
use crate::fixed::{ONE, either};
use crate::input::Said;
use crate::meaning::incident_id;
use crate::parameters::{File, Reopen};
use crate::places::Places;
use crate::score::Reason;

/// All that decides which alerts are one incident.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) board: &'a Board,
    pub(crate) facts: &'a Facts,
    pub(crate) claims: &'a Claims,
    pub(crate) places: Places<'a>,
    pub(crate) file: &'a File,
}

/// An incident before it has a meaning: alerts in order of time, and the joins that hold them.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) id: IncidentId,
    pub(crate) nodes: Vec<u32>,
    pub(crate) joins: Vec<Join>,
    pub(crate) standing: Standing,
    pub(crate) links: Vec<IncidentLink>,
}

/// A join that does not merge two incidents.
#[derive(Debug, Clone)]
pub(crate) struct HeldBack {
    pub(crate) join: Join,
    pub(crate) hold: Hold,
}

/// The groups of the component of `node`, and of every component that an input ties to it.
pub(crate) fn groups(ground: Ground<'_>, node: u32) -> (Vec<Group>, Vec<HeldBack>) {
    let component = ground.board.component(node);
    let distinct = ground.claims.distinct(ground.tenant);
    if ground.is_plain(&component, &distinct) {
        return ground.plain(node, component);
    }
    let (members, places) = ground.closure(component);
    Decided::new(ground, members, &places, distinct).groups(&places)
}

impl Ground<'_> {
    fn id(&self, node: u32) -> &AlertId {
        self.board.nodes[node as usize].id()
    }

    /// Whether nobody spoke of any of these alerts, and nothing else could keep them apart.
    fn is_plain(&self, component: &[u32], distinct: &[(Key, Key)]) -> bool {
        let no_claims =
            self.claims.is_empty() || component.iter().all(|n| self.claims.of(self.id(*n)).is_empty());
        no_claims && distinct.is_empty() && self.file.incident.scopes.is_empty()
    }

    fn plain(&self, node: u32, component: Vec<u32>) -> (Vec<Group>, Vec<HeldBack>) {
        let mut joins: Vec<&Edge> =
            self.board.forest.edges(node).map(|e| &self.board.edges[e as usize]).collect();
        joins.sort_by_key(|edge| std::cmp::Reverse(self.board.strength(edge)));
        let joins = joins.into_iter().map(|edge| join(self.board, edge)).collect();
        let id = component.first().map(|first| incident_id(self.tenant, self.id(*first)));
        let Some(id) = id else { return (Vec::new(), Vec::new()) };
        let group = Group { id, nodes: component, joins, standing: Standing::default(), links: Vec::new() };
        let mut held_back = Vec::new();
        let groups = bounds::within(*self, group, &Calling::default(), &mut held_back);
        (groups, held_back)
    }

    /// All alerts that inputs tie to a component, with their components, and the places of these inputs.
    fn closure(&self, component: Vec<u32>) -> (Vec<u32>, BTreeSet<u64>) {
        let mut all: BTreeSet<u32> = component.iter().copied().collect();
        let mut next = component;
        let mut places = BTreeSet::new();
        while let Some(node) = next.pop() {
            for &place in self.claims.of(self.id(node)) {
                if places.insert(place) {
                    let tied = self.claims.alerts_of(place).iter().filter_map(|alert| self.places.get(alert));
                    let members = tied.flat_map(|n| self.board.forest.members(n));
                    next.extend(members.filter(|n| all.insert(*n)).collect::<Vec<_>>());
                }
            }
        }
        let mut all: Vec<u32> = all.into_iter().collect();
        all.sort_by(|a, b| self.board.nodes[*a as usize].order().cmp(&self.board.nodes[*b as usize].order()));
        (all, places)
    }
}

/// Components under decision.
struct Decided<'a> {
    ground: Ground<'a>,
    members: Vec<u32>,
    /// The place of a node among `members`, which is also its first group.
    place: HashMap<u32, usize>,
    /// Parent of each group in a union-find forest.
    parent: Vec<usize>,
    size: Vec<usize>,
    standings: Vec<Standing>,
    names: Calling,
    distinct: Vec<(Key, Key)>,
    joins: Vec<(u32, Join)>,
}

impl<'a> Decided<'a> {
    fn new(ground: Ground<'a>, members: Vec<u32>, places: &BTreeSet<u64>, distinct: Vec<(Key, Key)>) -> Self {
        let standing = |n: &u32| {
            let node = &ground.board.nodes[*n as usize];
            let mut standing = ground.claims.standing(node.id());
            standing.scopes.extend(node.scope);
            standing.latest = node.begin;
            standing
        };
        Self {
            standings: members.iter().map(standing).collect(),
            place: members.iter().enumerate().map(|(i, n)| (*n, i)).collect(),
            parent: (0..members.len()).collect(),
            size: vec![1; members.len()],
            names: ground.claims.names(places),
            ground,
            members,
            distinct,
            joins: Vec::new(),
        }
    }

    fn groups(mut self, places: &BTreeSet<u64>) -> (Vec<Group>, Vec<HeldBack>) {
        self.unite_inputs(places);
        let mut held_back = self.unite_edges(|_| true);
        let mut nodes: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (i, node) in self.members.iter().enumerate() {
            nodes.entry(self.find(i)).or_default().push(*node);
        }
        let mut joins: HashMap<usize, Vec<Join>> = HashMap::new();
        for (node, join) in std::mem::take(&mut self.joins) {
            joins.entry(self.find(self.place[&node])).or_default().push(join);
        }
        let mut groups = Vec::new();
        for (root, nodes) in nodes {
            let mut joins = joins.remove(&root).unwrap_or_default();
            joins.sort_by_key(|join| std::cmp::Reverse(join.weight_ppm));
            let group = Group {
                id: self.ground.called(&nodes, &self.names),
                nodes,
                joins,
                standing: std::mem::take(&mut self.standings[root]),
                links: Vec::new(),
            };
            groups.extend(bounds::within(self.ground, group, &self.names, &mut held_back));
        }
        self.ground.link(&mut groups, &held_back);
        (groups, held_back)
    }

    fn find(&self, mut i: usize) -> usize {
        while self.parent[i] != i {
            i = self.parent[i];
        }
        i
    }

    /// What an analyst spoke of as one incident stays one, unless a split came later: by its own edges as far as
    /// they reach, by the analyst's word for the rest.
    fn unite_inputs(&mut self, places: &BTreeSet<u64>) {
        for &place in places {
            let Some(input) = self.ground.claims.in_force(place) else { continue };
            let spoken: Vec<&AlertId> = match &input.said {
                Said::Split { .. } | Said::Veto { .. } | Said::Distinct { .. } | Said::Undo { .. } => {
                    continue;
                }
                Said::Move { moving, .. } => moving.iter().chain(&input.other).collect(),
                _ => input.alerts.iter().collect(),
            };
            let mut spoken: Vec<u32> =
                spoken.into_iter().filter_map(|alert| self.ground.places.get(alert)).collect();
            spoken.retain(|n| self.place.contains_key(n));
            spoken.sort_by_key(|n| self.place[n]);
            let among: BTreeSet<u32> = spoken.iter().copied().collect();
            self.unite_edges(|edge| among.contains(&edge.a) && among.contains(&edge.b));
            let mut heads: Vec<u32> = Vec::new();
            for node in spoken {
                if !heads.iter().any(|head| self.unite_by_word(*head, node, &input.by)) {
                    heads.push(node);
                }
            }
        }
    }

    /// Whether two alerts are one group now.
    fn unite_by_word(&mut self, head: u32, node: u32, by: &str) -> bool {
        let (one, other) = (self.find(self.place[&head]), self.find(self.place[&node]));
        if one == other {
            return true;
        }
        if self.standings[one].is_apart(&self.standings[other]) {
            return false;
        }
        // Somebody spoke of both as one incident: it was open then.
        let is_reopened = self.standings[one].closed.is_some() != self.standings[other].closed.is_some();
        let root = self.make_one(one, other);
        if is_reopened {
            self.standings[root].reopen();
        }
        let nodes = &self.ground.board.nodes;
        let (a, b) = (&nodes[head as usize], &nodes[node as usize]);
        let (a, b) = if a.order() <= b.order() { (a, b) } else { (b, a) };
        self.joins.push((node, said_join(a.id(), b.id(), b.begin - a.begin, by)));
        true
    }

    /// Unites over the wanted edges, strongest first; says which of them are held back. A closed incident that is
    /// opened again takes what it refused before.
    fn unite_edges(&mut self, wanted: impl Fn(&Edge) -> bool) -> Vec<HeldBack> {
        let board = self.ground.board;
        let edges: BTreeSet<u32> = self.members.iter().filter_map(|n| board.forest.edge_of(*n)).collect();
        let edges = edges.into_iter().map(|e| &board.edges[e as usize]).filter(|edge| wanted(edge));
        let mut edges: Vec<(&Edge, Option<Hold>)> = edges.map(|edge| (edge, None)).collect();
        edges.sort_by_key(|(edge, _)| std::cmp::Reverse(board.strength(edge)));
        loop {
            let mut is_reopened = false;
            edges.retain_mut(|(edge, hold)| {
                *hold = self.unite(edge, &mut is_reopened).err();
                hold.is_some()
            });
            if !is_reopened {
                break;
            }
        }
        let held =
            |(edge, hold): (&Edge, Option<Hold>)| Some(HeldBack { join: join(board, edge), hold: hold? });
        edges.into_iter().filter_map(held).collect()
    }

    /// Makes one group of two, or says why they must not become one.
    fn unite(&mut self, edge: &Edge, is_reopened: &mut bool) -> Result<(), Hold> {
        let (one, other) = (self.find(self.place[&edge.a]), self.find(self.place[&edge.b]));
        if one == other {
            return Ok(());
        }
        let weight = self.weight_of(edge);
        if weight < self.ground.file.theta.0 {
            return Err(Hold::Distinct);
        }
        let worked_min = self.ground.file.incident.worked.0;
        let conflict = self.standings[one].conflict_over(&self.standings[other], weight, worked_min);
        let may_reopen = conflict == Some(Hold::Guard(Guard::Closed)) && self.may_reopen(edge, one, other);
        if let Some(hold) = conflict.filter(|_| !may_reopen) {
            return Err(hold);
        }
        let root = self.make_one(one, other);
        if may_reopen {
            self.standings[root].reopen();
            *is_reopened = true;
        }
        self.joins.push((edge.a, join(self.ground.board, edge)));
        Ok(())
    }

    /// Whether an edge leads from a closed group to an alert that came soon enough to open it again.
    fn may_reopen(&self, edge: &Edge, one: usize, other: usize) -> bool {
        let Reopen::Within(span) = self.ground.file.incident.reopen else { return false };
        let (closed, newcomer) = match (self.standings[one].closed, self.standings[other].closed) {
            (Some(_), None) => (one, edge.b),
            (None, Some(_)) => (other, edge.a),
            _ => return false,
        };
        let began = self.ground.board.nodes[newcomer as usize].begin;
        let mut open = self.standings[closed].clone();
        open.closed = None;
        let newcomers = if closed == one { other } else { one };
        began <= self.standings[closed].latest.saturating_add(span)
            && open.conflict(&self.standings[newcomers]).is_none()
    }

    fn make_one(&mut self, one: usize, other: usize) -> usize {
        let (into, from) = if self.size[one] >= self.size[other] { (one, other) } else { (other, one) };
        let standing = std::mem::take(&mut self.standings[from]);
        self.standings[into].absorb(standing);
        self.parent[from] = into;
        self.size[into] += self.size[from];
        into
    }

    /// The weight of an edge without reasons that rest on names of which a person said that they are two things'.
    fn weight_of(&self, edge: &Edge) -> u32 {
        if self.distinct.is_empty() || !edge.reasons.iter().any(|reason| reason.is_alias) {
            return edge.weight;
        }
        let all = together(edge.reasons.iter());
        let left = together(edge.reasons.iter().filter(|reason| !self.is_void(edge, reason)));
        (u64::from(edge.weight) * u64::from(left) / u64::from(all.max(1))) as u32
    }

    /// Whether a reason holds only as long as two names are one thing's, of which a person said that they are not.
    fn is_void(&self, edge: &Edge, reason: &Reason) -> bool {
        let Ground { board, facts, file, .. } = self.ground;
        let Some(entity_type) = reason.kind.aliased_type().filter(|_| reason.is_alias) else { return false };
        let (a, b) = (&board.nodes[edge.a as usize], &board.nodes[edge.b as usize]);
        let (earlier, later) = if a.sequence <= b.sequence { (a, b) } else { (b, a) };
        let key = Key::of(self.ground.tenant, entity_type, &reason.value);
        let is_named = |key: Key| earlier.posts.iter().any(|post| post.key == key);
        let mailbox = |text: &str| Key::of(self.ground.tenant, EntityType::Mailbox, text);
        let meets = |without: &[(Key, Key)]| {
            let cluster = facts.aliases.cluster_without(key, later.alert.time, &file.alias, without);
            cluster.iter().any(|alias| is_named(alias.key) || is_named(mailbox(&alias.text)))
        };
        meets(&[]) && !meets(&self.distinct)
    }
}

impl Ground<'_> {
    /// What an incident of some alerts, in order of time, is called.
    pub(crate) fn called(&self, nodes: &[u32], names: &Calling) -> IncidentId {
        let caller = nodes.iter().min_by_key(|n| names.rank(self.id(**n)));
        // A group has an alert; without one there would be nothing to call.
        caller.map_or_else(|| IncidentId::new(""), |n| names.name(self.tenant, self.id(*n)))
    }

    /// Points incidents to each other between which a join is held back.
    pub(crate) fn link(&self, groups: &mut [Group], held_back: &[HeldBack]) {
        if held_back.is_empty() {
            return;
        }
        let mut home: HashMap<u32, usize> = HashMap::new();
        for (i, group) in groups.iter().enumerate() {
            home.extend(group.nodes.iter().map(|n| (*n, i)));
        }
        for HeldBack { join, hold } in held_back {
            let at = |alert: &AlertId| home.get(&self.places.get(alert)?).copied();
            let (Some(a), Some(b)) = (at(&join.a), at(&join.b)) else { continue };
            for (from, to) in [(a, b), (b, a)] {
                if let Some(kind) = self.link_kind(*hold, &groups[from], &groups[to]) {
                    let incident = groups[to].id.clone();
                    groups[from].links.push(IncidentLink { kind, incident });
                }
            }
        }
        for group in groups {
            group.links.sort();
            group.links.dedup();
            group.links.truncate(LINKS_MAX);
        }
    }

    fn link_kind(&self, hold: Hold, from: &Group, to: &Group) -> Option<LinkKind> {
        let is_earlier = |a: &Group, b: &Group| {
            let begin = |group: &Group| group.nodes.first().map(|n| self.board.nodes[*n as usize].order());
            begin(a) < begin(b)
        };
        match hold {
            _ if from.id == to.id => None,
            Hold::Apart | Hold::Distinct => None,
            Hold::Size => Some(LinkKind::Sibling),
            Hold::Age => is_earlier(to, from).then_some(LinkKind::Continues),
            Hold::Guard(Guard::Closed) => {
                let continues = from.standing.closed.is_none() && to.standing.closed.is_some();
                let is_linked = self.file.incident.reopen != Reopen::Never;
                (continues && is_linked).then_some(LinkKind::Continues)
            }
            Hold::Guard(_) => Some(LinkKind::Related),
        }
    }

    /// The suggestions among held back joins of some groups: of each two incidents the strongest join.
    pub(crate) fn suggestions(&self, groups: &[Group], held_back: &[HeldBack]) -> Vec<Suggestion> {
        if !held_back.iter().any(|held| matches!(held.hold, Hold::Guard(_))) {
            return Vec::new();
        }
        let nodes = groups.iter().flat_map(|group| group.nodes.iter().map(|n| (*n, &group.id)));
        let homes: HashMap<u32, &IncidentId> = nodes.collect();
        let home = |alert: &AlertId| homes.get(&self.places.get(alert)?).copied().cloned();
        let suggestion = |held: &HeldBack| {
            let Hold::Guard(guard) = held.hold else { return None };
            let (a, b) = (home(&held.join.a)?, home(&held.join.b)?);
            let (tenant, join) = (self.tenant, &held.join);
            let parts = [tenant.as_str(), join.a.as_str(), join.b.as_str()].map(str::as_bytes);
            (a != b).then(|| Suggestion {
                id: SuggestionId::derive(&parts),
                tenant: tenant.clone(),
                a,
                b,
                guard,
                because: held.hold.because().to_owned(),
                join: join.clone(),
            })
        };
        let mut seen = BTreeSet::new();
        let mut found: Vec<Suggestion> = held_back.iter().filter_map(suggestion).collect();
        found.retain(|s| seen.insert((s.a.clone().min(s.b.clone()), s.a.clone().max(s.b.clone()))));
        found
    }
}

/// An incident points to this many others; more help nobody.
const LINKS_MAX: usize = 32;

/// What reasons weigh together, before anything else scales it.
fn together<'a>(reasons: impl Iterator<Item = &'a Reason>) -> u32 {
    reasons.fold(0, |sum, reason| either(sum, reason.score.min(ONE)))
}

/// An edge as others see it.
pub(crate) fn join(board: &Board, edge: &Edge) -> Join {
    let (a, b) = (&board.nodes[edge.a as usize], &board.nodes[edge.b as usize]);
    let (a, b) = if a.order() <= b.order() { (a, b) } else { (b, a) };
    Join {
        a: a.id().clone(),
        b: b.id().clone(),
        weight_ppm: edge.weight,
        gap_us: edge.gap_us,
        reasons: edge.reasons.iter().map(join_reason).collect(),
    }
}

/// A reason as others see it.
pub(crate) fn join_reason(reason: &Reason) -> JoinReason {
    let kind = match () {
        () if matches!(reason.kind, Evidence::Join(_)) => reason.kind.name(),
        () if reason.steps > 0 => "process_tree",
        () if reason.is_alias => "alias",
        () => reason.kind.name(),
    };
    JoinReason {
        kind: kind.to_owned(),
        value: std::sync::Arc::clone(&reason.value),
        rarity_ppm: reason.rarity,
        score_ppm: reason.score,
    }
}

fn said_join(a: &AlertId, b: &AlertId, gap_us: i64, by: &str) -> Join {
    let reason = JoinReason { kind: "analyst".to_owned(), value: by.into(), rarity_ppm: ONE, score_ppm: ONE };
    Join { a: a.clone(), b: b.clone(), weight_ppm: ONE, gap_us, reasons: vec![reason] }
}
