"""The rest of the API at the wire: errors of each call, worker calls with bad tokens, describe, server information."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from temporalio.api.common.v1 import RetryPolicy, WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState, PendingWorkflowTaskState, WorkflowExecutionStatus
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE, SERVICE
from support import unique
from wire import (
    CALL_S,
    POLL_S,
    RawWorkflow,
    application_failure,
    complete_workflow,
    duration,
    invalid,
    json_payload,
    not_found,
    refusal_of,
    schedule_activity,
    signal_request,
    start_timer,
)

# How each call that addresses a workflow names it.
ADDRESSING: dict[str, Callable[[WorkflowExecution, str], Message]] = {
    "SignalWorkflowExecution": lambda execution, namespace: signal_request(execution, namespace=namespace),
    "TerminateWorkflowExecution": lambda execution, namespace: service.TerminateWorkflowExecutionRequest(
        namespace=namespace, workflow_execution=execution
    ),
    "RequestCancelWorkflowExecution": lambda execution, namespace: service.RequestCancelWorkflowExecutionRequest(
        namespace=namespace, workflow_execution=execution
    ),
    "DescribeWorkflowExecution": lambda execution, namespace: service.DescribeWorkflowExecutionRequest(
        namespace=namespace, execution=execution
    ),
    "GetWorkflowExecutionHistory": lambda execution, namespace: service.GetWorkflowExecutionHistoryRequest(
        namespace=namespace, execution=execution
    ),
}
UNKNOWN_RUN = "01900000-0000-7000-8000-000000000000"


def call(api: WorkflowServiceStub, method: str, execution: WorkflowExecution, namespace: str = NAMESPACE) -> Any:
    """Calls one of the `ADDRESSING` methods."""
    return getattr(api, method)(ADDRESSING[method](execution, namespace), timeout=CALL_S)


@pytest.mark.parametrize("method", ADDRESSING)
async def test_unknown_workflow(api: WorkflowServiceStub, method: str) -> None:
    """A workflow id that nobody has started is NotFound in every call, with a text that names it."""
    workflow_id = unique("nobody")
    refusal = await refusal_of(call(api, method, WorkflowExecution(workflow_id=workflow_id)))
    not_found(refusal, f"workflow not found for ID: {workflow_id}")


@pytest.mark.parametrize("method", ADDRESSING)
async def test_unknown_run(api: WorkflowServiceStub, method: str) -> None:
    """A run id that the workflow never had is NotFound."""
    workflow = await RawWorkflow.start(api, "other-run")
    execution = WorkflowExecution(workflow_id=workflow.workflow_id, run_id=UNKNOWN_RUN)
    refusal = await refusal_of(call(api, method, execution))
    text = f'workflow execution not found for workflow ID "{workflow.workflow_id}" and run ID "{UNKNOWN_RUN}"'
    not_found(refusal, text)


@pytest.mark.parametrize("method", ADDRESSING)
async def test_malformed_run_id(api: WorkflowServiceStub, method: str) -> None:
    """A run id that is no UUID is invalid."""
    execution = WorkflowExecution(workflow_id=unique("any"), run_id="not-a-uuid")
    invalid(await refusal_of(call(api, method, execution)), "Invalid RunId.")


@pytest.mark.parametrize("method", ADDRESSING)
async def test_missing_workflow_id(api: WorkflowServiceStub, method: str) -> None:
    """A call that names no workflow is invalid."""
    invalid(await refusal_of(call(api, method, WorkflowExecution())), "WorkflowId is not set on request.")


@pytest.mark.parametrize("method", ADDRESSING)
async def test_unknown_namespace(api: WorkflowServiceStub, method: str) -> None:
    """A namespace that does not exist is NotFound in every call, with the detail that names it."""
    namespace = unique("nowhere")
    refusal = await refusal_of(call(api, method, WorkflowExecution(workflow_id="any"), namespace))
    assert (refusal.code, refusal.message) == (grpc.StatusCode.NOT_FOUND, f"Namespace {namespace} is not found.")
    assert refusal.detail == NamespaceNotFoundFailure(namespace=namespace)


@pytest.mark.parametrize("method", ["DescribeWorkflowExecution", "GetWorkflowExecutionHistory"])
async def test_missing_namespace(api: WorkflowServiceStub, method: str) -> None:
    """A call that names no namespace is invalid."""
    invalid(await refusal_of(call(api, method, WorkflowExecution(workflow_id="any"), "")), "Namespace is empty.")


@pytest.mark.parametrize("method", ["SignalWorkflowExecution", "TerminateWorkflowExecution"])
async def test_closed_workflow(api: WorkflowServiceStub, method: str) -> None:
    """Signalling or terminating a closed run is NotFound, by run id or without."""
    workflow = await RawWorkflow.start(api, "closed")
    await workflow.step(complete_workflow())
    for execution in (workflow.execution, WorkflowExecution(workflow_id=workflow.workflow_id)):
        not_found(await refusal_of(call(api, method, execution)), "workflow execution already completed")


async def test_cancel_of_closed_workflow_is_fine(api: WorkflowServiceStub) -> None:
    """A cancel request for a closed run is accepted and does nothing."""
    workflow = await RawWorkflow.start(api, "closed")
    await workflow.step(complete_workflow())
    await call(api, "RequestCancelWorkflowExecution", workflow.execution)
    assert len(await workflow.events()) == 5


async def test_second_cancel_request_adds_nothing(api: WorkflowServiceStub) -> None:
    """Cancel requests are accepted again and again but recorded once."""
    workflow = await RawWorkflow.start(api, "cancel-twice")
    for _ in range(3):
        await call(api, "RequestCancelWorkflowExecution", workflow.execution)
    assert len(await workflow.events()) == 3


async def test_signal_without_name(api: WorkflowServiceStub) -> None:
    """A signal needs a name."""
    request = signal_request(WorkflowExecution(workflow_id="any"), signal_name="")
    invalid(await refusal_of(api.SignalWorkflowExecution(request, timeout=CALL_S)), "SignalName is not set on request.")


async def test_signal_with_too_large_input(api: WorkflowServiceStub) -> None:
    """A signal's input is limited to 2 MiB."""
    workflow = await RawWorkflow.start(api, "large-signal")
    request = signal_request(workflow.execution, input=json_payload('"' + "x" * 2 * 1024 * 1024 + '"'))
    refusal = await refusal_of(api.SignalWorkflowExecution(request, timeout=CALL_S))
    invalid(refusal, "Blob data size exceeds limit.")


