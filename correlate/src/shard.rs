//! One tenant's correlation: alerts in, in any order; incidents out, in one.
//!
//! Alerts at or before the watermark are sealed: placed on the board in order of event time, for good. Those
//! after it are placed too, provisionally, in the same order, each with an undo record. When something arrives
//! that belongs before a provisional alert (another alert, or a fact it would have used), the provisional
//! alerts from there on are taken back and placed again. So what is sealed is what one run over the whole
//! input in order would have made, and what is provisional is the same as far as the input is known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use event::{
    Alert, AlertId, Campaign, EntityRisk, EventBatch, Incident, IncidentDelta, IncidentStatus,
    RelationChange, RiskChange, Shelf, Suggestion, TenantId, Time, Watermark, Watermarks,
};
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use crate::board::{Again, Board, Excess, Node, Undo};
use crate::campaign::Campaigns;
use crate::claims::{Claims, Hold};
use crate::delta::{Ledger, Present, Told};
use crate::evidence::Key;
use crate::facts::{Facts, Stale};
use crate::input::AnalystInput;
use crate::keyed::Keyed;
use crate::meaning::{Story, blank};
use crate::merge::{Ground, Group, HeldBack, groups};
use crate::names::{Names, drop_untold};
use crate::parameters::File;
use crate::places::{Known, Places};
use crate::risk::{Risks, Sight};
use crate::stats::Stats;
use crate::suggest::Suggestions;

/// One tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Shard {
    tenant: TenantId,
    pub(crate) facts: Facts,
    stale: Stale,
    pub(crate) board: Board,
    /// Alerts not on the board, by event time.
    waiting: BTreeMap<(Time, AlertId), Arc<Keyed>>,
    /// Undo records of the last nodes of the board: the provisional ones.
    provisional: VecDeque<Undo>,
    /// Provisional ones that were taken back since alerts were last placed.
    #[serde(skip)]
    again: Again,
    known: Known,
    pub(crate) claims: Claims,
    pub(crate) ledger: Ledger,
    suggestions: Suggestions,
    campaigns: Campaigns,
    /// Nodes whose incident may differ from what the ledger says.
    touched: BTreeSet<u32>,
    /// Nodes that were sealed since the last telling, which brings risk and campaigns up to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sealed: Vec<u32>,
    /// Large incidents with untold growth, by root.
    deferred: BTreeMap<u32, Deferred>,
    /// Alerts of large components when they were last told, by root.
    told: BTreeMap<u32, usize>,
    watermark: Time,
    /// Day of the last clean-up.
    cleaned: i64,
    counts: Stats,
    #[serde(default)]
    risks: Risks,
    /// Where it puts what it seldom asks for.
    #[serde(skip)]
    pub(crate) shelf: Shelf,
}

/// Components are cleaned out once a day of event time.
const DAY_US: i64 = 86_400_000_000;

/// Event time for each alert of a large incident until it is told again.
const TOLD_US: i64 = 4_000;

/// Alerts of large incidents that are told for each that came.
const TOLD_FOR_ONE: u64 = 8;

/// Where few come a large incident is told after so many times [`TOLD_US`].
const TOLD_LATE: i64 = 16;

/// A large incident with untold growth.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Deferred {
    /// Event time.
    since: Time,
    /// Alerts that had come by then.
    alerts: u64,
}

/// When large incidents are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    InTime,
    Now,
}

/// What is told at once.
#[derive(Debug, Default)]
struct Emission {
    /// Nodes whose incidents are among `present`.
    done: HashSet<u32>,
    /// Large incidents that are put off, by root.
    deferred: BTreeMap<u32, Deferred>,
    present: Vec<Present>,
}

impl Emission {
    /// Whether the component of a node is told or put off.
    fn has(&self, node: u32, root: u32) -> bool {
        self.done.contains(&node) || self.deferred.contains_key(&root)
    }
}

