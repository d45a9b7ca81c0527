"""Kills the server again and again under load and checks that nothing it acknowledged is lost or doubled.

Start reading at `crash`. Workflows come in waves, one wave for each life of the server; every life but the last
ends by SIGKILL at a random moment. Client and worker just keep trying. Then all histories are read and compared
with what the client and the worker saw acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.converter import default
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError

from crash_worker import RETRY_EVERY_S, TRANSIENT, Entry, Ledger
from server import NAMESPACE, Server
from support import attributes, event_name, unique
from wire import duration

SIGNALS = 3
READERS = 16
# Workflows still open when none has completed for this long are stuck: something they wait for was lost.
PATIENCE_S = 60.0
CLOSING = {f"WorkflowExecution{how}" for how in ("Completed", "Failed", "TimedOut", "Canceled", "Terminated")}
ACTIVITY_CLOSING = {f"ActivityTask{how}" for how in ("Completed", "Failed", "TimedOut", "Canceled")}


@dataclass
class Plan:
    """How much to do and when to strike; the same seed gives the same moments."""

    workflows: int = field(default_factory=lambda: int(os.environ.get("CRASH_WORKFLOWS", "300")))
    kills: int = field(default_factory=lambda: int(os.environ.get("CRASH_KILLS", "8")))
    seed: int = field(default_factory=lambda: int(os.environ.get("CRASH_SEED", "1")))
    shortest_life_s: float = 0.5
    longest_life_s: float = 3.0

    def wave(self, number: int) -> range:
        """The workflows that start in one life of the server, lives being counted from 0."""
        lives = self.kills + 1
        return range(self.workflows * number // lives, self.workflows * (number + 1) // lives)


@dataclass
class Errand:
    """One workflow and what the server has acknowledged about it."""

    workflow_id: str
    run_id: str = ""
    signals: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None


@dataclass
class Summary:
    """What was done, and every difference between what was acknowledged and what is there."""

    seed: int
    kills: int = 0
    workflows: int = 0
    signals: int = 0
    completions: int = 0
    retried_calls: int = 0
    events: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        done = (
            f"crash test, seed {self.seed}: {self.kills} kills, {self.workflows} workflows completed once, "
            f"{self.signals} acknowledged signals and {self.completions} acknowledged activity completions found once, "
            f"{self.events} events without a gap, {self.retried_calls} calls retried, {self.seconds:.0f} s"
        )
        return "\n".join([done, *[f"LOST OR WRONG: {problem}" for problem in self.problems]])


async def crash(server: Server, plan: Plan, directory: Path) -> Summary:
    """Runs the plan on a server that is not yet started; leaves it running."""
    began = time.monotonic()
    server.start()
    task_queue = unique("crash")
    ledger_path = directory / "ledger.jsonl"
    with (directory / "worker.log").open("wb") as log:
        script = Path(__file__).with_name("crash_worker.py")
        worker = subprocess.Popen(
            [sys.executable, str(script), server.address, task_queue, str(ledger_path)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    summary = Summary(plan.seed)
    try:
        client = await Client.connect(server.address, namespace=NAMESPACE, runtime=quiet_runtime())
        customer = Customer(client, task_queue, summary)
        errands = await work_while_crashing(server, plan, customer)
        await check_all(customer, errands, Ledger(ledger_path).entries())
    finally:
        worker.kill()
        worker.wait()
    summary.seconds = time.monotonic() - began
    return summary


async def work_while_crashing(server: Server, plan: Plan, customer: Customer) -> list[Errand]:
    """Starts a wave of workflows in each life of the server, ends all lives but the last, and awaits every result."""
    chance = random.Random(plan.seed)
    prefix = unique("errand")
    errands: dict[asyncio.Task[None], Errand] = {}
    for life in range(plan.kills + 1):
        for number in plan.wave(life):
            errand = Errand(f"{prefix}/{number}")
            errands[asyncio.create_task(customer.run(errand, chance.random()))] = errand
        if life < plan.kills:
            await asyncio.sleep(chance.uniform(plan.shortest_life_s, plan.longest_life_s))
            server.kill()
            await asyncio.to_thread(server.start)
            customer.summary.kills += 1
    await await_all(errands, customer.summary)
    return list(errands.values())


async def await_all(errands: dict[asyncio.Task[None], Errand], summary: Summary) -> None:
    """Waits until every errand has ended or no more of them do; notes those that failed or are stuck."""
    pending = set(errands)
    while pending:
        done, pending = await asyncio.wait(pending, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if error := task.exception():
                summary.problems.append(f"{errands[task].workflow_id}: {error!r}")
        if not done:
            break
    for task in pending:
        summary.problems.append(f"{errands[task].workflow_id}: stuck, nothing completes any more")
        task.cancel()


class Customer:
    """The client: insists on each call until it is acknowledged, with the same request id."""

    def __init__(self, client: Client, task_queue: str, summary: Summary) -> None:
        self.client = client
        self.summary = summary
        self._task_queue = task_queue

    async def run(self, errand: Errand, pause: float) -> None:
        """Starts a workflow, sends its signals and waits for its result."""
        errand.run_id = await self._start(errand.workflow_id)
        for number in range(SIGNALS):
            await asyncio.sleep(pause)
            text = f"{errand.workflow_id} signal {number}"
            await self._signal(errand, text)
            errand.signals.append(text)
        handle = self.client.get_workflow_handle(errand.workflow_id, run_id=errand.run_id)
        errand.result = await self.insist(handle.result)

    async def insist(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Repeats a call for as long as the server is away."""
        while True:
            try:
                return await call()
            except RPCError as error:
                if error.status not in TRANSIENT:
                    raise
                self.summary.retried_calls += 1
                await asyncio.sleep(RETRY_EVERY_S)

    async def _start(self, workflow_id: str) -> str:
        request = StartWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_id=workflow_id,
            workflow_type=WorkflowType(name="Errand"),
            task_queue=TaskQueue(name=self._task_queue),
            input=to_payloads(SIGNALS),
            workflow_task_timeout=duration(3),
            request_id=unique("start"),
        )
        started = await self.insist(lambda: self.client.workflow_service.start_workflow_execution(request))
        return started.run_id

    async def _signal(self, errand: Errand, text: str) -> None:
        request = SignalWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_execution=WorkflowExecution(workflow_id=errand.workflow_id, run_id=errand.run_id),
            signal_name="note",
            input=to_payloads(text),
            request_id=unique("signal"),
        )
        await self.insist(lambda: self.client.workflow_service.signal_workflow_execution(request))


