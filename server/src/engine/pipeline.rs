//! Batches and alerts to incidents, actions and stored rows: the stateful half of the engine, one owner.
//!
//! Order of a turn: correlation rules, suppression, correlate, store alerts and incident changes, respond, store decisions.
//! Commands leave only after their decision is on disk. A checkpoint takes the correlation state and the buffered
//! rows at one point of the log; the rows reach the lake first, then the state with its offsets, so a restart repeats and
//! never skips. Rows may be committed more often than the state: the lake knows them when they are read again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use correlate::{
    AnalystInput, Completeness, CorrelateError, Correlator, Parameters, RuleCounts, RuleInterval, Said,
    WatermarkTracker,
};
use event::snapshot::Pieces;
use event::{
    Action, ActionId, AlertId, Explanation, Incident, IncidentDelta, IncidentGraph, IncidentId, InputId,
    Shelf, TenantId, Time, Watermark, Watermarks,
};
use ingest::DeadLetter;
use respond::{
    ActionChange, AuditEntry, AuditHead, CallbackFault, Capability, Policy, Report, RespondError, Responder,
    ResponseRules, Seal, Verb, Work,
};
use rules::{
    CorrelationChange, ExceptionTallies, ExceptionTally, RuleSet, Suppression, SuppressionChange,
    SuppressionCounts, Suppressions, WindowCounts, Windows,
};
use storage::{
    AnalystInput as StoredInput, AuditRow, Committed, CompletenessRow, DeadLetterRow, ExceptionRow, Lake,
    LakeWriter, Positions, RunningOf, RunningSuppressions, Snapshot, Spool, StateChange, StateDb,
    SuppressionRow, Waiting, shelf_in,
};
use tokio::task::JoinHandle;

use super::analyst::audit_record;
use super::detection::Detected;
use super::live::{About, Decided, Decision, Input, InputError, OnlyAt, Verdict};
use super::meters;
use crate::output;

/// The stores of a data directory.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) state: StateDb,
    pub(crate) lake: Lake,
    /// For parts of the state that are seldom asked for.
    shelf: Shelf,
}

impl Stores {
    /// Opens, or creates, the stores of a data directory, for writing.
    pub(crate) async fn open(data_dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
        let state = StateDb::open(state_path(data_dir))?;
        let location = data_dir.join("lake");
        let location = location.to_str().context("the data directory's path must be UTF-8")?;
        let lake = Lake::open(location, HashMap::new())?;
        let shelf = shelf_in(data_dir, output::lost_state)?;
        Ok(Self { state, lake, shelf })
    }
}

/// The state database of a data directory.
pub(crate) fn state_path(data_dir: &Path) -> PathBuf {
    data_dir.join("state.db")
}

/// How the stateful half is set up.
pub(crate) struct PipelineOptions {
    /// The rules whose matches come in: their correlation rules are completed here.
    pub(crate) rules: Arc<RuleSet>,
    pub(crate) parameters: Parameters,
    pub(crate) response_rules: ResponseRules,
    pub(crate) policy: Policy,
    pub(crate) checkpoint: CheckpointLimits,
    /// What the configured providers can do; none where commands are decided and not executed.
    pub(crate) providers: Option<Vec<Capability>>,
    /// What playbooks do, who lease their work.
    pub(crate) pulled: BTreeSet<Verb>,
}

/// When a checkpoint is taken, whichever comes first, if none was asked for sooner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckpointLimits {
    pub(crate) rows_max: usize,
    /// Bytes of rows that wait. As many more may come while others are on their way into the lake; then all else waits
    /// for these.
    pub(crate) bytes_max: usize,
}

/// The parameters of the correlation state, by their name among the small values of the state database.
pub(crate) const PARAMETERS: &str = "correlation_parameters";

/// Whether a person has paused the response, there.
pub(crate) const PAUSED: &str = "response_paused";

/// The connectors that people have paused, there, as a JSON list.
const PAUSED_CONNECTORS: &str = "connectors_paused";

/// The connector that stands for playbooks, which lease what they do.
pub(crate) const PLAYBOOKS: &str = "playbooks";

/// Writing the state stops everything else: it may take one part in so many of the time.
const STATE_SHARE: u32 = 20;

/// The stateful half of the engine.
pub(crate) struct Pipeline {
    stores: Stores,
    rules: Arc<RuleSet>,
    windows: Windows,
    suppressions: Suppressions,
    exceptions: ExceptionTallies,
    correlator: Correlator,
    watermarks: WatermarkTracker,
    completeness: Completeness,
    responder: Responder,
    positions: Positions,
    inputs_seq: i64,
    /// Rows that are not on their way into the lake.
    waiting: Waiting,
    /// Whether the state on disk is behind.
    is_ahead: bool,
    /// When the state was last written, and how long that took.
    state_written: (Instant, Duration),
    limits: CheckpointLimits,
    /// The lake's writer, while nothing is under way.
    writer: Option<LakeWriter>,
    /// Rows, or a checkpoint, on their way to disk; at most one.
    in_flight: Option<JoinHandle<Result<LakeWriter, storage::StorageError>>>,
    counts: BTreeMap<String, i64>,
    work: Vec<Work>,
    /// Whether an executor takes work.
    executes: bool,
    /// Whether the configuration stops the response: no person resumes it then.
    kill_switch: bool,
    /// The connectors that it stops, likewise.
    stopped: BTreeSet<String>,
    /// What all of them can do, playbooks first.
    providers: Vec<Capability>,
    /// Verbs whose work playbooks lease.
    pulled: BTreeSet<Verb>,
}

