//! How many different counterparties an entity has, so that hubs (NAT addresses, service accounts, domain
//! controllers, scanners) lose their weight without any list.
//!
//! Telemetry is counted in fixed-size sketches, one an epoch of event time. An alert reads only epochs that
//! ended before its own began: by the time it is sealed those are complete, so arrival order is nothing to it.

use std::collections::{BTreeMap, BTreeSet};

use event::Time;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::evidence::Key;
use crate::fixed::{ONE, mix};
use crate::parameters::File;

/// A set of counterparties as a bitmap (linear counting, Whang et al. 1990): exact for a few, saturated at
/// several hundred, the same whatever the order and number of insertions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Crowd(u64, u64);

/// `round(-128 * ln(1 - bits / 128))`: the expected number of members behind a number of set bits.
const MEMBERS: [u32; 129] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25, 27, 28, 29, 30, 32,
    33, 34, 35, 37, 38, 40, 41, 42, 44, 45, 47, 48, 49, 51, 52, 54, 55, 57, 59, 60, 62, 63, 65, 67, 68, 70,
    72, 74, 75, 77, 79, 81, 83, 85, 87, 89, 91, 93, 95, 97, 99, 101, 104, 106, 108, 110, 113, 115, 118, 120,
    123, 126, 128, 131, 134, 137, 140, 143, 146, 149, 152, 155, 159, 162, 166, 170, 174, 177, 182, 186, 190,
    195, 199, 204, 209, 214, 220, 225, 231, 238, 244, 251, 258, 266, 274, 283, 293, 303, 314, 326, 340, 355,
    372, 392, 415, 444, 480, 532, 621, 640,
];

/// A counterparty, and on whose word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Member {
    /// It showed itself: the device that the row is from, the account that acted or signed in.
    Seen(Key),
    /// Others named it, as whoever fails to sign in names accounts, and whoever sends mail its recipients.
    Named(Key),
}

impl Member {
    /// The bit of a crowd that stands for it. Those that were only named share a few bits, so that in whatever number
    /// and by whomever they are named, they count for no more.
    fn bit(self, hearsay_max: u32) -> u64 {
        match self {
            Member::Seen(key) => mix(key.0) % 128,
            Member::Named(key) => mix(key.0) % u64::from(hearsay_max.clamp(1, 128)),
        }
    }
}

impl Crowd {
    /// Adds a member; `true` where it sets a bit.
    pub(crate) fn add(&mut self, member: Member, file: &File) -> bool {
        self.set(member.bit(file.rarity_hearsay))
    }

    fn set(&mut self, bit: u64) -> bool {
        let (word, mask) = if bit < 64 { (&mut self.0, 1 << bit) } else { (&mut self.1, 1 << (bit - 64)) };
        let is_new = *word & mask == 0;
        *word |= mask;
        is_new
    }

    /// The bits that are set, in order.
    fn bits(self) -> impl Iterator<Item = u64> {
        (0..128).filter(move |bit| {
            let (word, place) = if *bit < 64 { (self.0, *bit) } else { (self.1, bit - 64) };
            word >> place & 1 == 1
        })
    }

    pub(crate) fn union(self, other: Crowd) -> Crowd {
        Crowd(self.0 | other.0, self.1 | other.1)
    }

    /// Those that are not in another.
    pub(crate) const fn without(self, other: Crowd) -> Crowd {
        Crowd(self.0 & !other.0, self.1 & !other.1)
    }

    const fn intersection(self, other: Crowd) -> Crowd {
        Crowd(self.0 & other.0, self.1 & other.1)
    }

    /// The expected number of members.
    pub(crate) fn count(self) -> u32 {
        MEMBERS[(self.0.count_ones() + self.1.count_ones()) as usize]
    }
}

/// Crowds of many entities in fixed memory: two rows of slots, of which the intersection is read, so that a
/// collision can only make an entity look more common, and only if both of its slots collide.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "WrittenSketch")]
struct Sketch {
    slots: usize,
    #[serde(with = "sparse")]
    crowds: Slots,
}

#[derive(Deserialize)]
struct WrittenSketch {
    slots: usize,
    #[serde(with = "sparse")]
    crowds: Slots,
}

/// Every key has two slots.
impl TryFrom<WrittenSketch> for Sketch {
    type Error = &'static str;

