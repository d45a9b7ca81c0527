"""Updates through the SDK: validators, handlers, clients that wait, and what a restart leaves of them.

What an SDK hides, such as texts and messages, is in `test_update_api.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

import activities
import workflows
from server import NAMESPACE, Server
from support import eventually, events_of, names, show, trace, unique, wait_for_event, worker_for

ACCEPTED = WorkflowUpdateStage.ACCEPTED
ACCEPTED_EVENT = "WorkflowExecutionUpdateAccepted"


async def start(client: Client, queue: str) -> WorkflowHandle[Any, Any]:
    """Starts an account without any money."""
    return await client.start_workflow(workflows.Account.run, id=queue, task_queue=queue)


async def admitted(client: Client, workflow_id: str, update_id: str) -> None:
    """Waits until the server has the update, be it that no worker has."""
    reference = UpdateRef(workflow_execution=WorkflowExecution(workflow_id=workflow_id), update_id=update_id)
    request = PollWorkflowExecutionUpdateRequest(namespace=NAMESPACE, update_ref=reference)

    async def is_there() -> bool:
        try:
            await client.workflow_service.poll_workflow_execution_update(request)
        except RPCError as error:
            assert error.status == RPCStatusCode.NOT_FOUND, error
            return False
        return True

    await eventually(is_there)


async def test_update_returns_what_its_handler_returns(client: Client) -> None:
    """A handler that needs no activity is accepted and completed within one workflow task."""
    queue = unique("update")
    async with worker_for(client, queue):
        handle = await start(client, queue)
        await wait_for_event(handle, "WorkflowTaskCompleted")
        assert await handle.execute_update(workflows.Account.deposit, 5) == 5
        assert await handle.execute_update(workflows.Account.deposit, 2) == 7
        await handle.signal(workflows.Account.close)
        assert await handle.result() == 7
    events = await events_of(handle)
    updated = "S B C UpdateAccepted UpdateCompleted"
    assert trace(events) == f"Started S B C {updated} {updated} Signaled S B C Completed", show(events)


async def test_handler_with_an_activity(client: Client) -> None:
    """An async handler is accepted at once and completed when its activity is done."""
    queue = unique("update-activity")
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await start(client, queue)
        assert await handle.execute_update(workflows.Account.deposit_after_activity, 4) == 5
    seen = names(await events_of(handle))
    accepted, done = seen.index(ACCEPTED_EVENT), seen.index("WorkflowExecutionUpdateCompleted")
    assert accepted < seen.index("ActivityTaskScheduled") < seen.index("ActivityTaskCompleted") < done


async def test_validator_leaves_no_trace(client: Client) -> None:
    """What a validator refuses is not in the history, however often it is tried."""
    queue = unique("update-refused")
    async with worker_for(client, queue):
        handle = await start(client, queue)
        await wait_for_event(handle, "WorkflowTaskCompleted")
        for amount in (-1, -2):
            with pytest.raises(WorkflowUpdateFailedError) as caught:
                await handle.execute_update(workflows.Account.deposit, amount)
            assert isinstance(caught.value.cause, ApplicationError)
            assert caught.value.cause.message == f"not {amount}"
        events = await events_of(handle)
        assert trace(events) == "Started S B C", show(events)
        assert await handle.execute_update(workflows.Account.deposit, 1) == 1


async def test_failing_handler(client: Client) -> None:
    """A handler that fails after its acceptance fails its update, not its workflow."""
    queue = unique("update-fails")
    async with worker_for(client, queue):
        handle = await start(client, queue)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update(workflows.Account.withdraw, 1)
        assert isinstance(caught.value.cause, ApplicationError)
        assert (caught.value.cause.message, caught.value.cause.type) == ("not enough", "Poor")
        assert await handle.execute_update(workflows.Account.deposit, 1) == 1
    assert names(await events_of(handle)).count(ACCEPTED_EVENT) == 2


async def test_unknown_update(client: Client) -> None:
    """A workflow without such a handler rejects the update."""
    queue = unique("update-unknown")
    async with worker_for(client, queue):
        handle = await start(client, queue)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update("nothing")
        assert "nothing" in str(caught.value.cause)
    assert ACCEPTED_EVENT not in names(await events_of(handle))


async def test_update_before_the_first_task(client: Client) -> None:
    """An update waits for the worker, and goes out with the first workflow task."""
    queue = unique("update-early")
    handle = await start(client, queue)
    update = asyncio.create_task(handle.execute_update(workflows.Account.deposit, 3, id="early"))
    await admitted(client, queue, "early")
    async with worker_for(client, queue):
        assert await update == 3
    events = await events_of(handle)
    assert trace(events) == "Started S B C UpdateAccepted UpdateCompleted", show(events)


async def test_concurrent_updates(client: Client) -> None:
    """Updates sent at once are all done, each exactly once; ten may be under way."""
    queue = unique("update-many")
    async with worker_for(client, queue, activities=activities.ALL):
        handle = await start(client, queue)
        for _ in range(3):
            deposits = [handle.execute_update(workflows.Account.deposit_after_activity, 1) for _ in range(10)]
            await asyncio.gather(*deposits)
        await handle.signal(workflows.Account.close)
        # Each activity adds one.
        assert await handle.result() == 60
    seen = names(await events_of(handle))
    assert seen.count(ACCEPTED_EVENT) == seen.count("WorkflowExecutionUpdateCompleted") == 30


async def test_updates_and_rejections_at_once(client: Client) -> None:
    """Refused and accepted updates that come together do not disturb each other."""
    queue = unique("update-mixed")
    async with worker_for(client, queue):
        handle = await start(client, queue)
        amounts = [1, -1, 2, -2, 3, -3]
        updates = [handle.execute_update(workflows.Account.deposit, amount) for amount in amounts]
        answers = await asyncio.gather(*updates, return_exceptions=True)
        refused = [isinstance(answer, WorkflowUpdateFailedError) for answer in answers]
        assert refused == [amount < 0 for amount in amounts]
        assert await handle.execute_update(workflows.Account.deposit, 1) == 7
    assert names(await events_of(handle)).count(ACCEPTED_EVENT) == 4


async def test_wait_for_acceptance_then_for_the_result(client: Client, second_client: Client) -> None:
    """A caller may go on when the update is accepted, and another one may ask for the result by its id."""
    queue = unique("update-wait")
    async with worker_for(client, queue):
        handle = await start(client, queue)
        update = await handle.start_update(
            workflows.Account.deposit_when_open, 5, wait_for_stage=ACCEPTED, id="deposit"
        )
        elsewhere = second_client.get_workflow_handle(queue).get_update_handle("deposit")
        results = [asyncio.create_task(update.result()), asyncio.create_task(elsewhere.result())]
        await handle.signal(workflows.Account.open)
        assert await asyncio.gather(*results) == [5, 5]
        again = second_client.get_workflow_handle(queue).get_update_handle("deposit")
        assert await again.result() == 5


async def test_same_id_is_the_same_update(client: Client) -> None:
    """An update asked for twice by one id is done once."""
    queue = unique("update-twice")
    async with worker_for(client, queue):
        handle = await start(client, queue)
        updates = [handle.execute_update(workflows.Account.deposit, 5, id="one") for _ in range(3)]
        assert await asyncio.gather(*updates) == [5, 5, 5]
        assert await handle.execute_update(workflows.Account.deposit, 7, id="one") == 5
        await handle.signal(workflows.Account.close)
        assert await handle.result() == 5
        assert await handle.execute_update(workflows.Account.deposit, 9, id="one") == 5


async def test_workflow_that_closes_before_its_update_is_done(client: Client) -> None:
    """An accepted update of a workflow that completes fails, with upstream's type."""
    queue = unique("update-closed")
    async with worker_for(client, queue):
        handle = await start(client, queue)
        update = await handle.start_update(workflows.Account.deposit_when_open, 5, wait_for_stage=ACCEPTED)
        await handle.terminate()
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await update.result()
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == "AcceptedUpdateCompletedWorkflow"
        with pytest.raises(RPCError) as refused:
            await handle.execute_update(workflows.Account.deposit, 1)
        assert refused.value.status == RPCStatusCode.NOT_FOUND


