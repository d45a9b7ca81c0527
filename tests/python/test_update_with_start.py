"""An update that comes with a start, at the wire: which run takes it, and whose fault a refusal is.

Numbers in goals are those of the reference traces (workflow-engine.md, section 22).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.errordetails import v1 as details
from temporalio.api.update import v1 as update
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE
from support import unique
from update_wire import (
    ABORTED,
    ADMITTED,
    COMPLETED,
    accept,
    ask,
    expect_trace,
    idle,
    reject,
    reject_all,
    respond,
    say,
    says,
    update_request,
)
from wire import (
    CALL_S,
    RawWorkflow,
    application_failure,
    complete_workflow,
    duration,
    invalid,
    json_payload,
    refusal_of,
    start_request,
)


def with_start(
    workflow_id: str, update_id: str, update_fields: dict[str, Any] | None = None, **start_fields: Any
) -> service.ExecuteMultiOperationRequest:
    """A start and an update in one request."""
    operation = service.ExecuteMultiOperationRequest.Operation
    return service.ExecuteMultiOperationRequest(
        namespace=NAMESPACE,
        operations=[
            operation(start_workflow=start_request(workflow_id, **start_fields)),
            operation(update_workflow=update_request(workflow_id, update_id, **(update_fields or {}))),
        ],
    )


async def execute(
    api: WorkflowServiceStub, request: service.ExecuteMultiOperationRequest
) -> tuple[service.StartWorkflowExecutionResponse, service.UpdateWorkflowExecutionResponse]:
    """The two answers."""
    answer = await api.ExecuteMultiOperation(request, timeout=30)
    return answer.responses[0].start_workflow, answer.responses[1].update_workflow


def raw(api: WorkflowServiceStub, workflow_id: str, run_id: str = "") -> RawWorkflow:
    """The workflow that such a request starts."""
    return RawWorkflow(api, workflow_id, run_id, workflow_id)


async def both_refused(
    api: WorkflowServiceStub, request: service.ExecuteMultiOperationRequest
) -> tuple[grpc.StatusCode, list[tuple[int, str, str]]]:
    """The status of a refused pair, and of each of its parts: code, text and the detail's name."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(api, request)
    error = caught.value
    assert error.details() == "Update-with-Start could not be executed."
    packed = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    failure = details.MultiOperationExecutionFailure()
    assert GrpcStatus.FromString(packed).details[0].Unpack(failure)

    def name(status: Any) -> str:
        return status.details[0].type_url.rpartition(".")[2] if status.details else ""

    return error.code(), [(status.code, status.message, name(status)) for status in failure.statuses]


OTHER_FAULT = (grpc.StatusCode.ABORTED.value[0], "Operation was aborted.", "MultiOperationExecutionAborted")
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def test_update_with_start(api: WorkflowServiceStub) -> None:
    """A new run's first task brings the update; the same request again finds it done."""
    workflow_id = unique("with-start")
    call = asyncio.create_task(execute(api, with_start(workflow_id, "u")))
    workflow = raw(api, workflow_id)
    task = await workflow.poll()
    assert [(message.id, message.event_id) for message in task.messages] == [("u/request", 2)]
    await say(workflow, task, accept(task.messages[0]), respond("u"))
    start, updated = await call
    assert (start.started, updated.stage) == (True, COMPLETED)
    assert start.run_id == updated.update_ref.workflow_execution.run_id
    assert updated.outcome.success == json_payload("42")
    await expect_trace(workflow, "Started S B C UpdateAccepted UpdateCompleted")
    start, again = await execute(api, with_start(workflow_id, "u"))
    assert (start.started, again.outcome) == (False, updated.outcome)


async def test_update_with_start_on_an_open_run(api: WorkflowServiceStub) -> None:
    """Trace 22: the conflict policy says whether an open run may serve."""
    workflow = await idle(api)
    code, parts = await both_refused(api, with_start(workflow.workflow_id, "u"))
    assert code == grpc.StatusCode.ALREADY_EXISTS
    text = f"Workflow execution is already running. WorkflowId: {workflow.workflow_id}, RunId: {workflow.run_id}."
    assert parts == [(code.value[0], text, "WorkflowExecutionAlreadyStartedFailure"), OTHER_FAULT]
    use = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
    request = with_start(workflow.workflow_id, "u", workflow_id_conflict_policy=use)
    call = asyncio.create_task(execute(api, request))
    task = await workflow.poll()
    await say(workflow, task, reject(task.messages[0]))
    start, updated = await call
    assert (start.started, start.run_id) == (False, workflow.run_id)
    assert updated.outcome.failure == application_failure("no")
    await expect_trace(workflow, "Started S B C")


