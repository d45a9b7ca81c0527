//! What a seed draws before it begins: how large the world is, which faults there are and how often.
//!
//! Not every seed has every fault: many bugs show only when most of the rest goes well.

use std::time::Duration;

use mainspring_engine::Limits;
use mainspring_matching::Limits as MatchingLimits;

use crate::random::Random;

/// What is fixed for a whole run.
pub(crate) struct Plan {
    pub(crate) shards: u16,
    pub(crate) workers: usize,
    pub(crate) clients: usize,
    /// Requests of all clients together.
    pub(crate) requests: u32,
    /// Closed runs are kept so long.
    pub(crate) retention: Duration,
    pub(crate) limits: Limits,
    pub(crate) matching: MatchingLimits,
    pub(crate) cache_bytes_max: usize,
    /// How likely each kind of happening is, in the order of [`crate::sim::Kind`].
    pub(crate) weights: [u64; 8],
    pub(crate) faults: Faults,
}

/// How often each fault strikes, in parts of 10,000 of the occasions for it.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) commit_refused: u64,
    pub(crate) commit_unknown: u64,
    pub(crate) poison: u64,
    pub(crate) crash: u64,
    pub(crate) read_fails: u64,
    pub(crate) answer_lost: u64,
    pub(crate) answer_repeated: u64,
    pub(crate) answer_late: u64,
    pub(crate) poller_leaves: u64,
    pub(crate) delivery_lost: u64,
    pub(crate) evict_all: u64,
    pub(crate) worker_dies: u64,
    pub(crate) worker_idles: u64,
    pub(crate) worker_errs: u64,
    pub(crate) clock_stands: u64,
    pub(crate) clock_steps_back: u64,
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Plan {
        let weights = std::array::from_fn(|_| random.between(1, 8));
        Plan {
            shards: u16::try_from(random.between(1, 4)).unwrap_or(1),
            workers: random.index(3) + 1,
            clients: random.index(4) + 1,
            requests: u32::try_from(random.between(4, 60)).unwrap_or(4),
            retention: Duration::from_secs(if random.one_in(4) { random.between(2, 60) } else { 1_800 }),
            limits: limits(random),
            matching: matching(random),
            cache_bytes_max: if random.one_in(2) { random.index(20_000) } else { 64 << 20 },
            weights,
            faults: Faults::draw(random),
        }
    }
}

impl Faults {
    fn draw(random: &mut Random) -> Faults {
        if random.one_in(10) {
            return Faults::default();
        }
        let mut often = |most: u64| if random.one_in(2) { 0 } else { random.between(1, most) };
        Faults {
            commit_refused: often(300),
            commit_unknown: often(300),
            poison: often(40),
            crash: often(40),
            read_fails: often(200),
            answer_lost: often(800),
            answer_repeated: often(1_500),
            answer_late: often(1_500),
            poller_leaves: often(1_500),
            delivery_lost: often(600),
            evict_all: often(300),
            worker_dies: often(60),
            worker_idles: often(800),
            worker_errs: often(800),
            clock_stands: often(1_000),
            clock_steps_back: often(300),
        }
    }
}

fn limits(random: &mut Random) -> Limits {
    let mut limits = Limits::default();
    if random.one_in(3) {
        limits.buffered_events_max = random.index(3) + 1;
    }
    if random.one_in(6) {
        limits.history_events_max = i64::try_from(random.between(25, 80)).unwrap_or(25);
    }
    if random.one_in(6) {
        limits.signals_max = i64::try_from(random.between(2, 5)).unwrap_or(2);
    }
    limits
}

fn matching(random: &mut Random) -> MatchingLimits {
    let mut limits = MatchingLimits::default();
    if random.one_in(2) {
        limits.queue.tasks_max = random.index(4) + 2;
        limits.queue.refill_at = 1;
        limits.queue.scan_rows_min = 1;
    }
    if random.one_in(3) {
        limits.idle = Duration::from_secs(random.between(5, 60));
    }
    limits
}
