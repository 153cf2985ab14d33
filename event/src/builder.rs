//! Builds batches row by row; entities are derived from the columns that name them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringViewArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::batch::{EntityColumn, EventBatch, RowMeta, nulls};
use crate::class::{Class, ClassSchema, Column, ColumnType, ENVELOPE_LEN};
use crate::column::ColumnBuilder;
use crate::entity::{Entity, EntityType, Role};
use crate::native::NativeFields;
use crate::time::Time;

/// A batch under construction. Set columns in any order, then [`BatchBuilder::end_row`].
///
/// Columns are addressed by their index in [`ClassSchema::columns`]. What a row does not set is null; a
/// column that no row sets costs nothing until the batch is finished. Required columns (see the schema) must be set.
#[derive(Debug)]
pub struct BatchBuilder {
    schema: &'static ClassSchema,
    meta: Arc<RowMeta>,
    columns: Vec<Slot>,
    rows: usize,
}

/// What a column of the batch has so far.
#[allow(
    clippy::large_enum_variant,
    reason = "a slot is written once a row: a box would be one step more each time"
)]
#[derive(Debug)]
enum Slot {
    Empty,
    Rows(ColumnBuilder),
    /// The value of every row, as a column of one row.
    Same(ArrayRef),
}

impl BatchBuilder {
    /// An empty batch of a class.
    pub fn new(class: Class, meta: Arc<RowMeta>) -> Self {
        let schema = ClassSchema::of(class);
        Self { schema, meta, columns: schema.columns.iter().map(|_| Slot::Empty).collect(), rows: 0 }
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The schema under construction.
    pub fn schema(&self) -> &'static ClassSchema {
        self.schema
    }

    /// The builder of a column, unless every row has the same value there.
    #[inline]
    fn column(&mut self, index: usize) -> Option<&mut ColumnBuilder> {
        let slot = &mut self.columns[index];
        if matches!(slot, Slot::Empty) {
            *slot = Slot::Rows(ColumnBuilder::new(self.schema.columns[index].column_type));
        }
        match slot {
            Slot::Rows(column) => Some(column),
            _ => None,
        }
    }

    /// Sets a `string` or `json` column of the current row.
    #[inline]
    pub fn set_text(&mut self, index: usize, value: &str) {
        let row = self.rows;
        if let Some(column) = self.column(index) {
            column.set_text(row, value);
        }
    }

