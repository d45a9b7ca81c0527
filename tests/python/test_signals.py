"""Signals: order, buffering, request ids, and signals between workflows, across namespaces too."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import (
    Interceptor,
    SignalExternalWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

import workflows
from server import is_genuine
from support import events_of, names, show, trace, unique, wait_for_event, worker_for


async def signal_with_id(handle: WorkflowHandle[Any, Any], client: Client, value: str, request_id: str) -> None:
    """Signals `add` with a request id of the test's choice, which the SDK's own call would hide."""
    payload = Payload(metadata={"encoding": b"json/plain"}, data=value.encode())
    await client.workflow_service.signal_workflow_execution(
        SignalWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            signal_name="add",
            input=Payloads(payloads=[payload]),
            request_id=request_id,
        )
    )


async def test_hundred_signals_in_order(client: Client) -> None:
    """A hundred signals, each sent after the one before was acknowledged, arrive complete and in order."""
    queue = unique("hundred")
    async with worker_for(client, queue):
        handle = await client.start_workflow(workflows.Collect.run, 100, id=queue, task_queue=queue)
        for number in range(100):
            await handle.signal(workflows.Collect.add, number)
        assert await handle.result() == list(range(100))


async def test_hundred_signals_at_once(client: Client) -> None:
    """A hundred signals sent concurrently each arrive exactly once."""
    queue = unique("storm")
    async with worker_for(client, queue):
        handle = await client.start_workflow(workflows.Collect.run, 100, id=queue, task_queue=queue)
        await asyncio.gather(*[handle.signal(workflows.Collect.add, number) for number in range(100)])
        assert sorted(await handle.result()) == list(range(100))
    assert names(await events_of(handle)).count("WorkflowExecutionSignaled") == 100


async def test_signals_before_any_worker(client: Client) -> None:
    """Signals wait in the history of a workflow that no worker has taken yet, without further tasks."""
    queue = unique("early")
    handle = await client.start_workflow(workflows.Collect.run, 5, id=queue, task_queue=queue)
    for number in range(5):
        await handle.signal(workflows.Collect.add, number)
    async with worker_for(client, queue):
        assert await handle.result() == list(range(5))
    events = await events_of(handle)
    assert trace(events) == "Started S Signaled Signaled Signaled Signaled Signaled B C Completed", show(events)


async def test_signals_during_a_workflow_task_are_buffered(client: Client) -> None:
    """Signals that arrive while a workflow task runs appear after its completion, in order."""
    queue = unique("buffered")
    release = asyncio.Event()
    holding = asyncio.Event()

    @activity.defn(name="hold")
    async def hold() -> None:
        holding.set()
        await release.wait()

    async with worker_for(client, queue, activities=[hold]):
        handle = await client.start_workflow(workflows.CollectDuringTask.run, 10, id=queue, task_queue=queue)
        await asyncio.wait_for(holding.wait(), 20)
        for number in range(10):
            await handle.signal(workflows.Collect.add, number)
        assert "WorkflowExecutionSignaled" not in names(await events_of(handle))
        release.set()
        assert await handle.result() == list(range(10))
    events = await events_of(handle)
    signals = "Signaled " * 10
    assert trace(events) == f"Started S B C MarkerRecorded {signals}S B C Completed", show(events)


async def test_same_request_id_signals_once(client: Client) -> None:
    """A signal repeated with its request id is acknowledged and recorded once; another id is another signal."""
    queue = unique("same-id")
    handle = await client.start_workflow(workflows.Collect.run, 2, id=queue, task_queue=queue)
    request_id = unique("request")
    for _ in range(3):
        await signal_with_id(handle, client, '"one"', request_id)
    await signal_with_id(handle, client, '"two"', unique("request"))
    async with worker_for(client, queue):
        assert await handle.result() == ["one", "two"]
        await wait_for_event(handle, "WorkflowExecutionCompleted")
    assert names(await events_of(handle)).count("WorkflowExecutionSignaled") == 2


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "in one task"])
async def test_signals_to_another_workflow_keep_their_order(client: Client, at_once: bool) -> None:
    """Twenty signals from one workflow to another arrive in the order in which they were sent.

    The genuine server sends those of one workflow task concurrently, so there only the set is certain.
    """
    queue = unique("external")
    async with worker_for(client, queue):
        target = await client.start_workflow(workflows.Collect.run, 20, id=f"{queue}/to", task_queue=queue)
        source = await client.start_workflow(
            workflows.SendSignals.run, args=[target.id, 20, at_once], id=queue, task_queue=queue
        )
        assert await source.result() == "sent"
        received = await target.result()
    assert (sorted(received) if at_once and is_genuine() else received) == list(range(20))
    sent = names(await events_of(source))
    assert sent.count("SignalExternalWorkflowExecutionInitiated") == 20
    assert sent.count("ExternalWorkflowExecutionSignaled") == 20


async def test_external_signal_names_its_sender(client: Client) -> None:
    """The target's event names the workflow that signalled it."""
    queue = unique("sender")
    async with worker_for(client, queue):
        target = await client.start_workflow(workflows.Collect.run, 1, id=f"{queue}/to", task_queue=queue)
        source = await client.start_workflow(
            workflows.SendSignals.run, args=[target.id, 1, False], id=queue, task_queue=queue
        )
        assert await target.result() == [0]
    signaled = [
        event for event in await events_of(target) if event.HasField("workflow_execution_signaled_event_attributes")
    ]
    sender = signaled[0].workflow_execution_signaled_event_attributes.external_workflow_execution
    assert (sender.workflow_id, sender.run_id) == (source.id, source.result_run_id)


async def test_signal_to_unknown_workflow_fails_in_the_sender(client: Client) -> None:
    """A signal to a workflow that does not exist comes back as a failure that code can catch."""
    queue = unique("unknown")
    async with worker_for(client, queue):
        source = await client.start_workflow(
            workflows.SendSignals.run, args=[unique("nobody"), 1, False], id=queue, task_queue=queue
        )
        answer = await source.result()
    assert "not found" in answer.lower(), answer
    assert "SignalExternalWorkflowExecutionFailed" in names(await events_of(source))


async def test_signals_into_another_namespace(client: Client, other_client: Client) -> None:
    """Twenty signals cross into a workflow of another namespace, in order."""
    queue = unique("across")
    sending = worker_for(client, queue, interceptors=[RedirectSignals(other_client.namespace)])
    async with sending, worker_for(other_client, queue):
        target = await other_client.start_workflow(workflows.Collect.run, 20, id=f"{queue}/to", task_queue=queue)
        source = await client.start_workflow(
            workflows.SendSignals.run, args=[target.id, 20, False], id=queue, task_queue=queue
        )
        assert await source.result() == "sent"
        assert await target.result() == list(range(20))


class RedirectSignals(Interceptor):
    """Sends a workflow's external signals to another namespace: the SDK's API has no argument for that."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        namespace = self._namespace

        class Outbound(WorkflowOutboundInterceptor):
            async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
                input.namespace = namespace
                await super().signal_external_workflow(input)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        return Inbound
