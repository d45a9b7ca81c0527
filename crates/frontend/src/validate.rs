//! Rules for single fields, with the original's texts.

use std::time::Duration;

use mainspring_api::{
    time::{from_duration, is_negative},
    v1::{
        common::{
            Link, Memo, Payloads, Priority, WorkflowExecution,
            link::{Variant, WorkflowEvent, workflow_event::Reference},
        },
        taskqueue::TaskQueue,
    },
};
use mainspring_engine::limits::{Limits, SPAN_MAX};
use prost::Message;
use tonic::Status;
use uuid::Uuid;

use crate::error::invalid;

/// Bytes of a fairness key. `matching.fairnessKeyLength`
const FAIRNESS_KEY_BYTES_MAX: usize = 64;
/// `frontend.maxLinksPerRequest`
const LINKS_MAX: usize = 10;
/// `frontend.linkMaxSize`
const LINK_BYTES_MAX: usize = 4_000;
/// Queues of the server's own.
const RESERVED_QUEUE_PREFIX: &str = "/_sys/";

pub(crate) fn workflow_id(workflow_id: &str, limits: &Limits) -> Result<(), Status> {
    if workflow_id.is_empty() {
        return Err(invalid("WorkflowId is not set on request."));
    }
    let (length, limit) = (workflow_id.len(), limits.id_bytes_max);
    if length > limit {
        return Err(invalid(format!("WorkflowId exceeds maximum allowed length ({length}/{limit})")));
    }
    Ok(())
}

/// Empty means the newest run.
pub(crate) fn run_id(run_id: &str, text: &str) -> Result<(), Status> {
    if run_id.is_empty() || Uuid::parse_str(run_id).is_ok() { Ok(()) } else { Err(invalid(text)) }
}

/// The workflow id and run id that a request names.
pub(crate) fn execution(execution: Option<WorkflowExecution>, limits: &Limits) -> Result<WorkflowExecution, Status> {
    let Some(execution) = execution else { return Err(invalid("Execution is not set on request.")) };
    workflow_id(&execution.workflow_id, limits)?;
    run_id(&execution.run_id, "Invalid RunId.")?;
    Ok(execution)
}

/// An id or name that must be there. `field` is its name in the texts.
pub(crate) fn required(value: &str, field: &str, limits: &Limits) -> Result<(), Status> {
    if value.is_empty() {
        return Err(invalid(format!("{field} is not set on request.")));
    }
    optional(value, field, limits)
}

/// An id or name that may be empty.
pub(crate) fn optional(value: &str, field: &str, limits: &Limits) -> Result<(), Status> {
    if value.len() > limits.id_bytes_max {
        return Err(invalid(format!("{field} length exceeds limit.")));
    }
    Ok(())
}

/// The name of a queue that callers may use.
pub(crate) fn task_queue(queue: Option<TaskQueue>, limits: &Limits) -> Result<String, Status> {
    let name = named_queue(queue, limits)?.name;
    if name.starts_with(RESERVED_QUEUE_PREFIX) {
        return Err(invalid(format!("task queue name cannot start with reserved prefix {RESERVED_QUEUE_PREFIX}")));
    }
    Ok(name)
}

/// A queue that somebody asks about.
pub(crate) fn described_queue(queue: Option<TaskQueue>, limits: &Limits) -> Result<TaskQueue, Status> {
    let queue = named_queue(queue, limits)?;
    if queue.name.starts_with(RESERVED_QUEUE_PREFIX) {
        return Err(invalid(format!("invalid task queue partition name {}", queue.name)));
    }
    Ok(queue)
}

fn named_queue(queue: Option<TaskQueue>, limits: &Limits) -> Result<TaskQueue, Status> {
    let queue = queue.ok_or_else(|| invalid("taskQueue is not set"))?;
    if queue.name.is_empty() {
        return Err(invalid("missing task queue name"));
    }
    if queue.name.len() > limits.id_bytes_max {
        return Err(invalid("taskQueue length exceeds limit"));
    }
    Ok(queue)
}

/// A span that may be absent; more than a century is cut to it.
pub(crate) fn span(span: Option<&prost_types::Duration>, field: &str) -> Result<Duration, Status> {
    if is_negative(span) {
        return Err(invalid(format!("An invalid {field}Seconds is set on request. cause: negative duration")));
    }
    Ok(from_duration(span).min(SPAN_MAX))
}

pub(crate) fn blob(payloads: Option<&Payloads>, limits: &Limits) -> Result<(), Status> {
    if payloads.is_some_and(|payloads| payloads.encoded_len() > limits.blob_bytes_max) {
        return Err(invalid("Blob data size exceeds limit."));
    }
    Ok(())
}

pub(crate) fn memo(memo: Option<&Memo>, limits: &Limits) -> Result<(), Status> {
    if memo.is_some_and(|memo| memo.encoded_len() > limits.blob_bytes_max) {
        return Err(invalid("Memo size exceeds limit."));
    }
    Ok(())
}

