/** Child workflows: results, failures, and what becomes of them when their parent closes. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure, ChildWorkflowFailure } from '@temporalio/common';

import { Fixture, errorOf, eventually, unique } from './support';
import { parent, parentThatLeaves } from './workflows';

let fixture: Fixture;
before(async () => void (fixture = await Fixture.start()));
after(async () => await fixture.stop());

test("a parent gets its child's result", async () => {
  const handle = await fixture.start(parent, ['echo', 'from the child']);
  assert.equal(await handle.result(), 'from the child');
  assert.equal(await fixture.status(`${handle.workflowId}/child`), 'COMPLETED');
});

test("a child's failure reaches the parent, and through it the client, with the child's own failure as its cause", async () => {
  const handle = await fixture.start(parent, ['fail', 'the child had no luck']);
  const error = await errorOf(handle.result());
  assert(error instanceof WorkflowFailedError && error.cause instanceof ChildWorkflowFailure);
  assert.equal(error.cause.workflowType, 'fail');
  assert(error.cause.cause instanceof ApplicationFailure);
  assert.equal(error.cause.cause.message, 'the child had no luck');
  assert.equal(error.cause.cause.type, 'Unlucky');
});

for (const [policy, wanted] of [
  ['TERMINATE', 'TERMINATED'],
  ['REQUEST_CANCEL', 'CANCELLED'],
] as const) {
  test(`the parent close policy ${policy} leaves the child ${wanted}`, async () => {
    const child = unique('child');
    await (await fixture.start(parentThatLeaves, [child, policy])).result();
    await eventually(async () => (await fixture.status(child)) === wanted);
  });
}

test('a child with the parent close policy ABANDON outlives its parent', async () => {
  const child = unique('child');
  await (await fixture.start(parentThatLeaves, [child, 'ABANDON'])).result();
  assert.equal(await fixture.status(child), 'RUNNING');
  // Nothing comes to an abandoned child, so the proof is that it still takes a request of ours.
  await fixture.client.workflow.getHandle(child).cancel();
  await eventually(async () => (await fixture.status(child)) === 'CANCELLED');
});
