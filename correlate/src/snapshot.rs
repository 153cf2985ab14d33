//! Snapshots: the whole state of a correlator as bytes, tied to the parameters it was made with.

use std::io::{self, Write};

use event::snapshot::Pieces;
use serde::{Deserialize, Serialize};

use crate::error::CorrelateError;

/// Format of the bytes; raised with every change that older programs cannot read.
const VERSION: u32 = 10;

/// Marks the bytes as ours.
const MAGIC: &[u8; 8] = b"asterc03";

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    parameters: String,
    state: T,
}

/// Writes a state.
pub(crate) fn write_to<T: Serialize>(parameters: &str, state: &T, out: impl Write) -> io::Result<()> {
    let envelope = Envelope { version: VERSION, parameters: parameters.to_owned(), state };
    event::snapshot::write_to(MAGIC, &envelope, out)
}

/// Reads a state back.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(
    parameters: &str,
    bytes: &Pieces,
) -> Result<T, CorrelateError> {
    let envelope: Envelope<T> = event::snapshot::read(MAGIC, bytes).map_err(CorrelateError::Snapshot)?;
    if envelope.version != VERSION {
        return Err(CorrelateError::Snapshot(format!("version {} is not {VERSION}", envelope.version)));
    }
    if envelope.parameters != parameters {
        return Err(CorrelateError::ParametersChanged {
            found: envelope.parameters,
            expected: parameters.to_owned(),
        });
    }
    Ok(envelope.state)
}

/// Hash maps are written in the order of their keys, so that a state has the same bytes whatever its hashes.
pub(crate) mod sorted {
    use hashbrown::HashMap;
    use std::hash::Hash;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K, V, S>(map: &HashMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize + Ord,
        V: Serialize,
        S: Serializer,
    {
        let mut entries: Vec<(&K, &V)> = map.iter().collect();
        entries.sort_by(|a, b| a.0.cmp(b.0));
        entries.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<HashMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Eq + Hash,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}
