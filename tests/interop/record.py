"""Records the histories: `python record.py [SDK...]`, without a name those of all SDKs.

What the official SDKs write is recorded on the genuine server; what ours writes on our own, after both servers were
seen to come to the same events.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowContinuedAsNewError, WorkflowFailureError

import server
from scenarios import SCENARIOS, Stage

HERE = Path(__file__).resolve().parent
HISTORIES = HERE / "histories"
ONLY_GO_AND_OURS = {"version", "side_effect", "mutable_side_effect"}
PATCHES = {"patched", "deprecate_patch"}


@dataclass(frozen=True)
class Sdk:
    """How the worker of an SDK is built and started, and what it has no workflows for."""

    name: str
    folder: Path
    program: tuple[str, ...]
    build: tuple[tuple[str, ...], ...] = ()
    lacks: set[str] = field(default_factory=set)


CARGO = ("cargo", "run", "--quiet")
BUILD = ("cargo", "build", "--quiet")
SDKS = [
    Sdk("python", HERE, (sys.executable, "worker.py"), lacks=ONLY_GO_AND_OURS),
    Sdk("go", HERE.parent / "go", ("target/interop",), (("go", "build", "-o", "target/", "./interop"),), PATCHES),
    Sdk("official", HERE / "official", (*CARGO, "--"), (BUILD,), ONLY_GO_AND_OURS),
    Sdk(
        "mainspring",
        HERE.parents[1] / "sdk" / "mainspring",
        (*CARGO, "--example", "interop", "--"),
        ((*BUILD, "--example", "interop"),),
    ),
]


class Process:
    """The worker of an SDK as a process."""

    def __init__(self, sdk: Sdk, *words: str) -> None:
        self._sdk = sdk
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it."""
        self._process = subprocess.Popen([*self._sdk.program, *self._words], cwd=self._sdk.folder)

    def stop(self) -> None:
        """Kills it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def serving(genuine: bool) -> Iterator[str]:
    """A server of its own, and its address."""
    os.environ["E2E_SERVER"] = "temporal" if genuine else "mainspring"
    with tempfile.TemporaryDirectory() as directory:
        running = server.Server(Path(directory))
        running.start()
        try:
            yield running.address
        finally:
            running.stop()


async def record(sdk: Sdk, genuine: bool) -> dict[str, list[dict[str, Any]]]:
    """Plays all scenarios and gives the events of each."""
    for command in sdk.build:
        subprocess.run(command, cwd=sdk.folder, check=True)
    with serving(genuine) as address:
        client = await Client.connect(address, identity="interop")
        keyword = {"InteropKeyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
        request = AddSearchAttributesRequest(namespace="default", search_attributes=keyword)
        await client.operator_service.add_search_attributes(request)
        worker = Process(sdk, address, "interop")
        worker.start()
        try:
            stage = Stage(client, "interop", worker)
            return {name: await play(stage, name) for name in SCENARIOS if name not in sdk.lacks}
        finally:
            worker.stop()


async def play(stage: Stage, name: str) -> list[dict[str, Any]]:
    """Plays one scenario to the end of the workflow."""
    handle = await SCENARIOS[name](stage, name)
    with contextlib.suppress(WorkflowFailureError, WorkflowContinuedAsNewError):
        await asyncio.wait_for(handle.result(follow_runs=False), 30)
    return json.loads((await handle.fetch_history()).to_json())["events"]


def plain(events: list[dict[str, Any]]) -> str:
    """A history as JSON, without what differs each time and means nothing: times, ids, paths, the order of sets."""
    for number, event in enumerate(events):
        event["eventTime"] = f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"
        event["taskId"] = str(1048576 + number)
        completed = event.get("workflowTaskCompletedEventAttributes", {})
        for flags in ("coreUsedFlags", "langUsedFlags"):
            completed.get("sdkMetadata", {}).get(flags, []).sort()
        if "buildId" in completed.get("workerVersion", {}):
            completed["workerVersion"]["buildId"] = "interop"
    text = json.dumps({"events": events}, indent=1) + "\n"
    # Of the files in a stack trace, no more than the folder each is in: the rest tells where it was recorded.
    text = re.sub(r'(File \\")/[^"\\]*?/([^/"\\]+/[^/"\\]+\\")', r"\1\2", text)
    ids: dict[str, str] = {}
    named = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    return re.sub(named, lambda found: ids.setdefault(found[0], f"00000000-0000-4000-8000-{len(ids):012}"), text)


def essence(events: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """What a server makes of a run: the events of commands in their order, and which others there are.

    Results that race come in any order, in as many workflow tasks as it takes.
    """
    kinds = [(event["eventType"].removeprefix("EVENT_TYPE_"), str(event)) for event in events]
    commands = [kind for kind, event in kinds if "workflowTaskCompletedEventId" in event]
    return commands, sorted(kind for kind, _ in kinds if not kind.startswith("WORKFLOW_TASK"))


def compare(ours: dict[str, list[dict[str, Any]]], genuine: dict[str, list[dict[str, Any]]]) -> None:
    """Both servers must have come to the same."""
    differing = [name for name in ours if essence(ours[name]) != essence(genuine[name])]
    for name in differing:
        print(f"{name}\n  ours    {essence(ours[name])}\n  genuine {essence(genuine[name])}", file=sys.stderr)
    if differing:
        sys.exit(f"the servers differ: {', '.join(differing)}")


def main(names: list[str]) -> None:
    """Records the SDKs of these names, or all."""
    for sdk in SDKS:
        if names and sdk.name not in names:
            continue
        histories = asyncio.run(record(sdk, genuine=True))
        if sdk.name == "mainspring":
            ours = asyncio.run(record(sdk, genuine=False))
            compare(ours, histories)
            histories = ours
        folder = HISTORIES / sdk.name
        folder.mkdir(parents=True, exist_ok=True)
        for name, events in histories.items():
            (folder / f"{name}.json").write_text(plain(events))
        print(f"{sdk.name}: {len(histories)} histories")


if __name__ == "__main__":
    main(sys.argv[1:])