async def test_update_with_start(client: Client) -> None:
    """The first call starts the workflow, the second one uses it; both are updates of one run."""
    queue = unique("update-start")

    def operation(policy: WorkflowIDConflictPolicy) -> WithStartWorkflowOperation[Any, Any]:
        return WithStartWorkflowOperation(
            workflows.Account.run, id=queue, task_queue=queue, id_conflict_policy=policy
        )

    async def deposit(operation: WithStartWorkflowOperation[Any, Any], amount: int) -> int:
        return await client.execute_update_with_start_workflow(
            workflows.Account.deposit, amount, start_workflow_operation=operation
        )

    async with worker_for(client, queue):
        first, second = (operation(WorkflowIDConflictPolicy.USE_EXISTING) for _ in range(2))
        assert await deposit(first, 2) == 2
        assert await deposit(second, 3) == 5
        handles = [await first.workflow_handle(), await second.workflow_handle()]
        assert handles[0].result_run_id == handles[1].result_run_id
        third = operation(WorkflowIDConflictPolicy.FAIL)
        with pytest.raises(WorkflowAlreadyStartedError):
            await deposit(third, 1)
        with pytest.raises(WorkflowAlreadyStartedError):
            await third.workflow_handle()
    events = await events_of(client.get_workflow_handle(queue))
    assert trace(events).startswith("Started S B C UpdateAccepted UpdateCompleted"), show(events)


