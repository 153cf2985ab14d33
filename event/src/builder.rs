//! Builds batches column by column; entities are derived from the columns that name them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, ListArray, ListBuilder,
    RecordBatch, StringViewArray, StringViewBuilder, TimestampMicrosecondBuilder, new_null_array,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::batch::{EntityColumn, EventBatch, NativeFields, RowMeta};
use crate::class::{Class, ClassSchema, Column, ColumnType, ENVELOPE_LEN};
use crate::entity::{Entity, EntityType, Role};
use crate::time::Time;

/// A batch under construction. Set columns in any order, then [`BatchBuilder::end_row`].
///
/// Columns are addressed by their index in [`ClassSchema::columns`]. What a row does not set is null; a
/// column that no row sets costs nothing until the batch is finished. Required columns (see the schema) must be set.
#[derive(Debug)]
pub struct BatchBuilder {
    schema: &'static ClassSchema,
    meta: Arc<RowMeta>,
    columns: Vec<Option<ColumnBuilder>>,
    rows: usize,
}

#[derive(Debug)]
enum ColumnBuilder {
    String(StringViewBuilder),
    Strings(ListBuilder<StringViewBuilder>),
    Int(Int64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Float(Float64Builder),
}

macro_rules! each {
    ($builder:expr, $b:ident => $do:expr) => {
        match $builder {
            ColumnBuilder::String($b) => $do,
            ColumnBuilder::Strings($b) => $do,
            ColumnBuilder::Int($b) => $do,
            ColumnBuilder::Bool($b) => $do,
            ColumnBuilder::Time($b) => $do,
            ColumnBuilder::Float($b) => $do,
        }
    };
}

impl ColumnBuilder {
    fn new(column_type: ColumnType) -> Self {
        match column_type {
            ColumnType::String | ColumnType::Json => {
                ColumnBuilder::String(StringViewBuilder::new().with_fixed_block_size(STRING_BLOCK_BYTES))
            }
            ColumnType::Strings => ColumnBuilder::Strings(ListBuilder::new(StringViewBuilder::new())),
            ColumnType::Int => ColumnBuilder::Int(Int64Builder::new()),
            ColumnType::Bool => ColumnBuilder::Bool(BooleanBuilder::new()),
            ColumnType::Time => ColumnBuilder::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            ColumnType::Float => ColumnBuilder::Float(Float64Builder::new()),
        }
    }

    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder;
        each!(self, b => b.len())
    }

    fn pad_to(&mut self, rows: usize) {
        for _ in self.len()..rows {
            each!(self, b => b.append_null());
        }
    }

    fn finish(mut self) -> ArrayRef {
        each!(&mut self, b => Arc::new(b.finish()) as ArrayRef)
    }
}

/// String blocks start at their final size: growing ones are copied, and a block keeps its views alive.
const STRING_BLOCK_BYTES: u32 = 256 * 1024;

impl BatchBuilder {
    /// An empty batch of a class.
    pub fn new(class: Class, meta: Arc<RowMeta>) -> Self {
        let schema = ClassSchema::of(class);
        Self { schema, meta, columns: schema.columns.iter().map(|_| None).collect(), rows: 0 }
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

    fn builder(&mut self, index: usize) -> Option<&mut ColumnBuilder> {
        let rows = self.rows;
        let column_type = self.schema.columns[index].column_type;
        let builder = self.columns[index].get_or_insert_with(|| ColumnBuilder::new(column_type));
        // The first value of a row wins: a second one would shift every later row.
        if builder.len() > rows {
            return None;
        }
        builder.pad_to(rows);
        Some(builder)
    }

    /// Sets a `string` or `json` column of the current row.
    pub fn set_text(&mut self, index: usize, value: &str) {
        if let Some(ColumnBuilder::String(b)) = self.builder(index) {
            b.append_value(value);
        }
    }

    /// Sets a `strings` column of the current row.
    pub fn set_texts<'a>(&mut self, index: usize, values: impl IntoIterator<Item = &'a str>) {
        if let Some(ColumnBuilder::Strings(b)) = self.builder(index) {
            for value in values {
                b.values().append_value(value);
            }
            b.append(true);
        }
    }

    /// Sets an `int` column of the current row.
    pub fn set_int(&mut self, index: usize, value: i64) {
        if let Some(ColumnBuilder::Int(b)) = self.builder(index) {
            b.append_value(value);
        }
    }

    /// Sets a `bool` column of the current row.
    pub fn set_bool(&mut self, index: usize, value: bool) {
        if let Some(ColumnBuilder::Bool(b)) = self.builder(index) {
            b.append_value(value);
        }
    }

