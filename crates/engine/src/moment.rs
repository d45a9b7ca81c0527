//! All that a step may know of the world: the time, a source of ids, and the limits in force.

use std::{cell::Cell, time::Duration};

use mainspring_rt::Timestamp;
use uuid::Uuid;

use crate::{limits::Limits, state::RunNumber};

/// The world of one step. The same moments give the same bytes.
#[derive(Debug)]
pub struct Moment<'a> {
    /// Now; never falls within a shard.
    pub now: Timestamp,
    /// What is refused, and when.
    pub limits: &'a Limits,
    /// How long a closed run of this namespace is kept.
    pub retention: Duration,
    /// The number a run gets that starts in this step; at most one does.
    pub new_run: RunNumber,
    random: Cell<u64>,
}

impl<'a> Moment<'a> {
    /// A moment whose ids all come from `seed`.
    pub fn new(now: Timestamp, seed: u64, limits: &'a Limits, retention: Duration, new_run: RunNumber) -> Moment<'a> {
        Moment { now, limits, retention, new_run, random: Cell::new(seed) }
    }

    /// The same moment, but not before `earliest`: a clock that stepped back does not take a run with it. Its numbers
    /// go on where this one's are.
    pub(crate) fn not_before(&self, earliest: Timestamp) -> Moment<'a> {
        Moment { now: self.now.max(earliest), random: self.random.clone(), ..*self }
    }

    /// Goes on where the numbers of `other` are.
    pub(crate) fn continue_from(&self, other: &Moment<'_>) {
        self.random.set(other.random.get());
    }

    /// The next number of the seeded source (SplitMix64).
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A new run id: a UUID of version 7, as the original mints them.
    pub fn new_run_id(&self) -> String {
        let millis = u64::try_from(self.now.as_millis()).unwrap_or(0);
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.random().to_be_bytes());
        bytes[8..].copy_from_slice(&self.random().to_be_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid().to_string()
    }

    /// A random UUID in text form, for request ids that a caller left empty.
    pub fn new_request_id(&self) -> String {
        Uuid::from_u64_pair(self.random(), self.random()).to_string()
    }
}
