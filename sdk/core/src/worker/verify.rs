//! [`VerifyReplay`]: which workflow tasks are done a second time before their results are sent.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Which workflow tasks are done a second time, from their histories, before their results are sent. This finds clocks,
/// random numbers and unordered collections in workflow code at once, instead of at the next replay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum VerifyReplay {
    /// All: for tests.
    Always,
    /// This part of them, such as 0.001: for production.
    Sample(f64),
    /// None.
    #[default]
    Never,
}

impl VerifyReplay {
    /// Whether this task is one of them.
    pub(crate) fn draws(self, token: &[u8]) -> bool {
        match self {
            VerifyReplay::Always => true,
            VerifyReplay::Never => false,
            VerifyReplay::Sample(part) => {
                let mut hasher = DefaultHasher::new();
                token.hash(&mut hasher);
                let drawn = (hasher.finish() >> 32) as u32;
                f64::from(drawn) < part.clamp(0.0, 1.0) * f64::from(u32::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_about_as_large_as_asked_for() {
        let drawn = |which: VerifyReplay| (0..10_000_u32).filter(|token| which.draws(&token.to_be_bytes())).count();
        assert_eq!((drawn(VerifyReplay::Never), drawn(VerifyReplay::Always)), (0, 10_000));
        assert!((800..1200).contains(&drawn(VerifyReplay::Sample(0.1))));
    }
}
