/** Activities: in turn, in parallel, retries, failures, heartbeats, cancellation. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { WorkflowFailedError } from '@temporalio/client';
import { ActivityFailure, ApplicationFailure, RetryState } from '@temporalio/common';

import { EventType, Fixture, countOf, errorOf, eventsOf } from './support';
import { addAtOnce, addInTurn, callActivity, cancelActivity, finish } from './workflows';

let fixture: Fixture;
before(async () => void (fixture = await Fixture.start()));
after(async () => await fixture.stop());

test('activities run one after another, each with the result of the last', async () => {
  const handle = await fixture.start(addInTurn, [5]);
  assert.equal(await handle.result(), 5);
});

test('activities run in parallel: all are scheduled by one workflow task', async () => {
  const handle = await fixture.start(addAtOnce, [5]);
  assert.deepEqual(await handle.result(), [1, 2, 3, 4, 5]);
  const scheduled = (await eventsOf(handle)).flatMap((event) => event.activityTaskScheduledEventAttributes ?? []);
  assert.equal(scheduled.length, 5);
  assert.equal(new Set(scheduled.map((event) => String(event.workflowTaskCompletedEventId))).size, 1);
});

test('an activity that fails twice succeeds at its third attempt; history has one start, with the last failure', async () => {
  const handle = await fixture.start(callActivity, ['failUntil', 3]);
  assert.equal(await handle.result(), 3);
  const started = (await eventsOf(handle)).flatMap((event) => event.activityTaskStartedEventAttributes ?? []);
  assert.deepEqual(
    started.map(({ attempt, lastFailure }) => [attempt, lastFailure?.message]),
    [[3, 'attempt 2 failed']]
  );
});

test('a non-retryable failure is not retried and reaches the client with its type and details', async () => {
  const handle = await fixture.start(callActivity, ['refuse', 'no reason']);
  const error = await errorOf(handle.result());
  assert(error instanceof WorkflowFailedError);
  assert(error.cause instanceof ActivityFailure);
  assert.equal(error.cause.activityType, 'refuse');
  assert.equal(error.cause.retryState, RetryState.NON_RETRYABLE_FAILURE);
  assert(error.cause.cause instanceof ApplicationFailure);
  const { message, type, nonRetryable, details } = error.cause.cause;
  assert.deepEqual(
    { message, type, nonRetryable, details },
    { message: 'refused', type: 'Refusal', nonRetryable: true, details: ['no reason'] }
  );
  assert.equal(countOf(await eventsOf(handle), EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED), 1);
});

test('a retry goes on from the heartbeat details of the attempt before it', async () => {
  const handle = await fixture.start(callActivity, ['resumeFromHeartbeat', 3]);
  assert.deepEqual(await handle.result(), [0, 1, 2]);
});

test('the reply to a heartbeat tells an activity that it is cancelled, and its last words reach the workflow', async () => {
  const handle = await fixture.start(cancelActivity, []);
  await fixture.waitForStartedActivity(handle);
  await handle.signal(finish);
  assert.equal(await handle.result(), 'stopped tidily');
  const events = await eventsOf(handle);
  assert.equal(countOf(events, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED), 1);
  assert.equal(countOf(events, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED), 1);
});
