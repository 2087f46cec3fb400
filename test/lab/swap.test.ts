// A pair of C daemons becomes a pair of ours while it works: first the backup, then a fail-over to
// it, then the other node. Every connection outlives all of that.

import { expect, test } from 'vitest';
import { C, Daemon, OURS } from '../../lab/daemon.js';
import { type Pair, withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable } from '../../lab/table.js';
import { takeOver } from '../../lab/takeover.js';
import { describeLab } from './matrix.js';
import { expectAlive, expectVariety, makeTraffic } from './mixture.js';

/** Ends a daemon and starts ours on the same files; it asks its peer for everything. */
async function swap(pair: Pair, old: Daemon): Promise<Daemon> {
  const { run, topology } = pair;
  await old.stop();
  const ours = new Daemon(run, { program: OURS, node: old.node, peer: topology.peer(old.node) });
  await ours.start();
  await ours.client('-n');
  return ours;
}

describeLab('a live pair of C daemons', () => {
  test('is swapped for ours node by node, with every connection alive', async () => {
    await withPair({ active: C, backup: C }, async (pair) => {
      const { run, topology, active: first, backup: second } = pair;
      const { fw1, fw2 } = topology;
      const traffic = await makeTraffic(pair);
      await waitReplicated(first, second, traffic.flows);

      const backup = await swap(pair, second);
      await waitReplicated(first, backup, traffic.flows);
      await expectAlive(traffic);
      await takeOver(topology, backup, { release: true });
      await expectAlive(traffic);

      // The old active node becomes the backup, as in the script: its kernel forgets.
      await first.client('-F');
      const other = await swap(pair, first);
      await waitReplicated(backup, other, traffic.flows);
      await other.client('-c');
      const tables = await Promise.all([dumpTable(run, fw2.ns), dumpTable(run, fw1.ns)]);
      expect(describeDifferences(compareTables(...tables))).toBe('');
      expectVariety(tables[1]);
      await takeOver(topology, other, { release: true });
      await expectAlive(traffic);
      await waitReplicated(other, backup, traffic.flows);
    });
  });
});
