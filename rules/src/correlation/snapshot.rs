//! The state of correlations as bytes. An event takes part in many correlations and groups: it is written once, and they
//! name it by its number. Pages are written as they are.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use event::TenantId;
use event::snapshot::Pieces;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize, Serializer};

use super::groups::{Group, Groups};
use super::observation::Value;
use super::timeline::{Entry, Firing, Timeline, WindowCounts};
use super::windows::{Limits, Windows};
use super::witness::{Page, Seen, Witness};

/// Marks the bytes and their format.
const MAGIC: &[u8; 8] = b"asterw05";

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

/// The whole state. Groups are in the order of their keys, pages and witnesses in that in which groups name them.
#[derive(Serialize, Deserialize)]
struct Written<P, W, S> {
    pages: P,
    witnesses: W,
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

/// Where a witness is written: on which page, counted from 1, and where on it; 0 is the list of those on no page.
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
        pages: &numbers.pages,
        witnesses: &numbers.witnesses,
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

/// The number of each witness. Those of one hash and content are one.
#[derive(Default)]
struct Numbers<'a> {
    pages: Vec<&'a Page>,
    page_numbers: HashMap<*const Page, u32>,
    witnesses: Vec<&'a Witness>,
    witness_numbers: HashMap<(u64, u64), u32>,
}

impl<'a> Numbers<'a> {
    fn of(groups: impl Iterator<Item = &'a Group>) -> Self {
        let mut numbers = Self::default();
        for entry in groups.flat_map(|group| group.timeline.parts().0) {
            match &entry.witness {
                Seen::Cold(page, _) => {
                    numbers.page_numbers.entry(Arc::as_ptr(page)).or_insert_with(|| {
                        numbers.pages.push(page);
                        numbers.pages.len() as u32
                    });
                }
                Seen::Warm(witness) => {
                    let hashes = (entry.witness.hash(), entry.witness.content());
                    numbers.witness_numbers.entry(hashes).or_insert_with(|| {
                        numbers.witnesses.push(witness);
                        numbers.witnesses.len() as u32 - 1
                    });
                }
            }
        }
        numbers
    }

    /// Every witness of a group has one.
    fn of_witness(&self, seen: &Seen) -> Number {
        match seen {
            Seen::Cold(page, at) => {
                (self.page_numbers.get(&Arc::as_ptr(page)).copied().unwrap_or(u32::MAX), *at)
            }
            Seen::Warm(_) => {
                (0, self.witness_numbers.get(&(seen.hash(), seen.content())).copied().unwrap_or(u32::MAX))
            }
        }
    }
}

pub(super) fn read(bytes: &Pieces) -> Result<Windows, SnapshotError> {
    let refuse = |problem: String| SnapshotError::new("correlation rules", problem);
    let Written { pages, witnesses, states, counts, limits } =
        event::snapshot::read::<Written<Vec<Arc<Page>>, Vec<Arc<Witness>>, States>>(MAGIC, bytes)
            .map_err(refuse)?;
    let seen = |(page, at): Number| match page.checked_sub(1) {
        None => witnesses.get(at as usize).map(|witness| Seen::Warm(Arc::clone(witness))),
        Some(page) => Page::seen(pages.get(page as usize)?, at),
    };
    let mut windows = Windows { counts, limits, ..Windows::default() };
    for (key, sealed, tenants) in states {
        let state = windows.states.entry(key).or_default();
        state.sealed = sealed;
        for (tenant, written) in tenants {
            let groups = state.tenants.entry(tenant).or_default();
            for WrittenGroup { keys, wake_at, firings, events } in written {
                let mut entries = Vec::with_capacity(events.len());
                for (time, member, value, number) in events {
                    let witness =
                        seen(number).ok_or_else(|| refuse(format!("no event has number {number:?}")))?;
                    entries.push(Entry { time, member, value, witness });
                }
                groups.restore(keys.into_iter().collect(), Timeline::of_parts(entries, firings), wake_at);
            }
        }
    }
    Ok(windows)
}
