"""The reference traces (workflow-engine.md, section 22) over plain gRPC; the number of each is in its test's goal.

A trace is the whole history in short words: S, B, C, F, T are a workflow task scheduled, begun, completed,
failed, timed out.
"""

from __future__ import annotations

import asyncio

import grpc
import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, RetryPolicy, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import (
    EventType,
    RetryState,
    SignalExternalWorkflowExecutionFailedCause,
    StartChildWorkflowExecutionFailedCause,
    TimeoutType,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
    WorkflowTaskFailedCause,
)
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE
from support import attributes, eventually, names, show, trace, unique
from wire import (
    CALL_S,
    RawWorkflow,
    Refusal,
    application_failure,
    command,
    complete_workflow,
    duration,
    json_payload,
    not_found,
    refusal_of,
    schedule_activity,
    start_timer,
)

SIGNAL_FAILED = "SignalExternalWorkflowExecutionInitiated SignalExternalWorkflowExecutionFailed"
TARGET_NOT_FOUND = SignalExternalWorkflowExecutionFailedCause.Value(
    "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND"
)
TWO_MEBIBYTES = 2 * 1024 * 1024
UNHANDLED_FAILURE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE


async def expect_trace(workflow: RawWorkflow, expected: str) -> None:
    """Checks the whole history of a run against its short form."""
    events = await workflow.events()
    assert trace(events) == expected, show(events)


def refused_command(refusal: Refusal, message: str) -> None:
    """Checks the answer to a completion whose commands are bad."""
    assert (refusal.code, refusal.message) == (grpc.StatusCode.INVALID_ARGUMENT, message)


async def terminate(workflow: RawWorkflow) -> None:
    """Terminates the run."""
    request = service.TerminateWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=workflow.execution)
    await workflow.api.TerminateWorkflowExecution(request, timeout=CALL_S)


async def test_unhandled_command(api: WorkflowServiceStub) -> None:
    """Traces 1 and 2: a close that overlooks a signal fails; then signals have to wait until the retry is through."""
    workflow = await RawWorkflow.start(api, "unhandled")
    task = await workflow.poll()
    await workflow.signal()
    refusal = await refusal_of(workflow.complete(task, start_timer("1"), complete_workflow()))
    refused_command(refusal, "UnhandledCommand")
    await expect_trace(workflow, "Started S B F(UNHANDLED_COMMAND) Signaled S")
    retry = await workflow.poll()
    assert retry.attempt == 1
    busy = await refusal_of(workflow.signal())
    assert busy.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(busy.detail, ResourceExhaustedFailure)
    assert busy.message == "workflow operation can not be applied because workflow is closing"
    await workflow.complete(retry, complete_workflow())
    await expect_trace(workflow, "Started S B F(UNHANDLED_COMMAND) Signaled S B C Completed")


async def test_bad_command(api: WorkflowServiceStub) -> None:
    """Traces 3, 4, 5: bad commands fail the task once on record; the next attempt's failure leaves nothing."""
    workflow = await RawWorkflow.start(api, "bad-command", workflow_task_timeout=duration(1))
    nameless = schedule_activity("1", workflow.task_queue, activity_type=ActivityType())
    first = await workflow.poll()
    refusal = await refusal_of(workflow.complete(first, start_timer("1"), nameless))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.message.startswith("BadScheduleActivityAttributes: "), refusal
    not_found(await refusal_of(workflow.complete(first, start_timer("1"))), "Workflow task not found.")
    second = await workflow.poll()
    assert second.attempt == 2
    again = await refusal_of(workflow.complete(second, nameless))
    assert again.message == refusal.message
    third = await workflow.poll()
    assert third.attempt == 3
    await workflow.complete(third, complete_workflow())
    events = await workflow.events()
    assert trace(events) == "Started S B F(BAD_SCHEDULE_ACTIVITY_ATTRIBUTES) S B C Completed", show(events)
    assert events[4].workflow_task_scheduled_event_attributes.attempt == 3


