//! What is known of the store: for each shard, up to where its rows have been read.
//!
//! A source's *cursor* divides its rows: every row at or before it is in memory or done, every row after it is in the
//! store only, and `more` says whether there may be one. A source with more is *unread*. Reading takes time during
//! which the shard goes on committing, so an answer is only taken as far as nothing has changed since it was asked
//! for: a [`Scan`] whose source was cut back, forgotten or announced anew is void, and the cursor never passes a task
//! that was offered after the scan began.

use std::collections::{BTreeMap, BTreeSet};

use crate::{limits::Limits, task::Position};

/// A page to read: the first `limit` rows of `shard` after `after`, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Whose rows.
    pub shard: u16,
    /// The rows wanted come after this place.
    pub after: Position,
    /// Rows at most.
    pub limit: usize,
    ticket: u64,
}

/// All shards that have, or had, rows for the queue.
#[derive(Default)]
pub(crate) struct Sources {
    by_shard: BTreeMap<u16, Source>,
    unread: BTreeSet<(Position, u16)>,
    scanning: usize,
    next_ticket: u64,
}

#[derive(Clone, Copy)]
struct Source {
    cursor: Position,
    more: bool,
    scan: Option<UnderWay>,
}

#[derive(Clone, Copy)]
struct UnderWay {
    ticket: u64,
    /// The first task offered since the scan began, which it may have missed.
    missed: Option<Position>,
}

/// A shard that never announced itself has no rows but those it offers from now on.
const NOTHING_STORED: Source = Source { cursor: Position::START, more: false, scan: None };

impl Sources {
    /// Gives out tickets of at least `first`.
    pub(crate) fn with_tickets_from(first: u64) -> Sources {
        Sources { next_ticket: first, ..Sources::default() }
    }

    /// Greater than every ticket given out.
    pub(crate) fn tickets_end(&self) -> u64 {
        self.next_ticket
    }

    /// The shard may have rows, none of them read.
    pub(crate) fn announce(&mut self, shard: u16) {
        self.change(shard, |source| *source = Source { more: true, ..NOTHING_STORED });
    }

    /// Nothing is expected of the shard any more.
    pub(crate) fn forget(&mut self, shard: u16) {
        self.change(shard, |source| *source = NOTHING_STORED);
        self.by_shard.remove(&shard);
    }

    /// Whether the shard announced itself, or offered a row, since it was last forgotten.
    pub(crate) fn knows(&self, shard: u16) -> bool {
        self.by_shard.contains_key(&shard)
    }

    /// A row was committed. True if it is to be held in memory: nothing unread goes before it in its own shard.
    /// Otherwise a scan will find it.
    pub(crate) fn offer(&mut self, shard: u16, at: Position) -> bool {
        self.change(shard, |source| {
            let in_memory = at <= source.cursor || !source.more;
            if in_memory {
                source.cursor = source.cursor.max(at);
            } else if let Some(scan) = &mut source.scan {
                scan.missed = Some(scan.missed.map_or(at, |missed| missed.min(at)));
            }
            in_memory
        })
    }

    /// The row at `at` was dropped from memory, as were all after it.
    pub(crate) fn cut(&mut self, shard: u16, at: Position) {
        self.change(shard, |source| *source = Source { cursor: at.before(), more: true, scan: None });
    }

    /// Where the rows in memory end.
    pub(crate) fn cursor(&self, shard: u16) -> Position {
        self.by_shard.get(&shard).map_or(Position::START, |source| source.cursor)
    }

    /// The sources with more, those furthest behind first, and how far they have been read.
    pub(crate) fn unread(&self) -> impl Iterator<Item = (u16, Position)> {
        self.unread.iter().map(|&(cursor, shard)| (shard, cursor))
    }

    /// The lowest level of which an unread row may be; `None` when all has been read.
    pub(crate) fn unread_level(&self) -> Option<u8> {
        self.unread.first().map(|(cursor, _)| cursor.level)
    }

    /// Whether scans are under way.
    pub(crate) fn scanning(&self) -> bool {
        self.scanning > 0
    }

    /// Begins a round of scans: of the sources that hold the lowest level back, those furthest behind, in pages large
    /// enough to be worth a seek.
    pub(crate) fn begin_round(&mut self, limits: &Limits) -> Vec<Scan> {
        let Some(level) = self.unread_level() else { return Vec::new() };
        let behind = self.unread.iter().take_while(|(cursor, _)| cursor.level == level);
        let limit = (limits.round_rows() / behind.clone().count()).max(limits.scan_rows_min);
        let round: Vec<(Position, u16)> = behind.take(limits.round_rows().div_ceil(limit)).copied().collect();
        round.into_iter().map(|(after, shard)| self.begin_scan(shard, after, limit)).collect()
    }

    fn begin_scan(&mut self, shard: u16, after: Position, limit: usize) -> Scan {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.change(shard, |source| source.scan = Some(UnderWay { ticket, missed: None }));
        Scan { shard, after, limit, ticket }
    }

    /// Whether the scan's answer is still wanted.
    pub(crate) fn is_under_way(&self, scan: &Scan) -> bool {
        self.under_way(scan).is_some()
    }

