//! What happened, a line each: the last ones for a person, a fingerprint of all for comparing two runs.

use std::collections::VecDeque;

/// Lines that a failure shows.
const LAST: usize = 40;

pub(crate) struct Trace {
    last: VecDeque<String>,
    fingerprint: u64,
    /// Keeps every line.
    whole: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(keep_all: bool) -> Trace {
        Trace {
            last: VecDeque::with_capacity(LAST),
            fingerprint: 0xcbf2_9ce4_8422_2325,
            whole: keep_all.then(Vec::new),
        }
    }

    pub(crate) fn line(&mut self, line: String) {
        // FNV-1a: no hash that differs from process to process.
        for byte in line.bytes().chain([b'\n']) {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if let Some(whole) = &mut self.whole {
            whole.push(line);
            return;
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.whole.unwrap_or_else(|| self.last.into())
    }
}
