// A dedicated link that loses one datagram in five and doubles others: thousands of flows are
// created, changed and destroyed meanwhile, and both tables must be equal in the end.

import { expect, test } from 'vitest';
import { CHURN_LEFT, CHURNED, churn } from '../../lab/churn.js';
import { impairLink } from '../../lab/loss.js';
import { withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable } from '../../lab/table.js';
import { describePairings } from './matrix.js';

describePairings((programs) => {
  test('20 % loss and 10 % duplicates both ways leave both tables equal', async () => {
    await withPair(programs, async (pair) => {
      const { run, topology, active, backup } = pair;
      await Promise.all([active.greeted(), backup.greeted()]);
      const faults = { dropPercent: 20, duplicatePercent: 10 };
      const links = impairLink(topology.fw1.ns, topology.fw2.ns, faults);
      await churn(pair);
      const left = CHURN_LEFT;
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
      expect(internal.destroyed).toBeGreaterThanOrEqual(CHURNED / 3);
      for (const link of links) {
        const { dropped, duplicated } = link.counters();
        expect(dropped).toBeGreaterThan(0);
        expect(duplicated).toBeGreaterThan(0);
      }
    });
  });
});
