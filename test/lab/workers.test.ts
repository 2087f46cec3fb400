// The same road with the caches in worker threads: what `Workers N` changes must not show.

import { expect, test } from 'vitest';
import { CHURN_LEFT, churn } from '../../lab/churn.js';
import { OURS } from '../../lab/daemon.js';
import { impairLink } from '../../lab/loss.js';
import { withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable } from '../../lab/table.js';
import { describeLab } from './matrix.js';

const programs = { active: OURS, backup: OURS };

describeLab('Workers', () => {
  test.each([1, 3])('%i workers on each node: equal tables under loss', async (workers) => {
    await withPair(
      programs,
      async (pair) => {
        const { run, topology, active, backup } = pair;
        await Promise.all([active.greeted(), backup.greeted()]);
        impairLink(topology.fw1.ns, topology.fw2.ns, { dropPercent: 20, duplicatePercent: 10 });
        await churn(pair);
        expect(await waitReplicated(active, backup, CHURN_LEFT, 60_000)).toBe(CHURN_LEFT);
        await backup.client('-c');
        const [first, second] = await Promise.all([
          dumpTable(run, topology.fw1.ns),
          dumpTable(run, topology.fw2.ns),
        ]);
        expect(first.size).toBe(CHURN_LEFT);
        expect(describeDifferences(compareTables(first, second))).toBe('');
        // The kernel's table comes back the same through -f and -R.
        await backup.client('-f');
        expect((await backup.caches()).internal.active).toBe(0);
        await backup.client('-R');
        expect((await backup.caches()).internal.active).toBe(CHURN_LEFT);
      },
      { general: `Workers ${workers}` },
    );
  });
});
