//! Native fields as columns.

use std::sync::Arc;

use event::{NativeColumn, NativeFields};

use super::eval::{Event, Out};
use super::json::{Json, Kind};
use super::rows::Origin;
use super::wanted::{Asked, Wanted, WantedId};
use crate::mapping::{Expr, FieldId};

/// The native fields of a batch under construction. A field costs nothing until a row has it.
#[derive(Debug)]
pub(crate) struct NativeBuilder {
    asked: Asked,
    columns: Vec<Option<NativeColumn>>,
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
        origin: &Origin<'_>,
        wanted: &[Option<WantedId>],
        replaced: &[(WantedId, Option<Expr>)],
        scratch: &mut String,
    ) {
        for field in event.values.slots.present() {
            let Some(id) = wanted.get(usize::from(*field)).copied().flatten() else { continue };
            if self.asked[usize::from(id)] && replaced.iter().all(|(other, _)| *other != id) {
                push_field(self.column(id), row, *field, event, origin, scratch);
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
                Out::Listed(field) => push_members(column, row, event.values.listed(field), scratch),
                Out::Json(json) if matches!(json.kind(), Kind::List) => {
                    push_members(column, row, json.members(), scratch)
                }
                out => {
                    if let Some(text) = event.text(out, scratch) {
                        column.push_text(row, text);
                    }
                }
            }
        }
    }

    #[inline]
    fn column(&mut self, id: WantedId) -> &mut NativeColumn {
        let id = usize::from(id);
        if self.columns.len() <= id {
            self.columns.resize_with(id + 1, || None);
        }
        self.columns[id].get_or_insert_default()
    }

    pub(crate) fn finish(self, wanted: &Wanted) -> NativeFields {
        let mut fields = NativeFields::default();
        for (name, column) in wanted.names.iter().zip(self.columns) {
            if let Some(column) = column {
                fields.insert(Arc::clone(name), column);
            }
        }
        fields
    }
}

#[inline]
fn push_field(
    column: &mut NativeColumn,
    row: usize,
    field: FieldId,
    event: &Event<'_>,
    origin: &Origin<'_>,
    scratch: &mut String,
) {
    let place = event.values.plain_place(field);
    match place.and_then(|(span, written)| Some((origin.bytes_in_raw(span)?, written))) {
        Some((bytes, written)) => column.push_place(row, bytes, written),
        None => push_any_form(column, row, field, event, scratch),
    }
}

/// A value that does not stand in the row's `raw` as it is.
fn push_any_form(
    column: &mut NativeColumn,
    row: usize,
    field: FieldId,
    event: &Event<'_>,
    scratch: &mut String,
) {
    if event.values.is_listed(field) {
        return push_members(column, row, event.values.listed(field), scratch);
    }
    let Some(json) = event.values.get(field).map(Json::unwrapped) else { return };
    match json.kind() {
        Kind::List => push_members(column, row, json.members(), scratch),
        Kind::Null | Kind::Object => column.push_null(row),
        _ => {
            scratch.clear();
            if let Some(text) = json.scalar(scratch) {
                column.push_text(row, text);
            }
        }
    }
}

/// Members that are lists give their own members: any scalar of a list may match. Objects have none to give.
fn push_members<'j>(
    column: &mut NativeColumn,
    row: usize,
    members: impl Iterator<Item = Json<'j>>,
    scratch: &mut String,
) {
    let (mut texts, mut is_empty) = (Vec::new(), true);
    for member in members {
        is_empty = false;
        collect_scalars(member.unwrapped(), &mut texts, scratch);
    }
    if texts.is_empty() && !is_empty {
        column.push_null(row);
    } else {
        column.push_members(row, texts);
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
