// The other end of LineProcess (lab/process.ts): a process that answers JSON lines with JSON lines.

import { createInterface } from 'node:readline';

/** Says that it is ready, then answers each command until standard input ends; a failure is told. */
export async function answerCommands<Command>(
  answer: (command: Command) => unknown,
): Promise<void> {
  process.stdout.write('{"ready":true}\n');
  for await (const line of createInterface({ input: process.stdin })) {
    let answered: unknown;
    try {
      answered = answer(JSON.parse(line) as Command);
    } catch (error) {
      answered = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(answered)}\n`);
  }
}
