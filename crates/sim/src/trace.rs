//! What happened: a fingerprint for comparing two runs, and lines for a person, who asks for them by running the seed again.

pub(crate) struct Trace {
    fingerprint: u64,
    /// Nobody pays for words that nobody reads.
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(with_lines: bool) -> Trace {
        Trace { fingerprint: 0xcbf2_9ce4_8422_2325, lines: with_lines.then(Vec::new) }
    }

    pub(crate) fn line(&mut self, at_millis: i64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{at_millis:>9}ms {}", line()));
        }
    }

    /// FNV-1a: no hash that differs from process to process.
    pub(crate) fn mix(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
