/** Replay: a worker that takes over, a workflow that fell out of the cache. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { EventType, Fixture, countOf, eventsOf } from './support';
import { finish, remember } from './workflows';

let fixture: Fixture;
beforeEach(async () => void (fixture = await Fixture.connect()));
afterEach(async () => await fixture.stop());

/** Starts `remember` and returns once it waits, with the result of its activity in hand. */
async function startRemember() {
  const handle = await fixture.start(remember, []);
  await fixture.waitForEvent(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 2);
  assert.equal(fixture.timesBegun.get(handle.workflowId), 1, 'the cache serves the second workflow task');
  return handle;
}

async function finishAfterReplay(handle: Awaited<ReturnType<typeof startRemember>>) {
  await handle.signal(finish);
  assert.equal(await handle.result(), 2);
  assert.equal(fixture.timesBegun.get(handle.workflowId), 2, 'the workflow is replayed once');
  assert.equal(countOf(await eventsOf(handle), EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED), 2, 'nothing runs again');
}

test('a worker that takes over in the middle of a workflow replays it and goes on where the first one stopped', async () => {
  const first = await fixture.startWorker();
  const handle = await startRemember();
  await first.stop();
  await fixture.startWorker();
  await finishAfterReplay(handle);
});

test('a workflow that fell out of the cache is fetched whole and replayed', async () => {
  await fixture.startWorker({ maxCachedWorkflows: 2 });
  const handle = await startRemember();
  for (let other = 0; other < 2; other++) await startRemember();
  await finishAfterReplay(handle);
});
