//! The schema of a table: that of its class, and the day.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Date32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use deltalake::DeltaTable;
use event::{Class, ClassSchema};

use crate::StorageError;

pub(crate) const TENANT: &str = "tenant";
/// The day of `time` in UTC: the second partition column, so that a hunt over a day opens only that day's files.
pub(crate) const DATE: &str = "date";

const DAY_US: i64 = 86_400_000_000;

static SCHEMAS: LazyLock<Vec<(Class, SchemaRef)>> = LazyLock::new(|| {
    let with_date = |class: Class| {
        let fields = ClassSchema::of(class).arrow.fields().iter().cloned();
        let date = Arc::new(Field::new(DATE, DataType::Date32, true));
        (class, Arc::new(Schema::new(fields.chain([date]).collect::<Vec<_>>())))
    };
    Class::all().map(with_date).collect()
});

/// The Arrow schema of the table of a class.
pub(crate) fn table_schema(class: Class) -> SchemaRef {
    let found = SCHEMAS.iter().find(|(c, _)| *c == class).map(|(_, schema)| Arc::clone(schema));
    found.unwrap_or_else(|| unreachable!("class {} has a schema", class.uid()))
}

/// A batch as the table takes it: with its day.
pub(super) fn table_batch(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let date = Field::new(DATE, DataType::Date32, true);
    let fields = batch.schema().fields().iter().cloned().chain([date.into()]).collect::<Vec<_>>();
    let columns = batch.columns().iter().cloned().chain([date_of(batch)?]).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn date_of(batch: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let times = batch.column_by_name("time").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or_else(|| ArrowError::SchemaError("a batch without `time`".to_owned()))?;
    let dates: Date32Array = times.unary(|us| us.div_euclid(DAY_US) as i32);
    Ok(Arc::new(dates))
}

/// Refuses a table whose columns have other types than the class has now. Columns that the table lacks are added
/// before the next write; columns that only the table has (a newer version wrote it) stay.
pub(super) fn check(place: &str, table: &DeltaTable, class: Class) -> Result<(), StorageError> {
    let Ok(snapshot) = table.snapshot() else { return Ok(()) };
    let on_disk = snapshot.snapshot().arrow_schema();
    for field in table_schema(class).fields() {
        let Ok(found) = on_disk.field_with_name(field.name()) else { continue };
        if plain(found.data_type()) != plain(field.data_type()) {
            return Err(StorageError::Schema {
                place: place.to_owned(),
                column: field.name().clone(),
                found: found.data_type().to_string(),
                expected: field.data_type().to_string(),
            });
        }
    }
    Ok(())
}

/// The columns of the class that its table lacks.
pub(super) fn missing_columns(table: &DeltaTable, class: Class) -> Vec<FieldRef> {
    let Ok(snapshot) = table.snapshot() else { return Vec::new() };
    let on_disk = snapshot.snapshot().arrow_schema();
    let schema = table_schema(class);
    let missing = schema.fields().iter().filter(|field| on_disk.field_with_name(field.name()).is_err());
    missing.cloned().collect()
}

/// The type without the difference between views and plain texts, and without field names and nullability inside.
fn plain(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            format!("list of {}", plain(item.data_type()))
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|f| format!("{}: {}", f.name(), plain(f.data_type()))).collect();
            fields.join(", ")
        }
        other => other.to_string(),
    }
}
