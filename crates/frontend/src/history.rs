//! GetWorkflowExecutionHistory and its reverse: pages, the wait for new events, the close event alone.

use std::sync::Arc;

use bytes::Bytes;
use mainspring_api::v1::{
    History,
    common::WorkflowExecution,
    enums::HistoryEventFilterType,
    workflowservice::{
        GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse,
        GetWorkflowExecutionHistoryReverseRequest, GetWorkflowExecutionHistoryReverseResponse,
    },
};
use mainspring_history::{Namespace, RunView};
use mainspring_rt::Timestamp;
use tonic::Status;

use crate::{
    Frontend, Metadata,
    error::{self, About, invalid},
    long_poll,
    pages::{self, BATCHES_MAX},
    token::{PageToken, Token},
    validate,
};

/// Clients that show a history to people, who have no use for events that are not there yet.
/// `history.sendTransientOrSpeculativeWorkflowTaskEvents`
const VIEWERS: [&str; 2] = ["temporal-cli", "temporal-ui"];

impl Frontend {
    pub(crate) async fn get_history(
        &self,
        request: GetWorkflowExecutionHistoryRequest,
        metadata: &Metadata,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Status> {
        let close_only = request.history_event_filter_type == HistoryEventFilterType::CloseEvent as i32;
        let wait_end = request.wait_new_event.then(|| long_poll::read_poll_end(&self.shared.rt, metadata));
        let GetWorkflowExecutionHistoryRequest { namespace, execution, maximum_page_size, next_page_token, .. } =
            request;
        let reading = self.reading(&namespace, execution, &next_page_token)?;
        let view = self.look(&reading).await?;
        match (close_only, wait_end) {
            (true, None) => self.close_event(&reading, &view).await,
            (true, Some(end)) => {
                let view = self.wait_while(&reading, view, end, |_| true).await?;
                self.close_event_or_token(&reading, &view).await
            }
            (false, None) => self.stored_page(&reading, &view, page_size(maximum_page_size), metadata).await,
            (false, Some(end)) => {
                let seen = reading.token.as_ref().map_or(1, |token| token.next_event_id);
                let view = self.wait_while(&reading, view, end, |view| last(view) < seen).await?;
                self.followed_page(&reading, &view, page_size(maximum_page_size)).await
            }
        }
    }

    pub(crate) async fn get_history_reverse(
        &self,
        request: GetWorkflowExecutionHistoryReverseRequest,
    ) -> Result<GetWorkflowExecutionHistoryReverseResponse, Status> {
        let GetWorkflowExecutionHistoryReverseRequest { namespace, execution, maximum_page_size, next_page_token } =
            request;
        let reading = self.reading(&namespace, execution, &next_page_token)?;
        let view = self.look(&reading).await?;
        let before = reading.token.as_ref().map_or(view.run.execution.next_event_id, |token| token.end_event_id);
        let from = (before - events_back(maximum_page_size)).max(1);
        let about = reading.about();
        // A page of large events reads on until it has the newest of its range.
        let mut events = Vec::new();
        let mut next = from;
        while next < before {
            let page = self.page(view.key, &view.tail, next..before, BATCHES_MAX, &about).await?;
            events.splice(0..0, pages::reversed(&page.history, before, &about)?);
            next = page.next_event_id;
        }
        let oldest = events.last().map_or(1, |event| event.event_id);
        let next_page_token = if oldest > 1 { reading.token(&view, 1, oldest) } else { Bytes::new() };
        Ok(GetWorkflowExecutionHistoryReverseResponse { history: Some(History::from_events(&events)), next_page_token })
    }

    /// Checks what a read names, and its token.
    fn reading(&self, namespace: &str, execution: Option<WorkflowExecution>, token: &[u8]) -> Result<Reading, Status> {
        let namespace = self.namespace(namespace)?;
        let mut execution = validate::execution(execution, &self.shared.limits)?;
        if token.is_empty() {
            return Ok(Reading { namespace, execution, token: None });
        }
        let token = PageToken::open(token).ok_or_else(|| invalid("Invalid NextPageToken."))?;
        if !execution.run_id.is_empty() && execution.run_id != token.run_id {
            return Err(invalid("RunID in the request does not match the NextPageToken."));
        }
        execution.run_id.clone_from(&token.run_id);
        Ok(Reading { namespace, execution, token: Some(token) })
    }

    async fn look(&self, reading: &Reading) -> Result<RunView, Status> {
        let WorkflowExecution { workflow_id, run_id } = &reading.execution;
        let view = self.shared.history.look(reading.namespace.id, workflow_id, run_id).await;
        view.map_err(|error| error::status(error, &reading.about()))
    }

    /// The run as it is when `wanting` is over, when it has closed, or at `end`.
    async fn wait_while(
        &self,
        reading: &Reading,
        mut view: RunView,
        end: Timestamp,
        wanting: impl Fn(&RunView) -> bool,
    ) -> Result<RunView, Status> {
        while view.run.is_open() && wanting(&view) {
            match self.wait_until(end, self.shared.history.changed(&view)).await {
                Some(changed) => view = changed.map_err(|error| error::status(error, &reading.about()))?,
                None => break,
            }
        }
        Ok(view)
    }

    /// What is stored, up to where the run was when the first page was read.
    async fn stored_page(
        &self,
        reading: &Reading,
        view: &RunView,
        size: usize,
        metadata: &Metadata,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Status> {
        let now = view.run.execution.next_event_id;
        let (from, end) = reading.token.as_ref().map_or((1, now), |token| (token.next_event_id, token.end_event_id));
        let mut page = self.page(view.key, &view.tail, from..end, size, &reading.about()).await?;
        if page.next_event_id < end {
            return Ok(response(page.history, reading.token(view, page.next_event_id, end)));
        }
        let virtual_events = mainspring_engine::virtual_events(&view.run);
        if page.next_event_id == now && !virtual_events.is_empty() && !VIEWERS.contains(&metadata.client_name.as_str())
        {
            page.history.push(mainspring_api::history::encode_events(&virtual_events));
        }
        Ok(response(page.history, Bytes::new()))
    }

    /// What is stored by now; more is to come while the run is open.
    async fn followed_page(
        &self,
        reading: &Reading,
        view: &RunView,
        size: usize,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Status> {
        let from = reading.token.as_ref().map_or(1, |token| token.next_event_id);
        let end = view.run.execution.next_event_id;
        let page = self.page(view.key, &view.tail, from..end, size, &reading.about()).await?;
        let is_whole = page.next_event_id >= end && !view.run.is_open();
        let next = page.next_event_id;
        let token = if is_whole { Bytes::new() } else { reading.token(view, next, end.max(next)) };
        Ok(response(page.history, token))
    }

    async fn close_event_or_token(
        &self,
        reading: &Reading,
        view: &RunView,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Status> {
        if view.run.is_open() {
            let end = view.run.execution.next_event_id;
            return Ok(response(History::default(), reading.token(view, end, end)));
        }
        self.close_event(reading, view).await
    }

    /// The last event of a closed run; nothing of an open one.
    async fn close_event(
        &self,
        reading: &Reading,
        view: &RunView,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Status> {
        if view.run.is_open() {
            return Ok(response(History::default(), Bytes::new()));
        }
        let (last, next) = (last(view), view.run.execution.next_event_id);
        let page = self.page(view.key, &view.tail, last..next, 1, &reading.about()).await?;
        Ok(response(page.history, Bytes::new()))
    }
}

/// Which history is read, and from where on.
struct Reading {
    namespace: Arc<Namespace>,
    execution: WorkflowExecution,
    token: Option<PageToken>,
}

impl Reading {
    fn about(&self) -> About<'_> {
        About::run(&self.execution.workflow_id, &self.execution.run_id)
    }

    fn token(&self, view: &RunView, next_event_id: i64, end_event_id: i64) -> Bytes {
        PageToken { run_id: view.run.fixed.run_id.clone(), next_event_id, end_event_id }.seal()
    }
}

/// The id of the run's last event.
fn last(view: &RunView) -> i64 {
    view.run.execution.next_event_id - 1
}

/// The batches of a page.
fn page_size(asked: i32) -> usize {
    usize::try_from(asked).ok().filter(|asked| *asked > 0).map_or(BATCHES_MAX, |asked| asked.min(BATCHES_MAX))
}

/// The events of a page that goes backwards.
fn events_back(asked: i32) -> i64 {
    i64::try_from(page_size(asked)).unwrap_or(i64::MAX)
}

fn response(history: History, next_page_token: Bytes) -> GetWorkflowExecutionHistoryResponse {
    GetWorkflowExecutionHistoryResponse {
        history: Some(history),
        next_page_token,
        ..GetWorkflowExecutionHistoryResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_at_most_256_batches() {
        assert_eq!([-1, 0, 3, 256, 1000].map(page_size), [256, 256, 3, 256, 256]);
    }
}
