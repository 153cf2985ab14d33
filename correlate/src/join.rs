//! Joins of plain events across domains, so that an alert on one of two events and an alert on the other meet, though
//! neither rule saw the other's event.
//!
//! ```text
//! batch -> predicate.rs: rows of each selection, column by column
//!       -> key.rs:       hashes of their keys, once a batch
//!       -> segment.rs:   the rows as a mini-segment (columns, sorted hashes, blocked Bloom)
//!          index.rs:     its hashes, in memory or on a shelf
//!       -> ring.rs:      asks the other side's rings (Bloom first), then waits in its own until its window has passed
//!       -> link.rs:      the pairs found, by record and by what each event led to or came from
//! alert -> walk.rs:      from its records and processes over links to what other alerts are about
//! ```
//!
//! The definitions are data, `joins.yml`; what a join is worth is in `parameters.yml`. Both sides are kept as long as an
//! event of the other side may still come, so it does not matter which came first. Names of users and devices only
//! narrow the search here; that they name one thing is proved when an alert asks, with the aliases of its time.

mod bloom;
mod definition;
mod index;
mod key;
mod link;
mod predicate;
mod ring;
mod segment;
mod texts;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Entity, EventBatch, RecordRef, Shelf, TenantId, Watermark, Watermarks};
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

pub(crate) use definition::Definitions;
pub(crate) use link::{End, Links, Pair};
pub(crate) use walk::{Lead, Place as Start, Via, Walk};

use crate::evidence::Key;
use crate::parameters::{File, Parameters};
use definition::{Definition, Piece, Place, Selection, Side};
use key::Forms;
use ring::Ring;
use segment::{Row, Segment, segments};

/// Rows of one key that a row is compared with; what goes beyond is counted. A key of so many is a hub.
const CANDIDATES_MAX: usize = 4_096;

/// A ring has about this many slices, so that what outlives its window is a small part.
const SLICES: i64 = 8;

/// Slices are no shorter: each costs a few lookups.
const SLICE_MIN_US: i64 = 600_000_000;

/// Rows that nobody has asked for while so many came are cold.
const COLD_AFTER: usize = 1 << 12;

/// A value in words is cut after this many characters.
const TOLD_MAX: usize = 120;

/// The joins of one tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Joins {
    /// By join, side and selection.
    rings: BTreeMap<(u8, Side, u8), Ring>,
    watermarks: Watermarks,
    pub(crate) counts: Counts,
    /// Rows seen since what nobody looks at was last made cold.
    #[serde(skip)]
    seen: usize,
}

impl Default for Joins {
    fn default() -> Self {
        Self {
            rings: BTreeMap::new(),
            watermarks: Watermark::START.into(),
            counts: Counts::default(),
            seen: 0,
        }
    }
}

/// Work done, for the statistics.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Rows that took a side.
    pub(crate) rows: u64,
    /// Rows that came after event time had passed them.
    pub(crate) late: u64,
    /// Rows that left before their window had passed.
    pub(crate) evicted: u64,
    /// Pairs found.
    pub(crate) pairs: u64,
    /// Rows that were not compared, because a key had too many.
    pub(crate) skipped: u64,
}

fn slice_us(definition: &Definition, side: Side) -> i64 {
    (definition.keep_us(side) / SLICES).max(SLICE_MIN_US)
}

impl Joins {
    /// Rows that wait for others.
    pub(crate) fn rows(&self) -> usize {
        self.rings.values().map(Ring::rows).sum()
    }

