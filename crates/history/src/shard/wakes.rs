//! When runs have to act by themselves: the next minute in memory, the rest in the store.
//!
//! Losing what is here costs latency, never progress: the rows are durable and read again. Rows are read as a range
//! while batches are in flight, so wakes written since the read began are remembered and merged into its result.

use std::{collections::BTreeSet, time::Duration};

use mainspring_engine::{outcome::WakeMove, state::RunNumber};
use mainspring_rt::Timestamp;
use mainspring_store::{Error as StoreError, Page, Table, keys};

use super::{Pause, Shard, Target, Work, World, loading::Reading};

/// How far ahead wakes are held in memory.
const AHEAD: Duration = Duration::from_secs(60);
/// More is read when the part in memory ends so soon.
const REFILL: Duration = Duration::from_secs(20);
/// How long a scan that failed is left alone.
const SCAN_AGAIN: Duration = Duration::from_secs(1);
/// Rows of one page.
const PAGE_ROWS: usize = 1_000;
/// Chains that are woken in one go, so that a herd of them leaves room for other work.
const BURST: usize = 64;

type Due = (Timestamp, RunNumber);

/// The wakes in memory.
#[derive(Default)]
pub(super) struct Wakes {
    due: BTreeSet<Due>,
    /// Rows before this place are in memory.
    horizon: (Timestamp, u64),
    scanning: bool,
    /// After a scan that failed.
    pause: Pause,
    /// Written by batches that are not durable, or since the running scan began.
    recent: Vec<(u64, Due)>,
    durable: u64,
}

impl Wakes {
    /// When something is due, or more has to be read.
    pub(super) fn next(&self, clock: Timestamp) -> Timestamp {
        let first = self.due.first().map_or(Timestamp::MAX, |(due, _)| *due);
        let refill = if self.ends_soon(clock) { self.pause.until() } else { self.horizon.0 - REFILL };
        if self.scanning { first } else { first.min(refill) }
    }

    fn ends_soon(&self, clock: Timestamp) -> bool {
        self.horizon.0 <= clock + REFILL
    }

    /// The wake row of a run moves in batch `seq`.
    pub(super) fn moved(&mut self, seq: u64, run: RunNumber, wake: WakeMove) {
        self.due.remove(&(wake.from, run));
        if wake.to.is_zero() {
            return;
        }
        self.recent.push((seq, (wake.to, run)));
        if (wake.to, run.0) < self.horizon {
            self.due.insert((wake.to, run));
        }
    }

    /// Looks at the run again at `at`, whatever its row says.
    pub(super) fn postpone(&mut self, run: RunNumber, at: Timestamp) {
        self.due.insert((at, run));
    }

    pub(super) fn durable(&mut self, seq: u64) {
        self.durable = seq;
        if !self.scanning {
            self.recent.retain(|(written, _)| *written > seq);
        }
    }

    fn pop(&mut self, now: Timestamp) -> Option<Due> {
        let first = self.due.first().copied().filter(|(due, _)| *due <= now)?;
        self.due.remove(&first);
        Some(first)
    }

    fn merge(&mut self, page: &Page, until: Timestamp) {
        self.scanning = false;
        let rows = page.rows.iter().filter_map(|(key, _)| keys::parse_wake(key));
        let from = self.horizon;
        self.horizon = match page.rows.last().and_then(|(key, _)| keys::parse_wake(key)) {
            Some((due, run)) if page.more => (due, run.0 + 1),
            _ => (until, 0),
        };
        self.due.extend(rows);
        let horizon = self.horizon;
        let missed = self.recent.iter().map(|(_, due)| *due);
        self.due.extend(missed.filter(|(due, run)| (from..horizon).contains(&(*due, run.0))));
        self.durable(self.durable);
    }
}

impl<A, R> Shard<A, R> {
    /// Wakes what is due and reads on when the part in memory comes to its end.
    pub(super) fn wake_due(&mut self, world: &World<'_, R>) {
        for _ in 0..BURST {
            if self.reads.is_busy() {
                break;
            }
            let Some((due, run)) = self.wakes.pop(self.clock) else { break };
            self.route(Target::Run(run), Work::Wake { run, due }, world);
        }
        let wanted = self.wakes.ends_soon(self.clock) && self.wakes.pause.is_over(self.now);
        if wanted && !self.wakes.scanning {
            self.wakes.scanning = true;
            let until = self.clock + AHEAD;
            let (due, run) = self.wakes.horizon;
            let range = keys::Range {
                from: keys::wake(self.id, due, RunNumber(run)),
                to: keys::wake(self.id, until, RunNumber(0)),
            };
            let scan = super::loading::page(Table::Queue, range, PAGE_ROWS);
            self.read(vec![scan], Reading::Wakes { until });
        }
    }

    pub(super) fn wakes_read(&mut self, until: Timestamp, pages: Result<Vec<Page>, StoreError>) {
        match pages {
            Ok(pages) => self.wakes.merge(&pages.into_iter().next().unwrap_or_default(), until),
            Err(error) => {
                tracing::error!(shard = self.id.0, %error, "wake rows cannot be read");
                self.wakes.scanning = false;
                self.wakes.pause = Pause::begin(self.now, SCAN_AGAIN);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mainspring_store::ShardId;

    use super::*;

    const SHARD: ShardId = ShardId(1);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn page(rows: &[(i64, u64)], more: bool) -> Page {
        let rows = rows.iter().map(|(due, run)| (keys::wake(SHARD, at(*due), RunNumber(*run)), Bytes::new()));
        Page { rows: rows.collect(), more }
    }

    #[test]
    fn a_wake_written_while_a_scan_runs_is_not_missed() {
        let mut wakes = Wakes { scanning: true, ..Wakes::default() };
        wakes.moved(1, RunNumber(7), WakeMove { from: Timestamp::ZERO, to: at(50) });
        wakes.durable(1);
        wakes.merge(&page(&[(20, 3)], false), at(100));
        assert_eq!(wakes.pop(at(60)), Some((at(20), RunNumber(3))));
        assert_eq!(wakes.pop(at(60)), Some((at(50), RunNumber(7))));
        assert_eq!(wakes.pop(at(60)), None);
    }

    #[test]
    fn a_wake_beyond_the_horizon_is_left_to_a_later_scan() {
        let mut wakes = Wakes { scanning: true, ..Wakes::default() };
        wakes.merge(&page(&[(10, 1), (20, 2)], true), at(100));
        assert_eq!(wakes.horizon, (at(20), 3));
        wakes.moved(1, RunNumber(9), WakeMove { from: Timestamp::ZERO, to: at(30) });
        assert_eq!(wakes.due.len(), 2);
        wakes.scanning = true;
        wakes.merge(&page(&[], false), at(100));
        assert!(wakes.due.contains(&(at(30), RunNumber(9))), "its batch was in flight");
    }

    #[test]
    fn the_same_due_time_on_both_sides_of_a_page_is_read_whole() {
        let mut wakes = Wakes { scanning: true, ..Wakes::default() };
        wakes.merge(&page(&[(10, 1)], true), at(100));
        wakes.scanning = true;
        wakes.merge(&page(&[(10, 2)], false), at(100));
        assert_eq!(wakes.due.len(), 2);
    }
}
