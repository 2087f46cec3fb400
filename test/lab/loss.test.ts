// A dedicated link that loses one datagram in five and doubles others: thousands of flows are
// created, changed and destroyed meanwhile, and both tables must be equal in the end.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { impairLink } from '../../lab/loss.js';
import { type Pair, withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable } from '../../lab/table.js';
import { loadFlows } from '../../lab/traffic.js';
import { describePairings } from './matrix.js';

/** Whole batches, whole thirds. */
const FLOWS = 3072;
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

/** Creates batch after batch; changes and destroys a third of each while the next ones come. */
async function churn({ run, topology }: Pair): Promise<void> {
  const { ns } = topology.fw1;
  const file = join(run.path('flows'), 'restore');
  const load = async (lines: string): Promise<void> => {
    writeFileSync(file, lines);
    await loadFlows(ns, file);
  };
  for (let from = 0; from < FLOWS; from += BATCH) {
    const to = Math.min(from + BATCH, FLOWS);
    await load(additions(from, to, () => undefined));
    await load(additions(from, to, (index) => (index % 3 === 1 ? 1 + index : undefined)));
    await ns.exec('conntrack', ['-D', '-p', 'tcp', '--dport', `${PORT.destroyed}`]);
  }
}

describePairings((programs) => {
  test('20 % loss and 10 % duplicates both ways leave both tables equal', async () => {
    await withPair(programs, async (pair) => {
      const { run, topology, active, backup } = pair;
      await Promise.all([active.greeted(), backup.greeted()]);
      const faults = { dropPercent: 20, duplicatePercent: 10 };
      const links = impairLink(topology.fw1.ns, topology.fw2.ns, faults);
      await churn(pair);
      const left = (FLOWS * 2) / 3;
      const flows = await waitReplicated(active, backup, left, 60_000);
      expect(flows).toBe(left);
      await backup.client('-c');
      const [first, second] = await Promise.all([
        dumpTable(run, topology.fw1.ns),
        dumpTable(run, topology.fw2.ns),
      ]);
      expect(first.size).toBe(left);
      expect(describeDifferences(compareTables(first, second))).toBe('');
      const { internal } = await active.caches();
      expect(internal.destroyed).toBeGreaterThanOrEqual(FLOWS / 3);
      for (const link of links) {
        const { dropped, duplicated } = link.counters();
        expect(dropped).toBeGreaterThan(0);
        expect(duplicated).toBeGreaterThan(0);
      }
    });
  });
});