@pytest.mark.parametrize("kind", ["Workflow", "Activity"])
async def test_poll_needs_a_deadline(api: WorkflowServiceStub, kind: str) -> None:
    """A long poll without a gRPC deadline is invalid; one with less than two seconds is refused too."""
    request = poll_request(kind, unique("queue"))
    method = getattr(api, f"Poll{kind}TaskQueue")
    invalid(await refusal_of(method(request)), "Context timeout is not set.")
    refusal = await refusal_of(method(request, timeout=1.5))
    assert (refusal.code, refusal.message) == (grpc.StatusCode.FAILED_PRECONDITION, "Context timeout is too short.")


@pytest.mark.parametrize("kind", ["Workflow", "Activity"])
async def test_poll_comes_back_empty(api: WorkflowServiceStub, kind: str) -> None:
    """A long poll that finds nothing answers empty a while before its deadline, not with an error."""
    method = getattr(api, f"Poll{kind}TaskQueue")
    before = time.monotonic()
    task = await method(poll_request(kind, unique("queue")), timeout=4)
    assert task.task_token == b""
    assert 1 < time.monotonic() - before < 4


@pytest.mark.parametrize("kind", ["Workflow", "Activity"])
async def test_poll_without_queue(api: WorkflowServiceStub, kind: str) -> None:
    """A poll must name a task queue, of an existing namespace."""
    method = getattr(api, f"Poll{kind}TaskQueue")
    invalid(await refusal_of(method(poll_request(kind, ""), timeout=POLL_S)), "missing task queue name")
    namespace = unique("nowhere")
    refusal = await refusal_of(method(poll_request(kind, "any", namespace), timeout=POLL_S))
    assert refusal.detail == NamespaceNotFoundFailure(namespace=namespace)


