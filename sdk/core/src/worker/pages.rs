//! Long histories, page by page: each page is replayed before the next one is asked for, so that no more than two of them
//! are in memory at a time.

use bytes::Bytes;
use mainspring_api::v1::{history::HistoryEvent, workflowservice::GetWorkflowExecutionHistoryRequest};

use crate::{
    worker::{
        lane::{Answer, Lanes, Order, Page},
        workflows::{Failed, InHand, Inner},
    },
    workflow::{Fault, history::is_task_start},
};

/// The pages of a history, from one on.
pub(super) struct Pages<'a> {
    inner: &'a Inner,
    in_hand: &'a InHand,
    /// Nothing after the last one.
    request: Option<GetWorkflowExecutionHistoryRequest>,
}

impl<'a> Pages<'a> {
    /// From this page on; from the first one with an empty token.
    pub(super) fn new(inner: &'a Inner, in_hand: &'a InHand, page: Bytes) -> Pages<'a> {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: inner.parts.shared.client.namespace().to_owned(),
            execution: Some(in_hand.execution.clone()),
            next_page_token: page,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        Pages { inner, in_hand, request: Some(request) }
    }

    /// The next page, decoded.
    async fn next(&mut self) -> Result<Option<Vec<HistoryEvent>>, Failed> {
        let Some(request) = &mut self.request else { return Ok(None) };
        let page = match self.inner.parts.shared.client.rpc().call(request).await {
            Ok(page) => page,
            Err(error) => {
                let workflow_id = &self.in_hand.execution.workflow_id;
                tracing::warn!(%workflow_id, %error, "the history cannot be read");
                return Err(Failed::Lost);
            }
        };
        if page.next_page_token.is_empty() {
            self.request = None;
        } else {
            request.next_page_token = page.next_page_token;
        }
        let history = page.history.unwrap_or_default();
        let mut events = history.decode_events().map_err(|error| Fault::History(error.to_string()))?;
        self.inner.decode(self.in_hand, &mut events).await?;
        Ok(Some(events))
    }

    /// All that is left.
    pub(super) async fn all(mut self) -> Result<Vec<HistoryEvent>, Failed> {
        let mut events = Vec::new();
        while let Some(page) = self.next().await? {
            events.extend(page);
        }
        Ok(events)
    }
}

/// A replay that the lane of a run keeps until the workflow task comes, or until this is dropped.
pub(super) struct Replay<'a> {
    lanes: &'a Lanes,
    in_hand: &'a InHand,
    number: Option<u64>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(lanes: &'a Lanes, in_hand: &'a InHand) -> Replay<'a> {
        Replay { lanes, in_hand, number: None }
    }

    /// Its number, if some of the history has been replayed.
    pub(super) fn begun(&self) -> Option<u64> {
        self.number
    }

    /// Replays a history that consists of `events`, the pages, and `tail`, but for its last workflow task, whose events
    /// are left over. What is in the tail already is left out of the pages.
    pub(super) async fn all_but_last(
        &mut self,
        pages: &mut Pages<'_>,
        mut events: Vec<HistoryEvent>,
        tail: Vec<HistoryEvent>,
    ) -> Result<Vec<HistoryEvent>, Failed> {
        let end = tail.first().map_or(i64::MAX, |event| event.event_id);
        while let Some(mut page) = pages.next().await? {
            // What follows a workflow task is looked at before it is replayed: so it has to be there.
            let last = events.iter().rposition(is_task_start).unwrap_or(0);
            if last > 0 {
                let rest = events.split_off(last);
                self.page(std::mem::replace(&mut events, rest)).await?;
            }
            page.retain(|event| event.event_id < end);
            events.append(&mut page);
        }
        events.extend(tail);
        Ok(events)
    }

    async fn page(&mut self, events: Vec<HistoryEvent>) -> Result<(), Failed> {
        let replay = *self.number.get_or_insert_with(|| self.lanes.number());
        let execution = self.in_hand.execution.clone();
        let run_id = execution.run_id.clone();
        let bytes = events.iter().map(prost::Message::encoded_len).sum();
        let page = Page { replay, execution, kind: self.in_hand.kind.clone(), events, bytes };
        match self.lanes.call(&run_id, Order::Page(Box::new(page))).await? {
            Answer::Noted => Ok(()),
            _ => Err(Failed::Lost),
        }
    }
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if let Some(replay) = self.number {
            self.lanes.tell(&self.in_hand.execution.run_id, Order::Forget { replay });
        }
    }
}
