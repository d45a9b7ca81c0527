/**
 * The TypeScript side of the tests in tests/polyglot.
 *
 *     polyglot.js worker ADDRESS                 serves TypeScriptGreeting and TypeScriptStamp on polyglot-typescript; says
 *                                                "listening"
 *     polyglot.js start ADDRESS NAME LANGUAGE... runs each language's greeting by name; prints its result
 */

import { randomUUID } from 'node:crypto';

import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';

async function stamp(name: string): Promise<string> {
  return `${name}, stamped in TypeScript`;
}

async function serve(address: string): Promise<void> {
  Runtime.install({ logger: new DefaultLogger('WARN') });
  const worker = await Worker.create({
    connection: await NativeConnection.connect({ address }),
    taskQueue: 'polyglot-typescript',
    workflowsPath: require.resolve('./polyglot-workflows'),
    activities: { TypeScriptStamp: stamp },
  });
  console.log('listening');
  await worker.run();
}

async function start(address: string, name: string, languages: string[]): Promise<void> {
  const connection = await Connection.connect({ address });
  const client = new Client({ connection });
  for (const language of languages) {
    const greeting: string = await client.workflow.execute(`${language}Greeting`, {
      workflowId: randomUUID(),
      taskQueue: `polyglot-${language.toLowerCase()}`,
      args: [name],
    });
    console.log(greeting);
  }
  await connection.close();
}

const [command, address, name, ...languages] = process.argv.slice(2);
if (command === 'worker' && address) {
  void serve(address);
} else if (command === 'start' && address && name) {
  void start(address, name, languages);
} else {
  console.error('usage: polyglot.js worker ADDRESS | polyglot.js start ADDRESS NAME LANGUAGE...');
  process.exitCode = 2;
}
