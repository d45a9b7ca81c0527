"""The workflows that the tests run. Each does one thing; tests name it by its class."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, CancelledError


def seconds(number: float | None) -> timedelta | None:
    """A duration; `None` stays unset."""
    return None if number is None else timedelta(seconds=number)


@dataclass
class ActivityCall:
    """An activity and its options, chosen by the test that starts the workflow. Times are in seconds."""

    name: str
    args: list[Any] = field(default_factory=list)
    activity_id: str | None = None
    task_queue: str | None = None
    start_to_close: float | None = None
    schedule_to_close: float | None = None
    schedule_to_start: float | None = None
    heartbeat: float | None = None
    max_attempts: int = 0
    first_interval: float = 0.2
    coefficient: float = 2.0
    non_retryable: list[str] = field(default_factory=list)

    def options(self) -> dict[str, Any]:
        """The keyword arguments of `workflow.start_activity`."""
        return {
            "args": self.args,
            "activity_id": self.activity_id,
            "task_queue": self.task_queue,
            "start_to_close_timeout": seconds(self.start_to_close),
            "schedule_to_close_timeout": seconds(self.schedule_to_close),
            "schedule_to_start_timeout": seconds(self.schedule_to_start),
            "heartbeat_timeout": seconds(self.heartbeat),
            "retry_policy": RetryPolicy(
                initial_interval=timedelta(seconds=self.first_interval),
                backoff_coefficient=self.coefficient,
                maximum_attempts=self.max_attempts,
                non_retryable_error_types=self.non_retryable,
            ),
        }


async def quick(name: str, *args: Any) -> Any:
    """Runs an activity that is expected to succeed."""
    return await workflow.execute_activity(name, args=args, start_to_close_timeout=timedelta(seconds=30))


@workflow.defn
class Hello:
    @workflow.run
    async def run(self, name: str) -> str:
        return await quick("greet", name)


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, value: Any) -> Any:
        return value


@workflow.defn
class EchoThroughActivity:
    @workflow.run
    async def run(self, value: str) -> str:
        return await quick("echo", value)


@workflow.defn
class CountUp:
    """Activities one after another, each adding one; then waits for `finish` if asked to."""

    def __init__(self) -> None:
        self._finish = False

    @workflow.run
    async def run(self, steps: int, wait: bool) -> int:
        number = 0
        for _ in range(steps):
            number = await quick("add_one", number)
        await workflow.wait_condition(lambda: self._finish or not wait)
        return number

    @workflow.signal
    def finish(self) -> None:
        self._finish = True


@workflow.defn
class FanOut:
    @workflow.run
    async def run(self, width: int) -> list[int]:
        return await asyncio.gather(*[quick("add_one", number) for number in range(width)])


@workflow.defn
class CallActivity:
    """Runs one activity with the test's own options, and fails as it fails."""

    @workflow.run
    async def run(self, call: ActivityCall) -> Any:
        return await workflow.execute_activity(call.name, **call.options())


@workflow.defn
class CancelActivity:
    """Starts an activity, cancels it when signalled and says how it ended."""

    def __init__(self) -> None:
        self._cancel = False

    @workflow.run
    async def run(self, call: ActivityCall) -> str:
        handle = workflow.start_activity(
            call.name,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            **call.options(),
        )
        await workflow.wait_condition(lambda: self._cancel)
        handle.cancel()
        try:
            return f"completed: {await handle}"
        except BaseException as error:
            cause = error.__cause__
            return f"cancelled {list(cause.details)}" if isinstance(cause, CancelledError) else repr(error)

    @workflow.signal
    def cancel(self) -> None:
        self._cancel = True


@workflow.defn
class Sleep:
    @workflow.run
    async def run(self, delay: float) -> float:
        before = workflow.time()
        await asyncio.sleep(delay)
        return workflow.time() - before


@workflow.defn
class SleepAll:
    """Several timers at once; returns the order in which they fired."""

    @workflow.run
    async def run(self, delays: list[float]) -> list[float]:
        fired: list[float] = []

        async def one(delay: float) -> None:
            await asyncio.sleep(delay)
            fired.append(delay)

        await asyncio.gather(*[one(delay) for delay in delays])
        return fired


@workflow.defn
class CancelTimer:
    """Waits an hour, unless a signal cancels the timer."""

    def __init__(self) -> None:
        self._enough = False

    @workflow.run
    async def run(self) -> str:
        timer = asyncio.create_task(asyncio.sleep(3600))
        await workflow.wait_condition(lambda: self._enough)
        timer.cancel()
        try:
            await timer
        except asyncio.CancelledError:
            return "cancelled"
        return "fired"

    @workflow.signal
    def enough(self) -> None:
        self._enough = True


@workflow.defn
class WaitForever:
    """Ends only by cancellation or termination; cleans up with an activity when cancelled."""

    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            await quick("echo", "cleaned up")
            raise


