#!/usr/bin/env python3
"""The worker: runs the workflow and its activities until it is stopped. It outlives any restart of the server."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from temporalio.worker import Worker

import activities
from connection import arguments, connect
from file_index import PARALLEL_FILES, TASK_QUEUE, FileIndex


async def main() -> None:
    # A server that is away for a moment is part of the plan; the SDK's retries need no log.
    logging.getLogger("temporalio").setLevel(logging.ERROR)
    address = arguments(__doc__).parse_args().address
    client = await connect(address)
    with ThreadPoolExecutor(PARALLEL_FILES) as threads:
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[FileIndex],
            activities=[activities.list_files, activities.hash_file, activities.write_index],
            activity_executor=threads,
            max_concurrent_activities=PARALLEL_FILES,
        )
        print("listening", flush=True)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
