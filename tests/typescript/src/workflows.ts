/** The workflows that the tests start. Each does one thing. */

import {
  ActivityCancellationType,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  type ParentClosePolicy,
  type Sinks,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  defineUpdate,
  executeChild,
  isCancellation,
  proxyActivities,
  proxySinks,
  setHandler,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow';

import type * as activities from './activities';

export const add = defineSignal<[string]>('add');
export const finish = defineSignal('finish');
export const values = defineQuery<string[]>('values');
export const deposit = defineUpdate<number, [number]>('deposit');

const quick = proxyActivities<typeof activities>({
  startToCloseTimeout: '20s',
  retry: { initialInterval: '10ms' },
});

/** Calls activities one after another, each with the result of the last. */
export async function addInTurn(steps: number): Promise<number> {
  let number = 0;
  for (let step = 0; step < steps; step++) number = await quick.addOne(number);
  return number;
}

/** Calls activities in parallel. */
export async function addAtOnce(width: number): Promise<number[]> {
  return await Promise.all(Array.from({ length: width }, (_, number) => quick.addOne(number)));
}

/** Runs one activity by name, with quick retries, and fails as it fails. */
export async function callActivity(activity: keyof typeof activities, argument: unknown): Promise<unknown> {
  return await (quick[activity] as (argument: unknown) => Promise<unknown>)(argument);
}

/** Cancels its activity when signalled, and returns what the activity said at its end. */
export async function cancelActivity(): Promise<unknown> {
  const { beatUntilCancelled } = proxyActivities<typeof activities>({
    startToCloseTimeout: '1m',
    heartbeatTimeout: '1s',
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  });
  let enough = false;
  setHandler(finish, () => void (enough = true));
  const scope = new CancellationScope();
  const activity = scope.run(beatUntilCancelled);
  await condition(() => enough);
  scope.cancel();
  try {
    return await activity;
  } catch (error) {
    if (error instanceof ActivityFailure && error.cause instanceof CancelledFailure) return error.cause.details[0];
    throw error;
  }
}

/** Sleeps, and returns how long that took on the workflow's clock. */
export async function timer(ms: number): Promise<number> {
  const before = Date.now();
  await sleep(ms);
  return Date.now() - before;
}

/** Gathers `add` signals until `finish`; the query `values` shows them meanwhile. */
export async function collect(): Promise<string[]> {
  const collected: string[] = [];
  let finished = false;
  setHandler(add, (value) => void collected.push(value));
  setHandler(finish, () => void (finished = true));
  setHandler(values, () => collected);
  await condition(() => finished);
  return collected;
}

/** A balance that `deposit` updates change, of one more than they say, until `finish`. */
export async function account(): Promise<number> {
  let balance = 0;
  let finished = false;
  const handler = async (amount: number): Promise<number> => {
    const deposited = await quick.addOne(amount);
    balance += deposited;
    return balance;
  };
  const validator = (amount: number): void => {
    if (amount < 0) throw ApplicationFailure.create({ message: 'no debts', type: 'Negative' });
  };
  setHandler(deposit, handler, { validator });
  setHandler(finish, () => void (finished = true));
  await condition(() => finished);
  return balance;
}

/** Ends only by cancellation or termination; cleans up with an activity when cancelled. */
export async function waitForever(): Promise<void> {
  try {
    await condition(() => false);
  } catch (error) {
    if (isCancellation(error)) await CancellationScope.nonCancellable(() => quick.addOne(1));
    throw error;
  }
}

/** Continues as new until `from` is 0, and returns the numbers that it passed. */
export async function countDown(from: number, passed: number[]): Promise<number[]> {
  const all = [...passed, from];
  return from === 0 ? all : await continueAsNew<typeof countDown>(from - 1, all);
}

export async function echo(value: string): Promise<string> {
  return value;
}

/** Fails with details and a cause. */
export async function fail(message: string): Promise<void> {
  throw ApplicationFailure.create({
    message,
    type: 'Unlucky',
    details: [{ code: 42 }, 'more'],
    cause: new Error('the reason'),
  });
}

/** Runs a child by name and returns its result; fails as it fails. */
export async function parent(child: string, argument: string): Promise<unknown> {
  return await executeChild(child, { workflowId: `${workflowInfo().workflowId}/child`, args: [argument] });
}

/** Closes while its child runs; the policy decides what becomes of the child. */
export async function parentThatLeaves(workflowId: string, parentClosePolicy: ParentClosePolicy): Promise<void> {
  await startChild(waitForever, { workflowId, parentClosePolicy });
}

interface ReplaySinks extends Sinks {
  replays: { begun(): void };
}

/** Holds the result of an activity over a wait for `finish`, then adds one more. Tells the test of each replay. */
export async function remember(): Promise<number> {
  proxySinks<ReplaySinks>().replays.begun();
  let going = false;
  setHandler(finish, () => void (going = true));
  const number = await quick.addOne(0);
  await condition(() => going);
  return await quick.addOne(number);
}
