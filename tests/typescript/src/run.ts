/**
 * Starts the server, bundles the workflows, runs every `*.test.js` beside this file by node's test runner, stops the
 * server. Arguments go to the test runner, such as `--test-name-pattern=signal`.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { bundleWorkflowCode } from '@temporalio/worker';

import { Server } from './server';
import { BUNDLE, SILENT } from './support';

async function main(): Promise<number> {
  const { code } = await bundleWorkflowCode({ workflowsPath: require.resolve('./workflows'), logger: SILENT });
  writeFileSync(BUNDLE, code);
  const directory = mkdtempSync(join(tmpdir(), 'e2e-typescript-'));
  try {
    const server = await Server.start(directory);
    try {
      const exitCode = await runTests(server.address);
      if (exitCode !== 0) console.error(`--- end of the server's log\n${server.logTail()}`);
      return exitCode;
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function runTests(address: string): Promise<number> {
  const files = readdirSync(__dirname).filter((name) => name.endsWith('.test.js'));
  // Tests mostly wait, so more processes than cores.
  const flags = ['--test', '--test-reporter=spec', '--test-timeout=60000', '--test-concurrency=3'];
  const tests = spawn(process.execPath, [...flags, ...process.argv.slice(2), ...files], {
    cwd: __dirname,
    env: { ...process.env, E2E_ADDRESS: address },
    stdio: 'inherit',
  });
  const [exitCode] = await once(tests, 'exit');
  return exitCode ?? 1;
}

main().then(
  (exitCode) => (process.exitCode = exitCode),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  }
);