    /// Sets a `strings` column of the current row.
    pub fn set_texts<'a>(&mut self, index: usize, values: impl IntoIterator<Item = &'a str>) {
        let row = self.rows;
        if let Some(column) = self.column(index) {
            column.set_texts(row, values);
        }
    }

    /// Sets an `int` column of the current row.
    #[inline]
    pub fn set_int(&mut self, index: usize, value: i64) {
        let row = self.rows;
        if let Some(column) = self.column(index) {
            column.set_int(row, value);
        }
    }

    /// Sets a `bool` column of the current row.
    pub fn set_bool(&mut self, index: usize, value: bool) {
        let row = self.rows;
        if let Some(column) = self.column(index) {
            column.set_bool(row, value);
        }
    }

    /// Sets a `time` column of the current row.
    #[inline]
    pub fn set_time(&mut self, index: usize, value: Time) {
        let row = self.rows;
        if let Some(column) = self.column(index) {
            column.set_time(row, value);
        }
    }

    /// Sets a `float` column of the current row.
    pub fn set_float(&mut self, index: usize, value: f64) {
        let row = self.rows;
        if let Some(column) = self.column(index) {
            column.set_float(row, value);
        }
    }

    /// Sets a column from text, by the column's type; `false` where the text does not fit the type.
    ///
    /// Integers may be decimal or `0x` hexadecimal; booleans `true|false|1|0|yes|no`; `strings` takes one member.
    pub fn set_from_text(&mut self, index: usize, value: &str) -> bool {
        let row = self.rows;
        self.column(index).is_none_or(|column| column.set_from_text(row, value))
    }

    /// Gives every row, earlier and later ones, the same text in a `string` or `json` column. It is kept once; what
    /// a row sets in that column has no effect.
    pub fn fill_text(&mut self, index: usize, value: &str) {
        self.fill(index, |column| column.set_text(0, value));
    }

    /// Gives every row the same number in an `int` column; see [`BatchBuilder::fill_text`].
    pub fn fill_int(&mut self, index: usize, value: i64) {
        self.fill(index, |column| column.set_int(0, value));
    }

    /// Gives every row the same time in a `time` column; see [`BatchBuilder::fill_text`].
    pub fn fill_time(&mut self, index: usize, value: Time) {
        self.fill(index, |column| column.set_time(0, value));
    }

    fn fill(&mut self, index: usize, set: impl FnOnce(&mut ColumnBuilder)) {
        let mut column = ColumnBuilder::new(self.schema.columns[index].column_type);
        set(&mut column);
        self.columns[index] = Slot::Same(column.finish(1));
    }

    /// Ends the current row.
    #[inline]
    pub fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Finishes the batch and derives its `entities`. `extra` adds, for a row, entities that no column names
    /// (those of a product's alert); rows beyond its length have none.
    ///
    /// # Errors
    /// [`ArrowError`] where a required column was not set in some row: a bug of the caller.
    pub fn finish(self, native: NativeFields, extra: &[Vec<Entity>]) -> Result<EventBatch, ArrowError> {
        let Self { schema, meta, columns, rows } = self;
        let mut nulls = Nulls { rows, made: Vec::new() };
        let mut arrays: Vec<ArrayRef> = columns
            .into_iter()
            .zip(&schema.columns)
            .map(|(slot, column)| slot.finish(column, &mut nulls))
            .collect::<Result<_, _>>()?;
        arrays.insert(ENVELOPE_LEN, entities_of(schema, &arrays, rows, extra)?);
        let columns = RecordBatch::try_new(Arc::clone(&schema.arrow), arrays)?;
        Ok(EventBatch { class: schema.class, meta, columns, native })
    }
}

impl Slot {
    fn finish(self, column: &Column, nulls: &mut Nulls) -> Result<ArrayRef, ArrowError> {
        match self {
            Slot::Empty => Ok(nulls.of(column.column_type)),
            Slot::Rows(column) => Ok(column.finish(nulls.rows)),
            Slot::Same(value) => repeated(&value, nulls.rows),
        }
    }
}

/// A column of rows that have the value of a column of one row.
fn repeated(value: &ArrayRef, rows: usize) -> Result<ArrayRef, ArrowError> {
    if let Some(number) = value.as_primitive_opt::<Int64Type>() {
        return Ok(Arc::new(Int64Array::from_value(number.value(0), rows)));
    }
    if let Some(time) = value.as_primitive_opt::<TimestampMicrosecondType>() {
        let times = TimestampMicrosecondArray::from_value(time.value(0), rows);
        return Ok(Arc::new(times.with_data_type(value.data_type().clone())));
    }
    take(value, &UInt32Array::from(vec![0; rows]), None)
}

/// The columns without values of a batch: one of each type, shared.
struct Nulls {
    rows: usize,
    made: Vec<(ColumnType, ArrayRef)>,
}

impl Nulls {
    fn of(&mut self, column_type: ColumnType) -> ArrayRef {
        if let Some((_, made)) = self.made.iter().find(|(other, _)| *other == column_type) {
            return Arc::clone(made);
        }
        let made = nulls(&column_type.arrow(), self.rows);
        self.made.push((column_type, Arc::clone(&made)));
        made
    }
}

/// A column whose values name entities, read by row.
struct Naming<'a> {
    entity_type: EntityType,
    role: Role,
    values: Names<'a>,
    /// The value of an earlier row and what it names: neighbours mostly share device and user.
    last: Option<(&'a str, Option<u32>)>,
}