impl Pipeline {
    /// Takes up where the data directory stopped.
    pub(crate) async fn open(stores: Stores, options: PipelineOptions, now: Time) -> anyhow::Result<Self> {
        let parameters = options.parameters.text().to_owned();
        let snapshot = stores.state.load_snapshot()?;
        let (positions, inputs_seq) =
            snapshot.as_ref().map_or((Positions::new(), 0), |s| (s.positions.clone(), s.inputs_seq));
        let (correlator, windows, suppressions, exceptions, completeness) = match snapshot {
            Some(s) => (
                Correlator::restore(options.parameters, &s.correlator)?.on(stores.shelf.clone()),
                Windows::restore(&options.rules, &s.windows, stores.shelf.clone())?,
                Suppressions::restore(&s.suppressions)?,
                ExceptionTallies::restore(&s.exceptions)?,
                Completeness::restore(&s.completeness)?,
            ),
            None => (
                Correlator::new(options.parameters).on(stores.shelf.clone()),
                Windows::on(stores.shelf.clone()),
                Suppressions::default(),
                ExceptionTallies::default(),
                Completeness::default(),
            ),
        };
        let mut policy = options.policy;
        let kill_switch = policy.kill_switch;
        policy.kill_switch |= stores.state.meta(PAUSED)?.as_deref() == Some("true");
        let stopped = std::mem::take(&mut policy.stopped.connectors);
        let paused = paused_connectors(&stores.state)?;
        policy.stopped.connectors = stopped.union(&paused).cloned().collect();
        let mut responder = Responder::new(options.response_rules, policy)?;
        let executes = options.providers.is_some();
        let providers = capabilities(options.providers, &options.pulled);
        if !providers.is_empty() {
            responder.set_providers(providers.clone());
        }
        let counts = stores.state.counters()?;
        let writer = LakeWriter::new(stores.lake.clone());
        let waiting = Waiting::on(stores.shelf.clone());
        let mut pipeline = Self {
            stores,
            rules: options.rules,
            windows,
            suppressions,
            exceptions,
            correlator,
            watermarks: WatermarkTracker::default(),
            completeness,
            responder,
            positions,
            inputs_seq,
            waiting,
            is_ahead: false,
            state_written: (Instant::now(), Duration::ZERO),
            limits: options.checkpoint,
            writer: Some(writer),
            in_flight: None,
            counts,
            work: Vec::new(),
            executes,
            kill_switch,
            stopped,
            providers,
            pulled: options.pulled,
        };
        pipeline.restore_responder(now).await?;
        pipeline.retell_running().await?;
        pipeline.repeat_inputs()?;
        pipeline.repeat_relations(parameters).await?;
        Ok(pipeline)
    }

    async fn restore_responder(&mut self, now: Time) -> anyhow::Result<()> {
        let state = &self.stores.state;
        let head = match state.audit_head(None)? {
            Some(row) => AuditHead { sequence: u64::try_from(row.seq)?, hash: row.hash },
            None => AuditHead::default(),
        };
        let actions = state.all_actions()?;
        let subjects: BTreeSet<(TenantId, IncidentId)> =
            actions.iter().map(|action| (action.tenant.clone(), action.incident.clone())).collect();
        let mut changes = self.responder.restore(actions, state.all_effects()?, head, now);
        // Between the commit that merged two incidents and the one that moved their actions there may have been a crash.
        for (tenant, id) in subjects {
            if let Some(survivor) = state.incident(&tenant, &id)?.filter(|survivor| survivor.id != id) {
                changes.extend(self.responder.on_merged(&id, &survivor.id, now));
            }
        }
        self.commit_actions(changes).await
    }

    /// What was told of running windows after the snapshot may have come from portions of another size.
    async fn retell_running(&mut self) -> anyhow::Result<()> {
        let rows = self.suppressions.running().into_iter().map(suppression_row).collect();
        let running_suppressions = vec![RunningSuppressions { of: RunningOf::All, rows }];
        self.commit(StateChange { running_suppressions, ..StateChange::default() }).await.map(drop)
    }

    /// Analyst inputs that were stored after the snapshot are applied again.
    fn repeat_inputs(&mut self) -> anyhow::Result<()> {
        for stored in self.stores.state.analyst_inputs(self.inputs_seq)? {
            let input = serde_json::from_str(&stored.body).context("a stored analyst input")?;
            if let Err(error) = self.correlator.apply(input) {
                tracing::warn!("analyst input {} no longer applies: {error}", stored.id);
            }
            self.inputs_seq = stored.seq;
        }
        Ok(())
    }

