//! Seeded chance. All draws come from the generator's 64-bit output through the functions below, so that the
//! bytes of a seed do not change when a distribution of the `rand` crates does.

use std::fmt;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of random draws that belongs to one purpose of one seed and tenant.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of `purpose`: other purposes of the same seed draw independently, so adding a story does not
    /// change the normal day around it.
    pub(crate) fn new(seed: u64, tenant: &str, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [&seed.to_le_bytes()[..], tenant.as_bytes(), purpose.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// 64 uniform bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..n`; 0 for `n` of 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// One of `items`, which must not be empty.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// An index of `weights` (all positive), in proportion to them.
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (i, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return i;
            }
        }
        weights.len().saturating_sub(1)
    }

    /// Exponential with the given mean: gaps of a Poisson process.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Log-normal with the given median: delays of networks and queues.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median * (sigma * normal).exp()
    }

    /// A random version 4 GUID.
    pub(crate) fn guid(&mut self) -> Guid {
        let bits = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        Guid(bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62))
    }

    /// `bytes` random bytes in lower-case hex.
    pub(crate) fn hex(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes * 2 + 16);
        while text.len() < bytes * 2 {
            text.push_str(&format!("{:016x}", self.bits()));
        }
        text.truncate(bytes * 2);
        text
    }
}

/// A GUID, shown in lower case with hyphens and without braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guid(u128);

impl Guid {
    /// The GUID that names `text` within `seed` and `tenant`: stable without storage.
    pub(crate) fn named(seed: u64, tenant: &str, text: &str) -> Self {
        Dice::new(seed, tenant, text).guid()
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for nibble in 0..32 {
            if matches!(nibble, 8 | 12 | 16 | 20) {
                at += 1;
            }
            text[at] = HEX[((self.0 >> (124 - nibble * 4)) & 0xf) as usize];
            at += 1;
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl serde::Serialize for Guid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_tenants_draw_independently() {
        let draw = |tenant, purpose| Dice::new(7, tenant, purpose).bits();
        assert_eq!(draw("a", "day"), draw("a", "day"));
        assert_ne!(draw("a", "day"), draw("a", "story"));
        assert_ne!(draw("a", "day"), draw("b", "day"));
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let mut dice = Dice::new(1, "t", "range");
        let seen: std::collections::BTreeSet<i64> = (0..1_000).map(|_| dice.between(-2, 2)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
        let mean = (0..20_000).map(|_| dice.exponential(3.0)).sum::<f64>() / 20_000.0;
        assert!((2.8..3.2).contains(&mean), "{mean}");
    }

    #[test]
    fn guids_have_version_and_variant() {
        let guid = Dice::new(1, "t", "guid").guid().to_string();
        assert_eq!(guid.len(), 36);
        assert_eq!(&guid[14..15], "4");
        assert!(matches!(&guid[19..20], "8" | "9" | "a" | "b"), "{guid}");
    }
}
