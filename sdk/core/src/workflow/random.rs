//! Random numbers that are the same on every replay: seeded from the run's id.

/// xoshiro256**: small, fast, and ours, so that no update of a library changes what a replay draws.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// Seeded from a text, by FNV and SplitMix.
    pub(crate) fn seeded(text: &str) -> Rng {
        let mut seed = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut next = || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = seed;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        Rng { state: [next(), next(), next(), next()] }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_draws_the_same_numbers_for_ever() {
        let draw = |text| {
            let mut rng = Rng::seeded(text);
            [rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw("run-1"), draw("run-1"));
        assert_ne!(draw("run-1"), draw("run-2"));
    }
}