    /// The pairs that the rows of a batch make with each other and with what came before.
    pub(crate) fn observe(&mut self, batch: &EventBatch, file: &File) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for place in file.definitions.places(batch.class) {
            let definition = &file.definitions.joins[place.join];
            let selection = file.definitions.selection(*place);
            let rows = predicate::select(batch, &selection.conditions);
            if rows.is_empty() {
                continue;
            }
            let slice_us = slice_us(definition, place.side);
            let Watermark(passed) = self.watermarks.of(&batch.meta.source);
            for (slice, segment) in segments(batch, selection, &definition.same, &rows, slice_us) {
                self.counts.late += segment.late(passed) as u64;
                self.meet(&segment, *place, &batch.meta.tenant, file, &mut pairs);
                self.keep(slice, segment, *place, definition);
            }
        }
        self.bound(file);
        self.counts.pairs += pairs.len() as u64;
        pairs
    }

    /// Finds what the rows of a new segment meet on the other side.
    fn meet(
        &mut self,
        segment: &Segment,
        place: Place,
        tenant: &TenantId,
        file: &File,
        pairs: &mut Vec<Pair>,
    ) {
        let definition = &file.definitions.joins[place.join];
        let others = place.side.other();
        let slice_us = slice_us(definition, others);
        let mut found: BTreeMap<usize, (Row<'_>, Vec<(Row<'_>, u8)>)> = BTreeMap::new();
        for selection in 0..definition.selections(others).len() as u8 {
            let Some(ring) = self.rings.get(&(place.join as u8, others, selection)) else { continue };
            for entry in segment.entries().iter() {
                let (hash, row) = (entry.0, segment.row(*entry));
                let window = definition.window(place.side, row.time().0);
                for other in ring.find(hash, window, slice_us) {
                    let (_, met) = found.entry(row.row).or_insert_with(|| (row, Vec::new()));
                    if met.len() < CANDIDATES_MAX {
                        met.push((other, selection));
                    } else {
                        self.counts.skipped += 1;
                    }
                }
            }
        }
        let faces_max = file.joins.kinds[place.join].population as usize;
        let selection = file.definitions.selection(place);
        for (row, met) in found.into_values() {
            let own = Member { row, selection };
            let selections = definition.selections(others);
            let met = met.into_iter().map(|(row, s)| Member { row, selection: &selections[s as usize] });
            for other in nearest(definition, own, met, faces_max) {
                let (own_end, other_end) =
                    (own.end(definition, other, tenant), other.end(definition, own, tenant));
                let (first, second) = match place.side {
                    Side::First => (own_end, other_end),
                    Side::Second => (other_end, own_end),
                };
                pairs.push(Pair { join: place.join as u8, first: first.into(), second: second.into() });
            }
        }
    }

    /// Keeps a segment as long as events of the other side may come that are not late.
    fn keep(&mut self, slice: i64, segment: Segment, place: Place, definition: &Definition) {
        self.counts.rows += segment.len() as u64;
        let slice_us = slice_us(definition, place.side);
        let first = self.oldest(definition, place.side).div_euclid(slice_us);
        if slice >= first {
            let ring = self.rings.entry((place.join as u8, place.side, place.selection as u8)).or_default();
            ring.insert(slice, segment);
        }
    }

    /// What is older on a side meets no event of the other side that is not late.
    fn oldest(&self, definition: &Definition, side: Side) -> i64 {
        let Watermark(passed) = self.watermarks.without(definition.unrelated(side.other()));
        passed.0.saturating_sub(definition.keep_us(side))
    }

    /// Event time moves on: slices whose window has passed are dropped.
    pub(crate) fn advance(&mut self, watermarks: &Watermarks, file: &File) {
        self.watermarks.clone_from(watermarks);
        let mut rings = std::mem::take(&mut self.rings);
        for ((join, side, _), ring) in &mut rings {
            let Some(definition) = file.definitions.joins.get(*join as usize) else { continue };
            ring.drop_before(self.oldest(definition, *side), slice_us(definition, *side));
        }
        self.rings = rings;
    }

    /// Most rows that wait are not asked for: from time to time those go on a shelf.
    pub(crate) fn cool(&mut self, came: usize, shelf: &Shelf) {
        self.seen += came;
        if self.seen >= COLD_AFTER {
            self.seen = 0;
            self.rings.values_mut().for_each(|ring| ring.cool(shelf));
        }
    }

    /// Over the limit, what has waited longest of the most frequent events goes: the rare ones are worth more.
    fn bound(&mut self, file: &File) {
        while self.rows() > file.limits.join_rows {
            let Some(ring) = self.rings.values_mut().max_by_key(|ring| ring.rows()) else { return };
            self.counts.evicted += ring.drop_oldest() as u64;
        }
    }
}

/// A row with what its selection says of it.
#[derive(Clone, Copy)]
struct Member<'a> {
    row: Row<'a>,
    selection: &'a Selection,
}

/// The rows that an own row makes pairs with: the earliest, until so many faces are among them that it is a hub.
fn nearest<'a>(
    definition: &Definition,
    own: Member<'a>,
    met: impl Iterator<Item = Member<'a>>,
    faces_max: usize,
) -> Vec<Member<'a>> {
    let own_time = own.row.time();
    let mut met: Vec<(_, Member<'a>)> =
        met.map(|other| ((own_time.max(other.row.time()), other.row.order()), other)).collect();
    met.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    // A row that has several values in common was found by each of them.
    met.dedup_by(|a, b| a.0 == b.0);
    let mut faces = HashSet::new();
    met.into_iter()
        .map(|(_, other)| other)
        .filter(|other| own.row.order() != other.row.order() && own.agrees(definition, *other))
        .take_while(|other| {
            faces.insert(other.row.face());
            faces.len() <= faces_max
        })
        .collect()
}