async def check_all(customer: Customer, errands: list[Errand], ledger: list[Entry]) -> None:
    """Compares each workflow's history, and its child's, with what was acknowledged and what the worker did."""
    by_workflow: dict[str, list[Entry]] = {}
    for entry in ledger:
        by_workflow.setdefault(entry.workflow_id, []).append(entry)
    limit = asyncio.Semaphore(READERS)

    async def one(errand: Errand) -> None:
        async with limit:
            try:
                await check_one(customer, errand, by_workflow)
            except RPCError as error:
                customer.summary.problems.append(f"{errand.workflow_id}: reading it or its child: {error}")

    await asyncio.gather(*[one(errand) for errand in errands])


async def check_one(customer: Customer, errand: Errand, ledger: dict[str, list[Entry]]) -> None:
    """Checks one workflow and then its child."""
    check = Check(errand.workflow_id, await read_history(customer, errand.workflow_id), customer.summary)
    check.signals(errand.signals)
    check.activities(ledger.get(errand.workflow_id, []))
    if errand.result is None:
        return
    check.ran_once(errand.run_id)
    check.result(errand)
    part_id = f"{errand.workflow_id}/part"
    part = Check(part_id, await read_history(customer, part_id), customer.summary)
    part.ran_once(None)
    part.activities(ledger.get(part_id, []))
    customer.summary.workflows += 1


async def read_history(customer: Customer, workflow_id: str) -> list[HistoryEvent]:
    """The history of the current run of a workflow id: a second run would show here."""

    async def read() -> list[HistoryEvent]:
        handle = customer.client.get_workflow_handle(workflow_id)
        return [event async for event in handle.fetch_history_events()]

    return await customer.insist(read)


