// Every kind of flow goes from an active firewall to a backup, into the backup's kernel, and on
// living after a take-over, for each pairing of our daemon and the C daemon.

import { expect, test } from 'vitest';
import { multicastLink, tcpLink, udpLink } from '../../lab/daemon.js';
import { type Pair, type PairOptions, withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable, type Table } from '../../lab/table.js';
import { takeOver } from '../../lab/takeover.js';
import { describePairings } from './matrix.js';
import { expectAlive, expectVariety, makeTraffic } from './mixture.js';

async function commitAndCompare(pair: Pair): Promise<Table> {
  const { run, topology, backup } = pair;
  await backup.client('-c');
  const [active, committed] = await Promise.all([
    dumpTable(run, topology.fw1.ns),
    dumpTable(run, topology.fw2.ns),
  ]);
  expect(describeDifferences(compareTables(active, committed))).toBe('');
  return committed;
}

describePairings((programs) => {
  test('all kinds of flows are committed equal and live on after a take-over', async () => {
    await withPair(programs, async (pair) => {
      const traffic = await makeTraffic(pair);
      await waitReplicated(pair.active, pair.backup, traffic.flows);
      expectVariety(await commitAndCompare(pair));
      await takeOver(pair.topology, pair.backup, { release: true });
      await expectAlive(traffic);
      const { internal, external } = await pair.backup.caches();
      expect(internal.active).toBe(traffic.flows);
      expect(external.active).toBe(0);
      // The bulk update of the new active firewall refills the other one.
      await waitReplicated(pair.backup, pair.active, traffic.flows);
    });
  });

  const links: [string, PairOptions][] = [
    ['UDP over IPv6', { link: (node, peer) => udpLink(node, peer, 6) }],
    ['multicast', { link: (node) => multicastLink(node) }],
    [
      'TCP without sequence tracking',
      { link: (node, peer) => tcpLink(node, peer), mode: 'Mode NOTRACK {\n  }' },
    ],
  ];
  test.each(links)('flows are committed equal over %s', async (_, options) => {
    await withPair(
      programs,
      async (pair) => {
        const traffic = await makeTraffic(pair);
        await waitReplicated(pair.active, pair.backup, traffic.flows);
        expectVariety(await commitAndCompare(pair));
      },
      options,
    );
  });
});
