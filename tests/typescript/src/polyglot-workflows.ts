/** The workflow that the TypeScript worker of tests/polyglot serves. */

export async function TypeScriptGreeting(name: string): Promise<string> {
  return `hello ${name} from TypeScript`;
}