    fn under_way(&self, scan: &Scan) -> Option<UnderWay> {
        self.by_shard.get(&scan.shard)?.scan.filter(|at| at.ticket == scan.ticket)
    }

    /// A scan came back, its last row at `end`. Moves the cursor; true if the rows up to the cursor are to be taken.
    pub(crate) fn finish_scan(&mut self, scan: &Scan, end: Position, more: bool) -> bool {
        let Some(under_way) = self.under_way(scan) else { return false };
        self.change(scan.shard, |source| {
            *source = match under_way.missed {
                None => Source { cursor: end, more, scan: None },
                Some(missed) => Source { cursor: end.min(missed.before()), more: true, scan: None },
            }
        });
        true
    }

    fn change<R>(&mut self, shard: u16, change: impl FnOnce(&mut Source) -> R) -> R {
        let source = self.by_shard.entry(shard).or_insert(NOTHING_STORED);
        let before = *source;
        let result = change(source);
        if before.more {
            self.unread.remove(&(before.cursor, shard));
        }
        if source.more {
            self.unread.insert((source.cursor, shard));
        }
        self.scanning -= usize::from(before.scan.is_some());
        self.scanning += usize::from(source.scan.is_some());
        result
    }

    /// Whether the index and the count are right.
    pub(crate) fn check(&self) -> Result<(), String> {
        let unread = self.by_shard.iter().filter(|(_, source)| source.more);
        if !unread.map(|(shard, source)| (source.cursor, *shard)).collect::<BTreeSet<_>>().eq(&self.unread) {
            return Err("unread sources differ from the sources".into());
        }
        if self.by_shard.values().filter(|source| source.scan.is_some()).count() != self.scanning {
            return Err("the count of scans differs from the sources".into());
        }
        match self.by_shard.values().find(|source| source.scan.is_some() && !source.more) {
            Some(_) => Err("a source is read that has nothing more".into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { tasks_max: 100, refill_at: 10, scan_rows_min: 16, bytes_max: 1 << 20, pollers_max: 10 };

    fn at(task_id: u64) -> Position {
        Position { level: 3, task_id }
    }

    fn urgent(task_id: u64) -> Position {
        Position { level: 1, task_id }
    }

    fn begin(sources: &mut Sources) -> Scan {
        sources.begin_round(&LIMITS).swap_remove(0)
    }

    #[test]
    fn an_unannounced_shard_keeps_its_offers_in_memory() {
        let mut sources = Sources::default();
        assert!(sources.offer(7, at(5)));
        assert!(sources.offer(7, urgent(6)), "before the cursor");
        assert_eq!((sources.cursor(7), sources.unread_level()), (at(5), None));
    }

    #[test]
    fn an_offer_behind_unread_rows_is_left_to_the_scan() {
        let mut sources = Sources::default();
        sources.announce(7);
        assert!(!sources.offer(7, at(5)));
        let scan = begin(&mut sources);
        assert!(sources.finish_scan(&scan, at(5), false));
        assert!(sources.offer(7, at(6)));
    }

    #[test]
    fn the_cursor_never_passes_a_task_offered_while_the_scan_ran() {
        let mut sources = Sources::default();
        sources.announce(7);
        let scan = begin(&mut sources);
        assert!(!sources.offer(7, at(9)));
        assert!(!sources.offer(7, urgent(8)));
        assert!(sources.finish_scan(&scan, at(5), false));
        assert_eq!((sources.cursor(7), sources.unread_level()), (urgent(7), Some(1)));
    }

    #[test]
    fn a_late_offer_keeps_a_finished_source_unread() {
        let mut sources = Sources::default();
        sources.announce(7);
        let scan = begin(&mut sources);
        assert!(!sources.offer(7, at(9)));
        assert!(sources.finish_scan(&scan, at(5), false));
        assert_eq!((sources.cursor(7), sources.unread_level()), (at(5), Some(3)));
    }

    #[test]
    fn a_scan_of_a_changed_source_is_void() {
        for change in [Sources::announce, Sources::forget, |sources: &mut Sources, shard| sources.cut(shard, at(2))] {
            let mut sources = Sources::default();
            sources.announce(7);
            let scan = begin(&mut sources);
            change(&mut sources, 7);
            assert!(!sources.scanning());
            assert!(!sources.finish_scan(&scan, at(9), false));
            sources.check().unwrap();
        }
    }

    #[test]
    fn a_round_reads_those_furthest_behind_in_worthwhile_pages() {
        let mut sources = Sources::default();
        for shard in 0..20 {
            sources.announce(shard);
            sources.cut(shard, at(100 - u64::from(shard)));
        }
        sources.announce(30);
        sources.cut(30, Position { level: 4, task_id: 1 });
        let round = sources.begin_round(&LIMITS);
        let shards: Vec<u16> = round.iter().map(|scan| scan.shard).collect();
        assert_eq!((shards, round[0].limit), (vec![19, 18, 17, 16, 15, 14], 16));
    }

    #[test]
    fn the_only_source_is_read_in_one_page() {
        let mut sources = Sources::default();
        sources.announce(1);
        assert_eq!(begin(&mut sources).limit, LIMITS.round_rows());
    }
}
