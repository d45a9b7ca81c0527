//! Starting workflows: StartWorkflowExecution and SignalWithStartWorkflowExecution.

use std::collections::BTreeMap;

use mainspring_api::v1::{
    common::{Link, link},
    enums::{EventType, WorkflowIdConflictPolicy as ConflictPolicy, WorkflowIdReusePolicy as ReusePolicy},
    workflow::OnConflictOptions,
    workflowservice::{
        PollWorkflowTaskQueueResponse, SignalWithStartWorkflowExecutionRequest,
        SignalWithStartWorkflowExecutionResponse, StartWorkflowExecutionRequest, StartWorkflowExecutionResponse,
    },
};
use mainspring_engine::{
    input::{Input, OnConflict, Signal, Start},
    outcome::{Reply, StartedRun},
    retry,
};
use mainspring_history::Namespace;
use tonic::Status;

use crate::{
    Frontend,
    error::{self, About, invalid, not_implemented},
    search_attributes, validate,
};

impl Frontend {
    pub(crate) async fn start_workflow_execution(
        &self,
        request: StartWorkflowExecutionRequest,
    ) -> Result<StartWorkflowExecutionResponse, Status> {
        let namespace = self.namespace_for_starts(&request.namespace)?;
        let start = self.start(&namespace, request, ConflictPolicy::Fail)?;
        let (workflow_id, request_id) = (start.workflow_id.clone(), start.request_id.clone());
        let (started, eager_workflow_task) =
            self.started(&namespace, &workflow_id, Input::Start(Box::new(start))).await?;
        Ok(response(&namespace.name, &workflow_id, started, request_id, eager_workflow_task))
    }

    /// A start that comes with something else, checked as one by itself.
    pub(crate) fn checked_start(
        &self,
        namespace: &Namespace,
        request: StartWorkflowExecutionRequest,
    ) -> Result<Start, Status> {
        self.start(namespace, request, ConflictPolicy::Fail)
    }

    pub(crate) async fn signal_with_start(
        &self,
        request: SignalWithStartWorkflowExecutionRequest,
    ) -> Result<SignalWithStartWorkflowExecutionResponse, Status> {
        let namespace = self.namespace_for_starts(&request.namespace)?;
        let (start, mut signal) = split(request);
        let start = self.start(&namespace, start, ConflictPolicy::UseExisting)?;
        if signal.name.is_empty() {
            return Err(invalid("signal not set"));
        }
        validate::optional(&signal.name, "SignalName", &self.shared.limits)?;
        validate::blob(signal.input.as_ref(), &self.shared.limits)?;
        signal.request_id.clone_from(&start.request_id);
        let (workflow_id, request_id) = (start.workflow_id.clone(), start.request_id.clone());
        let input = Input::SignalWithStart(Box::new(start), Box::new(signal));
        let (started, _) = self.started(&namespace, &workflow_id, input).await?;
        Ok(SignalWithStartWorkflowExecutionResponse {
            signal_link: Some(signal_link(&namespace.name, &workflow_id, &started.run_id, request_id)),
            run_id: started.run_id,
            first_execution_run_id: started.first_run_id,
            started: started.started,
        })
    }

