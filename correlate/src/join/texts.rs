//! A text column of a segment, in buffers of its own size: a value for each row while it is young, each value once when
//! segments are merged. Hosts, users and programs repeat.

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder, UInt32Array};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize, Serializer};

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "WrittenTexts")]
pub(crate) struct Texts {
    values: StringArray,
    /// The place of each row's value; rows are values where there are none.
    places: Option<UInt32Array>,
}

impl Texts {
    /// Rows without a value.
    pub(crate) fn none(rows: usize) -> Self {
        Self { values: StringArray::new_null(0), places: Some(UInt32Array::new_null(rows)) }
    }

    /// Some rows of a text column.
    pub(crate) fn copied(column: &ArrayRef, rows: &[u32]) -> Self {
        let Some(values) = column.as_string_view_opt().filter(|values| values.null_count() < values.len())
        else {
            return Self::none(rows.len());
        };
        let value = |row: &u32| values.is_valid(*row as usize).then(|| values.value(*row as usize));
        Self { values: strings(rows.iter().map(value)), places: None }
    }

    /// The rows of several columns, one behind the other.
    pub(crate) fn merged<'a>(columns: impl Iterator<Item = &'a Texts>) -> Self {
        let mut known: HashMap<&str, u32> = HashMap::new();
        let (mut values, mut places) = (Vec::new(), Vec::new());
        for column in columns {
            places.reserve(column.len());
            for row in 0..column.len() {
                places.push(column.get(row).map(|value| {
                    *known.entry(value).or_insert_with(|| {
                        values.push(Some(value));
                        (values.len() - 1) as u32
                    })
                }));
            }
        }
        Self { values: strings(values.into_iter()), places: Some(places.into()) }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.as_ref().map_or(self.values.len(), UInt32Array::len)
    }

    /// The value of a row.
    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        let row = match &self.places {
            Some(places) => places.is_valid(row).then(|| places.value(row) as usize)?,
            None => row,
        };
        self.values.is_valid(row).then(|| self.values.value(row))
    }
}

/// An array with no room to spare.
fn strings<'a>(values: impl Iterator<Item = Option<&'a str>> + Clone) -> StringArray {
    let bytes = values.clone().flatten().map(str::len).sum();
    let mut builder = StringBuilder::with_capacity(values.clone().count(), bytes);
    values.for_each(|value| builder.append_option(value));
    builder.finish()
}

/// A column in bytes: values behind each other, with the length of each, and the places of rows among them. [`NONE`] is
/// that of what there is not.
#[derive(Serialize, Deserialize)]
struct WrittenTexts {
    text: String,
    #[serde(with = "event::numbers")]
    lengths: Vec<u32>,
    places: Option<Places>,
}

#[derive(Serialize, Deserialize)]
struct Places(#[serde(with = "event::numbers")] Vec<u32>);

const NONE: u32 = u32::MAX;

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = || self.values.iter();
        let or_none =
            |places: &UInt32Array| Places(places.iter().map(|place| place.unwrap_or(NONE)).collect());
        let written = WrittenTexts {
            text: values().flatten().collect(),
            lengths: values().map(|value| value.map_or(NONE, |value| value.len() as u32)).collect(),
            places: self.places.as_ref().map(or_none),
        };
        written.serialize(serializer)
    }
}

impl TryFrom<WrittenTexts> for Texts {
    type Error = &'static str;

    fn try_from(written: WrittenTexts) -> Result<Self, Self::Error> {
        const WRONG: &str = "texts of a join that do not fit together";
        let mut rest = written.text.as_str();
        let mut builder = StringBuilder::with_capacity(written.lengths.len(), written.text.len());
        for length in &written.lengths {
            if *length == NONE {
                builder.append_null();
                continue;
            }
            let (value, after) = rest.split_at_checked(*length as usize).ok_or(WRONG)?;
            builder.append_value(value);
            rest = after;
        }
        let values = builder.finish();
        let fits = |place: &u32| *place == NONE || (*place as usize) < values.len();
        let all_fit = written.places.iter().flat_map(|places| &places.0).all(fits);
        let or_null =
            |Places(places)| places.into_iter().map(|place| (place != NONE).then_some(place)).collect();
        let places = written.places.map(or_null);
        all_fit.then_some(Self { values, places }).ok_or(WRONG)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringViewArray;

    use super::*;

    #[test]
    fn merged_texts_are_the_texts_one_behind_the_other() {
        let column: ArrayRef = Arc::new(StringViewArray::from(vec![
            Some("a"),
            None,
            Some("ä long text, longer than a view"),
            Some("a"),
            Some(""),
        ]));
        let parts = [Texts::copied(&column, &[0, 1, 2]), Texts::none(2), Texts::copied(&column, &[2, 3, 4])];
        let merged = Texts::merged(parts.iter());
        let all =
            |texts: &Texts| (0..texts.len()).map(|row| texts.get(row).map(str::to_owned)).collect::<Vec<_>>();
        let expected: Vec<Option<String>> = parts.iter().flat_map(all).collect();
        assert_eq!(all(&merged), expected);
        assert_eq!(merged.values.len(), 3);
        let again = Texts::merged([&merged, &parts[0]].into_iter());
        assert_eq!(all(&again), [expected, all(&parts[0])].concat());
        for texts in parts.iter().chain([&merged, &again]) {
            let bytes = event::snapshot::write(b"test0001", texts);
            assert_eq!(all(&event::snapshot::read(b"test0001", &bytes).unwrap()), all(texts));
        }
        let wrong = WrittenTexts { text: "ab".to_owned(), lengths: vec![2], places: Some(Places(vec![1])) };
        assert!(Texts::try_from(wrong).is_err());
    }
}
