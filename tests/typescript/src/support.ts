/** What the tests share: a client and a worker per file, unique names, waiting on conditions. */

import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import {
  Client,
  Connection,
  type WorkflowHandle,
  type WorkflowHandleWithFirstExecutionRunId,
  type WorkflowStartOptions,
} from '@temporalio/client';
import { type DataConverter, type Workflow } from '@temporalio/common';
import { temporal } from '@temporalio/proto';
import { type LogLevel, DefaultLogger, NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';

import * as activities from './activities';

export import EventType = temporal.api.enums.v1.EventType;
export type HistoryEvent = temporal.api.history.v1.IHistoryEvent;

/** The workflows as the workers load them; `run.ts` writes it. */
export const BUNDLE = join(__dirname, 'workflows.bundle.js');
/** Most tests make something fail on purpose; their logs would hide the results. */
export const SILENT = new DefaultLogger('ERROR' satisfies LogLevel, () => {});

const DEADLINE_MS = 30_000;
const ASK_AGAIN_AFTER_MS = 20;

// Without shutdown signals: a test process that is told to end is to end.
Runtime.install({ logger: SILENT, shutdownSignals: [] });

/** A running worker with every workflow and activity of this folder, and a way to end it. */
export interface RunningWorker {
  stop(): Promise<void>;
}

/** A client and a task queue of one test file, or of one test, and the worker that serves it. */
export class Fixture {
  readonly taskQueue = unique('queue');
  /** How often a worker began to run the code of a workflow id: once, and once more for each replay. */
  readonly timesBegun = new Map<string, number>();
  private workers: RunningWorker[] = [];

  private constructor(
    private readonly connection: Connection,
    private readonly native: NativeConnection,
    readonly client: Client,
    private readonly dataConverter?: DataConverter
  ) {}

  static async connect(dataConverter?: DataConverter): Promise<Fixture> {
    const address = process.env.E2E_ADDRESS;
    if (!address) throw new Error('run the tests by `npm test`: it starts the server');
    const connection = await Connection.connect({ address });
    const native = await NativeConnection.connect({ address });
    return new Fixture(connection, native, new Client({ connection, dataConverter }), dataConverter);
  }

  /** Connects and starts a worker. */
  static async start(dataConverter?: DataConverter): Promise<Fixture> {
    const fixture = await Fixture.connect(dataConverter);
    await fixture.startWorker();
    return fixture;
  }

  /** Adds a worker. A worker that is gone is waited for one second, not ten. */
  async startWorker(options: Partial<WorkerOptions> = {}): Promise<RunningWorker> {
    const worker = await Worker.create({
      connection: this.native,
      dataConverter: this.dataConverter,
      taskQueue: this.taskQueue,
      workflowBundle: { codePath: BUNDLE },
      activities,
      stickyQueueScheduleToStartTimeout: '1s',
      sinks: {
        replays: {
          begun: {
            fn: ({ workflowId }) => {
              this.timesBegun.set(workflowId, (this.timesBegun.get(workflowId) ?? 0) + 1);
            },
            callDuringReplay: true,
          },
        },
      },
      ...options,
    });
    const ended = worker.run();
    const running = {
      stop: async () => {
        this.workers = this.workers.filter((other) => other !== running);
        worker.shutdown();
        await ended;
      },
    };
    this.workers.push(running);
    return running;
  }

  async stop(): Promise<void> {
    for (const worker of [...this.workers]) await worker.stop();
    await this.native.close();
    await this.connection.close();
  }

  /** Starts a workflow under a new id unless `options` names one. */
  async start<T extends Workflow>(
    workflow: T,
    args: Parameters<T>,
    options: Partial<WorkflowStartOptions> = {}
  ): Promise<WorkflowHandleWithFirstExecutionRunId<T>> {
    const all = { workflowId: unique('workflow'), taskQueue: this.taskQueue, ...options, args };
    return await this.client.workflow.start(workflow, all as unknown as WorkflowStartOptions<T>);
  }

  /** The name of a workflow's state, as the server describes it. */
  async status(workflowId: string, runId?: string): Promise<string> {
    return (await this.client.workflow.getHandle(workflowId, runId).describe()).status.name;
  }

  /** Follows the history by long poll until it has `count` events of the type. */
  async waitForEvent(handle: WorkflowHandle, wanted: EventType, count = 1): Promise<void> {
    const service = this.client.workflowService;
    const request = { namespace: 'default', execution: { workflowId: handle.workflowId }, waitNewEvent: true };
    let nextPageToken: Uint8Array | undefined;
    await this.connection.withDeadline(Date.now() + DEADLINE_MS, async () => {
      do {
        const page = await service.getWorkflowExecutionHistory({ ...request, nextPageToken });
        nextPageToken = page.nextPageToken;
        count -= countOf(page.history?.events ?? [], wanted);
        if (count <= 0) return;
      } while (nextPageToken?.length);
      throw new Error(`the workflow closed without another ${EventType[wanted]}`);
    });
  }

  /** Asks until a worker runs an activity of the workflow. */
  async waitForStartedActivity(handle: WorkflowHandle): Promise<void> {
    const started = temporal.api.enums.v1.PendingActivityState.PENDING_ACTIVITY_STATE_STARTED;
    await eventually(async () => {
      const { raw } = await handle.describe();
      return raw.pendingActivities?.some(({ state }) => state === started) ?? false;
    });
  }
}

/** Asks `condition` until it holds; fails after the deadline. */
export async function eventually(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('the condition did not come true in time');
    await pause(ASK_AGAIN_AFTER_MS);
  }
}

/** All events so far. */
export async function eventsOf(handle: WorkflowHandle): Promise<HistoryEvent[]> {
  return (await handle.fetchHistory()).events ?? [];
}

export function countOf(events: HistoryEvent[], wanted: EventType): number {
  return events.filter(({ eventType }) => eventType === wanted).length;
}

/** A name that no other test uses. */
export function unique(prefix: string): string {
  return `${prefix}-${randomUUID().slice(0, 13)}`;
}

/** The error that `promise` ends with; fails when it does not. */
export async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it succeeded, and was to fail');
}