    /// What the log gives from here on may relate incidents otherwise than it did before a crash.
    async fn repeat_relations(&mut self, parameters: String) -> anyhow::Result<()> {
        self.correlator.take_relations();
        let change = StateChange {
            relations: self.correlator.relations(),
            suggestions_are_all: true,
            meta: BTreeMap::from([(PARAMETERS.to_owned(), parameters)]),
            ..StateChange::default()
        };
        self.commit(change).await.map(drop)
    }

    /// Other rules from now on. Portions under way were evaluated with those before, and say so; a correlation rule
    /// that stays as it was keeps its state.
    pub(crate) fn set_rules(&mut self, rules: Arc<RuleSet>) {
        self.rules = rules;
    }

    /// Where reading goes on.
    pub(crate) fn positions(&self) -> &Positions {
        &self.positions
    }

    /// A partition that will be read: event time waits for it.
    pub(crate) fn expect(&mut self, partition: &(Arc<str>, i32)) {
        self.watermarks.expect(&name(partition));
    }

    /// A partition that is read to its end, or by somebody else from now on.
    pub(crate) fn finished(&mut self, partition: &(Arc<str>, i32)) {
        self.watermarks.forget(&name(partition));
    }

    /// A partition that has had nothing new for a while no longer holds event time back.
    pub(crate) fn idle(&mut self, partition: &(Arc<str>, i32)) {
        self.watermarks.idle(&name(partition));
    }

    /// One portion of the log through every stage.
    pub(crate) async fn process(&mut self, detected: Detected, now: Time) -> anyhow::Result<()> {
        self.account(&detected);
        for (partition, progress) in &detected.progress {
            self.positions.insert(partition.clone(), progress.next_offset);
            if let Some(time) = progress.time_max {
                let kinds = progress.kinds.iter().map(|(kind, lateness_us)| (kind.as_ref(), *lateness_us));
                self.watermarks.advance(&name(partition), time, kinds);
            }
        }
        self.count(&detected);
        for batch in &detected.batches {
            self.correlator.observe(batch);
        }
        let excepted = self.exceptions.merge(&detected.excepted);
        let mut change = StateChange {
            dead_letters: detected.dead.into_iter().map(dead_letter).collect(),
            exceptions: excepted.into_iter().map(exception_row).collect(),
            ..StateChange::default()
        };
        let passed = self.suppressions.observe(&detected.rules, detected.alerts, detected.suppression_keys);
        self.tell(passed, &mut change);
        let told = self.windows.observe(&detected.rules, detected.observations);
        self.complete(&detected.rules, told, &mut change);
        self.pass(&self.watermarks.watermarks(), change, now).await?;
        self.is_ahead = true;
        self.waiting.push(&detected.batches)?;
        if self.must_save() {
            self.save().await?;
        }
        Ok(())
    }

    /// Whether enough rows wait: not as long as others are on their way into the lake, unless twice as many do.
    fn must_save(&self) -> bool {
        let is_under_way = self.in_flight.as_ref().is_some_and(|task| !task.is_finished());
        let room = 1 + usize::from(is_under_way);
        self.waiting.rows() >= self.limits.rows_max.saturating_mul(room)
            || self.waiting.bytes() >= self.limits.bytes_max.saturating_mul(room)
    }

    /// Enters what the rules are told into the ledger.
    fn account(&mut self, detected: &Detected) {
        let watermarks = self.watermarks.watermarks();
        for batch in &detected.batches {
            let Watermark(passed) = watermarks.of(&batch.meta.source);
            let mut hours: BTreeMap<i64, RuleCounts> = BTreeMap::new();
            for row in 0..batch.len() {
                let time = batch.time(row);
                let counts = hours.entry(Completeness::hour(time)).or_default();
                counts.evaluated += 1;
                counts.late += u64::from(time <= passed);
            }
            let rules = detected.rules.applied_to(batch);
            for (hour, counts) in hours {
                let counts = rules.iter().map(|rule| (&rule.reference.id, counts));
                self.completeness.observe(&batch.meta.tenant, hour, counts);
            }
        }
        for observation in &detected.observations {
            let Some((rule, span_us)) = detected.rules.watched_by(observation) else { continue };
            let Watermark(passed) = self.windows.watermark(&detected.rules, observation);
            let time = observation.time();
            let is_dropped = time < passed.plus_micros(span_us.saturating_neg());
            let counts = RuleCounts {
                evaluated: u64::from(!is_dropped),
                late: u64::from(!is_dropped && time <= passed),
                dropped: u64::from(is_dropped),
                ..RuleCounts::default()
            };
            let hour = Completeness::hour(time);
            self.completeness.observe(observation.tenant(), hour, [(&rule.reference.id, counts)]);
        }
    }

    fn count(&mut self, detected: &Detected) {
        let counts = &detected.counts;
        let totals = [
            ("records", counts.records),
            ("rows", counts.rows),
            ("dead_letters", detected.dead.len() as u64),
            ("misfits", counts.misfits),
        ];
        for (name, n) in totals {
            *self.counts.entry(name.to_owned()).or_default() += i64::try_from(n).unwrap_or(i64::MAX);
        }
        metrics::counter!("asterism_dead_letters_total").increment(detected.dead.len() as u64);
    }

