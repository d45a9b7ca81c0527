"""What happens to each workflow of the README while it is recorded: the client's side, the same for every SDK."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError

WITHIN_S = 30.0


class Worker(Protocol):
    """The worker of the SDK that is recorded."""

    def start(self) -> None:
        """Starts it."""

    def stop(self) -> None:
        """Ends it."""


@dataclass
class Stage:
    """What a scenario has at hand."""

    client: Client
    queue: str
    worker: Worker

    async def start(self, name: str, *args: Any, id: str | None = None, **more: Any) -> WorkflowHandle[Any, Any]:
        """Starts a workflow; the handle is of its first run."""
        handle = await self.client.start_workflow(name, args=args, id=id or name, task_queue=self.queue, **more)
        return self.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)


Play = Callable[[Stage, str], Awaitable[WorkflowHandle[Any, Any]]]


def alone(*args: Any) -> Play:
    """Nothing happens from outside."""

    async def play(stage: Stage, name: str) -> WorkflowHandle[Any, Any]:
        return await stage.start(name, *args)

    return play


def with_other(stage_id: str) -> Play:
    """A waiting workflow is there for it, whose id it gets."""

    async def play(stage: Stage, name: str) -> WorkflowHandle[Any, Any]:
        await stage.start("waiter", id=f"{name}-{stage_id}")
        return await stage.start(name, f"{name}-{stage_id}")

    return play


async def cancel_types(stage: Stage, name: str) -> WorkflowHandle[Any, Any]:
    """The signal comes when all activities run."""
    handle = await stage.start(name)
    await activities_run(handle, 3)
    await handle.signal("go", "now")
    return handle


async def clean_up(stage: Stage, name: str) -> WorkflowHandle[Any, Any]:
    """It is cancelled while its activity runs."""
    handle = await stage.start(name)
    await activities_run(handle, 1)
    await handle.cancel()
    return handle


async def cancelled(stage: Stage, name: str) -> WorkflowHandle[Any, Any]:
    """It is cancelled while it sleeps."""
    handle = await stage.start(name)
    await happened(handle, EventType.EVENT_TYPE_TIMER_STARTED)
    await handle.cancel()
    return handle


async def signals(stage: Stage, name: str) -> WorkflowHandle[Any, Any]:
    """One signal comes with the start, one later."""
    handle = await stage.start(name, start_signal="go", start_signal_args=["with"])
    await happened(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
    await handle.signal("go", "later")
    return handle


async def query(stage: Stage, name: str) -> WorkflowHandle[Any, Any]:
    """It is asked before and after its signal."""
    handle = await stage.start(name)
    assert await handle.query("status") == "waiting"
    await handle.signal("go", "up")
    await handle.result()
    assert await handle.query("status") == "done"
    return handle


async def update(stage: Stage, name: str) -> WorkflowHandle[Any, Any]:
    """One update is refused by the validator, the next one accepted."""
    handle = await stage.start(name)
    await happened(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
    try:
        await handle.execute_update("rename", "")
    except WorkflowUpdateFailedError:
        pass
    else:
        raise AssertionError("the validator let it pass")
    assert await handle.execute_update("rename", "Ada", id="rename-1") == "hello Ada"
    return handle


async def messages_first(stage: Stage, name: str) -> WorkflowHandle[Any, Any]:
    """Two signals are there before the workflow has run at all."""
    stage.worker.stop()
    handle = await stage.start(name)
    await handle.signal("add", "first")
    await handle.signal("add", "second")
    stage.worker.start()
    return handle


async def concurrent(stage: Stage, name: str) -> WorkflowHandle[Any, Any]:
    """One workflow task brings a signal, an update, and the end of a timer."""
    handle = await stage.start(name)
    await happened(handle, EventType.EVENT_TYPE_TIMER_STARTED)
    stage.worker.stop()
    await handle.signal("add", "signal")
    # The server keeps it in memory until a worker comes.
    put = asyncio.create_task(handle.execute_update("put", "update", id="put-1"))
    await happened(handle, EventType.EVENT_TYPE_TIMER_FIRED)
    stage.worker.start()
    assert await put == "1 update false"
    return handle


SCENARIOS: dict[str, Play] = {
    "activity": alone(),
    "activity_retry": alone(),
    "activity_by_name": alone(),
    "failure": alone(),
    "cancel_types": cancel_types,
    "local_activity": alone(),
    "timer": alone(),
    "deadline": alone(),
    "join": alone(),
    "join_all": alone(),
    "race": alone(),
    "branch": alone(),
    "scope": alone(),
    "clean_up": clean_up,
    "cancelled": cancelled,
    "child": alone(),
    "child_signalled": alone(),
    "signal_other": with_other("other"),
    "cancel_other": with_other("other"),
    "signals": signals,
    "query": query,
    "update": update,
    "messages_first": messages_first,
    "concurrent": concurrent,
    "continue_as_new": alone(1),
    "patched": alone(),
    "deprecate_patch": alone(),
    "version": alone(),
    "side_effect": alone(),
    "mutable_side_effect": alone(),
    "search_attributes": alone(),
    "memo": alone(),
}
"""By name of the workflow, which is its id as well."""


async def happened(handle: WorkflowHandle[Any, Any], kind: EventType.ValueType) -> None:
    """Returns once the history has an event of the kind."""
    await eventually(lambda: has_event(handle, kind), f"{handle.id}: no {EventType.Name(kind)}")


async def has_event(handle: WorkflowHandle[Any, Any], kind: EventType.ValueType) -> bool:
    return any(event.event_type == kind for event in (await handle.fetch_history()).events)


async def activities_run(handle: WorkflowHandle[Any, Any], count: int) -> None:
    """Returns once so many activities run."""

    async def they_run() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        started = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        return sum(activity.state == started for activity in pending) == count

    await eventually(they_run, f"{handle.id}: the activities do not run")


async def eventually(condition: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Asks until it holds."""
    deadline = time.monotonic() + WITHIN_S
    while not await condition():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.02)
