//! A place beside the memory for bytes of a state that are seldom asked for. A window of a day is mostly such bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a shelf is made of. It need not outlive the process: a state is restored from its snapshot.
pub trait Medium: Send + Sync {
    /// Writes bytes at a place.
    ///
    /// # Errors
    /// Where they cannot be written: they stay in memory then.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads the bytes that were written at a place. Where they cannot be read any more a part of the state is lost, and no
    /// answer would be right: the process must end, and its next start goes on from the last snapshot.
    fn read(&self, at: u64, into: &mut [u8]);
}

/// Bytes in memory, for tests of what is put on shelves.
impl Medium for Mutex<Vec<u8>> {
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut all = self.lock().unwrap_or_else(PoisonError::into_inner);
        let end = at as usize + bytes.len();
        let len = all.len().max(end);
        all.resize(len, 0);
        all[at as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        let all = self.lock().unwrap_or_else(PoisonError::into_inner);
        into.copy_from_slice(&all[at as usize..][..into.len()]);
    }
}

/// Puts bytes on a [`Medium`], or leaves them in memory where there is none.
///
/// ```
/// use event::Shelf;
/// let kept = Shelf::in_memory().keep(b"cmd.exe whoami".to_vec());
/// assert_eq!(&*kept.part(8, 6), b"whoami");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Shelf(Option<Arc<Store>>);

struct Store {
    medium: Box<dyn Medium>,
    room: Mutex<Room>,
}

/// Which places of a medium are taken.
#[derive(Default)]
struct Room {
    /// Nothing was ever written from here on.
    end: u64,
    /// Places that are free again, by their size.
    free: BTreeMap<u64, Vec<u64>>,
    /// Bytes in use.
    used: u64,
}

/// Fewer bytes take no less where they are kept than where their place is.
const FEW: usize = 128;

impl Shelf {
    /// All that is kept stays in memory.
    pub const fn in_memory() -> Self {
        Self(None)
    }

    /// All that is kept lies on a medium, from its place 0 on.
    pub fn on(medium: impl Medium + 'static) -> Self {
        Self(Some(Arc::new(Store { medium: Box::new(medium), room: Mutex::default() })))
    }

    /// Keeps bytes as long as what is returned, or a clone of it.
    pub fn keep(&self, bytes: Vec<u8>) -> Kept {
        self.place(&bytes).unwrap_or_else(|| Kept(Arc::new(Bytes::Memory(bytes.into()))))
    }

    fn place(&self, bytes: &[u8]) -> Option<Kept> {
        let store = self.0.as_ref().filter(|_| bytes.len() > FEW)?;
        Some(Kept(Arc::new(Bytes::Shelved(Place::of(store, bytes)?))))
    }

    /// Bytes of the medium that are in use.
    pub fn used(&self) -> u64 {
        self.0.as_ref().map_or(0, |store| store.room().used)
    }
}

impl Store {
    fn room(&self) -> MutexGuard<'_, Room> {
        // Nothing that is done under the lock can fail half way.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Room {
    fn take(&mut self, size: u64) -> u64 {
        self.used += size;
        self.free.get_mut(&size).and_then(Vec::pop).unwrap_or_else(|| {
            self.end += size;
            self.end - size
        })
    }

    fn give_back(&mut self, at: u64, size: u64) {
        self.used -= size;
        self.free.entry(size).or_default().push(at);
    }
}

/// The size of the place for so many bytes: few sizes, so that another finds what one has left, and an eighth too large at
/// most beyond a kilobyte.
fn size_for(len: usize) -> u64 {
    let step = (len.next_power_of_two() / 16).max(64);
    len.next_multiple_of(step) as u64
}

/// A place on a medium, which is free again when it is dropped.
#[derive(Debug)]
struct Place {
    store: Arc<Store>,
    at: u64,
    len: usize,
}

impl Place {
    /// Writes bytes to a free place; `None` where they cannot be written.
    fn of(store: &Arc<Store>, bytes: &[u8]) -> Option<Self> {
        let at = store.room().take(size_for(bytes.len()));
        let place = Self { store: Arc::clone(store), at, len: bytes.len() };
        store.medium.write(at, bytes).is_ok().then_some(place)
    }

    fn read(&self, from: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.store.medium.read(self.at + from as u64, &mut bytes);
        bytes
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.store.room().give_back(self.at, size_for(self.len));
    }
}

