/** The server under test, as a process of its own. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { type AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { Connection } from '@temporalio/client';

export const SEARCH_ATTRIBUTE = 'E2eKeyword';

const NAMESPACES = ['default', 'other'];
const READY_WITHIN_MS = 30_000;
const ENDS_WITHIN_MS = 10_000;
const ASK_AGAIN_AFTER_MS = 20;

export class Server {
  private constructor(
    readonly address: string,
    private readonly logPath: string,
    private readonly process: ChildProcess
  ) {}

  /** Starts a server on a new data file in `directory`, and returns once it serves all namespaces. */
  static async start(directory: string): Promise<Server> {
    const port = await freePort();
    const logPath = join(directory, 'server.log');
    const log = openSync(logPath, 'w');
    const [program, ...flags] = commandLine(join(directory, 'data.db'), port);
    const server = new Server(
      `127.0.0.1:${port}`,
      logPath,
      spawn(program, flags, { stdio: ['ignore', log, log] })
    );
    closeSync(log);
    try {
      await once(server.process, 'spawn');
      await server.waitUntilReady();
      return server;
    } catch (error) {
      await server.stop();
      throw new Error(`the server did not start\n${server.logTail()}`, { cause: error });
    }
  }

  /** Asks the process to end, and insists after a while. */
  async stop(): Promise<void> {
    if (this.hasEnded()) return;
    const ended = once(this.process, 'exit');
    this.process.kill('SIGTERM');
    const insist = setTimeout(() => this.process.kill('SIGKILL'), ENDS_WITHIN_MS);
    await ended;
    clearTimeout(insist);
  }

  logTail(): string {
    return readFileSync(this.logPath, 'utf8').trimEnd().split('\n').slice(-80).join('\n');
  }

  private hasEnded(): boolean {
    const { pid, exitCode, signalCode } = this.process;
    return pid === undefined || exitCode !== null || signalCode !== null;
  }

  private async waitUntilReady(): Promise<void> {
    const deadline = Date.now() + READY_WITHIN_MS;
    for (;;) {
      try {
        return await this.describeNamespaces();
      } catch (error) {
        if (this.hasEnded()) throw new Error('it ended at once', { cause: error });
        if (Date.now() > deadline) throw error;
        await pause(ASK_AGAIN_AFTER_MS);
      }
    }
  }

  private async describeNamespaces(): Promise<void> {
    const connection = await Connection.connect({ address: this.address, connectTimeout: 2000 });
    try {
      for (const namespace of NAMESPACES) {
        await connection.workflowService.describeNamespace({ namespace });
      }
    } finally {
      await connection.close();
    }
  }
}

/** What serves `dataFile` on `port`. Both servers take the same flags. */
function commandLine(dataFile: string, port: number): [string, ...string[]] {
  const flags = ['server', 'start-dev', '--headless', '--db-filename', dataFile, '--port', String(port)];
  flags.push('--namespace', 'other', '--search-attribute', `${SEARCH_ATTRIBUTE}=Keyword`);
  if (process.env.E2E_SERVER === 'temporal') {
    // Off by default there, on by default in ours.
    flags.push('--dynamic-config-value', 'system.enableCrossNamespaceCommands=true');
    return [process.env.TEMPORAL_BIN || 'temporal', ...flags];
  }
  const ours = resolve(__dirname, '../../../target/debug/mainspring');
  return [process.env.MAINSPRING_BIN || ours, ...flags];
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
