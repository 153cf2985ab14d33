//! Where alerts are on the board. Sealed ones stay where they are; provisional ones, the last on the board, stand in
//! order of event time and move with every late one, so they are looked for.

use event::{AlertId, Time};
use hashbrown::HashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::board::Board;
use crate::forest::NONE;

/// An alert that is held.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Event time.
    time: Time,
    /// On the board, once it is sealed; [`NONE`] before.
    place: u32,
}

/// Every alert that is held, by id. Written, it is their event times: places follow from the board.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(HashMap<AlertId, Held>);

impl Known {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn time(&self, alert: &AlertId) -> Option<Time> {
        self.0.get(alert).map(|held| held.time)
    }

    pub(crate) fn has(&self, alert: &AlertId) -> bool {
        self.0.contains_key(alert)
    }

    pub(crate) fn insert(&mut self, alert: AlertId, time: Time) {
        self.0.insert(alert, Held { time, place: NONE });
    }

    pub(crate) fn remove(&mut self, alert: &AlertId) {
        self.0.remove(alert);
    }

    /// The alert stays at its place from now on.
    pub(crate) fn seal(&mut self, alert: &AlertId, place: u32) {
        if let Some(held) = self.0.get_mut(alert) {
            held.place = place;
        }
    }

    /// The place of a sealed alert.
    pub(crate) fn sealed(&self, alert: &AlertId) -> Option<u32> {
        self.0.get(alert).map(|held| held.place).filter(|place| *place != NONE)
    }
}

impl Serialize for Known {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut times: Vec<(&AlertId, Time)> =
            self.0.iter().map(|(alert, held)| (alert, held.time)).collect();
        times.sort_unstable();
        times.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut known = Self::default();
        let times = Vec::<(AlertId, Time)>::deserialize(deserializer)?;
        times.into_iter().for_each(|(alert, time)| known.insert(alert, time));
        Ok(known)
    }
}

/// Finds placed alerts by their ids.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) board: &'a Board,
    pub(crate) known: &'a Known,
    pub(crate) sealed_len: usize,
}

impl Places<'_> {
    pub(crate) fn get(&self, alert: &AlertId) -> Option<u32> {
        let Held { time, place } = *self.known.0.get(alert)?;
        if place != NONE {
            return Some(place);
        }
        let provisional = self.board.nodes.get(self.sealed_len..)?;
        let place = provisional.binary_search_by(|node| node.order().cmp(&(time, alert))).ok()?;
        Some((self.sealed_len + place) as u32)
    }
}
