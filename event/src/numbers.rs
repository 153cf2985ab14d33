//! Columns of numbers as bytes: CBOR writes and reads each member of a list by itself, which takes longer than the
//! compression of all of them.
//!
//! For `#[serde(with = "event::numbers")]`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// A number of a fixed size.
pub trait Number: Copy {
    /// Adds its bytes, the lowest first.
    fn push(self, out: &mut Vec<u8>);
    /// Reads numbers; `None` where the bytes are not of whole ones.
    fn read(bytes: &[u8]) -> Option<Vec<Self>>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Number for $number {
            fn push(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Option<Vec<Self>> {
                let (numbers, rest) = bytes.as_chunks();
                rest.is_empty().then(|| numbers.iter().map(|bytes| Self::from_le_bytes(*bytes)).collect())
            }
        }
    )*};
}

numbers!(u32, i64, u64);

/// Writes the numbers.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<N: Number, S: Serializer>(numbers: &[N], serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(size_of_val(numbers));
    numbers.iter().for_each(|number| number.push(&mut bytes));
    serializer.serialize_bytes(&bytes)
}

/// Reads numbers.
///
/// # Errors
/// Where there is something else, or no whole number of them.
pub fn deserialize<'de, N: Number, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<N>, D::Error> {
    deserializer.deserialize_byte_buf(Bytes(PhantomData))
}

struct Bytes<N>(PhantomData<N>);

impl<N: Number> Visitor<'_> for Bytes<N> {
    type Value = Vec<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers as bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        N::read(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
        self.visit_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use crate::snapshot;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Columns {
        #[serde(with = "super")]
        places: Vec<u32>,
        #[serde(with = "super")]
        offsets: Vec<i64>,
        #[serde(with = "super")]
        hashes: Vec<u64>,
    }

    #[derive(Serialize)]
    struct Broken {
        #[serde(serialize_with = "bytes")]
        places: Vec<u8>,
        offsets: Vec<i64>,
        hashes: Vec<u64>,
    }

    fn bytes<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    #[test]
    fn numbers_read_back() {
        for count in [0, 1, 5_000] {
            let columns = Columns {
                places: (0..count).map(|i| u32::MAX - i).collect(),
                offsets: (0..i64::from(count)).map(|i| i64::MIN + i).collect(),
                hashes: (0..u64::from(count)).map(|i| u64::MAX - i).collect(),
            };
            let bytes = snapshot::write(b"test0001", &columns);
            assert_eq!(snapshot::read::<Columns>(b"test0001", &bytes).unwrap(), columns);
        }
    }

    #[test]
    fn half_a_number_is_refused() {
        let broken = Broken { places: vec![1, 2, 3], offsets: Vec::new(), hashes: Vec::new() };
        let bytes = snapshot::write(b"test0001", &broken);
        assert!(snapshot::read::<Columns>(b"test0001", &bytes).is_err());
    }
}
