//! What a seed draws before it begins: how large the world is, which faults there are and how often.
//!
//! Not every seed has every fault: many bugs show only when most of the rest goes well.

use std::time::Duration;

use mainspring_engine::Limits;
use mainspring_history::Tuning;
use mainspring_matching::Limits as MatchingLimits;

use crate::{executor::CLASSES, random::Random};

/// What is fixed for a whole run.
pub(crate) struct Plan {
    pub(crate) workers: usize,
    pub(crate) clients: usize,
    /// Requests of all clients together.
    pub(crate) requests: usize,
    /// Closed runs are kept so long.
    pub(crate) retention: Duration,
    pub(crate) limits: Limits,
    pub(crate) cache_bytes_max: usize,
    pub(crate) tuning: Tuning,
    /// How likely each class of tasks is to go on, and the store after them.
    pub(crate) weights: [u64; CLASSES + 1],
    pub(crate) faults: Faults,
}

/// How often each fault strikes, in parts of 10,000 of the occasions for it.
#[derive(Default)]
pub(crate) struct Faults {
    // Of the store, at each write or read.
    pub(crate) commit_refused: u64,
    pub(crate) commit_unknown: u64,
    pub(crate) poison: u64,
    pub(crate) write_slow: u64,
    pub(crate) read_fails: u64,
    pub(crate) read_slow: u64,
    // Of the node, at each poll of any task.
    pub(crate) crash: u64,
    pub(crate) replaced: u64,
    pub(crate) stop: u64,
    pub(crate) evict_all: u64,
    pub(crate) clock_steps_back: u64,
    pub(crate) clock_jumps: u64,
    pub(crate) task_held_up: u64,
    // Of the network, at each call.
    pub(crate) request_lost: u64,
    pub(crate) call_repeated: u64,
    pub(crate) call_late: u64,
    pub(crate) cut_unheard: u64,
    pub(crate) answer_dropped: u64,
    pub(crate) answer_lost: u64,
    // Of workers: at each poll of any task, at each of their own polls, at each task in hand.
    pub(crate) worker_dies: u64,
    pub(crate) poller_leaves: u64,
    pub(crate) worker_idles: u64,
    pub(crate) worker_errs: u64,
}

impl Plan {
    pub(crate) fn draw(random: &Random) -> Plan {
        let weights = std::array::from_fn(|_| random.between(1, 8));
        Plan {
            workers: random.index(3) + 1,
            clients: random.index(4) + 1,
            requests: random.index(57) + 4,
            retention: Duration::from_secs(if random.one_in(4) { random.between(2, 60) } else { 300 }),
            limits: limits(random),
            cache_bytes_max: if random.one_in(2) { random.index(20_000) } else { 64 << 20 },
            tuning: tuning(random),
            weights,
            faults: Faults::draw(random),
        }
    }
}

impl Faults {
    fn draw(random: &Random) -> Faults {
        if random.one_in(10) {
            return Faults::default();
        }
        let often = |most: u64| if random.one_in(2) { 0 } else { random.between(1, most) };
        Faults {
            commit_refused: often(200),
            commit_unknown: often(200),
            poison: often(30),
            write_slow: often(300),
            read_fails: often(200),
            read_slow: often(1_000),
            crash: often(12),
            replaced: often(8),
            stop: often(6),
            evict_all: often(100),
            clock_steps_back: often(20),
            clock_jumps: often(20),
            task_held_up: often(100),
            request_lost: often(500),
            call_repeated: often(1_000),
            call_late: often(1_500),
            cut_unheard: often(5_000),
            answer_dropped: often(300),
            answer_lost: often(600),
            worker_dies: often(20),
            poller_leaves: often(3_000),
            worker_idles: often(800),
            worker_errs: often(800),
        }
    }
}

fn limits(random: &Random) -> Limits {
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
    if random.one_in(4) {
        limits.updates_in_flight_max = random.index(2) + 1;
    }
    if random.one_in(6) {
        limits.updates_max = random.index(4) + 1;
    }
    limits
}

fn tuning(random: &Random) -> Tuning {
    let mut tuning = Tuning { shards: u16::try_from(random.between(1, 4)).unwrap_or(1), ..Tuning::default() };
    if random.one_in(5) {
        tuning.mailbox_max = random.index(3) + 1;
    }
    if random.one_in(4) {
        tuning.index_waiting_max = random.index(3) + 1;
    }
    tuning.matching = matching(random);
    tuning
}

fn matching(random: &Random) -> MatchingLimits {
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
