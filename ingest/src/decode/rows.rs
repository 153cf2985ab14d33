//! Rows of one variant and class, on their way to a batch.

use std::ops::Range;
use std::sync::Arc;

use event::{BatchBuilder, Class, ClassSchema, ColumnType, EventBatch, RowMeta, Time};

use super::column;
use super::dead::DeadReason;
use super::eval::Event;
use super::native::NativeBuilder;
use super::plan::KindPlan;
use super::tape::Span;
use super::wanted::{Wanted, WantedId};
use super::when::with_int;
use crate::mapping::{Expr, FieldId, Form, Number, Variant};
use crate::product_alert::{self, Draft};
use crate::record::Record;

/// Positions of the envelope columns, which every class has.
mod envelope {
    pub(super) const TIME: usize = 0;
    pub(super) const INGEST_TIME: usize = 1;
    pub(super) const TENANT: usize = 2;
    pub(super) const EVENT_UID: usize = 3;
    pub(super) const CLASS_UID: usize = 4;
    pub(super) const ACTIVITY_ID: usize = 5;
    pub(super) const SEVERITY_ID: usize = 6;
    pub(super) const SOURCE: usize = 7;
    pub(super) const TOPIC: usize = 8;
    pub(super) const PARTITION: usize = 9;
    pub(super) const OFFSET: usize = 10;
    pub(super) const RAW: usize = 11;
}

/// What a row needs to know about where it comes from.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) record: &'a Record,
    /// The event's own JSON text.
    pub(crate) raw: &'a str,
    /// Where it begins in the record.
    pub(crate) start: u32,
    /// Position in the envelope, if the record is one.
    pub(crate) index: Option<usize>,
}

impl Origin<'_> {
    /// Where in the event's own text these bytes of the record are.
    #[inline]
    pub(crate) fn bytes_in_raw(&self, span: Span) -> Option<Range<u32>> {
        let (start, end) = (span.start.checked_sub(self.start)?, span.end.checked_sub(self.start)?);
        (end as usize <= self.raw.len()).then_some(start..end)
    }
}

/// Values of a row that did not fit their column.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Misfits {
    pub(crate) count: u64,
    /// The column of the first.
    pub(crate) first: Option<&'static str>,
}

impl Misfits {
    fn note(&mut self, fits: bool, index: usize, schema: &'static ClassSchema) {
        if !fits {
            self.count += 1;
            self.first = self.first.or_else(|| schema.columns.get(index).map(|column| column.name.as_str()));
        }
    }
}

/// Rows of one variant and class.
pub(crate) struct Group<'a> {
    plan: &'a KindPlan,
    pub(crate) variant: &'a Variant,
    /// Native fields that the variant replaces or hides.
    replaced: &'a [(WantedId, Option<Expr>)],
    class: Class,
    builder: BatchBuilder,
    native: NativeBuilder,
    /// One a row, where rows are product alerts.
    drafts: Vec<Draft>,
    fills: Vec<Fill<'a>>,
}

/// How a row gets the value of a column.
struct Fill<'a> {
    index: usize,
    column_type: ColumnType,
    take: Take<'a>,
}

/// Most columns are one field as it is, which needs no evaluation.
enum Take<'a> {
    Field(FieldId),
    Expr(&'a Expr),
}

impl<'a> Group<'a> {
    pub(crate) fn new(
        plan: &'a KindPlan,
        variant: usize,
        class: Class,
        meta: Arc<RowMeta>,
        native: NativeBuilder,
        ingest_time: Time,
    ) -> Self {
        let mut group = Self {
            plan,
            variant: &plan.kind.variants[variant],
            replaced: &plan.replaced[variant],
            class,
            builder: BatchBuilder::new(class, Arc::clone(&meta)),
            native,
            drafts: Vec::new(),
            fills: Vec::new(),
        };
        group.fill_origin(&meta, ingest_time);
        if matches!(plan.kind.form, Form::Columns) {
            group.plan_columns();
        }
        group
    }

    /// What all rows of a call share is set once.
    fn fill_origin(&mut self, meta: &RowMeta, ingest_time: Time) {
        self.builder.fill_time(envelope::INGEST_TIME, ingest_time);
        self.builder.fill_text(envelope::TENANT, meta.tenant.as_str());
        self.builder.fill_int(envelope::CLASS_UID, i64::from(self.class.uid()));
        self.builder.fill_text(envelope::SOURCE, &meta.source);
    }