async def test_update_with_start_of_a_workflow_that_closes(api: WorkflowServiceStub) -> None:
    """The start succeeded, the update did not. Then the reuse policy says whether another run may begin."""
    workflow_id = unique("with-start")
    call = asyncio.create_task(both_refused(api, with_start(workflow_id, "u")))
    workflow = raw(api, workflow_id)
    await workflow.step(complete_workflow())
    code, parts = await call
    assert code == grpc.StatusCode.NOT_FOUND
    assert parts == [(0, "", ""), (code.value[0], ABORTED, "NotFoundFailure")]
    reuse = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    code, parts = await both_refused(api, with_start(workflow_id, "v", workflow_id_reuse_policy=reuse))
    assert code == grpc.StatusCode.ALREADY_EXISTS
    assert parts[0][1].startswith("Workflow execution already finished. ")
    assert parts[1] == OTHER_FAULT


async def test_update_with_start_beyond_the_limit(api: WorkflowServiceStub) -> None:
    """An update that an open run does not take is the update's fault."""
    workflow = await idle(api)
    calls = [await ask(workflow, f"u{number}") for number in range(10)]
    use = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
    request = with_start(workflow.workflow_id, "more", workflow_id_conflict_policy=use)
    code, parts = await both_refused(api, request)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    text = "limit on number of concurrent in-flight updates has been reached (10)"
    assert parts == [OTHER_FAULT, (code.value[0], text, "ResourceExhaustedFailure")]
    await reject_all(workflow, len(calls))
    await asyncio.gather(*calls)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"cron_schedule": "* * * * *"}, "CronSchedule is not allowed."),
        ({"workflow_start_delay": duration(3)}, "WorkflowStartDelay is not supported."),
        ({"request_eager_execution": True}, "RequestEagerExecution is not supported."),
        ({"namespace": "other"}, "Operation namespace did not match request's namespace."),
        ({"workflow_type": None}, "WorkflowType is not set on request."),
    ],
)
async def test_bad_start_of_a_pair(api: WorkflowServiceStub, fields: dict[str, Any], text: str) -> None:
    """The start is at fault, the update was not tried."""
    code, parts = await both_refused(api, with_start(unique("with-start"), "u", **fields))
    assert (code, parts) == (INVALID, [(INVALID.value[0], text, ""), OTHER_FAULT])


MISSING = "11111111-1111-1111-1111-111111111111"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda u: setattr(u.workflow_execution, "run_id", MISSING), "RunId is not allowed."),
        (lambda u: setattr(u, "first_execution_run_id", MISSING), "FirstExecutionRunId is not allowed."),
        (
            lambda u: setattr(u.workflow_execution, "workflow_id", "other"),
            "WorkflowId is not consistent with previous operation(s).",
        ),
        (lambda u: setattr(u.request.input, "name", ""), "Update name is not set on request."),
    ],
)
async def test_bad_update_of_a_pair(api: WorkflowServiceStub, change: Callable[[Any], None], text: str) -> None:
    """The update is at fault, and no workflow is started."""
    workflow_id = unique("with-start")
    request = with_start(workflow_id, "u")
    change(request.operations[1].update_workflow)
    code, parts = await both_refused(api, request)
    assert (code, parts) == (INVALID, [OTHER_FAULT, (INVALID.value[0], text, "")])
    described = raw(api, workflow_id).describe()
    assert (await refusal_of(described)).code == grpc.StatusCode.NOT_FOUND


async def test_pair_that_waits_for_too_little(api: WorkflowServiceStub) -> None:
    """A pair cannot wait for the admission alone, as an update cannot."""
    policy = {"wait_policy": update.WaitPolicy(lifecycle_stage=ADMITTED)}
    code, parts = await both_refused(api, with_start(unique("with-start"), "u", policy))
    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert (parts[0], parts[1][2]) == (OTHER_FAULT, "PermissionDeniedFailure")


@pytest.mark.parametrize("order", ["", "0", "1", "00", "10", "011"])
async def test_operations_that_are_no_pair(api: WorkflowServiceStub, order: str) -> None:
    """Only a start followed by an update is known."""
    request = with_start(unique("with-start"), "u")
    operations = [request.operations[int(index)] for index in order]
    other = service.ExecuteMultiOperationRequest(namespace=NAMESPACE, operations=operations)
    refused = await refusal_of(api.ExecuteMultiOperation(other, timeout=CALL_S))
    invalid(refused, "Operations have to be exactly [Start, Update].")