@pytest.mark.parametrize("kind", ["Workflow", "Activity"])
async def test_cancelled_poll_takes_no_task(api: WorkflowServiceStub, kind: str) -> None:
    """A poll that its worker gave up takes no task: the next poll gets it at once."""
    queue = unique("queue")
    method = getattr(api, f"Poll{kind}TaskQueue")
    given_up = asyncio.ensure_future(method(poll_request(kind, queue), timeout=POLL_S))
    for _ in range(3):  # Answers over the same connection: the poll, sent before them, has arrived.
        await api.GetSystemInfo(service.GetSystemInfoRequest(), timeout=CALL_S)
    given_up.cancel()
    if kind == "Activity":
        workflow = await RawWorkflow.start(api, "given-up")
        await workflow.step(schedule_activity("1", queue))
    else:
        workflow = await RawWorkflow.start(api, "given-up", task_queue=TaskQueue(name=queue))
    before = time.monotonic()
    task = await method(poll_request(kind, queue), timeout=POLL_S)
    assert task.workflow_execution.run_id == workflow.run_id
    assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    ("method", "request_type"),
    [
        ("RespondWorkflowTaskCompleted", service.RespondWorkflowTaskCompletedRequest),
        ("RespondWorkflowTaskFailed", service.RespondWorkflowTaskFailedRequest),
        ("RespondActivityTaskCompleted", service.RespondActivityTaskCompletedRequest),
        ("RespondActivityTaskFailed", service.RespondActivityTaskFailedRequest),
        ("RespondActivityTaskCanceled", service.RespondActivityTaskCanceledRequest),
        ("RecordActivityTaskHeartbeat", service.RecordActivityTaskHeartbeatRequest),
    ],
)
async def test_bad_task_token(api: WorkflowServiceStub, method: str, request_type: type[Message]) -> None:
    """A task token that the server never made is invalid; so is none."""
    garbage = request_type(namespace=NAMESPACE, task_token=b"\xff\xfe\xfd")
    refusal = await refusal_of(getattr(api, method)(garbage, timeout=CALL_S))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.message.startswith("Error deserializing task token."), refusal
    empty = request_type(namespace=NAMESPACE)
    invalid(await refusal_of(getattr(api, method)(empty, timeout=CALL_S)), "Task token not set on request.")


async def test_workflow_task_token_is_good_once(api: WorkflowServiceStub) -> None:
    """A second answer to the same workflow task finds it gone, as does a failure report."""
    workflow = await RawWorkflow.start(api, "once")
    task = await workflow.step(start_timer("1"))
    not_found(await refusal_of(workflow.complete(task)), "Workflow task not found.")
    request = service.RespondWorkflowTaskFailedRequest(namespace=NAMESPACE, task_token=task.task_token)
    not_found(await refusal_of(api.RespondWorkflowTaskFailed(request, timeout=CALL_S)), "Workflow task not found.")


async def test_activity_token_is_good_once(api: WorkflowServiceStub) -> None:
    """Once an activity is completed, no further answer or heartbeat finds it."""
    workflow = await RawWorkflow.start(api, "activity-once")
    await workflow.step(schedule_activity("1", workflow.task_queue))
    token = (await workflow.poll_activity()).task_token
    completed = service.RespondActivityTaskCompletedRequest(namespace=NAMESPACE, task_token=token)
    await api.RespondActivityTaskCompleted(completed, timeout=CALL_S)
    gone = "invalid activityID or activity already timed out or invoking workflow is completed"
    not_found(await refusal_of(api.RespondActivityTaskCompleted(completed, timeout=CALL_S)), gone)
    heartbeat = service.RecordActivityTaskHeartbeatRequest(namespace=NAMESPACE, task_token=token)
    not_found(await refusal_of(api.RecordActivityTaskHeartbeat(heartbeat, timeout=CALL_S)), gone)


async def test_activity_token_of_closed_workflow(api: WorkflowServiceStub) -> None:
    """When the workflow has closed meanwhile, its activity's worker is told that it completed."""
    workflow = await RawWorkflow.start(api, "activity-late")
    await workflow.step(schedule_activity("1", workflow.task_queue))
    token = (await workflow.poll_activity()).task_token
    await call(api, "TerminateWorkflowExecution", workflow.execution)
    request = service.RespondActivityTaskCompletedRequest(namespace=NAMESPACE, task_token=token)
    refusal = await refusal_of(api.RespondActivityTaskCompleted(request, timeout=CALL_S))
    not_found(refusal, "workflow execution already completed")