    /// Event time has ended (files), or moved on without records (idle partitions).
    pub(crate) async fn advance(&mut self, watermark: Option<Watermark>, now: Time) -> anyhow::Result<()> {
        let watermarks = watermark.map_or_else(|| self.watermarks.watermarks(), Watermarks::from);
        self.pass(&watermarks, StateChange::default(), now).await?;
        let deltas = self.correlator.rest();
        self.tell_incidents(StateChange::default(), deltas, now).await
    }

    /// Event time comes to `watermarks`. Correlation rules come first: what they seal is in time for the correlator.
    async fn pass(
        &mut self,
        watermarks: &Watermarks,
        mut change: StateChange,
        now: Time,
    ) -> anyhow::Result<()> {
        let rules = Arc::clone(&self.rules);
        let told = self.windows.advance(&rules, watermarks);
        self.complete(&rules, told, &mut change);
        let sealed = self.suppressions.advance(watermarks.all());
        self.tell(sealed, &mut change);
        self.completeness.advance(watermarks.all());
        let deltas = self.correlator.advance(watermarks.clone());
        change.risks = self.correlator.risk_changes();
        self.tell_incidents(change, deltas, now).await
    }

    /// Stores what changed in and between incidents, and responds to it.
    async fn tell_incidents(
        &mut self,
        mut change: StateChange,
        deltas: Vec<IncidentDelta>,
        now: Time,
    ) -> anyhow::Result<()> {
        change.deltas.clone_from(&deltas);
        change.relations = self.correlator.take_relations();
        let committed = self.commit(change).await?;
        self.respond(&deltas, &committed, now).await
    }

    /// What correlation rules say goes the way of alerts.
    fn complete(&mut self, rules: &RuleSet, told: Vec<CorrelationChange>, change: &mut StateChange) {
        metrics::counter!("asterism_correlation_changes_total").increment(told.len() as u64);
        for change in &told {
            let CorrelationChange::Retracted { tenant, rule, time, .. } = change else { continue };
            let counts = RuleCounts { recomputed: 1, ..RuleCounts::default() };
            self.completeness.observe(tenant, Completeness::hour(*time), [(rule, counts)]);
        }
        let passed = self.suppressions.observe_correlations(rules, told);
        self.tell(passed, change);
    }

    /// What suppression lets pass goes to the correlator and the store; what it takes back leaves both.
    fn tell(&mut self, changes: Vec<SuppressionChange>, change: &mut StateChange) {
        for told in changes {
            match told {
                SuppressionChange::Passed(alert) => {
                    change.alerts.push(alert.clone());
                    self.correlator.push([alert]);
                }
                SuppressionChange::Retracted { tenant, alert, in_place, .. } => {
                    self.correlator.withdraw(&tenant, &alert, in_place);
                    change.alerts.retain(|a| a.id != alert || a.tenant != tenant);
                    change.withdrawn.push((tenant, alert));
                }
                // Counted in the row of its window.
                SuppressionChange::Suppressed { .. } => {}
                SuppressionChange::Running { tenant, rule_id, key, windows } => {
                    let of = RunningOf::Key { tenant, rule: rule_id.to_string(), key: texts(&key) };
                    let rows = windows.into_iter().map(suppression_row).collect();
                    change.running_suppressions.push(RunningSuppressions { of, rows });
                }
                SuppressionChange::Closed(window) => change.suppressions.push(suppression_row(window)),
            }
        }
    }

    /// Asks the response rules about every incident that changed. What was decided for incidents that became part of
    /// others follows them first: the same must not be asked for again.
    async fn respond(
        &mut self,
        deltas: &[IncidentDelta],
        committed: &Committed,
        now: Time,
    ) -> anyhow::Result<()> {
        let merged = deltas.iter().filter_map(|delta| match delta {
            IncidentDelta::Merged { from, incident } => Some((from, &incident.id)),
            _ => None,
        });
        let mut changes = Vec::new();
        for (from, to) in merged.chain(committed.redirects.iter().map(|(from, to)| (from, to))) {
            changes.extend(self.responder.on_merged(from, to, now));
        }
        for delta in deltas {
            let incident = delta.incident();
            let alerts = || self.stores.state.alerts_of(&incident.tenant, &incident.id);
            changes.extend(self.responder.on_incident(incident, alerts, now)?);
        }
        metrics::counter!("asterism_incident_changes_total").increment(deltas.len() as u64);
        self.commit_actions(changes).await?;
        self.lease(now).await
    }

    /// Time passes for approvals, leases and effects.
    pub(crate) async fn tick(&mut self, now: Time) -> anyhow::Result<()> {
        let changes = self.responder.tick(now);
        self.commit_actions(changes).await?;
        self.lease(now).await?;
        self.gauges();
        Ok(())
    }

    fn gauges(&self) {
        metrics::gauge!("asterism_lake_buffered_rows").set(self.waiting.rows() as f64);
        metrics::gauge!("asterism_lake_buffered_bytes").set(self.waiting.bytes() as f64);
        metrics::gauge!("asterism_shelf_bytes").set(self.stores.shelf.used() as f64);
        meters::windows(self.windows.counts(), self.windows.groups());
        meters::suppressions(self.suppressions.counts(), self.suppressions.keys());
        meters::correlator(&self.correlator.stats());
        meters::completeness(&self.completeness);
        meters::response(self.responder.counts(), self.responder.open());
        let Watermark(time) = self.watermarks.watermarks().all();
        metrics::gauge!("asterism_watermark_seconds").set(time.micros() as f64 / 1e6);
    }

