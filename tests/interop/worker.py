"""The worker of the Python SDK: `python worker.py ADDRESS QUEUE`."""

from __future__ import annotations

import asyncio
import sys

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import workflows


async def main(address: str, queue: str) -> None:
    """Works until it is killed, without a cache: a worker after it goes on at once."""
    client = await Client.connect(address, identity="interop")
    await Worker(
        client,
        task_queue=queue,
        workflows=workflows.WORKFLOWS,
        activities=workflows.ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
        build_id="interop",
    ).run()


asyncio.run(main(*sys.argv[1:]))
