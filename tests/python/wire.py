"""The API at the wire: refusals with their details, and a worker that speaks plain gRPC.

Tests use it for what an SDK cannot show: exact error texts, malformed requests, commands of one's own choice.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api import errordetails, failure
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import ActivityType, GrpcStatus, Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType, TaskQueueKind
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE
from support import unique

CALL_S = 10.0
POLL_S = 20.0


@dataclass
class Refusal:
    """What a refused call says: its code, its text and its first detail, if any."""

    code: grpc.StatusCode
    message: str
    detail: Message | None


async def refusal_of(call: Awaitable[Any]) -> Refusal:
    """The refusal of a call that must not succeed."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return Refusal(error.code(), error.details() or "", _first_detail(error))


def not_found(refusal: Refusal, message: str) -> None:
    """Checks that a refusal is NotFound with this text and the detail that always comes with it."""
    assert (refusal.code, refusal.message) == (grpc.StatusCode.NOT_FOUND, message)
    assert isinstance(refusal.detail, errordetails.v1.NotFoundFailure)


def invalid(refusal: Refusal, message: str) -> None:
    """Checks that a refusal is InvalidArgument with this text and no detail."""
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT, refusal
    assert refusal.message == message
    assert refusal.detail is None


def start_request(name: str, /, **fields: Any) -> service.StartWorkflowExecutionRequest:
    """A minimal valid start, its workflow id and its task queue both called `name`; `fields` replace any part."""
    request: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_id": name,
        "workflow_type": WorkflowType(name="Any"),
        "task_queue": TaskQueue(name=name),
        "identity": "test",
        "request_id": unique("request"),
    }
    return service.StartWorkflowExecutionRequest(**(request | fields))


def signal_request(execution: WorkflowExecution, **fields: Any) -> service.SignalWorkflowExecutionRequest:
    """A signal named `any`."""
    request: dict[str, Any] = {"namespace": NAMESPACE, "workflow_execution": execution, "signal_name": "any"}
    return service.SignalWorkflowExecutionRequest(**(request | fields))


def json_payload(text: str) -> Payloads:
    """One JSON payload."""
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=text.encode())])


def duration(seconds: float) -> Duration:
    """A protobuf duration."""
    converted = Duration()
    converted.FromTimedelta(timedelta(seconds=seconds))
    return converted


def application_failure(message: str, *, non_retryable: bool = False) -> failure.v1.Failure:
    """A failure such as an activity or workflow reports."""
    info = failure.v1.ApplicationFailureInfo(type="Test", non_retryable=non_retryable)
    return failure.v1.Failure(message=message, application_failure_info=info)


