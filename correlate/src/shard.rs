//! One tenant's correlation: alerts in, in any order; incidents out, in one.
//!
//! Alerts at or before the watermark are sealed: placed on the board in order of event time, for good. Those
//! after it are placed too, provisionally, in the same order, each with an undo record. When something arrives
//! that belongs before a provisional alert (another alert, or a fact it would have used), the provisional
//! alerts from there on are taken back and placed again. So what is sealed is what one run over the whole
//! input in order would have made, and what is provisional is the same as far as the input is known.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use event::{
    Alert, AlertId, EntityRisk, EventBatch, Incident, IncidentDelta, IncidentStatus, RiskChange, TenantId,
    Time, Watermark,
};
use serde::{Deserialize, Serialize};

use crate::board::{Board, Undo};
use crate::delta::Ledger;
use crate::facts::{Facts, Stale};
use crate::input::AnalystInput;
use crate::meaning::{Story, blank};
use crate::merge::{Claims, Group, Suggestion, groups};
use crate::parameters::File;
use crate::risk::{Risks, Sight};
use crate::snapshot::sorted;
use crate::stats::Stats;

/// One tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Shard {
    tenant: TenantId,
    pub(crate) facts: Facts,
    stale: Stale,
    pub(crate) board: Board,
    /// Alerts not on the board, by event time.
    waiting: BTreeMap<(Time, AlertId), Arc<Alert>>,
    /// Undo records of the last nodes of the board: the provisional ones.
    provisional: VecDeque<Undo>,
    /// Event time of every alert held.
    #[serde(with = "sorted")]
    known: HashMap<AlertId, Time>,
    /// Place of every placed alert.
    #[serde(with = "sorted")]
    nodes: HashMap<AlertId, u32>,
    claims: Claims,
    pub(crate) ledger: Ledger,
    /// Nodes whose incident may differ from what the ledger says.
    touched: BTreeSet<u32>,
    /// Large incidents with untold growth: root and size at the last advance.
    deferred: BTreeMap<u32, usize>,
    watermark: Time,
    /// Day of the last clean-up.
    cleaned: i64,
    counts: Stats,
    #[serde(default)]
    risks: Risks,
}

/// Components are cleaned out once a day of event time.
const DAY_US: i64 = 86_400_000_000;

