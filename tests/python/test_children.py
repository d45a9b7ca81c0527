"""Child workflows: results, failures, ids in use, signals to them, and the parent's end."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

import activities
import workflows
from support import events_of, eventually, names, show, trace, unique, wait_for_event, worker_for


async def test_child_result(client: Client) -> None:
    """A parent receives its child's result; its history shows the child initiated, started, completed."""
    queue = unique("child")
    async with worker_for(client, queue):
        parent = await client.start_workflow(
            workflows.Parent.run, args=["Echo", f"{queue}/child", "value"], id=queue, task_queue=queue
        )
        assert await parent.result() == "value"
    events = await events_of(parent)
    order = [name for name in names(events) if "Child" in name]
    assert order == [
        "StartChildWorkflowExecutionInitiated",
        "ChildWorkflowExecutionStarted",
        "ChildWorkflowExecutionCompleted",
    ], show(events)
    child = await events_of(client.get_workflow_handle(f"{queue}/child"))
    assert trace(child) == "Started S B C Completed", show(child)
    started = child[0].workflow_execution_started_event_attributes
    assert started.parent_workflow_execution.workflow_id == parent.id
    assert started.parent_workflow_execution.run_id == parent.result_run_id
    assert started.root_workflow_execution.workflow_id == parent.id


async def test_ten_children_at_once(client: Client) -> None:
    """Ten children started in one workflow task each give their own result."""
    queue = unique("children")
    async with worker_for(client, queue):
        result = await client.execute_workflow(workflows.ParentOfMany.run, 10, id=queue, task_queue=queue)
    assert result == list(range(10))


async def test_failing_child(client: Client) -> None:
    """A child's failure reaches the parent typed, and through it the parent's caller."""
    queue = unique("child-fails")
    async with worker_for(client, queue):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(
                workflows.Parent.run, args=["Fail", f"{queue}/child", "child out"], id=queue, task_queue=queue
            )
    error = failed.value.cause
    assert isinstance(error, ChildWorkflowError)
    assert (error.workflow_id, error.workflow_type) == (f"{queue}/child", "Fail")
    assert isinstance(error.cause, ApplicationError)
    assert (error.cause.message, error.cause.type) == ("child out", "Unlucky")


async def test_child_id_in_use(client: Client) -> None:
    """A child whose id is running already fails to start, as an error that names the id."""
    queue = unique("child-exists")
    child_id = f"{queue}/child"
    await client.start_workflow("Echo", 1, id=child_id, task_queue=unique("nobody"))
    async with worker_for(client, queue):
        parent = await client.start_workflow(
            workflows.Parent.run, args=["Echo", child_id, 2], id=queue, task_queue=queue
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await parent.result()
    causes = [failed.value.cause, getattr(failed.value.cause, "cause", None)]
    assert any(
        isinstance(cause, WorkflowAlreadyStartedError) or "already started" in str(cause).lower() for cause in causes
    ), causes
    assert "StartChildWorkflowExecutionFailed" in names(await events_of(parent))


async def test_parent_signals_its_child(client: Client) -> None:
    """Signals through the child's handle arrive in order while the child runs."""
    queue = unique("child-signals")
    async with worker_for(client, queue):
        result = await client.execute_workflow(workflows.ParentThatSignals.run, 5, id=queue, task_queue=queue)
    assert result == list(range(5))


async def test_terminated_child(client: Client) -> None:
    """A child terminated from outside ends in the parent as a child failure."""
    queue = unique("child-ended")
    child = client.get_workflow_handle(f"{queue}/child")
    async with worker_for(client, queue):
        parent = await client.start_workflow(
            workflows.Parent.run, args=["Echo", child.id, None], id=queue, task_queue=queue
        )
        assert await parent.result() is None
        waiting = await client.start_workflow(
            workflows.Parent.run, args=["Collect", f"{child.id}/2", 1], id=f"{queue}/2", task_queue=queue
        )
        await wait_for_event(waiting, "ChildWorkflowExecutionStarted")
        await client.get_workflow_handle(f"{child.id}/2").terminate(reason="not needed")
        with pytest.raises(WorkflowFailureError) as failed:
            await waiting.result()
    assert isinstance(failed.value.cause, ChildWorkflowError)
    assert "ChildWorkflowExecutionTerminated" in names(await events_of(waiting))


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (ParentClosePolicy.TERMINATE, WorkflowExecutionStatus.TERMINATED),
        (ParentClosePolicy.REQUEST_CANCEL, WorkflowExecutionStatus.CANCELED),
        (ParentClosePolicy.ABANDON, WorkflowExecutionStatus.RUNNING),
    ],
    ids=lambda value: value.name.lower(),
)
async def test_parent_close_policy(client: Client, policy: ParentClosePolicy, status: WorkflowExecutionStatus) -> None:
    """When the parent closes, its running child is terminated, asked to cancel, or left alone."""
    queue = unique("policy")
    child = client.get_workflow_handle(f"{queue}/child")

    async def reached() -> bool:
        return (await child.describe()).status == status

    async with worker_for(client, queue, activities=[activities.echo]):
        await client.execute_workflow(
            workflows.ParentThatLeaves.run, args=[child.id, int(policy)], id=queue, task_queue=queue
        )
        await eventually(reached)
        if policy == ParentClosePolicy.ABANDON:
            await child.signal("anyone", "there")
