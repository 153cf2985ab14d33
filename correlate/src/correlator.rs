//! The correlator: one shard a tenant, and the questions one can ask it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use event::snapshot::Pieces;
use event::{
    Alert, AlertId, Campaign, EntityRisk, EventBatch, Explanation, Incident, IncidentDelta, IncidentGraph,
    IncidentId, IncidentStatus, InputId, RelationChange, RiskChange, Shelf, Suggestion, TenantId, Watermark,
    Watermarks,
};

use crate::error::CorrelateError;
use crate::evidence::Key;
use crate::explain::{explain, explain_joins, why};
use crate::graph::graph;
use crate::input::{AnalystInput, Kept, Said};
use crate::parameters::Parameters;
use crate::shard::Shard;
use crate::snapshot;
use crate::stats::Stats;

/// Groups alerts into incidents; see the crate's tour.
#[derive(Debug, Clone)]
pub struct Correlator {
    parameters: Parameters,
    shards: BTreeMap<TenantId, Shard>,
    shelf: Shelf,
}

impl Correlator {
    /// A correlator that has seen nothing.
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters, shards: BTreeMap::new(), shelf: Shelf::in_memory() }
    }

    /// From now on it puts on a shelf what it seldom asks for.
    #[must_use]
    pub fn on(mut self, shelf: Shelf) -> Self {
        self.shards.values_mut().for_each(|shard| shard.shelf = shelf.clone());
        self.shelf = shelf;
        self
    }

    /// Hash of the parameters: results with one hash are comparable.
    pub fn parameters_hash(&self) -> &Arc<str> {
        self.parameters.hash()
    }

    fn shard(&mut self, tenant: &TenantId) -> &mut Shard {
        if !self.shards.contains_key(tenant) {
            self.shards.insert(tenant.clone(), Shard::new(tenant.clone(), self.shelf.clone()));
        }
        self.shards.entry(tenant.clone()).or_insert_with(|| Shard::new(tenant.clone(), self.shelf.clone()))
    }

    /// Learns aliases, process lineage and rarity from rows. Call it for every batch, before the alerts of the
    /// same records are advanced over.
    pub fn observe(&mut self, batch: &EventBatch) {
        let file = Arc::clone(&self.parameters.file);
        self.shard(&batch.meta.tenant).observe(batch, &file);
    }

    /// Takes alerts in, in any order. They count at the next [`Correlator::advance`].
    pub fn push(&mut self, alerts: impl IntoIterator<Item = Alert>) {
        let file = Arc::clone(&self.parameters.file);
        for alert in alerts {
            self.shard(&alert.tenant.clone()).push(alert, &file);
        }
    }

    /// Moves event time on, scores the alerts that were pushed against those nearest to them, and lets the forest grow; a
    /// call of [`Correlator::advance`] says what came of it. That would do this itself: here it can be done before, and
    /// measured.
    pub fn place(&mut self, watermarks: impl Into<Watermarks>) {
        let (watermarks, file) = (watermarks.into(), &self.parameters.file);
        self.shards.values_mut().for_each(|shard| shard.place(&watermarks, file));
    }

    /// Takes an alert back that its source found not to stand; `in_place` stands instead. What is sealed stays.
    /// The incident loses the alert at the next [`Correlator::advance`]; one that loses its last leads on to the
    /// incident of `in_place`, else it is closed.
    pub fn withdraw(&mut self, tenant: &TenantId, alert: &AlertId, in_place: Option<AlertId>) {
        self.shard(tenant).withdraw(alert, in_place);
    }

    /// Moves event time on, and says what is new since the last call. Alerts after the watermark count too, but
    /// their incidents are not sealed: what still arrives may change them. One [`Watermark`] is that of every kind of
    /// source; with [`Watermarks`], joins of events wait for none that has nothing for them.
    pub fn advance(&mut self, watermarks: impl Into<Watermarks>) -> Vec<IncidentDelta> {
        let (watermarks, file) = (watermarks.into(), &self.parameters.file);
        self.shards.values_mut().flat_map(|shard| shard.advance(&watermarks, file)).collect()
    }

    /// Tells what was put off, as large incidents are while more comes. For when nothing comes.
    pub fn rest(&mut self) -> Vec<IncidentDelta> {
        let file = &self.parameters.file;
        self.shards.values_mut().flat_map(|shard| shard.rest(file)).collect()
    }

    /// What relates incidents and changed since the last call: suggested merges and campaigns.
    pub fn take_relations(&mut self) -> Vec<RelationChange> {
        self.shards.values_mut().flat_map(Shard::take_relations).collect()
    }

    /// The input has ended: everything is sealed.
    pub fn flush(&mut self) -> Vec<IncidentDelta> {
        self.advance(Watermark::END)
    }

    /// The incidents of a tenant that are in memory, by first alert. For sealed ones every byte, the version
    /// included, is a function of alerts, observed rows and inputs alone.
    pub fn incidents(&self, tenant: &TenantId) -> Vec<Incident> {
        let Some(shard) = self.shards.get(tenant) else { return Vec::new() };
        let (groups, _) = shard.all_groups(&self.parameters.file);
        let mut incidents: Vec<Incident> =
            groups.iter().map(|group| shard.incident(group, &self.parameters.file)).collect();
        incidents.sort_by(|a, b| (a.first_time, &a.id).cmp(&(b.first_time, &b.id)));
        incidents
    }

    /// The incident of that id as last told by a delta, or the one it was merged into.
    pub fn incident(&self, id: &IncidentId) -> Option<Arc<Incident>> {
        self.shards.values().find_map(|shard| shard.ledger.incident(id)).cloned()
    }

    /// The incident an alert is in, as last told by a delta.
    pub fn incident_of(&self, alert: &AlertId) -> Option<IncidentId> {
        self.shards.values().find_map(|shard| shard.ledger.home(alert)).cloned()
    }

    /// Merged incidents of a tenant and their survivors, each one hop.
    pub fn redirects(&self, tenant: &TenantId) -> Vec<(IncidentId, IncidentId)> {
        let redirects = self.shards.get(tenant).into_iter().flat_map(|shard| shard.ledger.redirects());
        redirects.map(|(from, to)| (from.clone(), to.clone())).collect()
    }

    /// Merges that a person may decide for: joins that what analysts said, or different scopes, hold back.
    pub fn suggestions(&self, tenant: &TenantId) -> Vec<Suggestion> {
        self.shards.get(tenant).map_or_else(Vec::new, |shard| shard.suggestions().cloned().collect())
    }

    /// Incidents of a tenant that rare artefacts link over weeks, by id.
    pub fn campaigns(&self, tenant: &TenantId) -> Vec<Campaign> {
        self.shards.get(tenant).map_or_else(Vec::new, |shard| shard.campaigns().cloned().collect())
    }

    /// All suggested merges and campaigns, as [`Correlator::take_relations`] would tell them one by one.
    pub fn relations(&self) -> Vec<RelationChange> {
        let of = |shard: &Shard| {
            let suggested =
                shard.suggestions().cloned().map(|suggestion| RelationChange::Suggested { suggestion });
            let campaigns = shard.campaigns().cloned().map(|campaign| RelationChange::Campaign { campaign });
            suggested.chain(campaigns).collect::<Vec<_>>()
        };
        self.shards.values().flat_map(of).collect()
    }

    /// An input of a tenant, and whether it is undone.
    pub fn input(&self, tenant: &TenantId, id: &InputId) -> Option<(AnalystInput, bool)> {
        let claims = &self.shards.get(tenant)?.claims;
        Some((claims.get(id)?.clone(), claims.is_undone(id)))
    }

    /// The inputs that speak of an incident, in order of saying, with whether they are undone.
    pub fn inputs_about(&self, incident: &IncidentId) -> Vec<(AnalystInput, bool)> {
        let found = self.shards.values().find_map(|shard| Some((shard, shard.ledger.incident(incident)?)));
        let Some((shard, incident)) = found else { return Vec::new() };
        shard
            .claims
            .about(&incident.alerts)
            .map(|input| (input.clone(), shard.claims.is_undone(&input.id())))
            .collect()
    }

    /// The inputs of a tenant in order of saying, with whether they are undone.
    pub fn inputs(&self, tenant: &TenantId) -> Vec<(AnalystInput, bool)> {
        let Some(shard) = self.shards.get(tenant) else { return Vec::new() };
        shard.claims.all().map(|input| (input.clone(), shard.claims.is_undone(&input.id()))).collect()
    }

    /// Why two alerts are in one incident, or are not; `None` where either is unknown or their tenants differ.
    pub fn explain(&self, a: &AlertId, b: &AlertId) -> Option<Explanation> {
        self.shards.values().find_map(|shard| explain(shard, a, b, &self.parameters.file))
    }

    /// Why the joins of an incident are joins, strongest first; of a very large incident the weakest 500. The incident is
    /// one that this correlator told.
    pub fn explain_joins(&self, incident: &Incident) -> Vec<Explanation> {
        let shard = self.shards.get(&incident.tenant);
        shard.map_or_else(Vec::new, |shard| explain_joins(shard, incident, &self.parameters.file))
    }

    /// Why each alert of an incident is in it, in words: its strongest joins, or what an alert that stands alone lacks.
    /// The incident is one that this correlator told.
    pub fn why(&self, incident: &Incident) -> Vec<(AlertId, Vec<String>)> {
        let shard = self.shards.get(&incident.tenant);
        shard.map_or_else(Vec::new, |shard| why(shard, incident, &self.parameters.file))
    }

    /// The incident as a graph of alerts, entities and relations, bounded by the parameter `graph_nodes`; with the
    /// shortest path between two of its nodes where two are named, by node id, alert id, name or value.
    ///
    /// # Errors
    /// [`CorrelateError::UnknownIncident`]; [`CorrelateError::UnknownNode`] and [`CorrelateError::AmbiguousNode`] where
    /// an end of the path names no node, or several.
    pub fn graph(
        &self,
        id: &IncidentId,
        between: Option<(&str, &str)>,
    ) -> Result<IncidentGraph, CorrelateError> {
        let held = self.shards.values().find_map(|shard| Some((shard, shard.ledger.incident(id)?)));
        let (shard, incident) = held.ok_or_else(|| CorrelateError::UnknownIncident(id.clone()))?;
        graph(shard, incident, between, &self.parameters.file)
    }

    /// The risks that rose or fell since the last call, after [`Correlator::advance`]: of sealed alerts only.
    pub fn risk_changes(&mut self) -> Vec<RiskChange> {
        let file = &self.parameters.file;
        self.shards.values_mut().flat_map(|shard| shard.risk_changes(file)).collect()
    }

    /// The users, devices and apps of a tenant that are at risk, the highest score first.
    pub fn risks(&self, tenant: &TenantId) -> Vec<EntityRisk> {
        self.shards.get(tenant).map_or_else(Vec::new, |shard| shard.risks(&self.parameters.file))
    }

    /// Takes an analyst's input, and says what it changed. The returned input names the alerts it spoke of:
    /// store that one, and give it again after a replay. Giving an input twice is giving it once.
    ///
    /// # Errors
    /// [`CorrelateError::UnknownIncident`], [`CorrelateError::UnknownAlert`], or [`CorrelateError::Input`] where
    /// it contradicts what it names.
    pub fn apply(
        &mut self,
        input: AnalystInput,
    ) -> Result<(AnalystInput, Vec<IncidentDelta>), CorrelateError> {
        let recorded = if input.alerts.is_empty() {
            let nothing_yet = Shard::new(input.tenant.clone(), Shelf::in_memory());
            record(self.shards.get(&input.tenant).unwrap_or(&nothing_yet), input)?
        } else {
            input
        }
        .sorted();
        let file = Arc::clone(&self.parameters.file);
        let deltas = self.shard(&recorded.tenant).hear(recorded.clone(), &file);
        Ok((recorded, deltas))
    }

    /// From now on, every pair of alerts that weighs enough to join is kept: for benchmarks that join them another way.
    #[doc(hidden)]
    pub fn record_pairs(&mut self) {
        self.shards.values_mut().for_each(|shard| shard.board.pairs = Some(Vec::new()));
    }

    /// The pairs kept since [`Correlator::record_pairs`].
    #[doc(hidden)]
    pub fn take_pairs(&mut self) -> Vec<(AlertId, AlertId)> {
        let mut all = Vec::new();
        for shard in self.shards.values_mut() {
            let id = |node: u32| shard.board.nodes[node as usize].id().clone();
            let pairs = shard.board.pairs.iter().flatten();
            all.extend(pairs.map(|(a, b)| (id(*a), id(*b))));
            shard.board.pairs = None;
        }
        all
    }

    /// What it holds, did and refused.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.shards.values().for_each(|shard| shard.add_stats(&mut stats));
        stats
    }

    /// The whole state as bytes; a state that was restored has the bytes that it came from. Processes stand in the order in
    /// which they were first mentioned, so that equal states that came about otherwise may have other bytes.
    pub fn snapshot(&self) -> Pieces {
        Pieces::of(|pieces| self.write_snapshot(pieces))
    }

    /// Writes [`Correlator::snapshot`] to where it does not take memory.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn write_snapshot(&self, out: impl Write) -> io::Result<()> {
        snapshot::write_to(self.parameters.hash(), &self.shards.values().collect::<Vec<_>>(), out)
    }

    /// The state of [`Correlator::snapshot`].
    ///
    /// # Errors
    /// [`CorrelateError::Snapshot`] for bytes that are none, [`CorrelateError::ParametersChanged`] for a snapshot
    /// made with other parameters.
    pub fn restore(parameters: Parameters, bytes: &Pieces) -> Result<Self, CorrelateError> {
        let shards: Vec<Shard> = snapshot::read(parameters.hash(), bytes)?;
        let found = |mut shard: Shard| {
            shard.complete();
            (shard.tenant().clone(), shard)
        };
        let shards = shards.into_iter().map(found).collect();
        Ok(Self { parameters, shards, shelf: Shelf::in_memory() })
    }
}

