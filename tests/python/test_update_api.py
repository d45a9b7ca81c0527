"""Updates at the wire: messages and events, codes, details and texts of every refusal.

Numbers in goals are those of the reference traces (workflow-engine.md, section 22).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage
from temporalio.api.errordetails import v1 as details
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update import v1 as update
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE, is_genuine
from support import attributes, trace
from update_wire import (
    ABORTED,
    ACCEPTED,
    ADMITTED,
    COMPLETED,
    FAILING,
    TASK_FAILED,
    UNSPECIFIED,
    UPDATED,
    accept,
    admitted,
    ask,
    asked,
    call_update,
    exhausted,
    expect_trace,
    fail,
    idle,
    not_ready,
    place,
    poll_request,
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
    Refusal,
    application_failure,
    command,
    complete_workflow,
    duration,
    invalid,
    json_payload,
    not_found,
    refusal_of,
    start_timer,
)


# How updates go.


async def test_accepted_and_completed(api: WorkflowServiceStub) -> None:
    """Trace 24: one task brings the update and answers it; the answer names its event, and can be had again."""
    workflow, call, task = await asked(api)
    (request,) = task.messages
    assert (request.id, request.protocol_instance_id, request.event_id) == ("u/request", "u", 5)
    assert request.body.type_url == "type.googleapis.com/temporal.api.update.v1.Request"
    assert (task.previous_started_event_id, task.started_event_id, task.attempt) == (3, 6, 1)
    completed = await say(workflow, task, accept(request), respond("u"))
    assert completed.reset_history_event_id == 0
    answer = await call
    assert answer.stage == COMPLETED
    assert answer.outcome.success == json_payload("42")
    assert answer.update_ref.update_id == "u"
    assert answer.update_ref.workflow_execution == workflow.execution
    event_type = answer.link.workflow_event.request_id_ref.event_type
    await expect_trace(workflow, f"Started S B C {UPDATED}")
    events = await workflow.events()
    assert event_type == events[7].event_type
    accepted, done = attributes(events[7]), attributes(events[8])
    assert accepted.protocol_instance_id == "u"
    assert (accepted.accepted_request_message_id, accepted.accepted_request_sequencing_event_id) == ("u/request", 5)
    assert accepted.accepted_request.input.name == "u"
    assert (done.accepted_event_id, done.outcome.success) == (8, json_payload("42"))
    again = await api.UpdateWorkflowExecution(update_request(workflow.workflow_id, "u"), timeout=CALL_S)
    assert (again.stage, again.outcome) == (COMPLETED, answer.outcome)
    polled = await api.PollWorkflowExecutionUpdate(
        poll_request(workflow.workflow_id, "u", COMPLETED), timeout=CALL_S
    )
    assert (polled.stage, polled.outcome, polled.update_ref) == (COMPLETED, answer.outcome, answer.update_ref)


async def test_rejected(api: WorkflowServiceStub) -> None:
    """Trace 23: no event stays, though readers saw the task while it ran; the worker goes back; all is forgotten."""
    workflow, call, task = await asked(api)
    await expect_trace(workflow, "Started S B C S B")
    description = await workflow.describe()
    assert description.pending_workflow_task.attempt == 1
    completed = await say(workflow, task, reject(task.messages[0]))
    assert completed.reset_history_event_id == 3
    answer = await call
    assert (answer.stage, answer.outcome.failure) == (COMPLETED, application_failure("no"))
    assert answer.link.workflow.reason == "Update rejected"
    await expect_trace(workflow, "Started S B C")
    poll = api.PollWorkflowExecutionUpdate(poll_request(workflow.workflow_id, "u", COMPLETED), timeout=CALL_S)
    not_found(await refusal_of(poll), 'update "u" not found')


@pytest.mark.parametrize("unseen", [False, True])
async def test_rejected_after_new_events(api: WorkflowServiceStub, unseen: bool) -> None:
    """A task that showed its worker something new is kept, unless the worker says that it can unsee that."""
    workflow = await RawWorkflow.start(api, "update")
    await workflow.step(start_timer("t"))
    call = await ask(workflow, "u")
    task = await workflow.poll()
    capabilities = service.RespondWorkflowTaskCompletedRequest.Capabilities(
        discard_speculative_workflow_task_with_events=unseen
    )
    completed = await say(workflow, task, reject(task.messages[0]), capabilities=capabilities)
    assert completed.reset_history_event_id == (3 if unseen else 0)
    assert (await call).outcome.failure == application_failure("no")
    await expect_trace(workflow, "Started S B C TimerStarted" + ("" if unseen else " S B C"))


async def test_during_a_start_delay(api: WorkflowServiceStub) -> None:
    """Trace 20: an update does not wait for a delayed start, and rejected it leaves the delay as it was."""
    workflow = await RawWorkflow.start(api, "update", workflow_start_delay=duration(60))
    call = await ask(workflow, "u")
    task = await workflow.poll()
    assert trace(list(task.history.events)) == "Started S B"
    assert [(message.id, message.event_id) for message in task.messages] == [("u/request", 2)]
    completed = await say(workflow, task, reject(task.messages[0]))
    assert completed.reset_history_event_id == 0
    assert (await call).outcome.failure == application_failure("no")
    await expect_trace(workflow, "Started")


async def test_accepted_now_completed_later(api: WorkflowServiceStub) -> None:
    """The stages in turn, as seen by pollers."""
    workflow, call, task = await asked(api)

    async def stage(wanted: int) -> int:
        poll = poll_request(workflow.workflow_id, "u", wanted)
        return (await api.PollWorkflowExecutionUpdate(poll, timeout=CALL_S)).stage

    assert await stage(ADMITTED) == ADMITTED
    await say(workflow, task, accept(task.messages[0]))
    assert await stage(ACCEPTED) == ACCEPTED
    assert not call.done()
    request = update_request(workflow.workflow_id, "u", wait_policy=update.WaitPolicy(lifecycle_stage=ACCEPTED))
    answer = await api.UpdateWorkflowExecution(request, timeout=CALL_S)
    assert (answer.stage, answer.HasField("outcome")) == (ACCEPTED, False)
    await workflow.signal()
    task = await workflow.poll()
    assert not task.messages
    await say(workflow, task, respond("u"))
    assert await stage(COMPLETED) == COMPLETED
    assert (await call).outcome.success == json_payload("42")


async def test_unanswered(api: WorkflowServiceStub) -> None:
    """A worker that does not know of updates answers none: the server rejects in its place."""
    workflow, call, task = await asked(api)
    completed = await workflow.complete(task)
    assert completed.reset_history_event_id == 3
    failure = (await call).outcome.failure
    assert failure.message == (
        "Workflow Update is rejected because it wasn't processed by worker. "
        "Probably, Workflow Update is not supported by the worker."
    )
    info = failure.application_failure_info
    assert (failure.source, info.type, info.non_retryable) == ("Server", "UnprocessedUpdate", True)
    await expect_trace(workflow, "Started S B C")


async def test_heartbeat(api: WorkflowServiceStub) -> None:
    """A worker that asks for more time keeps the update: it is neither rejected nor sent again."""
    workflow, call, task = await asked(api)
    more = await workflow.complete(task, force_create_new_workflow_task=True, return_new_workflow_task=True)
    assert not more.workflow_task.messages
    await say(workflow, more.workflow_task, accept(task.messages[0]), respond("u"))
    assert (await call).outcome.success == json_payload("42")
    await expect_trace(workflow, "Started S B C S B C S B C UpdateAccepted UpdateCompleted")


async def test_signal_while_the_task_waits(api: WorkflowServiceStub) -> None:
    """The signal comes after the task, which then counts like any other."""
    workflow = await idle(api)
    call = await ask(workflow, "u")
    await workflow.signal()
    await expect_trace(workflow, "Started S B C S Signaled")
    task = await workflow.poll()
    completed = await say(workflow, task, reject(task.messages[0]))
    assert completed.reset_history_event_id == 0
    await call
    await expect_trace(workflow, "Started S B C S Signaled B C")


async def test_signal_while_the_task_runs(api: WorkflowServiceStub) -> None:
    """The signal is held back, and the next task is for it."""
    workflow, call, task = await asked(api)
    await workflow.signal()
    await expect_trace(workflow, "Started S B C S B")
    completed = await say(workflow, task, reject(task.messages[0]), return_new_workflow_task=True)
    assert completed.reset_history_event_id == 0
    assert not completed.workflow_task.messages
    await call
    await expect_trace(workflow, "Started S B C S B C Signaled S B")


async def test_second_update_while_the_task_runs(api: WorkflowServiceStub) -> None:
    """It comes with the next task, in the same answer if the worker wants that."""
    workflow, first, task = await asked(api)
    second = await ask(workflow, "v")
    completed = await say(workflow, task, reject(task.messages[0]), return_new_workflow_task=True)
    assert completed.reset_history_event_id == 3
    following = completed.workflow_task
    assert [(message.id, message.event_id) for message in following.messages] == [("v/request", 5)]
    await say(workflow, following, accept(following.messages[0]), respond("v"))
    assert (await first).outcome.failure == application_failure("no")
    assert (await second).outcome.success == json_payload("42")
    await expect_trace(workflow, f"Started S B C {UPDATED}")


async def test_failed_tasks(api: WorkflowServiceStub) -> None:
    """A failed task is tried again with its update; after the third failure callers are told."""
    workflow, call, task = await asked(api)
    for attempt in (1, 2, 3):
        assert (task.attempt, [message.id for message in task.messages]) == (attempt, ["u/request"])
        assert not call.done()
        await fail(workflow, task)
        if attempt < 3:
            await admitted(workflow, "u", call)
        elif not is_genuine():
            not_ready(await refusal_of(call), FAILING)
        task = await workflow.poll()
    call.cancel()
    # The original takes the update in again now and then.
    assert task.attempt == 4 and (is_genuine() or not task.messages)
    late = api.UpdateWorkflowExecution(update_request(workflow.workflow_id, "late"), timeout=CALL_S)
    not_ready(await refusal_of(late), FAILING)


async def test_task_that_times_out(api: WorkflowServiceStub) -> None:
    """It leaves its events, and brings its update again."""
    workflow = await idle(api, workflow_task_timeout=duration(1))
    call = await ask(workflow, "u")
    await workflow.poll()
    task = await workflow.poll()
    assert (task.attempt, [message.event_id for message in task.messages]) == (2, [8])
    await say(workflow, task, reject(task.messages[0]))
    await call
    await expect_trace(workflow, "Started S B C S B T S B C")


# How runs end.


async def test_workflow_closes(api: WorkflowServiceStub) -> None:
    """What it did not accept comes to nothing; what it accepted fails, now and whenever it is asked for."""
    workflow, accepted, task = await asked(api)
    waiting = await ask(workflow, "v")
    (request,) = task.messages
    await workflow.complete(task, *place(accept(request)), complete_workflow(), messages=[accept(request)])
    not_found(await refusal_of(waiting), ABORTED)
    answers = [
        await accepted,
        await api.UpdateWorkflowExecution(update_request(workflow.workflow_id, "u"), timeout=CALL_S),
        await api.PollWorkflowExecutionUpdate(poll_request(workflow.workflow_id, "u", COMPLETED), timeout=CALL_S),
    ]
    for answer in answers:
        failure = answer.outcome.failure
        assert failure.message == "Workflow Update failed because the Workflow completed before the Update completed."
        assert failure.application_failure_info.type == "AcceptedUpdateCompletedWorkflow"
        assert failure.application_failure_info.non_retryable
    await expect_trace(workflow, "Started S B C S B C UpdateAccepted Completed")
    late = api.UpdateWorkflowExecution(update_request(workflow.workflow_id, "late"), timeout=CALL_S)
    not_found(await refusal_of(late), "workflow execution already completed")


async def test_workflow_closes_with_a_rejection(api: WorkflowServiceStub) -> None:
    """A no is a no, be it that the workflow ends with it."""
    workflow, call, task = await asked(api)
    await workflow.complete(task, complete_workflow(), messages=[reject(task.messages[0])])
    assert (await call).outcome.failure == application_failure("no")
    await expect_trace(workflow, "Started S B C S B C Completed")


@pytest.mark.parametrize("taken", [False, True])
async def test_terminated(api: WorkflowServiceStub, taken: bool) -> None:
    """A task that no worker had taken leaves no trace."""
    workflow = await idle(api)
    call = await ask(workflow, "u")
    if taken:
        await workflow.poll()
    request = service.TerminateWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=workflow.execution)
    await api.TerminateWorkflowExecution(request, timeout=CALL_S)
    not_found(await refusal_of(call), ABORTED)
    task = "S B F(FORCE_CLOSE_COMMAND) " if taken else ""
    await expect_trace(workflow, f"Started S B C {task}Terminated")


async def test_close_that_is_tried_again(api: WorkflowServiceStub) -> None:
    """Trace 2: while the close is tried again, updates wait."""
    workflow = await RawWorkflow.start(api, "update")
    task = await workflow.poll()
    await workflow.signal()
    await refusal_of(workflow.complete(task, complete_workflow()))
    await workflow.poll()
    late = api.UpdateWorkflowExecution(update_request(workflow.workflow_id, "late"), timeout=CALL_S)
    text = "workflow operation can not be applied because workflow is closing"
    exhausted(await refusal_of(late), text, "BUSY_WORKFLOW")


# What is refused.


async def test_too_many_at_once(api: WorkflowServiceStub) -> None:
    """Ten may be under way."""
    workflow = await idle(api)
    calls = [await ask(workflow, f"u{number}") for number in range(10)]
    more = api.UpdateWorkflowExecution(update_request(workflow.workflow_id, "more"), timeout=CALL_S)
    text = "limit on number of concurrent in-flight updates has been reached (10)"
    exhausted(await refusal_of(more), text, "CONCURRENT_LIMIT")
    await reject_all(workflow, len(calls))
    assert {answer.outcome.failure.message for answer in await asyncio.gather(*calls)} == {"no"}


UNKNOWN = (
    "update q wasn't found on the server. "
    "This is most likely a transient error which will be resolved automatically by retries"
)
Said = Callable[[ProtocolMessage], tuple[list[Command], list[ProtocolMessage]]]
BAD_MESSAGES: dict[str, tuple[Said, str]] = {
    "completed, not accepted": (
        lambda _: ([], [respond("u")]),
        "invalid state transition attempted for Update u: received *update.Response message while in state Sent",
    ),
    "accepted twice": (
        lambda request: ([], [accept(request), accept(request)]),
        "invalid state transition attempted for Update u: "
        "received *update.Acceptance message while in state ProvisionallyAccepted",
    ),
    "command without message": (
        lambda request: (place(respond("q")), [accept(request)]),
        "ProtocolMessageCommand referenced absent message ID q/complete",
    ),
    "command without id": (
        lambda request: ([command("protocol_message", message_id="")], [accept(request)]),
        "MessageID is not set on ProtocolMessageCommand.",
    ),
    "unknown completed": (lambda _: ([], [respond("q")]), UNKNOWN),
    "unknown rejected": (lambda _: ([], [says("q", "reject", update.Rejection())]), UNKNOWN),
    "unknown accepted": (
        lambda _: (
            [],
            [
                says(
                    "q",
                    "accept",
                    update.Acceptance(
                        accepted_request_message_id="q/request", accepted_request_sequencing_event_id=5
                    ),
                )
            ],
        ),
        UNKNOWN,
    ),
    "other message": (
        lambda _: ([], [says("u", "meta", update.Meta())]),
        "Message type *update.Meta not supported",
    ),
    "empty acceptance": (
        lambda _: ([], [says("u", "accept", update.Acceptance())]),
        "invalid *update.Acceptance: accepted_request_sequencing_event_id is not set",
    ),
    "empty response": (
        lambda request: ([], [accept(request), says("u", "complete", update.Response())]),
        "invalid *update.Response: meta is not set",
    ),
    "response without outcome": (
        lambda request: (
            [],
            [accept(request), says("u", "complete", update.Response(meta=update.Meta(update_id="u")))],
        ),
        "invalid *update.Response: outcome is not set",
    ),
}


@pytest.mark.parametrize("said", BAD_MESSAGES)
async def test_bad_message(api: WorkflowServiceStub, said: str) -> None:
    """The task fails, and so do the updates that it was about; those that came meanwhile are tried again."""
    bad, why = BAD_MESSAGES[said]
    workflow, call, task = await asked(api)
    other = await ask(workflow, "v")
    commands, messages = bad(task.messages[0])
    refused = await refusal_of(workflow.complete(task, *commands, messages=messages))
    invalid(refused, f"BadUpdateWorkflowExecutionMessage: {why}")
    not_ready(await refusal_of(call), TASK_FAILED)
    # The original forgets both, and takes this one in again.
    await admitted(workflow, "v", other)
    task = await workflow.poll()
    assert [message.id for message in task.messages] == ["v/request"]
    await say(workflow, task, reject(task.messages[0]))
    assert (await other).outcome.failure == application_failure("no")
    await expect_trace(workflow, "Started S B C S B F(BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE) S B C")


async def test_message_without_a_body(api: WorkflowServiceStub) -> None:
    """It is refused outright. Here the task goes on; the original forgets it, if it has no events."""
    workflow, call, task = await asked(api)
    empty = ProtocolMessage(id="q", protocol_instance_id="u")
    invalid(await refusal_of(workflow.complete(task, messages=[empty])), "nil message body")
    if not is_genuine():
        await say(workflow, task, reject(task.messages[0]))
        await call
    call.cancel()
    await expect_trace(workflow, "Started S B C")


async def test_lost_update_comes_back_with_its_acceptance(api: WorkflowServiceStub) -> None:
    """A worker may accept what the server does not know, if it says what that was."""
    workflow, call, task = await asked(api)
    acceptance = update.Acceptance(
        accepted_request_message_id="q/request",
        accepted_request_sequencing_event_id=5,
        accepted_request=update.Request(meta=update.Meta(update_id="q"), input=update.Input(name="n")),
    )
    await say(workflow, task, reject(task.messages[0]), says("q", "accept", acceptance))
    await call
    poll = poll_request(workflow.workflow_id, "q", ACCEPTED)
    assert (await api.PollWorkflowExecutionUpdate(poll, timeout=CALL_S)).stage == ACCEPTED
    await expect_trace(workflow, "Started S B C S B C UpdateAccepted")


async def test_malformed_updates(api: WorkflowServiceStub) -> None:
    """What a request to update must say."""
    workflow = await idle(api)
    valid = update_request(workflow.workflow_id, "u")

    async def refused(change: Callable[[service.UpdateWorkflowExecutionRequest], Any]) -> Refusal:
        request = service.UpdateWorkflowExecutionRequest()
        request.CopyFrom(valid)
        change(request)
        return await refusal_of(api.UpdateWorkflowExecution(request, timeout=CALL_S))

    def set_to(path: str, value: Any) -> Callable[[service.UpdateWorkflowExecutionRequest], None]:
        *owners, name = path.split(".")

        def change(request: Any) -> None:
            for owner in owners:
                request = getattr(request, owner)
            if value is None:
                request.ClearField(name)
            else:
                setattr(request, name, value)

        return change

    admitted = await refused(set_to("wait_policy.lifecycle_stage", ADMITTED))
    assert admitted.code == grpc.StatusCode.PERMISSION_DENIED
    assert admitted.message == (
        "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported."
    )
    assert isinstance(admitted.detail, details.PermissionDeniedFailure)
    for path, value, text in [
        ("request", None, "Update meta is not set on request."),
        ("request.meta", None, "Update meta is not set on request."),
        ("request.input", None, "Update input is not set on request."),
        ("request.input.name", "", "Update name is not set on request."),
        ("request.meta.update_id", "x" * 1001, "UpdateId length exceeds limit."),
        ("workflow_execution", None, "Execution is not set on request."),
        ("workflow_execution.workflow_id", "", "WorkflowId is not set on request."),
        ("workflow_execution.run_id", "abc", "Invalid RunId."),
    ]:
        invalid(await refused(set_to(path, value)), text)
    if not is_genuine():
        # The original takes it, and fails the task that accepts it.
        large = json_payload('"' + "x" * (3 << 20) + '"')
        invalid(await refused(lambda r: r.request.input.args.CopyFrom(large)), "Blob data size exceeds limit.")
    missing = "11111111-1111-1111-1111-111111111111"
    not_found(await refused(set_to("workflow_execution.workflow_id", "missing")), "workflow not found for ID: missing")
    not_found(
        await refused(set_to("workflow_execution.run_id", missing)),
        f'workflow execution not found for workflow ID "{workflow.workflow_id}" and run ID "{missing}"',
    )
    not_found(await refused(set_to("first_execution_run_id", missing)), "workflow execution not found")


async def test_malformed_polls(api: WorkflowServiceStub) -> None:
    """What a request to wait for an update must say."""
    workflow = await idle(api)

    async def refused(**fields: Any) -> Refusal:
        request = service.PollWorkflowExecutionUpdateRequest(namespace=NAMESPACE, **fields)
        return await refusal_of(api.PollWorkflowExecutionUpdate(request, timeout=CALL_S))

    invalid(await refused(), "UpdateRef is not set on request.")
    unnamed = await refused(update_ref=update.UpdateRef(update_id="u"))
    assert unnamed.code == grpc.StatusCode.INVALID_ARGUMENT
    for update_id in ("", "u"):
        reference = update.UpdateRef(workflow_execution=workflow.execution, update_id=update_id)
        not_found(await refused(update_ref=reference), f'update "{update_id}" not found')
    missing = update.UpdateRef(workflow_execution=WorkflowExecution(workflow_id="missing"), update_id="u")
    not_found(await refused(update_ref=missing), "workflow not found for ID: missing")


async def test_update_without_an_id(api: WorkflowServiceStub) -> None:
    """The server gives it one."""
    workflow = await RawWorkflow.start(api, "update")
    call = asyncio.create_task(call_update(api, update_request(workflow.workflow_id, "")))
    task = await workflow.poll()
    while not task.messages:
        # It came while the first task ran.
        task = (await workflow.complete(task, return_new_workflow_task=True)).workflow_task
        task = task if task.task_token else await workflow.poll()
    (request,) = task.messages
    assert len(request.protocol_instance_id) == 36
    await say(workflow, task, reject(request))
    assert (await call).update_ref.update_id == request.protocol_instance_id


def test_stages_have_their_numbers() -> None:
    """The numbers used above are the API's."""
    prefix = "UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_"
    names = [f"{prefix}{name}" for name in ("UNSPECIFIED", "ADMITTED", "ACCEPTED", "COMPLETED")]
    assert [UpdateWorkflowExecutionLifecycleStage.Value(name) for name in names] == list(range(4))
