//! [`WorkflowRng`]: random numbers of a run.

use std::{ops::Range, rc::Rc};

use crate::workflow::run::Run;

/// Random numbers of a run: the same on every replay, different in each run. Not for secrets.
///
/// ```no_run
/// # use mainspring_sdk::workflow::Ctx;
/// # fn example(cx: Ctx) {
/// let dice = cx.rng().range(1..7);
/// # }
/// ```
#[derive(Clone)]
pub struct WorkflowRng {
    run: Rc<Run>,
}

impl WorkflowRng {
    pub(crate) fn new(run: Rc<Run>) -> WorkflowRng {
        WorkflowRng { run }
    }

    /// Any number.
    pub fn u64(&self) -> u64 {
        self.run.rng.borrow_mut().next_u64()
    }

    /// A number from 0 up to, but not including, 1.
    pub fn f64(&self) -> f64 {
        // The upper 53 bits: as many as an `f64` has.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let number = (self.u64() >> 11) as f64;
        number / 9_007_199_254_740_992.0
    }

    /// True or false.
    pub fn bool(&self) -> bool {
        self.u64() & 1 == 1
    }

    /// A number in the range; its start when the range is empty.
    pub fn range(&self, range: Range<u64>) -> u64 {
        let span = range.end.saturating_sub(range.start);
        if span == 0 {
            return range.start;
        }
        // Multiplied, not divided: the bias is below span / 2^64.
        let drawn = (u128::from(self.u64()) * u128::from(span)) >> 64;
        range.start + u64::try_from(drawn).unwrap_or(0)
    }

    /// Puts a list into random order.
    pub fn shuffle<T>(&self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let chosen = self.range(0..last as u64 + 1);
            list.swap(last, usize::try_from(chosen).unwrap_or(last));
        }
    }

    /// A random UUID.
    pub fn uuid(&self) -> uuid::Uuid {
        let (high, low) = (self.u64(), self.u64());
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes()).into_uuid()
    }
}