    /// What executors may do now; its intent is on disk when this returns. Without an executor commands wait.
    async fn lease(&mut self, now: Time) -> anyhow::Result<()> {
        while self.executes
            && let Some(leased) = self.responder.next_work_of(now, |a| !is_among(a, &self.pulled))
        {
            self.commit_actions(leased.changes).await?;
            self.work.push(leased.work);
        }
        Ok(())
    }

    /// A step for a playbook that does these verbs, or any that playbooks do where none is named. Its intent is on disk
    /// when this returns.
    pub(crate) async fn lease_out(
        &mut self,
        tenant: &TenantId,
        verbs: &BTreeSet<Verb>,
        seal: Seal,
        now: Time,
    ) -> anyhow::Result<Option<Work>> {
        let pulled = &self.pulled;
        let takes = |a: &Action| {
            a.tenant == *tenant && is_among(a, pulled) && (verbs.is_empty() || is_among(a, verbs))
        };
        let Some(leased) = self.responder.next_work_outside(now, seal, takes) else { return Ok(None) };
        self.commit_actions(leased.changes).await?;
        Ok(Some(leased.work))
    }

    /// A playbook is still at its step; until when it has it now.
    pub(crate) fn heartbeat(
        &mut self,
        action: &ActionId,
        (fence, seal): (u64, Seal),
        now: Time,
    ) -> Result<Time, InputError> {
        self.responder.heartbeat(action, fence, seal, now).map_err(refused)
    }

    /// A playbook's word on its step.
    pub(crate) async fn report_of_playbook(
        &mut self,
        report: Report,
        seal: Seal,
        now: Time,
    ) -> Result<(), InputError> {
        let changes = self.responder.report_outside(report, seal, now).map_err(refused)?;
        self.commit_actions(changes).await.map_err(InputError::Failed)?;
        self.lease(now).await.map_err(InputError::Failed)
    }

    /// The steps that are ready to go out.
    pub(crate) fn take_work(&mut self) -> Vec<Work> {
        std::mem::take(&mut self.work)
    }

    /// An executor's word on a step.
    pub(crate) async fn report(&mut self, report: Report, now: Time) -> anyhow::Result<()> {
        match self.responder.report(report, now) {
            Ok(changes) => self.commit_actions(changes).await?,
            // Counted by the responder; whoever has the lease now finds out by probing.
            Err(stale) => tracing::warn!("{stale}"),
        }
        self.lease(now).await
    }

    async fn commit_actions(&mut self, changes: Vec<ActionChange>) -> anyhow::Result<()> {
        let mut change = StateChange::default();
        for action_change in changes {
            meters::action(&action_change.action);
            tracing::info!(
                "{} {} on {}: {}",
                action_change.action.id,
                action_change.action.verb,
                action_change.action.target.entity.value,
                action_change.action.state.as_str()
            );
            change.audit.push(audit_row(&action_change.audit)?);
            change.actions.push(action_change.action);
            change.effects.extend(action_change.effect);
        }
        self.commit(change).await.map(drop)
    }

    async fn commit(&mut self, change: StateChange) -> anyhow::Result<Committed> {
        if change.is_empty() {
            return Ok(Committed::default());
        }
        Ok(self.stores.state.commit(change).await?)
    }

    /// What a person says about an incident or an action. Stored first, so that a restart says it again.
    pub(crate) async fn input(&mut self, input: Input, now: Time) -> Result<(), InputError> {
        match input {
            Input::Analyst { inputs, only_at } => {
                // Nothing else is applied between this look and the change.
                if let Some(OnlyAt { tenant, incident, version }) = only_at {
                    let stored = self.stores.state.incident(&tenant, &incident);
                    let stored = stored.map_err(|e| InputError::Failed(e.into()))?;
                    if let Some(changed) = stored.map(|i| i.version).filter(|now| *now != version) {
                        return Err(InputError::Changed(changed));
                    }
                }
                for input in inputs {
                    self.analyst(input, now).await?;
                }
                Ok(())
            }
        }
    }

    /// What a person decides about actions: done, or only said in a dry run.
    pub(crate) async fn decide(&mut self, decision: Decision, now: Time) -> Result<Decided, InputError> {
        let incidents: BTreeSet<IncidentId> = match &decision.about {
            About::Pause(connector, on) => {
                return self.pause(connector.as_deref(), *on, &decision, now).await;
            }
            About::Incident(incident) => BTreeSet::from([incident.clone()]),
            About::Action(id, _) => self.incidents_of(std::slice::from_ref(id)),
            About::Actions(ids, _) => self.incidents_of(ids),
        };
        let say = |responder: &mut Responder| said(responder, &decision, now);
        if decision.dry_run {
            return self.responder.rehearse(&incidents, say);
        }
        let decided = say(&mut self.responder)?;
        self.commit_actions(decided.changes.clone()).await.map_err(InputError::Failed)?;
        self.lease(now).await.map_err(InputError::Failed)?;
        Ok(decided)
    }

