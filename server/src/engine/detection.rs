//! Records to batches and alerts: the stateless half of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Alert, EventBatch, TenantId, Time};
use ingest::{DeadLetter, DecodeCounts, DecodeLimits, Decoder, MappingSet, Misfit, Record};
use rules::{ExceptionTallies, Observation, RuleSet, SuppressionKey};

use super::topics::Topics;

/// Decodes records and evaluates rules on them.
pub(crate) struct Detector {
    mappings: Arc<MappingSet>,
    rules: Arc<RuleSet>,
    decoder: Decoder,
    limits: DecodeLimits,
    topics: Topics,
}

/// What a portion of records became.
pub(crate) struct Detected {
    /// The rules that were evaluated: observations make sense beside them alone.
    pub(crate) rules: Arc<RuleSet>,
    pub(crate) batches: Vec<EventBatch>,
    pub(crate) alerts: Vec<Alert>,
    /// What correlation rules are told of the matches.
    pub(crate) observations: Vec<Observation>,
    /// Of the alerts that may be suppressed.
    pub(crate) suppression_keys: Vec<SuppressionKey>,
    /// Matches that exceptions of overlays hide.
    pub(crate) excepted: ExceptionTallies,
    pub(crate) dead: Vec<(TenantId, DeadLetter)>,
    /// Per topic-partition: how far event time and offsets came.
    pub(crate) progress: BTreeMap<(Arc<str>, i32), Progress>,
    pub(crate) counts: DecodeCounts,
    /// One of the values that did not fit their column.
    pub(crate) misfit: Option<Misfit>,
}

/// How far one partition came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// The offset to read next.
    pub(crate) next_offset: i64,
    /// Latest event time, once a row was seen.
    pub(crate) time_max: Option<Time>,
    /// The kinds of source of the rows, and how late their records may be, in microseconds.
    pub(crate) kinds: BTreeMap<Arc<str>, i64>,
}

impl Detected {
    fn nothing_yet(rules: Arc<RuleSet>) -> Self {
        Self {
            rules,
            batches: Vec::new(),
            alerts: Vec::new(),
            observations: Vec::new(),
            suppression_keys: Vec::new(),
            excepted: ExceptionTallies::default(),
            dead: Vec::new(),
            progress: BTreeMap::new(),
            counts: DecodeCounts::default(),
            misfit: None,
        }
    }
}

impl Detector {
    pub(crate) fn new(
        mappings: Arc<MappingSet>,
        rules: Arc<RuleSet>,
        topics: Topics,
        limits: DecodeLimits,
    ) -> Self {
        let decoder = Decoder::new(Arc::clone(&mappings), &rules.native_fields_by_logsource().into(), limits);
        Self { mappings, rules, decoder, limits, topics }
    }

    /// Evaluates other rules from the next portion on.
    pub(crate) fn set_rules(&mut self, rules: Arc<RuleSet>) {
        self.decoder =
            Decoder::new(Arc::clone(&self.mappings), &rules.native_fields_by_logsource().into(), self.limits);
        self.rules = rules;
    }

    /// Decodes and detects. Never fails: what cannot be decoded is among `dead`.
    pub(crate) fn detect(&mut self, records: &[Record], ingest_time: Time) -> Detected {
        let mut detected = Detected::nothing_yet(Arc::clone(&self.rules));
        for run in records.chunk_by(|a, b| a.topic == b.topic) {
            self.detect_topic(run, ingest_time, &mut detected);
        }
        metrics::counter!("asterism_events_total").increment(detected.counts.rows);
        metrics::counter!("asterism_alerts_total").increment(detected.alerts.len() as u64);
        metrics::counter!("asterism_excepted_total").increment(detected.excepted.total());
        detected
    }

    fn detect_topic(&mut self, records: &[Record], ingest_time: Time, detected: &mut Detected) {
        let Some(first) = records.first() else { return };
        let route = self.topics.route(&first.topic);
        let decoded = self.decoder.decode(records, &route.hint, &route.tenant, ingest_time);
        note_offsets(&mut detected.progress, records);
        for batch in &decoded.batches {
            let lateness_us = self.mappings.lateness_us(&batch.meta.source);
            note_times(&mut detected.progress, batch, &first.topic, lateness_us);
            let evaluated = self.rules.evaluate(batch);
            detected.alerts.extend(evaluated.alerts);
            detected.observations.extend(evaluated.observations);
            detected.suppression_keys.extend(evaluated.suppression_keys);
            detected.excepted.note(&self.rules, batch, &evaluated.excepted);
        }
        detected.alerts.extend(decoded.alerts);
        detected.dead.extend(decoded.dead.into_iter().map(|d| (route.tenant.clone(), d)));
        detected.batches.extend(decoded.batches);
        add(&mut detected.counts, &decoded.counts);
        detected.misfit = detected.misfit.take().or(decoded.misfit);
    }
}

fn note_offsets(progress: &mut BTreeMap<(Arc<str>, i32), Progress>, records: &[Record]) {
    for record in records {
        let entry = progress.entry((Arc::clone(&record.topic), record.partition)).or_default();
        entry.next_offset = entry.next_offset.max(record.offset + 1);
    }
}

fn note_times(
    progress: &mut BTreeMap<(Arc<str>, i32), Progress>,
    batch: &EventBatch,
    topic: &Arc<str>,
    lateness_us: i64,
) {
    for row in 0..batch.len() {
        let partition = batch.int("partition", row).and_then(|p| i32::try_from(p).ok()).unwrap_or_default();
        let entry = progress.entry((Arc::clone(topic), partition)).or_default();
        entry.time_max = entry.time_max.max(Some(batch.time(row)));
        if !entry.kinds.contains_key(&batch.meta.source) {
            entry.kinds.insert(Arc::clone(&batch.meta.source), lateness_us);
        }
    }
}

fn add(sum: &mut DecodeCounts, more: &DecodeCounts) {
    sum.records += more.records;
    sum.bytes += more.bytes;
    sum.exploded += more.exploded;
    sum.rows += more.rows;
    sum.dead += more.dead;
    sum.alerts += more.alerts;
    sum.misfits += more.misfits;
    sum.undated += more.undated;
}
