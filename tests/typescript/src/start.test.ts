/** Starting: signal-with-start, what describe shows, ids that are taken. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { type WorkflowIdReusePolicy, defineSearchAttributeKey } from '@temporalio/common';

import { SEARCH_ATTRIBUTE } from './server';
import { Fixture, unique } from './support';
import { add, collect, echo, fail, finish } from './workflows';

let fixture: Fixture;
before(async () => void (fixture = await Fixture.start()));
after(async () => await fixture.stop());

test('signal-with-start starts the workflow once; the second call only signals it', async () => {
  const workflowId = unique('workflow');
  const runs = new Set<string>();
  for (const value of ['first', 'second']) {
    const handle = await fixture.client.workflow.signalWithStart(collect, {
      workflowId,
      taskQueue: fixture.taskQueue,
      signal: add,
      signalArgs: [value],
    });
    runs.add(handle.signaledRunId);
  }
  assert.equal(runs.size, 1);
  const handle = fixture.client.workflow.getHandle<typeof collect>(workflowId);
  await handle.signal(finish);
  assert.deepEqual(await handle.result(), ['first', 'second']);
});

test('describe shows what a workflow was started with: type, queue, memo, search attributes', async () => {
  const key = defineSearchAttributeKey(SEARCH_ATTRIBUTE, 'KEYWORD');
  const handle = await fixture.start(collect, [], {
    memo: { note: 'remember the milk' },
    typedSearchAttributes: [{ key, value: 'blue' }],
  });
  const description = await handle.describe();
  assert.equal(description.type, 'collect');
  assert.equal(description.taskQueue, fixture.taskQueue);
  assert.equal(description.status.name, 'RUNNING');
  assert.deepEqual(description.memo, { note: 'remember the milk' });
  assert.equal(description.typedSearchAttributes.get(key), 'blue');
  await handle.signal(finish);
  await handle.result();
  assert.equal(await fixture.status(handle.workflowId), 'COMPLETED');
});

test('the id of a running workflow cannot be started again, unless the conflict policy says what to do', async () => {
  const workflowId = unique('workflow');
  const start = async (workflowIdConflictPolicy: 'FAIL' | 'USE_EXISTING' | 'TERMINATE_EXISTING') => {
    const handle = await fixture.start(collect, [], { workflowId, workflowIdConflictPolicy });
    return (await handle.describe()).runId;
  };
  const first = await start('FAIL');
  await assert.rejects(start('FAIL'), WorkflowExecutionAlreadyStartedError);
  assert.equal(await start('USE_EXISTING'), first);
  assert.notEqual(await start('TERMINATE_EXISTING'), first);
  assert.equal(await fixture.status(workflowId, first), 'TERMINATED');
});

test('the reuse policy decides whether the id of a closed workflow may be started again', async () => {
  const workflowId = unique('workflow');
  const run = async (workflow: typeof echo | typeof fail, workflowIdReusePolicy: WorkflowIdReusePolicy) => {
    const handle = await fixture.start<(value: string) => Promise<unknown>>(workflow, ['again'], {
      workflowId,
      workflowIdReusePolicy,
    });
    await handle.result().catch(() => {});
  };
  await run(echo, 'REJECT_DUPLICATE');
  await assert.rejects(run(echo, 'REJECT_DUPLICATE'), WorkflowExecutionAlreadyStartedError);
  await assert.rejects(run(echo, 'ALLOW_DUPLICATE_FAILED_ONLY'), WorkflowExecutionAlreadyStartedError);
  await run(fail, 'ALLOW_DUPLICATE');
  await run(echo, 'ALLOW_DUPLICATE_FAILED_ONLY');
});