    fn incidents_of(&self, actions: &[ActionId]) -> BTreeSet<IncidentId> {
        let actions = actions.iter().filter_map(|id| self.responder.action(id));
        actions.map(|action| action.incident.clone()).collect()
    }

    /// A person stops every new effect, or those of one connector, or lets them come about again; so it stays over restarts.
    async fn pause(
        &mut self,
        connector: Option<&str>,
        on: bool,
        decision: &Decision,
        now: Time,
    ) -> Result<Decided, InputError> {
        let is_on = match connector {
            None => self.kill_switch,
            Some(connector) => self.stopped.contains(connector),
        };
        if is_on && !on {
            let setting = if connector.is_some() { "stopped.connectors" } else { "kill_switch" };
            let why = format!("respond.policy.{setting} stops it in the configuration: change that there");
            return Err(InputError::Refused(why));
        }
        if decision.dry_run {
            return Ok(Decided::default());
        }
        let Decision { by, comment, .. } = decision;
        let policy = self.responder.policy();
        let is_so = match connector {
            None => policy.kill_switch,
            Some(connector) => policy.stopped.connectors.contains(connector),
        };
        if is_so == on {
            return match connector {
                Some(connector) => self.known_connector(connector).map(|()| Decided::default()),
                None => Ok(Decided::default()),
            };
        }
        let (entry, meta) = match connector {
            None => {
                let entry = self.responder.set_kill_switch(on, by, comment, now);
                (entry, (PAUSED.to_owned(), on.to_string()))
            }
            Some(connector) => {
                let entry = self.responder.stop_connector(connector, on, by, comment, now);
                let entry = entry.map_err(|e| InputError::Unknown(e.to_string()))?;
                let paused = &self.responder.policy().stopped.connectors - &self.stopped;
                let list = serde_json::to_string(&paused).map_err(|e| InputError::Failed(e.into()))?;
                (entry, (PAUSED_CONNECTORS.to_owned(), list))
            }
        };
        let change = StateChange {
            audit: vec![audit_row(&entry).map_err(InputError::Failed)?],
            meta: BTreeMap::from([meta]),
            ..StateChange::default()
        };
        self.commit(change).await.map_err(InputError::Failed)?;
        self.lease(now).await.map_err(InputError::Failed)?;
        Ok(Decided::default())
    }

    fn known_connector(&self, connector: &str) -> Result<(), InputError> {
        match self.providers.iter().any(|capability| capability.provider == connector) {
            true => Ok(()),
            false => Err(InputError::Unknown(format!("there is no connector {connector:?}"))),
        }
    }

    /// What providers and playbooks can do, and which of them are stopped.
    pub(crate) fn connectors(&self) -> Vec<(Capability, bool)> {
        let stopped = &self.responder.policy().stopped.connectors;
        let providers = self.providers.iter();
        providers.map(|capability| (capability.clone(), stopped.contains(&capability.provider))).collect()
    }

    async fn analyst(&mut self, input: AnalystInput, now: Time) -> Result<(), InputError> {
        let record = audit_record(&input, now);
        let (recorded, deltas) = match self.correlator.apply(input.clone()) {
            Ok((recorded, deltas)) => (Some(recorded), deltas),
            Err(CorrelateError::UnknownIncident(id)) => (None, vec![self.edit_stored(&input, &id)?]),
            Err(error) => return Err(InputError::Refused(error.to_string())),
        };
        // What cannot be stored from here on stops the engine, so no link of the chain is lost.
        let audit = audit_row(&self.responder.note(record)).map_err(InputError::Failed)?;
        let stored: Result<Vec<StoredInput>, _> = recorded.iter().map(stored).collect();
        let change = StateChange {
            analyst_inputs: stored.map_err(|e| InputError::Failed(e.into()))?,
            deltas: deltas.clone(),
            relations: self.correlator.take_relations(),
            audit: vec![audit],
            ..StateChange::default()
        };
        let committed = self.stores.state.commit(change).await.map_err(|e| InputError::Failed(e.into()))?;
        self.inputs_seq = committed.inputs_seq;
        self.respond(&deltas, &committed, now).await.map_err(InputError::Failed)
    }

    /// An incident that is older than what the correlator holds is changed where it is stored: nothing joins it any
    /// more, so nothing needs to know.
    fn edit_stored(&self, input: &AnalystInput, id: &IncidentId) -> Result<IncidentDelta, InputError> {
        let found =
            self.stores.state.incident(&input.tenant, id).map_err(|e| InputError::Failed(e.into()))?;
        let mut incident = found.ok_or_else(|| InputError::Refused(format!("no incident {id}")))?;
        match &input.said {
            Said::Assign { assignee, .. } => incident.assignee.clone_from(assignee),
            Said::SetStatus { status, .. } => incident.status = *status,
            Said::Classify { classification, .. } => incident.classification.clone_from(classification),
            _ => {
                let why = format!(
                    "{id} is older than what is correlated: it can be assigned, classified and closed"
                );
                return Err(InputError::Refused(why));
            }
        }
        incident.version += 1;
        Ok(IncidentDelta::Updated { incident: Arc::new(incident), added: Vec::new() })
    }

