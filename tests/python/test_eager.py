"""Eager workflow start, and what a start leaves on a run that it uses as it stands; links."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Link, WorkflowExecution
from temporalio.api.enums.v1 import EventType, WorkflowIdConflictPolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import OnConflictOptions
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub
from temporalio.client import Client

import workflows
from server import NAMESPACE
from support import events_of, trace, unique, worker_for
from wire import CALL_S, RawWorkflow, complete_workflow, duration, invalid, refusal_of, start_request

USE_EXISTING = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
OPTIONS_UPDATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED


def start(api: WorkflowServiceStub, workflow_id: str, **fields: Any) -> Any:
    """Starts a workflow."""
    return api.StartWorkflowExecution(start_request(workflow_id, **fields), timeout=CALL_S)


def link(**fields: Any) -> Link:
    """A link to an event of some workflow; `fields` replace any part."""
    event: dict[str, Any] = {"namespace": NAMESPACE, "workflow_id": "elsewhere", "run_id": "run"}
    return Link(workflow_event=Link.WorkflowEvent(**(event | fields)))


async def test_eager_start_brings_the_first_task(api: WorkflowServiceStub) -> None:
    """The caller has it as if it had polled, the same request gets it again, and completes the workflow with it."""
    name, request_id = unique("eager"), unique("request")
    started = await start(api, name, request_eager_execution=True, request_id=request_id)
    task = started.eager_workflow_task
    assert (task.started_event_id, task.attempt, task.previous_started_event_id) == (3, 1, 0)
    assert task.workflow_execution == WorkflowExecution(workflow_id=name, run_id=started.run_id)
    assert task.workflow_execution_task_queue.name == name
    assert trace(list(task.history.events)) == "Started S B"
    assert task.history.events[0].workflow_execution_started_event_attributes.eager_execution_accepted
    begun = task.history.events[2].workflow_task_started_event_attributes
    assert (begun.identity, begun.request_id) == ("test", request_id)
    again = await start(api, name, request_eager_execution=True, request_id=request_id)
    assert again.run_id == started.run_id
    assert again.eager_workflow_task.history == task.history
    workflow = RawWorkflow(api, name, started.run_id, name)
    await workflow.complete(again.eager_workflow_task, complete_workflow())
    assert trace(await workflow.events()) == "Started S B C Completed"
    late = await start(api, name, request_eager_execution=True, request_id=request_id)
    assert late.run_id == started.run_id
    assert not late.HasField("eager_workflow_task")


async def test_eager_start_is_refused_without_harm(api: WorkflowServiceStub) -> None:
    """A run that waits for its delay, or that was there before, has no task to give."""
    delayed = await start(api, unique("delayed"), request_eager_execution=True, workflow_start_delay=duration(60))
    assert delayed.started
    assert not delayed.HasField("eager_workflow_task")
    name = unique("used")
    await start(api, name)
    used = await start(api, name, request_eager_execution=True, workflow_id_conflict_policy=USE_EXISTING)
    assert not used.started
    assert not used.HasField("eager_workflow_task")


async def test_eager_start_with_the_sdk(client: Client) -> None:
    """The worker that shares the client gets the task past the queue."""
    queue = unique("eager")
    async with worker_for(client, queue):
        handle = await client.start_workflow(
            workflows.Echo.run, "hello", id=unique("eager"), task_queue=queue, request_eager_start=True
        )
        assert await handle.result() == "hello"
    first = (await events_of(handle))[0].workflow_execution_started_event_attributes
    assert first.eager_execution_accepted


async def test_request_is_attached_to_the_run_it_uses(api: WorkflowServiceStub) -> None:
    """An event says so, the answer points at it, and the same request is answered by that run under any policy."""
    workflow = await RawWorkflow.start(api, "attach")
    options = OnConflictOptions(attach_request_id=True, attach_links=True)
    fields = {"workflow_id_conflict_policy": USE_EXISTING, "on_conflict_options": options, "links": [link()]}
    request_id = unique("request")
    used = await start(api, workflow.workflow_id, request_id=request_id, **fields)
    assert (used.run_id, used.started) == (workflow.run_id, False)
    reference = used.link.workflow_event.request_id_ref
    assert (reference.request_id, reference.event_type) == (request_id, OPTIONS_UPDATED)
    again = await start(api, workflow.workflow_id, request_id=request_id)
    assert (again.run_id, again.started) == (workflow.run_id, False)
    events = await workflow.events()
    assert trace(events) == "Started S OptionsUpdated"
    updated = events[-1]
    assert updated.worker_may_ignore
    assert updated.workflow_execution_options_updated_event_attributes.attached_request_id == request_id
    assert list(updated.links) == [link()]
    describe = service.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=workflow.execution)
    described = await api.DescribeWorkflowExecution(describe, timeout=CALL_S)
    known = described.workflow_extended_info.request_id_infos
    assert {info.event_id for info in known.values()} == {1, 3}
    assert known[request_id].event_type == OPTIONS_UPDATED


async def test_run_that_is_used_without_options_stays_as_it_is(api: WorkflowServiceStub) -> None:
    """The answer points at the start of the run."""
    workflow = await RawWorkflow.start(api, "attach-nothing")
    used = await start(api, workflow.workflow_id, workflow_id_conflict_policy=USE_EXISTING, links=[link()])
    assert used.link.workflow_event.event_ref.event_id == 1
    assert trace(await workflow.events()) == "Started S"


async def test_attached_request_waits_for_the_workflow_task(api: WorkflowServiceStub) -> None:
    """While a worker is at work the event is held back, so that the workflow cannot end past it."""
    workflow = await RawWorkflow.start(api, "attach-later")
    task = await workflow.poll()
    options = OnConflictOptions(attach_request_id=True)
    fields = {"workflow_id_conflict_policy": USE_EXISTING, "on_conflict_options": options}
    await start(api, workflow.workflow_id, **fields)
    describe = service.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=workflow.execution)
    described = await api.DescribeWorkflowExecution(describe, timeout=CALL_S)
    assert any(info.buffered for info in described.workflow_extended_info.request_id_infos.values())
    invalid(await refusal_of(workflow.complete(task, complete_workflow())), "UnhandledCommand")
    assert trace(await workflow.events()) == "Started S B F(UNHANDLED_COMMAND) OptionsUpdated S"


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ([link()] * 11, "cannot attach more than 10 links per request, got 11"),
        ([Link()], "unsupported link variant"),
        ([link(namespace="")], "workflow event link must not have an empty namespace field"),
        ([link(workflow_id="")], "workflow event link must not have an empty workflow ID field"),
        ([link(run_id="")], "workflow event link must not have an empty run ID field"),
        (
            [link(event_ref=Link.WorkflowEvent.EventReference(event_id=3))],
            "workflow event link ref cannot have an unspecified event type and a non-zero event ID",
        ),
        ([Link(batch_job=Link.BatchJob())], "batch job link must not have an empty job ID"),
    ],
    ids=["many", "empty", "namespace", "workflow", "run", "event", "batch"],
)
async def test_links_point_somewhere(api: WorkflowServiceStub, links: list[Link], message: str) -> None:
    """Those that do not are refused."""
    invalid(await refusal_of(start(api, unique("links"), links=links)), message)


async def test_callbacks_are_attached_with_the_request_only(api: WorkflowServiceStub) -> None:
    """Without the request's id nobody could tell whose they are."""
    options = OnConflictOptions(attach_completion_callbacks=True)
    refused = await refusal_of(
        start(api, unique("callbacks"), on_conflict_options=options, task_queue=TaskQueue(name="any"))
    )
    invalid(refused, "attaching request ID is required for attaching completion callbacks")
