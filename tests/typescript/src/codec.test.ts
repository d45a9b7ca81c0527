/** Payloads that the server cannot read. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { temporal } from '@temporalio/proto';

import { EncryptionCodec } from './codec';
import { Fixture } from './support';
import { parent } from './workflows';

const SECRET = 'the treasure lies under the oak';

/** Sends the secret through a workflow and its child, and returns the history as the server sends it. */
async function historyOfASecret(fixture: Fixture): Promise<Buffer> {
  try {
    const handle = await fixture.start(parent, ['echo', SECRET]);
    assert.equal(await handle.result(), SECRET);
    const { history } = await fixture.client.workflowService.getWorkflowExecutionHistory({
      namespace: 'default',
      execution: { workflowId: handle.workflowId },
    });
    return Buffer.from(temporal.api.history.v1.History.encode(history ?? {}).finish());
  } finally {
    await fixture.stop();
  }
}

test('with an encrypting codec the server never sees what the workflow and its client say to each other', async () => {
  const fixture = await Fixture.start({ payloadCodecs: [new EncryptionCodec(randomBytes(32))] });
  const history = await historyOfASecret(fixture);
  assert(!history.includes(SECRET));
  assert(history.includes('binary/encrypted'));
});

test('without a codec the same history shows the text: the test above looks in the right place', async () => {
  assert((await historyOfASecret(await Fixture.start())).includes(SECRET));
});
