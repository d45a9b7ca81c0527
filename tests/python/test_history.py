"""GetWorkflowExecutionHistory at the wire: pages, tokens, long polls and the close-event filter."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, HistoryEventFilterType
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE
from support import trace, unique
from wire import CALL_S, RawWorkflow, complete_workflow, invalid, refusal_of, start_request, start_timer

CLOSE_EVENT = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT


async def page(
    workflow: RawWorkflow, *, timeout: float = CALL_S, **fields: Any
) -> service.GetWorkflowExecutionHistoryResponse:
    """One call for the history of a run."""
    request: dict[str, Any] = {"namespace": NAMESPACE, "execution": workflow.execution}
    return await workflow.api.GetWorkflowExecutionHistory(
        service.GetWorkflowExecutionHistoryRequest(**(request | fields)), timeout=timeout
    )


async def with_signals(api: WorkflowServiceStub, count: int) -> RawWorkflow:
    """A workflow whose history is two events and `count` signals, each a batch of its own."""
    workflow = await RawWorkflow.start(api, "pages")
    for _ in range(count):
        await workflow.signal()
    return workflow


async def test_pages_join_without_gap(api: WorkflowServiceStub) -> None:
    """Pages of the requested size follow each other by token and give the history exactly once."""
    workflow = await with_signals(api, 10)
    ids: list[int] = []
    token = b""
    pages = 0
    while pages == 0 or token:
        answer = await page(workflow, maximum_page_size=3, next_page_token=token)
        ids += [event.event_id for event in answer.history.events]
        token, pages = answer.next_page_token, pages + 1
    assert ids == list(range(1, 13))
    assert pages >= 4


async def test_pages_count_batches_and_end_with_them(api: WorkflowServiceStub) -> None:
    """What one workflow task wrote is one batch, and comes in one page whatever the page size."""
    workflow = await RawWorkflow.start(api, "batches")
    await workflow.step(*(start_timer(str(i)) for i in range(5)))
    pages: list[list[int]] = []
    token = b""
    while not pages or token:
        answer = await page(workflow, maximum_page_size=1, next_page_token=token)
        pages.append([event.event_id for event in answer.history.events])
        token = answer.next_page_token
    assert [4, 5, 6, 7, 8, 9] in pages, pages


async def test_default_page_is_bounded(api: WorkflowServiceStub) -> None:
    """Without a page size a long history comes in pages of at most 256 batches, the last without a token."""
    workflow = await with_signals(api, 300)
    first = await page(workflow)
    assert 200 <= len(first.history.events) <= 257
    second = await page(workflow, next_page_token=first.next_page_token)
    assert second.history.events[0].event_id == first.history.events[-1].event_id + 1
    assert second.history.events[-1].event_id == 302


async def test_history_of_the_current_run(api: WorkflowServiceStub) -> None:
    """Without a run id the current run is read."""
    workflow = await RawWorkflow.start(api, "current")
    answer = await page(workflow, execution=WorkflowExecution(workflow_id=workflow.workflow_id))
    started = answer.history.events[0].workflow_execution_started_event_attributes
    assert started.original_execution_run_id == workflow.run_id


async def test_invalid_token(api: WorkflowServiceStub) -> None:
    """A token that the server never made is invalid."""
    workflow = await RawWorkflow.start(api, "token")
    invalid(await refusal_of(page(workflow, next_page_token=b"\xff\xfe\xfd")), "Invalid NextPageToken.")


async def test_token_of_another_run(api: WorkflowServiceStub) -> None:
    """A token belongs to one run: with another run id it is refused."""
    workflow = await with_signals(api, 5)
    token = (await page(workflow, maximum_page_size=2)).next_page_token
    assert token
    await workflow.step(complete_workflow())
    again = await api.StartWorkflowExecution(start_request(workflow.workflow_id), timeout=CALL_S)
    other = WorkflowExecution(workflow_id=workflow.workflow_id, run_id=again.run_id)
    refusal = await refusal_of(page(workflow, execution=other, next_page_token=token))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT, refusal
    follow = WorkflowExecution(workflow_id=workflow.workflow_id)
    rest = await page(workflow, execution=follow, next_page_token=token)
    assert rest.history.events[0].event_id > 1, "without a run id the token's own run is read on"


async def test_long_poll_wakes_on_a_new_event(api: WorkflowServiceStub) -> None:
    """A reader that has seen everything waits, and wakes soon after the next event."""
    workflow = await RawWorkflow.start(api, "wake")
    seen = await page(workflow, wait_new_event=True)
    assert trace(list(seen.history.events)) == "Started S"
    assert seen.next_page_token, "an open run has more to come"
    waiting = asyncio.ensure_future(
        page(workflow, wait_new_event=True, next_page_token=seen.next_page_token, timeout=30)
    )
    before = time.monotonic()
    await workflow.signal()
    answer = await waiting
    assert time.monotonic() - before < 5
    assert [event.event_id for event in answer.history.events] == [3]


async def test_long_poll_for_the_close_event(api: WorkflowServiceStub) -> None:
    """With the close filter a reader gets nothing but the last event, once the run has closed."""
    workflow = await RawWorkflow.start(api, "close-event")
    waiting = asyncio.ensure_future(
        page(workflow, wait_new_event=True, history_event_filter_type=CLOSE_EVENT, timeout=30)
    )
    await workflow.step(start_timer("1"))
    await workflow.signal()
    assert not waiting.done()
    await workflow.step(complete_workflow())
    answer = await waiting
    while not answer.history.events:
        answer = await page(
            workflow,
            wait_new_event=True,
            history_event_filter_type=CLOSE_EVENT,
            next_page_token=answer.next_page_token,
            timeout=30,
        )
    [last] = answer.history.events
    assert last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
    assert not answer.next_page_token


async def test_long_poll_ends_empty_with_a_token(api: WorkflowServiceStub) -> None:
    """When nothing closes the run for about twenty seconds, the reader gets an empty page and a token."""
    workflow = await RawWorkflow.start(api, "no-close")
    before = time.monotonic()
    answer = await page(workflow, wait_new_event=True, history_event_filter_type=CLOSE_EVENT, timeout=60)
    assert 10 < time.monotonic() - before < 40
    assert not answer.history.events
    assert answer.next_page_token


async def test_close_event_of_a_closed_run(api: WorkflowServiceStub) -> None:
    """With or without waiting, the close filter gives the last event of a closed run at once."""
    workflow = await RawWorkflow.start(api, "closed")
    await workflow.step(complete_workflow())
    for wait in (False, True):
        answer = await page(workflow, wait_new_event=wait, history_event_filter_type=CLOSE_EVENT)
        assert [event.event_id for event in answer.history.events] == [5]
        assert not answer.next_page_token


async def test_long_poll_of_a_closed_run_ends(api: WorkflowServiceStub) -> None:
    """A waiting reader of a closed run gets the whole history and no token."""
    workflow = await RawWorkflow.start(api, "closed")
    await workflow.step(complete_workflow())
    answer = await page(workflow, wait_new_event=True)
    assert trace(list(answer.history.events)) == "Started S B C Completed"
    assert not answer.next_page_token


async def test_waiting_for_unknown_workflow(api: WorkflowServiceStub) -> None:
    """Waiting for the history of a workflow that does not exist is refused at once."""
    workflow = RawWorkflow(api, unique("nobody"), "")
    refusal = await refusal_of(page(workflow, wait_new_event=True))
    assert refusal.code == grpc.StatusCode.NOT_FOUND
