"""The SDK's own environment for tests in skipped time, on our program under the name of the original's test server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import TimeoutError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from server import binary, is_genuine

pytestmark = pytest.mark.skipif(is_genuine(), reason="the genuine test server is another program, to be downloaded")

# More than a test takes by itself.
A_WHILE = timedelta(minutes=5)


@activity.defn
async def third_attempt() -> int:
    """Fails twice."""
    attempt = activity.info().attempt
    if attempt < 3:
        raise RuntimeError(f"attempt {attempt}")
    return attempt


@workflow.defn(sandboxed=False)
class Patient:
    """Waits for days, and then for an activity that is tried again after hours; or for a signal."""

    def __init__(self) -> None:
        self._called = 0

    @workflow.run
    async def run(self, days: int) -> int:
        await workflow.sleep(timedelta(days=days))
        return await workflow.execute_activity(
            third_attempt,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(initial_interval=timedelta(hours=5)),
        )

    @workflow.signal
    def call(self) -> None:
        self._called += 1

    @workflow.query
    def called(self) -> int:
        return self._called


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[WorkflowEnvironment]:
    """A test server that ends with the test."""
    program = tmp_path / "temporal-test-server"
    program.symlink_to(binary().resolve())
    async with await WorkflowEnvironment.start_time_skipping(test_server_existing_path=str(program)) as started:
        yield started


@pytest.fixture
async def worker(env: WorkflowEnvironment) -> AsyncIterator[Worker]:
    """A worker of that server."""
    async with Worker(env.client, task_queue="q", workflows=[Patient], activities=[third_attempt]) as running:
        yield running


async def test_a_month_and_hours_of_retries_are_skipped(env: WorkflowEnvironment, worker: Worker) -> None:
    """The client that waits for the result lets the clock skip over a timer and two pauses between attempts."""
    start = await env.get_current_time()
    assert await env.client.execute_workflow(Patient.run, 30, id="patient", task_queue=worker.task_queue) == 3
    passed = await env.get_current_time() - start
    assert timedelta(days=30, hours=15) <= passed < timedelta(days=30, hours=15) + A_WHILE


async def test_the_clock_stands_between_sleeps(env: WorkflowEnvironment, worker: Worker) -> None:
    """Sleeps of the test move the clock; signals and queries do not."""
    start = await env.get_current_time()
    handle = await env.client.start_workflow(Patient.run, 30, id="patient", task_queue=worker.task_queue)
    for day in range(1, 4):
        await env.sleep(timedelta(days=1))
        await handle.signal(Patient.call)
        assert await handle.query(Patient.called) == day
    assert timedelta(days=3) <= await env.get_current_time() - start < timedelta(days=3) + A_WHILE


async def test_a_workflow_times_out_in_skipped_time(env: WorkflowEnvironment, worker: Worker) -> None:
    """The run timeout comes before the timer."""
    start = await env.get_current_time()
    with pytest.raises(WorkflowFailureError) as failed:
        await env.client.execute_workflow(
            Patient.run, 30, id="patient", task_queue=worker.task_queue, run_timeout=timedelta(days=2)
        )
    assert isinstance(failed.value.cause, TimeoutError)
    assert timedelta(days=2) <= await env.get_current_time() - start < timedelta(days=2) + A_WHILE
