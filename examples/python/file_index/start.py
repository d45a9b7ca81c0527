#!/usr/bin/env python3
"""Starts a workflow, or joins the one that runs under this id, and prints its result as JSON."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from connection import arguments, connect
from file_index import TASK_QUEUE, FileIndex, Request, Summary

AWAY = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED, RPCStatusCode.UNKNOWN}
"""What a call meets while the server is away."""


async def start(client: Client, workflow_id: str, request: Request) -> WorkflowHandle[FileIndex, Summary]:
    """A repeat after a lost answer finds the run that the first call started."""
    return await client.start_workflow(
        FileIndex.run,
        request,
        id=workflow_id,
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )


async def persist(call):
    """Calls until the server answers, whatever happens to it in between."""
    while True:
        try:
            return await call()
        except RPCError as error:
            if error.status not in AWAY:
                raise
            await asyncio.sleep(0.2)


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("index.json"), help="default: %(default)s")
    parser.add_argument("--id", default="file-index-1", help="of the workflow (default: %(default)s)")
    options = parser.parse_args()
    request = Request(str(options.folder.resolve()), str(options.output.resolve()))
    client = await connect(options.address)
    handle = await persist(lambda: start(client, options.id, request))
    summary = await persist(handle.result)
    print(json.dumps(asdict(summary)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
