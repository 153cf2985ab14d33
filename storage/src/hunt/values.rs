//! SQLite values into Arrow columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Int64Builder, ListArray, ListBuilder, StringViewBuilder, StructArray,
    TimestampMicrosecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use event::{Class, Entity, RecordRef};
use rusqlite::types::ValueRef;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::columns::Kind;

/// A column under construction.
#[allow(clippy::large_enum_variant)] // A few live at once, one a column.
pub(super) enum ColumnValues {
    Text(StringViewBuilder),
    Int(Int64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    ClassName(StringViewBuilder),
    Texts(ListBuilder<StringViewBuilder>),
    Entities(Entities),
    Records(Records),
}

impl ColumnValues {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => ColumnValues::Text(StringViewBuilder::new()),
            Kind::Int => ColumnValues::Int(Int64Builder::new()),
            Kind::Bool => ColumnValues::Bool(BooleanBuilder::new()),
            Kind::Time => ColumnValues::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            Kind::ClassName => ColumnValues::ClassName(StringViewBuilder::new()),
            Kind::Texts => ColumnValues::Texts(ListBuilder::new(StringViewBuilder::new())),
            Kind::Entities => ColumnValues::Entities(Entities::default()),
            Kind::Records => ColumnValues::Records(Records::default()),
        }
    }

    /// Adds a value; NULL becomes null.
    ///
    /// # Errors
    /// Where stored JSON has another form than this program writes.
    pub(super) fn push(&mut self, value: ValueRef<'_>) -> Result<(), ArrowError> {
        match self {
            ColumnValues::Text(b) => b.append_option(text(value)),
            ColumnValues::Int(b) => b.append_option(int(value)),
            ColumnValues::Bool(b) => b.append_option(int(value).map(|n| n != 0)),
            ColumnValues::Time(b) => b.append_option(int(value)),
            ColumnValues::ClassName(b) => b.append_option(int(value).and_then(class_name)),
            ColumnValues::Texts(b) => {
                let texts = json::<Vec<String>>(value)?;
                let present = texts.is_some();
                texts.into_iter().flatten().for_each(|t| b.values().append_value(t));
                b.append(present);
            }
            ColumnValues::Entities(e) => e.push(json(value)?),
            ColumnValues::Records(r) => r.push(json(value)?),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            ColumnValues::Text(mut b) | ColumnValues::ClassName(mut b) => Arc::new(b.finish()),
            ColumnValues::Int(mut b) => Arc::new(b.finish()),
            ColumnValues::Bool(mut b) => Arc::new(b.finish()),
            ColumnValues::Time(mut b) => Arc::new(b.finish()),
            ColumnValues::Texts(mut b) => Arc::new(b.finish()),
            ColumnValues::Entities(e) => e.finish()?,
            ColumnValues::Records(r) => r.finish()?,
        })
    }
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(n) => Some(n.to_string()),
        ValueRef::Real(n) => Some(n.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn int(value: ValueRef<'_>) -> Option<i64> {
    if let ValueRef::Integer(n) = value { Some(n) } else { None }
}

fn class_name(uid: i64) -> Option<&'static str> {
    Class::from_uid(u32::try_from(uid).ok()?).map(Class::name)
}

fn json<'a, T: Deserialize<'a>>(value: ValueRef<'a>) -> Result<Option<T>, ArrowError> {
    let ValueRef::Text(bytes) = value else { return Ok(None) };
    serde_json::from_slice(bytes).map(Some).map_err(|e| ArrowError::JsonError(e.to_string()))
}

/// An entity of an alert, or of an incident with the number of alerts that name it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum EntityEntry {
    Alone(Entity),
    Counted(Entity, IgnoredAny),
}

/// Row ends and validity of a list column.
#[derive(Default)]
struct Rows {
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl Rows {
    fn push(&mut self, length: Option<usize>) {
        self.lengths.push(length.unwrap_or(0));
        self.valid.push(length.is_some());
    }

    fn list(self, of: &DataType, members: Vec<ArrayRef>) -> Result<ArrayRef, ArrowError> {
        let DataType::List(item) = of else {
            return Err(ArrowError::SchemaError(format!("{of} is no list")));
        };
        let DataType::Struct(fields) = item.data_type() else {
            return Err(ArrowError::SchemaError(format!("{of} is no list of structs")));
        };
        let members = StructArray::try_new(fields.clone(), members, None)?;
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let valid = NullBuffer::from(self.valid);
        Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, Arc::new(members), Some(valid))?))
    }
}

#[derive(Default)]
pub(super) struct Entities {
    rows: Rows,
    types: StringViewBuilder,
    roles: StringViewBuilder,
    values: StringViewBuilder,
}

impl Entities {
    fn push(&mut self, entities: Option<Vec<EntityEntry>>) {
        self.rows.push(entities.as_ref().map(Vec::len));
        for EntityEntry::Alone(entity) | EntityEntry::Counted(entity, _) in entities.into_iter().flatten() {
            self.types.append_value(entity.entity_type.as_str());
            self.roles.append_value(entity.role.as_str());
            self.values.append_value(entity.value);
        }
    }

    fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let members: Vec<ArrayRef> = vec![
            Arc::new(self.types.finish()),
            Arc::new(self.roles.finish()),
            Arc::new(self.values.finish()),
        ];
        self.rows.list(&Kind::Entities.arrow(), members)
    }
}

#[derive(Default)]
pub(super) struct Records {
    rows: Rows,
    topics: StringViewBuilder,
    partitions: Int64Builder,
    offsets: Int64Builder,
}

impl Records {
    fn push(&mut self, records: Option<Vec<RecordRef>>) {
        self.rows.push(records.as_ref().map(Vec::len));
        for record in records.into_iter().flatten() {
            self.topics.append_value(record.topic);
            self.partitions.append_value(i64::from(record.partition));
            self.offsets.append_value(record.offset);
        }
    }

    fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let members: Vec<ArrayRef> = vec![
            Arc::new(self.topics.finish()),
            Arc::new(self.partitions.finish()),
            Arc::new(self.offsets.finish()),
        ];
        self.rows.list(&Kind::Records.arrow(), members)
    }
}
