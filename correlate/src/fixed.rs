//! Fixed-point arithmetic in millionths: the same bits on every machine, whatever its vector width.

/// One, in millionths.
pub(crate) const ONE: u32 = 1_000_000;

/// Steps of a halving: finer ones would change no weight by a millionth that matters.
const STEPS: usize = 256;

/// 2^(-1/256) as a fraction of 2^32.
const STEP_FACTOR: u64 = 4_283_353_945;

/// 2^(-i/256) as fractions of 2^32.
static FRACTIONS: [u64; STEPS] = fractions();

const fn fractions() -> [u64; STEPS] {
    let mut table = [1 << 32; STEPS];
    let mut i = 1;
    while i < STEPS {
        table[i] = (table[i - 1] * STEP_FACTOR) >> 32;
        i += 1;
    }
    table
}

/// `a * b`.
pub(crate) const fn times(a: u32, b: u32) -> u32 {
    (a as u64 * b as u64 / ONE as u64) as u32
}

/// The chance of at least one of two independent chances, each at most [`ONE`].
pub(crate) const fn either(a: u32, b: u32) -> u32 {
    ONE - times(ONE.saturating_sub(a), ONE.saturating_sub(b))
}

/// `2^(-gap / half_life)`; a half-life of nothing forgets at once.
pub(crate) fn decay(gap_us: i64, half_life_us: i64) -> u32 {
    if gap_us <= 0 {
        return ONE;
    }
    if half_life_us <= 0 || gap_us / half_life_us >= 20 {
        return 0;
    }
    let steps = match gap_us.checked_mul(STEPS as i64) {
        Some(fine) => fine / half_life_us,
        // Half-lives of more than decades.
        None => gap_us / (half_life_us / STEPS as i64),
    } as usize;
    let fraction = (u64::from(ONE) * FRACTIONS[steps % STEPS]) >> 32;
    (fraction >> (steps / STEPS)) as u32
}

/// Logarithms of what is asked for most: a crowd counts no more members than this.
static LOGARITHMS: [u32; 1_024] = logarithms();

const fn logarithms() -> [u32; 1_024] {
    let mut table = [0; 1_024];
    let mut n = 1;
    while n < table.len() {
        table[n] = squared_log2(n as u32);
        n += 1;
    }
    table
}

/// The base-2 logarithm of `n >= 1` in 1/65536.
pub(crate) fn log2(n: u32) -> u32 {
    LOGARITHMS.get(n as usize).copied().unwrap_or_else(|| squared_log2(n))
}

/// The same by repeated squaring (Knuth, TAOCP 1.2.2, exercise 25).
const fn squared_log2(n: u32) -> u32 {
    let whole = n.ilog2();
    let mut mantissa = ((n as u64) << 31) >> whole;
    let mut fraction = 0;
    let mut step = 0;
    while step < 16 {
        mantissa = (mantissa * mantissa) >> 31;
        fraction <<= 1;
        if mantissa >= 1 << 32 {
            mantissa >>= 1;
            fraction |= 1;
        }
        step += 1;
    }
    (whole << 16) | fraction
}

/// How rare something is that `count` of a population share: one up to `free`, then falling with the
/// logarithm to nothing at `population`.
pub(crate) fn rarity(count: u32, free: u32, population: u32) -> u32 {
    let free = free.max(1);
    if count <= free {
        return ONE;
    }
    if count >= population {
        return 0;
    }
    let part = u64::from(log2(count) - log2(free));
    let whole = u64::from(log2(population) - log2(free)).max(1);
    ONE - (u64::from(ONE) * part / whole).min(u64::from(ONE)) as u32
}

/// Mixes a 64-bit value so that every bit depends on every bit (the finaliser of SplitMix64).
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_life_halves() {
        assert_eq!(decay(0, 10), ONE);
        assert_eq!(decay(10, 10), 500_000);
        assert_eq!(decay(20, 10), 250_000);
        assert!(decay(5, 10).abs_diff(707_106) < 5, "{}", decay(5, 10));
        assert_eq!(decay(10_000, 10), 0);
        assert_eq!(decay(1, 0), 0);
    }

    #[test]
    fn logarithms_agree_with_the_textbook() {
        for n in [1_u32, 2, 3, 10, 64, 100, 1_000, 65_535] {
            let exact = f64::from(n).log2() * 65_536.0;
            assert!((f64::from(log2(n)) - exact).abs() < 2.0, "{n}");
        }
    }

    #[test]
    fn rarity_falls_from_one_to_nothing() {
        assert_eq!(rarity(0, 3, 64), ONE);
        assert_eq!(rarity(3, 3, 64), ONE);
        assert_eq!(rarity(64, 3, 64), 0);
        let curve: Vec<u32> = (3..=64).map(|d| rarity(d, 3, 64)).collect();
        assert!(curve.windows(2).all(|w| w[0] > w[1]));
    }

    #[test]
    fn independent_chances_add_up_below_one() {
        assert_eq!(either(500_000, 500_000), 750_000);
        assert_eq!(either(ONE, 300_000), ONE);
    }
}
