//! What the board knows about every entity value. Each has a place of its own until alerts leave memory, so an alert that
//! is placed again finds it without a look-up, and taking it back changes only what leaving it there had changed.

use std::hint::black_box;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::evidence::Key;
use crate::forest::NONE;
use crate::parameters::File;
use crate::rarity::{Crowd, Member};
use crate::snapshot::sorted;

/// The nearest alerts at an entity value, oldest first; with the entry itself where they are as many as shipped.
pub(super) type Ring = SmallVec<[u32; 8]>;

/// One entity value.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) ring: Ring,
    tally: Tally,
}

/// Counterparties in alerts of the present generation and the one before.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Tally {
    crowds: [Crowd; 2],
    generation: i64,
}

impl Tally {
    /// A later generation begins.
    fn turn(&mut self, generation: i64) {
        let last = if generation == self.generation + 1 { self.crowds[0] } else { Crowd::default() };
        self.crowds = [Crowd::default(), last];
        self.generation = generation;
    }
}

impl Entry {
    /// Counterparties in alerts of a generation and the one before.
    pub(super) fn crowd(&self, generation: i64) -> Crowd {
        let Tally { crowds, generation: own } = self.tally;
        match generation - own {
            i64::MIN..=0 => crowds[0].union(crowds[1]),
            1 => crowds[0],
            _ => Crowd::default(),
        }
    }

    /// Counterparties in alerts of the present generation, if that is this one or later.
    pub(super) fn crowd_from(&self, generation: i64) -> Crowd {
        if self.tally.generation >= generation { self.tally.crowds[0] } else { Crowd::default() }
    }
}

/// What leaving an alert at an entry changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Change {
    place: u32,
    pub(super) displaced: Option<Displaced>,
    /// The counterparties that the alert brought.
    added: Crowd,
    /// The generation before, if a new one began with the alert.
    turned: Option<i64>,
    /// The counterparties before that, if there were any.
    crowds: Option<Box<[Crowd; 2]>>,
}

/// The alert that made room in a ring, and where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Displaced {
    pub(super) node: u32,
    pub(super) position: u32,
}

impl Change {
    pub(super) fn at(place: u32) -> Self {
        Self { place, displaced: None, added: Crowd::default(), turned: None, crowds: None }
    }

    pub(super) fn place(&self) -> u32 {
        self.place
    }
}

/// The entries of all entity values.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Entries {
    #[serde(with = "sorted")]
    places: HashMap<Key, u32>,
    all: Vec<Entry>,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn find(&self, key: Key) -> Option<u32> {
        self.places.get(&key).copied()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.find(key).map(|place| self.at(place))
    }

    pub(super) fn at(&self, place: u32) -> &Entry {
        &self.all[place as usize]
    }

    /// The place of a value, which gets one if it has none.
    pub(super) fn place(&mut self, key: Key) -> u32 {
        let next = self.all.len() as u32;
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.all.push(Entry::default());
        }
        place
    }

    /// Looks at entries that are needed next: memory answers to all at once, not to one after the other.
    pub(super) fn fetch(&self, places: impl Iterator<Item = u32>) {
        black_box(places.fold(0, |sum: i64, place| sum.wrapping_add(self.at(place).tally.generation)));
    }

    pub(super) fn ring(&mut self, change: &Change) -> &mut Ring {
        &mut self.all[change.place as usize].ring
    }

    /// Counts counterparties.
    pub(super) fn count(&mut self, change: &mut Change, members: &[Member], generation: i64, file: &File) {
        let tally = &mut self.all[change.place as usize].tally;
        if generation > tally.generation {
            change.turned = Some(tally.generation);
            let is_empty = tally.crowds == [Crowd::default(); 2];
            change.crowds = (!is_empty).then(|| Box::new(tally.crowds));
            tally.turn(generation);
        }
        let before = tally.crowds[0];
        for member in members {
            tally.crowds[0].add(*member, file);
        }
        change.added = change.added.union(tally.crowds[0].without(before));
    }

    /// Takes back what leaving an alert there changed, if nothing changed there since.
    pub(super) fn take_back(&mut self, node: u32, change: &Change) {
        let entry = &mut self.all[change.place as usize];
        let tally = &mut entry.tally;
        tally.crowds[0] = tally.crowds[0].without(change.added);
        if let Some(generation) = change.turned {
            tally.generation = generation;
            tally.crowds = change.crowds.as_deref().copied().unwrap_or_default();
        }
        // An alert older than all in a full ring made room for them itself.
        if change.displaced.is_some_and(|displaced| displaced.node == node) {
            return;
        }
        if let Some(position) = entry.ring.iter().rposition(|other| *other == node) {
            entry.ring.remove(position);
        }
        if let Some(Displaced { node, position }) = change.displaced {
            entry.ring.insert(position as usize, node);
        }
    }

    /// Alerts have other places, or none any more; what none is left at is forgotten.
    pub(super) fn rename(&mut self, new_name: &[u32]) {
        let mut places = vec![NONE; self.all.len()];
        let mut kept = Vec::new();
        for (place, mut entry) in std::mem::take(&mut self.all).into_iter().enumerate() {
            entry.ring.retain(|node| new_name[*node as usize] != NONE);
            entry.ring.iter_mut().for_each(|node| *node = new_name[*node as usize]);
            if !entry.ring.is_empty() {
                places[place] = kept.len() as u32;
                kept.push(entry);
            }
        }
        self.all = kept;
        self.places.retain(|_, place| {
            *place = places[*place as usize];
            *place != NONE
        });
    }
}
