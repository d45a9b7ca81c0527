//! How much waits in a task queue: what matching has in memory, and the rows that only the store has.

use mainspring_matching::{Description, Level, Position, QueueHash, QueueName, Stats};
use mainspring_store::{Page, Scan, ShardId, Table, keys};

use crate::{Error, History};

/// Rows counted at most for one description; beyond, the count is a lower bound.
const ROWS_MAX: usize = 100_000;
/// Rows of one page.
const PAGE_ROWS: usize = 1_000;

impl History {
    /// Who polls a queue and how much waits in it. `stats.backlog_unread` says that more waits than was counted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn describe_queue(&self, queue: &QueueName) -> Result<Description, Error> {
        let mut described = self.node.matching.describe(queue, self.node.rt.now());
        let hash = queue.hash();
        let mut unread = std::mem::take(&mut described.unread);
        let mut rows_left = ROWS_MAX;
        while !unread.is_empty() && rows_left > 0 {
            let rows_max = (rows_left / unread.len()).clamp(1, PAGE_ROWS);
            let scans = unread.iter().map(|(shard, after)| scan(*shard, *after, &hash, rows_max)).collect();
            let pages = self.node.store.scan_all(scans).await;
            let pages = pages.map_err(|error| Error::Unavailable(error.to_string()))?;
            unread = unread.into_iter().zip(&pages).filter_map(|((shard, _), page)| rest(shard, page)).collect();
            rows_left = rows_left.saturating_sub(pages.iter().map(|page| page.rows.len()).sum());
            pages.iter().for_each(|page| count(&mut described.stats, page));
        }
        described.stats.backlog_unread = !unread.is_empty();
        described.unread = unread;
        Ok(described)
    }
}

fn scan(shard: u16, after: Position, queue: &QueueHash, rows_max: usize) -> Scan {
    let range = keys::tasks_after(ShardId(shard), queue, after.level, after.task_id);
    Scan { table: Table::Queue, from: range.from, to: range.to, rows_max, bytes_max: usize::MAX, reverse: false }
}

/// Where to read on, if there is more.
fn rest(shard: u16, page: &Page) -> Option<(u16, Position)> {
    let (key, _) = page.rows.last().filter(|_| page.more)?;
    keys::parse_task(key).map(|(_, level, task_id)| (shard, Position { level, task_id }))
}

fn count(stats: &mut Stats, page: &Page) {
    for (key, _) in &page.rows {
        let Some((_, level, task_id)) = keys::parse_task(key) else { continue };
        let scheduled = Position { level, task_id }.scheduled();
        stats.backlog_count += 1;
        stats.oldest = Some(stats.oldest.map_or(scheduled, |oldest| oldest.min(scheduled)));
        let of_level = stats.levels.entry(level).or_insert(Level { count: 0, oldest: scheduled });
        of_level.count += 1;
        of_level.oldest = of_level.oldest.min(scheduled);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mainspring_rt::Timestamp;

    use super::*;

    fn page(rows: &[(u8, u64)], more: bool) -> Page {
        let rows =
            rows.iter().map(|(level, millis)| (keys::task(ShardId(7), &[1; 16], *level, millis << 20), Bytes::new()));
        Page { rows: rows.collect(), more }
    }

    #[test]
    fn rows_add_to_what_is_in_memory() {
        let mut stats = Stats { backlog_count: 2, oldest: Some(Timestamp::from_millis(50)), ..Stats::default() };
        count(&mut stats, &page(&[(2, 40), (3, 30), (3, 60)], false));
        assert_eq!((stats.backlog_count, stats.oldest), (5, Some(Timestamp::from_millis(30))));
        assert_eq!(stats.levels[&3], Level { count: 2, oldest: Timestamp::from_millis(30) });
    }

    #[test]
    fn a_page_that_is_not_the_last_says_where_to_read_on() {
        assert_eq!(rest(7, &page(&[(3, 5)], true)), Some((7, Position { level: 3, task_id: 5 << 20 })));
        assert_eq!(rest(7, &page(&[(3, 5)], false)), None);
    }
}