    /// Sets what the variant fixes for all rows, and notes how a row gets the rest.
    fn plan_columns(&mut self) {
        let (schema, variant) = (self.builder.schema(), self.variant);
        if let Number::Fixed(id) = variant.activity_id {
            self.builder.fill_int(envelope::ACTIVITY_ID, id);
        }
        if let Number::Fixed(id) = variant.severity_id {
            self.builder.fill_int(envelope::SEVERITY_ID, id);
        }
        let product = schema.columns.iter().position(|c| c.name == "product");
        if let Some(index) = product.filter(|index| variant.columns.iter().all(|(other, _)| other != index)) {
            self.builder.fill_text(index, &variant.product);
        }
        for (index, expr) in &variant.columns {
            let (index, column_type) = (*index, schema.columns[*index].column_type);
            match (expr.constant(), expr.one_field()) {
                (Some(text), _) if column_type == ColumnType::String => self.builder.fill_text(index, text),
                (_, Some(field)) => self.fills.push(Fill { index, column_type, take: Take::Field(field) }),
                _ => self.fills.push(Fill { index, column_type, take: Take::Expr(expr) }),
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.builder.len()
    }

    /// Adds a row.
    pub(crate) fn push<'e>(
        &mut self,
        event: &Event<'e>,
        time: Time,
        origin: &Origin<'_>,
        scratch: &mut String,
    ) -> Misfits
    where
        'a: 'e,
    {
        let row = self.builder.len();
        self.set_origin(time, origin);
        let misfits = match self.plan.kind.form {
            Form::Columns => self.set_columns(event, origin, scratch),
            Form::Ocsf => {
                self.set_ocsf(origin);
                Misfits::default()
            }
        };
        self.native.push_row(row, event, origin, &self.plan.wanted, self.replaced, scratch);
        self.native.push_replaced(row, event, self.replaced, scratch);
        if self.class == Class::DETECTION_FINDING {
            self.drafts.push(product_alert::draft(event, self.plan, origin.raw));
        }
        self.builder.end_row();
        misfits
    }

    fn set_origin(&mut self, time: Time, origin: &Origin<'_>) {
        let builder = &mut self.builder;
        builder.set_time(envelope::TIME, time);
        builder.set_text(envelope::TOPIC, &origin.record.topic);
        builder.set_int(envelope::PARTITION, i64::from(origin.record.partition));
        builder.set_int(envelope::OFFSET, origin.record.offset);
        builder.set_text(envelope::RAW, origin.raw);
    }

    fn set_columns<'e>(&mut self, event: &Event<'e>, origin: &Origin<'_>, scratch: &mut String) -> Misfits
    where
        'a: 'e,
    {
        let variant = self.variant;
        let (mut misfits, schema) = (Misfits::default(), self.builder.schema());
        for (index, number) in
            [(envelope::ACTIVITY_ID, &variant.activity_id), (envelope::SEVERITY_ID, &variant.severity_id)]
        {
            misfits.note(self.set_number(index, number, event, scratch), index, schema);
        }
        let uid = self.plan.kind.event_uid.as_ref().and_then(|expr| event.eval_text(expr, scratch));
        match uid {
            Some(uid) => self.builder.set_text(envelope::EVENT_UID, uid),
            None => self.builder.set_text(envelope::EVENT_UID, derived_uid(origin, scratch)),
        }
        for Fill { index, column_type, take } in &self.fills {
            let out = match take {
                Take::Field(field) => event.field(*field),
                Take::Expr(expr) => event.eval(expr, scratch),
            };
            if let Some(out) = out {
                let fits = column::set(&mut self.builder, *index, *column_type, out, event, scratch);
                misfits.note(fits, *index, schema);
            }
        }
        misfits
    }

    /// Sets an OCSF id that the source's value decides; `false` where that value is no number.
    fn set_number<'e>(
        &mut self,
        index: usize,
        number: &'a Number,
        event: &Event<'e>,
        scratch: &mut String,
    ) -> bool
    where
        'a: 'e,
    {
        let Number::Mapped(expr, default) = number else { return true };
        let id = match event.eval_text(expr, scratch) {
            None => Ok(*default),
            Some(text) => text.trim().parse(),
        };
        self.builder.set_int(index, *id.as_ref().unwrap_or(default));
        id.is_ok()
    }

    fn set_ocsf(&mut self, origin: &Origin<'_>) {
        // The tape has parsed the same text, so this can only succeed.
        let value: serde_json::Value = serde_json::from_str(origin.raw).unwrap_or_default();
        event::ocsf::set_row(&mut self.builder, &value);
        let id = |name: &str| value.get(name).and_then(serde_json::Value::as_i64);
        // The first value of a row wins, so these are defaults.
        self.builder.set_int(envelope::ACTIVITY_ID, id("activity_id").unwrap_or(0));
        self.builder.set_int(envelope::SEVERITY_ID, id("severity_id").unwrap_or(1));
        self.builder.set_text(envelope::EVENT_UID, derived_uid(origin, &mut String::new()));
    }

    /// The batch, and the alerts among its rows.
    pub(crate) fn finish(
        self,
        wanted: &Wanted,
        entities_max: usize,
    ) -> Result<(EventBatch, Vec<event::Alert>), DeadReason> {
        let native = self.native.finish(wanted);
        let extra: Vec<Vec<event::Entity>> = self.drafts.iter().map(|d| d.entities(entities_max)).collect();
        let batch = self.builder.finish(native, &extra).map_err(|e| DeadReason::Bug(e.to_string()))?;
        let alerts = product_alert::alerts(&batch, &self.drafts);
        Ok((batch, alerts))
    }
}

/// `topic/partition@offset`, and the position in an envelope.
fn derived_uid<'s>(origin: &Origin<'_>, scratch: &'s mut String) -> &'s str {
    let record = origin.record;
    scratch.clear();
    scratch.push_str(&record.topic);
    scratch.push('/');
    with_int(i64::from(record.partition), |digits| scratch.push_str(digits));
    scratch.push('@');
    with_int(record.offset, |digits| scratch.push_str(digits));
    if let Some(index) = origin.index {
        scratch.push('#');
        with_int(index as i64, |digits| scratch.push_str(digits));
    }
    scratch
}
