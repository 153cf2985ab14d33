//! The daemon's loop: sources, ticks, what people say, orderly stop.
//!
//! An intake task per source polls, decodes and detects; it hands portions to the one core task through a bounded
//! channel, so a slow store slows the sources down. The core task owns everything that has state.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use correlate::{AnalystInput, CorrelateError};
use event::{ActionId, AlertId, Explanation, IncidentGraph, IncidentId, InputId, TenantId, Time};
use ingest::{DeadLetter, DeadLetterSink, PollBudget, Positions, Source, TopicPartition};
use respond::{ActionChange, Capability, Report, Seal, Verb, Work};
use rules::RuleSet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::detection::{Detected, Detector};
use super::executor::Providers;
use super::pipeline::Pipeline;
use crate::command::now;

/// Portions between intake and core: enough to overlap them, little enough to hold.
const PORTIONS: usize = 2;
/// Steps and reports between core and executor.
const STEPS: usize = 256;
/// What people say, waiting for the core.
const INPUTS: usize = 64;
/// Time passes for approvals, leases and effects at this pace.
const TICK: Duration = Duration::from_millis(200);

/// What a person decides about an action.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Let it run
    Approve,
    /// Refuse it for good
    Reject,
    /// Stop it before it is done
    Cancel,
    /// Take it back
    Undo,
}

/// What a person says.
#[derive(Debug)]
pub(crate) enum Input {
    /// About an incident: what is said at once.
    Analyst { inputs: Vec<AnalystInput>, only_at: Option<OnlyAt> },
}

/// What a person wants done about actions.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) about: About,
    pub(crate) by: String,
    pub(crate) comment: String,
    /// Nothing is done: what would be is told.
    pub(crate) dry_run: bool,
}

/// About what a person decides.
#[derive(Debug)]
pub(crate) enum About {
    Action(ActionId, Verdict),
    /// The same about several, one after the other; what one is refused the others are not.
    Actions(Vec<ActionId>, Verdict),
    /// All that was done about an incident is taken back.
    Incident(IncidentId),
    /// Nothing new is brought about, at all or through one connector, as long as this is so; what holds can still be taken
    /// back.
    Pause(Option<String>, bool),
}

/// What came of a decision, or would.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    pub(crate) changes: Vec<ActionChange>,
    /// What stays as it is, and why.
    pub(crate) left: Vec<String>,
    /// Of several actions: what came of each, or why it was refused.
    pub(crate) each: Vec<Result<Vec<ActionChange>, String>>,
}

/// The version of an incident that an input is meant for.
#[derive(Debug)]
pub(crate) struct OnlyAt {
    pub(crate) tenant: TenantId,
    pub(crate) incident: IncidentId,
    pub(crate) version: u64,
}

/// Why an input had no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// It does not fit the state of things.
    #[error("{0}")]
    Refused(String),
    /// Whoever says it may not.
    #[error("{0}")]
    Forbidden(String),
    /// It names what is not there.
    #[error("{0}")]
    Unknown(String),
    /// It is meant for another version of the incident.
    #[error("the incident is at version {0} now: read it again")]
    Changed(u64),
    /// It could not be stored; the engine stops.
    #[error("{0:#}")]
    Failed(anyhow::Error),
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

enum Request {
    Tell(Input, oneshot::Sender<Result<(), InputError>>),
    Decide(Decision, oneshot::Sender<Result<Decided, InputError>>),
    Graph(IncidentId, Option<(String, String)>, oneshot::Sender<Result<IncidentGraph, InputError>>),
    Explain(IncidentId, Option<(AlertId, AlertId)>, oneshot::Sender<Vec<Explanation>>),
    Inputs(IncidentId, oneshot::Sender<Vec<(AnalystInput, bool)>>),
    FindInput(TenantId, InputId, oneshot::Sender<Option<(AnalystInput, bool)>>),
    Lease(TenantId, BTreeSet<Verb>, Seal, oneshot::Sender<Option<Work>>),
    Heartbeat(ActionId, (u64, Seal), oneshot::Sender<Result<Time, InputError>>),
    Report(Report, Seal, oneshot::Sender<Result<(), InputError>>),
    Connectors(oneshot::Sender<Vec<(Capability, bool)>>),
}

/// The API's way to the core.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    requests: mpsc::Sender<Request>,
}

impl EngineHandle {
    /// Hands an input to the core; it is durable when this returns.
    pub(crate) async fn tell(&self, input: Input) -> Result<(), InputError> {
        self.ask(|reply| Request::Tell(input, reply)).await?
    }

