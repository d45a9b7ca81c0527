"""The Python side of the tests in tests/polyglot.

    polyglot.py worker ADDRESS                 serves PythonGreeting on polyglot-python; says "listening"
    polyglot.py start ADDRESS NAME LANGUAGE... runs each language's greeting by name; prints its result
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker


@workflow.defn
class PythonGreeting:
    @workflow.run
    async def run(self, name: str) -> str:
        return f"hello {name} from Python"


async def serve(client: Client) -> None:
    async with Worker(client, task_queue="polyglot-python", workflows=[PythonGreeting]):
        print("listening", flush=True)
        await asyncio.Event().wait()


async def start(client: Client, name: str, languages: list[str]) -> None:
    for language in languages:
        queue = f"polyglot-{language.lower()}"
        print(await client.execute_workflow(f"{language}Greeting", name, id=uuid.uuid4().hex, task_queue=queue))


async def main(command: str, address: str, *words: str) -> None:
    client = await Client.connect(address)
    if command == "worker":
        await serve(client)
    else:
        await start(client, words[0], list(words[1:]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    sys.stdout.flush()
    # Not `exit`: a thread of the SDK that comes back while the interpreter winds down aborts it, once in 25 times.
    os._exit(0)
