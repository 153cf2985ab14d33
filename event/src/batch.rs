//! A batch: rows of one OCSF class that one mapping variant made, with the native fields rules asked for.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringViewArray, StructArray, UInt32Array,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use crate::alert::{Domain, RecordRef};
use crate::class::{Class, ClassSchema, ColumnType, ENTITIES};
use crate::entity::{Entity, EntityType, Role};
use crate::ids::TenantId;
use crate::native::{NativeFields, NativeReader};
use crate::time::Time;

/// A Sigma logsource: each key present must be equal for a rule to apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logsource {
    /// `windows`, `azure`, `m365`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Arc<str>>,
    /// `process_creation`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Arc<str>>,
    /// `sysmon`, `security`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
}

impl Logsource {
    /// Whether a rule with this logsource applies to an event that has `event` among its logsources:
    /// every key of the rule is present and equal (lower case on both sides).
    pub fn covers(&self, event: &Logsource) -> bool {
        let key = |rule: &Option<Arc<str>>, event: &Option<Arc<str>>| rule.is_none() || rule == event;
        key(&self.product, &event.product)
            && key(&self.category, &event.category)
            && key(&self.service, &event.service)
    }
}

/// Where the rows of a batch come from and how they are routed; one value a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct RowMeta {
    /// The tenant of every row.
    pub tenant: TenantId,
    /// Source kind (`windows_event`).
    pub source: Arc<str>,
    /// Mapping variant (`sysmon_1`).
    pub variant: Arc<str>,
    /// Telemetry domain, which alerts on these rows take over.
    pub domain: Domain,
    /// Product name for findings.
    pub product: Arc<str>,
    /// The *set* of Sigma logsources of every row. Empty: rules are not gated (`detect --source json`).
    pub logsources: Arc<[Logsource]>,
}

/// Rows of one class, one source kind, one mapping variant.
#[derive(Debug, Clone)]
pub struct EventBatch {
    /// The class.
    pub class: Class,
    /// What all rows share.
    pub meta: Arc<RowMeta>,
    /// The flat OCSF columns; the schema is that of the class.
    pub columns: RecordBatch,
    /// Native fields by the source's own names.
    pub native: NativeFields,
}

/// Bytes that the columns with values take in memory.
pub fn bytes_of(columns: &RecordBatch) -> usize {
    let filled = columns.columns().iter().filter(|column| column.null_count() < column.len());
    filled.map(|column| column.get_buffer_memory_size()).sum()
}

/// A copy of its own size.
fn compact(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.as_string_view_opt() {
        Some(texts) => Ok(Arc::new(texts.gc())),
        None => concat(&[column.as_ref(), column.slice(0, 0).as_ref()]),
    }
}

/// Batches are no longer than a poll, rarely longer than this.
const SHARED_NULLS: usize = 16_384;

/// A column of nulls.
pub(crate) fn nulls(data_type: &DataType, rows: usize) -> ArrayRef {
    static SHARED: LazyLock<Vec<ArrayRef>> = LazyLock::new(|| {
        ColumnType::ALL.iter().map(|column_type| new_null_array(&column_type.arrow(), SHARED_NULLS)).collect()
    });
    match SHARED.iter().find(|shared| shared.data_type() == data_type) {
        Some(shared) if rows <= SHARED_NULLS => shared.slice(0, rows),
        _ => new_null_array(data_type, rows),
    }
}

impl EventBatch {
    /// Rows.
    pub fn len(&self) -> usize {
        self.columns.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.columns.num_rows() == 0
    }

    /// Rows for keeping: the columns that have a value in any of them, in buffers of their own size. Batches come in blocks
    /// that are large so that decoding does not copy, and with a column for everything that their class can say; kept as
    /// they are, a few rows cost many times what is in them.
    ///
    /// # Errors
    /// [`ArrowError`] where Arrow refuses to copy a column: a bug.
    pub fn compacted(&self, rows: Range<usize>) -> Result<RecordBatch, ArrowError> {
        let rows = self.columns.slice(rows.start, rows.len());
        let filled = rows.columns().iter().zip(self.columns.schema_ref().fields());
        let filled = filled.filter(|(column, _)| column.null_count() < column.len());
        let compact = |(column, field): (&ArrayRef, &FieldRef)| Ok((Arc::clone(field), compact(column)?));
        let (fields, columns): (Vec<_>, Vec<_>) =
            filled.map(compact).collect::<Result<Vec<_>, ArrowError>>()?.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }

