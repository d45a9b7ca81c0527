"""Activities: retries, the four timeouts, heartbeats, cancellation and completion from outside."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.client import (
    AsyncActivityCancelledError,
    AsyncActivityHandle,
    Client,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError
from temporalio.service import RPCError, RPCStatusCode

import activities
import workflows
from support import attributes, event_name, events_of, eventually, names, unique, wait_for_event, worker_for
from workflows import ActivityCall


async def start_call(client: Client, queue: str, call: ActivityCall) -> WorkflowHandle[Any, Any]:
    """Starts the workflow that runs `call`."""
    return await client.start_workflow(workflows.CallActivity.run, call, id=queue, task_queue=queue)


async def failure_of(handle: WorkflowHandle[Any, Any]) -> ActivityError:
    """The ActivityError that the workflow failed with."""
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ActivityError)
    return failed.value.cause


async def closing_pair(handle: WorkflowHandle[Any, Any]) -> tuple[Any, Any]:
    """The attributes of the ActivityTaskStarted event and of the event that closes the activity."""
    events = await events_of(handle)
    started = [event for event in events if event_name(event) == "ActivityTaskStarted"]
    assert len(started) == 1, "retries leave no events"
    closing = events[started[0].event_id]
    assert attributes(closing).started_event_id == started[0].event_id
    return attributes(started[0]), attributes(closing)


async def test_retry_until_success(client: Client) -> None:
    """The third attempt succeeds; history shows one start, with attempt 3 and the failure before it."""
    queue = unique("retry")
    async with worker_for(client, queue, activities=activities.ALL):
        call = ActivityCall("fail_until", [3], start_to_close=10, first_interval=0.2)
        handle = await start_call(client, queue, call)
        assert await handle.result() == 3
    started, _ = await closing_pair(handle)
    assert started.attempt == 3
    assert started.last_failure.message == "attempt 2 failed"
    assert started.last_failure.application_failure_info.type == "NotYet"


async def test_retry_backs_off(client: Client) -> None:
    """The waits between attempts grow by the coefficient from the first interval on."""
    queue = unique("backoff")
    moments: list[float] = []

    @activity.defn(name="note_moment")
    async def note_moment() -> None:
        moments.append(time.monotonic())
        if len(moments) < 4:
            raise ApplicationError("again")

    async with worker_for(client, queue, activities=[note_moment]):
        call = ActivityCall("note_moment", start_to_close=10, first_interval=0.3, coefficient=2)
        await (await start_call(client, queue, call)).result()
    waits = [later - earlier for earlier, later in itertools.pairwise(moments)]
    for wait, least in zip(waits, [0.3, 0.6, 1.2], strict=True):
        assert least - 0.02 <= wait <= least + 1.5, waits


async def test_retries_end_at_maximum_attempts(client: Client) -> None:
    """After the last permitted attempt the workflow sees that attempt's failure."""
    queue = unique("max-attempts")
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await start_call(client, queue, ActivityCall("fail_until", [0], start_to_close=10, max_attempts=3))
        error = await failure_of(handle)
    assert error.retry_state.value == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED
    assert isinstance(error.cause, ApplicationError)
    assert (error.cause.message, list(error.cause.details)) == ("attempt 3 failed", [3])


@pytest.mark.parametrize("by_policy", [True, False], ids=["listed type", "marked error"])
async def test_non_retryable_failure(client: Client, by_policy: bool) -> None:
    """A type listed in the policy, or an error marked so, is not retried."""
    queue = unique("non-retryable")
    listed = ["Fatal"] if by_policy else []
    call = ActivityCall("fail_as", ["Fatal", not by_policy], start_to_close=10, non_retryable=listed)
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await start_call(client, queue, call)
        error = await failure_of(handle)
    assert error.retry_state.value == RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE
    assert isinstance(error.cause, ApplicationError)
    assert error.cause.type == "Fatal"
    started, closing = await closing_pair(handle)
    assert (started.attempt, closing.retry_state) == (1, RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE)


async def test_schedule_to_start_timeout(client: Client) -> None:
    """An activity that no worker takes ends without ever starting, and is not retried."""
    queue = unique("schedule-to-start")
    call = ActivityCall("echo", ["x"], task_queue=unique("nobody"), schedule_to_start=1, start_to_close=10)
    async with worker_for(client, queue):
        handle = await start_call(client, queue, call)
        error = await failure_of(handle)
    assert isinstance(error.cause, TimeoutError)
    assert error.cause.type.value == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
    assert error.cause.message == "activity ScheduleToStart timeout"
    assert "ActivityTaskStarted" not in names(await events_of(handle))