    fn try_from(WrittenSketch { slots, crowds }: WrittenSketch) -> Result<Self, Self::Error> {
        let fits = slots.is_power_of_two() && slots.checked_mul(2) == Some(crowds.len());
        fits.then_some(Self { slots, crowds }).ok_or("sketch of another size than it says")
    }
}

/// The slots of a sketch. At night and in small companies most are empty, and most others have a bit or two.
#[derive(Debug, Clone)]
enum Slots {
    Sparse {
        len: usize,
        used: HashMap<u32, Crowd>,
    },
    Dense(Vec<Crowd>),
    /// Of an epoch that is most likely over; what came late is apart, as [`code`].
    Settled {
        bits: Bits,
        late: BTreeSet<u32>,
    },
}

/// Slots of each of the two rows of a sketch, at most: [`code`] has room for no more.
pub(crate) const SLOTS_MAX: usize = 1 << 24;

/// A bit of the crowd of a slot.
const fn code(slot: u32, bit: u64) -> u32 {
    slot << 7 | bit as u32
}

impl Slots {
    /// As many used slots of all take about as much memory either way.
    const SPARSE_SHARE: usize = 4;

    fn new(len: usize) -> Self {
        Slots::Sparse { len, used: HashMap::new() }
    }

    fn len(&self) -> usize {
        match self {
            Slots::Sparse { len, .. } => *len,
            Slots::Dense(crowds) => crowds.len(),
            Slots::Settled { bits, .. } => bits.len,
        }
    }

    /// The bits that are set, as [`code`], in order.
    fn codes(&self) -> Vec<u32> {
        let of_slot = |(slot, crowd): (u32, Crowd)| crowd.bits().map(move |bit| code(slot, bit));
        let mut codes: Vec<u32> = match self {
            Slots::Sparse { used, .. } => used.iter().map(|(s, c)| (*s, *c)).flat_map(of_slot).collect(),
            Slots::Dense(crowds) => (0..).zip(crowds.iter().copied()).flat_map(of_slot).collect(),
            Slots::Settled { bits, late } => bits.codes().chain(late.iter().copied()).collect(),
        };
        codes.sort_unstable();
        codes
    }

    /// As few bytes as may be.
    fn settle(&mut self) {
        if !matches!(self, Slots::Settled { .. }) {
            *self = Slots::Settled { bits: Bits::of(self.len(), &self.codes()), late: BTreeSet::new() };
        }
    }

    /// More comes.
    fn open(&mut self) {
        let codes = self.codes();
        let mut used: HashMap<u32, Crowd> = HashMap::new();
        for code in codes {
            used.entry(code >> 7).or_default().set(u64::from(code & 127));
        }
        *self = Slots::Sparse { len: self.len(), used };
    }

    fn dense(len: usize, used: impl Iterator<Item = (u32, Crowd)>) -> Self {
        let mut crowds = vec![Crowd::default(); len];
        used.for_each(|(slot, crowd)| crowds[slot as usize] = crowd);
        Slots::Dense(crowds)
    }

    fn get(&self, slot: usize) -> Crowd {
        match self {
            Slots::Sparse { used, .. } => used.get(&(slot as u32)).copied().unwrap_or_default(),
            Slots::Dense(crowds) => crowds[slot],
            Slots::Settled { bits, late } => {
                let mut crowd = bits.get(slot);
                let late = late.range(code(slot as u32, 0)..=code(slot as u32, 127));
                late.for_each(|code| {
                    crowd.set(u64::from(code & 127));
                });
                crowd
            }
        }
    }

    /// Sets a bit of the crowd of a slot; `true` where it was not.
    fn set(&mut self, slot: usize, bit: u64) -> bool {
        if let Slots::Sparse { len, used } = self
            && used.len() >= *len / Self::SPARSE_SHARE
        {
            *self = Self::dense(*len, used.iter().map(|(slot, crowd)| (*slot, *crowd)));
        }
        match self {
            Slots::Sparse { used, .. } => used.entry(slot as u32).or_default().set(bit),
            Slots::Dense(crowds) => crowds[slot].set(bit),
            Slots::Settled { bits, late } => {
                let is_new = !bits.has(slot, bit) && late.insert(code(slot as u32, bit));
                if late.len() > LATE_MAX {
                    self.open();
                }
                is_new
            }
        }
    }
}

/// As many late bits are not late: the epoch is not over.
const LATE_MAX: usize = if cfg!(test) { 16 } else { 4_096 };

