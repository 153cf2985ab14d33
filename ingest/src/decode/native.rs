//! Native fields as columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, StringViewBuilder};
use event::{NativeColumn, NativeFields};

use super::eval::{Event, Out};
use super::json::{Json, Kind};
use super::tape::unescape;
use super::wanted::{Asked, Wanted, WantedId};
use crate::mapping::{Expr, FieldId};

/// The native fields of a batch under construction. A field costs nothing until a row has it.
#[derive(Debug)]
pub(crate) struct NativeBuilder {
    asked: Asked,
    columns: Vec<Option<Box<Column>>>,
}

#[derive(Debug)]
struct Column {
    /// Length of `values`.
    rows: usize,
    values: StringViewBuilder,
    /// Rows whose key is present without a scalar: null, object, list.
    valueless: Vec<u32>,
    multi: BTreeMap<u32, Vec<String>>,
}

impl NativeBuilder {
    /// For rows that may be asked for these fields.
    pub(crate) fn new(asked: Asked) -> Self {
        Self { asked, columns: Vec::new() }
    }

    /// Adds the native fields of a row.
    pub(crate) fn push_row(
        &mut self,
        row: usize,
        event: &Event<'_>,
        wanted: &[Option<WantedId>],
        replaced: &[(WantedId, Option<Expr>)],
        scratch: &mut String,
    ) {
        for field in event.values.slots.present() {
            let Some(id) = wanted.get(usize::from(*field)).copied().flatten() else { continue };
            if self.asked[usize::from(id)] && replaced.iter().all(|(other, _)| *other != id) {
                self.column(id).push_field(row, *field, event, scratch);
            }
        }
    }

    /// Adds what the variant says about native fields of a row.
    pub(crate) fn push_replaced<'a>(
        &mut self,
        row: usize,
        event: &Event<'a>,
        replaced: &'a [(WantedId, Option<Expr>)],
        scratch: &mut String,
    ) {
        for (id, expr) in replaced {
            if !self.asked[usize::from(*id)] {
                continue;
            }
            let Some(out) = expr.as_ref().and_then(|expr| event.eval(expr, scratch)) else { continue };
            let column = self.column(*id);
            match out {
                Out::Listed(field) => column.push_members(row, event.values.listed(field), scratch),
                Out::Json(json) if matches!(json.kind(), Kind::List) => {
                    column.push_members(row, json.members(), scratch)
                }
                out => {
                    if let Some(text) = event.text(out, scratch) {
                        column.push(row, text);
                    }
                }
            }
        }
    }

    #[inline]
    fn column(&mut self, id: WantedId) -> &mut Column {
        let id = usize::from(id);
        if self.columns.len() <= id {
            self.columns.resize_with(id + 1, || None);
        }
        self.columns[id].get_or_insert_with(|| {
            Box::new(Column {
                rows: 0,
                values: StringViewBuilder::new(),
                valueless: Vec::new(),
                multi: BTreeMap::new(),
            })
        })
    }

    pub(crate) fn finish(self, rows: usize, wanted: &Wanted) -> NativeFields {
        let mut fields = NativeFields::default();
        for (name, column) in wanted.names.iter().zip(self.columns) {
            if let Some(column) = column {
                fields.insert(Arc::clone(name), column.finish(rows));
            }
        }
        fields
    }
}

impl Column {
    fn pad(&mut self, row: usize) {
        for _ in self.rows..row {
            self.values.append_null();
        }
        self.rows = self.rows.max(row);
    }

    #[inline]
    fn push(&mut self, row: usize, text: &str) {
        if self.rows < row {
            self.pad(row);
        }
        self.values.append_value(text);
        self.rows += 1;
    }

    #[inline]
    fn push_field(&mut self, row: usize, field: FieldId, event: &Event<'_>, scratch: &mut String) {
        match event.values.plain_scalar(field) {
            Some(text) => self.push(row, text),
            None => self.push_any_form(row, field, event, scratch),
        }
    }

    fn push_any_form(&mut self, row: usize, field: FieldId, event: &Event<'_>, scratch: &mut String) {
        if event.values.is_listed(field) {
            return self.push_members(row, event.values.listed(field), scratch);
        }
        let Some(json) = event.values.get(field).map(Json::unwrapped) else { return };
        match json.kind() {
            Kind::Text(text) => self.push(row, text),
            Kind::Escaped(written) => {
                scratch.clear();
                unescape(written, scratch);
                self.push(row, scratch);
            }
            Kind::List => self.push_members(row, json.members(), scratch),
            Kind::Null | Kind::Object => self.valueless.push(row as u32),
            _ => {
                scratch.clear();
                if let Some(text) = json.scalar(scratch) {
                    self.push(row, text);
                }
            }
        }
    }

    /// Members that are lists give their own members: any scalar of a list may match.
    fn push_members<'j>(
        &mut self,
        row: usize,
        members: impl Iterator<Item = Json<'j>>,
        scratch: &mut String,
    ) {
        let mut texts = Vec::new();
        for member in members {
            collect_scalars(member.unwrapped(), &mut texts, scratch);
        }
        self.valueless.push(row as u32);
        if !texts.is_empty() {
            self.multi.insert(row as u32, texts);
        }
    }

    fn finish(mut self, rows: usize) -> NativeColumn {
        self.pad(rows);
        let values = self.values.finish();
        let present = (!self.valueless.is_empty()).then(|| {
            let mut present: Vec<bool> = (0..rows).map(|row| values.is_valid(row)).collect();
            for row in &self.valueless {
                present[*row as usize] = true;
            }
            BooleanArray::from(present)
        });
        NativeColumn { values, present, multi: self.multi }
    }
}

fn collect_scalars(json: Json<'_>, texts: &mut Vec<String>, scratch: &mut String) {
    if matches!(json.kind(), Kind::List) {
        for member in json.members() {
            collect_scalars(member, texts, scratch);
        }
        return;
    }
    scratch.clear();
    if let Some(text) = json.scalar(scratch) {
        texts.push(text.to_owned());
    }
}
