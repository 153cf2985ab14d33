//! Which device had an address at a time, from rows in which a device names its own address.
//!
//! An address that several devices have about the same time (NAT, a proxy, a pool of a VPN) is nobody's: a wrong device
//! is worse than none. Resolution at time `t` uses what rows up to `t` said, so their order is nothing to it.

use std::sync::Arc;

use event::Time;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::evidence::Key;
use crate::parameters::AddressRules;
use crate::snapshot::sorted;

/// A device had an address: the first time in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Claim {
    time: Time,
    device: Key,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Address {
    text: Arc<str>,
    /// By time, none older than [`KEPT_US`] before the last.
    claims: SmallVec<[Claim; 2]>,
    /// So many claims at once that they cannot be those of one device.
    is_pool: bool,
}

/// Claims are kept for a day, and for what comes late.
const KEPT_US: i64 = 36 * HOUR_US;

/// Claims of one address: more than one device makes in the hours that are kept.
const CLAIMS_MAX: usize = 48;

/// Addresses that one device may have had.
const ADDRESSES_MAX: usize = 16;

const HOUR_US: i64 = 3_600_000_000;

/// The address table of a tenant. When it is full the quarter goes that nobody claimed for longest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Leases {
    #[serde(with = "sorted")]
    addresses: HashMap<Key, Address>,
    /// The addresses that a device claimed, by key; the latest [`ADDRESSES_MAX`].
    #[serde(with = "sorted")]
    of_device: HashMap<Key, SmallVec<[(Time, Key); 2]>>,
    /// Addresses forgotten because the table was full.
    pub(crate) evicted: u64,
}

impl Leases {
    pub(crate) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Learns that a device had an address; `true` where that is new.
    pub(crate) fn learn(&mut self, (key, text): (Key, &str), device: Key, time: Time, limit: usize) -> bool {
        if !self.addresses.contains_key(&key) && self.addresses.len() >= limit {
            self.make_room(limit);
        }
        let hour = |time: Time| time.0.div_euclid(HOUR_US);
        let address = self.addresses.entry(key).or_insert_with(|| Address {
            text: text.into(),
            claims: SmallVec::new(),
            is_pool: false,
        });
        let known = address.claims.iter_mut().find(|c| c.device == device && hour(c.time) == hour(time));
        match known {
            Some(claim) if claim.time <= time => return false,
            Some(claim) => claim.time = time,
            None => address.claims.push(Claim { time, device }),
        }
        address.claims.sort_unstable();
        let newest = address.claims.last().map_or(time, |claim| claim.time);
        address.claims.retain(|claim| newest.0.saturating_sub(claim.time.0) <= KEPT_US);
        if address.claims.len() > CLAIMS_MAX {
            address.is_pool = true;
            address.claims.remove(0);
        }
        let own = self.of_device.entry(device).or_default();
        match own.iter_mut().find(|(_, address)| *address == key) {
            Some((latest, _)) => *latest = (*latest).max(time),
            None => own.push((time, key)),
        }
        own.sort_unstable();
        if own.len() > ADDRESSES_MAX {
            own.remove(0);
        }
        true
    }

    fn make_room(&mut self, limit: usize) {
        let latest = |address: &Address| address.claims.last().map(|claim| claim.time);
        let mut by_age: Vec<(Option<Time>, Key)> =
            self.addresses.iter().map(|(key, address)| (latest(address), *key)).collect();
        by_age.sort_unstable();
        for (_, key) in by_age.into_iter().take(limit / 4 + 1) {
            self.addresses.remove(&key);
            self.evicted += 1;
        }
        let addresses = &self.addresses;
        self.of_device.retain(|_, own| {
            own.retain(|(_, key)| addresses.contains_key(key));
            !own.is_empty()
        });
    }