async def test_start_to_close_timeout_is_retried(client: Client) -> None:
    """An attempt that takes too long is given up and retried, up to the maximum of attempts."""
    queue = unique("start-to-close")
    call = ActivityCall("never_end", start_to_close=1, max_attempts=2)
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await start_call(client, queue, call)
        error = await failure_of(handle)
    assert isinstance(error.cause, TimeoutError)
    assert error.cause.type.value == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
    started, closing = await closing_pair(handle)
    assert started.attempt == 2
    assert started.last_failure.message == "activity StartToClose timeout"
    assert closing.retry_state == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED


async def test_schedule_to_close_timeout(client: Client) -> None:
    """The bound over all attempts ends a hanging activity, whatever its attempts may still be."""
    queue = unique("schedule-to-close")
    call = ActivityCall("never_end", schedule_to_close=1.5, start_to_close=60)
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await start_call(client, queue, call)
        error = await failure_of(handle)
    assert isinstance(error.cause, TimeoutError)
    _, closing = await closing_pair(handle)
    assert closing.failure.timeout_failure_info.timeout_type == error.cause.type.value
    assert closing.retry_state == RetryState.RETRY_STATE_TIMEOUT
    assert error.cause.type.value == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE


async def test_retry_past_the_deadline_is_a_failure(client: Client) -> None:
    """When the next backoff would pass schedule-to-close, the attempt's own failure ends the activity."""
    queue = unique("past-deadline")
    call = ActivityCall("fail_until", [0], schedule_to_close=2, start_to_close=2, first_interval=0.7)
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await start_call(client, queue, call)
        error = await failure_of(handle)
    assert isinstance(error.cause, ApplicationError)
    assert error.cause.message == "attempt 2 failed"
    assert error.retry_state.value == RetryState.RETRY_STATE_TIMEOUT


async def test_heartbeat_timeout(client: Client) -> None:
    """An activity that stops its heartbeats times out and hands over the details of the last one."""
    queue = unique("heartbeat")
    call = ActivityCall("heartbeat_once_then_hang", ["half way"], start_to_close=60, heartbeat=1, max_attempts=1)
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await start_call(client, queue, call)
        error = await failure_of(handle)
    assert isinstance(error.cause, TimeoutError)
    assert error.cause.type.value == TimeoutType.TIMEOUT_TYPE_HEARTBEAT
    assert error.cause.message == "activity Heartbeat timeout"
    assert list(error.cause.last_heartbeat_details) == ["half way"]


async def test_heartbeat_details_reach_the_next_attempt(client: Client) -> None:
    """Each attempt goes on from the details of the one before."""
    queue = unique("resume")
    call = ActivityCall("resume_from_heartbeat", [4], start_to_close=10, heartbeat=5, first_interval=0.05)
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await start_call(client, queue, call)
        assert await handle.result() == [0, 1, 2, 3]
    started, _ = await closing_pair(handle)
    assert started.attempt == 5


async def test_cancel_reaches_a_heartbeating_activity(client: Client) -> None:
    """A cancelled activity learns of it by a heartbeat, cleans up and ends as cancelled with its details."""
    queue = unique("cancel-activity")

    @activity.defn(name="tick")
    async def tick() -> None:
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.1)
        except asyncio.CancelledError as error:
            raise asyncio.CancelledError("cleaned up") from error

    async with worker_for(client, queue, activities=[tick]):
        call = ActivityCall("tick", start_to_close=30, heartbeat=2)
        handle = await client.start_workflow(workflows.CancelActivity.run, call, id=queue, task_queue=queue)
        await eventually(lambda: has_started_activity(handle))
        await handle.signal(workflows.CancelActivity.cancel)
        assert (await handle.result()).startswith("cancelled")
    order = [name for name in names(await events_of(handle)) if name.startswith("ActivityTask")]
    assert order == [
        *["ActivityTaskScheduled", "ActivityTaskCancelRequested", "ActivityTaskStarted", "ActivityTaskCanceled"]
    ]