/// Slots as the bits that are set, in order: two bytes for each.
#[derive(Debug, Clone)]
struct Bits {
    /// Slots, set or not.
    len: usize,
    /// Where the bits of each block of slots begin, and where those of the last end.
    blocks: Box<[u32]>,
    /// Of each bit, its slot in its block and its place in the crowd of that.
    bits: Box<[u16]>,
}

/// Few bits to search; more would be fewer bytes. A slot within it and a bit of a crowd must be sixteen bits.
const SLOTS_OF_BLOCK: usize = 64;

/// Codes of the bits of a block.
const CODES_OF_BLOCK: u32 = code(SLOTS_OF_BLOCK as u32, 0);

impl Bits {
    /// Of bits in order.
    fn of(len: usize, codes: &[u32]) -> Self {
        let begin = |block: usize| {
            codes.partition_point(|code| ((code >> 7) as usize) < block * SLOTS_OF_BLOCK) as u32
        };
        let blocks = (0..=len.div_ceil(SLOTS_OF_BLOCK)).map(begin).collect();
        let of_block = |code: &u32| (code % CODES_OF_BLOCK) as u16;
        Self { len, blocks, bits: codes.iter().map(of_block).collect() }
    }

    fn block(&self, block: usize) -> &[u16] {
        &self.bits[self.blocks[block] as usize..self.blocks[block + 1] as usize]
    }

    fn has(&self, slot: usize, bit: u64) -> bool {
        let of_block = code((slot % SLOTS_OF_BLOCK) as u32, bit) as u16;
        self.block(slot / SLOTS_OF_BLOCK).binary_search(&of_block).is_ok()
    }

    fn get(&self, slot: usize) -> Crowd {
        let block = self.block(slot / SLOTS_OF_BLOCK);
        let slot = (slot % SLOTS_OF_BLOCK) as u16;
        let from = block.partition_point(|bit| bit >> 7 < slot);
        let mut crowd = Crowd::default();
        block[from..].iter().take_while(|bit| *bit >> 7 == slot).for_each(|bit| {
            crowd.set(u64::from(bit & 127));
        });
        crowd
    }

    fn codes(&self) -> impl Iterator<Item = u32> + '_ {
        let of_block = |block: usize| {
            let first = code((block * SLOTS_OF_BLOCK) as u32, 0);
            self.block(block).iter().map(move |bit| first + u32::from(*bit))
        };
        (0..self.blocks.len() - 1).flat_map(of_block)
    }
}

impl Sketch {
    fn new(slots: usize) -> Self {
        Self { slots, crowds: Slots::new(slots * 2) }
    }

    fn places(&self, key: Key) -> [usize; 2] {
        let hash = mix(key.0);
        [(hash as usize) & (self.slots - 1), self.slots + ((hash >> 32) as usize & (self.slots - 1))]
    }

    fn set(&mut self, key: Key, bit: u64) -> bool {
        let [one, other] = self.places(key);
        let first = self.crowds.set(one, bit);
        self.crowds.set(other, bit) || first
    }

    fn crowd(&self, key: Key) -> Crowd {
        let [one, other] = self.places(key);
        self.crowds.get(one).intersection(self.crowds.get(other))
    }
}

/// Counterparties of entities in telemetry, by epoch of event time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Rarity {
    epochs: BTreeMap<i64, Sketch>,
    /// Event time of the first telemetry: the ramp starts here.
    since: Option<Time>,
    /// Observations of epochs that were already forgotten.
    pub(crate) too_old: u64,
}

impl Rarity {
    /// Counts `member` among the counterparties of `key`; the epoch whose later alerts this may change.
    pub(crate) fn observe(&mut self, key: Key, member: Member, time: Time, file: &File) -> Option<i64> {
        let epoch = time.0.div_euclid(file.rarity_epoch.0);
        let is_earlier = self.since.is_none_or(|since| time < since);
        if is_earlier {
            self.since = Some(time);
        }
        if !self.epochs.contains_key(&epoch) && !self.make_room(epoch, file) {
            return is_earlier.then_some(i64::MIN);
        }
        if !self.epochs.contains_key(&epoch) {
            // Few come late.
            self.epochs.range_mut(..epoch).for_each(|(_, sketch)| sketch.crowds.settle());
        }
        let sketch = self.epochs.entry(epoch).or_insert_with(|| Sketch::new(file.rarity_slots));
        let is_new = sketch.set(key, member.bit(file.rarity_hearsay));
        if is_earlier { Some(i64::MIN) } else { is_new.then_some(epoch) }
    }

