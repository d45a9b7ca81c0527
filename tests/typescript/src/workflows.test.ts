/** Workflows as their clients see them: timers, signals, queries, cancellation, continue-as-new, failures. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { QueryNotRegisteredError, WorkflowFailedError, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure, TerminatedFailure } from '@temporalio/common';

import { EventType, Fixture, countOf, errorOf, eventsOf } from './support';
import { account, add, collect, countDown, deposit, fail, finish, timer, values, waitForever } from './workflows';

let fixture: Fixture;
before(async () => void (fixture = await Fixture.start()));
after(async () => await fixture.stop());

test('a timer fires, and not before its time', async () => {
  const handle = await fixture.start(timer, [200]);
  const elapsed = await handle.result();
  assert(elapsed >= 200, `${elapsed} ms`);
  assert.equal(countOf(await eventsOf(handle), EventType.EVENT_TYPE_TIMER_FIRED), 1);
});

test('signals arrive in order; a query sees them while the workflow runs and after it closed', async () => {
  const handle = await fixture.start(collect, []);
  for (const value of ['a', 'b', 'c']) await handle.signal(add, value);
  assert.deepEqual(await handle.query(values), ['a', 'b', 'c']);
  await handle.signal(finish);
  assert.deepEqual(await handle.result(), ['a', 'b', 'c']);
  assert.deepEqual(await handle.query(values), ['a', 'b', 'c']);
});

test('updates are done by the code of the workflow; what a validator refuses leaves no event', async () => {
  const handle = await fixture.start(account, []);
  assert.equal(await handle.executeUpdate(deposit, { args: [1] }), 2);
  const before = (await eventsOf(handle)).length;
  const error = await errorOf(handle.executeUpdate(deposit, { args: [-1] }));
  assert(error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure);
  assert.equal(error.cause.type, 'Negative');
  assert.equal((await eventsOf(handle)).length, before);
  assert.equal(await handle.executeUpdate(deposit, { args: [2] }), 5);
  await handle.signal(finish);
  assert.equal(await handle.result(), 5);
  const completed = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED;
  assert.equal(countOf(await eventsOf(handle), completed), 2);
});

test('a query that the workflow does not know is refused with the names of those it knows', async () => {
  const handle = await fixture.start(collect, []);
  const error = await errorOf(handle.query('noSuchQuery'));
  assert(error instanceof QueryNotRegisteredError);
  assert.match(error.message, /values/);
});

test('a cancelled workflow cleans up and ends as cancelled', async () => {
  const handle = await fixture.start(waitForever, []);
  await fixture.waitForEvent(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED);
  await handle.cancel();
  const error = await errorOf(handle.result());
  assert(error instanceof WorkflowFailedError && error.cause instanceof CancelledFailure);
  assert.equal(await fixture.status(handle.workflowId), 'CANCELLED');
  assert.equal(countOf(await eventsOf(handle), EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED), 1);
});

test('a terminated workflow ends at once, and its client hears the reason', async () => {
  const handle = await fixture.start(waitForever, []);
  await handle.terminate('enough');
  const error = await errorOf(handle.result());
  assert(error instanceof WorkflowFailedError && error.cause instanceof TerminatedFailure);
  assert.match(error.cause.message, /enough/);
  assert.equal(await fixture.status(handle.workflowId), 'TERMINATED');
});

test('continue-as-new hands its arguments to the next run; the client follows to the last one', async () => {
  const handle = await fixture.start(countDown, [3, []]);
  assert.deepEqual(await handle.result(), [3, 2, 1, 0]);
  assert.notEqual((await handle.describe()).runId, handle.firstExecutionRunId);
  assert.equal(await fixture.status(handle.workflowId, handle.firstExecutionRunId), 'CONTINUED_AS_NEW');
});

test('a failed workflow reaches the client with its type, details and cause', async () => {
  const handle = await fixture.start(fail, ['out of luck']);
  const error = await errorOf(handle.result());
  assert(error instanceof WorkflowFailedError && error.cause instanceof ApplicationFailure);
  const { message, type, details, cause } = error.cause;
  assert.deepEqual(
    { message, type, details },
    { message: 'out of luck', type: 'Unlucky', details: [{ code: 42 }, 'more'] }
  );
  assert.equal(cause?.message, 'the reason');
});
