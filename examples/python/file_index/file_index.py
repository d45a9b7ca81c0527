"""The workflow: list a folder, hash each file in an activity of its own, write the index.

It decides and remembers; whatever touches a disk is an activity. When the server or the worker dies, the workflow is
rebuilt from its history and goes on with the files that have no result yet.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

TASK_QUEUE = "file-index"
"""Where the worker listens."""

PARALLEL_FILES = 16
"""Files that are hashed at the same time."""


@dataclass
class Request:
    """What to index and where the index goes; both are paths on the worker's machine."""

    folder: str
    output: str


@dataclass
class Entry:
    """What is known of one file; `words` are its most frequent ones."""

    path: str
    size_bytes: int
    lines: int
    sha256: str
    words: list[str]


@dataclass
class WriteRequest:
    """The index to write."""

    output: str
    entries: list[Entry]


@dataclass
class Summary:
    """The result of the workflow."""

    output: str
    files: int
    size_bytes: int
    lines: int
    words: int
    copies: int
    largest: str


@workflow.defn
class FileIndex:
    """One run indexes one folder."""

    @workflow.run
    async def run(self, request: Request) -> Summary:
        paths: list[str] = await self._activity("list_files", request.folder, list[str])
        turns = asyncio.Semaphore(PARALLEL_FILES)

        async def hash_file(path: str) -> Entry:
            async with turns:
                return await self._activity("hash_file", path, Entry)

        entries = await asyncio.gather(*(hash_file(path) for path in paths))
        return await self._activity("write_index", WriteRequest(request.output, list(entries)), Summary)

    async def _activity(self, name, argument, result_type):
        """A short timeout, so that a task that was lost with a dead server is soon given to someone else."""
        return await workflow.execute_activity(
            name,
            argument,
            result_type=result_type,
            start_to_close_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=2)),
        )