@dataclass
class RawWorkflow:
    """One workflow with a task queue of its own, driven step by step over plain gRPC."""

    api: WorkflowServiceStub
    workflow_id: str
    run_id: str
    task_queue: str = field(default="")
    sticky_queue: str = field(default="")

    @property
    def execution(self) -> WorkflowExecution:
        """This very run."""
        return WorkflowExecution(workflow_id=self.workflow_id, run_id=self.run_id)

    @classmethod
    async def start(cls, api: WorkflowServiceStub, prefix: str, **fields: Any) -> RawWorkflow:
        """Starts a workflow with a unique id and queue."""
        workflow_id = unique(prefix)
        started = await api.StartWorkflowExecution(start_request(workflow_id, **fields), timeout=CALL_S)
        return cls(api, workflow_id, started.run_id, workflow_id, f"{workflow_id}/sticky")

    async def poll(self, *, sticky: bool = False) -> service.PollWorkflowTaskQueueResponse:
        """Takes the next workflow task; fails when none comes."""
        queue = TaskQueue(name=self.task_queue)
        if sticky:
            kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY
            queue = TaskQueue(name=self.sticky_queue, kind=kind, normal_name=self.task_queue)
        task = await self.api.PollWorkflowTaskQueue(
            service.PollWorkflowTaskQueueRequest(namespace=NAMESPACE, task_queue=queue, identity="test"),
            timeout=POLL_S,
        )
        assert task.task_token, "no workflow task came"
        return task

    async def complete(
        self, task: service.PollWorkflowTaskQueueResponse, *commands: Command, sticky: bool = False, **fields: Any
    ) -> service.RespondWorkflowTaskCompletedResponse:
        """Completes a workflow task with commands."""
        request = service.RespondWorkflowTaskCompletedRequest(
            namespace=NAMESPACE, task_token=task.task_token, commands=commands, identity="test", **fields
        )
        if sticky:
            queue = TaskQueue(
                name=self.sticky_queue, kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name=self.task_queue
            )
            request.sticky_attributes.CopyFrom(
                StickyExecutionAttributes(worker_task_queue=queue, schedule_to_start_timeout=duration(10))
            )
        return await self.api.RespondWorkflowTaskCompleted(request, timeout=CALL_S)

    async def step(self, *commands: Command) -> service.PollWorkflowTaskQueueResponse:
        """Polls for a task and completes it; returns the task."""
        task = await self.poll()
        await self.complete(task, *commands)
        return task

    async def poll_activity(self) -> service.PollActivityTaskQueueResponse:
        """Takes the next activity task; fails when none comes."""
        task = await self.api.PollActivityTaskQueue(
            service.PollActivityTaskQueueRequest(
                namespace=NAMESPACE, task_queue=TaskQueue(name=self.task_queue), identity="test"
            ),
            timeout=POLL_S,
        )
        assert task.task_token, "no activity task came"
        return task

    async def signal(self, **fields: Any) -> None:
        """Signals this run."""
        await self.api.SignalWorkflowExecution(signal_request(self.execution, **fields), timeout=CALL_S)

    async def describe(self) -> service.DescribeWorkflowExecutionResponse:
        """Describes this run."""
        request = service.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=self.execution)
        return await self.api.DescribeWorkflowExecution(request, timeout=CALL_S)

    async def events(self) -> list[HistoryEvent]:
        """The whole history of this run."""
        events: list[HistoryEvent] = []
        request = service.GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE, execution=self.execution)
        while True:
            page = await self.api.GetWorkflowExecutionHistory(request, timeout=CALL_S)
            events.extend(page.history.events)
            if not page.next_page_token:
                return events
            request.next_page_token = page.next_page_token

    async def closed(self) -> HistoryEvent:
        """Waits, by long poll, for the event that closes the run."""
        request = service.GetWorkflowExecutionHistoryRequest(
            namespace=NAMESPACE, execution=self.execution, wait_new_event=True, history_event_filter_type=2
        )
        while True:
            page = await self.api.GetWorkflowExecutionHistory(request, timeout=30)
            if page.history.events:
                return page.history.events[0]
            request.next_page_token = page.next_page_token


def command(kind: str, **attributes: Any) -> Command:
    """A command such as `command("start_timer", timer_id="1", ...)`, named as its attributes field is."""
    field_name = f"{kind}_command_attributes"
    message = Command(command_type=CommandType.Value(f"COMMAND_TYPE_{kind.upper()}"))
    target = getattr(message, field_name)
    target.SetInParent()
    target.MergeFrom(type(target)(**attributes))
    return message


def complete_workflow(result: str = "null") -> Command:
    """The command that ends a workflow well."""
    return command("complete_workflow_execution", result=json_payload(result))


def start_timer(timer_id: str, seconds: float = 3600) -> Command:
    """The command that starts a timer."""
    return command("start_timer", timer_id=timer_id, start_to_fire_timeout=duration(seconds))


def schedule_activity(activity_id: str, task_queue: str, **fields: Any) -> Command:
    """The command that schedules an activity; ten minutes from schedule to close unless told otherwise."""
    attributes: dict[str, Any] = {
        "activity_id": activity_id,
        "activity_type": ActivityType(name="Any"),
        "task_queue": TaskQueue(name=task_queue),
        "schedule_to_close_timeout": duration(600),
    }
    return command("schedule_activity_task", **(attributes | fields))


def _first_detail(error: grpc.aio.AioRpcError) -> Message | None:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return _unpack(GrpcStatus.FromString(value))
    return None


def _unpack(status: GrpcStatus) -> Message | None:
    if not status.details:
        return None
    name = status.details[0].type_url.rpartition(".")[2]
    detail = getattr(errordetails.v1, name)()
    assert status.details[0].Unpack(detail)
    return detail