impl Member<'_> {
    fn forms(&self, definition: &Definition, part: usize) -> Forms {
        let values = self.selection.same[part].iter().filter_map(|source| self.row.source(*source));
        values.flat_map(|value| definition.same[part].forms(value)).collect()
    }

    /// Whether the values that made equal hashes are equal, and those that must differ do.
    fn agrees(&self, definition: &Definition, other: Member<'_>) -> bool {
        let is_same = |part: usize| {
            let theirs = other.forms(definition, part);
            self.forms(definition, part).iter().any(|form| theirs.contains(form))
        };
        let differs = |part: usize| {
            let forms = |side: &Member<'_>| -> Forms {
                let values = side.selection.differ[part].iter().filter_map(|source| side.row.source(*source));
                values.flat_map(|value| definition.differ[part].forms(value)).collect()
            };
            let (own, theirs) = (forms(self), forms(&other));
            !own.is_empty() && !theirs.is_empty() && !own.iter().any(|form| theirs.contains(form))
        };
        (0..definition.same.len()).all(is_same) && (0..definition.differ.len()).all(differs)
    }

    fn end(&self, definition: &Definition, other: Member<'_>, tenant: &TenantId) -> End {
        let record = self.row.record();
        let anchor = |(entity_type, column): &(event::EntityType, usize)| {
            let value = Entity::canonical(*entity_type, self.row.text(*column)?)?;
            Some((*entity_type, Key::of(tenant, *entity_type, &value)))
        };
        let names = (0..definition.same.len()).filter_map(|part| {
            let entity_type = definition.same[part].proved_as()?;
            let values = self.selection.same[part].iter().filter_map(|source| self.row.source(*source));
            let names = values.filter_map(|value| Entity::canonical(entity_type, value));
            Some((entity_type, names.map(|name| Key::of(tenant, entity_type, &name)).collect()))
        });
        let common = definition.common.iter().flat_map(|part| {
            let theirs = other.forms(definition, *part);
            let shared = self.forms(definition, *part).into_iter().filter(move |form| theirs.contains(form));
            shared.filter_map(move |form| definition.same[*part].entity(&form, tenant))
        });
        End {
            time: self.row.time(),
            record_key: End::key_of(&record),
            record,
            anchors: self.selection.anchors.iter().filter_map(anchor).collect(),
            names: names.collect(),
            common: common.collect(),
            text: self.told().into(),
        }
    }

    fn told(&self) -> String {
        let mut told = String::new();
        for piece in &self.selection.told.0 {
            match piece {
                Piece::Text(text) => told.push_str(text),
                Piece::Value(columns) => {
                    let value = columns.iter().find_map(|column| self.row.text(*column)).unwrap_or("?");
                    let cut = value.char_indices().nth(TOLD_MAX).map(|(end, _)| end);
                    told.push_str(&value[..cut.unwrap_or(value.len())]);
                    told.push_str(if cut.is_some() { "..." } else { "" });
                }
            }
        }
        told
    }
}

/// The joins alone, without alerts: pairs of events of `joins.yml`, as batches come.
#[derive(Debug, Clone)]
pub struct EventJoins {
    parameters: Parameters,
    tenants: BTreeMap<TenantId, Joins>,
    shelf: Shelf,
}

/// Two events that a join brought together. That their users and devices are one is not proved yet: see `joins.yml`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventPair {
    /// The name of the join.
    pub join: Arc<str>,
    /// The record of its first event.
    pub first: RecordRef,
    /// The record of its second event.
    pub second: RecordRef,
}

impl EventJoins {
    /// Joins that have seen nothing.
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters, tenants: BTreeMap::new(), shelf: Shelf::in_memory() }
    }

    /// From now on they put on a shelf what they seldom ask for.
    #[must_use]
    pub fn on(self, shelf: Shelf) -> Self {
        Self { shelf, ..self }
    }

    /// The pairs that the rows of a batch make with each other and with what came before, in any order.
    pub fn observe(&mut self, batch: &EventBatch) -> Vec<EventPair> {
        let file = &self.parameters.file;
        let joins = self.tenants.entry(batch.meta.tenant.clone()).or_default();
        let pair = |pair: Pair| EventPair {
            join: Arc::clone(&file.definitions.joins[pair.join as usize].name),
            first: pair.first.record.clone(),
            second: pair.second.record.clone(),
        };
        let pairs = joins.observe(batch, file).into_iter().map(pair).collect();
        joins.cool(batch.len(), &self.shelf);
        pairs
    }

    /// Event time moves on: events whose windows have passed are forgotten.
    pub fn advance(&mut self, watermarks: &Watermarks) {
        self.tenants.values_mut().for_each(|joins| joins.advance(watermarks, &self.parameters.file));
    }

    /// Rows that wait for events of the other side.
    pub fn rows(&self) -> usize {
        self.tenants.values().map(Joins::rows).sum()
    }
}
