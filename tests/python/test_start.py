"""StartWorkflowExecution at the wire: validation, request ids, and the policies for ids in use."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from temporalio.api.common.v1 import RetryPolicy, WorkflowType
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, WorkflowExecutionAlreadyStartedFailure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE
from support import trace, unique
from wire import (
    CALL_S,
    RawWorkflow,
    application_failure,
    command,
    complete_workflow,
    duration,
    invalid,
    json_payload,
    refusal_of,
    start_request,
)

REUSE = {name.removeprefix("WORKFLOW_ID_REUSE_POLICY_"): value for name, value in WorkflowIdReusePolicy.items()}
CONFLICT = {
    name.removeprefix("WORKFLOW_ID_CONFLICT_POLICY_"): value for name, value in WorkflowIdConflictPolicy.items()
}
NEGATIVE = "An invalid {}Seconds is set on request. cause: negative duration"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workflow_id": ""}, "WorkflowId is not set on request."),
        ({"workflow_id": "i" * 1001}, "WorkflowId exceeds maximum allowed length (1001/1000)"),
        ({"workflow_type": WorkflowType()}, "WorkflowType is not set on request."),
        ({"task_queue": TaskQueue()}, "missing task queue name"),
        ({"task_queue": TaskQueue(name="/_sys/mine")}, "task queue name cannot start with reserved prefix /_sys/"),
        ({"workflow_run_timeout": duration(-1)}, NEGATIVE.format("WorkflowRunTimeout")),
        ({"workflow_execution_timeout": duration(-1)}, NEGATIVE.format("WorkflowExecutionTimeout")),
        ({"workflow_task_timeout": duration(-1)}, NEGATIVE.format("WorkflowTaskTimeout")),
        ({"request_id": "r" * 1001}, "RequestId length exceeds limit."),
        (
            {"retry_policy": RetryPolicy(backoff_coefficient=0.5)},
            "BackoffCoefficient cannot be less than 1 on retry policy.",
        ),
        ({"retry_policy": RetryPolicy(maximum_attempts=-1)}, "MaximumAttempts cannot be negative on retry policy."),
        ({"input": json_payload('"' + "x" * 2 * 1024 * 1024 + '"')}, "Blob data size exceeds limit."),
        (
            {
                "workflow_id_conflict_policy": CONFLICT["TERMINATE_EXISTING"],
                "workflow_id_reuse_policy": REUSE["REJECT_DUPLICATE"],
            },
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with "
            "WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
        ),
        (
            {
                "workflow_id_conflict_policy": CONFLICT["FAIL"],
                "workflow_id_reuse_policy": REUSE["TERMINATE_IF_RUNNING"],
            },
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together "
            "with a WorkflowIDConflictPolicy",
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
async def test_invalid_start(api: WorkflowServiceStub, fields: dict[str, Any], message: str) -> None:
    """A start that breaks one rule is refused as invalid, with the text that names the rule."""
    request = start_request(unique("invalid"), **fields)
    invalid(await refusal_of(api.StartWorkflowExecution(request, timeout=CALL_S)), message)


async def test_start_without_namespace(api: WorkflowServiceStub) -> None:
    """A request that names no namespace is invalid."""
    request = start_request(unique("nowhere"), namespace="")
    invalid(await refusal_of(api.StartWorkflowExecution(request, timeout=CALL_S)), "Namespace is empty.")


async def test_start_in_unknown_namespace(api: WorkflowServiceStub) -> None:
    """A namespace that does not exist is NotFound, with the detail that names it."""
    name = unique("nowhere")
    refusal = await refusal_of(api.StartWorkflowExecution(start_request(name, namespace=name), timeout=CALL_S))
    assert (refusal.code, refusal.message) == (grpc.StatusCode.NOT_FOUND, f"Namespace {name} is not found.")
    assert refusal.detail == NamespaceNotFoundFailure(namespace=name)


async def test_longest_valid_id(api: WorkflowServiceStub) -> None:
    """An id of exactly 1000 bytes is accepted."""
    workflow_id = unique("long").ljust(1000, "i")
    started = await api.StartWorkflowExecution(start_request(unique("queue"), workflow_id=workflow_id), timeout=CALL_S)
    assert started.started


async def test_what_start_writes(api: WorkflowServiceStub) -> None:
    """The first event carries the request's fields and the normalised timeouts."""
    workflow = await RawWorkflow.start(
        api,
        "first-event",
        input=json_payload('"in"'),
        workflow_execution_timeout=duration(60),
        workflow_run_timeout=duration(90),
    )
    events = await workflow.events()
    assert trace(events) == "Started S"
    started = events[0].workflow_execution_started_event_attributes
    assert started.workflow_type.name == "Any"
    assert started.task_queue.name == workflow.task_queue
    assert started.input == json_payload('"in"')
    assert started.workflow_execution_timeout == duration(60)
    assert started.workflow_run_timeout == duration(60), "capped by the execution timeout"
    assert started.workflow_task_timeout == duration(10), "the default"
    assert started.original_execution_run_id == started.first_execution_run_id == workflow.run_id
    assert (started.attempt, started.identity, started.workflow_id) == (1, "test", workflow.workflow_id)
    scheduled = events[1].workflow_task_scheduled_event_attributes
    assert (scheduled.attempt, scheduled.start_to_close_timeout) == (1, duration(10))


