"""The Python side of the tests in tests/polyglot.

    polyglot.py worker ADDRESS                 serves PythonGreeting and PythonStamp on polyglot-python, and PythonPong in
                                               the namespace "other"; says "listening"
    polyglot.py start ADDRESS NAME LANGUAGE... runs each language's greeting by name; prints its result
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import (
    Interceptor,
    SignalExternalWorkflowInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

QUEUE = "polyglot-python"
OTHER_NAMESPACE = "other"


@workflow.defn
class PythonGreeting:
    @workflow.run
    async def run(self, name: str) -> str:
        return f"hello {name} from Python"


@activity.defn(name="PythonStamp")
async def stamp(name: str) -> str:
    return f"{name}, stamped in Python"


@workflow.defn
class PythonPong:
    """Answers the workflow that signals it, whichever namespace that is in."""

    def __init__(self) -> None:
        self._caller: tuple[str, str] | None = None

    @workflow.signal
    def ping(self, caller: tuple[str, str]) -> None:
        self._caller = caller

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._caller is not None)
        assert self._caller is not None
        namespace, workflow_id = self._caller
        own = workflow.info().namespace
        answer = f"a pong from {own} in Python"
        await workflow.get_external_workflow_handle(f"{namespace}/{workflow_id}").signal("pong", answer)
        return f"a ping from {namespace}"


class AcrossNamespaces(Interceptor):
    """Lets a signal go to `namespace/workflow-id`: handles of this SDK know their own namespace alone."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        input.namespace, _, input.workflow_id = input.workflow_id.partition("/")
        await super().signal_external_workflow(input)


async def serve(client: Client, address: str) -> None:
    other = await Client.connect(address, namespace=OTHER_NAMESPACE)
    here = Worker(client, task_queue=QUEUE, workflows=[PythonGreeting], activities=[stamp])
    there = Worker(other, task_queue=QUEUE, workflows=[PythonPong], interceptors=[AcrossNamespaces()])
    async with here, there:
        print("listening", flush=True)
        await asyncio.Event().wait()


async def start(client: Client, name: str, languages: list[str]) -> None:
    for language in languages:
        queue = f"polyglot-{language.lower()}"
        print(await client.execute_workflow(f"{language}Greeting", name, id=uuid.uuid4().hex, task_queue=queue))


async def main(command: str, address: str, *words: str) -> None:
    client = await Client.connect(address)
    if command == "worker":
        await serve(client, address)
    else:
        await start(client, words[0], list(words[1:]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    sys.stdout.flush()
    # Not `exit`: a thread of the SDK that comes back while the interpreter winds down aborts it, once in 25 times.
    os._exit(0)
