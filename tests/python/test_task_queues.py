"""DescribeTaskQueue and ListTaskQueuePartitions at the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from temporalio.api.common.v1 import Priority
from temporalio.api.enums.v1 import DescribeTaskQueueMode, RateLimitSource, TaskQueueKind, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueMetadata
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE
from support import eventually, unique
from wire import CALL_S, RawWorkflow, invalid, refusal_of, start_request

WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY


async def describe(api: WorkflowServiceStub, queue: TaskQueue | None, **fields: Any) -> service.DescribeTaskQueueResponse:
    """Describes a queue."""
    request = service.DescribeTaskQueueRequest(namespace=NAMESPACE, task_queue=queue, **fields)
    return await api.DescribeTaskQueue(request, timeout=CALL_S)


async def test_backlog_is_counted_before_any_worker_came(api: WorkflowServiceStub) -> None:
    """Three workflows wait, one of them with another priority; the oldest waits for a while."""
    queue = TaskQueue(name=unique("backlog"))
    for priority in (0, 0, 2):
        request = start_request(unique("waits"), task_queue=queue, priority=Priority(priority_key=priority))
        await api.StartWorkflowExecution(request, timeout=CALL_S)

    async def counted() -> service.DescribeTaskQueueResponse | None:
        described = await describe(api, queue, report_stats=True)
        return described if described.stats.approximate_backlog_count == 3 else None

    described = await eventually(counted)
    assert described.stats.approximate_backlog_age.ToMicroseconds() > 0
    by_priority = {
        key: stats.approximate_backlog_count
        for key, stats in described.stats_by_priority_key.items()
        if stats.approximate_backlog_count
    }
    assert by_priority == {2: 1, 3: 2}
    assert not described.pollers
    assert described.versioning_info.current_version == "__unversioned__"
    activities = await describe(api, queue, report_stats=True, task_queue_type=ACTIVITY)
    assert activities.stats.approximate_backlog_count == 0
    assert activities.stats.HasField("approximate_backlog_age")


async def test_stats_are_told_only_when_asked_for(api: WorkflowServiceStub) -> None:
    """A queue that nobody used is described all the same."""
    described = await describe(api, TaskQueue(name=unique("unused")))
    assert not described.HasField("stats")
    assert not described.stats_by_priority_key
    assert not described.pollers
    assert described.effective_rate_limit.rate_limit_source == RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM


async def test_poller_is_shown_with_its_rate(api: WorkflowServiceStub) -> None:
    """A worker that has taken its task and asks for no other is still known, and so is the rate it allows."""
    workflow = await RawWorkflow.start(api, "polled")
    queue = TaskQueue(name=workflow.task_queue)
    await workflow.poll()
    described = await describe(api, queue, report_config=True)
    assert [poller.identity for poller in described.pollers] == ["test"]
    assert described.pollers[0].HasField("last_access_time")
    metadata = TaskQueueMetadata()
    metadata.max_tasks_per_second.value = 7.5
    # Asks for a task that is not there, for as short as may be.
    await api.PollActivityTaskQueue(
        service.PollActivityTaskQueueRequest(
            namespace=NAMESPACE, task_queue=queue, identity="slow", task_queue_metadata=metadata
        ),
        timeout=3,
    )
    activities = await describe(api, queue, task_queue_type=ACTIVITY, report_config=True)
    assert [(poller.identity, poller.rate_per_second) for poller in activities.pollers] == [("slow", 7.5)]
    assert activities.effective_rate_limit.requests_per_second == 7.5
    assert activities.effective_rate_limit.rate_limit_source == RateLimitSource.RATE_LIMIT_SOURCE_WORKER


async def test_mode_of_old_tells_by_version(api: WorkflowServiceStub) -> None:
    """The official command line asks so; workers without versions are the one without a name."""
    workflow = await RawWorkflow.start(api, "enhanced")
    queue = TaskQueue(name=workflow.task_queue)
    await workflow.poll()
    mode = DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED
    described = await describe(api, queue, api_mode=mode, report_pollers=True, report_stats=True)
    assert list(described.versions_info) == [""]
    by_type = described.versions_info[""].types_info
    assert set(by_type) == {WORKFLOW, ACTIVITY}
    assert [poller.identity for poller in by_type[WORKFLOW].pollers] == ["test"]
    assert by_type[WORKFLOW].stats.approximate_backlog_count == 0


async def test_queues_that_cannot_be_described(api: WorkflowServiceStub) -> None:
    """No name, too long a name, a name of the server's own; figures of a sticky queue."""
    invalid(await refusal_of(describe(api, None)), "taskQueue is not set")
    invalid(await refusal_of(describe(api, TaskQueue())), "missing task queue name")
    invalid(await refusal_of(describe(api, TaskQueue(name="q" * 1001))), "taskQueue length exceeds limit")
    reserved = await refusal_of(describe(api, TaskQueue(name="/_sys/mine")))
    invalid(reserved, "invalid task queue partition name /_sys/mine")
    sticky = TaskQueue(name=unique("sticky"), kind=STICKY, normal_name=unique("normal"))
    assert not (await describe(api, sticky)).HasField("versioning_info")
    message = "DescribeTaskQueue stats are only supported for the root partition"
    invalid(await refusal_of(describe(api, sticky, report_stats=True)), message)


async def test_partitions_of_a_queue(api: WorkflowServiceStub) -> None:
    """The first of them bears the queue's name."""
    name = unique("parts")

    async def partitions(queue: TaskQueue) -> service.ListTaskQueuePartitionsResponse:
        request = service.ListTaskQueuePartitionsRequest(namespace=NAMESPACE, task_queue=queue)
        return await api.ListTaskQueuePartitions(request, timeout=CALL_S)

    listed = await partitions(TaskQueue(name=name))
    assert listed.workflow_task_queue_partitions[0].key == name
    assert listed.activity_task_queue_partitions[0].key == name
    refused = await refusal_of(partitions(TaskQueue()))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_worker_that_leaves_is_not_waited_for(api: WorkflowServiceStub) -> None:
    """After ShutdownWorker a task goes to the normal queue at once, though the sticky one was just polled."""
    workflow = await RawWorkflow.start(api, "leaves")
    task = await workflow.poll()
    await workflow.complete(task, sticky=True)
    polling = asyncio.create_task(workflow.poll(sticky=True))

    async def is_polled() -> bool:
        described = await describe(api, TaskQueue(name=workflow.sticky_queue, kind=STICKY))
        return bool(described.pollers)

    await eventually(is_polled)
    await workflow.signal()
    await workflow.complete(await polling, sticky=True)
    await api.ShutdownWorker(
        service.ShutdownWorkerRequest(
            namespace=NAMESPACE,
            sticky_task_queue=workflow.sticky_queue,
            identity="test",
            task_queue=workflow.task_queue,
        ),
        timeout=CALL_S,
    )
    await workflow.signal()
    task = await asyncio.wait_for(workflow.poll(), 5)
    assert task.history.events[0].event_id == 1, "a worker that does not know the run gets all of it"
