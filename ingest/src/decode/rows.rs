//! Rows of one variant and class, on their way to a batch.

use std::fmt::Write as _;
use std::sync::Arc;

use event::{BatchBuilder, Class, ColumnType, EventBatch, RowMeta, TenantId, Time};

use super::column;
use super::dead::DeadReason;
use super::eval::Event;
use super::native::NativeBuilder;
use super::plan::{KindPlan, Wanted};
use crate::mapping::{Expr, Form, Number, Variant};
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
    /// Position in the envelope, if the record is one.
    pub(crate) index: Option<usize>,
    pub(crate) tenant: &'a TenantId,
    pub(crate) ingest_time: Time,
}

/// Rows of one variant and class.
pub(crate) struct Group {
    pub(crate) kind: usize,
    pub(crate) variant: usize,
    pub(crate) class: Class,
    builder: BatchBuilder,
    native: NativeBuilder,
    /// One a row, where rows are product alerts.
    drafts: Vec<Draft>,
    /// The product column, where the variant leaves it to us.
    product: Option<usize>,
    types: Vec<ColumnType>,
}

impl Group {
    pub(crate) fn new(
        kind: usize,
        variant: usize,
        class: Class,
        meta: Arc<RowMeta>,
        columns: &[(usize, Expr)],
    ) -> Self {
        let builder = BatchBuilder::new(class, meta);
        let schema = builder.schema();
        let product = schema.columns.iter().position(|c| c.name == "product");
        Self {
            kind,
            variant,
            class,
            types: schema.columns.iter().map(|c| c.column_type).collect(),
            product: product.filter(|index| columns.iter().all(|(other, _)| other != index)),
            builder,
            native: NativeBuilder::default(),
            drafts: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.builder.len()
    }

    /// Adds a row; returns how many values did not fit their column.
    pub(crate) fn push<'a>(
        &mut self,
        event: &Event<'a>,
        plan: &'a KindPlan,
        variant: &'a Variant,
        time: Time,
        origin: &Origin<'_>,
        scratch: &mut String,
    ) -> u64 {
        let row = self.builder.len();
        self.set_origin(time, origin);
        self.builder.set_text(envelope::SOURCE, &plan.kind.name);
        let misfits = match plan.kind.form {
            Form::Columns => self.set_columns(event, plan, variant, origin, scratch),
            Form::Ocsf => self.set_ocsf(origin),
        };
        self.native.push_row(row, event, &plan.wanted, &plan.replaced[self.variant], scratch);
        self.native.push_replaced(row, event, &plan.replaced[self.variant], scratch);
        if self.class == Class::DETECTION_FINDING {
            self.drafts.push(product_alert::draft(event, plan, origin.raw));
        }
        self.builder.end_row();
        misfits
    }

    fn set_origin(&mut self, time: Time, origin: &Origin<'_>) {
        let builder = &mut self.builder;
        builder.set_time(envelope::TIME, time);
        builder.set_time(envelope::INGEST_TIME, origin.ingest_time);
        builder.set_text(envelope::TENANT, origin.tenant.as_str());
        builder.set_int(envelope::CLASS_UID, i64::from(self.class.uid()));
        builder.set_text(envelope::TOPIC, &origin.record.topic);
        builder.set_int(envelope::PARTITION, i64::from(origin.record.partition));
        builder.set_int(envelope::OFFSET, origin.record.offset);
        builder.set_text(envelope::RAW, origin.raw);
    }

    fn set_columns<'a>(
        &mut self,
        event: &Event<'a>,
        plan: &'a KindPlan,
        variant: &'a Variant,
        origin: &Origin<'_>,
        scratch: &mut String,
    ) -> u64 {
        let mut misfits = 0;
        let (activity, activity_fits) = number(event, &variant.activity_id, scratch);
        let (severity, severity_fits) = number(event, &variant.severity_id, scratch);
        misfits += u64::from(!activity_fits) + u64::from(!severity_fits);
        self.builder.set_int(envelope::ACTIVITY_ID, activity);
        self.builder.set_int(envelope::SEVERITY_ID, severity);
        match plan.kind.event_uid.as_ref().and_then(|expr| event.eval_text(expr, scratch)) {
            Some(uid) => self.builder.set_text(envelope::EVENT_UID, uid),
            None => self.builder.set_text(envelope::EVENT_UID, derived_uid(origin, scratch)),
        }
        for (index, expr) in &variant.columns {
            if let Some(out) = event.eval(expr, scratch) {
                let fits = column::set(&mut self.builder, *index, self.types[*index], out, event, scratch);
                misfits += u64::from(!fits);
            }
        }
        if let Some(product) = self.product {
            self.builder.set_text(product, &variant.product);
        }
        misfits
    }

    fn set_ocsf(&mut self, origin: &Origin<'_>) -> u64 {
        // The tape has parsed the same text, so this can only succeed.
        let value: serde_json::Value = serde_json::from_str(origin.raw).unwrap_or_default();
        event::ocsf::set_row(&mut self.builder, &value);
        let id = |name: &str| value.get(name).and_then(serde_json::Value::as_i64);
        // The first value of a row wins, so these are defaults.
        self.builder.set_int(envelope::ACTIVITY_ID, id("activity_id").unwrap_or(0));
        self.builder.set_int(envelope::SEVERITY_ID, id("severity_id").unwrap_or(1));
        self.builder.set_text(envelope::EVENT_UID, derived_uid(origin, &mut String::new()));
        0
    }

    /// The batch, and the alerts among its rows.
    pub(crate) fn finish(
        self,
        wanted: &Wanted,
        entities_max: usize,
    ) -> Result<(EventBatch, Vec<event::Alert>), DeadReason> {
        let native = self.native.finish(self.builder.len(), wanted);
        let extra: Vec<Vec<event::Entity>> = self.drafts.iter().map(|d| d.entities(entities_max)).collect();
        let batch = self.builder.finish(native, &extra).map_err(|e| DeadReason::Bug(e.to_string()))?;
        let alerts = product_alert::alerts(&batch, &self.drafts);
        Ok((batch, alerts))
    }
}

/// An OCSF id and whether the source's value fitted.
fn number<'a>(event: &Event<'a>, number: &'a Number, scratch: &mut String) -> (i64, bool) {
    match number {
        Number::Fixed(n) => (*n, true),
        Number::Mapped(expr, default) => match event.eval_text(expr, scratch) {
            None => (*default, true),
            Some(text) => text.trim().parse().map_or((*default, false), |n| (n, true)),
        },
    }
}

fn derived_uid<'s>(origin: &Origin<'_>, scratch: &'s mut String) -> &'s str {
    scratch.clear();
    let record = origin.record;
    let _infallible = write!(scratch, "{}/{}@{}", record.topic, record.partition, record.offset);
    if let Some(index) = origin.index {
        let _infallible = write!(scratch, "#{index}");
    }
    scratch
}
