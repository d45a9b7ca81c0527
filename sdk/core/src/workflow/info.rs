//! [`WorkflowInfo`]: what a run knows about itself from its first event.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use mainspring_api::{
    time,
    v1::{common::WorkflowExecution, history::WorkflowExecutionStartedEventAttributes},
};

use crate::{
    call::{Headers, Priority, SearchAttributes},
    error::Error,
    payload::{Payload, RawArgs, from_wire},
    retry::RetryPolicy,
};

/// What a run knows about itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkflowInfo {
    /// The namespace.
    pub namespace: String,
    /// The workflow id.
    pub workflow_id: String,
    /// The run id.
    pub run_id: String,
    /// The type.
    pub workflow_type: String,
    /// The task queue.
    pub task_queue: String,
    /// Counts from 1 when the workflow is retried.
    pub attempt: i32,
    /// When the run started.
    pub started_at: SystemTime,
    /// How long all runs may take together.
    pub execution_timeout: Option<Duration>,
    /// How long this run may take.
    pub run_timeout: Option<Duration>,
    /// How long a worker may take for one workflow task.
    pub task_timeout: Duration,
    /// When a run that failed is followed by another.
    pub retry: Option<RetryPolicy>,
    /// When it is run again, as a cron line.
    pub cron: Option<String>,
    /// The first run of the chain.
    pub first_run_id: String,
    /// The run that this one was before a reset; random numbers come from it.
    pub original_run_id: String,
    /// The run before this one, if it continues one.
    pub continued_run_id: Option<String>,
    /// The parent, for a child.
    pub parent: Option<Execution>,
    /// The top of the tree that it is in.
    pub root: Option<Execution>,
    /// Its place among others on its queue.
    pub priority: Option<Priority>,
    /// Values that travelled beside the arguments.
    pub headers: Headers,
    /// The result of the run before, for cron.
    pub last_result: RawArgs,
    /// Why the run before failed, for retries and cron.
    pub last_failure: Option<Error>,
    /// The memo it was started with.
    pub memo: BTreeMap<String, Payload>,
    /// The search attributes it was started with.
    pub search_attributes: SearchAttributes,
}

/// Another workflow and its run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Execution {
    /// The namespace, when it is told.
    pub namespace: String,
    /// The workflow id.
    pub workflow_id: String,
    /// The run id.
    pub run_id: String,
}

impl WorkflowInfo {
    pub(crate) fn new(
        namespace: &str,
        run: &WorkflowExecution,
        at: SystemTime,
        started: &WorkflowExecutionStartedEventAttributes,
    ) -> WorkflowInfo {
        let span = |span: &Option<prost_types::Duration>| {
            span.as_ref().map(|span| time::from_duration(Some(span))).filter(|span| !span.is_zero())
        };
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let original = &started.original_execution_run_id;
        let execution = |run: &WorkflowExecution, namespace: &str| Execution {
            namespace: namespace.to_owned(),
            workflow_id: run.workflow_id.clone(),
            run_id: run.run_id.clone(),
        };
        WorkflowInfo {
            namespace: namespace.to_owned(),
            workflow_id: run.workflow_id.clone(),
            run_id: run.run_id.clone(),
            workflow_type: started.workflow_type.clone().unwrap_or_default().name,
            task_queue: started.task_queue.clone().unwrap_or_default().name,
            attempt: started.attempt.max(1),
            started_at: at,
            execution_timeout: span(&started.workflow_execution_timeout),
            run_timeout: span(&started.workflow_run_timeout),
            task_timeout: span(&started.workflow_task_timeout).unwrap_or(Duration::from_secs(10)),
            retry: started.retry_policy.as_ref().map(RetryPolicy::from_proto),
            cron: text(&started.cron_schedule),
            first_run_id: started.first_execution_run_id.clone(),
            original_run_id: if original.is_empty() { run.run_id.clone() } else { original.clone() },
            continued_run_id: text(&started.continued_execution_run_id),
            parent: started
                .parent_workflow_execution
                .as_ref()
                .map(|run| execution(run, &started.parent_workflow_namespace)),
            root: started.root_workflow_execution.as_ref().map(|run| execution(run, "")),
            priority: started.priority.clone().map(Priority::from_proto),
            headers: started.header.clone().unwrap_or_default().fields,
            last_result: RawArgs(from_wire(started.last_completion_result.clone())),
            last_failure: started.continued_failure.clone().map(Error::from_failure),
            memo: started.memo.clone().unwrap_or_default().fields,
            search_attributes: SearchAttributes::from_proto(started.search_attributes.clone().unwrap_or_default()),
        }
    }
}
