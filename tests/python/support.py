"""What the tests share: unique names, waiting on conditions, workers, and histories as short text."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.json_format import MessageToDict
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

import workflows

DEADLINE_S = 30.0
POLL_EVERY_S = 0.05

# The words of the traces in the reference: a workflow task is scheduled, begun, completed, failed, timed out.
SHORT_NAMES = {
    "WorkflowTaskScheduled": "S",
    "WorkflowTaskStarted": "B",
    "WorkflowTaskCompleted": "C",
    "WorkflowTaskFailed": "F",
    "WorkflowTaskTimedOut": "T",
}


def unique(prefix: str) -> str:
    """A name that no other test uses: for workflow ids, task queues and request ids."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


async def eventually(condition: Callable[[], Awaitable[Any]], within_s: float = DEADLINE_S) -> Any:
    """Asks `condition` until its answer is truthy, and returns that answer."""
    async with asyncio.timeout(within_s):
        while not (answer := await condition()):
            await asyncio.sleep(POLL_EVERY_S)
        return answer


def worker_for(client: Client, task_queue: str, **options: Any) -> Worker:
    """A worker with every workflow of `workflows.py` unless told otherwise.

    Its sticky schedule-to-start timeout is one second, so that a test which stops it goes on soon.
    """
    options.setdefault("workflows", workflows.ALL)
    options.setdefault("sticky_queue_schedule_to_start_timeout", workflows.seconds(1))
    return Worker(client, task_queue=task_queue, **options)


async def events_of(handle: WorkflowHandle[Any, Any]) -> list[HistoryEvent]:
    """The whole history of a run, over all its pages."""
    return [event async for event in handle.fetch_history_events()]


async def wait_for_event(
    handle: WorkflowHandle[Any, Any], name: str, count: int = 1, within_s: float = DEADLINE_S
) -> HistoryEvent:
    """Follows the history by long poll until it has `count` events named `name` (as `event_name` gives it)."""
    async with asyncio.timeout(within_s):
        async for event in handle.fetch_history_events(wait_new_event=True):
            count -= event_name(event) == name
            if count == 0:
                return event
    raise AssertionError(f"the workflow closed without another {name}")


def event_name(event: HistoryEvent) -> str:
    """`EVENT_TYPE_WORKFLOW_TASK_STARTED` as `WorkflowTaskStarted`."""
    words = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").split("_")
    return "".join(word.capitalize() for word in words)


def names(events: list[HistoryEvent]) -> list[str]:
    """The names of events, in order."""
    return [event_name(event) for event in events]


def trace(events: list[HistoryEvent]) -> str:
    """A history in the reference's short form, such as `Started S B F(UNHANDLED_COMMAND) Signaled S`."""
    assert [event.event_id for event in events] == list(range(1, len(events) + 1)), "event ids have a gap"
    return " ".join(_short(event) for event in events)


def attributes(event: HistoryEvent) -> Any:
    """The attributes of an event, whichever its type."""
    return getattr(event, event.WhichOneof("attributes"))


def show(events: list[HistoryEvent]) -> str:
    """A history to read in a failed assertion."""
    return "\n".join(f"{event.event_id} {event_name(event)} {MessageToDict(attributes(event))}" for event in events)


def _short(event: HistoryEvent) -> str:
    name = event_name(event)
    if name == "WorkflowTaskFailed":
        cause = WorkflowTaskFailedCause.Name(event.workflow_task_failed_event_attributes.cause)
        return f"F({cause.removeprefix('WORKFLOW_TASK_FAILED_CAUSE_')})"
    return SHORT_NAMES.get(name) or re.sub("^WorkflowExecution", "", name)