async def test_forced_task_is_returned(api: WorkflowServiceStub) -> None:
    """Trace 6: a completion that forces a new task gets it in the answer, with what happened since."""
    workflow = await RawWorkflow.start(api, "forced")
    task = await workflow.poll()
    commands = [schedule_activity("1", unique("nobody")), start_timer("1")]
    answer = await workflow.complete(
        task, *commands, sticky=True, return_new_workflow_task=True, force_create_new_workflow_task=True
    )
    inline = answer.workflow_task
    assert inline.previous_started_event_id == 3
    assert inline.started_event_id == 8
    assert [event.event_id for event in inline.history.events] == [4, 5, 6, 7, 8]
    await workflow.complete(inline, complete_workflow())
    await expect_trace(workflow, "Started S B C ActivityTaskScheduled TimerStarted S B C Completed")


async def test_duplicate_timer(api: WorkflowServiceStub) -> None:
    """Trace 7: a timer id in use fails the task; no command of that task takes effect."""
    workflow = await RawWorkflow.start(api, "duplicate-timer")
    task = await workflow.poll()
    refusal = await refusal_of(workflow.complete(task, start_timer("1"), start_timer("1")))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.message.startswith("StartTimerDuplicateId"), refusal
    assert trace(list((await workflow.events())[:4])) == "Started S B F(START_TIMER_DUPLICATE_ID)"


async def test_duplicate_activity(api: WorkflowServiceStub) -> None:
    """Like trace 7 for activities: an id that a pending activity has fails the task."""
    workflow = await RawWorkflow.start(api, "duplicate-activity")
    task = await workflow.poll()
    twice = [schedule_activity("1", unique("nobody")) for _ in range(2)]
    refusal = await refusal_of(workflow.complete(task, *twice))
    assert refusal.message.startswith("ScheduleActivityDuplicateId"), refusal
    assert trace(list((await workflow.events())[:4])) == "Started S B F(SCHEDULE_ACTIVITY_DUPLICATE_ID)"


async def test_close_must_be_last(api: WorkflowServiceStub) -> None:
    """A close command that is not the last is refused with nothing written; the task stays started."""
    workflow = await RawWorkflow.start(api, "not-last")
    task = await workflow.poll()
    refusal = await refusal_of(workflow.complete(task, complete_workflow(), start_timer("1")))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.message.startswith("invalid command sequence"), refusal
    await expect_trace(workflow, "Started S B")
    await workflow.complete(task, complete_workflow())
    await expect_trace(workflow, "Started S B C Completed")


async def test_cancel_activity_before_its_start(api: WorkflowServiceStub) -> None:
    """Trace 8: a waiting activity is cancelled at once, and the workflow hears of it in a new task."""
    workflow = await RawWorkflow.start(api, "cancel-waiting")
    await workflow.step(schedule_activity("1", unique("nobody")))
    await workflow.signal()
    await workflow.step(command("request_cancel_activity_task", scheduled_event_id=5))
    activity = "ActivityTaskCancelRequested ActivityTaskCanceled"
    await expect_trace(workflow, f"Started S B C ActivityTaskScheduled Signaled S B C {activity} S")
    canceled = attributes((await workflow.events())[10])
    assert [payload.data for payload in canceled.details.payloads] == [b'"ACTIVITY_ID_NOT_STARTED"']


async def test_too_large_activity_result(api: WorkflowServiceStub) -> None:
    """Trace 9: the answer is OK, but the activity has failed, and is not retried."""
    workflow = await RawWorkflow.start(api, "large-result")
    await workflow.step(schedule_activity("1", workflow.task_queue))
    task = await workflow.poll_activity()
    request = service.RespondActivityTaskCompletedRequest(
        namespace=NAMESPACE,
        task_token=task.task_token,
        result=Payloads(payloads=[Payload(data=b"x" * (TWO_MEBIBYTES + 1))]),
    )
    await api.RespondActivityTaskCompleted(request, timeout=CALL_S)
    await expect_trace(workflow, "Started S B C ActivityTaskScheduled ActivityTaskStarted ActivityTaskFailed S")
    failure = attributes((await workflow.events())[6]).failure
    assert failure.message == "Complete result exceeds size limit."
    assert failure.server_failure_info.non_retryable


