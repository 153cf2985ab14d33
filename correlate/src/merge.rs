//! When two incidents become one, and when they do not: components of the forest, subject to what analysts said.
//!
//! A component that no analyst spoke of is one incident. In the others the alerts of each recorded input are
//! united first, then the forest's edges unite what they may, strongest first: never a closed incident with
//! anything new, different assignees, different classifications, or what was split or vetoed apart. An edge
//! that is refused so is kept as a suggestion. All of it is a function of the forest and the inputs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use event::{AlertId, IncidentStatus, Join, JoinReason};
use serde::{Deserialize, Serialize};

use crate::board::{Board, Edge};
use crate::evidence::Evidence;
use crate::fixed::ONE;
use crate::input::{AnalystInput, Said};
use crate::score::Reason;
use crate::snapshot::sorted;

/// The analysts' inputs of a tenant, in order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Claims {
    inputs: Vec<AnalystInput>,
    /// Which inputs speak of an alert, in order.
    #[serde(with = "sorted")]
    by_alert: HashMap<AlertId, Vec<usize>>,
}

/// An incident before it has a meaning: alerts in order of time, and the joins that hold them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) nodes: Vec<u32>,
    pub(crate) joins: Vec<Join>,
    pub(crate) standing: Standing,
}

/// What analysts said about an alert or a group of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) status: Option<IncidentStatus>,
    pub(crate) assignee: Option<String>,
    pub(crate) classification: Option<String>,
    /// The input that closed it.
    closed: Option<usize>,
    /// Side taken in each split and veto.
    apart: BTreeMap<usize, bool>,
    /// The last input that spoke of it.
    last: usize,
    /// Inputs that spoke of it.
    pub(crate) inputs: u64,
}

/// A join that analysts' decisions hold back.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// The join that would merge two incidents.
    pub join: Join,
    /// Why it does not.
    pub because: String,
}

impl Claims {
    /// Records an input.
    pub(crate) fn add(&mut self, input: AnalystInput) {
        let index = self.inputs.len();
        for alert in &input.alerts {
            self.by_alert.entry(alert.clone()).or_default().push(index);
        }
        self.inputs.push(input);
    }

    fn of(&self, alert: &AlertId) -> &[usize] {
        self.by_alert.get(alert).map_or(&[], Vec::as_slice)
    }

    fn standing(&self, alert: &AlertId) -> Standing {
        let mut standing = Standing::default();
        for &i in self.of(alert) {
            standing.hear(i, &self.inputs[i], alert);
        }
        standing
    }
}

impl Standing {
    fn hear(&mut self, i: usize, input: &AnalystInput, alert: &AlertId) {
        self.last = i + 1;
        self.inputs += 1;
        match &input.said {
            Said::Assign { assignee, .. } => self.assignee.clone_from(assignee),
            Said::SetStatus { status, .. } => {
                self.status = Some(*status);
                self.closed = (*status == IncidentStatus::Closed).then_some(i);
            }
            Said::Classify { classification, .. } => self.classification.clone_from(classification),
            // Whoever merges knows of the splits, assignments and closings before.
            Said::Merge { .. } => {
                *self = Standing { last: self.last, inputs: self.inputs, ..Standing::default() }
            }
            Said::Split { leaving, .. } => drop(self.apart.insert(i, leaving.contains(alert))),
            Said::Veto { a, .. } => drop(self.apart.insert(i, a == alert)),
        }
    }

    /// Why two groups must not become one by themselves.
    pub(crate) fn conflict(&self, other: &Standing) -> Option<String> {
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        if self.closed != other.closed {
            return Some("one of the incidents is closed".to_owned());
        }
        if differ(&self.assignee, &other.assignee) {
            return Some("the incidents have different assignees".to_owned());
        }
        if differ(&self.classification, &other.classification) {
            return Some("the incidents have different classifications".to_owned());
        }
        let split =
            self.apart.iter().any(|(i, side)| other.apart.get(i).is_some_and(|theirs| theirs != side));
        split.then(|| "an analyst took them apart".to_owned())
    }

    fn absorb(&mut self, other: Standing) {
        let newer = other.last > self.last;
        let pick = |mine: Option<String>, theirs: Option<String>| {
            if newer { theirs.or(mine) } else { mine.or(theirs) }
        };
        self.assignee = pick(self.assignee.take(), other.assignee);
        self.classification = pick(self.classification.take(), other.classification);
        self.status = if newer { other.status.or(self.status) } else { self.status.or(other.status) };
        self.closed = self.closed.or(other.closed);
        self.apart.extend(other.apart);
        self.last = self.last.max(other.last);
        self.inputs = self.inputs.max(other.inputs);
    }
}

/// The groups of the component of `node`, and of every component that an input ties to it.
pub(crate) fn groups(
    board: &Board,
    node: u32,
    claims: &Claims,
    nodes: &HashMap<AlertId, u32>,
) -> (Vec<Group>, Vec<Suggestion>) {
    let component = board.component(node);
    let is_plain = claims.inputs.is_empty()
        || component.iter().all(|n| claims.of(board.nodes[*n as usize].id()).is_empty());
    if is_plain {
        let mut joins: Vec<&Edge> = board.forest.edges(node).map(|e| &board.edges[e as usize]).collect();
        joins.sort_by_key(|edge| std::cmp::Reverse(board.strength(edge)));
        let joins = joins.into_iter().map(|edge| join(board, edge)).collect();
        return (vec![Group { nodes: component, joins, standing: Standing::default() }], Vec::new());
    }
    Decided::new(board, closure(board, component, claims, nodes), claims).groups(nodes)
}