async def test_cancel_before_the_start_is_immediate(client: Client) -> None:
    """An activity that no worker has taken is cancelled within the same workflow task."""
    queue = unique("cancel-early")
    async with worker_for(client, queue):
        call = ActivityCall("tick", start_to_close=30, task_queue=unique("nobody"))
        handle = await client.start_workflow(workflows.CancelActivity.run, call, id=queue, task_queue=queue)
        await wait_for_event(handle, "ActivityTaskScheduled")
        await handle.signal(workflows.CancelActivity.cancel)
        assert await handle.result() == "cancelled ['ACTIVITY_ID_NOT_STARTED']"


async def start_asynchronous(client: Client, queue: str) -> tuple[WorkflowHandle[Any, Any], bytes]:
    """Runs an activity that leaves its completion to others; returns its workflow and its task token."""
    taken: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    @activity.defn(name="leave_open")
    async def leave_open() -> None:
        taken.set_result(activity.info().task_token)
        activity.raise_complete_async()

    async with worker_for(client, queue, activities=[leave_open]):
        call = ActivityCall("leave_open", activity_id="open", start_to_close=60, max_attempts=1)
        handle = await start_call(client, queue, call)
        return handle, await asyncio.wait_for(taken, 20)


def open_activity(client: Client, handle: WorkflowHandle[Any, Any], token: bytes, by: str) -> AsyncActivityHandle:
    """The activity from outside: by its token, or by workflow id and activity id."""
    if by == "token":
        return client.get_async_activity_handle(task_token=token)
    return client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="open")


@pytest.mark.parametrize("by", ["token", "id"])
async def test_complete_from_outside(client: Client, by: str) -> None:
    """An activity left open is completed once by another client; the second completion finds nothing."""
    queue = unique("outside")
    handle, token = await start_asynchronous(client, queue)
    outside = open_activity(client, handle, token, by)
    await outside.heartbeat("still at it")
    await outside.complete("done elsewhere")
    with pytest.raises(RPCError) as refused:
        await outside.complete("again")
    assert refused.value.status == RPCStatusCode.NOT_FOUND
    async with worker_for(client, queue):
        assert await handle.result() == "done elsewhere"


@pytest.mark.parametrize("by", ["token", "id"])
async def test_fail_from_outside(client: Client, by: str) -> None:
    """An activity left open is failed by another client, with a typed error."""
    queue = unique("outside-fail")
    handle, token = await start_asynchronous(client, queue)
    await open_activity(client, handle, token, by).fail(ApplicationError("no", type="Elsewhere"))
    async with worker_for(client, queue):
        error = await failure_of(handle)
    assert isinstance(error.cause, ApplicationError)
    assert (error.cause.message, error.cause.type) == ("no", "Elsewhere")


async def test_cancel_an_activity_left_open(client: Client) -> None:
    """The one who completes from outside learns of the cancellation by its heartbeat and reports it."""
    queue = unique("outside-cancel")
    taken: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    @activity.defn(name="leave_open")
    async def leave_open() -> None:
        taken.set_result(activity.info().task_token)
        activity.raise_complete_async()

    async with worker_for(client, queue, activities=[leave_open]):
        call = ActivityCall("leave_open", start_to_close=60)
        handle = await client.start_workflow(workflows.CancelActivity.run, call, id=queue, task_queue=queue)
        outside = client.get_async_activity_handle(task_token=await asyncio.wait_for(taken, 20))
        await handle.signal(workflows.CancelActivity.cancel)
        await wait_for_event(handle, "ActivityTaskCancelRequested")
        with pytest.raises(AsyncActivityCancelledError):
            await outside.heartbeat()
        await outside.report_cancellation("rolled back")
        assert await handle.result() == "cancelled ['rolled back']"


async def test_large_result_fails_the_activity(client: Client) -> None:
    """A result over 2 MiB is replaced by a failure that is not retried; the workflow goes on."""
    queue = unique("too-large")
    async with worker_for(client, queue, activities=activities.ALL, disable_payload_error_limit=True):
        call = ActivityCall("large", [2 * 1024 * 1024 + 1], start_to_close=10)
        error = await failure_of(await start_call(client, queue, call))
    assert "exceeds size limit" in str(error.cause)


async def has_started_activity(handle: WorkflowHandle[Any, Any]) -> bool:
    """True when the workflow's one pending activity has been taken by a worker."""
    pending = (await handle.describe()).raw_description.pending_activities
    return bool(pending) and pending[0].state == 2
