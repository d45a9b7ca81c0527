/**
 * The TypeScript worker of the crash test in tests/python, the counterpart of crash_worker.py there: a process of its
 * own that outlives every kill of the server.
 *
 *     crash.js ADDRESS TASK_QUEUE LEDGER    serves Errand and Part; says "listening"
 *
 * Each activity attempt makes a value that nobody can guess and writes it to the ledger, a file of JSON lines.
 */

import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

import { CompleteAsyncError, activityInfo } from '@temporalio/activity';
import { Connection, isGrpcServiceError } from '@temporalio/client';
import { ApplicationFailure, defaultPayloadConverter, toPayloads } from '@temporalio/common';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';

// What a server that is down, starting or busy answers. Anything else is an answer for good.
// In order: cancelled, unknown, deadline exceeded, resource exhausted, aborted, unavailable.
const TRANSIENT = [1, 2, 4, 8, 10, 14];
const RETRY_EVERY_MS = 100;
const CALL_WITHIN_MS = 5_000;

/** The activities, named as in the worker of the other language: each calls those of the other. */
export interface Activities {
  make_value(): Promise<string>;
  fail_twice(): Promise<string>;
  complete_from_outside(): Promise<string>;
}

/** One line of the ledger, with the names that `Entry` of crash_worker.py has. */
interface Entry {
  workflow_id: string;
  activity_id: string;
  attempt: number;
  value: string;
  acknowledged: boolean;
  language: 'TypeScript';
}

async function serve(address: string, taskQueue: string, ledger: string): Promise<void> {
  // What a server that is away makes the SDK say, for each poll and each retry, would fill the log.
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const outside = await Connection.connect({ address });
  const worker = await Worker.create({
    connection: await NativeConnection.connect({ address }),
    taskQueue,
    workflowsPath: require.resolve('./crash-workflows'),
    activities: activitiesWith(outside, ledger),
    stickyQueueScheduleToStartTimeout: '2s',
  });
  console.log('listening');
  await worker.run();
}

function activitiesWith(outside: Connection, ledger: string): Activities {
  const record = (): Entry => {
    const entry = newEntry();
    append(ledger, entry);
    return entry;
  };
  return {
    async make_value() {
      return record().value;
    },

    async fail_twice() {
      if (activityInfo().attempt < 3) throw ApplicationFailure.retryable('not yet');
      return record().value;
    },

    /** Completes itself through a client call, so that the acknowledgment is seen and can be written down. */
    async complete_from_outside() {
      const entry = record();
      entry.acknowledged = await complete(outside, activityInfo().taskToken, entry.value);
      append(ledger, entry);
      throw new CompleteAsyncError();
    },
  };
}

/** Insists until the server has answered for good; says whether it has acknowledged. */
async function complete(outside: Connection, taskToken: Uint8Array, value: string): Promise<boolean> {
  const result = { payloads: toPayloads(defaultPayloadConverter, value) };
  for (;;) {
    try {
      await outside.withDeadline(Date.now() + CALL_WITHIN_MS, () =>
        outside.workflowService.respondActivityTaskCompleted({ namespace: 'default', taskToken, result })
      );
      return true;
    } catch (error) {
      if (!isTransient(error)) return false;
      await pause(RETRY_EVERY_MS);
    }
  }
}

function isTransient(error: unknown): boolean {
  return isGrpcServiceError(error) && TRANSIENT.includes(error.code);
}

function newEntry(): Entry {
  const { workflowExecution, activityId, attempt } = activityInfo();
  return {
    workflow_id: workflowExecution?.workflowId ?? '',
    activity_id: activityId,
    attempt,
    value: randomUUID(),
    acknowledged: false,
    language: 'TypeScript',
  };
}

function append(ledger: string, entry: Entry): void {
  appendFileSync(ledger, `${JSON.stringify(entry)}\n`);
}

const [address, taskQueue, ledger] = process.argv.slice(2);
if (address && taskQueue && ledger) {
  void serve(address, taskQueue, ledger);
} else {
  console.error('usage: crash.js ADDRESS TASK_QUEUE LEDGER');
  process.exitCode = 2;
}
