//! UUIDs made of names (RFC 9562, version 5), as STIX and CACAO ask for. They need SHA-1, which nothing else here does and
//! which guards nothing here: it is a name, not a secret.

use std::fmt;

/// A UUID (RFC 9562).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// The namespace of DNS names (RFC 9562, 6.6).
    pub const DNS: Uuid = Uuid::of(0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8);

    /// The UUID of these bits.
    pub const fn of(value: u128) -> Self {
        Uuid(value.to_be_bytes())
    }

    /// Version 5: the same namespace and name give the same UUID.
    pub fn named(namespace: Uuid, name: &[u8]) -> Self {
        let digest = sha1(&[&namespace.0, name].concat());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Uuid(bytes).marked(5)
    }

    /// The UUID of what is ours to name, by tenant, kind and further parts: the same in every export.
    pub fn ours(parts: &[&str]) -> Self {
        let namespace = Uuid::named(Uuid::DNS, b"stix.asterism");
        Uuid::named(namespace, parts.join("\u{0}").as_bytes())
    }

    /// The same bits marked as version 4, for ids that a format wants to be random.
    pub const fn as_if_random(self) -> Self {
        self.marked(4)
    }

    const fn marked(mut self, version: u8) -> Self {
        self.0[6] = self.0[6] & 0x0f | version << 4;
        self.0[8] = self.0[8] & 0x3f | 0x80;
        self
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// SHA-1 (FIPS 180-4, 6.1).
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let bits = (message.len() as u64 * 8).to_be_bytes();
    let end = padded.len();
    padded[end - 8..].copy_from_slice(&bits);
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    padded.chunks_exact(64).for_each(|block| state = sha1_block(state, block));
    let mut digest = [0; 20];
    for (place, word) in digest.chunks_exact_mut(4).zip(state) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn sha1_block(state: [u32; 5], block: &[u8]) -> [u32; 5] {
    let mut words = [0_u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for t in 16..80 {
        words[t] = (words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = state;
    for (t, word) in words.into_iter().enumerate() {
        let (mixed, constant) = match t / 20 {
            0 => (b & c | !b & d, 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let next =
            a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    let sums = [a, b, c, d, e];
    std::array::from_fn(|i| state[i].wrapping_add(sums[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digest: [u8; 20]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The examples of FIPS 180 and its validation suite, around the ends of a block.
    #[test]
    fn digests_are_those_of_the_standard() {
        assert_eq!(hex(sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let two = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(sha1(two)), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        assert_eq!(hex(sha1(&[b'a'; 1_000_000])), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
        let ends: Vec<String> =
            [55, 56, 63, 64, 65].map(|n| hex(sha1(&vec![b'a'; n]))[..8].to_owned()).into();
        assert_eq!(ends, ["c1c8bbdc", "c2db330f", "03f09f5b", "0098ba82", "11655326"]);
    }

    /// `www.example.com` in the namespace of DNS: RFC 9562, appendix A.4.
    #[test]
    fn a_name_gives_the_uuid_of_the_standard() {
        let uuid = Uuid::named(Uuid::DNS, b"www.example.com");
        assert_eq!(uuid.to_string(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
        assert_eq!(uuid.as_if_random().to_string(), "2ed6657d-e927-468b-95e1-2665a8aea6a2");
    }
}
