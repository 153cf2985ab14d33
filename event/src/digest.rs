//! Hashes of short texts, as names and keys are.

use smallvec::SmallVec;

/// Most texts with what stands before them; longer ones take a buffer.
const SHORT: usize = 256;

/// BLAKE3 of the parts, one after the other, taken in one piece: for short texts a hasher's own state is more than they are.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut bytes: SmallVec<[u8; SHORT]> = SmallVec::new();
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    *blake3::hash(&bytes).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hash_of_all_parts_together() {
        let long = [7; 2 * SHORT];
        let lists: [&[&[u8]]; 3] = [&[], &[b"a", b"", b"bc"], &[b"a", &long]];
        for parts in lists {
            let mut hasher = blake3::Hasher::new();
            for part in parts {
                hasher.update(part);
            }
            assert_eq!(digest(parts), *hasher.finalize().as_bytes());
        }
    }
}
