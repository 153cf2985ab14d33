//! State as bytes: CBOR, written as a compressed stream. The state of an engine is large and repeats itself; written
//! plainly it would be in memory twice.

use std::io::{BufReader, BufWriter, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The fastest level still finds the repetitions.
const LEVEL: i32 = 1;

/// Writes `state` behind `magic`, which names the kind of state and its format. Equal states have equal bytes, as long
/// as they write their parts in an order of their own.
pub fn write<T: Serialize>(magic: &[u8; 8], state: &T) -> Vec<u8> {
    // Writing to memory fails only where a type refuses to be written, which no state of ours does.
    match try_write(magic, state) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("state is writable: {error}"),
    }
}

fn try_write<T: Serialize>(
    magic: &[u8; 8],
    state: &T,
) -> Result<Vec<u8>, ciborium::ser::Error<std::io::Error>> {
    let mut compressed = zstd::Encoder::new(magic.to_vec(), LEVEL).map_err(ciborium::ser::Error::Io)?;
    let mut out = BufWriter::new(&mut compressed);
    ciborium::into_writer(state, &mut out)?;
    out.flush().map_err(ciborium::ser::Error::Io)?;
    drop(out);
    compressed.finish().map_err(ciborium::ser::Error::Io)
}

/// Reads what [`write`] wrote behind the same `magic`.
///
/// # Errors
/// Why the bytes are no such state.
pub fn read<T: DeserializeOwned>(magic: &[u8; 8], bytes: &[u8]) -> Result<T, String> {
    let body = bytes.strip_prefix(magic).ok_or("not a snapshot, or one of another version")?;
    let body = zstd::Decoder::with_buffer(body).map_err(|error| error.to_string())?;
    ciborium::from_reader(BufReader::new(body)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_comes_back_and_what_is_none_is_refused() {
        let state: Vec<(u64, String)> = (0..1_000).map(|n| (n, "much the same".to_owned())).collect();
        let bytes = write(b"test0001", &state);
        assert!(bytes.len() < 8_000, "{} bytes", bytes.len());
        assert_eq!(read(b"test0001", &bytes), Ok(state));
        let refused = |bytes: &[u8]| read::<Vec<(u64, String)>>(b"test0001", bytes).is_err();
        assert!(refused(b"") && refused(b"test0001") && refused(b"test0002") && refused(&bytes[..40]));
    }
}