    pub(crate) fn inputs(&self, incident: &IncidentId) -> Vec<(AnalystInput, bool)> {
        self.correlator.inputs_about(incident)
    }

    pub(crate) fn find_input(&self, tenant: &TenantId, id: &InputId) -> Option<(AnalystInput, bool)> {
        self.correlator.input(tenant, id)
    }

    /// What correlation rules took in, and what they did not.
    pub(crate) fn window_counts(&self) -> WindowCounts {
        self.windows.counts()
    }

    /// Which alerts others stood for.
    pub(crate) fn suppression_counts(&self) -> SuppressionCounts {
        self.suppressions.counts()
    }

    pub(crate) fn graph(
        &self,
        incident: &IncidentId,
        between: Option<(&str, &str)>,
    ) -> Result<IncidentGraph, CorrelateError> {
        self.correlator.graph(incident, between)
    }

    pub(crate) fn explain(
        &self,
        incident: &IncidentId,
        pair: Option<&(AlertId, AlertId)>,
    ) -> Vec<Explanation> {
        let incident = self.correlator.incident(incident);
        incident.map_or_else(Vec::new, |incident| explain(&self.correlator, &incident, pair))
    }

    /// Starts to bring the rows that wait into the lake; with them the state, if it is long ago that it was written, which
    /// is what it returns.
    pub(crate) async fn save(&mut self) -> anyhow::Result<bool> {
        let (at, took) = self.state_written;
        if at.elapsed() >= took * STATE_SHARE {
            self.checkpoint().await?;
            return Ok(true);
        }
        self.settle().await?;
        self.write(None)?;
        Ok(false)
    }

    /// Starts a checkpoint: the rows that wait, and the correlation state.
    pub(crate) async fn checkpoint(&mut self) -> anyhow::Result<()> {
        self.settle().await?;
        let begun = Instant::now();
        self.windows.retain(&self.rules);
        self.exceptions.retain(&self.rules);
        let completeness = self.completeness.take_changes();
        let snapshot = self.snapshot()?;
        let change = StateChange {
            completeness: completeness.into_iter().map(completeness_row).collect(),
            snapshot: Some(snapshot),
            counters: self.counts.clone(),
            ..StateChange::default()
        };
        self.state_written = (Instant::now(), begun.elapsed());
        metrics::histogram!("asterism_state_write_seconds").record(begun.elapsed().as_secs_f64());
        self.is_ahead = false;
        self.write(Some(change))
    }

    fn snapshot(&self) -> Result<Snapshot<Spool>, storage::StorageError> {
        let spool = |pieces: Pieces| {
            self.stores.state.spool(|out| pieces.iter().try_for_each(|piece| out.write_all(piece)))
        };
        Ok(Snapshot {
            correlator: self.stores.state.spool(|out| self.correlator.write_snapshot(out))?,
            windows: self.stores.state.spool(|out| self.windows.write_snapshot(out))?,
            suppressions: spool(self.suppressions.snapshot())?,
            exceptions: spool(self.exceptions.snapshot())?,
            completeness: spool(self.completeness.snapshot())?,
            positions: self.positions.clone(),
            inputs_seq: self.inputs_seq,
        })
    }

    /// Brings the rows that wait into the lake beside whatever comes next, and then writes the state, if there is one. What
    /// was under way before must have settled: the disk sets the pace.
    fn write(&mut self, state: Option<StateChange>) -> anyhow::Result<()> {
        let waiting = self.waiting.take();
        let mut writer = self.writer.take().context("bug: the lake's writer is away")?;
        let db = self.stores.state.clone();
        self.in_flight = Some(tokio::spawn(async move {
            writer.write(waiting).await?;
            if let Some(state) = state {
                db.commit(state).await?;
            }
            Ok(writer)
        }));
        Ok(())
    }

    /// Waits until what is under way has come to its end: a checkpoint is on disk then.
    pub(crate) async fn settle(&mut self) -> anyhow::Result<()> {
        if let Some(task) = self.in_flight.take() {
            let writer = task.await.context("bug: the checkpoint panicked")?;
            let writer = writer.context("cannot write rows and state")?;
            self.writer = Some(writer);
        }
        Ok(())
    }

    /// As [`Pipeline::settle`], if what was under way has come to its end: a failure is told when it happens, and not
    /// when the next write would begin.
    pub(crate) async fn settle_if_done(&mut self) -> anyhow::Result<()> {
        match &self.in_flight {
            Some(task) if task.is_finished() => self.settle().await,
            _ => Ok(()),
        }
    }

    /// Whether there is anything that a checkpoint would add.
    pub(crate) fn has_news(&self) -> bool {
        self.is_ahead
    }
}

/// What can be done here, in the order in which it is asked for: playbooks come first, since no provider is asked for what
/// they do.
fn capabilities(providers: Option<Vec<Capability>>, pulled: &BTreeSet<Verb>) -> Vec<Capability> {
    let playbooks = (!pulled.is_empty()).then(|| Capability::whole(PLAYBOOKS, pulled.iter().copied()));
    playbooks.into_iter().chain(providers.into_iter().flatten()).collect()
}

