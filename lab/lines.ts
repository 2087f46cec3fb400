// A process of the lab in a namespace that is spoken to by lines: one in, one out. It says "ready" when
// it can be asked, and ends with its standard input, so that it does not outlive its lab.

import { createInterface } from 'node:readline';
import type { Netns } from './namespace.js';
import { compiled } from './require.js';

export interface Answering {
  /** Says a line; what the process answers. Rejects when it has ended. */
  ask(line: string): Promise<string>;
}

/** Starts dist/lab/`script` and waits until it is ready. */
export async function startAnswering(
  ns: Netns,
  script: string,
  ...args: string[]
): Promise<Answering> {
  const child = ns.spawn(process.execPath, [compiled(script), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { done, value } = await lines.next();
    if (done) throw new Error(`${script} ${args.join(' ')} ended`);
    return value;
  };
  child.stdin!.on('error', () => {});
  const first = await next();
  if (first !== 'ready') throw new Error(`${script} ${args.join(' ')} did not start: ${first}`);
  return {
    ask: (line) => {
      child.stdin!.write(`${line}\n`);
      return next();
    },
  };
}
