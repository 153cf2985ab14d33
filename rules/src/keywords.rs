//! What keywords search: every string, number and boolean of the raw record, decoded; keys are not searched.

use std::borrow::Cow;
use std::fmt;

use event::EventBatch;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The texts of a row: the leaves of its raw JSON, or the whole record where that is no JSON.
pub(crate) fn of(batch: &EventBatch, row: usize) -> Vec<Cow<'_, str>> {
    let Some(raw) = batch.text("raw", row) else { return Vec::new() };
    let mut leaves = Vec::new();
    let mut json = serde_json::Deserializer::from_str(raw);
    // The deserialiser stops at 128 levels; what it had read by then would be an arbitrary part.
    match Leaves(&mut leaves).deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => leaves,
        Err(_) => vec![Cow::Borrowed(raw)],
    }
}

/// Collects leaves without building a tree.
struct Leaves<'v, 'a>(&'v mut Vec<Cow<'a, str>>);

impl<'a> DeserializeSeed<'a> for Leaves<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Leaves<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.0.push(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.push(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.push(Cow::Borrowed(if value { "true" } else { "false" }));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.push(Cow::Owned(value.to_string()));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.push(Cow::Owned(value.to_string()));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        // As the decoder writes numbers in fields: `1.0` keeps its fraction.
        let is_whole = value.fract() == 0.0 && value.abs() < 1e15;
        self.0.push(Cow::Owned(if is_whole { format!("{value:.1}") } else { value.to_string() }));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_element_seed(Leaves(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key::<serde::de::IgnoredAny>()?.is_some() {
            entries.next_value_seed(Leaves(self.0))?;
        }
        Ok(())
    }
}