async def test_activity_failure_must_be_an_application_failure(api: WorkflowServiceStub) -> None:
    """Workers may report only application failures for activities."""
    workflow = await RawWorkflow.start(api, "odd-failure")
    await workflow.step(schedule_activity("1", workflow.task_queue))
    token = (await workflow.poll_activity()).task_token
    failure = application_failure("x")
    failure.server_failure_info.SetInParent()
    request = service.RespondActivityTaskFailedRequest(namespace=NAMESPACE, task_token=token, failure=failure)
    refusal = await refusal_of(api.RespondActivityTaskFailed(request, timeout=CALL_S))
    invalid(refusal, "Failure must have ApplicationFailureInfo.")


async def test_activity_cancellation_must_have_been_requested(api: WorkflowServiceStub) -> None:
    """A worker may not report a cancellation that nobody asked for."""
    workflow = await RawWorkflow.start(api, "unasked")
    await workflow.step(schedule_activity("1", workflow.task_queue))
    token = (await workflow.poll_activity()).task_token
    request = service.RespondActivityTaskCanceledRequest(namespace=NAMESPACE, task_token=token)
    refusal = await refusal_of(api.RespondActivityTaskCanceled(request, timeout=CALL_S))
    invalid(refusal, "unable to mark activity as canceled without activity being request canceled first")


async def test_describe_a_running_workflow(api: WorkflowServiceStub) -> None:
    """Describe shows configuration, status, the pending workflow task and the length of the history."""
    workflow = await RawWorkflow.start(api, "describe", workflow_run_timeout=duration(60))
    scheduled = await workflow.describe()
    info = scheduled.workflow_execution_info
    assert (info.execution.workflow_id, info.execution.run_id) == (workflow.workflow_id, workflow.run_id)
    assert info.type.name == "Any"
    assert info.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
    assert info.history_length == 2
    assert info.first_run_id == workflow.run_id
    assert info.task_queue == scheduled.execution_config.task_queue.name == workflow.task_queue
    assert scheduled.execution_config.workflow_run_timeout == duration(60)
    assert scheduled.execution_config.default_workflow_task_timeout == duration(10)
    assert scheduled.pending_workflow_task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
    task = await workflow.poll()
    started = await workflow.describe()
    assert started.pending_workflow_task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
    assert started.pending_workflow_task.attempt == 1
    await workflow.complete(task, start_timer("1"))
    assert not (await workflow.describe()).HasField("pending_workflow_task")


async def test_describe_a_closed_workflow(api: WorkflowServiceStub) -> None:
    """Describe of a closed run shows its status and its times."""
    workflow = await RawWorkflow.start(api, "describe-closed")
    await workflow.step(complete_workflow())
    info = (await workflow.describe()).workflow_execution_info
    assert info.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
    assert info.history_length == 5
    assert info.close_time.ToNanoseconds() >= info.start_time.ToNanoseconds()
    assert info.HasField("execution_duration")


async def test_describe_activity_between_attempts(api: WorkflowServiceStub) -> None:
    """While a retry waits, describe shows the next attempt, the last failure and when it will be tried."""
    workflow = await RawWorkflow.start(api, "between")
    policy = RetryPolicy(initial_interval=duration(300), backoff_coefficient=1)
    await workflow.step(
        schedule_activity("1", workflow.task_queue, retry_policy=policy, heartbeat_timeout=duration(60))
    )
    [scheduled] = (await workflow.describe()).pending_activities
    assert (scheduled.state, scheduled.attempt) == (PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED, 1)
    token = (await workflow.poll_activity()).task_token
    [started] = (await workflow.describe()).pending_activities
    assert (started.state, started.attempt) == (PendingActivityState.PENDING_ACTIVITY_STATE_STARTED, 1)
    assert started.last_worker_identity == "test"
    failed = service.RespondActivityTaskFailedRequest(
        namespace=NAMESPACE,
        task_token=token,
        failure=application_failure("first try"),
        last_heartbeat_details=json_payload('"half"'),
        identity="test",
    )
    await api.RespondActivityTaskFailed(failed, timeout=CALL_S)
    [waiting] = (await workflow.describe()).pending_activities
    assert (waiting.state, waiting.attempt) == (PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED, 2)
    assert waiting.activity_id == "1"
    assert waiting.last_failure.message == "first try"
    assert waiting.last_worker_identity == "test"
    assert waiting.heartbeat_details == json_payload('"half"')
    assert 300 <= waiting.current_retry_interval.ToNanoseconds() / 1e9 < 301
    wait_s = (waiting.next_attempt_schedule_time.ToNanoseconds() - started.last_started_time.ToNanoseconds()) / 1e9
    assert 300 <= wait_s < 310
    assert waiting.HasField("expiration_time")
    assert waiting.activity_options.retry_policy.initial_interval == duration(300)


