//! Stored history in pages: joined as it is stored, cut only where one batch ends and the next begins.

use std::ops::Range;

use mainspring_api::v1::{History, history::HistoryEvent};
use mainspring_engine::outcome::Chunk;
use mainspring_history::{ReadLimits, RunKey};
use prost::DecodeError;
use tonic::Status;
use tracing::error;

use crate::{
    Frontend,
    error::{self, About},
};

/// Batches of a page, whatever the number of their events. `frontend.historyMaxPageSize`
pub(crate) const BATCHES_MAX: usize = 256;
/// Bytes from which on a page takes no further batch. One batch has 4 MiB at most, and clients take no more.
const BYTES_MAX: usize = 2 << 20;

/// Some whole batches.
pub(crate) struct Page {
    pub(crate) history: History,
    /// The first event that comes after them.
    pub(crate) next_event_id: i64,
}

impl Frontend {
    /// The first `batches_max` batches that hold `events`, or fewer when they are large; at least one.
    pub(crate) async fn page(
        &self,
        run: RunKey,
        tail: &[Chunk],
        events: Range<i64>,
        batches_max: usize,
        about: &About<'_>,
    ) -> Result<Page, Status> {
        if events.is_empty() {
            return Ok(Page { history: History::default(), next_event_id: events.start });
        }
        let start = events.start;
        let chunks = self.chunks(run, tail, events, batches_max, about).await?;
        let next_event_id = chunks.last().map_or(start, |chunk| chunk.next_event_id);
        let history = History::from_chunks(chunks.into_iter().map(|chunk| chunk.bytes).collect());
        Ok(Page { history, next_event_id })
    }

    /// One event, decoded.
    pub(crate) async fn stored_event(
        &self,
        run: RunKey,
        tail: &[Chunk],
        event_id: i64,
        about: &About<'_>,
    ) -> Result<HistoryEvent, Status> {
        let chunks = self.chunks(run, tail, event_id..event_id + 1, 1, about).await?;
        let history = History::from_chunks(chunks.into_iter().map(|chunk| chunk.bytes).collect());
        // What was read begins with the event asked for.
        match history.events().next() {
            Some(Ok(event)) if event.event_id == event_id => Ok(event),
            Some(Err(why)) => Err(undecodable(&why, about)),
            _ => Err(missing(event_id, about)),
        }
    }

    async fn chunks(
        &self,
        run: RunKey,
        tail: &[Chunk],
        events: Range<i64>,
        batches_max: usize,
        about: &About<'_>,
    ) -> Result<Vec<Chunk>, Status> {
        let first = events.start;
        let limits = ReadLimits { batches_max, bytes_max: BYTES_MAX };
        let read = self.shared.history.read(run, tail, events, limits).await;
        let chunks = read.map_err(|error| error::status(error, about))?;
        match chunks.first() {
            Some(chunk) if chunk.first_event_id == first => Ok(chunks),
            _ => Err(missing(first, about)),
        }
    }
}

/// Stored events newest first, from `before` (not included) back.
pub(crate) fn reversed(page: &History, before: i64, about: &About<'_>) -> Result<Vec<HistoryEvent>, Status> {
    let mut events = page.decode_events().map_err(|why| undecodable(&why, about))?;
    events.retain(|event| event.event_id < before);
    events.reverse();
    Ok(events)
}

fn undecodable(why: &DecodeError, about: &About<'_>) -> Status {
    error!(workflow_id = about.workflow_id, run_id = about.run_id, %why, "a stored event cannot be decoded");
    Status::data_loss("a stored event cannot be decoded")
}

fn missing(event_id: i64, about: &About<'_>) -> Status {
    error!(workflow_id = about.workflow_id, run_id = about.run_id, event_id, "a history has a gap");
    Status::data_loss(format!("event {event_id} is missing from the stored history"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mainspring_api::history::encode_events;

    use super::*;

    fn chunk(ids: Range<i64>) -> Bytes {
        let events: Vec<_> = ids.map(|event_id| HistoryEvent { event_id, ..HistoryEvent::default() }).collect();
        encode_events(&events)
    }

    #[test]
    fn reversed_pages_leave_out_what_was_seen() {
        let page = History::from_chunks(vec![chunk(1..4), chunk(4..6)]);
        let ids: Vec<_> = reversed(&page, 5, &About::default()).unwrap().iter().map(|event| event.event_id).collect();
        assert_eq!(ids, [4, 3, 2, 1]);
    }
}