async def test_too_large_command(api: WorkflowServiceStub) -> None:
    """Trace 10: a command with too large an input terminates the workflow."""
    workflow = await RawWorkflow.start(api, "large-command")
    task = await workflow.poll()
    large = Payloads(payloads=[Payload(data=b"x" * (TWO_MEBIBYTES + 1))])
    refusal = await refusal_of(workflow.complete(task, schedule_activity("1", workflow.task_queue, input=large)))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    await expect_trace(workflow, "Started S B F(BAD_SCHEDULE_ACTIVITY_ATTRIBUTES) Terminated")
    terminated = attributes((await workflow.events())[4])
    assert terminated.identity == "history-service"
    assert refusal.message.endswith(terminated.reason), (refusal, terminated)


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (schedule_activity("", "any"), "BadScheduleActivityAttributes"),
        (schedule_activity("1", ""), "BadScheduleActivityAttributes"),
        (schedule_activity("1", "any", schedule_to_close_timeout=duration(0)), "BadScheduleActivityAttributes"),
        (schedule_activity("1", "any", heartbeat_timeout=duration(-1)), "BadScheduleActivityAttributes"),
        (
            schedule_activity("1", "any", retry_policy=RetryPolicy(backoff_coefficient=0.1)),
            "BadScheduleActivityAttributes",
        ),
        (command("request_cancel_activity_task", scheduled_event_id=99), "BadRequestCancelActivityAttributes"),
        (start_timer(""), "BadStartTimerAttributes"),
        (start_timer("1", -1), "BadStartTimerAttributes"),
        (command("cancel_timer", timer_id="never"), "BadCancelTimerAttributes"),
        (command("fail_workflow_execution"), "BadFailWorkflowExecutionAttributes"),
        (command("record_marker"), "BadRecordMarkerAttributes"),
        (command("signal_external_workflow_execution"), "BadSignalWorkflowExecutionAttributes"),
        (command("start_child_workflow_execution"), "BadStartChildExecutionAttributes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_bad_attributes(api: WorkflowServiceStub, broken: Command, cause: str) -> None:
    """Each command's attributes are checked, and the answer names the cause (trace 12 among them)."""
    workflow = await RawWorkflow.start(api, "attributes")
    refusal = await refusal_of(workflow.complete(await workflow.poll(), broken))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.message.startswith(f"{cause}: "), refusal
    assert names(await workflow.events())[3] == "WorkflowTaskFailed"


async def test_replaced_run(api: WorkflowServiceStub) -> None:
    """Trace 18: TERMINATE_EXISTING ends the old run and starts the new one at once."""
    workflow = await RawWorkflow.start(api, "replaced")
    replacement = service.StartWorkflowExecutionRequest(
        namespace=NAMESPACE,
        workflow_id=workflow.workflow_id,
        workflow_type=WorkflowType(name="Any"),
        task_queue=TaskQueue(name=workflow.task_queue),
        workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
    )
    answer = await api.StartWorkflowExecution(replacement, timeout=CALL_S)
    await expect_trace(workflow, "Started S Terminated")
    assert attributes((await workflow.events())[2]).identity == "history-service"
    await expect_trace(RawWorkflow(api, workflow.workflow_id, answer.run_id), "Started S")


async def test_run_timeout(api: WorkflowServiceStub) -> None:
    """Trace 25: the run timeout caps the task timeout and ends the run directly after its last event."""
    workflow = await RawWorkflow.start(api, "run-timeout", workflow_run_timeout=duration(2))
    closed = await workflow.closed()
    assert closed.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT
    assert attributes(closed).retry_state == RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET
    await expect_trace(workflow, "Started S TimedOut")
    assert attributes((await workflow.events())[0]).workflow_task_timeout == duration(2)


async def test_cancel_request(api: WorkflowServiceStub) -> None:
    """Trace 26: a cancel request makes a task, in which the workflow cancels its timer and itself."""
    workflow = await RawWorkflow.start(api, "cancel")
    await workflow.step(start_timer("1"))
    request = service.RequestCancelWorkflowExecutionRequest(
        namespace=NAMESPACE, workflow_execution=workflow.execution, reason="enough"
    )
    await api.RequestCancelWorkflowExecution(request, timeout=CALL_S)
    await workflow.step(command("cancel_timer", timer_id="1"), command("cancel_workflow_execution"))
    await expect_trace(workflow, "Started S B C TimerStarted CancelRequested S B C TimerCanceled Canceled")
    assert attributes((await workflow.events())[5]).cause == "enough"


async def test_child_refused(api: WorkflowServiceStub) -> None:
    """Trace 29: a child refused by its reuse policy is recorded as failed to start, with the cause."""
    other = await RawWorkflow.start(api, "child")
    await other.step(complete_workflow())
    workflow = await RawWorkflow.start(api, "parent")
    child = command(
        "start_child_workflow_execution",
        workflow_id=other.workflow_id,
        workflow_type=WorkflowType(name="Any"),
        task_queue=TaskQueue(name=unique("nobody")),
        workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
    )
    await workflow.step(child)
    await workflow.step(complete_workflow())
    await expect_trace(
        workflow,
        "Started S B C StartChildWorkflowExecutionInitiated StartChildWorkflowExecutionFailed S B C Completed",
    )
    exists = StartChildWorkflowExecutionFailedCause.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS
    assert attributes((await workflow.events())[5]).cause == exists


@pytest.mark.parametrize("closed", [False, True], ids=["never existed", "closed"])
async def test_signal_to_nobody(api: WorkflowServiceStub, closed: bool) -> None:
    """Trace 30: a signal to a workflow that is absent or closed is recorded as failed, with the cause."""
    target = unique("nobody")
    if closed:
        other = await RawWorkflow.start(api, "closed")
        await other.step(complete_workflow())
        target = other.workflow_id
    workflow = await RawWorkflow.start(api, "sender")
    await workflow.step(signal_external(target))
    await workflow.step(complete_workflow())
    await expect_trace(workflow, f"Started S B C {SIGNAL_FAILED} S B C Completed")
    assert attributes((await workflow.events())[5]).cause == TARGET_NOT_FOUND


def signal_external(workflow_id: str) -> Command:
    """The command that signals another workflow of the same namespace."""
    execution = WorkflowExecution(workflow_id=workflow_id)
    return command("signal_external_workflow_execution", namespace=NAMESPACE, execution=execution, signal_name="any")


async def test_workflow_cannot_signal_itself(api: WorkflowServiceStub) -> None:
    """A signal to the sender's own workflow id fails as if nobody was there."""
    workflow = await RawWorkflow.start(api, "narcissus")
    await workflow.step(signal_external(workflow.workflow_id))
    await workflow.step(complete_workflow())
    await expect_trace(workflow, f"Started S B C {SIGNAL_FAILED} S B C Completed")
    assert attributes((await workflow.events())[5]).cause == TARGET_NOT_FOUND


async def test_third_attempt_past_the_deadline(api: WorkflowServiceStub) -> None:
    """Trace 31: when the next backoff would pass schedule-to-close, the failure itself closes the activity."""
    workflow = await RawWorkflow.start(api, "past-deadline")
    policy = RetryPolicy(initial_interval=duration(0.5), backoff_coefficient=4)
    bounds = {"schedule_to_close_timeout": duration(8), "retry_policy": policy}
    await workflow.step(schedule_activity("1", workflow.task_queue, **bounds))
    for attempt in (1, 2, 3):
        task = await workflow.poll_activity()
        assert task.attempt == attempt
        request = service.RespondActivityTaskFailedRequest(
            namespace=NAMESPACE, task_token=task.task_token, failure=application_failure(f"number {attempt}")
        )
        await api.RespondActivityTaskFailed(request, timeout=CALL_S)
    await expect_trace(workflow, "Started S B C ActivityTaskScheduled ActivityTaskStarted ActivityTaskFailed S")
    _, _, _, _, _, started, failed, _ = [attributes(event) for event in await workflow.events()]
    assert (started.attempt, started.last_failure.message) == (3, "number 2")
    assert (failed.failure.message, failed.retry_state) == ("number 3", RetryState.RETRY_STATE_TIMEOUT)


async def test_schedule_to_start(api: WorkflowServiceStub) -> None:
    """Trace 32: an activity that no worker takes times out without a Started event."""
    workflow = await RawWorkflow.start(api, "not-taken")
    await workflow.step(schedule_activity("1", unique("nobody"), schedule_to_start_timeout=duration(1)))
    await workflow.step(complete_workflow())
    await expect_trace(workflow, "Started S B C ActivityTaskScheduled ActivityTaskTimedOut S B C Completed")
    timed_out = attributes((await workflow.events())[5])
    assert timed_out.failure.message == "activity ScheduleToStart timeout"
    timeout_type = timed_out.failure.timeout_failure_info.timeout_type
    assert timeout_type == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START


async def test_heartbeat_timeout(api: WorkflowServiceStub) -> None:
    """Trace 33: an activity whose heartbeats stop times out; with one attempt allowed that is the end."""
    workflow = await RawWorkflow.start(api, "silent")
    once = {"heartbeat_timeout": duration(1), "retry_policy": RetryPolicy(maximum_attempts=1)}
    await workflow.step(schedule_activity("1", workflow.task_queue, **once))
    task = await workflow.poll_activity()
    assert task.heartbeat_timeout == duration(1)
    await workflow.step(complete_workflow())
    closing = "ActivityTaskStarted ActivityTaskTimedOut"
    await expect_trace(workflow, f"Started S B C ActivityTaskScheduled {closing} S B C Completed")
    timed_out = attributes((await workflow.events())[6])
    assert timed_out.failure.message == "activity Heartbeat timeout"
    assert timed_out.retry_state == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED


@pytest.mark.parametrize("started", [False, True], ids=["task waiting", "task started"])
async def test_terminate(api: WorkflowServiceStub, started: bool) -> None:
    """Trace 34: termination fails a started workflow task first; a waiting one leaves nothing."""
    workflow = await RawWorkflow.start(api, "terminated")
    if started:
        await workflow.poll()
    await terminate(workflow)
    await expect_trace(workflow, "Started S B F(FORCE_CLOSE_COMMAND) Terminated" if started else "Started S Terminated")
    if started:
        assert attributes((await workflow.events())[3]).identity == "history-service"


async def test_workflow_task_timeout(api: WorkflowServiceStub) -> None:
    """A workflow task that nobody answers times out and comes again as attempt 2, which leaves its number only."""
    workflow = await RawWorkflow.start(api, "task-timeout", workflow_task_timeout=duration(1))
    await workflow.poll()
    second = await workflow.poll()
    assert second.attempt == 2
    assert [event.event_id for event in second.history.events] == [1, 2, 3, 4, 5, 6], "two of them virtual"
    await workflow.complete(second, complete_workflow())
    await expect_trace(workflow, "Started S B T S B C Completed")


async def test_sticky_failure_keeps_the_first_attempt(api: WorkflowServiceStub) -> None:
    """A failure on a sticky queue only clears stickiness: the next task is a first attempt with real events."""
    workflow = await RawWorkflow.start(api, "sticky")
    first = await workflow.poll()
    polling = asyncio.ensure_future(workflow.poll(sticky=True))
    await workflow.complete(first, start_timer("1"), sticky=True)
    await workflow.signal()
    sticky = await polling
    request = service.RespondWorkflowTaskFailedRequest(
        namespace=NAMESPACE, task_token=sticky.task_token, failure=application_failure("lost"), cause=UNHANDLED_FAILURE
    )
    await api.RespondWorkflowTaskFailed(request, timeout=CALL_S)
    retry = await workflow.poll()
    assert (retry.attempt, retry.started_event_id) == (1, 11)
    assert [event.event_id for event in retry.history.events] == list(range(1, 12))
    await workflow.complete(retry, complete_workflow())
    await expect_trace(
        workflow, "Started S B C TimerStarted Signaled S B F(WORKFLOW_WORKER_UNHANDLED_FAILURE) S B C Completed"
    )


async def test_sticky_task_has_only_new_events(api: WorkflowServiceStub) -> None:
    """A task on a sticky queue brings the events since the last one; the worker remembers the rest."""
    workflow = await RawWorkflow.start(api, "sticky")
    first = await workflow.poll()
    polling = asyncio.ensure_future(workflow.poll(sticky=True))
    await workflow.complete(first, start_timer("1"), sticky=True)
    await workflow.signal()
    task = await polling
    assert task.previous_started_event_id == 3
    assert [event.event_id for event in task.history.events] == [4, 5, 6, 7, 8]
    await workflow.complete(task, complete_workflow(), sticky=True)


async def test_buffered_activity_close_comes_last(api: WorkflowServiceStub) -> None:
    """Events buffered during a task keep their order, but what closes activities moves to the end."""
    workflow = await RawWorkflow.start(api, "buffered")
    await workflow.step(schedule_activity("1", workflow.task_queue))
    activity = await workflow.poll_activity()
    await workflow.signal()
    task = await workflow.poll()
    completed = service.RespondActivityTaskCompletedRequest(namespace=NAMESPACE, task_token=activity.task_token)
    await api.RespondActivityTaskCompleted(completed, timeout=CALL_S)
    await workflow.signal()
    assert not (await workflow.describe()).pending_activities, "describe runs ahead of history"
    await workflow.complete(task, start_timer("1"))
    buffered = "ActivityTaskStarted Signaled ActivityTaskCompleted"
    await expect_trace(workflow, f"Started S B C ActivityTaskScheduled Signaled S B C TimerStarted {buffered} S")
    assert attributes((await workflow.events())[12]).started_event_id == 11


async def test_cancelled_timer_takes_back_its_firing(api: WorkflowServiceStub) -> None:
    """A timer that fired while the task ran can still be cancelled in it: the firing leaves no trace."""
    workflow = await RawWorkflow.start(api, "take-back")
    await workflow.step(start_timer("1", 1))
    await workflow.signal()
    task = await workflow.poll()
    await eventually(lambda: timer_has_fired(workflow))
    await workflow.complete(task, command("cancel_timer", timer_id="1"), complete_workflow())
    await expect_trace(workflow, "Started S B C TimerStarted Signaled S B C TimerCanceled Completed")


async def timer_has_fired(workflow: RawWorkflow) -> bool:
    """True once two seconds of the server's clock have passed since the timer of one second started."""
    started = (await workflow.events())[4].event_time.ToNanoseconds()
    probe = await RawWorkflow.start(workflow.api, "clock")
    now = (await probe.events())[0].event_time.ToNanoseconds()
    await terminate(probe)
    return now - started > 2e9


async def test_complete_by_id_before_the_start(api: WorkflowServiceStub) -> None:
    """An activity that no worker has taken can be completed by its id, but not failed."""
    workflow = await RawWorkflow.start(api, "by-id")
    await workflow.step(schedule_activity("1", unique("nobody")))
    by_id = {"namespace": NAMESPACE, "workflow_id": workflow.workflow_id, "activity_id": "1"}
    fail = service.RespondActivityTaskFailedByIdRequest(failure=application_failure("no"), **by_id)
    refusal = await refusal_of(api.RespondActivityTaskFailedById(fail, timeout=CALL_S))
    assert refusal.code == grpc.StatusCode.NOT_FOUND
    complete = service.RespondActivityTaskCompletedByIdRequest(result=json_payload("1"), **by_id)
    await api.RespondActivityTaskCompletedById(complete, timeout=CALL_S)
    await expect_trace(workflow, "Started S B C ActivityTaskScheduled ActivityTaskStarted ActivityTaskCompleted S")
