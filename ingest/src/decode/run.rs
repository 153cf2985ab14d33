//! One call of the decoder: records become rows of groups, groups become batches.

use std::sync::Arc;

use bytes::Bytes;
use event::{Alert, Class, EventBatch, RowMeta, TenantId, Time};
use hashbrown::HashMap;

use super::dead::{DeadLetter, DeadReason};
use super::eval::Event;
use super::json::{Json, Kind};
use super::limits::DecodeLimits;
use super::native::NativeBuilder;
use super::parse::Parser;
use super::plan::{KindPlan, ShapePlan};
use super::recognise::ShapeRef;
use super::rows::{Group, Origin};
use super::slots::{Slots, Values};
use super::tape::Tape;
use super::time::event_time;
use super::wanted::Wanted;
use super::{Buffers, DecodeCounts, Decoded, Misfit, SourceKindHint};
use crate::mapping::{Form, Variant, domain_of};
use crate::product_alert;
use crate::record::Record;

type GroupKey = (usize, usize, Class);

/// The state of one call.
pub(super) struct Run<'a> {
    kinds: &'a [KindPlan],
    wanted: &'a Wanted,
    limits: DecodeLimits,
    tenant: &'a TenantId,
    ingest_time: Time,
    hint: &'a SourceKindHint,
    groups: Vec<Group<'a>>,
    by_key: HashMap<GroupKey, usize, foldhash::fast::FixedState>,
    dead: Vec<DeadLetter>,
    counts: DecodeCounts,
    misfit: Option<Misfit>,
    scratch: String,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        kinds: &'a [KindPlan],
        wanted: &'a Wanted,
        limits: DecodeLimits,
        tenant: &'a TenantId,
        ingest_time: Time,
        hint: &'a SourceKindHint,
    ) -> Self {
        Self {
            kinds,
            wanted,
            limits,
            tenant,
            ingest_time,
            hint,
            groups: Vec::new(),
            by_key: HashMap::default(),
            dead: Vec::new(),
            counts: DecodeCounts::default(),
            misfit: None,
            scratch: String::new(),
        }
    }

    /// Decodes one record; what fails becomes a dead letter.
    pub(super) fn record(
        &mut self,
        record: &Record,
        parser: &mut Parser,
        shape: impl FnOnce(&Tape<'_>) -> Result<ShapeRef, DeadReason>,
        buffers: &mut Buffers,
    ) {
        self.counts.records += 1;
        self.counts.bytes += record.payload.len() as u64;
        let Buffers { slots, envelope } = buffers;
        let outcome = parser.with_tape(record, |tape| {
            let found = shape(tape)?;
            let plan = &self.kinds[found.kind];
            let shaped = Shaped { record, plan, kind: found.kind, shape: plan.shape(found.shape) };
            if shaped.shape.explode.is_some() {
                return self.explode(&shaped, tape, slots, envelope);
            }
            slots.reset(plan.fields.len());
            shaped.shape.event.walk(tape, 0, slots);
            slots.resolve(tape, plan.kind.fields.len());
            self.event(&shaped, tape, slots, &Origin { record, raw: tape.record, start: 0, index: None })
        });
        if let Err(reason) = outcome {
            self.bury(record, reason, record.payload.clone());
        }
    }

    fn explode(
        &mut self,
        shaped: &Shaped<'_, 'a>,
        tape: &mut Tape<'_>,
        slots: &mut Slots,
        envelope: &mut Slots,
    ) -> Result<(), DeadReason> {
        let Some(path) = &shaped.shape.explode else { return Ok(()) };
        let list = Json::Tape(tape, 0).at(&path.steps).filter(|list| matches!(list.kind(), Kind::List));
        let list = list.ok_or_else(|| DeadReason::BadEnvelope {
            kind: format!("{} ({})", shaped.plan.kind.name, shaped.shape.name),
            path: path.steps.join("."),
        })?;
        let node = |member: Json<'_>| if let Json::Tape(_, at) = member { Some(at) } else { None };
        let events: Vec<usize> = list.members().filter_map(node).collect();
        if events.len() > self.limits.explode_events_max {
            return Err(DeadReason::TooManyEvents {
                events: events.len(),
                events_max: self.limits.explode_events_max,
            });
        }
        self.counts.exploded += 1;
        envelope.reset(shaped.plan.fields.len());
        if !shaped.shape.envelope.is_empty() {
            shaped.shape.envelope.walk(tape, 0, envelope);
            envelope.resolve(tape, shaped.plan.kind.fields.len());
        }
        let (record, mut from) = (tape.record, 0);
        for (index, at) in events.into_iter().enumerate() {
            let Some(span) = tape.bytes_of_listed(at, &mut from) else {
                let member = Json::Tape(tape, at);
                let mut raw = String::new();
                member.write(&mut raw);
                let reason = DeadReason::NotAnObject(member.kind().name());
                self.bury(shaped.record, reason, Bytes::from(raw));
                continue;
            };
            let raw = &record[span.start as usize..span.end as usize];
            slots.start_from(envelope, shaped.plan.fields.len());
            shaped.shape.event.walk(tape, at, slots);
            slots.resolve(tape, shaped.plan.kind.fields.len());
            if let Some(field) = shaped.shape.number {
                slots.set_number(field, index);
            }
            let origin = Origin { record: shaped.record, raw, start: span.start, index: Some(index) };
            if let Err(reason) = self.event(shaped, tape, slots, &origin) {
                self.bury(shaped.record, reason, Bytes::copy_from_slice(raw.as_bytes()));
            }
        }
        Ok(())
    }

    fn event(
        &mut self,
        shaped: &Shaped<'_, 'a>,
        tape: &Tape<'_>,
        slots: &mut Slots,
        origin: &Origin<'_>,
    ) -> Result<(), DeadReason> {
        for (i, field) in (0..).zip(&shaped.shape.set) {
            slots.set_constant(*field, i);
        }
        let plan = shaped.plan;
        let values = Values { slots, tape, constants: &shaped.shape.constants };
        let index = plan.variant(&values, &mut self.scratch).ok_or_else(|| no_variant(plan, &values))?;
        let variant = &plan.kind.variants[index];
        let time = match event_time(&variant.event_time, &values, plan, shaped.shape, &mut self.scratch) {
            Ok(time) => time,
            Err(_) if matches!(self.hint, SourceKindHint::Json { .. }) => {
                self.counts.undated += 1;
                self.ingest_time
            }
            Err(reason) => return Err(reason),
        };
        let event = Event::new(values);
        present(&event, variant, &mut self.scratch)?;
        let class = match plan.kind.form {
            Form::Columns => variant.class,
            Form::Ocsf => ocsf_class(shaped, &values).unwrap_or(Class::BASE_EVENT),
        };
        let group = self.group((shaped.kind, index, class));
        let misfits = self.groups[group].push(&event, time, origin, &mut self.scratch);
        self.counts.misfits += misfits.count;
        if let (None, Some(column)) = (&self.misfit, misfits.first) {
            self.misfit = Some(Misfit { record: origin.record.position(), column });
        }
        Ok(())
    }

    fn group(&mut self, key: GroupKey) -> usize {
        if let Some(index) = self.by_key.get(&key) {
            return *index;
        }
        let (kind, index, class) = key;
        let plan = &self.kinds[kind];
        let variant = &plan.kind.variants[index];
        let mut meta = RowMeta {
            tenant: self.tenant.clone(),
            source: Arc::clone(&plan.kind.name),
            variant: Arc::clone(&variant.name),
            domain: variant.domain,
            product: Arc::clone(&variant.product),
            logsources: Arc::clone(&variant.logsources),
        };
        if let SourceKindHint::Json { logsources } = self.hint {
            meta.domain = domain_of(logsources);
            meta.logsources = Arc::clone(logsources);
        }
        let native = NativeBuilder::new(self.wanted.asked(&meta.logsources));
        self.groups.push(Group::new(plan, index, class, Arc::new(meta), native, self.ingest_time));
        self.by_key.insert(key, self.groups.len() - 1);
        self.groups.len() - 1
    }

    fn bury(&mut self, record: &Record, reason: DeadReason, payload: Bytes) {
        let max = self.limits.dead_payload_bytes_max;
        // A slice would keep the whole of a giant alive.
        let payload = if payload.len() > max { Bytes::copy_from_slice(&payload[..max]) } else { payload };
        self.dead.push(DeadLetter {
            record: record.position(),
            reason,
            payload,
            ingest_time: self.ingest_time,
        });
    }

    /// Batches in order of first appearance, and the sums.
    pub(super) fn finish(mut self) -> Decoded {
        let mut batches: Vec<EventBatch> = Vec::new();
        let mut alerts: Vec<Alert> = Vec::new();
        for group in std::mem::take(&mut self.groups) {
            let (variant, rows) = (group.variant, group.len());
            match group.finish(self.wanted, self.limits.alert_entities_max) {
                Ok((batch, found)) => {
                    batches.push(batch);
                    alerts.extend(found);
                }
                Err(reason) => self.bury_group(&variant.name, rows, &reason),
            }
        }
        let alerts = product_alert::merged(alerts);
        let mut counts = self.counts;
        counts.rows = batches.iter().map(|b| b.len() as u64).sum();
        counts.dead = self.dead.len() as u64;
        counts.alerts = alerts.len() as u64;
        metrics::counter!("asterism_decode_values_misfit_total").increment(counts.misfits);
        Decoded { batches, alerts, dead: self.dead, counts, misfit: self.misfit }
    }

    /// A batch that cannot be built is a defect of this program; its rows are counted all the same.
    fn bury_group(&mut self, variant: &str, rows: usize, reason: &DeadReason) {
        for _ in 0..rows {
            self.dead.push(DeadLetter {
                record: event::RecordRef { topic: "".into(), partition: 0, offset: -1 },
                reason: DeadReason::Bug(format!("{variant}: {reason}")),
                payload: Bytes::new(),
                ingest_time: self.ingest_time,
            });
        }
    }
}

