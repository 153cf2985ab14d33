//! One column under construction, of any type of the model.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringViewBuilder,
    TimestampMicrosecondBuilder,
};

use crate::class::ColumnType;
use crate::time::Time;

/// Columns begin with room for so many rows: most batches have few, and a batch has many columns.
const ROWS: usize = 32;

/// A column under construction. It ends with the last row that has a value; what lies between values is null.
///
/// The first value of a row wins: a second one would shift every later row.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    rows: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Text(StringViewBuilder),
    Texts(ListBuilder<StringViewBuilder>),
    Int(Int64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Float(Float64Builder),
}

macro_rules! each {
    ($values:expr, $b:ident => $do:expr) => {
        match $values {
            Values::Text($b) => $do,
            Values::Texts($b) => $do,
            Values::Int($b) => $do,
            Values::Bool($b) => $do,
            Values::Time($b) => $do,
            Values::Float($b) => $do,
        }
    };
}

impl ColumnBuilder {
    pub(crate) fn new(column_type: ColumnType) -> Self {
        let values = match column_type {
            ColumnType::String | ColumnType::Json => {
                // Its blocks grow from 8 KiB: most columns of most batches hold little.
                Values::Text(StringViewBuilder::with_capacity(ROWS))
            }
            ColumnType::Strings => {
                Values::Texts(ListBuilder::with_capacity(StringViewBuilder::with_capacity(ROWS), ROWS))
            }
            ColumnType::Int => Values::Int(Int64Builder::with_capacity(ROWS)),
            ColumnType::Bool => Values::Bool(BooleanBuilder::with_capacity(ROWS)),
            ColumnType::Time => {
                Values::Time(TimestampMicrosecondBuilder::with_capacity(ROWS).with_timezone("UTC"))
            }
            ColumnType::Float => Values::Float(Float64Builder::with_capacity(ROWS)),
        };
        Self { rows: 0, values }
    }

    /// Whether the row may still get a value; rows before it are null if they have none.
    #[inline]
    fn starts(&mut self, row: usize) -> bool {
        if self.rows < row {
            self.pad_to(row);
        }
        self.rows == row
    }

    fn pad_to(&mut self, rows: usize) {
        for _ in self.rows..rows {
            each!(&mut self.values, b => b.append_null());
        }
        self.rows = self.rows.max(rows);
    }

    #[inline]
    pub(crate) fn set_text(&mut self, row: usize, value: &str) {
        if self.starts(row)
            && let Values::Text(b) = &mut self.values
        {
            b.append_value(value);
            self.rows += 1;
        }
    }

    pub(crate) fn set_texts<'a>(&mut self, row: usize, values: impl IntoIterator<Item = &'a str>) {
        if self.starts(row)
            && let Values::Texts(b) = &mut self.values
        {
            for value in values {
                b.values().append_value(value);
            }
            b.append(true);
            self.rows += 1;
        }
    }

    #[inline]
    pub(crate) fn set_int(&mut self, row: usize, value: i64) {
        if self.starts(row)
            && let Values::Int(b) = &mut self.values
        {
            b.append_value(value);
            self.rows += 1;
        }
    }

    pub(crate) fn set_bool(&mut self, row: usize, value: bool) {
        if self.starts(row)
            && let Values::Bool(b) = &mut self.values
        {
            b.append_value(value);
            self.rows += 1;
        }
    }

    #[inline]
    pub(crate) fn set_time(&mut self, row: usize, value: Time) {
        if self.starts(row)
            && let Values::Time(b) = &mut self.values
        {
            b.append_value(value.micros());
            self.rows += 1;
        }
    }

    pub(crate) fn set_float(&mut self, row: usize, value: f64) {
        if self.starts(row)
            && let Values::Float(b) = &mut self.values
        {
            b.append_value(value);
            self.rows += 1;
        }
    }

    /// Reads the text by the column's type; `false` where it does not fit.
    pub(crate) fn set_from_text(&mut self, row: usize, value: &str) -> bool {
        match self.values {
            Values::Text(_) => self.set_text(row, value),
            Values::Texts(_) => self.set_texts(row, [value]),
            Values::Int(_) => match parse_int(value) {
                Some(n) => self.set_int(row, n),
                None => return false,
            },
            Values::Bool(_) => match value.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => self.set_bool(row, true),
                "false" | "0" | "no" => self.set_bool(row, false),
                _ => return false,
            },
            Values::Time(_) => match Time::parse(value) {
                Ok(t) => self.set_time(row, t),
                Err(_) => return false,
            },
            Values::Float(_) => match value.parse() {
                Ok(f) => self.set_float(row, f),
                Err(_) => return false,
            },
        }
        true
    }

    /// The column, with nulls up to this number of rows.
    pub(crate) fn finish(mut self, rows: usize) -> ArrayRef {
        self.pad_to(rows);
        each!(&mut self.values, b => Arc::new(b.finish()) as ArrayRef)
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