/// Finds the alerts that an input speaks of.
fn record(shard: &Shard, mut input: AnalystInput) -> Result<AnalystInput, CorrelateError> {
    let find = |id: &IncidentId| {
        shard.ledger.incident(id).cloned().ok_or_else(|| CorrelateError::UnknownIncident(id.clone()))
    };
    let known = |alert: &AlertId| match shard.node(alert) {
        Some(_) => Ok(()),
        None => Err(CorrelateError::UnknownAlert(alert.clone())),
    };
    match &input.said {
        Said::SetStatus { status: IncidentStatus::Redirected, .. } => {
            return Err(CorrelateError::Input(
                "an incident is redirected by merging it, not by a status".to_owned(),
            ));
        }
        Said::Assign { incident, .. }
        | Said::SetStatus { incident, .. }
        | Said::Classify { incident, .. } => input.alerts.clone_from(&find(incident)?.alerts),
        Said::Split { incident, leaving } => {
            let incident = find(incident)?;
            require_part(leaving, &incident, "a split")?;
            input.alerts.clone_from(&incident.alerts);
        }
        Said::Move { from, moving, to } => {
            let (from, to) = two(find(from)?, find(to)?)?;
            require_part(moving, &from, "a move")?;
            input.alerts = from.alerts.iter().chain(&to.alerts).cloned().collect();
            input.other.clone_from(&to.alerts);
            // Inputs name incidents as they are called, not as they were.
            input.said = Said::Move { from: from.id.clone(), moving: moving.clone(), to: to.id.clone() };
        }
        Said::Veto { a, b } => {
            known(a).and(known(b))?;
            if a == b {
                return Err(CorrelateError::Input(format!("{a} is one alert: name two")));
            }
            input.alerts = vec![a.clone(), b.clone()];
        }
        Said::Merge { into, from } => {
            let (into, from) = two(find(into)?, find(from)?)?;
            input.alerts = into.alerts.iter().chain(&from.alerts).cloned().collect();
            input.other.clone_from(&from.alerts);
            input.kept = Some(Kept {
                assignee: into.assignee.clone(),
                classification: into.classification.clone(),
                status: into.status,
            });
        }
        Said::Distinct { entity_type, a, b } => {
            let mut naming = Vec::new();
            for name in [a, b] {
                let found = shard.naming(Key::of(shard.tenant(), *entity_type, name));
                if found.is_empty() {
                    return Err(CorrelateError::Input(format!("no alert names the {entity_type} {name}")));
                }
                naming.extend(found);
            }
            if a == b {
                return Err(CorrelateError::Input(format!("{a} is one name: give two")));
            }
            naming.sort();
            naming.dedup();
            input.alerts = naming;
        }
        Said::Undo { input: target } => {
            let said =
                shard.claims.get(target).ok_or_else(|| CorrelateError::UnknownInput(target.clone()))?;
            if shard.claims.is_undone(target) {
                return Err(CorrelateError::Input(format!("{target} is undone already")));
            }
            input.alerts.clone_from(&said.alerts);
        }
    }
    Ok(input)
}

fn two(one: Arc<Incident>, other: Arc<Incident>) -> Result<(Arc<Incident>, Arc<Incident>), CorrelateError> {
    if one.id == other.id {
        return Err(CorrelateError::Input(format!("{} is one incident already", one.id)));
    }
    Ok((one, other))
}

/// A split or move takes some, but not all, alerts of an incident.
fn require_part(leaving: &[AlertId], incident: &Incident, what: &str) -> Result<(), CorrelateError> {
    let id = &incident.id;
    let refuse = |why: String| Err(CorrelateError::Input(why));
    if leaving.is_empty() {
        return refuse(format!("name the alerts that leave {id}: none is named"));
    }
    if let Some(foreign) = leaving.iter().find(|alert| !incident.alerts.contains(alert)) {
        return refuse(format!("{foreign} is not in {id}"));
    }
    if incident.alerts.iter().all(|alert| leaving.contains(alert)) {
        return refuse(format!("{what} leaves at least one alert in {id}: all of its alerts are named"));
    }
    Ok(())
}