    /// Hands a decision on actions to the core; what it changed is durable when this returns.
    pub(crate) async fn decide(&self, decision: Decision) -> Result<Decided, InputError> {
        self.ask(|reply| Request::Decide(decision, reply)).await?
    }

    /// The graph of an incident, with the shortest path between two of its nodes where two are named.
    pub(crate) async fn graph(
        &self,
        incident: IncidentId,
        between: Option<(String, String)>,
    ) -> Result<IncidentGraph, InputError> {
        self.ask(|reply| Request::Graph(incident, between, reply)).await?
    }

    pub(crate) async fn explain(
        &self,
        incident: IncidentId,
        pair: Option<(AlertId, AlertId)>,
    ) -> Result<Vec<Explanation>, InputError> {
        self.ask(|reply| Request::Explain(incident, pair, reply)).await
    }

    /// What analysts said of an incident, in order, and whether it is undone.
    pub(crate) async fn inputs(&self, incident: IncidentId) -> Result<Vec<(AnalystInput, bool)>, InputError> {
        self.ask(|reply| Request::Inputs(incident, reply)).await
    }

    /// One input of an analyst, as long as the engine holds it, and whether it is undone.
    pub(crate) async fn find_input(
        &self,
        tenant: TenantId,
        id: InputId,
    ) -> Result<Option<(AnalystInput, bool)>, InputError> {
        self.ask(|reply| Request::FindInput(tenant, id, reply)).await
    }

    /// A step for a playbook, if one waits that does one of these verbs; of any verb where none is named. Whoever has the
    /// token of the seal may report on it.
    pub(crate) async fn lease(
        &self,
        tenant: TenantId,
        verbs: BTreeSet<Verb>,
        seal: Seal,
    ) -> Result<Option<Work>, InputError> {
        self.ask(|reply| Request::Lease(tenant, verbs, seal, reply)).await
    }

    /// Prolongs a lease; until when it lasts.
    pub(crate) async fn heartbeat(
        &self,
        action: ActionId,
        fence: u64,
        seal: Seal,
    ) -> Result<Time, InputError> {
        self.ask(|reply| Request::Heartbeat(action, (fence, seal), reply)).await?
    }

    /// A playbook's word on its step; it is durable when this returns.
    pub(crate) async fn report(&self, report: Report, seal: Seal) -> Result<(), InputError> {
        self.ask(|reply| Request::Report(report, seal, reply)).await?
    }

    /// What providers and playbooks can do, and which of them are stopped.
    pub(crate) async fn connectors(&self) -> Result<Vec<(Capability, bool)>, InputError> {
        self.ask(Request::Connectors).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, InputError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| InputError::Stopped)?;
        answer.await.map_err(|_| InputError::Stopped)
    }

    /// Whether the core still runs.
    pub(crate) fn is_alive(&self) -> bool {
        !self.requests.is_closed()
    }
}

/// A source with the decoder and rules for its records.
pub(crate) struct SourceWithDetector {
    pub(crate) source: Box<dyn Source>,
    pub(crate) detector: Detector,
    /// Where records that cannot be decoded go besides the state database.
    pub(crate) dead_letters: Option<DeadLetterSink>,
}

/// Pace and limits of the loop.
pub(crate) struct EngineOptions {
    pub(crate) budget: PollBudget,
    pub(crate) checkpoint: Duration,
    pub(crate) idle_partition: Duration,
}

/// The engine, ready to run.
pub(crate) struct Engine {
    pipeline: Pipeline,
    sources: Vec<SourceWithDetector>,
    providers: Option<Providers>,
    options: EngineOptions,
    requests: mpsc::Receiver<Request>,
    rules: watch::Receiver<Arc<RuleSet>>,
}

impl Engine {
    /// `rules` brings other rules while the engine runs.
    pub(crate) fn new(
        pipeline: Pipeline,
        sources: Vec<SourceWithDetector>,
        providers: Option<Providers>,
        options: EngineOptions,
        rules: watch::Receiver<Arc<RuleSet>>,
    ) -> (Self, EngineHandle) {
        let (sender, requests) = mpsc::channel(INPUTS);
        (Self { pipeline, sources, providers, options, requests, rules }, EngineHandle { requests: sender })
    }