async def test_describe_namespace(api: WorkflowServiceStub) -> None:
    """A namespace is described by name and by id, with its state and a retention; an unknown one is NotFound."""
    by_name = await api.DescribeNamespace(service.DescribeNamespaceRequest(namespace=NAMESPACE), timeout=CALL_S)
    assert by_name.namespace_info.name == NAMESPACE
    assert by_name.namespace_info.state == 1
    assert by_name.config.workflow_execution_retention_ttl.ToSeconds() > 0
    by_id = await api.DescribeNamespace(service.DescribeNamespaceRequest(id=by_name.namespace_info.id), timeout=CALL_S)
    assert by_id.namespace_info.name == NAMESPACE
    name = unique("nowhere")
    request = service.DescribeNamespaceRequest(namespace=name)
    refusal = await refusal_of(api.DescribeNamespace(request, timeout=CALL_S))
    assert refusal.detail == NamespaceNotFoundFailure(namespace=name)


async def test_system_and_cluster_info(api: WorkflowServiceStub) -> None:
    """What every SDK asks on connecting: version and capabilities; what tools ask: the cluster's name and id."""
    system = await api.GetSystemInfo(service.GetSystemInfoRequest(), timeout=CALL_S)
    assert system.server_version
    capabilities = system.capabilities
    assert capabilities.signal_and_query_header
    assert capabilities.internal_error_differentiation
    assert capabilities.activity_failure_include_heartbeat
    assert capabilities.encoded_failure_attributes
    assert capabilities.sdk_metadata
    cluster = await api.GetClusterInfo(service.GetClusterInfoRequest(), timeout=CALL_S)
    assert cluster.cluster_id
    assert cluster.cluster_name
    assert cluster.server_version == system.server_version
    assert cluster.history_shard_count > 0


async def test_health(channel: grpc.aio.Channel) -> None:
    """The health service says SERVING for the workflow service."""
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=CALL_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection(channel: grpc.aio.Channel) -> None:
    """Server reflection lists the workflow service and hands out the file that declares it."""
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    answers = [answer async for answer in stub.ServerReflectionInfo(iter(requests), timeout=CALL_S)]
    listed = {found.name for found in answers[0].list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= listed
    assert answers[1].file_descriptor_response.file_descriptor_proto


async def test_compressed_request(api: WorkflowServiceStub) -> None:
    """Requests may come compressed by gzip: the SDK compresses all of its own, from the first call on."""
    answer = await api.GetSystemInfo(service.GetSystemInfoRequest(), timeout=CALL_S, compression=grpc.Compression.Gzip)
    assert answer.server_version


async def test_unknown_method(channel: grpc.aio.Channel) -> None:
    """A method that the service does not have is Unimplemented."""
    refusal = await refusal_of(channel.unary_unary(f"/{SERVICE}/NoSuchMethod")(b"", timeout=CALL_S))
    assert refusal.code == grpc.StatusCode.UNIMPLEMENTED


def poll_request(kind: str, queue: str, namespace: str = NAMESPACE) -> Message:
    """A poll for workflow or activity tasks."""
    request_type = getattr(service, f"Poll{kind}TaskQueueRequest")
    return request_type(namespace=namespace, task_queue=TaskQueue(name=queue), identity="test")
