//! State as bytes: CBOR, written as a compressed stream. The state of an engine is large and repeats itself; written
//! plainly it would be in memory twice.

use std::io::{self, BufReader, BufWriter, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The fastest level still finds the repetitions.
pub(crate) const LEVEL: i32 = 1;

/// Bytes in pieces: one buffer that grows would hold a large state twice.
#[derive(Debug, Clone, Default)]
pub struct Pieces(Vec<Vec<u8>>);

/// Bytes of a piece.
const PIECE: usize = 1 << 20;

impl Pieces {
    /// What `write` writes.
    pub fn of(write: impl FnOnce(&mut Self) -> io::Result<()>) -> Self {
        let mut pieces = Self::default();
        // Writing to memory fails only where a type refuses to be written, which no state of ours does.
        match write(&mut pieces) {
            Ok(()) => pieces,
            Err(error) => unreachable!("state is writable: {error}"),
        }
    }

    /// All bytes.
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    /// The pieces, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    fn reader(&self) -> Reader<'_> {
        Reader { rest: &self.0, at: 0 }
    }
}

/// Reads one piece after the other.
struct Reader<'a> {
    rest: &'a [Vec<u8>],
    /// Place in the first of them.
    at: usize,
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some((piece, rest)) = self.rest.split_first() {
            let len = (&piece[self.at..]).read(into)?;
            self.at += len;
            if len > 0 || into.is_empty() {
                return Ok(len);
            }
            (self.rest, self.at) = (rest, 0);
        }
        Ok(0)
    }
}

/// Equal are equal bytes, however they are cut.
impl PartialEq for Pieces {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().flatten().eq(other.iter().flatten())
    }
}

impl Eq for Pieces {}

impl From<Vec<u8>> for Pieces {
    fn from(bytes: Vec<u8>) -> Self {
        Self(vec![bytes])
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = |piece: &Vec<u8>| PIECE.saturating_sub(piece.len());
        if self.0.last().map_or(0, room) == 0 {
            self.0.push(Vec::with_capacity(PIECE));
        }
        let Some(piece) = self.0.last_mut() else { return Ok(0) };
        let len = bytes.len().min(room(piece));
        piece.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes `state` behind `magic`, which names the kind of state and its format. Equal states have equal bytes, as long
/// as they write their parts in an order of their own.
pub fn write<T: Serialize>(magic: &[u8; 8], state: &T) -> Pieces {
    Pieces::of(|pieces| write_to(magic, state, pieces))
}

/// As [`write`], to where it does not take memory.
///
/// # Errors
/// Where `out` cannot be written.
pub fn write_to<T: Serialize>(magic: &[u8; 8], state: &T, mut out: impl Write) -> io::Result<()> {
    out.write_all(magic)?;
    let mut compressed = zstd::Encoder::new(out, LEVEL)?;
    let mut plain = BufWriter::new(&mut compressed);
    ciborium::into_writer(state, &mut plain).map_err(|error| match error {
        ciborium::ser::Error::Io(error) => error,
        ciborium::ser::Error::Value(problem) => io::Error::other(problem),
    })?;
    plain.flush()?;
    drop(plain);
    compressed.finish()?.flush()
}

/// Reads what [`write`] wrote behind the same `magic`.
///
/// # Errors
/// Why the bytes are no such state.
pub fn read<T: DeserializeOwned>(magic: &[u8; 8], bytes: &Pieces) -> Result<T, String> {
    let mut body = bytes.reader();
    let mut head = [0; 8];
    if body.read_exact(&mut head).is_err() || head != *magic {
        return Err("not a snapshot, or one of another version".to_owned());
    }
    let body = zstd::Decoder::new(body).map_err(|error| error.to_string())?;
    ciborium::from_reader(BufReader::new(body)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_was_written() {
        let noise: Vec<u64> = (0..400_000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        let bytes = write(b"test0001", &noise);
        assert!(bytes.iter().count() > 2, "{} bytes", bytes.len());
        assert_eq!(read(b"test0001", &bytes), Ok(noise));
        let whole: Vec<u8> = bytes.iter().flatten().copied().collect();
        assert_eq!(bytes, Pieces::from(whole));
        assert!(bytes != Pieces::default() && Pieces::default().is_empty());
    }

    #[test]
    fn state_comes_back_and_what_is_none_is_refused() {
        let state: Vec<(u64, String)> = (0..1_000).map(|n| (n, "much the same".to_owned())).collect();
        let bytes = write(b"test0001", &state);
        assert!(bytes.len() < 8_000, "{} bytes", bytes.len());
        assert_eq!(read(b"test0001", &bytes), Ok(state));
        let whole: Vec<u8> = bytes.iter().flatten().copied().collect();
        let refused = |bytes: &[u8]| read::<Vec<(u64, String)>>(b"test0001", &bytes.to_vec().into()).is_err();
        assert!(refused(b"") && refused(b"test0001") && refused(b"test0002") && refused(&whole[..40]));
        assert!(!refused(&whole));
    }
}
