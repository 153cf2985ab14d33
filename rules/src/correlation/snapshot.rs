//! The state of correlations as bytes. An event takes part in many correlations and groups: it is written once, and they
//! name it by its number.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use event::snapshot::Pieces;
use event::{Shelf, TenantId};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize, Serializer};

use super::groups::{Group, Groups};
use super::observation::Value;
use super::timeline::{Entry, Firing, Timeline, WindowCounts};
use super::windows::{Limits, Windows};
use super::witness::{Pile, Witness, shelve};

/// Marks the bytes and their format.
const MAGIC: &[u8; 8] = b"asterw06";

/// Bytes that are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state of {of}: {problem}")]
pub struct SnapshotError {
    of: &'static str,
    problem: String,
}

impl SnapshotError {
    pub(crate) fn new(of: &'static str, problem: String) -> Self {
        Self { of, problem }
    }
}

/// The whole state. Groups are in the order of their keys, pages of witnesses in that in which groups name them.
#[derive(Serialize, Deserialize)]
struct Written<P, S> {
    pages: P,
    states: S,
    counts: WindowCounts,
    limits: Limits,
}

/// One group: its events with the numbers of their witnesses.
#[derive(Serialize, Deserialize)]
struct WrittenGroup<K, F, E> {
    keys: K,
    wake_at: i64,
    firings: F,
    events: E,
}

/// Where a witness is written: on which page, and as which of those on it.
type Number = (u32, u32);

/// What is sealed, and groups by tenant, by the key of their correlation.
type States = Vec<(Arc<str>, i64, Vec<(TenantId, Vec<ReadGroup>)>)>;
type ReadGroup = WrittenGroup<Vec<Arc<str>>, Vec<Firing>, Vec<(i64, u16, Value, Number)>>;

/// A list that is made as it is written.
struct Lazy<F>(F);

impl<F, I> Serialize for Lazy<F>
where
    F: Fn() -> I,
    I: IntoIterator,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

pub(super) fn write_to(windows: &Windows, out: impl Write) -> io::Result<()> {
    let states: Vec<(&Arc<str>, i64, Sorted<'_>)> =
        windows.states.iter().map(|(key, state)| (key, state.sealed, sorted(&state.tenants))).collect();
    let groups = states.iter().flat_map(|(_, _, tenants)| tenants).flat_map(|(_, groups)| groups);
    let numbers = &Numbers::of(groups.copied());
    let written = Written {
        pages: Lazy(|| numbers.pages().map(|page| Lazy(move || page.iter().map(|w| w.account())))),
        states: Lazy(|| {
            states
                .iter()
                .map(|(key, sealed, tenants)| (key, sealed, Lazy(|| written_tenants(tenants, numbers))))
        }),
        counts: windows.counts,
        limits: windows.limits,
    };
    event::snapshot::write_to(MAGIC, &written, out)
}

/// The groups of each tenant, in the order of their keys.
type Sorted<'a> = Vec<(&'a TenantId, Vec<&'a Group>)>;

fn sorted(tenants: &BTreeMap<TenantId, Groups>) -> Sorted<'_> {
    tenants.iter().map(|(tenant, groups)| (tenant, groups.sorted())).collect()
}

fn written_tenants<'a>(
    tenants: &'a Sorted<'a>,
    numbers: &'a Numbers<'a>,
) -> impl Iterator<Item = (&'a TenantId, impl Serialize)> {
    tenants.iter().map(move |(tenant, groups)| {
        (*tenant, Lazy(move || groups.iter().map(move |group| written_group(group, numbers))))
    })
}

fn written_group(group: &Group, numbers: &Numbers<'_>) -> impl Serialize {
    let (entries, firings) = group.timeline.parts();
    let event = |e: &Entry| (e.time, e.member, e.value.clone(), numbers.of_witness(&e.witness));
    let events: Vec<(i64, u16, Value, Number)> = entries.map(event).collect();
    WrittenGroup { keys: &group.keys[..], wake_at: group.wake_at, firings, events }
}

/// The number of each witness.
struct Numbers<'a> {
    /// In the order of their pages, and of their places there.
    witnesses: Vec<&'a Witness>,
    /// The number of each page, and its first witness.
    pages: HashMap<usize, (u32, usize)>,
}

impl<'a> Numbers<'a> {
    fn of(groups: impl Iterator<Item = &'a Group>) -> Self {
        let mut pages: HashMap<usize, (u32, usize)> = HashMap::new();
        let mut witnesses = Vec::new();
        for entry in groups.flat_map(|group| group.timeline.parts().0) {
            let number = pages.len() as u32;
            pages.entry(entry.witness.place().0).or_insert((number, 0));
            witnesses.push(&entry.witness);
        }
        let place = |witness: &Witness| {
            let (page, at) = witness.place();
            (pages[&page].0, at)
        };
        witnesses.sort_by_cached_key(|witness| place(witness));
        witnesses.dedup_by_key(|witness| witness.place());
        let mut numbers = Self { witnesses, pages: HashMap::new() };
        let mut first = 0;
        numbers.pages = numbers
            .pages()
            .zip(0..)
            .map(|(page, number)| {
                let at = first;
                first += page.len();
                (page[0].place().0, (number, at))
            })
            .collect();
        numbers
    }

    fn pages(&self) -> impl Iterator<Item = &[&'a Witness]> {
        self.witnesses.chunk_by(|a, b| a.place().0 == b.place().0)
    }

    /// Every witness of a group has one.
    fn of_witness(&self, witness: &Witness) -> Number {
        let (page, at) = witness.place();
        let (number, first) = self.pages[&page];
        let on_page = self.witnesses[first..].partition_point(|w| w.place().0 == page && w.place().1 < at);
        (number, on_page as u32)
    }
}

pub(super) fn read(bytes: &Pieces, shelf: Shelf) -> Result<Windows, SnapshotError> {
    let refuse = |problem: String| SnapshotError::new("correlation rules", problem);
    let Written { mut pages, states, counts, limits } =
        event::snapshot::read::<Written<Vec<Pile>, States>>(MAGIC, bytes).map_err(refuse)?;
    pages.iter_mut().for_each(|Pile(witnesses)| shelve(witnesses.iter_mut(), &shelf));
    let witness = |(page, at): Number| pages.get(page as usize)?.0.get(at as usize).cloned();
    let mut windows = Windows { counts, limits, ..Windows::on(shelf) };
    for (key, sealed, tenants) in states {
        let state = windows.states.entry(key).or_default();
        state.sealed = sealed;
        for (tenant, written) in tenants {
            let groups = state.tenants.entry(tenant).or_default();
            for WrittenGroup { keys, wake_at, firings, events } in written {
                let mut entries = Vec::with_capacity(events.len());
                for (time, member, value, number) in events {
                    let witness =
                        witness(number).ok_or_else(|| refuse(format!("no event has number {number:?}")))?;
                    entries.push(Entry { time, member, value, witness });
                }
                groups.restore(keys.into_iter().collect(), Timeline::of_parts(entries, firings), wake_at);
            }
        }
    }
    Ok(windows)
}
