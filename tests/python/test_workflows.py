"""One workflow at a time: results, failures, timers, payloads, cancellation, termination."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)

import activities
import workflows
from support import events_of, names, show, trace, unique, wait_for_event, worker_for


async def test_hello_with_one_activity(client: Client) -> None:
    """A workflow runs one activity and returns its result; the history is the textbook one."""
    queue = unique("hello")
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await client.start_workflow(workflows.Hello.run, "world", id=queue, task_queue=queue)
        assert await handle.result() == "Hello, world!"
    events = await events_of(handle)
    activity = "ActivityTaskScheduled ActivityTaskStarted ActivityTaskCompleted"
    assert trace(events) == f"Started S B C {activity} S B C Completed", show(events)


async def test_start_by_name_from_any_client(client: Client) -> None:
    """A workflow is started by its string name alone, with a JSON argument."""
    queue = unique("by-name")
    async with worker_for(client, queue):
        value = {"text": "ünïcode", "list": [1, 2.5, None, True]}
        assert await client.execute_workflow("Echo", value, id=queue, task_queue=queue) == value


async def test_fifty_activities_in_sequence(client: Client) -> None:
    """Fifty activities run one after another, each seeing the result of the one before."""
    queue = unique("sequence")
    async with worker_for(client, queue, activities=activities.ALL):
        result = await client.execute_workflow(workflows.CountUp.run, args=[50, False], id=queue, task_queue=queue)
    assert result == 50


async def test_fifty_activities_at_once(client: Client) -> None:
    """Fifty activities run in parallel and each result reaches its own caller."""
    queue = unique("fan-out")
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await client.start_workflow(workflows.FanOut.run, 50, id=queue, task_queue=queue)
        assert await handle.result() == list(range(1, 51))
    events = names(await events_of(handle))
    assert events.count("ActivityTaskScheduled") == 50
    assert events.count("ActivityTaskCompleted") == 50


async def test_workflow_failure_keeps_type_and_details(client: Client) -> None:
    """An ApplicationError reaches the caller with message, type, details and the non-retryable mark."""
    queue = unique("fail")
    async with worker_for(client, queue):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(workflows.Fail.run, "no luck", id=queue, task_queue=queue)
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.message, cause.type, cause.non_retryable) == ("no luck", "Unlucky", True)
    assert list(cause.details) == [{"code": 42}, ["more"]]
    description = await client.get_workflow_handle(queue).describe()
    assert description.status == WorkflowExecutionStatus.FAILED


async def test_workflow_failure_keeps_its_cause(client: Client) -> None:
    """A chain of causes reaches the caller link by link."""
    queue = unique("cause")
    async with worker_for(client, queue):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(workflows.FailWithCause.run, id=queue, task_queue=queue)
    outer = failed.value.cause
    assert isinstance(outer, ApplicationError)
    assert isinstance(outer.cause, ApplicationError)
    assert (outer.type, outer.cause.type, outer.cause.message) == ("Outer", "Inner", "the reason")


async def test_timer_fires_after_its_time(client: Client) -> None:
    """A timer fires not before its duration, by the history's own clock."""
    queue = unique("sleep")
    async with worker_for(client, queue):
        handle = await client.start_workflow(workflows.Sleep.run, 1.0, id=queue, task_queue=queue)
        assert 0.99 <= await handle.result() < 4
    events = await events_of(handle)
    assert trace(events) == "Started S B C TimerStarted TimerFired S B C Completed", show(events)
    assert events[5].timer_fired_event_attributes.started_event_id == 5


async def test_timers_fire_in_order_of_time(client: Client) -> None:
    """Of several timers started together, the earlier one fires first whatever the order of starting."""
    queue = unique("timers")
    async with worker_for(client, queue):
        delays = [1.6, 0.4, 2.2, 1.0]
        fired = await client.execute_workflow(workflows.SleepAll.run, delays, id=queue, task_queue=queue)
    assert fired == sorted(delays)


async def test_timer_is_cancelled(client: Client) -> None:
    """A cancelled timer leaves TimerCanceled and does not hold the workflow up."""
    queue = unique("cancel-timer")
    async with worker_for(client, queue):
        handle = await client.start_workflow(workflows.CancelTimer.run, id=queue, task_queue=queue)
        await wait_for_event(handle, "TimerStarted")
        await handle.signal(workflows.CancelTimer.enough)
        assert await handle.result() == "cancelled"
    events = await events_of(handle)
    assert trace(events) == "Started S B C TimerStarted Signaled S B C TimerCanceled Completed", show(events)


async def test_one_mebibyte_payloads(client: Client) -> None:
    """A payload of 1 MiB passes through start, activity input, activity result and workflow result."""
    queue = unique("large")
    value = "ab" * (512 * 1024)
    async with worker_for(client, queue, activities=activities.ALL):
        result = await client.execute_workflow(workflows.EchoThroughActivity.run, value, id=queue, task_queue=queue)
    assert result == value


async def test_terminate(client: Client) -> None:
    """Termination closes a run at once, with its reason and details, and no worker is asked."""
    queue = unique("terminate")
    async with worker_for(client, queue):
        handle = await client.start_workflow(workflows.WaitForever.run, id=queue, task_queue=queue)
        await wait_for_event(handle, "WorkflowTaskCompleted")
        await handle.terminate("why", reason="enough of it")
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, TerminatedError)
    assert failed.value.cause.message == "enough of it"
    assert (await handle.describe()).status == WorkflowExecutionStatus.TERMINATED
    last = (await events_of(handle))[-1].workflow_execution_terminated_event_attributes
    assert last.reason == "enough of it"
    assert [payload.data for payload in last.details.payloads] == [b'"why"']


async def test_cancel_request_lets_the_workflow_clean_up(client: Client) -> None:
    """A cancel request reaches workflow code, which runs one more activity before it ends as cancelled."""
    queue = unique("cancel")
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await client.start_workflow(workflows.WaitForever.run, id=queue, task_queue=queue)
        await wait_for_event(handle, "WorkflowTaskCompleted")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    events = await events_of(handle)
    activity = "ActivityTaskScheduled ActivityTaskStarted ActivityTaskCompleted"
    assert trace(events) == f"Started S B C CancelRequested S B C {activity} S B C Canceled", show(events)


async def test_workflow_id_is_unique_while_it_runs(client: Client) -> None:
    """A second start of a running id is refused with the typed error that names the running run."""
    queue = unique("twice")
    first = await client.start_workflow("Echo", 1, id=queue, task_queue=queue)
    with pytest.raises(WorkflowAlreadyStartedError) as refused:
        await client.start_workflow("Echo", 2, id=queue, task_queue=queue)
    assert refused.value.run_id == first.result_run_id
    joined = await client.start_workflow(
        "Echo", 3, id=queue, task_queue=queue, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )
    assert joined.result_run_id == first.result_run_id


async def test_run_timeout(client: Client) -> None:
    """A run that outlives its run timeout ends as timed out."""
    queue = unique("run-timeout")
    async with worker_for(client, queue):
        handle = await client.start_workflow(
            workflows.WaitForever.run, id=queue, task_queue=queue, run_timeout=workflows.seconds(1)
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert type(failed.value.cause).__name__ == "TimeoutError"
    assert (await handle.describe()).status == WorkflowExecutionStatus.TIMED_OUT