    /// Runs until `stopping` is cancelled, then takes a last checkpoint.
    ///
    /// # Errors
    /// Where a source or a store fails in a way that retrying cannot heal; what was acknowledged is on disk.
    pub(crate) async fn run(self, stopping: CancellationToken) -> anyhow::Result<()> {
        let Engine { mut pipeline, sources, providers, options, requests, rules } = self;
        let (portions_in, portions) = mpsc::channel(PORTIONS);
        let (commits_in, commits) = watch::channel(Positions::new());
        let mut intakes = tokio::task::JoinSet::new();
        for source in sources {
            let intake = Intake {
                source,
                start: pipeline.positions().clone(),
                budget: options.budget,
                portions: portions_in.clone(),
                commits: commits.clone(),
                rules: rules.clone(),
                stopping: stopping.clone(),
            };
            intakes.spawn(intake.run());
        }
        drop(portions_in);
        let (work_in, work) = mpsc::channel(STEPS);
        let (reports_in, reports) = mpsc::channel(STEPS);
        let executor = providers.map(|providers| tokio::spawn(providers.run(work, reports_in)));
        let core = Core {
            pipeline: &mut pipeline,
            portions,
            requests,
            reports,
            work: executor.is_some().then_some(work_in),
            commits: commits_in,
            checkpointed: Positions::new(),
            last_seen: HashMap::new(),
            rules,
            options: &options,
        };
        let outcome = core.run(&stopping).await;
        stopping.cancel();
        while let Some(intake) = intakes.join_next().await {
            intake.context("bug: an intake task panicked")??;
        }
        if let Some(executor) = executor {
            executor.abort();
        }
        outcome?;
        // What was put off until nothing else happens is told now.
        pipeline.advance(None, now()).await?;
        pipeline.checkpoint().await?;
        pipeline.settle().await
    }
}

/// What an intake task hands over.
struct Portion {
    detected: Detected,
    assigned: Vec<TopicPartition>,
    finished: Vec<TopicPartition>,
}

struct Intake {
    source: SourceWithDetector,
    start: Positions,
    budget: PollBudget,
    portions: mpsc::Sender<Portion>,
    commits: watch::Receiver<Positions>,
    rules: watch::Receiver<Arc<RuleSet>>,
    stopping: CancellationToken,
}

impl Intake {
    async fn run(mut self) -> anyhow::Result<()> {
        let SourceWithDetector { source, detector, dead_letters } = &mut self.source;
        source.seek(&self.start).await?;
        loop {
            let polled = tokio::select! {
                () = self.stopping.cancelled() => return Ok(()),
                polled = source.poll(self.budget) => polled?,
            };
            if self.commits.has_changed().unwrap_or(false) {
                let durable = self.commits.borrow_and_update().clone();
                source.commit(&durable).await?;
            }
            for fault in &polled.faults {
                tracing::warn!("{fault}");
            }
            if polled.is_empty() {
                continue;
            }
            if self.rules.has_changed().unwrap_or(false) {
                detector.set_rules(Arc::clone(&self.rules.borrow_and_update()));
            }
            let detected = tokio::task::block_in_place(|| detector.detect(&polled.records, now()));
            if let Some(sink) = dead_letters.as_ref().filter(|_| !detected.dead.is_empty()) {
                let letters: Vec<DeadLetter> =
                    detected.dead.iter().map(|(_, letter)| letter.clone()).collect();
                // The state database has them too: a broker that is away must not stop the engine.
                if let Err(error) = sink.send(&letters).await {
                    tracing::warn!("{} dead letters did not reach their topic: {error}", letters.len());
                }
            }
            let finished = polled.finished.into_iter().chain(polled.revoked).collect();
            let portion = Portion { detected, assigned: polled.assigned, finished };
            if self.portions.send(portion).await.is_err() {
                return Ok(());
            }
        }
    }
}

struct Core<'a> {
    pipeline: &'a mut Pipeline,
    portions: mpsc::Receiver<Portion>,
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Receiver<Report>,
    work: Option<mpsc::Sender<Work>>,
    commits: watch::Sender<Positions>,
    /// Positions of the checkpoint on its way to disk.
    checkpointed: Positions,
    /// When each partition last had records; `None` once it counts as idle.
    last_seen: HashMap<TopicPartition, Option<Instant>>,
    rules: watch::Receiver<Arc<RuleSet>>,
    options: &'a EngineOptions,
}

