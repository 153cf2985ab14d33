//! The value of a Sigma field in a row: native field first, then the OCSF columns that stand for it.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use event::json::unescaped;
use event::{EventBatch, Native, NativeReader, Time};
use hashbrown::HashMap;

use crate::atom::{Atoms, Field, FieldId};
use crate::keywords;
use crate::taxonomy::{self, Source};

/// What a row holds for a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// The key is not there.
    Absent,
    /// The key is there, without a value.
    Null,
    /// One value.
    One(Cow<'a, str>),
    /// A list of values, perhaps empty.
    Many(Vec<Cow<'a, str>>),
}

/// One Sigma field of a batch, read as rules read it: what is native, else what the taxonomy finds in OCSF columns.
pub struct FieldCells<'a>(FieldReader<'a>);

impl<'a> FieldCells<'a> {
    /// The field `name` (without spaces) of `batch`; `None` where no row can hold it.
    pub fn of(batch: &'a EventBatch, name: &str) -> Option<Self> {
        let reader = FieldReader::new(batch, &Field::Named(name.into()));
        (!reader.is_absent()).then_some(Self(reader))
    }

    /// What `row` (from 0, below the batch's length) holds.
    pub fn cell(&self, row: usize) -> Cell<'a> {
        self.0.cell(row)
    }
}

/// Reads the cells of one field of a batch.
///
/// Row by row the native field wins wherever it has a value, so that neighbours in a batch, which differ with
/// the size of batches, never change what a row holds. A key without a value of its own (null, an object, a
/// list of objects, an empty list) yields to the OCSF columns: a mapping may have read what is inside.
pub(crate) enum FieldReader<'a> {
    Named { native: Option<NativeReader<'a>>, mapped: Option<(&'a EventBatch, &'static Source)> },
    Keywords(&'a EventBatch),
}

impl<'a> FieldReader<'a> {
    pub(crate) fn new(batch: &'a EventBatch, field: &Field) -> Self {
        match field {
            Field::Keywords => FieldReader::Keywords(batch),
            Field::Named(name) => FieldReader::Named {
                native: batch.native_field(name),
                mapped: taxonomy::source_of(batch.class, name)
                    .map(|source| (batch, source))
                    .filter(|(b, s)| s.has_value(b)),
            },
        }
    }

    /// Whether no row of the batch can hold the field.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, FieldReader::Named { native: None, mapped: None })
    }

    pub(crate) fn cell(&self, row: usize) -> Cell<'a> {
        match self.kept(row) {
            Kept::Cell(cell) => cell,
            Kept::Written(written) => Cell::One(unescaped(written).into()),
        }
    }

    /// What a row holds, its escapes unresolved.
    #[inline]
    pub(crate) fn kept(&self, row: usize) -> Kept<'a> {
        let (native, mapped) = match self {
            FieldReader::Keywords(batch) => return Kept::Cell(Cell::Many(keywords::of(batch, row))),
            FieldReader::Named { native, mapped } => (native, mapped),
        };
        let native = native.map_or(Native::Absent, |native| native.get(row));
        let mapped = || mapped.as_ref().map_or(Cell::Absent, |(batch, source)| source.cell(batch, row));
        Kept::Cell(match native {
            Native::Text(text) => Cell::One(Cow::Borrowed(text)),
            Native::Written(text) => return Kept::Written(text),
            Native::Members([]) => match mapped() {
                Cell::Absent => Cell::Many(Vec::new()),
                found => found,
            },
            Native::Members(members) => {
                Cell::Many(members.iter().map(|m| Cow::Borrowed(m.as_str())).collect())
            }
            Native::Absent => mapped(),
            Native::Null => match mapped() {
                Cell::Absent => Cell::Null,
                found => found,
            },
        })
    }

    /// Bytes of the native values as they are kept.
    pub(crate) fn native_bytes(&self) -> usize {
        match self {
            FieldReader::Named { native: Some(native), .. } => native.bytes(),
            _ => 0,
        }
    }
}

/// What a row holds for a field, as the batch keeps it.
pub(crate) enum Kept<'a> {
    Cell(Cell<'a>),
    /// One value as JSON writes it, with escapes.
    Written(&'a str),
}

/// Reads cells of a batch by field and row, as it comes; each field is looked up once.
pub(crate) struct RowReader<'a> {
    batch: &'a EventBatch,
    atoms: &'a Atoms,
    readers: HashMap<FieldId, FieldReader<'a>>,
}

impl<'a> RowReader<'a> {
    pub(crate) fn new(atoms: &'a Atoms, batch: &'a EventBatch) -> Self {
        Self { batch, atoms, readers: HashMap::new() }
    }

    pub(crate) fn cell(&mut self, field: FieldId, row: usize) -> Cell<'a> {
        let (atoms, batch) = (self.atoms, self.batch);
        let reader = self.readers.entry(field);
        reader.or_insert_with(|| FieldReader::new(batch, &atoms.fields()[field as usize])).cell(row)
    }
}

impl Source {
    fn has_value(&self, batch: &EventBatch) -> bool {
        let has_value = |i: usize| batch.columns.column(i).null_count() < batch.len();
        match self {
            Source::First(columns) => columns.iter().any(|i| has_value(*i)),
            Source::Labelled(columns) => columns.iter().any(|(_, i)| has_value(*i)),
        }
    }

    fn cell<'a>(&self, batch: &'a EventBatch, row: usize) -> Cell<'a> {
        match self {
            Source::First(columns) => {
                let mut cells = columns.iter().map(|i| column_cell(batch.columns.column(*i), row));
                cells.find(|cell| *cell != Cell::Absent).unwrap_or(Cell::Absent)
            }
            Source::Labelled(columns) => {
                let member = |(label, i): &(String, usize)| match column_cell(batch.columns.column(*i), row) {
                    Cell::One(value) => Some(Cow::Owned(format!("{label}={value}"))),
                    _ => None,
                };
                let members: Vec<Cow<'a, str>> = columns.iter().filter_map(member).collect();
                if members.is_empty() { Cell::Absent } else { Cell::Many(members) }
            }
        }
    }
}

/// A null in an OCSF column says that the record did not have it.
fn column_cell(array: &ArrayRef, row: usize) -> Cell<'_> {
    if array.is_null(row) {
        return Cell::Absent;
    }
    match array.data_type() {
        DataType::Utf8View => Cell::One(Cow::Borrowed(array.as_string_view().value(row))),
        DataType::Int64 => Cell::One(array.as_primitive::<Int64Type>().value(row).to_string().into()),
        DataType::Boolean => Cell::One(array.as_boolean().value(row).to_string().into()),
        DataType::Float64 => Cell::One(array.as_primitive::<Float64Type>().value(row).to_string().into()),
        DataType::Timestamp(..) => {
            Cell::One(Time(array.as_primitive::<TimestampMicrosecondType>().value(row)).to_string().into())
        }
        DataType::List(_) => {
            let members = array.as_list::<i32>().value(row);
            let texts = members.as_string_view_opt().into_iter().flat_map(|m| m.iter().flatten());
            Cell::Many(texts.map(|t| Cow::Owned(t.to_owned())).collect())
        }
        _ => Cell::Absent,
    }
}