pub(crate) fn priority(priority: Option<&Priority>) -> Result<(), Status> {
    let Some(priority) = priority else { return Ok(()) };
    if priority.priority_key < 0 {
        return Err(invalid("priority key can't be negative"));
    }
    if priority.fairness_key.len() > FAIRNESS_KEY_BYTES_MAX {
        return Err(invalid("fairness key length exceeds limit"));
    }
    if priority.fairness_weight < 0.0 {
        return Err(invalid("must be greater than zero"));
    }
    Ok(())
}

pub(crate) fn links(links: &[Link]) -> Result<(), Status> {
    let count = links.len();
    if count > LINKS_MAX {
        return Err(invalid(format!("cannot attach more than {LINKS_MAX} links per request, got {count}")));
    }
    links.iter().try_for_each(link)
}

fn link(link: &Link) -> Result<(), Status> {
    let length = link.encoded_len();
    if length > LINK_BYTES_MAX {
        return Err(invalid(format!("link exceeds allowed size of {LINK_BYTES_MAX}, got {length}")));
    }
    match &link.variant {
        Some(Variant::WorkflowEvent(event)) => workflow_event_link(event),
        Some(Variant::BatchJob(job)) => in_link(&job.job_id, "batch job", "job ID"),
        Some(_) => Ok(()),
        None => Err(invalid("unsupported link variant")),
    }
}

fn workflow_event_link(event: &WorkflowEvent) -> Result<(), Status> {
    in_link(&event.namespace, "workflow event", "namespace field")?;
    in_link(&event.workflow_id, "workflow event", "workflow ID field")?;
    in_link(&event.run_id, "workflow event", "run ID field")?;
    match &event.reference {
        Some(Reference::EventRef(reference)) if reference.event_type == 0 && reference.event_id != 0 => {
            Err(invalid("workflow event link ref cannot have an unspecified event type and a non-zero event ID"))
        }
        _ => Ok(()),
    }
}

fn in_link(value: &str, link: &str, field: &str) -> Result<(), Status> {
    if value.is_empty() { Err(invalid(format!("{link} link must not have an empty {field}"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T>(result: Result<T, Status>) -> String {
        result.map(|_| ()).expect_err("refused").message().to_owned()
    }

    #[test]
    fn ids_are_limited_in_bytes() {
        let limits = Limits::default();
        assert!(workflow_id(&"i".repeat(1000), &limits).is_ok());
        let long = "é".repeat(501);
        assert_eq!(text(workflow_id(&long, &limits)), "WorkflowId exceeds maximum allowed length (1002/1000)");
        assert_eq!(text(required("", "SignalName", &limits)), "SignalName is not set on request.");
        assert_eq!(text(optional(&long, "RequestId", &limits)), "RequestId length exceeds limit.");
    }

    #[test]
    fn an_execution_has_a_workflow_id_and_perhaps_a_uuid() {
        let limits = Limits::default();
        let given = |workflow_id: &str, run_id: &str| {
            Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() })
        };
        assert!(execution(given("w", ""), &limits).is_ok());
        assert!(execution(given("w", "01900000-0000-7000-8000-000000000000"), &limits).is_ok());
        assert_eq!(text(execution(given("w", "not-a-uuid"), &limits)), "Invalid RunId.");
        assert_eq!(text(execution(None, &limits)), "Execution is not set on request.");
    }

    #[test]
    fn queues_have_names_of_their_own() {
        let limits = Limits::default();
        let queue = |name: &str| Some(TaskQueue { name: name.to_owned(), ..TaskQueue::default() });
        assert_eq!(text(task_queue(None, &limits)), "taskQueue is not set");
        assert_eq!(text(task_queue(queue(""), &limits)), "missing task queue name");
        let reserved = text(task_queue(queue("/_sys/x"), &limits));
        assert_eq!(reserved, "task queue name cannot start with reserved prefix /_sys/");
        assert_eq!(task_queue(queue("orders"), &limits).unwrap(), "orders");
    }

    #[test]
    fn spans_are_not_negative_and_end_at_a_century() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let negative = text(span(seconds(-1).as_ref(), "WorkflowRunTimeout"));
        assert_eq!(negative, "An invalid WorkflowRunTimeoutSeconds is set on request. cause: negative duration");
        assert_eq!(span(seconds(i64::MAX).as_ref(), "X").unwrap(), SPAN_MAX);
        assert_eq!(span(None, "X").unwrap(), Duration::ZERO);
    }

    #[test]
    fn links_point_somewhere() {
        let to = |workflow_id: &str, run_id: &str| WorkflowEvent {
            namespace: "default".to_owned(),
            workflow_id: workflow_id.to_owned(),
            run_id: run_id.to_owned(),
            reference: None,
        };
        let checked = |event: WorkflowEvent| links(&[Link { variant: Some(Variant::WorkflowEvent(event)) }]);
        assert!(checked(to("w", "r")).is_ok());
        assert_eq!(text(checked(to("", "r"))), "workflow event link must not have an empty workflow ID field");
        assert_eq!(text(checked(to("w", ""))), "workflow event link must not have an empty run ID field");
        assert!(text(checked(to(&"w".repeat(4_000), "r"))).starts_with("link exceeds allowed size of 4000, got 40"));
        assert_eq!(text(links(&[Link::default()])), "unsupported link variant");
        let eleven = vec![Link::default(); 11];
        assert_eq!(text(links(&eleven)), "cannot attach more than 10 links per request, got 11");
    }
}