impl Core<'_> {
    async fn run(mut self, stopping: &CancellationToken) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut checkpoint_at = Instant::now() + self.options.checkpoint;
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                Some(request) = self.requests.recv() => self.answer(request).await?,
                Some(report) = self.reports.recv() => self.pipeline.report(report, now()).await?,
                _ = ticks.tick() => self.tick().await?,
                portion = self.portions.recv() => match portion {
                    Some(portion) => self.take(portion).await?,
                    // Every intake ended, with an error that `Engine::run` reports.
                    None => break,
                },
            }
            self.send_work().await;
            if Instant::now() >= checkpoint_at {
                self.checkpoint().await?;
                checkpoint_at = Instant::now() + self.options.checkpoint;
            }
        }
        Ok(())
    }

    async fn take(&mut self, portion: Portion) -> anyhow::Result<()> {
        for partition in &portion.assigned {
            self.pipeline.expect(partition);
            self.last_seen.insert(partition.clone(), Some(Instant::now()));
        }
        for partition in portion.detected.progress.keys() {
            self.last_seen.insert(partition.clone(), Some(Instant::now()));
        }
        if self.rules.has_changed().unwrap_or(false) {
            self.pipeline.set_rules(Arc::clone(&self.rules.borrow_and_update()));
        }
        self.pipeline.process(portion.detected, now()).await?;
        for partition in &portion.finished {
            self.pipeline.finished(partition);
            self.last_seen.remove(partition);
        }
        Ok(())
    }

    async fn tick(&mut self) -> anyhow::Result<()> {
        self.pipeline.settle_if_done().await?;
        let idle_after = self.options.idle_partition;
        let mut quiet = false;
        for (partition, seen) in &mut self.last_seen {
            if seen.is_some_and(|at| at.elapsed() >= idle_after) {
                self.pipeline.idle(partition);
                *seen = None;
                quiet = true;
            }
        }
        if quiet {
            self.pipeline.advance(None, now()).await?;
        }
        self.pipeline.tick(now()).await
    }

    async fn send_work(&mut self) {
        let work = self.pipeline.take_work();
        let Some(executor) = &self.work else { return };
        for step in work {
            if executor.send(step).await.is_err() {
                tracing::error!("the executor has stopped; commands wait");
                return;
            }
        }
    }

    async fn checkpoint(&mut self) -> anyhow::Result<()> {
        if !self.pipeline.has_news() {
            return Ok(());
        }
        let taken = self.pipeline.positions().clone();
        let has_state = self.pipeline.save().await?;
        // Saving waits for what was saved before, whose positions are durable from here on.
        self.commits.send_replace(self.checkpointed.clone());
        if has_state {
            self.checkpointed = taken;
        }
        Ok(())
    }

    async fn answer(&mut self, request: Request) -> anyhow::Result<()> {
        // A client that went away does not wait for its answer.
        match request {
            Request::Tell(input, reply) => return told(self.pipeline.input(input, now()).await, reply),
            Request::Decide(decision, reply) => {
                return told(self.pipeline.decide(decision, now()).await, reply);
            }
            Request::Lease(tenant, verbs, seal, reply) => {
                drop(reply.send(self.pipeline.lease_out(&tenant, &verbs, seal, now()).await?));
            }
            Request::Heartbeat(action, lease, reply) => {
                drop(reply.send(self.pipeline.heartbeat(&action, lease, now())));
            }
            Request::Report(report, seal, reply) => {
                return told(self.pipeline.report_of_playbook(report, seal, now()).await, reply);
            }
            Request::Connectors(reply) => drop(reply.send(self.pipeline.connectors())),
            Request::Graph(incident, between, reply) => {
                let between = between.as_ref().map(|(a, b)| (a.as_str(), b.as_str()));
                drop(reply.send(self.pipeline.graph(&incident, between).map_err(graph_error)));
            }
            Request::Explain(incident, pair, reply) => {
                drop(reply.send(self.pipeline.explain(&incident, pair.as_ref())));
            }
            Request::Inputs(incident, reply) => drop(reply.send(self.pipeline.inputs(&incident))),
            Request::FindInput(tenant, id, reply) => drop(reply.send(self.pipeline.find_input(&tenant, &id))),
        }
        Ok(())
    }
}

/// Answers a client; what could not be stored stops the engine.
fn told<T>(
    outcome: Result<T, InputError>,
    reply: oneshot::Sender<Result<T, InputError>>,
) -> anyhow::Result<()> {
    match outcome {
        Err(InputError::Failed(error)) => {
            let text = format!("{error:#}");
            drop(reply.send(Err(InputError::Failed(anyhow::anyhow!(text)))));
            Err(error)
        }
        outcome => {
            drop(reply.send(outcome));
            Ok(())
        }
    }
}

fn graph_error(error: CorrelateError) -> InputError {
    match error {
        CorrelateError::UnknownIncident(id) => {
            InputError::Refused(format!("incident {id} has no graph any more: its alerts left memory"))
        }
        CorrelateError::UnknownNode(_) => InputError::Unknown(error.to_string()),
        other => InputError::Refused(other.to_string()),
    }
}

/// Cancels `stopping` on Ctrl-C or SIGTERM.
pub(crate) fn stop_on_signals(stopping: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        stopping.cancel();
    });
    Ok(())
}