    /// The run that answers a start and, if the caller is to begin with it at once, its first workflow task.
    async fn started(
        &self,
        namespace: &Namespace,
        workflow_id: &str,
        input: Input,
    ) -> Result<(StartedRun, Option<PollWorkflowTaskQueueResponse>), Status> {
        let reuse_policy = match &input {
            Input::Start(start) | Input::SignalWithStart(start, _) => start.reuse_policy,
            _ => ReusePolicy::Unspecified,
        };
        let about = About { workflow_id, reuse_policy, ..About::default() };
        let answer = self.shared.history.call(namespace.id, workflow_id, input).await;
        let answer = answer.map_err(|error| error::status(error, &about))?;
        match answer.reply {
            Reply::Started(started) => Ok((started, None)),
            Reply::StartedEagerly(started, task) => {
                let task = self.workflow_task(&task, answer.run, &answer.tail, BTreeMap::new()).await?;
                Ok((started, Some(task)))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The engine's start: everything checked, defaults filled in. The order of the checks decides which text a
    /// request with several faults gets.
    fn start(
        &self,
        namespace: &Namespace,
        request: StartWorkflowExecutionRequest,
        conflict_default: ConflictPolicy,
    ) -> Result<Start, Status> {
        let limits = &self.shared.limits;
        validate::workflow_id(&request.workflow_id, limits)?;
        let retry_policy = request.retry_policy.map(|policy| retry::with_defaults(Some(policy)));
        if let Some(policy) = &retry_policy {
            retry::validate(policy).map_err(invalid)?;
        }
        let start_delay = validate::span(request.workflow_start_delay.as_ref(), "WorkflowStartDelay")?;
        if !request.cron_schedule.is_empty() && !start_delay.is_zero() {
            return Err(invalid("CronSchedule and WorkflowStartDelay may not be used together."));
        }
        mainspring_engine::validate_cron(&request.cron_schedule).map_err(invalid)?;
        let workflow_type = request.workflow_type.unwrap_or_default().name;
        validate::required(&workflow_type, "WorkflowType", limits)?;
        let task_queue = validate::task_queue(request.task_queue, limits)?;
        let execution_timeout =
            validate::span(request.workflow_execution_timeout.as_ref(), "WorkflowExecutionTimeout")?;
        let run_timeout = validate::span(request.workflow_run_timeout.as_ref(), "WorkflowRunTimeout")?;
        let task_timeout = validate::span(request.workflow_task_timeout.as_ref(), "WorkflowTaskTimeout")?;
        validate::optional(&request.request_id, "RequestId", limits)?;
        let (reuse_policy, conflict_policy) =
            id_policies(request.workflow_id_reuse_policy, request.workflow_id_conflict_policy, conflict_default)?;
        let mut search_attributes = request.search_attributes.unwrap_or_default().indexed_fields;
        search_attributes::check(namespace, &mut search_attributes).map_err(invalid)?;
        validate::priority(request.priority.as_ref())?;
        validate::links(&request.links)?;
        validate::blob(request.input.as_ref(), limits)?;
        validate::memo(request.memo.as_ref(), limits)?;
        refuse_unless(request.completion_callbacks.is_empty(), "completion_callbacks")?;
        refuse_unless(request.versioning_override.is_none(), "versioning_override")?;
        let on_conflict = request.on_conflict_options.map(on_conflict).transpose()?;
        refuse_unless(request.time_skipping_config.is_none(), "time_skipping_config")?;
        Ok(Start {
            namespace_id: namespace.id.to_string(),
            namespace: namespace.name.clone(),
            workflow_id: request.workflow_id,
            workflow_type,
            task_queue,
            input: request.input,
            execution_timeout,
            run_timeout,
            task_timeout,
            identity: request.identity,
            request_id: self.request_id(request.request_id),
            reuse_policy,
            conflict_policy,
            retry_policy,
            cron_schedule: request.cron_schedule,
            memo: request.memo.unwrap_or_default().fields,
            search_attributes,
            header: request.header,
            start_delay,
            last_completion_result: request.last_completion_result,
            continued_failure: request.continued_failure,
            user_metadata: request.user_metadata,
            links: request.links,
            priority: request.priority,
            eager: request.request_eager_execution,
            on_conflict,
            ..Start::default()
        })
    }

    /// A request that names none gets one of its own, and so is not deduplicated.
    fn request_id(&self, given: String) -> String {
        if !given.is_empty() {
            return given;
        }
        self.random_uuid().to_string()
    }
}

/// What a signal-with-start has in common with a start, and its signal.
fn split(request: SignalWithStartWorkflowExecutionRequest) -> (StartWorkflowExecutionRequest, Signal) {
    let signal = Signal {
        name: request.signal_name,
        input: request.signal_input,
        identity: request.identity.clone(),
        header: request.header.clone(),
        links: request.links.clone(),
        ..Signal::default()
    };
    let start = StartWorkflowExecutionRequest {
        namespace: request.namespace,
        workflow_id: request.workflow_id,
        workflow_type: request.workflow_type,
        task_queue: request.task_queue,
        input: request.input,
        workflow_execution_timeout: request.workflow_execution_timeout,
        workflow_run_timeout: request.workflow_run_timeout,
        workflow_task_timeout: request.workflow_task_timeout,
        identity: request.identity,
        request_id: request.request_id,
        workflow_id_reuse_policy: request.workflow_id_reuse_policy,
        workflow_id_conflict_policy: request.workflow_id_conflict_policy,
        retry_policy: request.retry_policy,
        cron_schedule: request.cron_schedule,
        memo: request.memo,
        search_attributes: request.search_attributes,
        header: request.header,
        workflow_start_delay: request.workflow_start_delay,
        user_metadata: request.user_metadata,
        links: request.links,
        versioning_override: request.versioning_override,
        priority: request.priority,
        time_skipping_config: request.time_skipping_config,
        ..StartWorkflowExecutionRequest::default()
    };
    (start, signal)
}

/// Both policies with their defaults; the deprecated TERMINATE_IF_RUNNING is told as a conflict policy.
fn id_policies(reuse: i32, conflict: i32, default: ConflictPolicy) -> Result<(ReusePolicy, ConflictPolicy), Status> {
    let reuse = ReusePolicy::try_from(reuse).unwrap_or(ReusePolicy::Unspecified);
    let conflict = ConflictPolicy::try_from(conflict).unwrap_or(ConflictPolicy::Unspecified);
    #[expect(deprecated, reason = "old SDKs still send it")]
    let terminate_if_running = ReusePolicy::TerminateIfRunning;
    match (reuse, conflict) {
        (reuse, ConflictPolicy::Unspecified) if reuse == terminate_if_running => {
            Ok((ReusePolicy::AllowDuplicate, ConflictPolicy::TerminateExisting))
        }
        (reuse, _) if reuse == terminate_if_running => Err(invalid(format!(
            "Invalid WorkflowIDReusePolicy: {} cannot be used together with a WorkflowIDConflictPolicy",
            reuse.as_str_name()
        ))),
        (ReusePolicy::RejectDuplicate, ConflictPolicy::TerminateExisting) => Err(invalid(format!(
            "Invalid WorkflowIDReusePolicy: {} cannot be used together with WorkflowIdConflictPolicy {}",
            reuse.as_str_name(),
            conflict.as_str_name()
        ))),
        _ => {
            let reuse = if reuse == ReusePolicy::Unspecified { ReusePolicy::AllowDuplicate } else { reuse };
            let conflict = if conflict == ConflictPolicy::Unspecified { default } else { conflict };
            Ok((reuse, conflict))
        }
    }
}

/// What a run that is used as it stands takes over from the request.
fn on_conflict(options: OnConflictOptions) -> Result<OnConflict, Status> {
    if options.attach_completion_callbacks && !options.attach_request_id {
        return Err(invalid("attaching request ID is required for attaching completion callbacks"));
    }
    // Callbacks themselves are refused above, so there are none to attach.
    Ok(OnConflict { attach_request_id: options.attach_request_id, attach_links: options.attach_links })
}

/// The answer to a start.
pub(crate) fn response(
    namespace: &str,
    workflow_id: &str,
    started: StartedRun,
    request_id: String,
    eager_workflow_task: Option<PollWorkflowTaskQueueResponse>,
) -> StartWorkflowExecutionResponse {
    let reference = start_reference(&started, request_id);
    StartWorkflowExecutionResponse {
        link: Some(link(namespace, workflow_id, &started.run_id, reference)),
        run_id: started.run_id,
        first_execution_run_id: started.first_run_id,
        started: started.started,
        status: started.status as i32,
        eager_workflow_task,
    }
}

/// What the answer to a start points at: the event that the request wrote.
fn start_reference(started: &StartedRun, request_id: String) -> link::workflow_event::Reference {
    use link::workflow_event::{EventReference, Reference, RequestIdReference};
    if started.attached {
        let event_type = EventType::WorkflowExecutionOptionsUpdated as i32;
        Reference::RequestIdRef(RequestIdReference { request_id, event_type })
    } else {
        Reference::EventRef(EventReference { event_id: 1, event_type: EventType::WorkflowExecutionStarted as i32 })
    }
}

/// A field that would change what the run does must not be dropped in silence.
fn refuse_unless(unused: bool, field: &str) -> Result<(), Status> {
    if unused { Ok(()) } else { Err(not_implemented(&format!("{field} of a start"))) }
}

/// The link to a signal: its event's id may not be known yet, the request that sent it is.
pub(crate) fn signal_link(namespace: &str, workflow_id: &str, run_id: &str, request_id: String) -> Link {
    let reference = link::workflow_event::Reference::RequestIdRef(link::workflow_event::RequestIdReference {
        request_id,
        event_type: EventType::WorkflowExecutionSignaled as i32,
    });
    link(namespace, workflow_id, run_id, reference)
}

pub(crate) fn link(
    namespace: &str,
    workflow_id: &str,
    run_id: &str,
    reference: link::workflow_event::Reference,
) -> Link {
    let event = link::WorkflowEvent {
        namespace: namespace.to_owned(),
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
        reference: Some(reference),
    };
    Link { variant: Some(link::Variant::WorkflowEvent(event)) }
}

/// The engine answered an input with the reply of another: a bug, told as such.
pub(crate) fn unexpected(reply: &Reply) -> Status {
    tracing::error!(?reply, "the engine gave a reply that does not fit its input");
    Status::internal("unexpected reply")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(reuse: ReusePolicy, conflict: ConflictPolicy) -> Result<(ReusePolicy, ConflictPolicy), String> {
        let result = id_policies(reuse as i32, conflict as i32, ConflictPolicy::Fail);
        result.map_err(|status| status.message().to_owned())
    }

    #[test]
    fn policies_have_defaults() {
        let defaults = policies(ReusePolicy::Unspecified, ConflictPolicy::Unspecified);
        assert_eq!(defaults, Ok((ReusePolicy::AllowDuplicate, ConflictPolicy::Fail)));
        let result = id_policies(0, 0, ConflictPolicy::UseExisting).unwrap();
        assert_eq!(result.1, ConflictPolicy::UseExisting);
    }

    #[test]
    #[expect(deprecated, reason = "old SDKs still send it")]
    fn terminate_if_running_is_a_conflict_policy_and_goes_with_no_other() {
        let alone = policies(ReusePolicy::TerminateIfRunning, ConflictPolicy::Unspecified);
        assert_eq!(alone, Ok((ReusePolicy::AllowDuplicate, ConflictPolicy::TerminateExisting)));
        let text = policies(ReusePolicy::TerminateIfRunning, ConflictPolicy::Fail).unwrap_err();
        assert!(text.ends_with("cannot be used together with a WorkflowIDConflictPolicy"), "{text}");
    }

    #[test]
    fn replacing_and_rejecting_exclude_each_other() {
        let text = policies(ReusePolicy::RejectDuplicate, ConflictPolicy::TerminateExisting).unwrap_err();
        assert_eq!(
            text,
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with \
             WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING"
        );
    }
}
