"""Kills the server again and again under load and checks that nothing it acknowledged is lost or doubled.

Start reading at `crash`. Workflows come in waves, one wave for each life of the server; every life but the last
ends by SIGKILL at a random moment. Client and workers just keep trying. Then all histories and lists are read and
compared with what the client and the workers saw acknowledged; `crash_checks.py` has the rules.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    ListWorkflowExecutionsRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError

from crash_checks import COUNTED, Errand, Evidence, Summary, judge, listing_problems, to_payloads
from crash_control import ForgetfulServer, unnoticed
from crash_processes import PYTHON, TYPESCRIPT, Language, WorkerProcess
from crash_worker import RETRY_EVERY_S, TRANSIENT
from server import NAMESPACE, Server
from support import unique
from wire import duration

SIGNALS = 3
READERS = 16
# Odd, and less than there are executions, so that the last page of a list is a short one.
PAGE_SIZE = 97
# Workflows still open when none has completed for this long are stuck: something they wait for was lost.
PATIENCE_S = 60.0
# Lists and counts follow the commits; this is how far they may be behind.
LISTED_WITHIN_S = 30.0
ASK_AGAIN_AFTER_S = 0.2


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


async def crash(server: Server, plan: Plan, directory: Path, languages: tuple[Language, ...] = (PYTHON,)) -> Summary:
    """Runs the plan on a server that is not yet started; leaves it running.

    With two languages, their workers do a part of each other's errands. `make` the languages before.
    """
    began = time.monotonic()
    server.start()
    workers = [WorkerProcess(language, directory) for language in languages]
    summary = Summary(plan.seed, [language.name for language in languages])
    try:
        await asyncio.gather(*[worker.start(server.address) for worker in workers])
        client = await Client.connect(server.address, namespace=NAMESPACE, runtime=quiet_runtime())
        customer = Customer(client, summary)
        errands = await work_while_crashing(server, plan, customer, workers)
        summary.problems += [f"the {worker.language} worker died" for worker in workers if not worker.is_alive()]
        evidence = await gather_evidence(customer, errands, workers)
    finally:
        for worker in workers:
            worker.kill()
    judge(evidence, summary)
    if not summary.problems:
        summary.problems += unnoticed(evidence, summary)
    summary.seconds = time.monotonic() - began
    return summary


async def work_while_crashing(
    server: Server, plan: Plan, customer: Customer, workers: list[WorkerProcess]
) -> list[Errand]:
    """Starts a wave of workflows in each life of the server, ends all lives but the last, and awaits every result."""
    chance = random.Random(plan.seed)
    prefix = unique("errand")
    errands: dict[asyncio.Task[None], Errand] = {}
    for life in range(plan.kills + 1):
        for number in plan.wave(life):
            errand = errand_for(f"{prefix}/{number}", number, workers)
            errands[asyncio.create_task(customer.run(errand, chance.random()))] = errand
        if life < plan.kills:
            await asyncio.sleep(chance.uniform(plan.shortest_life_s, plan.longest_life_s))
            customer.summary.interrupted += sum(not task.done() for task in errands)
            server.kill()
            await asyncio.to_thread(server.start)
            customer.summary.kills += 1
    await await_all(errands, customer.summary)
    return list(errands.values())


def errand_for(workflow_id: str, number: int, workers: list[WorkerProcess]) -> Errand:
    """An errand for one worker in turn, with the next one abroad if there are several."""
    home, abroad = (workers[(number + step) % len(workers)].task_queue for step in range(2))
    return Errand(workflow_id, home, abroad if abroad != home else None)


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

    def __init__(self, client: Client, summary: Summary) -> None:
        self.client = client
        self.summary = summary

    async def run(self, errand: Errand, pause: float) -> None:
        """Starts a workflow, sends its signals and waits for its result."""
        errand.run_id = await self._start(errand)
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

    async def _start(self, errand: Errand) -> str:
        request = StartWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_id=errand.workflow_id,
            workflow_type=WorkflowType(name="Errand"),
            task_queue=TaskQueue(name=errand.task_queue),
            input=to_payloads(SIGNALS, errand.abroad),
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


async def gather_evidence(customer: Customer, errands: list[Errand], workers: list[WorkerProcess]) -> Evidence:
    """Reads all histories and all ledgers, then lists and counts until these agree with the histories."""
    limit = asyncio.Semaphore(READERS)
    histories: dict[str, list[HistoryEvent]] = {}

    async def read(workflow_id: str) -> None:
        async with limit:
            try:
                histories[workflow_id] = await read_history(customer, workflow_id)
            except RPCError as error:
                customer.summary.problems.append(f"{workflow_id}: reading its history: {error}")

    ids = [errand.workflow_id for errand in errands] + [errand.part_id for errand in errands if errand.result]
    await asyncio.gather(*[read(workflow_id) for workflow_id in ids])
    languages = {worker.task_queue: worker.language for worker in workers}
    ledger = [entry for worker in workers for entry in worker.entries()]
    evidence = Evidence(errands, languages, ledger, histories)
    deadline = time.monotonic() + LISTED_WITHIN_S
    while True:
        evidence.listed = await list_executions(customer)
        evidence.counted = {query: await count_executions(customer, query) for query in COUNTED}
        if not listing_problems(evidence) or time.monotonic() > deadline:
            return evidence
        await asyncio.sleep(ASK_AGAIN_AFTER_S)


async def read_history(customer: Customer, workflow_id: str) -> list[HistoryEvent]:
    """The history of the current run of a workflow id: a second run would show here."""

    async def read() -> list[HistoryEvent]:
        handle = customer.client.get_workflow_handle(workflow_id)
        return [event async for event in handle.fetch_history_events()]

    return await customer.insist(read)


async def list_executions(customer: Customer) -> list[WorkflowExecutionInfo]:
    """Every execution of the namespace, page by page."""
    request = ListWorkflowExecutionsRequest(namespace=NAMESPACE, page_size=PAGE_SIZE)
    listed: list[WorkflowExecutionInfo] = []
    while True:
        page = await customer.insist(lambda: customer.client.workflow_service.list_workflow_executions(request))
        listed += page.executions
        if not page.next_page_token:
            return listed
        request.next_page_token = page.next_page_token


async def count_executions(customer: Customer, query: str) -> int:
    """How many executions of the namespace the filter takes."""
    request = CountWorkflowExecutionsRequest(namespace=NAMESPACE, query=query)
    answer = await customer.insist(lambda: customer.client.workflow_service.count_workflow_executions(request))
    return answer.count


def quiet_runtime() -> Runtime:
    """An SDK runtime that does not log each retried call: there are hundreds of them here, and we count them."""
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=TelemetryFilter("ERROR", "ERROR"))))


def main() -> int:
    """Runs the plan of the command line; 1 when something was lost or wrong, or when a control finds nothing."""
    usual = Plan()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workflows", type=int, default=usual.workflows)
    parser.add_argument("--kills", type=int, default=usual.kills)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--typescript", action="store_true", help="with a TypeScript worker beside the Python one")
    parser.add_argument("--control", action="store_true", help="on a server that forgets: it must be found out")
    chosen = parser.parse_args()
    languages = (PYTHON, TYPESCRIPT) if chosen.typescript else (PYTHON,)
    for language in languages:
        if missing := language.missing_tools():
            print(f"NO {language.name} WORKER: install {' and '.join(missing)}, or leave out --typescript")
            return 2
        language.make()
    if not chosen.typescript:
        print("a Python worker alone; --typescript adds one in TypeScript, and work across the two")
    directory = Path(tempfile.mkdtemp(prefix="crash-"))
    server = ForgetfulServer(directory) if chosen.control else Server(directory)
    print(f"seed {chosen.seed}; data, logs and ledgers in {directory}, kept if anything is wrong", flush=True)
    try:
        summary = asyncio.run(crash(server, Plan(chosen.workflows, chosen.kills, chosen.seed), directory, languages))
    finally:
        server.stop()
    print(summary)
    if chosen.control:
        print("found out, as it must be" if summary.problems else "THE CONTROL FAILED: nobody noticed the loss")
    if bool(summary.problems) != chosen.control:
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
