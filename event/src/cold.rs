//! Parts of a state that are seldom looked at, as compressed bytes on a shelf. A window of a day is mostly such parts.

use std::fmt;
use std::io::BufReader;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::shelf::{Kept, Shelf};
use crate::snapshot::LEVEL;

/// A value that is bytes while nobody looks at it. Looking at it makes it a value again, which it stays until
/// [`Cold::cool`] has found twice that nobody did.
///
/// ```
/// use event::{Cold, Shelf};
/// let mut texts = Cold::new(vec!["cmd.exe".to_owned(); 1_000]);
/// texts.cool(&Shelf::in_memory());
/// texts.cool(&Shelf::in_memory());
/// assert!(texts.is_cold());
/// assert_eq!(texts.get()[999], "cmd.exe");
/// ```
pub struct Cold<T> {
    value: OnceLock<Box<T>>,
    /// The value in bytes, where it has not been changed since.
    bytes: Option<Packed<T>>,
    looked_at: AtomicBool,
}

impl<T: Serialize + DeserializeOwned> Cold<T> {
    /// A value that was just looked at.
    pub fn new(value: T) -> Self {
        Self { value: OnceLock::from(Box::new(value)), bytes: None, looked_at: AtomicBool::new(true) }
    }

    /// The value.
    pub fn get(&self) -> &T {
        self.looked_at.store(true, Ordering::Relaxed);
        self.value.get_or_init(|| Box::new(self.unpacked()))
    }

    /// The value, to be changed.
    pub fn get_mut(&mut self) -> &mut T {
        _ = self.get();
        self.bytes = None;
        match self.value.get_mut() {
            Some(value) => value,
            None => unreachable!("the value was just made"),
        }
    }

    /// Takes the value out.
    pub fn into_inner(mut self) -> T {
        match self.value.take() {
            Some(value) => *value,
            None => self.unpacked(),
        }
    }

    fn unpacked(&self) -> T {
        match &self.bytes {
            Some(bytes) => bytes.unpack(),
            None => unreachable!("what is no value is bytes"),
        }
    }

    /// Makes the value bytes on a shelf if nobody has looked at it since the last call.
    pub fn cool(&mut self, shelf: &Shelf) {
        if !std::mem::take(self.looked_at.get_mut()) {
            self.freeze(shelf);
        }
    }

    /// Makes the value bytes on a shelf.
    pub fn freeze(&mut self, shelf: &Shelf) {
        if let Some(value) = self.value.take() {
            self.bytes.get_or_insert_with(|| Packed::of(&*value)).shelve(shelf);
        }
        *self.looked_at.get_mut() = false;
    }

    /// Whether the value is bytes.
    pub fn is_cold(&self) -> bool {
        self.value.get().is_none()
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let plain = zstd::Decoder::new(bytes).map_err(|error| error.to_string())?;
    ciborium::from_reader(BufReader::new(plain)).map_err(|error| error.to_string())
}

/// A value as compressed bytes.
struct Packed<T> {
    bytes: Kept,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Packed<T> {
    fn of(value: &T) -> Self {
        let mut plain = Vec::new();
        let written = ciborium::into_writer(value, &mut plain).map_err(|error| error.to_string());
        let bytes = written.and_then(|()| zstd::bulk::compress(&plain, LEVEL).map_err(|e| e.to_string()));
        match bytes {
            Ok(bytes) => Self::known(bytes),
            // Memory takes all that is written, and no type of a state refuses to be.
            Err(error) => unreachable!("state is writable: {error}"),
        }
    }

    fn unpack(&self) -> T {
        match read(&self.bytes.read()) {
            Ok(value) => value,
            // They were made here of such a value, or looked at when they came.
            Err(error) => unreachable!("bytes of a value are one: {error}"),
        }
    }
}

impl<T> Packed<T> {
    /// Of bytes that are known to be a value.
    fn known(bytes: Vec<u8>) -> Self {
        Self { bytes: Shelf::in_memory().keep(bytes), of: PhantomData }
    }

    fn shelve(&mut self, shelf: &Shelf) {
        self.bytes.shelve(shelf);
    }
}

impl<T> Clone for Packed<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for Packed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Packed").field(&self.bytes.len()).finish()
    }
}

impl<T> Serialize for Packed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes.read())
    }
}

impl<T: Clone> Clone for Cold<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            bytes: self.bytes.clone(),
            looked_at: AtomicBool::new(self.looked_at.load(Ordering::Relaxed)),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Cold<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_tuple("Cold");
        match (self.value.get(), &self.bytes) {
            (Some(value), _) => told.field(value).finish(),
            (None, bytes) => told.field(bytes).finish(),
        }
    }
}

/// In a snapshot it is its bytes: what is cold is written as it is.
impl<T: Serialize + DeserializeOwned> Serialize for Cold<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (&self.bytes, self.value.get()) {
            (None, Some(value)) => Packed::of(value.as_ref()).serialize(serializer),
            (bytes, _) => bytes.serialize(serializer),
        }
    }
}

/// Bytes from elsewhere are looked at once: they are a value, or refused.
impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for Cold<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_byte_buf(Bytes)?;
        let value = read(&bytes).map_err(D::Error::custom)?;
        Ok(Self { bytes: Some(Packed::known(bytes)), ..Self::new(value) })
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes of a part of a state")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_bytes_when_nobody_has_looked_for_a_while() {
        let mut cold = Cold::new(vec![7_u64; 10_000]);
        cold.cool(&Shelf::in_memory());
        assert!(!cold.is_cold(), "it was new");
        cold.cool(&Shelf::in_memory());
        assert!(cold.is_cold());
        assert!(cold.bytes.as_ref().is_some_and(|bytes| bytes.bytes.len() < 100));
        assert_eq!(cold.get()[9_999], 7);
        cold.cool(&Shelf::in_memory());
        assert!(!cold.is_cold(), "somebody looked");
        cold.cool(&Shelf::in_memory());
        assert!(cold.is_cold());
    }

    #[test]
    fn a_change_is_kept() {
        let mut cold = Cold::new(vec![1, 2]);
        (0..2).for_each(|_| cold.cool(&Shelf::in_memory()));
        cold.get_mut().push(3);
        (0..2).for_each(|_| cold.cool(&Shelf::in_memory()));
        assert!(cold.is_cold());
        assert_eq!(cold.clone().get(), &[1, 2, 3]);
    }

    #[test]
    fn a_snapshot_is_the_same_of_cold_and_warm_and_damage_is_refused() {
        let warm = Cold::new(vec![1_u64, 2, 3]);
        let mut cold = warm.clone();
        cold.freeze(&Shelf::in_memory());
        let bytes = crate::snapshot::write(b"test0001", &warm);
        assert_eq!(crate::snapshot::write(b"test0001", &cold), bytes);
        let back: Cold<Vec<u64>> = crate::snapshot::read(b"test0001", &bytes).unwrap();
        assert_eq!(back.get(), warm.get());
        assert_eq!(crate::snapshot::write(b"test0001", &back), bytes);
        assert!(
            crate::snapshot::read::<Cold<Vec<String>>>(b"test0001", &bytes).is_err(),
            "numbers are no texts"
        );
        let damaged = Cold { bytes: Some(Packed::known(b"nothing".to_vec())), ..cold };
        let bytes = crate::snapshot::write(b"test0001", &damaged);
        assert!(crate::snapshot::read::<Cold<Vec<u64>>>(b"test0001", &bytes).is_err());
    }
}