impl Shard {
    pub(crate) fn new(tenant: TenantId, shelf: Shelf) -> Self {
        Self {
            tenant,
            facts: Facts::default(),
            stale: Stale::default(),
            board: Board::default(),
            waiting: BTreeMap::new(),
            provisional: VecDeque::new(),
            again: Again::default(),
            known: Known::default(),
            claims: Claims::default(),
            ledger: Ledger::default(),
            suggestions: Suggestions::default(),
            campaigns: Campaigns::default(),
            touched: BTreeSet::new(),
            sealed: Vec::new(),
            deferred: BTreeMap::new(),
            told: BTreeMap::new(),
            watermark: Watermark::START.0,
            cleaned: i64::MIN,
            counts: Stats::default(),
            risks: Risks::default(),
            shelf,
        }
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(crate) fn observe(&mut self, batch: &EventBatch, file: &File) {
        self.facts.observe(&self.tenant, batch, file, &mut self.stale);
        self.facts.settle(batch.len(), file, &self.shelf);
    }

    pub(crate) fn push(&mut self, mut alert: Alert, file: &File) {
        drop_untold(&mut alert);
        if let Some(time) = self.known.time(&alert.id) {
            self.push_again(time, alert, file);
            return;
        }
        self.counts.alerts_total += 1;
        self.counts.alerts_late_total += u64::from(alert.time <= self.watermark);
        self.take_in(alert.into(), file);
    }

    fn take_in(&mut self, alert: Keyed, file: &File) {
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
        let alert = Keyed::from(alert);
        // Both contents teach, whichever of them wins.
        self.facts.learn_alert(&alert, file, &mut self.stale);
        let key = (time, alert.id.clone());
        let node = self.node(&alert.id);
        let placed = node.map(|n| &self.board.nodes[n as usize].alert);
        let Some(before) = placed.or_else(|| self.waiting.get(&key)) else { return };
        if content_rank(before) >= content_rank(&alert) {
            return;
        }
        self.counts.alerts_revised_total += 1;
        if let Some(node) = node {
            self.take_back_to(node);
            self.forget_taken();
        }
        self.waiting.remove(&key);
        self.take_in(alert, file);
    }

    pub(crate) fn withdraw(&mut self, alert: &AlertId, in_place: Option<AlertId>) {
        let Some(time) = self.known.time(alert).filter(|time| *time > self.watermark) else { return };
        if let Some(node) = self.node(alert) {
            self.take_back_to(node);
            self.forget_taken();
        }
        self.waiting.remove(&(time, alert.clone()));
        self.known.remove(alert);
        self.counts.alerts_withdrawn_total += 1;
        self.suggestions.forget(alert);
        self.ledger.withdraw(alert, in_place);
    }

    /// Seals what event time has passed, places the rest provisionally, and says what changed.
    pub(crate) fn advance(&mut self, watermarks: &Watermarks, file: &File) -> Vec<IncidentDelta> {
        self.place(watermarks, file);
        self.seal();
        if !self.must_clean(file) {
            return self.emit(file, Telling::InTime);
        }
        // What leaves memory is told first: event time may have moved on by weeks since the last call.
        let mut deltas = self.emit(file, Telling::Now);
        self.clean(file);
        deltas.extend(self.emit(file, Telling::InTime));
        deltas
    }

    /// Moves event time on, scores what waits, and joins it.
    pub(crate) fn place(&mut self, watermarks: &Watermarks, file: &File) {
        self.watermark = self.watermark.max(watermarks.all().0);
        self.facts.joins.advance(watermarks, file);
        self.take_back_stale();
        self.place_waiting(file);
    }

    /// Tells what was put off: there is nothing else to do.
    pub(crate) fn rest(&mut self, file: &File) -> Vec<IncidentDelta> {
        self.emit(file, Telling::Now)
    }

    fn sealed_len(&self) -> usize {
        self.board.nodes.len() - self.provisional.len()
    }

    /// Takes back provisional work that new facts or earlier alerts make stale.
    fn take_back_stale(&mut self) {
        let learnt = self.stale.take();
        let first_waiting = self.waiting.keys().next();
        let sealed = self.sealed_len();
        let provisional = &self.board.nodes[sealed..];
        // Provisional alerts stand in order.
        let is_before = |node: &Node| first_waiting.is_none_or(|(time, id)| node.is_before((*time, id)));
        let mut fresh = provisional.partition_point(is_before);
        if let Some((from, learnt)) = &learnt {
            let may_be_stale = provisional.partition_point(|node| node.time() < *from)..fresh;
            let placed = self.provisional.iter().zip(provisional);
            let mut placed = placed.take(may_be_stale.end).skip(may_be_stale.start);
            let first = placed.position(|(undo, node)| undo.is_stale(node.time(), learnt));
            fresh = first.map_or(fresh, |first| may_be_stale.start + first);
        }
        self.take_back_to((sealed + fresh) as u32);
        if let Some((_, learnt)) = learnt {
            self.again.learnt(&learnt);
        }
    }

    fn take_back_to(&mut self, len: u32) {
        while self.board.nodes.len() as u32 > len {
            let Some(undo) = self.provisional.pop_back() else { break };
            if let Some(taken) = self.board.take_back(undo) {
                self.counts.placings_redone_total += 1;
                self.again.take(taken);
            }
        }
        self.again.owe(self.touched.split_off(&len));
    }

    /// What was taken back waits with the others, to be found anew.
    fn forget_taken(&mut self) {
        let len = self.board.nodes.len() as u32;
        let (alerts, touched) = self.again.forget();
        self.waiting.extend(alerts.into_iter().map(|alert| ((alert.time, alert.id.clone()), alert)));
        self.touched.extend(touched.into_iter().filter(|node| *node < len));
    }

    fn place_waiting(&mut self, file: &File) {
        self.again.begin();
        self.place_all_waiting(file);
        self.forget_taken();
    }

    fn place_all_waiting(&mut self, file: &File) {
        loop {
            let is_crowded = self.waiting.len() + self.again.len() > file.limits.waiting_alerts;
            let new = self.waiting.first_key_value().map(|((time, id), _)| (*time, id));
            let taken = self.again.first().filter(|taken| new.is_none_or(|new| taken.is_before(new)));
            let is_taken = taken.is_some();
            let Some(time) = taken.map(Node::time).or(new.map(|(time, _)| time)) else {
                return;
            };
            if is_crowded && time > self.watermark {
                self.watermark = time;
                // With it go the provisional ones, all of which are earlier.
                self.counts.alerts_sealed_early_total += self.provisional.len() as u64 + 1;
            }
            let is_due = time <= self.watermark;
            if !is_due && self.provisional.len() >= file.limits.provisional_alerts {
                return;
            }
            let (again, stale) = (&mut self.again, &mut self.stale);
            let placed = if is_taken {
                self.board.place_taken(again, &self.facts, file, stale)
            } else {
                let alert = self.waiting.pop_first().map(|(_, alert)| alert);
                alert.map(|alert| self.board.place_new(alert, is_due, again, &self.facts, file, stale))
            };
            let Some(placed) = placed else { return };
            self.touched.extend(placed.touched);
            self.provisional.push_back(placed.undo);
            if is_due {
                self.seal();
            }
        }
    }

    fn seal(&mut self) {
        while self.board.nodes.get(self.sealed_len()).is_some_and(|node| node.time() <= self.watermark) {
            self.sealed.push(self.sealed_len() as u32);
            self.provisional.pop_front();
        }
        // What was taken back and is placed again as it was asks for nothing anew.
        if self.provisional.is_empty() && self.again.len() == 0 {
            self.stale.reset();
        }
    }

    fn excess(&self, file: &File) -> Excess {
        Excess {
            alerts: self.board.nodes.len().saturating_sub(file.limits.alerts),
            incidents: self.ledger.len().saturating_sub(file.limits.incidents),
        }
    }

    /// Once a day of event time, or when a limit is passed.
    fn must_clean(&self, file: &File) -> bool {
        let is_due = self.watermark.0.div_euclid(DAY_US) > self.cleaned;
        let is_end = self.watermark == Watermark::END.0;
        (is_due || self.excess(file) != Excess::default()) && !is_end && self.sealed_len() > 0
    }

    /// What is beyond the horizon leaves memory.
    fn clean(&mut self, file: &File) {
        let excess = self.excess(file);
        let is_full = excess != Excess::default();
        self.cleaned = self.cleaned.max(self.watermark.0.div_euclid(DAY_US));
        self.take_back_to(self.sealed_len() as u32);
        self.forget_taken();
        let touched: Vec<AlertId> =
            self.touched.iter().map(|n| self.board.nodes[*n as usize].id().clone()).collect();
        // A quarter more than needed, so that a full table is not cleaned for every alert.
        let more = |excess: usize, limit: usize| if excess > 0 { excess + limit / 4 } else { 0 };
        let excess = Excess {
            alerts: more(excess.alerts, file.limits.alerts),
            incidents: more(excess.incidents, file.limits.incidents),
        };
        let horizon = self.watermark.0.saturating_sub(file.horizon.0.saturating_add(file.span_max.0));
        let dropped = self.board.retire(horizon, excess, &self.ties());
        if is_full {
            let is_early = |alert: &&Arc<Keyed>| alert.end_time.0 >= horizon;
            self.counts.alerts_retired_early_total += dropped.iter().filter(is_early).count() as u64;
        }
        self.forget(&dropped, file);
        self.facts.lineage.forget_before(Time(horizon), &self.shelf);
        self.facts.links.forget_before(Time(horizon));
        self.find_sealed();
        self.touched = touched.iter().filter_map(|id| self.known.sealed(id)).collect();
        // Both go by places that are others now.
        self.deferred.clear();
        self.told.clear();
        self.place_waiting(file);
    }

    /// The alerts of each input that is in force: they stay in memory, and leave it, together.
    fn ties(&self) -> Vec<Vec<u32>> {
        let tie = |input: &AnalystInput| input.alerts.iter().filter_map(|a| self.node(a)).collect();
        self.claims.all().map(tie).collect()
    }

    /// Alerts have left the board.
    fn forget(&mut self, dropped: &[Arc<Keyed>], file: &File) {
        let ids: HashSet<&AlertId> = dropped.iter().map(|alert| &alert.id).collect();
        let ledger = &self.ledger;
        self.campaigns.freeze(&ids, |alert| ledger.home(alert).cloned());
        self.campaigns.forget_old(file);
        self.ledger.forget(dropped.iter().map(|alert| &alert.id));
        for alert in dropped {
            self.known.remove(&alert.id);
            self.suggestions.forget(&alert.id);
        }
        let known = &self.known;
        self.claims.forget(|alert| known.has(alert), dropped);
    }

    fn emit(&mut self, file: &File, telling: Telling) -> Vec<IncidentDelta> {
        self.note_sealed();
        for place in &self.sealed {
            let node = &self.board.nodes[*place as usize];
            self.risks.raise(node, &self.facts, file);
            self.campaigns.sight(node, file);
        }
        let mut emission = Emission::default();
        for node in std::mem::take(&mut self.touched) {
            self.emit_node(node, telling, &mut emission, file);
        }
        for node in std::mem::take(&mut self.sealed) {
            self.emit_sealed(node, telling, &mut emission, file);
        }
        self.deferred = emission.deferred;
        let mut present = emission.present;
        present.sort_by(|a, b| {
            let (a, b) = (a.incident(), b.incident());
            (a.first_time, &a.id).cmp(&(b.first_time, &b.id))
        });
        let deltas = self.ledger.tell(present);
        if !deltas.is_empty() {
            self.campaigns.incidents_changed();
        }
        let is_due = telling == Telling::Now || self.watermark == Watermark::END.0;
        let ledger = &self.ledger;
        self.campaigns.update(&self.tenant, file, is_due, |alert| ledger.home(alert).cloned());
        deltas
    }

    /// Tells the incidents of the component of a node, or puts it off.
    fn emit_node(&mut self, node: u32, telling: Telling, emission: &mut Emission, file: &File) {
        let root = self.board.forest.root(node);
        if emission.has(node, root) {
            return;
        }
        if telling == Telling::InTime
            && let Some(since) = self.deferred_since(node, root, file)
        {
            emission.deferred.insert(root, since);
            self.touched.insert(node);
            return;
        }
        let size = self.board.forest.size(node) as usize;
        if size > file.limits.incident_alerts_eager {
            self.told.insert(root, size);
        }
        let (groups, held_back) = groups(self.ground(file), node);
        self.suggest(&groups, &held_back, file);
        for group in groups {
            self.counts.alerts_told_total += group.nodes.len() as u64;
            emission.done.extend(group.nodes.iter().copied());
            emission.present.push(Present::Anew(self.told(&group, file)));
        }
    }

    /// Tells the incident of a node that was sealed. It changes when the last of its alerts is, not with each of them.
    fn emit_sealed(&mut self, node: u32, telling: Telling, emission: &mut Emission, file: &File) {
        let Some(told) = self.ledger.told_of(self.board.nodes[node as usize].id()) else { return };
        if told.incident.alerts.last().is_none_or(|last| self.known.sealed(last).is_none()) {
            return;
        }
        let is_plain = self.claims.is_empty() && self.suggestions.is_empty();
        let is_new = !emission.has(node, self.board.forest.root(node));
        match self.sealed_nodes(node, told, file).filter(|_| is_plain && is_new) {
            Some(nodes) => {
                let sealed = Present::Sealed(Arc::clone(&told.incident), self.version(&nodes, 0));
                emission.present.push(sealed);
                self.counts.alerts_told_total += nodes.len() as u64;
                emission.done.extend(nodes);
            }
            None => self.emit_node(node, telling, emission, file),
        }
    }

    /// The nodes of an incident of which nothing but the seal can be new, if nobody said anything of it: it is what one of
    /// its nodes is joined to, and its names read the same.
    fn sealed_nodes(&self, node: u32, told: &Told, file: &File) -> Option<Vec<u32>> {
        let size = self.board.forest.size(node) as usize;
        if size != told.incident.alerts.len() || size > file.limits.incident_alerts_eager {
            return None;
        }
        let nodes = self.board.component(node);
        let digest = Names::of(&self.alerts(&nodes), &self.facts, file).digest();
        (told.names == Some(digest)).then_some(nodes)
    }

    fn suggest(&mut self, groups: &[Group], held_back: &[HeldBack], file: &File) {
        let is_guarded = |held: &HeldBack| matches!(held.hold, Hold::Guard(_));
        if self.suggestions.is_empty() && !held_back.iter().any(is_guarded) {
            return;
        }
        let present = self.ground(file).suggestions(groups, held_back);
        let nodes = groups.iter().flat_map(|group| &group.nodes);
        let alerts = nodes.map(|n| self.board.nodes[*n as usize].id());
        self.suggestions.replace(alerts, present, file.limits.suggestions);
    }

    /// Telling an incident costs its size. A large one is told when it has grown by an eighth, or when event time has
    /// moved on by its size in [`TOLD_US`] and enough alerts have come to pay for it, whatever they are about, so that an
    /// alert costs as much in a storm as without one. Says since when
    /// it is put off.
    fn deferred_since(&self, node: u32, root: u32, file: &File) -> Option<Deferred> {
        let size = self.board.forest.size(node) as usize;
        if size <= file.limits.incident_alerts_eager || self.watermark == Watermark::END.0 {
            return None;
        }
        let told = self.told.get(&root).copied().unwrap_or(0);
        let now = Deferred { since: self.watermark, alerts: self.counts.alerts_total };
        let since = self.deferred.get(&root).copied().unwrap_or(now);
        let waited = self.watermark.0.saturating_sub(since.since.0) / TOLD_US;
        let paid = (self.counts.alerts_total - since.alerts).saturating_mul(TOLD_FOR_ONE);
        let is_due = waited >= size as i64 && (paid >= size as u64 || waited / TOLD_LATE >= size as i64);
        (!is_due && size > told && size - told < told / 8).then_some(since)
    }

    /// All that decides which alerts are one incident.
    pub(crate) fn ground<'a>(&'a self, file: &'a File) -> Ground<'a> {
        Ground {
            tenant: &self.tenant,
            board: &self.board,
            facts: &self.facts,
            claims: &self.claims,
            places: self.places(),
            file,
        }
    }

    /// The incident of a group.
    pub(crate) fn incident(&self, group: &Group, file: &File) -> Incident {
        let alerts = self.alerts(&group.nodes);
        let names = Names::of(&alerts, &self.facts, file);
        self.incident_with(group, &alerts, names, file)
    }

    /// The incident of a group, to be told.
    fn told(&self, group: &Group, file: &File) -> Told {
        let alerts = self.alerts(&group.nodes);
        let names = Names::of(&alerts, &self.facts, file);
        let digest = Some(names.digest());
        Told { incident: Arc::new(self.incident_with(group, &alerts, names, file)), names: digest }
    }

    fn incident_with(&self, group: &Group, alerts: &[&Keyed], names: Names<'_>, file: &File) -> Incident {
        let sealed = self.sealed_len() as u32;
        let mut incident = blank(group.id.clone(), &self.tenant, alerts);
        incident.links.clone_from(&group.links);
        incident.joins.clone_from(&group.joins);
        incident.sealed = group.nodes.iter().all(|n| *n < sealed);
        incident.version = self.version(&group.nodes, group.standing.inputs);
        incident.status = group.standing.status.unwrap_or(IncidentStatus::New);
        incident.assignee.clone_from(&group.standing.assignee);
        incident.classification.clone_from(&group.standing.classification);
        Story::of(alerts, names).tell(&mut incident, file);
        incident
    }

    fn alerts(&self, nodes: &[u32]) -> Vec<&Keyed> {
        nodes.iter().map(|n| &*self.board.nodes[*n as usize].alert).collect()
    }

    /// The version of an incident: the number of its last sealed alert in the order of sealing, then the inputs that
    /// spoke of it. Provisional changes count up below the next sealed alert's number.
    fn version(&self, nodes: &[u32], inputs: u64) -> u64 {
        let sealed = nodes.iter().filter(|n| **n < self.sealed_len() as u32);
        let sequence = sealed.map(|n| self.board.nodes[*n as usize].sequence).max().unwrap_or(0);
        (sequence << 20) | (inputs.min(1_023) << 10)
    }

    /// All groups of the present state, by first alert, with the joins that inputs hold back.
    pub(crate) fn all_groups(&self, file: &File) -> (Vec<Group>, Vec<HeldBack>) {
        let mut done = HashSet::new();
        let (mut all, mut held_back) = (Vec::new(), Vec::new());
        for node in 0..self.board.nodes.len() as u32 {
            if done.contains(&node) {
                continue;
            }
            let (groups, held) = self.groups_of(node, file);
            done.extend(groups.iter().flat_map(|group| group.nodes.iter().copied()));
            all.extend(groups);
            held_back.extend(held);
        }
        (all, held_back)
    }

    /// The groups that the component of a node falls into.
    pub(crate) fn groups_of(&self, node: u32, file: &File) -> (Vec<Group>, Vec<HeldBack>) {
        groups(self.ground(file), node)
    }

    /// Suggested merges, by the earlier alert of their join.
    pub(crate) fn suggestions(&self) -> impl Iterator<Item = &Suggestion> {
        self.suggestions.all()
    }

    /// Campaigns as last read.
    pub(crate) fn campaigns(&self) -> impl Iterator<Item = &Campaign> {
        self.campaigns.told()
    }

    /// What changed between incidents since the last call.
    pub(crate) fn take_relations(&mut self) -> Vec<RelationChange> {
        let mut changes = self.suggestions.take_changes(&self.tenant);
        changes.extend(self.campaigns.take_changes(&self.tenant));
        changes
    }

    /// Alerts that name an entity.
    pub(crate) fn naming(&self, key: Key) -> Vec<AlertId> {
        let names = |node: &&Node| node.posts.binary_search_by_key(&key, |post| post.key).is_ok();
        self.board.nodes.iter().filter(names).map(|node| node.id().clone()).collect()
    }

    pub(crate) fn node(&self, alert: &AlertId) -> Option<u32> {
        self.places().get(alert)
    }

    fn places(&self) -> Places<'_> {
        Places { board: &self.board, known: &self.known, sealed_len: self.sealed_len() }
    }