/// Bytes on a [`Shelf`], which do not change.
#[derive(Clone)]
pub struct Kept(Arc<Bytes>);

enum Bytes {
    Memory(Box<[u8]>),
    Shelved(Place),
}

impl Kept {
    /// How many they are.
    pub fn len(&self) -> usize {
        match &*self.0 {
            Bytes::Memory(bytes) => bytes.len(),
            Bytes::Shelved(place) => place.len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn read(&self) -> Cow<'_, [u8]> {
        self.part(0, self.len())
    }

    /// Some of them: `len` from the place `from` on, or as many as there are.
    pub fn part(&self, from: usize, len: usize) -> Cow<'_, [u8]> {
        let from = from.min(self.len());
        let len = len.min(self.len() - from);
        match &*self.0 {
            Bytes::Memory(bytes) => Cow::Borrowed(&bytes[from..from + len]),
            Bytes::Shelved(place) => Cow::Owned(place.read(from, len)),
        }
    }

    /// Equal for clones of one, as long as there is one.
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Puts what is in memory on a shelf.
    pub fn shelve(&mut self, shelf: &Shelf) {
        if let Bytes::Memory(bytes) = &*self.0
            && let Some(shelved) = shelf.place(bytes)
        {
            *self = shelved;
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_shelved = matches!(*self.0, Bytes::Shelved(_));
        f.debug_struct("Kept").field("len", &self.len()).field("is_shelved", &is_shelved).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A medium of a limited size.
    struct Limited {
        bytes: Mutex<Vec<u8>>,
        room: usize,
    }

    impl Medium for Limited {
        fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
            if at as usize + bytes.len() > self.room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.write(at, bytes)
        }

        fn read(&self, at: u64, into: &mut [u8]) {
            self.bytes.read(at, into);
        }
    }

    fn is_shelved(kept: &Kept) -> bool {
        matches!(*kept.0, Bytes::Shelved(_))
    }

    #[test]
    fn a_full_medium_leaves_bytes_in_memory() {
        let shelf = Shelf::on(Limited { bytes: Mutex::default(), room: 5_000 });
        let (first, second) = (shelf.keep(vec![1; 4_000]), shelf.keep(vec![2; 4_000]));
        assert!(is_shelved(&first) && !is_shelved(&second));
        assert_eq!((&*first.read(), &*second.read()), (&[1; 4_000][..], &[2; 4_000][..]));
        assert_eq!(shelf.used(), 4_096, "the place that could not be written is free");
        drop(first);
        let mut third = second;
        third.shelve(&shelf);
        assert!(is_shelved(&third));
        assert_eq!(&*third.part(3_990, 100), &[2; 10]);
    }

    #[test]
    fn few_bytes_stay_where_they_are() {
        let shelf = Shelf::on(Limited { bytes: Mutex::default(), room: 5_000 });
        assert!(!is_shelved(&shelf.keep(vec![1; FEW])));
        assert_eq!(shelf.used(), 0);
    }

    #[test]
    fn places_are_few_sizes_and_not_much_too_large() {
        for len in 1..100_000 {
            let size = size_for(len) as usize;
            assert!(size >= len && size <= len + (len / 8).max(64), "{len} in {size}");
            assert_eq!(size_for(size) as usize, size);
        }
    }

    proptest! {
        /// Whatever comes and goes, what is kept is what was put there, and in the end no place is taken.
        #[test]
        fn what_is_kept_is_what_was_put_there(
            steps in proptest::collection::vec((any::<bool>(), 0..6_000_usize, any::<u8>(), any::<u16>()), 1..200),
        ) {
            let shelf = Shelf::on(Mutex::new(Vec::new()));
            let mut kept: Vec<(Kept, Vec<u8>)> = Vec::new();
            for (comes, len, byte, place) in steps {
                if comes || kept.is_empty() {
                    let bytes: Vec<u8> = (0..len).map(|i| byte.wrapping_add(i as u8)).collect();
                    kept.push((shelf.keep(bytes.clone()), bytes));
                } else {
                    kept.swap_remove(usize::from(place) % kept.len());
                }
                for (kept, bytes) in &kept {
                    prop_assert_eq!(&*kept.read(), &bytes[..]);
                    let from = usize::from(place) % (bytes.len() + 1);
                    prop_assert_eq!(&*kept.part(from, 100), &bytes[from..bytes.len().min(from + 100)]);
                }
            }
            drop(kept);
            prop_assert_eq!(shelf.used(), 0);
        }
    }
}
