"""Workers that come, go and differ: caches, restarts, replays, two on one queue, a bug and its fix."""

from __future__ import annotations

import asyncio

import pytest
from temporalio import activity
from temporalio.client import Client

import activities
import workflows
from support import events_of, names, show, trace, unique, wait_for_event, worker_for


@pytest.mark.parametrize("cached", [0, 1])
async def test_small_workflow_cache(client: Client, cached: int) -> None:
    """With room for no or one workflow, others are evicted and replayed from history, with right results."""
    queue = unique(f"cache-{cached}")
    options = {"max_cached_workflows": cached, "activities": activities.ALL}
    async with worker_for(client, queue, **options):
        handles = [
            await client.start_workflow(workflows.CountUp.run, args=[3, True], id=f"{queue}/{i}", task_queue=queue)
            for i in range(4)
        ]
        for handle in handles:
            await wait_for_event(handle, "ActivityTaskCompleted", count=3)
        for handle in handles:
            await handle.signal(workflows.CountUp.finish)
        assert [await handle.result() for handle in handles] == [3, 3, 3, 3]


async def test_worker_restart_in_the_middle(client: Client) -> None:
    """A workflow begun on one worker is finished by another, which replays the history first."""
    queue = unique("restart")
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await client.start_workflow(workflows.CountUp.run, args=[3, True], id=queue, task_queue=queue)
        await wait_for_event(handle, "ActivityTaskCompleted", count=3)
    await handle.signal(workflows.CountUp.finish)
    async with worker_for(client, queue, activities=activities.ALL):
        assert await handle.result() == 3


async def test_activity_finishes_while_no_workflow_worker_runs(client: Client) -> None:
    """Workers may host workflows alone or activities alone; an activity's result waits for its workflow."""
    queue = unique("apart")
    async with worker_for(client, queue):
        handle = await client.start_workflow(workflows.Hello.run, "you", id=queue, task_queue=queue)
        await wait_for_event(handle, "ActivityTaskScheduled")
    async with worker_for(client, queue, workflows=[], activities=activities.ALL):
        await wait_for_event(handle, "ActivityTaskCompleted")
    async with worker_for(client, queue):
        assert await handle.result() == "Hello, you!"


async def test_long_history_is_replayed_by_a_fresh_worker(client: Client) -> None:
    """A history of more than one page (256 batches) reaches a new worker whole."""
    queue = unique("long")
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await client.start_workflow(workflows.CountUp.run, args=[100, True], id=queue, task_queue=queue)
        await wait_for_event(handle, "ActivityTaskCompleted", count=100)
    await handle.signal(workflows.CountUp.finish)
    async with worker_for(client, queue, activities=activities.ALL):
        assert await handle.result() == 100
    events = await events_of(handle)
    assert len(events) > 512
    assert [event.event_id for event in events] == list(range(1, len(events) + 1))


async def test_two_workers_share_one_queue(client: Client, second_client: Client) -> None:
    """Two workers that take one activity each run two activities at the same time."""
    queue = unique("two")
    meeting = asyncio.Barrier(2)

    def taking_part(name: str) -> object:
        @activity.defn(name="add_one")
        async def take_part(number: int) -> str:
            await meeting.wait()
            return name

        return take_part

    first = worker_for(client, queue, activities=[taking_part("first")], max_concurrent_activities=1)
    second = worker_for(second_client, queue, activities=[taking_part("second")], max_concurrent_activities=1)
    async with first, second:
        done = await client.execute_workflow("FanOut", 8, id=queue, task_queue=queue)
    assert sorted(done) == ["first"] * 4 + ["second"] * 4


async def test_twenty_workflows_over_two_workers(client: Client, second_client: Client) -> None:
    """Twenty workflows spread over two workers with all their activities and tasks all finish."""
    queue = unique("spread")
    options = {"activities": activities.ALL}
    async with worker_for(client, queue, **options), worker_for(second_client, queue, **options):
        results = await asyncio.gather(
            *[
                client.execute_workflow(workflows.CountUp.run, args=[5, False], id=f"{queue}/{i}", task_queue=queue)
                for i in range(20)
            ]
        )
    assert results == [5] * 20


async def test_bug_fails_the_task_and_the_fix_goes_on(client: Client) -> None:
    """A bug in workflow code fails workflow tasks only; the corrected code carries the same run to its end."""
    queue = unique("fix")
    async with worker_for(client, queue, workflows=[workflows.Broken], activities=activities.ALL):
        handle = await client.start_workflow("Fixable", "you", id=queue, task_queue=queue)
        failed = await wait_for_event(handle, "WorkflowTaskFailed")
    failure = failed.workflow_task_failed_event_attributes.failure
    assert "a bug in workflow code" in failure.message
    async with worker_for(client, queue, workflows=[workflows.Fixed], activities=activities.ALL):
        assert await handle.result() == "Hello, you!"
    assert names(await events_of(handle))[-1] == "WorkflowExecutionCompleted"


async def test_repeated_task_failures_leave_one_event(client: Client) -> None:
    """While a workflow task keeps failing, history holds one failure; the completing attempt's number shows."""
    queue = unique("attempts")
    options = {"workflows": [workflows.Broken], "activities": activities.ALL, "max_cached_workflows": 0}
    async with worker_for(client, queue, **options):
        handle = await client.start_workflow(
            "Fixable", "you", id=queue, task_queue=queue, task_timeout=workflows.seconds(1)
        )
        await wait_for_event(handle, "WorkflowTaskFailed")
    async with worker_for(client, queue, workflows=[workflows.Fixed], activities=activities.ALL):
        await handle.result()
    events = await events_of(handle)
    activity_events = "ActivityTaskScheduled ActivityTaskStarted ActivityTaskCompleted"
    failed = "F(WORKFLOW_WORKER_UNHANDLED_FAILURE)"
    assert trace(events) == f"Started S B C {activity_events} S B {failed} S B C Completed", show(events)
    assert events[10].workflow_task_scheduled_event_attributes.attempt > 1


async def test_timer_that_fires_without_a_worker(client: Client) -> None:
    """A timer fires while no worker runs; the worker that comes later goes on from there."""
    queue = unique("unattended")
    async with worker_for(client, queue):
        handle = await client.start_workflow(workflows.Sleep.run, 1.0, id=queue, task_queue=queue)
        await wait_for_event(handle, "TimerStarted")
    await wait_for_event(handle, "TimerFired")
    async with worker_for(client, queue):
        assert await handle.result() >= 0.99
