//! Where alerts are on the board. Sealed ones stay where they are; provisional ones, the last on the board, stand in
//! order of event time and move with every late one, so they are looked for.

use event::{AlertId, Time};
use hashbrown::HashMap;

use crate::board::Board;

/// Finds placed alerts by their ids.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) board: &'a Board,
    /// Places of sealed alerts.
    pub(crate) sealed: &'a HashMap<AlertId, u32>,
    pub(crate) sealed_len: usize,
    /// Event time of every alert held.
    pub(crate) known: &'a HashMap<AlertId, Time>,
}

impl Places<'_> {
    pub(crate) fn get(&self, alert: &AlertId) -> Option<u32> {
        let sealed = self.sealed.get(alert).copied();
        sealed.or_else(|| {
            let time = *self.known.get(alert)?;
            let provisional = self.board.nodes.get(self.sealed_len..)?;
            let place = provisional.binary_search_by(|node| node.order().cmp(&(time, alert))).ok()?;
            Some((self.sealed_len + place) as u32)
        })
    }
}
