// Churn: thousands of flows created, a third of them changed and a third destroyed, batch by batch,
// straight in a kernel's table. What is left in the end is known, so it can be compared.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Pair } from './pair.js';
import { loadFlows } from './traffic.js';

/** Whole batches, whole thirds. */
export const CHURNED = 3072;
/** Destination ports: a third of the flows each. */
const PORT = { kept: 80, marked: 81, destroyed: 82 } as const;

/** Restore-file lines that add the flows `from` to `to`, or change those that are there. */
function additions(from: number, to: number, mark: (index: number) => number | undefined): string {
  const ports = Object.values(PORT);
  const lines: string[] = [];
  for (let index = from; index < to; index++) {
    const source = `10.1.${1 + (index >> 8)}.${index & 255}`;
    const tuple = `-s ${source} -d 10.2.0.2 --sport ${10000 + index} --dport ${ports[index % 3]}`;
    const marked = mark(index) === undefined ? '' : ` -m ${mark(index)}`;
    lines.push(`-A -p tcp ${tuple} --state ESTABLISHED -u ASSURED,SEEN_REPLY -t 3600${marked}`);
  }
  return `${lines.join('\n')}\n`;
}

const BATCH = 256;

/** Flows that a churn leaves. */
export const CHURN_LEFT = (CHURNED * 2) / 3;

/** Creates batch after batch; changes and destroys a third of each while the next ones come. */
export async function churn({ run, topology }: Pair): Promise<void> {
  const { ns } = topology.fw1;
  const file = join(run.path('flows'), 'restore');
  const load = async (lines: string): Promise<void> => {
    writeFileSync(file, lines);
    await loadFlows(ns, file);
  };
  for (let from = 0; from < CHURNED; from += BATCH) {
    const to = Math.min(from + BATCH, CHURNED);
    await load(additions(from, to, () => undefined));
    await load(additions(from, to, (index) => (index % 3 === 1 ? 1 + index : undefined)));
    await ns.exec('conntrack', ['-D', '-p', 'tcp', '--dport', `${PORT.destroyed}`]);
  }
}