async def test_update_with_start_that_is_rejected(client: Client) -> None:
    """The workflow goes on though its first update was refused."""
    queue = unique("update-start-refused")
    operation = WithStartWorkflowOperation(
        workflows.Account.run, id=queue, task_queue=queue, id_conflict_policy=WorkflowIDConflictPolicy.FAIL
    )
    async with worker_for(client, queue):
        with pytest.raises(WorkflowUpdateFailedError):
            await client.execute_update_with_start_workflow(
                workflows.Account.deposit, -1, start_workflow_operation=operation
            )
        handle = client.get_workflow_handle(queue)
        assert await handle.execute_update(workflows.Account.deposit, 1) == 1
    assert names(await events_of(handle)).count(ACCEPTED_EVENT) == 1


async def test_update_survives_a_new_worker(client: Client) -> None:
    """An update accepted on one worker is completed on another, which replays its acceptance."""
    queue = unique("update-worker")
    async with worker_for(client, queue):
        handle = await start(client, queue)
        update = await handle.start_update(workflows.Account.deposit_when_open, 5, wait_for_stage=ACCEPTED)
    await handle.signal(workflows.Account.open)
    async with worker_for(client, queue):
        assert await update.result() == 5
        assert await handle.execute_update(workflows.Account.deposit, 1) == 6


async def test_workflow_that_is_not_cached(client: Client) -> None:
    """Without a cache each update is brought by a task with the whole history; refused ones leave nothing to replay."""
    queue = unique("update-cache")
    async with worker_for(client, queue, max_cached_workflows=0):
        handle = await start(client, queue)
        for amount in (1, 2, 3):
            with pytest.raises(WorkflowUpdateFailedError):
                await handle.execute_update(workflows.Account.deposit, -1)
            await handle.execute_update(workflows.Account.deposit, amount)
        await handle.signal(workflows.Account.close)
        assert await handle.result() == 6


async def test_update_survives_the_server(own_server: Server) -> None:
    """What was accepted before the server was killed is completed after it; what was only asked for is asked again."""
    own_server.start()
    client = await Client.connect(own_server.address, namespace=NAMESPACE)
    queue = unique("update-crash")
    handle = await start(client, queue)
    async with worker_for(client, queue):
        accepted = await handle.start_update(
            workflows.Account.deposit_when_open, 5, wait_for_stage=ACCEPTED, id="accepted"
        )
        result = asyncio.create_task(accepted.result())
        own_server.kill()
        own_server.start()
        await handle.signal(workflows.Account.open)
        assert await result == 5
        again = await handle.execute_update(workflows.Account.deposit_when_open, 5, id="accepted")
        assert again == 5, "it is the same update"
        assert await handle.execute_update(workflows.Account.deposit, 1) == 6
    assert names(await events_of(handle)).count(ACCEPTED_EVENT) == 2


async def test_waiting_update_survives_the_server(own_server: Server) -> None:
    """An update that waited for a worker when the server was killed is asked for again by its caller."""
    own_server.start()
    client = await Client.connect(own_server.address, namespace=NAMESPACE)
    queue = unique("update-crash")
    handle = await start(client, queue)
    update = asyncio.create_task(handle.execute_update(workflows.Account.deposit, 5, id="waits"))
    await admitted(client, queue, "waits")
    own_server.kill()
    own_server.start()
    async with worker_for(client, queue):
        assert await update == 5
    assert names(await events_of(handle)).count(ACCEPTED_EVENT) == 1
