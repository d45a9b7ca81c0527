/** The workflows of the TypeScript worker of the crash test; those of tests/python/crash_worker.py do the same. */

import { condition, defineSignal, executeChild, proxyActivities, setHandler, sleep, workflowInfo } from '@temporalio/workflow';

import type { Activities } from './crash';

const note = defineSignal<[string]>('note');

/** A bit of everything: activities, retries, a timer, signals and a child; some of it on a task queue abroad. */
export async function Errand(signals: number, abroad: string | null): Promise<Record<string, string | string[]>> {
  const notes: string[] = [];
  setHandler(note, (text) => void notes.push(text));
  const result: Record<string, string | string[]> = {};
  for (const name of ['make_value', 'fail_twice'] as const) result[name] = await runActivity(name);
  await sleep(300);
  result.complete_from_outside = await runActivity('complete_from_outside');
  if (abroad) {
    for (const name of ['fail_twice', 'complete_from_outside'] as const) {
      result[`abroad/${name}`] = await runActivity(name, abroad);
    }
  }
  result.part = await executeChild<() => Promise<string>>('Part', {
    workflowId: `${workflowInfo().workflowId}/part`,
    taskQueue: abroad ?? undefined,
  });
  await condition(() => notes.length >= signals);
  result.notes = notes;
  return result;
}

/** The child: one activity. */
export async function Part(): Promise<string> {
  return await runActivity('make_value');
}

/** Runs an activity that is retried until it succeeds, here or on the task queue of another worker. */
async function runActivity(name: keyof Activities, abroad?: string): Promise<string> {
  const activities = proxyActivities<Activities>({
    activityId: abroad ? `abroad/${name}` : name,
    taskQueue: abroad,
    startToCloseTimeout: '4s',
    retry: { initialInterval: '100ms', backoffCoefficient: 1.5 },
  });
  return await activities[name]();
}
