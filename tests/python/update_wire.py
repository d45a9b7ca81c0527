"""Updates at the wire: what clients ask, what workers say, and what refusals look like."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ResourceExhaustedCause, WorkflowTaskFailedCause
from temporalio.api.errordetails import v1 as details
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update import v1 as update
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE
from support import eventually, show, trace
from wire import CALL_S, RawWorkflow, Refusal, application_failure, command, json_payload

UNSPECIFIED, ADMITTED, ACCEPTED, COMPLETED = range(4)
ABORTED = "workflow update was aborted by closing workflow"
FAILING = "Unable to perform workflow execution update due to Workflow Task in failed state."
TASK_FAILED = "Unable to perform workflow execution update due to unexpected workflow task failure."
FAILED_CAUSE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
UPDATED = "S B C UpdateAccepted UpdateCompleted"


# What clients ask.


def update_request(workflow_id: str, update_id: str, **fields: Any) -> service.UpdateWorkflowExecutionRequest:
    """An update `u` that waits for its completion; `fields` replace any part."""
    request: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_execution": WorkflowExecution(workflow_id=workflow_id),
        "wait_policy": update.WaitPolicy(lifecycle_stage=COMPLETED),
        "request": update.Request(
            meta=update.Meta(update_id=update_id, identity="test"),
            input=update.Input(name="u", args=json_payload("1")),
        ),
    }
    return service.UpdateWorkflowExecutionRequest(**(request | fields))


def poll_request(workflow_id: str, update_id: str, stage: int) -> service.PollWorkflowExecutionUpdateRequest:
    """Asks how far an update is; below ACCEPTED the answer comes at once."""
    return service.PollWorkflowExecutionUpdateRequest(
        namespace=NAMESPACE,
        update_ref=update.UpdateRef(
            workflow_execution=WorkflowExecution(workflow_id=workflow_id), update_id=update_id
        ),
        wait_policy=update.WaitPolicy(lifecycle_stage=stage),
    )


async def ask(
    workflow: RawWorkflow, update_id: str, **fields: Any
) -> asyncio.Task[service.UpdateWorkflowExecutionResponse]:
    """Calls in the background; returns when the server has the update, though no worker has."""
    request = update_request(workflow.workflow_id, update_id, **fields)
    call = asyncio.create_task(call_update(workflow.api, request))
    await admitted(workflow, update_id, call)
    return call


async def admitted(
    workflow: RawWorkflow, update_id: str, call: asyncio.Task[service.UpdateWorkflowExecutionResponse]
) -> None:
    """Waits until the server has the update of a call."""
    request = poll_request(workflow.workflow_id, update_id, UNSPECIFIED)

    async def is_there() -> bool:
        try:
            await workflow.api.PollWorkflowExecutionUpdate(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
            return call.done()
        return True

    await eventually(is_there)


async def call_update(
    api: WorkflowServiceStub, request: service.UpdateWorkflowExecutionRequest
) -> service.UpdateWorkflowExecutionResponse:
    """Calls and waits for the answer."""
    return await api.UpdateWorkflowExecution(request, timeout=30)


async def idle(api: WorkflowServiceStub, **fields: Any) -> RawWorkflow:
    """A workflow whose first task is done: `Started S B C`."""
    workflow = await RawWorkflow.start(api, "update", **fields)
    await workflow.step()
    return workflow


async def asked(
    api: WorkflowServiceStub,
) -> tuple[RawWorkflow, asyncio.Task[service.UpdateWorkflowExecutionResponse], Any]:
    """An idle workflow, a caller of update `u`, and the task that brings it."""
    workflow = await idle(api)
    call = await ask(workflow, "u")
    return workflow, call, await workflow.poll()


# What workers say.


def accept(request: ProtocolMessage) -> ProtocolMessage:
    """Accepts what a task brought."""
    body = update.Acceptance(
        accepted_request_message_id=request.id, accepted_request_sequencing_event_id=request.event_id
    )
    return says(request.protocol_instance_id, "accept", body)


def reject(request: ProtocolMessage) -> ProtocolMessage:
    """Rejects what a task brought."""
    body = update.Rejection(rejected_request_message_id=request.id, failure=application_failure("no"))
    return says(request.protocol_instance_id, "reject", body)


def respond(update_id: str) -> ProtocolMessage:
    """Completes an update with 42."""
    outcome = update.Outcome(success=json_payload("42"))
    return says(update_id, "complete", update.Response(meta=update.Meta(update_id=update_id), outcome=outcome))


def says(update_id: str, kind: str, body: Message) -> ProtocolMessage:
    """A message of a worker."""
    packed = Packed()
    packed.Pack(body)
    return ProtocolMessage(id=f"{update_id}/{kind}", protocol_instance_id=update_id, body=packed)


def place(*messages: ProtocolMessage) -> list[Command]:
    """The commands that give messages their place."""
    return [command("protocol_message", message_id=message.id) for message in messages]


async def say(
    workflow: RawWorkflow, task: service.PollWorkflowTaskQueueResponse, *messages: ProtocolMessage, **fields: Any
) -> service.RespondWorkflowTaskCompletedResponse:
    """Completes a task with messages; commands name them, as SDKs do."""
    placed = [message for message in messages if not message.id.endswith("/reject")]
    return await workflow.complete(task, *place(*placed), messages=messages, **fields)


async def reject_all(workflow: RawWorkflow, count: int) -> None:
    """Rejects so many updates, however many tasks bring them."""
    while count > 0:
        task = await workflow.poll()
        await say(workflow, task, *[reject(message) for message in task.messages])
        count -= len(task.messages)


async def fail(workflow: RawWorkflow, task: service.PollWorkflowTaskQueueResponse) -> None:
    """A worker cannot do a task."""
    request = service.RespondWorkflowTaskFailedRequest(
        namespace=NAMESPACE, task_token=task.task_token, cause=FAILED_CAUSE, failure=application_failure("x")
    )
    await workflow.api.RespondWorkflowTaskFailed(request, timeout=CALL_S)


async def expect_trace(workflow: RawWorkflow, expected: str) -> None:
    """Checks the whole history of a run against its short form."""
    events = await workflow.events()
    assert trace(events) == expected, show(events)


def not_ready(refusal: Refusal, message: str) -> None:
    """Checks a refusal that says why a workflow cannot take updates now."""
    assert (refusal.code, refusal.message) == (grpc.StatusCode.FAILED_PRECONDITION, message)
    assert isinstance(refusal.detail, details.WorkflowNotReadyFailure)


def exhausted(refusal: Refusal, message: str, cause: str) -> None:
    """Checks a refusal that asks for patience."""
    assert (refusal.code, refusal.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, message)
    assert isinstance(refusal.detail, details.ResourceExhaustedFailure)
    assert ResourceExhaustedCause.Name(refusal.detail.cause) == f"RESOURCE_EXHAUSTED_CAUSE_{cause}"
