/** The activities that the workers run. */

import { Context, activityInfo, heartbeat } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';

export async function addOne(number: number): Promise<number> {
  return number + 1;
}

/** Fails until it is called for the given attempt, which it returns. */
export async function failUntil(attempt: number): Promise<number> {
  const current = activityInfo().attempt;
  if (current !== attempt) throw new Error(`attempt ${current} failed`);
  return current;
}

/** Fails for good, with details. */
export async function refuse(reason: string): Promise<void> {
  throw ApplicationFailure.create({ message: 'refused', type: 'Refusal', nonRetryable: true, details: [reason] });
}

/** Counts up, heartbeats each number and dies at each; the next attempt goes on from its details. */
export async function resumeFromHeartbeat(steps: number): Promise<number[]> {
  const done: number[] = activityInfo().heartbeatDetails ?? [];
  if (done.length === steps) return done;
  heartbeat([...done, done.length]);
  throw new Error('died');
}

/** Heartbeats until a reply says that it is cancelled. */
export async function beatUntilCancelled(): Promise<void> {
  const beat = setInterval(() => heartbeat(), 50);
  try {
    await Context.current().cancelled;
  } catch {
    throw new CancelledFailure('cancelled', ['stopped tidily']);
  } finally {
    clearInterval(beat);
  }
}