class Check:
    """The rules for one history, the first being ids without a gap; each breach becomes a line of the summary."""

    def __init__(self, workflow_id: str, events: list[HistoryEvent], summary: Summary) -> None:
        self._workflow_id = workflow_id
        self._events = events
        self._names = [event_name(event) for event in events]
        self._summary = summary
        summary.events += len(events)
        ids = [event.event_id for event in events]
        self._expect(ids == list(range(1, len(ids) + 1)), f"event ids {ids}")

    def ran_once(self, run_id: str | None) -> None:
        """The run is the acknowledged one, and it closed once, well, at its end."""
        first = attributes(self._events[0])
        self._expect(run_id in (None, first.original_execution_run_id), "the run is not the acknowledged one")
        closing = [name for name in self._names if name in CLOSING]
        well = closing == ["WorkflowExecutionCompleted"] and self._names[-1] == closing[0]
        self._expect(well, f"closing events {closing}, last {self._names[-1]}")

    def result(self, errand: Errand) -> None:
        """The result that the client got is the one in history, and holds every signal once, in order."""
        [stored] = from_payloads(attributes(self._events[-1]).result)
        self._expect(stored == errand.result, f"result {errand.result}, in history {stored}")
        notes = (errand.result or {}).get("notes")
        self._expect(notes == errand.signals, f"the workflow saw signals {notes}")

    def signals(self, acknowledged: list[str]) -> None:
        """Each acknowledged signal is in history exactly once."""
        found = Counter(from_payloads(attributes(event).input)[0] for event in self._named("WorkflowExecutionSignaled"))
        for text in acknowledged:
            once = self._expect(found.pop(text, 0) == 1, f"signal {text!r} is not there exactly once")
            self._summary.signals += once
        self._expect(not found, f"signals that nobody sent: {list(found)}")

    def activities(self, ledger: list[Entry]) -> None:
        """Each activity closed once, with a value that the attempt named in history made; acknowledged ones stand."""
        done: dict[str, str] = {}
        for scheduled in self._named("ActivityTaskScheduled"):
            activity_id = attributes(scheduled).activity_id
            closings = [event for event in self._events if closes(event, scheduled.event_id)]
            if not self._expect(len(closings) == 1, f"{activity_id} closed {len(closings)} times"):
                continue
            if not self._expect(
                closings[0].HasField("activity_task_completed_event_attributes"), f"{activity_id} failed"
            ):
                continue
            [done[activity_id]] = from_payloads(attributes(closings[0]).result)
            attempt = attributes(self._events[attributes(closings[0]).started_event_id - 1]).attempt
            made = {(entry.attempt, entry.value) for entry in ledger if entry.activity_id == activity_id}
            self._expect((attempt, done[activity_id]) in made, f"{activity_id}: no attempt {attempt} made its result")
        for entry in ledger:
            if entry.acknowledged:
                there = self._expect(done.get(entry.activity_id) == entry.value, f"acknowledged {entry} is not there")
                self._summary.completions += there

    def _named(self, name: str) -> list[HistoryEvent]:
        return [event for event, own in zip(self._events, self._names, strict=True) if own == name]

    def _expect(self, holds: bool, otherwise: str) -> bool:
        if not holds:
            self._summary.problems.append(f"{self._workflow_id}: {otherwise}")
        return holds


def closes(event: HistoryEvent, scheduled_event_id: int) -> bool:
    """True for the event that ends the activity scheduled by another."""
    return event_name(event) in ACTIVITY_CLOSING and attributes(event).scheduled_event_id == scheduled_event_id


def quiet_runtime() -> Runtime:
    """An SDK runtime that does not log each retried call: there are hundreds of them here, and we count them."""
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=TelemetryFilter("ERROR", "ERROR"))))


def to_payloads(*values: Any) -> Payloads:
    """Values as the SDK encodes them."""
    payloads: list[Payload] = default().payload_converter.to_payloads(values)
    return Payloads(payloads=payloads)


def from_payloads(payloads: Payloads) -> list[Any]:
    """Values as the SDK decodes them."""
    return default().payload_converter.from_payloads(payloads.payloads)


def main() -> int:
    """Runs the plan of the command line; 1 when something was lost or wrong."""
    usual = Plan()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workflows", type=int, default=usual.workflows)
    parser.add_argument("--kills", type=int, default=usual.kills)
    parser.add_argument("--seed", type=int, default=usual.seed)
    chosen = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="crash-"))
    server = Server(directory)
    print(f"seed {chosen.seed}; data, logs and ledger in {directory}, kept if anything is wrong", flush=True)
    try:
        summary = asyncio.run(crash(server, Plan(chosen.workflows, chosen.kills, chosen.seed), directory))
    finally:
        server.stop()
    print(summary)
    if summary.problems:
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