/// A record of known shape.
struct Shaped<'r, 'a> {
    record: &'r Record,
    plan: &'a KindPlan,
    kind: usize,
    shape: &'a ShapePlan,
}

fn present<'a>(event: &Event<'a>, variant: &'a Variant, scratch: &mut String) -> Result<(), DeadReason> {
    for wanted in &variant.when_present {
        let expr = variant.columns.iter().find(|(index, _)| index == wanted).map(|(_, expr)| expr);
        if expr.and_then(|expr| event.eval(expr, scratch)).is_none() {
            let schema = event::ClassSchema::of(variant.class);
            return Err(DeadReason::MissingColumn {
                variant: variant.name.to_string(),
                column: schema.columns[*wanted].name.clone(),
            });
        }
    }
    Ok(())
}

/// The class of an OCSF event, by its own `class_uid`.
fn ocsf_class(shaped: &Shaped<'_, '_>, values: &Values<'_>) -> Option<Class> {
    let own = shaped.plan.fields.find("class_uid").and_then(|field| values.get(field))?;
    match own.kind() {
        Kind::Int(uid) => Class::from_uid(u32::try_from(uid).ok()?),
        _ => None,
    }
}

fn no_variant(plan: &KindPlan, values: &Values<'_>) -> DeadReason {
    let mut scratch = String::new();
    let mut keys: Vec<String> = Vec::new();
    let fields = plan.kind.variants.iter().flat_map(|v| v.when.fields());
    for field in fields {
        scratch.clear();
        let Some(text) = values.get(field).and_then(|json| json.unwrapped().scalar(&mut scratch)) else {
            continue;
        };
        let key = format!("{}={}", plan.fields.name(field), text.chars().take(64).collect::<String>());
        if keys.len() < 4 && !keys.contains(&key) {
            keys.push(key);
        }
    }
    DeadReason::NoVariant { kind: plan.kind.name.to_string(), keys: keys.join(", ") }
}
