"""The workflows of the README, with the Python SDK."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ActivityCancellationType

KEYWORD = SearchAttributeKey.for_keyword("InteropKeyword")
LONG = timedelta(hours=1)


@activity.defn
async def greet(name: str) -> str:
    """Answers at once."""
    return f"hello {name}"


@activity.defn
async def flaky(fails: int) -> int:
    """Fails so many times, then gives the number of the attempt."""
    attempt = activity.info().attempt
    if attempt <= fails:
        raise ApplicationError(f"attempt {attempt}", type="Flaky")
    return attempt


@activity.defn
async def refuse() -> None:
    """Fails for good, with details."""
    raise ApplicationError("never", "because", 7, type="Refused", non_retryable=True)


@activity.defn
async def hold() -> None:
    """Runs until it is cancelled."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.05)


@activity.defn
async def describe(count: int, sku: str, gift: bool) -> str:
    """Takes several arguments."""
    return f"{count} {sku} {gift}".lower()


ACTIVITIES = [greet, flaky, refuse, hold, describe]


def call_greet(name: str) -> workflow.ActivityHandle[str]:
    """Schedules `greet`."""
    return workflow.start_activity(greet, name, start_to_close_timeout=timedelta(seconds=10))


def call_describe(*args: int | str | bool) -> workflow.ActivityHandle[str]:
    """Schedules `describe`, by its name."""
    limit = timedelta(seconds=10)
    return workflow.start_activity("describe", args=args, result_type=str, start_to_close_timeout=limit)


def call_hold(kind: ActivityCancellationType) -> workflow.ActivityHandle[None]:
    """Schedules `hold`."""
    return workflow.start_activity(
        hold,
        start_to_close_timeout=timedelta(seconds=60),
        heartbeat_timeout=timedelta(seconds=1),
        retry_policy=RetryPolicy(maximum_attempts=1),
        cancellation_type=kind,
    )