    /// Keeps as many epochs as alerts within the allowed lateness can ask for: one more than they read, and the
    /// present one.
    fn make_room(&mut self, epoch: i64, file: &File) -> bool {
        let kept = file.rarity_epochs + 2;
        if self.epochs.len() < kept {
            return true;
        }
        let oldest = self.epochs.first_key_value().map_or(epoch, |(first, _)| *first);
        if epoch < oldest {
            self.too_old += 1;
            return false;
        }
        self.epochs.pop_first();
        true
    }

    /// The counterparties of `key` in the epochs before that of `t`.
    pub(crate) fn crowd(&self, key: Key, t: Time, file: &File) -> Crowd {
        let epoch = t.0.div_euclid(file.rarity_epoch.0);
        let first = epoch.saturating_sub(file.rarity_epochs as i64);
        self.epochs
            .range(first..epoch)
            .fold(Crowd::default(), |all, (_, sketch)| all.union(sketch.crowd(key)))
    }

    /// How far telemetry is believed at time `t`, from nothing to [`ONE`].
    pub(crate) fn trust(&self, t: Time, file: &File) -> u32 {
        let Some(since) = self.since else { return 0 };
        let seen = t.0.saturating_sub(since.0).clamp(0, file.ramp.0);
        (i128::from(seen) * i128::from(ONE) / i128::from(file.ramp.0)) as u32
    }

    #[cfg(test)]
    fn epochs(&self) -> usize {
        self.epochs.len()
    }
}

