//! [`Replayer`]: runs workflow code against histories of real runs, and says where the two part.
//!
//! Before new code is deployed, replay what is running: whatever does not fit is found here and not in production.

mod json;

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mainspring_api::v1::{
    common::WorkflowExecution,
    history::{HistoryEvent, history_event::Attributes},
    workflowservice::{GetWorkflowExecutionHistoryRequest, ListWorkflowExecutionsRequest},
};

use crate::{
    client::{Client, RpcError},
    codec::CodecCx,
    convert::DataConverter,
    payload::PayloadError,
    worker::{Register, Registry},
    workflow::{
        Fault,
        history::is_task_start,
        instance::{Feed, Instance},
        panic,
    },
};

/// About as many events are decoded before they are replayed.
const AHEAD: usize = 1_000;

/// Runs workflow code against histories.
///
/// ```no_run
/// # use mainspring_sdk::{replay::Replayer, workflow::WorkflowDef};
/// # fn example(order: WorkflowDef) -> Result<(), Box<dyn std::error::Error>> {
/// // temporal workflow show --workflow-id order-7 --output json > order-7.json
/// let report = Replayer::new().register(order).replay_json(&std::fs::read("order-7.json")?)?;
/// println!("{report}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it replays when it is given histories"]
pub struct Replayer {
    registry: Registry,
    namespace: String,
    converter: DataConverter,
    any_numbers: bool,
}

/// A history that was replayed to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The workflow id, where it is known.
    pub workflow_id: String,
    /// The type.
    pub workflow_type: String,
    /// How many events it has.
    pub events: usize,
    /// How many workflow tasks were replayed.
    pub tasks: usize,
    /// How long it took.
    pub took: Duration,
}

/// Why a history could not be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It is no history.
    #[error("this is no history: {0}")]
    Unreadable(String),
    /// The code does something else than the history says; both sides are in the fault.
    #[error("workflow {workflow_id:?} of type {workflow_type:?} does not replay: {fault}")]
    Failed {
        /// The workflow id.
        workflow_id: String,
        /// The type.
        workflow_type: String,
        /// Where the two part.
        fault: Fault,
    },
    /// A codec failed.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The server did not give the history.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl Default for Replayer {
    fn default() -> Replayer {
        Replayer::new()
    }
}

impl Replayer {
    /// Without code.
    pub fn new() -> Replayer {
        panic::install_hook();
        Replayer {
            registry: Registry::default(),
            namespace: "default".to_owned(),
            converter: DataConverter::json(),
            any_numbers: false,
        }
    }

    /// Adds a definition.
    pub fn register(mut self, definition: impl Register) -> Replayer {
        definition.add_to(&mut self.registry);
        self
    }

    /// Sets the namespace that the code sees; `default` if not set.
    pub fn namespace(mut self, name: impl Into<String>) -> Replayer {
        self.namespace = name.into();
        self
    }

    /// Sets the codecs that the histories' payloads went through.
    pub fn converter(mut self, converter: DataConverter) -> Replayer {
        self.converter = converter;
        self
    }

    /// Compares activities and timers without their ids, unless the code chose them: for histories of SDKs that do not
    /// count them, such as those of Go and Java. Order and types are compared as ever.
    pub fn ignore_numbers(mut self) -> Replayer {
        self.any_numbers = true;
        self
    }

    /// Replays a history as `temporal workflow show --output json` and the user interface write it. Payloads in it must
    /// be in clear; with codecs, see [`replay_json_decoded`](Replayer::replay_json_decoded).
    ///
    /// # Errors
    /// When it is no history, or the code does something else.
    pub fn replay_json(&self, json: &[u8]) -> Result<Report, ReplayError> {
        self.replay_events("", json::events(json)?)
    }