impl Shard {
    pub(crate) fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            facts: Facts::default(),
            stale: Stale::default(),
            board: Board::default(),
            waiting: BTreeMap::new(),
            provisional: VecDeque::new(),
            known: HashMap::new(),
            nodes: HashMap::new(),
            claims: Claims::default(),
            ledger: Ledger::default(),
            touched: BTreeSet::new(),
            deferred: BTreeMap::new(),
            watermark: Watermark::START.0,
            cleaned: i64::MIN,
            counts: Stats::default(),
            risks: Risks::default(),
        }
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(crate) fn observe(&mut self, batch: &EventBatch, file: &File) {
        self.facts.observe(&self.tenant, batch, file, &mut self.stale);
    }

    pub(crate) fn push(&mut self, alert: Alert, file: &File) {
        if let Some(time) = self.known.get(&alert.id).copied() {
            self.push_again(time, alert, file);
            return;
        }
        self.counts.alerts_total += 1;
        self.counts.alerts_late_total += u64::from(alert.time <= self.watermark);
        self.take_in(alert, file);
    }

    fn take_in(&mut self, alert: Alert, file: &File) {
        self.facts.learn_alert(&alert, file, &mut self.stale);
        self.known.insert(alert.id.clone(), alert.time);
        self.waiting.insert((alert.time, alert.id.clone()), Arc::new(alert));
    }

    /// One id, twice: the larger content wins as long as neither is sealed, so that order is nothing to it.
    fn push_again(&mut self, time: Time, alert: Alert, file: &File) {
        self.counts.alerts_duplicate_total += 1;
        if time <= self.watermark || alert.time <= self.watermark {
            return;
        }
        // Both contents teach, whichever of them wins.
        self.facts.learn_alert(&alert, file, &mut self.stale);
        let key = (time, alert.id.clone());
        let placed = self.nodes.get(&alert.id).map(|n| &self.board.nodes[*n as usize].alert);
        let Some(before) = placed.or_else(|| self.waiting.get(&key)) else { return };
        if content_rank(before) >= content_rank(&alert) {
            return;
        }
        self.counts.alerts_revised_total += 1;
        if let Some(node) = self.nodes.get(&alert.id).copied() {
            self.take_back_to(node);
        }
        self.waiting.remove(&key);
        self.take_in(alert, file);
    }

    pub(crate) fn withdraw(&mut self, alert: &AlertId, in_place: Option<AlertId>) {
        let Some(time) = self.known.get(alert).copied().filter(|time| *time > self.watermark) else { return };
        if let Some(node) = self.nodes.get(alert).copied() {
            self.take_back_to(node);
        }
        self.waiting.remove(&(time, alert.clone()));
        self.known.remove(alert);
        self.counts.alerts_withdrawn_total += 1;
        self.ledger.withdraw(alert, in_place);
    }

    /// Seals what event time has passed, places the rest provisionally, and says what changed.
    pub(crate) fn advance(&mut self, watermark: Watermark, file: &File) -> Vec<IncidentDelta> {
        self.watermark = self.watermark.max(watermark.0);
        self.facts.joins.advance(watermark, file);
        self.take_back_stale(file);
        self.place_waiting(file);
        self.seal(file);
        self.clean(file);
        self.emit(file)
    }

    fn sealed_len(&self) -> usize {
        self.board.nodes.len() - self.provisional.len()
    }

    /// Takes back provisional work that new facts or earlier alerts make stale.
    fn take_back_stale(&mut self, file: &File) {
        // The set of consulted keys only grows; beginning anew now and then keeps it to what is provisional.
        if self.stale.len() > 1_024 + self.provisional.len() * file.limits.entities_per_alert * 4 {
            self.take_back_to(self.sealed_len() as u32);
            self.stale.reset();
        }
        let stale_from = self.stale.take();
        let first_waiting = self.waiting.keys().next();
        let is_fresh = |node: &u32| {
            let (time, id) = self.board.nodes[*node as usize].order();
            let before_facts = stale_from.is_none_or(|from| time < from);
            before_facts && first_waiting.is_none_or(|(t, i)| (time, id) < (*t, i))
        };
        let sealed = self.sealed_len() as u32;
        let fresh = (sealed..self.board.nodes.len() as u32).take_while(is_fresh).count() as u32;
        self.take_back_to(sealed + fresh);
    }

    fn take_back_to(&mut self, len: u32) {
        while self.board.nodes.len() as u32 > len {
            let Some(undo) = self.provisional.pop_back() else { return };
            self.touched.extend(undo.touched());
            if let Some(node) = self.board.take_back(undo) {
                self.counts.placings_redone_total += 1;
                self.nodes.remove(node.id());
                self.waiting.insert((node.alert.time, node.id().clone()), node.alert);
            }
        }
        self.touched.retain(|node| *node < len);
    }

    fn place_waiting(&mut self, file: &File) {
        while let Some(entry) = self.waiting.first_entry() {
            let is_due = entry.key().0 <= self.watermark;
            if !is_due && self.provisional.len() >= file.limits.provisional_alerts {
                return;
            }
            let alert = entry.remove();
            let id = alert.id.clone();
            let node = self.board.nodes.len() as u32;
            let undo = self.board.place(alert, &self.facts, file, &mut self.stale);
            self.nodes.insert(id, node);
            self.touched.extend(undo.touched());
            self.touched.insert(node);
            self.provisional.push_back(undo);
            if is_due {
                self.seal(file);
            }
        }
    }

    fn seal(&mut self, file: &File) {
        while let Some(node) =
            self.board.nodes.get(self.sealed_len()).filter(|node| node.alert.time <= self.watermark)
        {
            self.risks.raise(node, &self.facts, file);
            self.touched.extend(self.nodes.get(node.id()));
            self.provisional.pop_front();
        }
        if self.provisional.is_empty() {
            self.stale.reset();
        }
    }

    /// Once a day of event time, or when the limit is passed: what is beyond the horizon leaves memory.
    fn clean(&mut self, file: &File) {
        let excess = self.board.nodes.len().saturating_sub(file.limits.alerts);
        let day = self.watermark.0.div_euclid(DAY_US);
        if (day <= self.cleaned && excess == 0)
            || self.watermark == Watermark::END.0
            || self.sealed_len() == 0
        {
            return;
        }
        self.cleaned = day.max(self.cleaned);
        self.take_back_to(self.sealed_len() as u32);
        let touched: Vec<AlertId> =
            self.touched.iter().map(|n| self.board.nodes[*n as usize].id().clone()).collect();
        // A quarter more than needed, so that a full table is not cleaned for every alert.
        let excess = if excess > 0 { excess + file.limits.alerts / 4 } else { 0 };
        let horizon = self.watermark.0.saturating_sub(file.horizon.0.saturating_add(file.span_max.0));
        let dropped = self.board.retire(horizon, excess);
        if excess > 0 {
            self.counts.alerts_retired_early_total += dropped.len() as u64;
        }
        self.ledger.forget(dropped.iter().map(|alert| &alert.id));
        for alert in &dropped {
            self.known.remove(&alert.id);
        }
        self.facts.lineage.forget_before(Time(horizon));
        self.facts.links.forget_before(Time(horizon));
        self.nodes =
            self.board.nodes.iter().enumerate().map(|(i, node)| (node.id().clone(), i as u32)).collect();
        self.touched = touched.iter().filter_map(|id| self.nodes.get(id).copied()).collect();
        self.place_waiting(file);
    }

    fn emit(&mut self, file: &File) -> Vec<IncidentDelta> {
        let touched = std::mem::take(&mut self.touched);
        let (mut done, mut deferred) = (BTreeSet::new(), BTreeMap::new());
        let mut present = Vec::new();
        for node in touched {
            if done.contains(&node) {
                continue;
            }
            if self.is_deferred(node, file) {
                done.extend(self.board.forest.members(node));
                deferred.insert(self.board.forest.root(node), self.board.forest.size(node) as usize);
                self.touched.insert(node);
                continue;
            }
            let (groups, _) = groups(&self.board, node, &self.claims, &self.nodes);
            for group in groups {
                done.extend(group.nodes.iter().copied());
                present.push(self.incident(&group, file));
            }
        }
        self.deferred = deferred;
        present.sort_by(|a, b| (a.first_time, &a.id).cmp(&(b.first_time, &b.id)));
        self.ledger.tell(present)
    }

    /// A large incident is told again when it has grown by an eighth, or rests: telling costs its size.
    fn is_deferred(&self, node: u32, file: &File) -> bool {
        let size = self.board.forest.size(node) as usize;
        if size <= file.limits.incident_alerts_eager || self.watermark == Watermark::END.0 {
            return false;
        }
        let home = self.ledger.home(self.board.nodes[node as usize].id());
        let told = home.and_then(|id| self.ledger.incident(id)).map_or(0, |incident| incident.alerts.len());
        let rests = self.deferred.get(&self.board.forest.root(node)) == Some(&size);
        !rests && size > told && size - told < told / 8
    }

    /// The incident of a group.
    pub(crate) fn incident(&self, group: &Group, file: &File) -> Incident {
        let alerts: Vec<&Alert> = group.nodes.iter().map(|n| &*self.board.nodes[*n as usize].alert).collect();
        let sealed = self.sealed_len() as u32;
        let mut incident = blank(&self.tenant, &alerts);
        incident.joins.clone_from(&group.joins);
        incident.sealed = group.nodes.iter().all(|n| *n < sealed);
        let sequence =
            group.nodes.iter().filter(|n| **n < sealed).map(|n| self.board.nodes[*n as usize].sequence).max();
        incident.version = version(sequence.unwrap_or(0), group.standing.inputs);
        incident.status = group.standing.status.unwrap_or(IncidentStatus::New);
        incident.assignee.clone_from(&group.standing.assignee);
        incident.classification.clone_from(&group.standing.classification);
        Story::of(&alerts, &self.facts, file).tell(&mut incident, file);
        incident
    }

    /// All groups of the present state, by first alert, with the joins that inputs hold back.
    pub(crate) fn all_groups(&self) -> (Vec<Group>, Vec<Suggestion>) {
        let mut done = BTreeSet::new();
        let (mut all, mut held_back) = (Vec::new(), Vec::new());
        for node in 0..self.board.nodes.len() as u32 {
            if done.contains(&node) {
                continue;
            }
            let (groups, suggestions) = self.groups_of(node);
            done.extend(groups.iter().flat_map(|group| group.nodes.iter().copied()));
            all.extend(groups);
            held_back.extend(suggestions);
        }
        (all, held_back)
    }

    /// The groups that the component of a node falls into.
    pub(crate) fn groups_of(&self, node: u32) -> (Vec<Group>, Vec<Suggestion>) {
        groups(&self.board, node, &self.claims, &self.nodes)
    }

    pub(crate) fn node(&self, alert: &AlertId) -> Option<u32> {
        self.nodes.get(alert).copied()
    }

    /// Records an analyst's input and says what it changed.
    pub(crate) fn hear(&mut self, input: AnalystInput, file: &File) -> Vec<IncidentDelta> {
        self.touched.extend(input.alerts.iter().filter_map(|alert| self.nodes.get(alert)));
        self.claims.add(input);
        self.emit(file)
    }

    /// The risks that rose or fell since the last call.
    pub(crate) fn risk_changes(&mut self, file: &File) -> Vec<RiskChange> {
        let mut risks = std::mem::take(&mut self.risks);
        let changes = risks.changes(Watermark(self.watermark), &self.sight(file));
        self.risks = risks;
        changes
    }

    pub(crate) fn risks(&self, file: &File) -> Vec<EntityRisk> {
        self.risks.all(Watermark(self.watermark), &self.sight(file))
    }

    fn sight<'a>(&'a self, file: &'a File) -> Sight<'a> {
        Sight { tenant: &self.tenant, facts: &self.facts, ledger: &self.ledger, file }
    }

    pub(crate) fn add_stats(&self, stats: &mut Stats) {
        let (counts, board) = (&self.counts, &self.board);
        stats.alerts_total += counts.alerts_total;
        stats.alerts_duplicate_total += counts.alerts_duplicate_total;
        stats.alerts_revised_total += counts.alerts_revised_total;
        stats.alerts_late_total += counts.alerts_late_total;
        stats.alerts_withdrawn_total += counts.alerts_withdrawn_total;
        stats.alerts_folded_total += board.counts.folded;
        stats.alerts_retired_early_total += counts.alerts_retired_early_total;
        stats.entities_dropped_total += board.counts.entities_dropped;
        stats.alias_values_refused_total += self.facts.aliases.refused;
        stats.processes_evicted_total += self.facts.lineage.evicted;
        stats.observations_too_old_total += self.facts.rarity.too_old;
        let joins = &self.facts.joins.counts;
        stats.join_rows_total += joins.rows;
        stats.join_rows_late_total += joins.late;
        stats.join_rows_evicted_total += joins.evicted;
        stats.join_rows_skipped_total += joins.skipped;
        stats.join_pairs_total += joins.pairs;
        stats.join_links_evicted_total += self.facts.links.evicted;
        stats.risk_entities_evicted_total += self.risks.evicted;
        stats.risk_entities += self.risks.len() as u64;
        stats.pairs_scored_total += board.counts.pairs;
        stats.placings_redone_total += counts.placings_redone_total;
        stats.tenants += 1;
        stats.alerts += self.known.len() as u64;
        stats.alerts_pending += (self.provisional.len() + self.waiting.len()) as u64;
        stats.alerts_waiting += self.waiting.len() as u64;
        stats.entities += board.entries() as u64;
        stats.alias_values += self.facts.aliases.len() as u64;
        stats.processes += self.facts.lineage.len() as u64;
        stats.join_rows += self.facts.joins.rows() as u64;
        stats.join_links += self.facts.links.len() as u64;
        stats.edges += board.edges.len() as u64;
        stats.incidents += self.ledger.len() as u64;
    }
}

/// Orders contents of one id: what lasted longer, names more, then whatever is larger as text.
fn content_rank(alert: &Alert) -> (Time, usize, String) {
    (alert.end_time, alert.entities.len(), format!("{alert:?}"))
}

/// The version of an incident: the number of its last sealed alert in the order of sealing, then the inputs that
/// spoke of it. Provisional changes count up below the next sealed alert's number.
const fn version(sequence: u64, inputs: u64) -> u64 {
    (sequence << 20) | ((if inputs < 1_023 { inputs } else { 1_023 }) << 10)
}