    /// Makes what a snapshot does not have.
    pub(crate) fn complete(&mut self) {
        self.find_sealed();
        self.board.mark();
        self.stale.complete();
    }

    /// Notes where those alerts are that were sealed since the last telling.
    fn note_sealed(&mut self) {
        for place in &self.sealed {
            self.known.seal(self.board.nodes[*place as usize].id(), *place);
        }
    }

    /// Notes where sealed alerts are: places change when alerts leave memory.
    fn find_sealed(&mut self) {
        let sealed = self.sealed_len();
        for (place, node) in (0..).zip(&self.board.nodes[..sealed]) {
            self.known.seal(node.id(), place);
        }
    }

    /// Records an analyst's input and says what it changed.
    pub(crate) fn hear(&mut self, input: AnalystInput, file: &File) -> Vec<IncidentDelta> {
        self.note_sealed();
        let alerts = self.claims.add(input, file.limits.inputs);
        let nodes: Vec<u32> = alerts.iter().filter_map(|alert| self.node(alert)).collect();
        self.touched.extend(nodes);
        self.emit(file, Telling::Now)
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
        stats.alerts_sealed_early_total += counts.alerts_sealed_early_total;
        stats.alerts_told_total += counts.alerts_told_total;
        stats.inputs_evicted_total += self.claims.evicted;
        stats.suggestions_refused_total += self.suggestions.refused;
        stats.artefacts_evicted_total += self.campaigns.evicted;
        stats.entities_dropped_total += board.counts.entities_dropped;
        stats.alias_values_refused_total += self.facts.aliases.refused;
        stats.addresses_evicted_total += self.facts.leases.evicted;
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
        stats.addresses += self.facts.leases.len() as u64;
        stats.processes += self.facts.lineage.len() as u64;
        stats.join_rows += self.facts.joins.rows() as u64;
        stats.join_links += self.facts.links.len() as u64;
        stats.edges += board.edges.len() as u64;
        stats.incidents += self.ledger.len() as u64;
        stats.inputs += self.claims.len() as u64;
        stats.suggestions += self.suggestions.len() as u64;
        stats.artefacts += self.campaigns.len() as u64;
        stats.campaigns += self.campaigns.told().count() as u64;
    }
}

/// Orders contents of one id: what lasted longer, names more, then whatever is larger as text.
fn content_rank(alert: &Alert) -> (Time, usize, String) {
    (alert.end_time, alert.entities.len(), format!("{alert:?}"))
}
