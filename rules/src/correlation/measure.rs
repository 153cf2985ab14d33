//! What a window holds, kept up to date as events enter at its end and leave at its beginning.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::definition::{Kind, Way};
use super::observation::Value;

/// Values are kept in millionths: sums of them are exact, whatever the order.
pub(crate) const SCALE: i64 = 1_000_000;

/// The measure of one window.
#[derive(Debug, Clone)]
pub(crate) enum Measure {
    Count(i128),
    Distinct(HashMap<u64, u32, foldhash::fast::FixedState>),
    Sum {
        sum: i128,
        events: i128,
    },
    /// Ascending.
    Ranked(Vec<i64>),
    /// Events by member.
    Seen(Box<[u32]>),
    /// By member: the latest start of a chain of all members up to it, in order.
    Chain(Box<[Option<i64>]>),
}

impl Measure {
    pub(crate) fn new(kind: &Kind, members: usize) -> Self {
        match kind {
            Kind::Count(_) => Measure::Count(0),
            Kind::Distinct(_) => Measure::Distinct(HashMap::default()),
            Kind::Sum(_) | Kind::Average(_) => Measure::Sum { sum: 0, events: 0 },
            Kind::Percentile(..) | Kind::Median(_) => Measure::Ranked(Vec::new()),
            Kind::Ordered(seen, _) if seen.is_all_of(members) => Measure::Chain(vec![None; members].into()),
            Kind::Temporal(_) | Kind::Ordered(..) => Measure::Seen(vec![0; members].into()),
        }
    }

    /// An event enters.
    pub(crate) fn add(&mut self, time: i64, member: u16, value: &Value) {
        let member = usize::from(member);
        match self {
            Measure::Count(events) => *events += 1,
            Measure::Distinct(counts) => value.each(|v| *counts.entry(v).or_default() += 1),
            Measure::Sum { sum, events } => {
                *sum += i128::from(value.number());
                *events += 1;
            }
            Measure::Ranked(values) => {
                let at = values.partition_point(|v| *v <= value.number());
                values.insert(at, value.number());
            }
            Measure::Seen(counts) => counts[member] += 1,
            Measure::Chain(starts) => {
                let start = if member == 0 { Some(time) } else { starts[member - 1] };
                starts[member] = start.max(starts[member]);
            }
        }
    }

    /// The oldest event leaves. A chain needs no leaving: it is asked for its start.
    pub(crate) fn remove(&mut self, member: u16, value: &Value) {
        match self {
            Measure::Count(events) => *events -= 1,
            Measure::Distinct(counts) => value.each(|v| {
                if let hashbrown::hash_map::Entry::Occupied(mut count) = counts.entry(v) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
            }),
            Measure::Sum { sum, events } => {
                *sum -= i128::from(value.number());
                *events -= 1;
            }
            Measure::Ranked(values) => {
                if let Ok(at) = values.binary_search(&value.number()) {
                    values.remove(at);
                }
            }
            Measure::Seen(counts) => counts[usize::from(member)] -= 1,
            Measure::Chain(_) => {}
        }
    }

    /// Whether the condition holds for the window that begins at `start`.
    pub(crate) fn holds(&self, kind: &Kind, start: i64) -> bool {
        match (self, kind) {
            (Measure::Seen(counts), Kind::Temporal(seen)) => seen.holds(mask(counts)),
            (Measure::Chain(starts), Kind::Ordered(..)) => {
                starts.last().copied().flatten().is_some_and(|first| first >= start)
            }
            _ => self
                .value(kind)
                .is_some_and(|(value, scale)| kind.bounds().iter().all(|bound| bound.holds(value, scale))),
        }
    }

    /// The measured number and by what it must be divided; `None` where the window has no value, or where no number is
    /// asked for.
    pub(crate) fn value(&self, kind: &Kind) -> Option<(i128, i128)> {
        let scale = i128::from(SCALE);
        match (self, kind) {
            (Measure::Count(events), _) => Some((*events, 1)),
            (Measure::Distinct(counts), _) => Some((counts.len() as i128, 1)),
            (Measure::Sum { sum, .. }, Kind::Sum(_)) => Some((*sum, scale)),
            (Measure::Sum { sum, events }, _) => (*events > 0).then_some((*sum, scale * events)),
            (Measure::Ranked(values), Kind::Percentile(rank, _)) => {
                nearest_rank(values, *rank).map(|value| (value.into(), scale))
            }
            (Measure::Ranked(values), _) => middle(values).map(|twice| (twice, scale * 2)),
            (Measure::Seen(_) | Measure::Chain(_), _) => None,
        }
    }

    /// The members that the window holds, where that is what it keeps.
    pub(crate) fn seen(&self) -> u64 {
        match self {
            Measure::Seen(counts) => mask(counts),
            _ => 0,
        }
    }
}

