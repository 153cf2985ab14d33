//! Native fields: what rules name by the source's own names.
//!
//! A native field of a row stands in the row's `raw` nearly always, so a column of them says where: nothing is copied and no
//! escape is resolved for values that no rule asks for, or that other rows have too.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, StringViewArray};
use foldhash::fast::FixedState;

/// The native fields that loaded rules name, as columns parallel to the batch.
#[derive(Debug, Clone, Default)]
pub struct NativeFields {
    fields: HashMap<Arc<str>, NativeColumn, FixedState>,
}

impl NativeFields {
    /// Adds or replaces a field.
    pub fn insert(&mut self, name: Arc<str>, column: NativeColumn) {
        self.fields.insert(name, column);
    }

    /// The column of a native field, if the decoder extracted it.
    pub(crate) fn get(&self, name: &str) -> Option<&NativeColumn> {
        self.fields.get(name)
    }
}

/// One native field, built row by row. Rows that nothing was pushed for do not have it; the first push of a row wins.
#[derive(Debug, Clone, Default)]
pub struct NativeColumn {
    /// May end before the batch does.
    cells: Vec<Cell>,
    /// Values that do not stand in `raw`, one after the other.
    texts: String,
    members: Vec<Vec<String>>,
}

/// A column begins with room for so many rows.
const ROWS: usize = 32;

/// Where the value of a row is.
#[derive(Debug, Clone, Copy)]
enum Cell {
    Absent,
    Null,
    /// These bytes of the row's `raw`.
    Plain(u32, u32),
    /// These bytes of the row's `raw`, with escapes.
    Written(u32, u32),
    /// These bytes of [`NativeColumn::texts`].
    Own(u32, u32),
    /// This number of [`NativeColumn::members`].
    Members(u32),
}

/// What a row has for a native field. Scalars are text in their JSON form without quotes (`true`, `4624`), since Sigma compares
/// across string and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native<'a> {
    /// The key is not there.
    Absent,
    /// The key is there without a value of its own: null, an object, a list of objects.
    Null,
    /// A value.
    Text(&'a str),
    /// A value as JSON writes it, with escapes: [`unescaped`](crate::json::unescaped) resolves them.
    Written(&'a str),
    /// The scalars of a list. Any may match.
    Members(&'a [String]),
}

impl NativeColumn {
    /// Whether `row` is the next one that gets a value; rows before it have none if they got none.
    #[inline]
    fn starts(&mut self, row: usize) -> bool {
        if self.cells.capacity() == 0 {
            self.cells.reserve(ROWS);
        }
        if self.cells.len() < row {
            self.cells.resize(row, Cell::Absent);
        }
        self.cells.len() == row
    }

    #[inline]
    fn push(&mut self, row: usize, cell: Cell) {
        if self.starts(row) {
            self.cells.push(cell);
        }
    }

    /// The value of a row is these bytes of its `raw`; `written` where JSON's escapes in them are unresolved.
    #[inline]
    pub fn push_place(&mut self, row: usize, bytes: Range<u32>, written: bool) {
        let Range { start, end } = bytes;
        self.push(row, if written { Cell::Written(start, end) } else { Cell::Plain(start, end) });
    }

    /// The value of a row, which does not stand in its `raw`. Beyond 4 GiB of such texts rows have none.
    pub fn push_text(&mut self, row: usize, text: &str) {
        if !self.starts(row) {
            return;
        }
        let start = self.texts.len();
        let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(start + text.len())) else { return };
        self.texts.push_str(text);
        self.cells.push(Cell::Own(start, end));
    }

    /// The row has the key without a value.
    pub fn push_null(&mut self, row: usize) {
        self.push(row, Cell::Null);
    }

    /// The scalars of the list that the row has.
    pub fn push_members(&mut self, row: usize, members: Vec<String>) {
        if self.starts(row) {
            self.cells.push(Cell::Members(self.members.len() as u32));
            self.members.push(members);
        }
    }
}

/// One native field of a batch.
#[derive(Debug, Clone, Copy)]
pub struct NativeReader<'a> {
    column: &'a NativeColumn,
    raw: Option<&'a StringViewArray>,
}

impl<'a> NativeReader<'a> {
    pub(crate) fn new(column: &'a NativeColumn, raw: Option<&'a StringViewArray>) -> Self {
        Self { column, raw }
    }

    /// What `row` (from 0) has.
    #[inline]
    pub fn get(&self, row: usize) -> Native<'a> {
        let own = |start: u32, end: u32| self.column.texts.get(start as usize..end as usize);
        match self.column.cells.get(row) {
            None | Some(Cell::Absent) => Native::Absent,
            Some(Cell::Null) => Native::Null,
            Some(Cell::Plain(start, end)) => self.raw(row, *start, *end).map_or(Native::Absent, Native::Text),
            Some(Cell::Written(start, end)) => {
                self.raw(row, *start, *end).map_or(Native::Absent, Native::Written)
            }
            Some(Cell::Own(start, end)) => own(*start, *end).map_or(Native::Absent, Native::Text),
            Some(Cell::Members(list)) => {
                self.column.members.get(*list as usize).map_or(Native::Absent, |list| Native::Members(list))
            }
        }
    }

    #[inline]
    fn raw(&self, row: usize, start: u32, end: u32) -> Option<&'a str> {
        let raw = self.raw.filter(|raw| row < raw.len())?;
        raw.value(row).get(start as usize..end as usize)
    }

    /// Bytes of all values as they are kept.
    pub fn bytes(&self) -> usize {
        let bytes = |cell: &Cell| match cell {
            Cell::Plain(start, end) | Cell::Written(start, end) | Cell::Own(start, end) => {
                end.saturating_sub(*start) as usize
            }
            Cell::Absent | Cell::Null | Cell::Members(_) => 0,
        };
        self.column.cells.iter().map(bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_what_was_pushed_first() {
        let raw = StringViewArray::from(vec![r#"{"a":"x\\y"}"#, "{}", r#"{"a":12}"#, "", "", ""]);
        let mut column = NativeColumn::default();
        column.push_place(0, 6..10, true);
        column.push_text(0, "second");
        column.push_place(2, 5..7, false);
        column.push_text(3, "own");
        column.push_members(4, vec!["m".into()]);
        column.push_null(5);
        let reader = NativeReader::new(&column, Some(&raw));
        assert_eq!(reader.get(0), Native::Written(r"x\\y"));
        assert_eq!(reader.get(1), Native::Absent);
        assert_eq!(reader.get(2), Native::Text("12"));
        assert_eq!(reader.get(3), Native::Text("own"));
        assert_eq!(reader.get(4), Native::Members(&["m".to_owned()]));
        assert_eq!(reader.get(5), Native::Null);
        assert_eq!(reader.get(6), Native::Absent);
        assert_eq!(reader.bytes(), 4 + 2 + 3);
    }

    #[test]
    fn a_place_outside_the_raw_record_is_no_value() {
        let raw = StringViewArray::from(vec!["é"]);
        for bytes in [0..3, 1..2, 7..9] {
            let mut column = NativeColumn::default();
            column.push_place(0, bytes, false);
            assert_eq!(NativeReader::new(&column, Some(&raw)).get(0), Native::Absent);
            assert_eq!(NativeReader::new(&column, None).get(0), Native::Absent);
        }
    }
}