    /// Sets a `time` column of the current row.
    pub fn set_time(&mut self, index: usize, value: Time) {
        if let Some(ColumnBuilder::Time(b)) = self.builder(index) {
            b.append_value(value.micros());
        }
    }

    /// Sets a `float` column of the current row.
    pub fn set_float(&mut self, index: usize, value: f64) {
        if let Some(ColumnBuilder::Float(b)) = self.builder(index) {
            b.append_value(value);
        }
    }

    /// Sets a column from text, by the column's type; `false` where the text does not fit the type.
    ///
    /// Integers may be decimal or `0x` hexadecimal; booleans `true|false|1|0|yes|no`; `strings` takes one member.
    pub fn set_from_text(&mut self, index: usize, value: &str) -> bool {
        match self.schema.columns[index].column_type {
            ColumnType::String | ColumnType::Json => self.set_text(index, value),
            ColumnType::Strings => self.set_texts(index, [value]),
            ColumnType::Int => match parse_int(value) {
                Some(n) => self.set_int(index, n),
                None => return false,
            },
            ColumnType::Bool => match value.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => self.set_bool(index, true),
                "false" | "0" | "no" => self.set_bool(index, false),
                _ => return false,
            },
            ColumnType::Time => match Time::parse(value) {
                Ok(t) => self.set_time(index, t),
                Err(_) => return false,
            },
            ColumnType::Float => match value.parse() {
                Ok(f) => self.set_float(index, f),
                Err(_) => return false,
            },
        }
        true
    }

    /// Ends the current row.
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
        let mut arrays: Vec<ArrayRef> = columns
            .into_iter()
            .zip(&schema.columns)
            .map(|(builder, column)| match builder {
                Some(mut b) => {
                    b.pad_to(rows);
                    b.finish()
                }
                None => new_null_array(&column.column_type.arrow(), rows),
            })
            .collect();
        arrays.insert(ENVELOPE_LEN, entities_of(schema, &arrays, rows, extra));
        let columns = RecordBatch::try_new(Arc::clone(&schema.arrow), arrays)?;
        Ok(EventBatch { class: schema.class, meta, columns, native })
    }
}

fn parse_int(value: &str) -> Option<i64> {
    let value = value.trim();
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|n| n as i64),
        None => value.parse().ok().or_else(|| {
            value.parse::<f64>().ok().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64)
        }),
    }
}

/// A column whose values name entities, read by row.
struct Naming<'a> {
    entity_type: EntityType,
    role: Role,
    values: Names<'a>,
    /// The value of an earlier row and what it names: neighbours mostly share device and user.
    last: Option<(&'a str, Option<Arc<str>>)>,
}

enum Names<'a> {
    One(&'a StringViewArray),
    Many(&'a ListArray, &'a StringViewArray),
}

/// Canonical values of a batch, by type and raw value.
type Canonical<'a> = HashMap<(EntityType, &'a str), Option<Arc<str>>, foldhash::fast::FixedState>;

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
    fn each(
        &mut self,
        row: usize,
        canonical: &mut Canonical<'a>,
        out: &mut Vec<(EntityType, Role, Arc<str>)>,
    ) {
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

    fn name(
        &mut self,
        raw: &'a str,
        canonical: &mut Canonical<'a>,
        out: &mut Vec<(EntityType, Role, Arc<str>)>,
    ) {
        let value = match &self.last {
            Some((last, value)) if *last == raw => value.clone(),
            _ => {
                let make = || Entity::canonical(self.entity_type, raw);
                let value = canonical.entry((self.entity_type, raw)).or_insert_with(make).clone();
                self.last = Some((raw, value.clone()));
                value
            }
        };
        let entity = value.map(|value| (self.entity_type, self.role, value));
        out.extend(entity.filter(|entity| !out.contains(entity)));
    }
}

fn entities_of(schema: &ClassSchema, arrays: &[ArrayRef], rows: usize, extra: &[Vec<Entity>]) -> ArrayRef {
    let mut naming = naming_columns(schema, arrays, rows);
    let mut column = EntityColumn::default();
    let mut canonical = Canonical::default();
    let mut entities: Vec<(EntityType, Role, Arc<str>)> = Vec::new();
    for row in 0..rows {
        entities.clear();
        for names in &mut naming {
            names.each(row, &mut canonical, &mut entities);
        }
        for entity in extra.get(row).into_iter().flatten() {
            let entity = (entity.entity_type, entity.role, Arc::clone(&entity.value));
            if !entities.contains(&entity) {
                entities.push(entity);
            }
        }
        column.push_row(entities.iter().map(|(t, r, v)| (*t, *r, v.as_ref())));
    }
    column.finish()
}