    /// The same, with the codecs that were set.
    ///
    /// # Errors
    /// As for [`replay_json`](Replayer::replay_json), and when a codec fails.
    pub async fn replay_json_decoded(&self, json: &[u8]) -> Result<Report, ReplayError> {
        let mut events = json::events(json)?;
        self.converter.decode_events(&CodecCx::new(&self.namespace, ""), &mut events).await?;
        self.replay_events("", events)
    }

    /// Replays the encoded form of a `temporal.api.history.v1.History`.
    ///
    /// # Errors
    /// When it is no history, or the code does something else.
    pub fn replay_bytes(&self, bytes: &[u8]) -> Result<Report, ReplayError> {
        let chunk = bytes::Bytes::copy_from_slice(bytes);
        let history = mainspring_api::v1::History::from_chunks(vec![chunk]);
        let unreadable = |error: prost::DecodeError| ReplayError::Unreadable(error.to_string());
        self.replay_stream("", history.events().map(|event| event.map_err(unreadable)))
    }

    /// Replays the newest run of a workflow from its server.
    ///
    /// # Errors
    /// When the server does not give it, a codec fails, or the code does something else.
    pub async fn replay_workflow(&self, client: &Client, workflow_id: &str) -> Result<Report, ReplayError> {
        let execution = WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: String::new() };
        let events = self.fetch(client, execution).await?;
        self.replay_events(workflow_id, events)
    }

    /// Replays all workflows that a query finds, several at a time. The list is in the server's order.
    ///
    /// # Errors
    /// When the server does not give them. What does not replay is an error in the list.
    pub async fn replay_query(
        &self,
        client: &Client,
        query: &str,
    ) -> Result<Vec<Result<Report, ReplayError>>, ReplayError> {
        let mut request = ListWorkflowExecutionsRequest {
            namespace: client.namespace().to_owned(),
            query: query.to_owned(),
            ..ListWorkflowExecutionsRequest::default()
        };
        let mut histories = Vec::new();
        loop {
            let page = client.rpc().call(&request).await?;
            for execution in page.executions.into_iter().filter_map(|found| found.execution) {
                let workflow_id = execution.workflow_id.clone();
                histories.push((workflow_id, self.fetch(client, execution).await?));
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.next_page_token = page.next_page_token;
        }
        Ok(self.replay_all(histories))
    }

    /// Replays histories on all cores; each is a workflow id with its events.
    pub fn replay_all(&self, histories: Vec<(String, Vec<HistoryEvent>)>) -> Vec<Result<Report, ReplayError>> {
        let count = histories.len();
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(count.max(1));
        let work: Vec<_> = histories.into_iter().map(|history| Mutex::new(Some(history))).collect();
        let reports: Vec<_> = (0..count).map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(history) = work.get(index) else { break };
                        let history = history.lock().unwrap_or_else(PoisonError::into_inner).take();
                        if let (Some((workflow_id, events)), Some(place)) = (history, reports.get(index)) {
                            let report = self.replay_events(&workflow_id, events);
                            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
                        }
                    }
                });
            }
        });
        reports.into_iter().filter_map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Replays the events of a run, from the first one on.
    ///
    /// # Errors
    /// When they are no history, or the code does something else.
    pub fn replay_events(&self, workflow_id: &str, events: Vec<HistoryEvent>) -> Result<Report, ReplayError> {
        self.replay_stream(workflow_id, events.into_iter().map(Ok))
    }

    /// Replays events as they come; few of them are in memory at a time.
    fn replay_stream(
        &self,
        workflow_id: &str,
        mut events: impl Iterator<Item = Result<HistoryEvent, ReplayError>>,
    ) -> Result<Report, ReplayError> {
        let began = Instant::now();
        let first = events.next().transpose()?;
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) =
            first.as_ref().and_then(|first| first.attributes.as_ref())
        else {
            return Err(ReplayError::Unreadable("it does not begin with the start of a workflow".to_owned()));
        };
        let known = if workflow_id.is_empty() { started.workflow_id.as_str() } else { workflow_id };
        let mut report = Report {
            workflow_id: known.to_owned(),
            workflow_type: started.workflow_type.clone().unwrap_or_default().name,
            events: 0,
            tasks: 0,
            took: Duration::ZERO,
        };
        let run_id = started.original_execution_run_id.clone();
        let execution = WorkflowExecution { workflow_id: report.workflow_id.clone(), run_id };
        match self.replay(execution, first.into_iter().map(Ok).chain(events), &mut report)? {
            Ok(()) => Ok(Report { took: began.elapsed(), ..report }),
            Err(fault) => {
                let Report { workflow_id, workflow_type, .. } = report;
                Err(ReplayError::Failed { workflow_id, workflow_type, fault })
            }
        }
    }

    /// Replays a history, however broken: nothing gets out but a fault, or the error of an event.
    fn replay(
        &self,
        execution: WorkflowExecution,
        events: impl Iterator<Item = Result<HistoryEvent, ReplayError>>,
        report: &mut Report,
    ) -> Result<Result<(), Fault>, ReplayError> {
        let mut instance = match self.registry.workflows().find(&report.workflow_type) {
            Ok(def) => Instance::new(&self.namespace, execution, def.clone()),
            Err(fault) => return Ok(Err(fault)),
        };
        if self.any_numbers {
            instance.ignore_numbers();
        }
        let (mut ahead, mut most, mut ends) = (Vec::new(), AHEAD, false);
        for event in events {
            let event = event?;
            report.events += 1;
            report.tasks += usize::from(is_task_completion(&event));
            ends = closes(&event);
            ahead.push(event);
            if ahead.len() >= most {
                // What follows a workflow task is looked at before it is replayed: so it has to be there.
                let rest = ahead.split_off(ahead.iter().rposition(is_task_start).unwrap_or(0));
                most = rest.len() + AHEAD;
                if let Err(fault) = instance.advance(Feed { events: ahead, ..Feed::default() }) {
                    return Ok(Err(fault));
                }
                ahead = rest;
            }
        }
        let replayed = instance.advance(Feed { events: ahead, ..Feed::default() });
        Ok(replayed.and_then(|()| if ends { instance.all_confirmed() } else { Ok(()) }))
    }

    async fn fetch(&self, client: &Client, execution: WorkflowExecution) -> Result<Vec<HistoryEvent>, ReplayError> {
        let workflow_id = execution.workflow_id.clone();
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: client.namespace().to_owned(),
            execution: Some(execution),
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        let mut events = Vec::new();
        loop {
            let page = client.rpc().call(&request).await?;
            let history = page.history.unwrap_or_default();
            events.extend(history.decode_events().map_err(|error| ReplayError::Unreadable(error.to_string()))?);
            if page.next_page_token.is_empty() {
                break;
            }
            request.next_page_token = page.next_page_token;
        }
        let cx = CodecCx::new(client.namespace(), &workflow_id);
        client.converter().decode_events(&cx, &mut events).await?;
        Ok(events)
    }
}

fn is_task_completion(event: &HistoryEvent) -> bool {
    matches!(event.attributes, Some(Attributes::WorkflowTaskCompletedEventAttributes(_)))
}

/// True for the closing events that come from a command.
fn closes(event: &HistoryEvent) -> bool {
    matches!(
        event.attributes,
        Some(
            Attributes::WorkflowExecutionCompletedEventAttributes(_)
                | Attributes::WorkflowExecutionFailedEventAttributes(_)
                | Attributes::WorkflowExecutionCanceledEventAttributes(_)
                | Attributes::WorkflowExecutionContinuedAsNewEventAttributes(_)
        )
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { workflow_id, workflow_type, events, tasks, took } = self;
        write!(
            f,
            "workflow {workflow_id:?} of type {workflow_type:?} replays: {events} events, {tasks} workflow tasks, {took:?}"
        )
    }
}

#[cfg(test)]
mod tests;
