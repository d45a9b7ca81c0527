"""Operators pause, unpause and reset activities of a workflow, at the wire."""

from __future__ import annotations

from typing import Any

import grpc
from temporalio.api.common.v1 import RetryPolicy, WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE
from support import trace, unique
from wire import (
    CALL_S,
    RawWorkflow,
    application_failure,
    duration,
    invalid,
    not_found,
    refusal_of,
    schedule_activity,
)

NOT_PENDING = "Can't find pending activity with such ID. Invalid activityID or activity already completed"
UNNAMED = "Either Activity.Id or Activity.Type should be set on request."


async def with_activity(api: WorkflowServiceStub, **fields: Any) -> RawWorkflow:
    """A workflow with one activity, called `a`, that is tried again after a tenth of a second."""
    workflow = await RawWorkflow.start(api, "controlled")
    fields.setdefault("retry_policy", RetryPolicy(initial_interval=duration(0.1), backoff_coefficient=1))
    await workflow.step(schedule_activity("a", workflow.task_queue, **fields))
    return workflow


def pause(workflow: RawWorkflow, **named: Any) -> Any:
    """Holds activities back."""
    request = service.PauseActivityRequest(
        namespace=NAMESPACE, execution=workflow.execution, identity="operator", reason="broken", **named
    )
    return workflow.api.PauseActivity(request, timeout=CALL_S)


def unpause(workflow: RawWorkflow, **named: Any) -> Any:
    """Lets activities go on."""
    request = service.UnpauseActivityRequest(namespace=NAMESPACE, execution=workflow.execution, **named)
    return workflow.api.UnpauseActivity(request, timeout=CALL_S)


def reset(workflow: RawWorkflow, **named: Any) -> Any:
    """Counts attempts anew."""
    request = service.ResetActivityRequest(namespace=NAMESPACE, execution=workflow.execution, **named)
    return workflow.api.ResetActivity(request, timeout=CALL_S)


async def pending(workflow: RawWorkflow) -> PendingActivityInfo:
    """The one activity as it stands."""
    request = service.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=workflow.execution)
    described = await workflow.api.DescribeWorkflowExecution(request, timeout=CALL_S)
    assert len(described.pending_activities) == 1
    return described.pending_activities[0]


def is_in(activity: PendingActivityInfo, state: str) -> bool:
    """Whether it is in that state."""
    return activity.state == PendingActivityState.Value(f"PENDING_ACTIVITY_STATE_{state}")


async def nothing_to_do(workflow: RawWorkflow) -> bool:
    """A worker that asks for an activity is sent home."""
    queue = TaskQueue(name=workflow.task_queue)
    request = service.PollActivityTaskQueueRequest(namespace=NAMESPACE, task_queue=queue, identity="idle")
    return not (await workflow.api.PollActivityTaskQueue(request, timeout=3)).task_token


async def heartbeat(workflow: RawWorkflow, token: bytes) -> service.RecordActivityTaskHeartbeatResponse:
    """A worker says that it is still there."""
    request = service.RecordActivityTaskHeartbeatRequest(namespace=NAMESPACE, task_token=token)
    return await workflow.api.RecordActivityTaskHeartbeat(request, timeout=CALL_S)


async def fail(workflow: RawWorkflow, token: bytes) -> None:
    """A worker reports a failure that may be tried again."""
    request = service.RespondActivityTaskFailedRequest(
        namespace=NAMESPACE, task_token=token, failure=application_failure("no")
    )
    await workflow.api.RespondActivityTaskFailed(request, timeout=CALL_S)


async def test_paused_activity_waits_for_its_operator(api: WorkflowServiceStub) -> None:
    """It is shown as paused, by whom and why; no worker gets it until it is let go. No event tells of it."""
    workflow = await with_activity(api)
    await pause(workflow, id="a")
    await pause(workflow, id="a")
    shown = await pending(workflow)
    assert shown.paused and is_in(shown, "PAUSED")
    assert (shown.pause_info.manual.identity, shown.pause_info.manual.reason) == ("operator", "broken")
    assert shown.pause_info.HasField("pause_time")
    assert await nothing_to_do(workflow)
    await unpause(workflow, id="a")
    task = await workflow.poll_activity()
    assert task.attempt == 1
    shown = await pending(workflow)
    assert not shown.paused and is_in(shown, "STARTED")
    assert trace(await workflow.events()) == "Started S B C ActivityTaskScheduled"


async def test_running_attempt_hears_of_its_pause(api: WorkflowServiceStub) -> None:
    """Its failure counts, and the next attempt waits, even if the policy allows none."""
    workflow = await with_activity(api, retry_policy=RetryPolicy(maximum_attempts=1))
    task = await workflow.poll_activity()
    await pause(workflow, type="Any")
    assert is_in(await pending(workflow), "PAUSE_REQUESTED")
    answer = await heartbeat(workflow, task.task_token)
    assert answer.activity_paused and not answer.cancel_requested
    await fail(workflow, task.task_token)
    shown = await pending(workflow)
    assert is_in(shown, "PAUSED") and shown.attempt == 2
    assert await nothing_to_do(workflow)
    await unpause(workflow, unpause_all=True)
    assert (await workflow.poll_activity()).attempt == 2


async def test_running_attempt_hears_of_its_reset(api: WorkflowServiceStub) -> None:
    """The first attempt may be reset: it goes on, and is told."""
    workflow = await with_activity(api)
    task = await workflow.poll_activity()
    await reset(workflow, id="a")
    answer = await heartbeat(workflow, task.task_token)
    assert answer.activity_reset and not answer.activity_paused
    await fail(workflow, task.task_token)
    assert (await workflow.poll_activity()).attempt == 2


async def test_reset_between_attempts_begins_with_the_first(api: WorkflowServiceStub) -> None:
    """At once, unless the activity is paused and to stay so."""
    long = RetryPolicy(initial_interval=duration(60))
    workflow = await with_activity(api, retry_policy=long)
    await fail(workflow, (await workflow.poll_activity()).task_token)
    assert (await pending(workflow)).attempt == 2
    await pause(workflow, id="a")
    await reset(workflow, id="a", keep_paused=True)
    shown = await pending(workflow)
    assert shown.paused and shown.attempt == 1
    await reset(workflow, id="a")
    assert (await workflow.poll_activity()).attempt == 1


async def test_what_cannot_be_controlled(api: WorkflowServiceStub) -> None:
    """Nothing is named, what is named is not there, the workflow is not there or closed."""
    workflow = await with_activity(api)
    for call in (pause, unpause, reset):
        invalid(await refusal_of(call(workflow)), UNNAMED)
        not_found(await refusal_of(call(workflow, id="b")), NOT_PENDING)
        not_found(await refusal_of(call(workflow, type="Other")), NOT_PENDING)
    await unpause(workflow, id="a")
    absent = RawWorkflow(api, unique("absent"), "")
    not_found(await refusal_of(pause(absent, id="a")), f"workflow not found for ID: {absent.workflow_id}")
    terminate = service.TerminateWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=workflow.execution)
    await api.TerminateWorkflowExecution(terminate, timeout=CALL_S)
    for call in (pause, unpause, reset):
        refused = await refusal_of(call(workflow, id="a"))
        not_found(refused, "workflow execution already completed")
    unaddressed = service.PauseActivityRequest(namespace=NAMESPACE, execution=WorkflowExecution(), id="a")
    refused = await refusal_of(api.PauseActivity(unaddressed, timeout=CALL_S))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
