//! Bytes made from other bytes, the same for the same seed: what an ordinary test throws where `cargo fuzz` is not.

/// Makes inputs out of a corpus.
pub struct Mutator {
    state: u64,
}

/// Numbers at which decoders go wrong.
const ODD: &[u64] = &[0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

impl Mutator {
    /// The mutations of `seed`.
    pub fn new(seed: u64) -> Mutator {
        Mutator { state: seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// One of the inputs, changed in a few places.
    pub fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let other = &corpus[self.below(corpus.len())];
            self.change(&mut input, other);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len() + 1);
        let some = self.below(16) + 1;
        match self.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = u8::try_from(self.below(256)).unwrap_or(0),
            2 => input.truncate(at),
            3 => drop(input.drain(at..(at + some).min(input.len()))),
            // A part of another input, as a whole or in the middle.
            4 => {
                let from = self.below(other.len() + 1);
                let to = (from + some * 4).min(other.len());
                drop(input.splice(at..at, other[from..to].iter().copied()));
            }
            // A part of it once more: nested or repeated fields.
            5 => {
                let part = input[at..(at + some * 8).min(input.len())].to_vec();
                let times = self.below(4) + 1;
                drop(input.splice(at..at, part.repeat(times)));
            }
            6 => {
                let odd = varint(ODD[self.below(ODD.len())]);
                drop(input.splice(at..(at + 1).min(input.len()), odd));
            }
            _ => {
                let odd = ODD[self.below(ODD.len())].to_be_bytes();
                let to = (at + 8).min(input.len());
                input[at..to].copy_from_slice(&odd[..to - at]);
            }
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % end as u64).unwrap_or(0)
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
    bytes
}
