"""The Python worker of the crash test: a process of its own that outlives every kill of the server.

    crash_worker.py ADDRESS TASK_QUEUE LEDGER    serves Errand and Part; says "listening"

Each activity attempt makes a value that nobody can guess and writes it to a ledger, so that the crash test can
check afterwards that what history says was really done, by the attempt that history names. The TypeScript worker,
`tests/typescript/src/crash.ts`, does the same, down to the names of workflows, activities and results.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

# What a server that is down, starting or busy answers. Anything else is an answer for good.
TRANSIENT = {
    RPCStatusCode.ABORTED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.UNKNOWN,
}
RETRY_EVERY_S = 0.1


@dataclass
class Entry:
    """One line of the ledger: what one attempt of an activity made; whether the server acknowledged it."""

    workflow_id: str
    activity_id: str
    attempt: int
    value: str
    acknowledged: bool = False
    language: str = "Python"


class Ledger:
    """An append-only file of entries."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, entry: Entry) -> None:
        """Appends an entry."""
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(entry)) + "\n")

    def entries(self) -> list[Entry]:
        """All entries so far."""
        if not self._path.exists():
            return []
        return [Entry(**json.loads(line)) for line in self._path.read_text().splitlines()]


async def run_activity(name: str, abroad: str | None = None) -> str:
    """Runs an activity that is retried until it succeeds, here or on the task queue of another worker."""
    return await workflow.execute_activity(
        name,
        activity_id=f"abroad/{name}" if abroad else name,
        task_queue=abroad,
        result_type=str,
        start_to_close_timeout=timedelta(seconds=4),
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1.5),
    )


@workflow.defn
class Part:
    """The child: one activity."""

    @workflow.run
    async def run(self) -> str:
        return await run_activity("make_value")


@workflow.defn
class Errand:
    """A bit of everything: activities, retries, a timer, signals and a child; some of it on a task queue abroad."""

    def __init__(self) -> None:
        self._notes: list[str] = []

    @workflow.run
    async def run(self, signals: int, abroad: str | None = None) -> dict[str, str | list[str]]:
        result: dict[str, str | list[str]] = {}
        for name in ("make_value", "fail_twice"):
            result[name] = await run_activity(name)
        await asyncio.sleep(0.3)
        result["complete_from_outside"] = await run_activity("complete_from_outside")
        if abroad:
            for name in ("fail_twice", "complete_from_outside"):
                result[f"abroad/{name}"] = await run_activity(name, abroad)
        part_id = f"{workflow.info().workflow_id}/part"
        result["part"] = await workflow.execute_child_workflow(Part.run, id=part_id, task_queue=abroad)
        await workflow.wait_condition(lambda: len(self._notes) >= signals)
        result["notes"] = self._notes
        return result

    @workflow.signal
    def note(self, text: str) -> None:
        self._notes.append(text)


class Activities:
    """The activities, each writing what it does to the ledger."""

    def __init__(self, client: Client, ledger: Ledger) -> None:
        self._client = client
        self._ledger = ledger

    @activity.defn
    async def make_value(self) -> str:
        return self._record().value

    @activity.defn
    async def fail_twice(self) -> str:
        if activity.info().attempt < 3:
            raise ApplicationError("not yet")
        return self._record().value

    @activity.defn
    async def complete_from_outside(self) -> str:
        """Completes itself through a client call, so that the acknowledgment is seen and can be written down."""
        entry = self._record()
        outside = self._client.get_async_activity_handle(task_token=activity.info().task_token)
        while not entry.acknowledged:
            try:
                await outside.complete(entry.value)
                entry.acknowledged = True
            except RPCError as error:
                if error.status not in TRANSIENT:
                    break
                await asyncio.sleep(RETRY_EVERY_S)
        self._ledger.add(entry)
        activity.raise_complete_async()

    def _record(self) -> Entry:
        info = activity.info()
        entry = Entry(info.workflow_id, info.activity_id, info.attempt, uuid.uuid4().hex)
        self._ledger.add(entry)
        return entry


async def main(address: str, task_queue: str, ledger: Path) -> None:
    """Works until the process is ended."""
    client = await Client.connect(address)
    activities = Activities(client, Ledger(ledger))
    worker = Worker(
        client,
        task_queue=task_queue,
        workflows=[Errand, Part],
        activities=[activities.make_value, activities.fail_twice, activities.complete_from_outside],
        workflow_runner=UnsandboxedWorkflowRunner(),
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
    )
    print("listening", flush=True)
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
