//! The values of one event, by field number. Reused from event to event.

use serde_json::Value;

use super::json::Json;
use super::tape::{Span, Tape};
use crate::mapping::FieldId;

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Absent,
    /// Index on the record's tape.
    Tape(u32),
    /// Index among the values that were read from JSON text.
    Owned(u32),
    /// Index among the constants of the shape.
    Constant(u32),
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    place: Place,
    rank: u16,
    /// Found in a member of a list: then `Slots::listed` holds every finding.
    in_list: bool,
}

const EMPTY: Slot = Slot { place: Place::Absent, rank: u16::MAX, in_list: false };

/// A null is worse than any value on a later path.
const NULL_RANK: u16 = 0x8000;

/// The values of one event.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    touched: Vec<FieldId>,
    listed: Vec<(FieldId, u16, Place)>,
    owned: Vec<Value>,
}

impl Slots {
    /// Forgets the last event; there are `fields` fields.
    pub(crate) fn reset(&mut self, fields: usize) {
        for field in self.touched.drain(..) {
            self.slots[usize::from(field)] = EMPTY;
        }
        if self.slots.len() < fields {
            self.slots.resize(fields, EMPTY);
        }
        self.listed.clear();
        self.owned.clear();
    }

    /// Begins with what the envelope gave. Ranks are numbered over both, so the better path wins wherever it stands.
    pub(crate) fn start_from(&mut self, envelope: &Slots, fields: usize) {
        self.reset(fields);
        self.owned.clone_from(&envelope.owned);
        self.listed.clone_from(&envelope.listed);
        for field in &envelope.touched {
            self.slots[usize::from(*field)] = envelope.slots[usize::from(*field)];
        }
        self.touched.clone_from(&envelope.touched);
    }

    #[inline]
    pub(crate) fn keep(&mut self, value: Json<'_>) -> Place {
        match value {
            Json::Tape(_, at) => u32::try_from(at).map_or(Place::Absent, Place::Tape),
            Json::Value(value) => {
                self.owned.push(value.clone());
                Place::Owned(self.owned.len() as u32 - 1)
            }
            Json::Text(_) => Place::Absent,
        }
    }

    /// A path of that rank leads to a value. The lowest rank wins; among equals the first, or all if in a list.
    #[inline]
    pub(crate) fn hit(&mut self, field: FieldId, rank: u16, null: bool, place: Place, in_list: bool) {
        let rank = if null { rank | NULL_RANK } else { rank };
        let slot = &mut self.slots[usize::from(field)];
        if slot.place == Place::Absent {
            self.touched.push(field);
        }
        if rank < slot.rank || slot.place == Place::Absent {
            *slot = Slot { place, rank, in_list };
        }
        if in_list && rank == slot.rank && slot.in_list {
            self.listed.push((field, rank, place));
        }
    }

    /// Gives a field a constant, unless the record has it.
    pub(crate) fn set_constant(&mut self, field: FieldId, index: u32) {
        if self.slots[usize::from(field)].place == Place::Absent {
            self.touched.push(field);
            self.slots[usize::from(field)] =
                Slot { place: Place::Constant(index), rank: NULL_RANK - 1, in_list: false };
        }
    }

    /// Gives a field a number that the record does not spell out.
    pub(crate) fn set_number(&mut self, field: FieldId, number: usize) {
        self.owned.push(Value::from(number));
        let place = Place::Owned(self.owned.len() as u32 - 1);
        self.hit(field, 0, false, place, false);
    }

    /// Resolves the escapes of what was found on the tape for the first `fields` fields: those of the mapping, of which
    /// expressions want the text. Texts for rules alone are resolved on their way into a column.
    pub(crate) fn resolve(&self, tape: &mut Tape<'_>, fields: usize) {
        let first = self.touched.iter().map(|field| (*field, self.slots[usize::from(*field)].place));
        for (field, place) in first.chain(self.listed.iter().map(|(field, _, place)| (*field, *place))) {
            if let Place::Tape(at) = place
                && usize::from(field) < fields
            {
                tape.resolve(at as usize);
            }
        }
    }

    /// Fields that are present, in order of first appearance.
    pub(crate) fn present(&self) -> &[FieldId] {
        &self.touched
    }

    #[inline]
    fn place(&self, field: FieldId) -> Slot {
        self.slots.get(usize::from(field)).copied().unwrap_or(EMPTY)
    }
}

/// The values of one event, readable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) slots: &'a Slots,
    pub(crate) tape: &'a Tape<'a>,
    pub(crate) constants: &'a [Box<str>],
}

impl<'a> Values<'a> {
    /// The value of a field: the first one, where it stands in several members of a list.
    #[inline]
    pub(crate) fn get(&self, field: FieldId) -> Option<Json<'a>> {
        self.read(self.slots.place(field).place)
    }

    /// The text of a field that stands once in the record, as text: what nearly every field of telemetry is. It takes
    /// no detour over [`Json`], whose copies in memory cost more than the look-up.
    #[inline]
    pub(crate) fn plain_text(&self, field: FieldId) -> Option<&'a str> {
        match self.slots.place(field) {
            Slot { place: Place::Tape(at), in_list: false, .. } => self.tape.text(at as usize),
            _ => None,
        }
    }

    /// Where the record writes such a field; see [`Tape::place`].
    #[inline]
    pub(crate) fn plain_place(&self, field: FieldId) -> Option<(Span, bool)> {
        match self.slots.place(field) {
            Slot { place: Place::Tape(at), in_list: false, .. } => self.tape.place(at as usize),
            _ => None,
        }
    }

    /// Which of its paths led to the field, counted from the best one.
    pub(crate) fn rank(&self, field: FieldId) -> usize {
        usize::from(self.slots.place(field).rank)
    }

    /// Whether the record has the field.
    #[inline]
    pub(crate) fn has(&self, field: FieldId) -> bool {
        self.slots.place(field).place != Place::Absent
    }

    #[inline]
    fn read(&self, place: Place) -> Option<Json<'a>> {
        match place {
            Place::Absent => None,
            Place::Tape(at) => Some(Json::Tape(self.tape, at as usize)),
            Place::Owned(i) => self.slots.owned.get(i as usize).map(Json::Value),
            Place::Constant(i) => self.constants.get(i as usize).map(|text| Json::Text(text)),
        }
    }

    /// Whether the field was found in members of a list.
    #[inline]
    pub(crate) fn is_listed(&self, field: FieldId) -> bool {
        self.slots.place(field).in_list
    }

    /// Every value of a field that was found in members of a list.
    pub(crate) fn listed(&self, field: FieldId) -> impl Iterator<Item = Json<'a>> {
        let rank = self.slots.place(field).rank;
        let values = *self;
        self.slots
            .listed
            .iter()
            .filter(move |(f, r, _)| *f == field && *r == rank)
            .filter_map(move |(_, _, place)| values.read(*place))
    }
}