/// Stored as the bits that are set, in their order.
mod sparse {
    use std::collections::BTreeSet;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Bits, SLOTS_MAX, Slots};

    pub(super) fn serialize<S: Serializer>(slots: &Slots, serializer: S) -> Result<S::Ok, S::Error> {
        (slots.len() as u32, slots.codes()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Slots, D::Error> {
        let (len, mut codes) = <(u32, Vec<u32>)>::deserialize(deserializer)?;
        // A hostile length must not allocate: no parameter file makes a sketch this large.
        if len > 2 * SLOTS_MAX as u32 {
            return Err(serde::de::Error::custom("sketch of more slots than there can be"));
        }
        if codes.iter().any(|code| code >> 7 >= len) {
            return Err(serde::de::Error::custom("slot outside its sketch"));
        }
        codes.sort_unstable();
        codes.dedup();
        Ok(Slots::Settled { bits: Bits::of(len as usize, &codes), late: BTreeSet::new() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parameters::Parameters;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn crowds_are_counted_well_enough() {
        for size in [1_u64, 3, 20, 100, 200] {
            let mut crowd = Crowd::default();
            (0..size).for_each(|i| {
                crowd.set(Member::Seen(Key(i * 7_919)).bit(8));
                crowd.set(Member::Seen(Key(i * 7_919)).bit(8));
            });
            let error = (i64::from(crowd.count()) - size as i64).abs();
            assert!(error * 100 <= size as i64 * 20, "{size} counted as {}", crowd.count());
        }
    }

    #[test]
    fn few_and_many_slots_say_the_same() {
        let mut sketch = Sketch::new(64);
        let mut all = vec![Crowd::default(); 128];
        for i in 0..200_u64 {
            let (key, member) = (Key(i % 50), Key(i));
            for place in sketch.places(key) {
                all[place].set(Member::Seen(member).bit(8));
            }
            sketch.set(key, Member::Seen(member).bit(8));
            assert!((0..128).all(|slot| sketch.crowds.get(slot) == all[slot]), "after {i}");
            let bytes = event::snapshot::write(b"asterc03", &sketch);
            let restored: Sketch = event::snapshot::read(b"asterc03", &bytes).unwrap();
            assert_eq!(event::snapshot::write(b"asterc03", &restored), bytes);
            assert!((0..50).all(|key| restored.crowd(Key(key)) == sketch.crowd(Key(key))));
        }
        assert!(matches!(sketch.crowds, Slots::Dense(_)));
    }

    #[test]
    fn a_sketch_of_another_size_is_refused() {
        let of = |sketch: &Sketch| {
            let bytes = event::snapshot::write(b"asterc03", sketch);
            event::snapshot::read::<Sketch>(b"asterc03", &bytes)
        };
        let sketch = Sketch::new(64);
        assert!(of(&sketch).is_ok());
        assert!(of(&Sketch { slots: 128, ..sketch.clone() }).is_err());
        assert!(of(&Sketch { slots: usize::MAX, ..sketch }).is_err());
    }

    proptest! {
        /// Settled slots say the same, and take late members as others do.
        #[test]
        fn settled_slots_say_the_same(
            early in proptest::collection::vec((0..2_000_u64, any::<u64>()), 0..400),
            late in proptest::collection::vec((0..2_000_u64, any::<u64>()), 0..20),
        ) {
            let mut open = Sketch::new(1_024);
            for (key, member) in early {
                open.set(Key(key), Member::Seen(Key(member)).bit(8));
            }
            let mut settled = open.clone();
            settled.crowds.settle();
            let is_settled = matches!(settled.crowds, Slots::Settled { .. });
            prop_assert!(is_settled);
            for (key, member) in late.into_iter().chain([(1, 2), (1, 2)]) {
                let bit = Member::Seen(Key(member)).bit(8);
                prop_assert_eq!(settled.set(Key(key), bit), open.set(Key(key), bit));
                prop_assert!((0..2_048).all(|slot| settled.crowds.get(slot) == open.crowds.get(slot)));
            }
            let bytes = event::snapshot::write(b"asterc03", &open);
            prop_assert_eq!(event::snapshot::write(b"asterc03", &settled), bytes);
        }
    }

    proptest! {
        /// Whoever only names counterparties, in any number and in any epochs, makes nothing common.
        #[test]
        fn talk_makes_nothing_common(
            seen in proptest::collection::vec(0..4_u64, 0..6),
            named in proptest::collection::vec((any::<u64>(), 0..16_i64), 0..3_000),
        ) {
            let file = Parameters::builtin().unwrap().file;
            let mut rarity = Rarity::default();
            let epoch = file.rarity_epoch.0;
            for member in &seen {
                rarity.observe(Key(1), Member::Seen(Key(*member)), Time(0), &file);
            }
            let after = Time(16 * epoch);
            let before = rarity.crowd(Key(1), after, &file).count();
            for (member, at) in &named {
                rarity.observe(Key(1), Member::Named(Key(*member)), Time(at * epoch), &file);
            }
            let flooded = rarity.crowd(Key(1), after, &file).count();
            // Two members of a crowd may share a bit; none is counted twice.
            prop_assert!(flooded <= before + file.rarity_hearsay + 2, "{} after {}", flooded, before);
            let weighing = file.weighing(crate::evidence::Evidence::Url);
            let left = crate::fixed::rarity(flooded, weighing.free, weighing.population);
            prop_assert!(left > ONE / 3, "rarity {}", left);
        }
    }

    #[test]
    fn an_alert_reads_the_epochs_before_its_own() {
        let file = Parameters::builtin().unwrap().file;
        let mut rarity = Rarity::default();
        let epoch = file.rarity_epoch.0;
        for user in 0..50 {
            rarity.observe(Key(1), Member::Seen(Key(1_000 + user)), Time(0), &file);
        }
        let count = |key, epochs: i64| rarity.crowd(Key(key), Time(epochs * epoch), &file).count();
        assert_eq!(rarity.crowd(Key(1), Time(epoch - 1), &file).count(), 0, "its own epoch is not complete");
        assert!(count(1, 1) > 35);
        assert_eq!(count(2, 1), 0);
        assert_eq!(count(1, file.rarity_epochs as i64 + 1), 0, "forgotten after as many epochs as are read");
    }

    #[test]
    fn trust_grows_with_what_was_seen() {
        let file = Parameters::builtin().unwrap().file;
        let mut rarity = Rarity::default();
        assert_eq!(rarity.trust(Time(HOUR), &file), 0);
        rarity.observe(Key(1), Member::Seen(Key(2)), Time(0), &file);
        assert_eq!(rarity.trust(Time(6 * HOUR), &file), ONE / 2);
        assert_eq!(rarity.trust(Time(60 * HOUR), &file), ONE);
    }

    #[test]
    fn epochs_are_bounded() {
        let file = Parameters::builtin().unwrap().file;
        let mut rarity = Rarity::default();
        for day in 0..30 {
            rarity.observe(Key(1), Member::Seen(Key(2)), Time(day * 24 * HOUR), &file);
        }
        assert_eq!(rarity.epochs(), file.rarity_epochs + 2);
        rarity.observe(Key(1), Member::Seen(Key(3)), Time(0), &file);
        assert_eq!((rarity.epochs(), rarity.too_old), (file.rarity_epochs + 2, 1));
    }
}