    /// The flat schema of the batch.
    pub fn schema(&self) -> &'static ClassSchema {
        ClassSchema::of(self.class)
    }

    /// A column by name, if the class has it.
    pub fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.schema().index_of(name).map(|i| self.columns.column(i))
    }

    /// A native field by the source's own name, if the decoder extracted it.
    pub fn native_field(&self, name: &str) -> Option<NativeReader<'_>> {
        let raw = || self.column("raw").and_then(|column| column.as_string_view_opt());
        self.native.get(name).map(|column| NativeReader::new(column, raw()))
    }

    /// The text of a `string` or `json` column at a row.
    pub fn text(&self, name: &str, row: usize) -> Option<&str> {
        let array: &StringViewArray = self.column(name)?.as_string_view_opt()?;
        array.is_valid(row).then(|| array.value(row))
    }

    /// The number of an `int` column at a row.
    pub fn int(&self, name: &str, row: usize) -> Option<i64> {
        let array: &Int64Array = self.column(name)?.as_primitive_opt::<Int64Type>()?;
        array.is_valid(row).then(|| array.value(row))
    }

    /// The time of a `time` column at a row.
    pub fn time_of(&self, name: &str, row: usize) -> Option<Time> {
        let array = self.column(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        array.is_valid(row).then(|| Time(array.value(row)))
    }

    /// Event time of a row.
    pub fn time(&self, row: usize) -> Time {
        self.time_of("time", row).unwrap_or_default()
    }

    /// Where a row came from.
    pub fn record(&self, row: usize) -> RecordRef {
        RecordRef {
            topic: self.text("topic", row).unwrap_or_default().into(),
            partition: self.int("partition", row).unwrap_or_default() as i32,
            offset: self.int("offset", row).unwrap_or_default(),
        }
    }

    /// The entities of a row.
    pub fn entities(&self, row: usize) -> Vec<Entity> {
        let Some(list) = self.column(ENTITIES).and_then(|c| c.as_list_opt::<i32>()) else {
            return Vec::new();
        };
        let (start, end) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
        let members: &StructArray = list.values().as_struct();
        let text = |i: usize| members.column(i).as_string_view();
        let (types, roles, values) = (text(0), text(1), text(2));
        (start..end)
            .filter_map(|i| {
                Some(Entity {
                    entity_type: EntityType::from_name(types.value(i))?,
                    role: Role::from_name(roles.value(i))?,
                    value: values.value(i).into(),
                })
            })
            .collect()
    }
}

/// Arrow type of the `entities` column: `List<Struct<type, role, value>>` of text.
pub fn entity_list_type() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(entity_fields()), false)))
}

fn entity_fields() -> Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        ["type", "role", "value"]
            .into_iter()
            .map(|name| Field::new(name, DataType::Utf8View, false))
            .collect()
    });
    Fields::clone(&FIELDS)
}

/// Builds the `entities` column row by row. Its texts are kept once and taken by number: rows repeat them.
#[derive(Debug, Default)]
pub(crate) struct EntityColumn {
    types: Vec<u32>,
    roles: Vec<u32>,
    values: Vec<u32>,
    lengths: Vec<usize>,
}

impl EntityColumn {
    /// Adds the entities of a row; the value is a number in the list that [`EntityColumn::finish`] gets.
    pub(crate) fn push_row(&mut self, entities: &[(EntityType, Role, u32)]) {
        self.types.extend(entities.iter().map(|(entity_type, _, _)| *entity_type as u32));
        self.roles.extend(entities.iter().map(|(_, role, _)| *role as u32));
        self.values.extend(entities.iter().map(|(_, _, value)| *value));
        self.lengths.push(entities.len());
    }

    pub(crate) fn finish(self, values: &[Arc<str>]) -> Result<ArrayRef, ArrowError> {
        let texts =
            |numbers: Vec<u32>, names: StringViewArray| take(&names, &UInt32Array::from(numbers), None);
        let columns = vec![
            texts(self.types, StringViewArray::from_iter_values(EntityType::ALL.iter().map(|t| t.as_str())))?,
            texts(self.roles, StringViewArray::from_iter_values(Role::ALL.iter().map(|r| r.as_str())))?,
            texts(self.values, StringViewArray::from_iter_values(values))?,
        ];
        let members = StructArray::new(entity_fields(), columns, None);
        let item = Arc::new(Field::new("item", DataType::Struct(entity_fields()), false));
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Ok(Arc::new(ListArray::new(item, offsets, Arc::new(members), None)))
    }
}