/// All alerts that inputs tie to a component, with their components.
fn closure(board: &Board, component: Vec<u32>, claims: &Claims, nodes: &HashMap<AlertId, u32>) -> Vec<u32> {
    let mut all: BTreeSet<u32> = component.iter().copied().collect();
    let mut next = component;
    let mut heard = BTreeSet::new();
    while let Some(node) = next.pop() {
        for &i in claims.of(board.nodes[node as usize].id()) {
            if heard.insert(i) {
                let tied = claims.inputs[i].alerts.iter().filter_map(|alert| nodes.get(alert));
                let new = tied.flat_map(|n| board.forest.members(*n)).filter(|n| all.insert(*n));
                next.extend(new.collect::<Vec<_>>());
            }
        }
    }
    let mut all: Vec<u32> = all.into_iter().collect();
    all.sort_by(|a, b| board.nodes[*a as usize].order().cmp(&board.nodes[*b as usize].order()));
    all
}

/// Components under decision: union by hand, small enough for plain relabelling.
struct Decided<'a> {
    board: &'a Board,
    claims: &'a Claims,
    members: Vec<u32>,
    group: HashMap<u32, usize>,
    standings: Vec<Standing>,
    joins: Vec<Join>,
}

impl<'a> Decided<'a> {
    fn new(board: &'a Board, members: Vec<u32>, claims: &'a Claims) -> Self {
        let standings = members.iter().map(|n| claims.standing(board.nodes[*n as usize].id())).collect();
        let group = members.iter().enumerate().map(|(i, n)| (*n, i)).collect();
        Self { board, claims, members, group, standings, joins: Vec::new() }
    }

    fn groups(mut self, nodes: &HashMap<AlertId, u32>) -> (Vec<Group>, Vec<Suggestion>) {
        self.unite_inputs(nodes);
        let held_back = self.unite_edges(|_| true);
        let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
        for node in &self.members {
            groups.entry(self.group[node]).or_default().nodes.push(*node);
        }
        for (index, group) in &mut groups {
            group.standing = self.standings[*index].clone();
        }
        for join in self.joins {
            let group = nodes.get(&join.a).and_then(|n| self.group.get(n));
            if let Some(group) = group.and_then(|g| groups.get_mut(g)) {
                group.joins.push(join);
            }
        }
        (groups.into_values().collect(), held_back)
    }

    /// What an analyst spoke of as one incident stays one, unless a split came later: by its own edges as far as
    /// they reach, by the analyst's word for the rest.
    fn unite_inputs(&mut self, nodes: &HashMap<AlertId, u32>) {
        for input in &self.claims.inputs {
            if matches!(input.said, Said::Split { .. } | Said::Veto { .. }) {
                continue;
            }
            let spoken: Vec<u32> = input
                .alerts
                .iter()
                .filter_map(|a| nodes.get(a))
                .copied()
                .filter(|n| self.group.contains_key(n))
                .collect();
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
        match self.unite(head, node) {
            Ok(()) => {
                let (a, b) = (&self.board.nodes[head as usize], &self.board.nodes[node as usize]);
                let (a, b) = if a.order() <= b.order() { (a, b) } else { (b, a) };
                self.joins.push(said_join(a.id(), b.id(), b.begin - a.begin, by));
                true
            }
            Err(None) => true,
            Err(Some(_)) => false,
        }
    }

    /// Unites over the wanted edges, strongest first; says which of them analysts' decisions hold back.
    fn unite_edges(&mut self, wanted: impl Fn(&Edge) -> bool) -> Vec<Suggestion> {
        let edges: BTreeSet<u32> =
            self.members.iter().filter_map(|n| self.board.forest.edge_of(*n)).collect();
        let mut edges: Vec<&Edge> =
            edges.into_iter().map(|e| &self.board.edges[e as usize]).filter(|edge| wanted(edge)).collect();
        edges.sort_by_key(|edge| std::cmp::Reverse(self.board.strength(edge)));
        let mut held_back = Vec::new();
        for edge in edges {
            match self.unite(edge.a, edge.b) {
                Ok(()) => self.joins.push(join(self.board, edge)),
                Err(Some(because)) => held_back.push(Suggestion { join: join(self.board, edge), because }),
                Err(None) => {}
            }
        }
        held_back
    }

    /// Makes one group of two; `Err(None)` where they are one already, else why they must not become one.
    fn unite(&mut self, a: u32, b: u32) -> Result<(), Option<String>> {
        let (into, from) = (self.group[&a], self.group[&b]);
        if into == from {
            return Err(None);
        }
        if let Some(because) = self.standings[into].conflict(&self.standings[from]) {
            return Err(Some(because));
        }
        let standing = std::mem::take(&mut self.standings[from]);
        self.standings[into].absorb(standing);
        self.group.values_mut().filter(|g| **g == from).for_each(|g| *g = into);
        Ok(())
    }
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
