"""DeleteWorkflowExecution at the wire."""

from __future__ import annotations

from typing import Any

import grpc
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus, WorkflowIdReusePolicy
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE
from support import eventually, unique
from wire import CALL_S, RawWorkflow, complete_workflow, invalid, not_found, refusal_of, start_request

# The genuine server takes half a minute to delete a run that is closed.
DELETED_WITHIN_S = 60.0
UNKNOWN_RUN = "01900000-0000-7000-8000-000000000000"


def delete(api: WorkflowServiceStub, execution: WorkflowExecution | None) -> Any:
    """Deletes a run."""
    request = service.DeleteWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=execution)
    return api.DeleteWorkflowExecution(request, timeout=CALL_S)


async def is_gone(api: WorkflowServiceStub, execution: WorkflowExecution) -> bool:
    """Nobody finds the run any more, nor its history."""
    describe = service.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=execution)
    history = service.GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE, execution=execution)
    try:
        await api.DescribeWorkflowExecution(describe, timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
        refused = await refusal_of(api.GetWorkflowExecutionHistory(history, timeout=CALL_S))
        return refused.code == grpc.StatusCode.NOT_FOUND
    return False


async def test_open_workflow_is_deleted(api: WorkflowServiceStub) -> None:
    """With its worker at work; what the worker reports then finds nothing. The id is free again, for any policy."""
    workflow = await RawWorkflow.start(api, "deleted")
    task = await workflow.poll()
    await delete(api, WorkflowExecution(workflow_id=workflow.workflow_id))
    await eventually(lambda: is_gone(api, workflow.execution), DELETED_WITHIN_S)
    assert (await refusal_of(workflow.complete(task, complete_workflow()))).code == grpc.StatusCode.NOT_FOUND
    newest = WorkflowExecution(workflow_id=workflow.workflow_id)
    not_found(await refusal_of(delete(api, newest)), f"workflow not found for ID: {workflow.workflow_id}")
    policy = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    again = await api.StartWorkflowExecution(
        start_request(workflow.workflow_id, workflow_id_reuse_policy=policy), timeout=CALL_S
    )
    assert again.started and again.run_id != workflow.run_id


async def test_closed_workflow_is_deleted(api: WorkflowServiceStub) -> None:
    """Long before its retention is over."""
    workflow = await RawWorkflow.start(api, "deleted")
    await workflow.step(complete_workflow())
    await delete(api, workflow.execution)
    await eventually(lambda: is_gone(api, workflow.execution), DELETED_WITHIN_S)


async def test_earlier_run_is_deleted_alone(api: WorkflowServiceStub) -> None:
    """The run that came after it goes on."""
    first = await RawWorkflow.start(api, "deleted")
    await first.step(complete_workflow())
    request = start_request(first.workflow_id, task_queue={"name": first.task_queue})
    second = await api.StartWorkflowExecution(request, timeout=CALL_S)
    await delete(api, first.execution)
    await eventually(lambda: is_gone(api, first.execution), DELETED_WITHIN_S)
    describe = service.DescribeWorkflowExecutionRequest(
        namespace=NAMESPACE, execution=WorkflowExecution(workflow_id=first.workflow_id)
    )
    shown = (await api.DescribeWorkflowExecution(describe, timeout=CALL_S)).workflow_execution_info
    assert shown.execution.run_id == second.run_id
    assert shown.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
    await delete(api, WorkflowExecution(workflow_id=first.workflow_id, run_id=second.run_id))
    await eventually(lambda: is_gone(api, WorkflowExecution(workflow_id=first.workflow_id)), DELETED_WITHIN_S)


async def test_what_cannot_be_deleted(api: WorkflowServiceStub) -> None:
    """What is not there, and what is not named."""
    absent = unique("absent")
    by_id = await refusal_of(delete(api, WorkflowExecution(workflow_id=absent)))
    not_found(by_id, f"workflow not found for ID: {absent}")
    by_run = await refusal_of(delete(api, WorkflowExecution(workflow_id=absent, run_id=UNKNOWN_RUN)))
    message = f'workflow execution not found for workflow ID "{absent}" and run ID "{UNKNOWN_RUN}"'
    not_found(by_run, message)
    invalid(await refusal_of(delete(api, None)), "Execution is not set on request.")
    invalid(await refusal_of(delete(api, WorkflowExecution(workflow_id=absent, run_id="x"))), "Invalid RunId.")