fn paused_connectors(state: &StateDb) -> anyhow::Result<BTreeSet<String>> {
    match state.meta(PAUSED_CONNECTORS)? {
        Some(list) => serde_json::from_str(&list).context("the stored list of paused connectors"),
        None => Ok(BTreeSet::new()),
    }
}

/// Why a word on an action had no effect.
fn refused(error: RespondError) -> InputError {
    let text = error.to_string();
    match error {
        RespondError::Callback { fault: CallbackFault::Forged, .. } => InputError::Forbidden(text),
        _ => InputError::Refused(text),
    }
}

fn said(responder: &mut Responder, decision: &Decision, now: Time) -> Result<Decided, InputError> {
    let Decision { about, by, comment, .. } = decision;
    let mut on_action = |id: &ActionId, verdict: Verdict| match verdict {
        Verdict::Approve => responder.approve(id, by, comment, now),
        Verdict::Reject => responder.reject(id, by, comment, now),
        Verdict::Cancel => responder.cancel(id, by, comment, now),
        Verdict::Undo => responder.undo(id, by, comment, now),
    };
    match about {
        About::Pause(..) => Ok(Decided::default()),
        About::Action(id, verdict) => {
            let changes = on_action(id, *verdict).map_err(refused)?;
            Ok(Decided { changes, ..Decided::default() })
        }
        About::Actions(ids, verdict) => {
            let each: Vec<_> =
                ids.iter().map(|id| on_action(id, *verdict).map_err(|e| e.to_string())).collect();
            let changes = each.iter().flatten().flatten().cloned().collect();
            Ok(Decided { changes, each, ..Decided::default() })
        }
        About::Incident(incident) => {
            let (changes, left) = responder.roll_back(incident, by, comment, now);
            let left = left.iter().map(ToString::to_string).collect();
            Ok(Decided { changes, left, ..Decided::default() })
        }
    }
}

/// The id of an input is its own: one that is stored twice is stored once.
fn stored(input: &AnalystInput) -> Result<StoredInput, serde_json::Error> {
    let (tenant, id) = (input.tenant.clone(), input.id().to_string());
    Ok(StoredInput { seq: 0, tenant, id, at: input.at, body: serde_json::to_string(input)? })
}

fn completeness_row(interval: RuleInterval) -> CompletenessRow {
    CompletenessRow {
        tenant: interval.tenant,
        rule: interval.rule.to_string(),
        start: interval.start,
        evaluated: interval.counts.evaluated,
        late: interval.counts.late,
        recomputed: interval.counts.recomputed,
        dropped: interval.counts.dropped,
        is_complete: interval.is_complete,
    }
}

fn suppression_row(window: Suppression) -> SuppressionRow {
    SuppressionRow {
        tenant: window.tenant,
        rule: window.rule_id.to_string(),
        alert: window.by,
        key: texts(&window.key),
        window_start: window.window_start,
        window_end: window.window_end,
        first: window.first,
        last: window.last,
        count: window.count,
        samples: window.samples,
    }
}

/// Names and values of a key, as the store has them.
fn texts(key: &[(Arc<str>, Arc<str>)]) -> Vec<(String, String)> {
    key.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn exception_row(tally: ExceptionTally) -> ExceptionRow {
    ExceptionRow {
        tenant: tally.tenant,
        exception: tally.exception.to_string(),
        rule: tally.rule_id.to_string(),
        owner: tally.owner,
        reason: tally.reason,
        expires: tally.expires,
        count: tally.count,
        first: tally.first,
        last: tally.last,
    }
}

/// Whether an action's verb is one of these.
fn is_among(action: &Action, verbs: &BTreeSet<Verb>) -> bool {
    Verb::from_name(&action.verb).is_some_and(|verb| verbs.contains(&verb))
}

/// The name of a partition among the watermarks.
fn name((topic, partition): &(Arc<str>, i32)) -> String {
    format!("{topic}/{partition}")
}

/// The explanation of two alerts, or of the joins of the incident.
pub(crate) fn explain(
    correlator: &Correlator,
    incident: &Incident,
    pair: Option<&(AlertId, AlertId)>,
) -> Vec<Explanation> {
    match pair {
        Some((a, b)) => correlator.explain(a, b).into_iter().collect(),
        None => correlator.explain_joins(incident),
    }
}

fn dead_letter((tenant, letter): (TenantId, DeadLetter)) -> DeadLetterRow {
    DeadLetterRow {
        tenant,
        record: letter.record,
        reason: letter.reason.code().to_owned(),
        message: letter.reason.to_string(),
        payload: letter.payload.to_vec(),
        ingest_time: letter.ingest_time,
    }
}

fn audit_row(entry: &AuditEntry) -> anyhow::Result<AuditRow> {
    Ok(AuditRow {
        tenant: entry.record.tenant.clone(),
        seq: i64::try_from(entry.sequence)?,
        at: entry.record.at,
        kind: entry.record.kind.clone(),
        subject: entry.record.subject.clone(),
        hash: entry.hash.clone(),
        body: serde_json::to_string(entry)?,
    })
}