@workflow.defn
class Collect:
    """Gathers `count` signals and returns their values in the order of arrival."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    @workflow.run
    async def run(self, count: int) -> list[Any]:
        await workflow.wait_condition(lambda: len(self._values) >= count)
        return self._values

    @workflow.signal
    def add(self, value: Any) -> None:
        self._values.append(value)


@workflow.defn
class CollectDuringTask(Collect):
    """Keeps its first workflow task open in a local activity, so that signals meanwhile are buffered."""

    @workflow.run
    async def run(self, count: int) -> list[Any]:
        await workflow.execute_local_activity("hold", start_to_close_timeout=timedelta(seconds=30))
        await workflow.wait_condition(lambda: len(self._values) >= count)
        return self._values


@workflow.defn
class SendSignals:
    """Sends numbers to another workflow, all within one workflow task or one after another."""

    @workflow.run
    async def run(self, target: str, count: int, at_once: bool) -> str:
        other = workflow.get_external_workflow_handle(target)
        try:
            if at_once:
                await asyncio.gather(*[other.signal("add", number) for number in range(count)])
            else:
                for number in range(count):
                    await other.signal("add", number)
        except ApplicationError as error:
            return f"{error.type}: {error.message}"
        return "sent"


@workflow.defn
class Parent:
    """Runs a child and returns its result; fails as it fails."""

    @workflow.run
    async def run(self, child: str, child_id: str, argument: Any) -> Any:
        return await workflow.execute_child_workflow(child, argument, id=child_id)


@workflow.defn
class ParentOfMany:
    @workflow.run
    async def run(self, width: int) -> list[int]:
        own = workflow.info().workflow_id
        return await asyncio.gather(
            *[workflow.execute_child_workflow("Echo", number, id=f"{own}/{number}") for number in range(width)]
        )


@workflow.defn
class ParentThatSignals:
    """Starts a collecting child, signals it through its handle and returns what it collected."""

    @workflow.run
    async def run(self, count: int) -> list[Any]:
        child = await workflow.start_child_workflow("Collect", count, id=f"{workflow.info().workflow_id}/child")
        for number in range(count):
            await child.signal("add", number)
        return await child


@workflow.defn
class ParentThatLeaves:
    """Closes while its child runs; the child's parent close policy decides what becomes of it."""

    @workflow.run
    async def run(self, child_id: str, policy: int) -> str:
        child = await workflow.start_child_workflow(
            "WaitForever", id=child_id, parent_close_policy=workflow.ParentClosePolicy(policy)
        )
        return child.first_execution_run_id


@workflow.defn
class Fail:
    @workflow.run
    async def run(self, message: str) -> None:
        raise ApplicationError(message, {"code": 42}, ["more"], type="Unlucky", non_retryable=True)


@workflow.defn
class FailWithCause:
    @workflow.run
    async def run(self) -> None:
        try:
            raise ApplicationError("the reason", type="Inner")
        except ApplicationError as inner:
            raise ApplicationError("the outcome", type="Outer") from inner


@workflow.defn
class Account:
    """A balance that updates change, until a signal closes it."""

    def __init__(self) -> None:
        self._balance = 0
        self._opened = False
        self._closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self._closed)
        return self._balance

    @workflow.update
    def deposit(self, amount: int) -> int:
        self._balance += amount
        return self._balance

    @deposit.validator
    def check(self, amount: int) -> None:
        if amount < 0:
            raise ValueError(f"not {amount}")

    @workflow.update
    async def deposit_after_activity(self, amount: int) -> int:
        """Deposits one more than `amount`."""
        deposited = await quick("add_one", amount)
        self._balance += deposited
        return self._balance

    @workflow.update
    async def deposit_when_open(self, amount: int) -> int:
        await workflow.wait_condition(lambda: self._opened)
        return self.deposit(amount)

    @workflow.update
    def withdraw(self, amount: int) -> int:
        raise ApplicationError("not enough", amount, type="Poor")

    @workflow.signal
    def open(self) -> None:
        self._opened = True

    @workflow.signal
    def close(self) -> None:
        self._closed = True


@workflow.defn(name="Fixable")
class Broken:
    """A bug: an exception that is not Temporal's fails the workflow task, not the workflow."""

    @workflow.run
    async def run(self, name: str) -> str:
        await quick("greet", name)
        raise KeyError("a bug in workflow code")


@workflow.defn(name="Fixable")
class Fixed:
    """The same workflow after the deploy that fixes it."""

    @workflow.run
    async def run(self, name: str) -> str:
        return await quick("greet", name)


ALL = [
    *[Hello, Echo, EchoThroughActivity, CountUp, FanOut, CallActivity, CancelActivity, Sleep, SleepAll, CancelTimer],
    *[WaitForever, Collect, CollectDuringTask, SendSignals, Parent, ParentOfMany, ParentThatSignals, ParentThatLeaves],
    *[Fail, FailWithCause, Account],
]