/// Whether the condition holds for a window of these events, which ends with the last of them: read afresh, for windows
/// that are small, and for counts, which are only asked for how many there are.
pub(crate) fn holds_for<'a>(
    kind: &Kind,
    members: usize,
    window: impl ExactSizeIterator<Item = (u16, &'a Value)> + Clone,
) -> bool {
    let scale = i128::from(SCALE);
    let numbers = || window.clone().map(|(_, value)| value.number());
    let ranked = || {
        let mut numbers: SmallVec<[i64; 32]> = numbers().collect();
        numbers.sort_unstable();
        numbers
    };
    let sum = || numbers().map(i128::from).sum::<i128>();
    let events = window.len() as i128;
    let measured = match kind {
        Kind::Count(_) => Some((events, 1)),
        Kind::Distinct(_) => {
            let mut hashes: SmallVec<[u64; 32]> = SmallVec::new();
            window.clone().for_each(|(_, value)| value.each(|hash| hashes.push(hash)));
            hashes.sort_unstable();
            hashes.dedup();
            Some((hashes.len() as i128, 1))
        }
        Kind::Sum(_) => Some((sum(), scale)),
        Kind::Average(_) => (events > 0).then(|| (sum(), scale * events)),
        Kind::Percentile(rank, _) => nearest_rank(&ranked(), *rank).map(|value| (value.into(), scale)),
        Kind::Median(_) => middle(&ranked()).map(|twice| (twice, scale * 2)),
        Kind::Ordered(seen, _) if seen.is_all_of(members) => {
            return holds_chain(window.map(|(member, _)| member), u64::MAX >> (64 - members));
        }
        Kind::Temporal(_) | Kind::Ordered(..) => {
            return window_holds(kind, window.map(|(member, _)| member));
        }
    };
    measured.is_some_and(|(value, scale)| kind.bounds().iter().all(|bound| bound.holds(value, scale)))
}

fn mask(counts: &[u32]) -> u64 {
    counts.iter().enumerate().filter(|(_, n)| **n > 0).fold(0, |mask, (i, _)| mask | 1 << i)
}

/// The smallest value that at least `rank` percent of the values do not exceed.
fn nearest_rank(values: &[i64], rank: u8) -> Option<i64> {
    let place = (values.len() * usize::from(rank)).div_ceil(100).max(1);
    values.get(place - 1).copied()
}

/// Twice the median: the middle value, or the mean of the middle two.
fn middle(values: &[i64]) -> Option<i128> {
    let n = values.len();
    let upper = *values.get(n / 2)?;
    let lower = if n.is_multiple_of(2) { values[n / 2 - 1] } else { upper };
    Some(i128::from(upper) + i128::from(lower))
}

/// Whether events (time, member), ascending, hold a chain of the members of `wanted` in the order of their numbers.
pub(crate) fn holds_chain(events: impl Iterator<Item = u16>, wanted: u64) -> bool {
    let mut left = wanted;
    for member in events {
        if left != 0 && left.trailing_zeros() == u32::from(member) {
            left &= left - 1;
        }
    }
    left == 0
}

/// Whether the events of a whole window satisfy an expression that asks for absence, or for an order of some: then those
/// of one way in which it holds must have come in order, and others may have come at any time.
pub(crate) fn window_holds(kind: &Kind, events: impl Iterator<Item = u16> + Clone) -> bool {
    let mask = events.clone().fold(0_u64, |mask, member| mask | 1 << member);
    match kind {
        Kind::Temporal(seen) => seen.holds(mask),
        Kind::Ordered(seen, ways) => {
            let possible = |way: &&Way| way.present & !mask == 0 && way.absent & mask == 0;
            seen.holds(mask)
                && ways.iter().filter(possible).any(|way| holds_chain(events.clone(), way.present))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_medians_follow_the_textbook() {
        let values = [15, 20, 35, 40, 50];
        let rank = |p| nearest_rank(&values, p).unwrap();
        assert_eq!((rank(5), rank(30), rank(40), rank(50), rank(100)), (15, 20, 20, 35, 50));
        assert_eq!((middle(&values), middle(&values[..4])), (Some(70), Some(55)));
        assert_eq!((nearest_rank(&[], 50), middle(&[])), (None, None));
    }

    #[test]
    fn a_chain_skips_what_comes_too_early() {
        assert!(holds_chain([1, 0, 2, 1, 2].into_iter(), 0b111));
        assert!(!holds_chain([2, 1, 0].into_iter(), 0b111));
        assert!(holds_chain([2, 0].into_iter(), 0b100) && holds_chain([].into_iter(), 0));
    }
}
