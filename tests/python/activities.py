"""The activities that need no state; a test that must steer an activity defines its own beside itself."""

from __future__ import annotations

import asyncio

from temporalio import activity
from temporalio.exceptions import ApplicationError


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@activity.defn
async def echo(value: str) -> str:
    return value


@activity.defn
async def add_one(number: int) -> int:
    return number + 1


@activity.defn
async def fail_until(attempt: int) -> int:
    """Fails with an error that names its attempt, until `attempt` comes; 0 fails always."""
    current = activity.info().attempt
    if current != attempt:
        raise ApplicationError(f"attempt {current} failed", current, type="NotYet")
    return current


@activity.defn
async def fail_as(error_type: str, non_retryable: bool) -> None:
    raise ApplicationError("refused", type=error_type, non_retryable=non_retryable)


@activity.defn
async def never_end() -> None:
    """Ends only when the SDK cancels it."""
    await asyncio.Event().wait()


@activity.defn
async def heartbeat_once_then_hang(detail: str) -> None:
    activity.heartbeat(detail)
    await asyncio.Event().wait()


@activity.defn
async def resume_from_heartbeat(steps: int) -> list[int]:
    """Counts up, heartbeats each number and dies at each; the next attempt goes on from its details."""
    done = list(activity.info().heartbeat_details)
    if len(done) == steps:
        return done
    activity.heartbeat(*done, len(done))
    raise ApplicationError(f"died after {len(done) + 1}")


@activity.defn
async def large(size: int) -> str:
    return "x" * size


ALL = [
    *[greet, echo, add_one, fail_until, fail_as, never_end, heartbeat_once_then_hang, resume_from_heartbeat],
    large,
]