@pytest.mark.parametrize("closed", [False, True], ids=["running", "closed"])
async def test_same_request_id_starts_once(api: WorkflowServiceStub, closed: bool) -> None:
    """A repeated start gives the first one's run, as started, even when that run has closed meanwhile."""
    request_id = unique("request")
    workflow = await RawWorkflow.start(api, "idempotent", request_id=request_id)
    if closed:
        await workflow.step(complete_workflow())
    again = await api.StartWorkflowExecution(start_request(workflow.workflow_id, request_id=request_id), timeout=CALL_S)
    assert (again.run_id, again.started) == (workflow.run_id, True)


async def test_already_started_detail(api: WorkflowServiceStub) -> None:
    """The refusal names the running run, its first run and the request that started it."""
    request_id = unique("request")
    workflow = await RawWorkflow.start(api, "detail", request_id=request_id)
    refusal = await refusal_of(api.StartWorkflowExecution(start_request(workflow.workflow_id), timeout=CALL_S))
    assert refusal.code == grpc.StatusCode.ALREADY_EXISTS
    assert refusal.message.startswith("Workflow execution is already running.")
    assert refusal.detail == WorkflowExecutionAlreadyStartedFailure(
        start_request_id=request_id, run_id=workflow.run_id, first_execution_run_id=workflow.run_id
    )


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [("UNSPECIFIED", "refused"), ("FAIL", "refused"), ("USE_EXISTING", "joined"), ("TERMINATE_EXISTING", "replaced")],
)
async def test_conflict_policy(api: WorkflowServiceStub, policy: str, outcome: str) -> None:
    """While a run is open the conflict policy decides: refuse, join it or replace it."""
    workflow = await RawWorkflow.start(api, "conflict")
    request = start_request(workflow.workflow_id, workflow_id_conflict_policy=CONFLICT[policy])
    if outcome == "refused":
        refusal = await refusal_of(api.StartWorkflowExecution(request, timeout=CALL_S))
        assert isinstance(refusal.detail, WorkflowExecutionAlreadyStartedFailure)
        return
    answer = await api.StartWorkflowExecution(request, timeout=CALL_S)
    assert answer.started == (outcome == "replaced")
    assert (answer.run_id == workflow.run_id) == (outcome == "joined")
    first_run = trace(await workflow.events())
    assert first_run == ("Started S Terminated" if outcome == "replaced" else "Started S")


async def test_terminate_if_running(api: WorkflowServiceStub) -> None:
    """The deprecated reuse policy TERMINATE_IF_RUNNING still replaces a running run."""
    workflow = await RawWorkflow.start(api, "terminate-if-running")
    request = start_request(workflow.workflow_id, workflow_id_reuse_policy=REUSE["TERMINATE_IF_RUNNING"])
    answer = await api.StartWorkflowExecution(request, timeout=CALL_S)
    assert answer.started
    assert answer.run_id != workflow.run_id
    assert trace(await workflow.events()) == "Started S Terminated"


ENDINGS = ["completed", "failed", "canceled", "terminated"]
ALLOWED = {
    "UNSPECIFIED": ENDINGS,
    "ALLOW_DUPLICATE": ENDINGS,
    "ALLOW_DUPLICATE_FAILED_ONLY": ["failed", "canceled", "terminated"],
    "REJECT_DUPLICATE": [],
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_reuse_policy(api: WorkflowServiceStub, ending: str) -> None:
    """Once a run has closed, the reuse policy and the way it closed decide whether its id may be used again."""
    for policy, allowed in ALLOWED.items():
        workflow = await RawWorkflow.start(api, "reuse")
        await close(api, workflow, ending)
        request = start_request(workflow.workflow_id, workflow_id_reuse_policy=REUSE[policy])
        if ending in allowed:
            answer = await api.StartWorkflowExecution(request, timeout=CALL_S)
            assert answer.started and answer.run_id != workflow.run_id, policy
        else:
            refusal = await refusal_of(api.StartWorkflowExecution(request, timeout=CALL_S))
            assert refusal.code == grpc.StatusCode.ALREADY_EXISTS, policy
            assert refusal.message.startswith("Workflow execution already finished")
            assert isinstance(refusal.detail, WorkflowExecutionAlreadyStartedFailure)
            assert refusal.detail.run_id == workflow.run_id


async def test_use_existing_needs_an_open_run(api: WorkflowServiceStub) -> None:
    """With USE_EXISTING and no open run, a start makes a new one."""
    workflow = await RawWorkflow.start(api, "use-existing")
    await close(api, workflow, "completed")
    request = start_request(workflow.workflow_id, workflow_id_conflict_policy=CONFLICT["USE_EXISTING"])
    answer = await api.StartWorkflowExecution(request, timeout=CALL_S)
    assert answer.started
    assert answer.run_id != workflow.run_id


async def close(api: WorkflowServiceStub, workflow: RawWorkflow, ending: str) -> None:
    """Ends a run in one of the ways of `ENDINGS`."""
    if ending == "terminated":
        request = service.TerminateWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=workflow.execution)
        await api.TerminateWorkflowExecution(request, timeout=CALL_S)
        return
    commands = {
        "completed": complete_workflow(),
        "failed": command("fail_workflow_execution", failure=application_failure("no")),
        "canceled": command("cancel_workflow_execution"),
    }
    await workflow.step(commands[ending])