    /// The devices whose claims decide who had an address.
    pub(crate) fn claimants(&self, address: Key) -> impl Iterator<Item = Key> + '_ {
        self.addresses.get(&address).into_iter().flat_map(|a| a.claims.iter().map(|claim| claim.device))
    }

    /// The device that had an address at time `t`; nothing where it may have been another. `is_same` says whether two
    /// keys name one device.
    pub(crate) fn holder(
        &self,
        address: Key,
        t: Time,
        rules: &AddressRules,
        is_same: impl Fn(Key, Key) -> bool,
    ) -> Option<Key> {
        let claims = &self.addresses.get(&address).filter(|address| !address.is_pool)?.claims;
        let from = t.0.saturating_sub(rules.shared_within.0);
        let claims = claims.iter().filter(|claim| claim.time <= t && claim.time.0 >= from);
        let last = claims.clone().next_back()?;
        if t.0.saturating_sub(last.time.0) > rules.valid.0 {
            return None;
        }
        let (own, others): (Vec<&Claim>, Vec<&Claim>) =
            claims.partition(|claim| is_same(claim.device, last.device));
        let is_one_other = others.iter().all(|claim| is_same(claim.device, others[0].device));
        let hour = |claim: &Claim| claim.time.0.div_euclid(HOUR_US);
        // Handed over: the other one fell silent an hour before this one spoke, and did not come back.
        let silent = others.iter().map(|claim| hour(claim)).max();
        let spoke = own.first().map(|claim| hour(claim));
        (is_one_other && silent.is_none_or(|silent| Some(silent) < spoke)).then_some(last.device)
    }

    /// The addresses that one of these devices claimed up to time `t`, with their text.
    pub(crate) fn claimed_by<'a>(
        &'a self,
        devices: &'a [Key],
        t: Time,
    ) -> impl Iterator<Item = (Key, &'a Arc<str>)> + 'a {
        let own = devices.iter().filter_map(|device| self.of_device.get(device)).flatten();
        // A later claim does not tell what was before it: whether the address was theirs says `holder`.
        let addresses = own.filter_map(move |(_, key)| Some((*key, self.addresses.get(key)?)));
        let had = move |address: &Address| {
            address.claims.iter().any(|claim| claim.time <= t && devices.contains(&claim.device))
        };
        addresses.filter(move |(_, address)| had(address)).map(|(key, address)| (key, &address.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Parameters;

    const ADDRESS: Key = Key(1);

    /// Claims as (minutes, device); who has the address at some minutes.
    fn holders(claims: &[(i64, u64)], at: &[i64]) -> Vec<Option<u64>> {
        let rules = Parameters::builtin().unwrap().file.address.clone();
        let time = |minutes: i64| Time(minutes * 60_000_000);
        let mut leases = Leases::default();
        for (minutes, device) in claims {
            leases.learn((ADDRESS, "10.0.0.7"), Key(*device), time(*minutes), 100);
        }
        let holder = |minutes: &i64| leases.holder(ADDRESS, time(*minutes), &rules, |a, b| a == b);
        at.iter().map(|minutes| holder(minutes).map(|key| key.0)).collect()
    }

    #[test]
    fn an_address_is_its_devices_for_a_while() {
        assert_eq!(
            holders(&[(10, 7), (70, 7)], &[9, 10, 71, 70 + 240, 70 + 241]),
            [None, Some(7), Some(7), Some(7), None]
        );
    }

    #[test]
    fn a_lease_is_handed_over() {
        assert_eq!(holders(&[(10, 7), (130, 8)], &[100, 131]), [Some(7), Some(8)]);
    }

    #[test]
    fn what_several_have_is_nobodys() {
        assert_eq!(holders(&[(10, 7), (30, 8)], &[20, 40]), [Some(7), None], "within an hour");
        assert_eq!(holders(&[(10, 7), (130, 8), (260, 7)], &[140, 270]), [Some(8), None], "back and forth");
        assert_eq!(holders(&[(10, 7), (130, 8), (260, 9)], &[270]), [None], "a pool");
    }

    #[test]
    fn the_order_of_learning_does_not_matter() {
        let claims = [(10, 7), (130, 8), (135, 8), (12, 7), (400, 9)];
        let backward: Vec<(i64, u64)> = claims.iter().rev().copied().collect();
        let at: Vec<i64> = (0..500).collect();
        assert_eq!(holders(&claims, &at), holders(&backward, &at));
    }

    #[test]
    fn a_full_table_forgets_the_oldest_and_counts() {
        let mut leases = Leases::default();
        for n in 0..20_u64 {
            leases.learn((Key(n), "a"), Key(100 + n), Time(n as i64), 8);
        }
        assert!(leases.len() <= 8 && leases.evicted == 20 - leases.len() as u64, "{}", leases.len());
        assert!(leases.of_device.len() <= 8);
        assert!(leases.addresses.contains_key(&Key(19)));
    }
}