async def cancel(task: asyncio.Future[Any]) -> None:
    """Cancels, and waits until it is done."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@workflow.defn(name="activity")
class Activity:
    @workflow.run
    async def run(self) -> str:
        return await call_greet("Ada")


@workflow.defn(name="activity_retry")
class ActivityRetry:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            flaky,
            2,
            activity_id="flaky-1",
            start_to_close_timeout=timedelta(seconds=10),
            schedule_to_close_timeout=timedelta(seconds=60),
            schedule_to_start_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=10),
                backoff_coefficient=1.5,
                maximum_interval=timedelta(seconds=1),
                maximum_attempts=5,
                non_retryable_error_types=["Refused"],
            ),
        )


@workflow.defn(name="activity_by_name")
class ActivityByName:
    @workflow.run
    async def run(self) -> str:
        return await call_describe(3, "sku-7", True)


@workflow.defn(name="failure")
class Failure:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(refuse, start_to_close_timeout=timedelta(seconds=10))


@workflow.defn(name="cancel_types")
class CancelTypes:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        kinds = ActivityCancellationType
        held = [call_hold(kind) for kind in (kinds.TRY_CANCEL, kinds.WAIT_CANCELLATION_COMPLETED, kinds.ABANDON)]
        await workflow.wait_condition(lambda: self.go)
        for handle in held:
            handle.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        return "cancelled"

    @workflow.signal(name="go")
    def on_go(self, _: str) -> None:
        self.go = True


@workflow.defn(name="local_activity")
class LocalActivity:
    @workflow.run
    async def run(self) -> str:
        limit = timedelta(seconds=10)
        a = await workflow.execute_local_activity(greet, "a", start_to_close_timeout=limit)
        b = await workflow.execute_local_activity(greet, "b", start_to_close_timeout=limit)
        await workflow.sleep(0.02)
        return f"{a} {b}"


@workflow.defn(name="timer")
class Timer:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(0.05)


@workflow.defn(name="deadline")
class Deadline:
    @workflow.run
    async def run(self) -> str:
        held = call_hold(ActivityCancellationType.TRY_CANCEL)
        await asyncio.wait([held], timeout=0.1)
        await cancel(held)
        return await call_greet("late")


@workflow.defn(name="join")
class Join:
    @workflow.run
    async def run(self) -> str:
        a, b = await asyncio.gather(call_greet("a"), call_greet("b"))
        return f"{a} {b}"


@workflow.defn(name="join_all")
class JoinAll:
    @workflow.run
    async def run(self) -> list[str]:
        return list(await asyncio.gather(*[call_greet(name) for name in ("a", "b", "c")]))


@workflow.defn(name="race")
class Race:
    @workflow.run
    async def run(self) -> str:
        fast = call_greet("fast")
        slow = asyncio.create_task(asyncio.sleep(60))
        await asyncio.wait([fast, slow], return_when=asyncio.FIRST_COMPLETED)
        await cancel(slow)
        return await call_greet("after")


@workflow.defn(name="branch")
class Branch:
    @workflow.run
    async def run(self) -> str:
        branch = asyncio.create_task(self.branch())
        await workflow.sleep(0.3)
        return await branch

    async def branch(self) -> str:
        await call_greet("a")
        return await call_greet("b")


@workflow.defn(name="scope")
class Scope:
    @workflow.run
    async def run(self) -> str:
        scope = asyncio.create_task(workflow.sleep(LONG))
        await asyncio.sleep(0)
        await workflow.sleep(0.02)
        await cancel(scope)
        return await call_greet("after")


@workflow.defn(name="clean_up")
class CleanUp:
    @workflow.run
    async def run(self) -> None:
        try:
            await call_hold(ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
        except ActivityError:
            await call_greet("clean-up")
            raise


@workflow.defn(name="cancelled")
class Cancelled:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(LONG)


@workflow.defn(name="given")
class Given:
    @workflow.run
    async def run(self, name: str) -> str:
        return name


@workflow.defn(name="waiter")
class Waiter:
    def __init__(self) -> None:
        self.said: str | None = None

    @workflow.run
    async def run(self) -> str | None:
        await workflow.wait_condition(lambda: self.said is not None)
        return self.said

    @workflow.signal
    def go(self, word: str) -> None:
        self.said = word


@workflow.defn(name="child")
class Child:
    @workflow.run
    async def run(self) -> str:
        child_id = f"{workflow.info().workflow_id}-child"
        return await workflow.execute_child_workflow("given", "Ada", id=child_id, result_type=str)


@workflow.defn(name="child_signalled")
class ChildSignalled:
    @workflow.run
    async def run(self) -> str:
        child_id = f"{workflow.info().workflow_id}-child"
        child = await workflow.start_child_workflow("waiter", id=child_id, result_type=str)
        await child.signal("go", "up")
        return await child


@workflow.defn(name="signal_other")
class SignalOther:
    @workflow.run
    async def run(self, other: str) -> None:
        await workflow.get_external_workflow_handle(other).signal("go", "up")


@workflow.defn(name="cancel_other")
class CancelOther:
    @workflow.run
    async def run(self, other: str) -> None:
        await workflow.get_external_workflow_handle(other).cancel()


@workflow.defn(name="signals")
class Signals:
    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: len(self.words) == 2)
        return " ".join(self.words)

    @workflow.signal
    def go(self, word: str) -> None:
        self.words.append(word)


@workflow.defn(name="query")
class Query:
    def __init__(self) -> None:
        self.said: str | None = None

    @workflow.run
    async def run(self) -> str | None:
        await workflow.wait_condition(lambda: self.said is not None)
        return self.said

    @workflow.signal
    def go(self, word: str) -> None:
        self.said = word

    @workflow.query
    def status(self) -> str:
        return "waiting" if self.said is None else "done"


@workflow.defn(name="update")
class Update:
    def __init__(self) -> None:
        self.name: str | None = None

    @workflow.run
    async def run(self) -> str | None:
        await workflow.wait_condition(lambda: self.name is not None)
        return self.name

    @workflow.update
    async def rename(self, name: str) -> str:
        self.name = await call_greet(name)
        return self.name

    @rename.validator
    def check(self, name: str) -> None:
        if not name:
            raise ApplicationError("a name is needed", type="Invalid")


@workflow.defn(name="messages_first")
class MessagesFirst:
    def __init__(self) -> None:
        self.done = 0

    @workflow.run
    async def run(self) -> int:
        await workflow.sleep(0.02)
        await workflow.wait_condition(lambda: self.done == 2)
        return self.done

    @workflow.signal
    async def add(self, name: str) -> None:
        await call_greet(name)
        self.done += 1


@workflow.defn(name="concurrent")
class Concurrent:
    def __init__(self) -> None:
        self.done = 0

    @workflow.run
    async def run(self) -> int:
        await workflow.sleep(1)
        await workflow.sleep(0.02)
        await workflow.wait_condition(lambda: self.done == 2)
        return self.done

    @workflow.signal
    async def add(self, name: str) -> None:
        await call_greet(name)
        await call_greet(name)
        self.done += 1

    @workflow.update
    async def put(self, name: str) -> str:
        described = await call_describe(1, name, False)
        self.done += 1
        return described


@workflow.defn(name="continue_as_new")
class ContinueAsNew:
    @workflow.run
    async def run(self, left: int) -> str:
        if left == 0:
            return "done"
        await workflow.sleep(0.02)
        workflow.continue_as_new(left - 1)


@workflow.defn(name="patched")
class Patched:
    @workflow.run
    async def run(self) -> str:
        return await call_greet("new" if workflow.patched("v2") else "old")


@workflow.defn(name="deprecate_patch")
class DeprecatePatch:
    @workflow.run
    async def run(self) -> str:
        workflow.deprecate_patch("v2")
        return await call_greet("new")


@workflow.defn(name="search_attributes")
class SearchAttributes:
    @workflow.run
    async def run(self) -> None:
        workflow.upsert_search_attributes([KEYWORD.value_set("seen")])
        await workflow.sleep(0.02)


@workflow.defn(name="memo")
class Memo:
    @workflow.run
    async def run(self) -> None:
        workflow.upsert_memo({"note": "seen"})
        await workflow.sleep(0.02)


WORKFLOWS: list[type] = [
    value for value in list(globals().values()) if hasattr(value, "__temporal_workflow_definition")
]