enum Names<'a> {
    One(&'a StringViewArray),
    Many(&'a ListArray, &'a StringViewArray),
}

/// The canonical values of a batch, each kept once and known by its number.
#[derive(Default)]
struct Canonical<'a> {
    by_raw: HashMap<(EntityType, &'a str), Option<u32>, foldhash::fast::FixedState>,
    by_value: HashMap<Arc<str>, u32, foldhash::fast::FixedState>,
    values: Vec<Arc<str>>,
}

impl<'a> Canonical<'a> {
    /// The number of what a raw value names, if it names anything.
    fn of_raw(&mut self, entity_type: EntityType, raw: &'a str) -> Option<u32> {
        if let Some(number) = self.by_raw.get(&(entity_type, raw)) {
            return *number;
        }
        let number = Entity::canonical(entity_type, raw).map(|value| self.number(&value));
        self.by_raw.insert((entity_type, raw), number);
        number
    }

    fn number(&mut self, value: &Arc<str>) -> u32 {
        let next = self.values.len() as u32;
        let number = *self.by_value.entry(Arc::clone(value)).or_insert(next);
        if number == next {
            self.values.push(Arc::clone(value));
        }
        number
    }
}

/// The entity columns of a batch. Columns without a value are left out.
fn naming_columns<'a>(schema: &ClassSchema, arrays: &'a [ArrayRef], rows: usize) -> Vec<Naming<'a>> {
    let naming = |(column, array): (&Column, &'a ArrayRef)| {
        let (entity_type, role) = column.entity.filter(|_| array.null_count() < rows)?;
        let values = match array.data_type() {
            DataType::Utf8View => Names::One(array.as_string_view()),
            DataType::List(_) => {
                Names::Many(array.as_list(), array.as_list::<i32>().values().as_string_view())
            }
            _ => return None,
        };
        Some(Naming { entity_type, role, values, last: None })
    };
    schema.columns.iter().zip(arrays).filter_map(naming).collect()
}

impl<'a> Naming<'a> {
    fn each(&mut self, row: usize, canonical: &mut Canonical<'a>, out: &mut Vec<(EntityType, Role, u32)>) {
        match self.values {
            Names::One(array) if array.is_valid(row) => self.name(array.value(row), canonical, out),
            Names::Many(list, members) if list.is_valid(row) => {
                let (start, end) =
                    (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
                for i in (start..end).filter(|i| members.is_valid(*i)) {
                    self.name(members.value(i), canonical, out);
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, raw: &'a str, canonical: &mut Canonical<'a>, out: &mut Vec<(EntityType, Role, u32)>) {
        let value = match self.last {
            Some((last, value)) if last == raw => value,
            _ => {
                let value = canonical.of_raw(self.entity_type, raw);
                self.last = Some((raw, value));
                value
            }
        };
        let entity = value.map(|value| (self.entity_type, self.role, value));
        out.extend(entity.filter(|entity| !out.contains(entity)));
    }
}

fn entities_of(
    schema: &ClassSchema,
    arrays: &[ArrayRef],
    rows: usize,
    extra: &[Vec<Entity>],
) -> Result<ArrayRef, ArrowError> {
    let mut naming = naming_columns(schema, arrays, rows);
    let mut column = EntityColumn::default();
    let mut canonical = Canonical::default();
    let mut entities: Vec<(EntityType, Role, u32)> = Vec::new();
    for row in 0..rows {
        entities.clear();
        for names in &mut naming {
            names.each(row, &mut canonical, &mut entities);
        }
        for entity in extra.get(row).into_iter().flatten() {
            let entity = (entity.entity_type, entity.role, canonical.number(&entity.value));
            if !entities.contains(&entity) {
                entities.push(entity);
            }
        }
        column.push_row(&entities);
    }
    column.finish(&canonical.values)
}
