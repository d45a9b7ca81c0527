//! Stored history, read in whole batches and never decoded.

use std::ops::Range;

use bytes::Bytes;
use mainspring_api::{
    history::{count_events, first_events, skip_events},
    v1::enums::WorkflowExecutionStatus,
};
use mainspring_engine::{
    outcome::{Chunk, Rejected},
    state::Execution,
};
use mainspring_rt::Timestamp;
use mainspring_store::{Error as StoreError, Scan, ShardId, Table, keys, record};

use crate::{
    answer::{Error, RunKey},
    node::Node,
};

/// How much of a history is read at once; one batch always is.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub batches_max: usize,
    pub bytes_max: usize,
}

/// See [`crate::History::read`].
pub(crate) async fn read(
    node: &Node,
    run: RunKey,
    tail: &[Chunk],
    events: Range<i64>,
    limits: ReadLimits,
) -> Result<Vec<Chunk>, Error> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    if tail.first().is_some_and(|first| first.first_event_id <= events.start) {
        let chunks = tail.iter().filter(|chunk| chunk.next_event_id > events.start).cloned();
        return Ok(limited(chunks, &events, limits));
    }
    let shard = ShardId(run.shard);
    let scan = |range: keys::Range, rows_max, reverse| Scan {
        table: Table::History,
        from: range.from,
        to: range.to,
        rows_max,
        bytes_max: limits.bytes_max,
        reverse,
    };
    let key = |event_id| keys::history(shard, run.run, event_id);
    let scans = vec![
        // The batch that holds the first event may begin before it.
        scan(keys::Range { from: key(0), to: key(events.start + 1) }, 1, true),
        scan(
            keys::Range { from: key(events.start + 1), to: key(events.end) },
            limits.batches_max.saturating_sub(1),
            false,
        ),
    ];
    let pages = node.store.scan_all(scans).await.map_err(store_error)?;
    let mut chunks: Vec<Chunk> = Vec::new();
    for (key, value) in pages.into_iter().flat_map(|page| page.rows) {
        let bytes = record::unseal(&key, value).map_err(store_error)?;
        chunks.push(chunk(&key, bytes).map_err(store_error)?);
    }
    if chunks.first().is_none_or(|first| first.first_event_id > events.start) && is_gone(node, run).await? {
        return Err(Error::Rejected(Rejected::NotFound));
    }
    Ok(limited(chunks.into_iter(), &events, limits))
}

/// Whether retention has taken the run, or is about to: its rows go while somebody still reads them.
async fn is_gone(node: &Node, run: RunKey) -> Result<bool, Error> {
    let key = keys::execution(ShardId(run.shard), run.run);
    let row = node.store.get(Table::State, key.clone()).await.map_err(store_error)?;
    let Some(row) = row else { return Ok(true) };
    let execution: Execution = record::open(&key, row).map_err(store_error)?;
    let closed = !matches!(execution.status(), WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused);
    Ok(closed && Timestamp::from_nanos(execution.wake_at) <= node.rt.now())
}

fn chunk(key: &[u8], bytes: Bytes) -> Result<Chunk, StoreError> {
    let damaged = || StoreError::Corrupt("a batch of history cannot be read".to_owned());
    let first_event_id = keys::parse_history(key).ok_or_else(damaged)?;
    let count = count_events(&bytes).map_err(|_| damaged())?;
    let next_event_id = first_event_id + i64::try_from(count).unwrap_or(0);
    Ok(Chunk { first_event_id, next_event_id, bytes, ends_with_start: false })
}

/// As many batches as there is room for, the first and the last cut to their places. Batches that begin behind the end
/// do not count.
fn limited(chunks: impl Iterator<Item = Chunk>, events: &Range<i64>, limits: ReadLimits) -> Vec<Chunk> {
    let mut taken: Vec<Chunk> = Vec::new();
    let mut bytes = 0;
    for mut chunk in chunks.filter(|chunk| chunk.first_event_id < events.end) {
        if let Some(skipped) = usize::try_from(events.start - chunk.first_event_id).ok().filter(|skipped| *skipped > 0)
        {
            chunk.bytes = skip_events(&chunk.bytes, skipped);
            chunk.first_event_id = events.start;
        }
        if chunk.next_event_id > events.end {
            let wanted = usize::try_from(events.end - chunk.first_event_id).unwrap_or(0);
            chunk.bytes = first_events(&chunk.bytes, wanted);
            chunk.next_event_id = events.end;
        }
        let is_full = taken.len() >= limits.batches_max || bytes + chunk.bytes.len() > limits.bytes_max;
        if is_full && !taken.is_empty() {
            break;
        }
        bytes += chunk.bytes.len();
        taken.push(chunk);
    }
    taken
}

fn store_error(error: StoreError) -> Error {
    match error {
        StoreError::Corrupt(why) => Error::Corrupt(why),
        error => Error::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use mainspring_api::{history::encode_events, v1::history::HistoryEvent};

    use super::*;

    const UNLIMITED: ReadLimits = ReadLimits { batches_max: usize::MAX, bytes_max: usize::MAX };

    fn chunk_of(ids: Range<i64>) -> Chunk {
        let events: Vec<_> = ids.clone().map(|event_id| HistoryEvent { event_id, ..HistoryEvent::default() }).collect();
        let bytes = encode_events(&events);
        Chunk { first_event_id: ids.start, next_event_id: ids.end, bytes, ends_with_start: false }
    }

    /// A batch may hold more than is asked for at both ends: what a poller gets ends with the start of its task.
    #[test]
    fn batches_are_cut_to_what_is_asked_for() {
        let stored = [chunk_of(1..4), chunk_of(4..9), chunk_of(9..10)];
        let cut = limited(stored.iter().cloned(), &(2..7), UNLIMITED);
        assert_eq!(cut, [chunk_of(2..4), chunk_of(4..7)]);
    }

    #[test]
    fn what_does_not_fit_ends_where_a_batch_does() {
        let stored = [chunk_of(1..4), chunk_of(4..9), chunk_of(9..10)];
        let of = |limits| limited(stored.iter().cloned(), &(1..10), limits);
        assert_eq!(of(ReadLimits { batches_max: 2, ..UNLIMITED }), stored[..2]);
        let bytes_max = stored[0].bytes.len() + 1;
        assert_eq!(of(ReadLimits { bytes_max, ..UNLIMITED }), stored[..1]);
        assert_eq!(of(ReadLimits { batches_max: 0, bytes_max: 0 }), stored[..1], "one batch at least");
    }
}
