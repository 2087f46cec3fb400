// DisableInternalCache: the active daemon keeps no copy of the table and says what the kernel says,
// as soon as it says so. The backup caches and commits as always.

import { expect, test } from 'vitest';
import { OURS, parseCache, REQUEST } from '../../lab/daemon.js';
import { type Pair, type PairOptions, withPair } from '../../lab/pair.js';
import { compareTables, describeDifferences, dumpTable } from '../../lab/table.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describePairings } from './matrix.js';
import { expectAlive, expectVariety, makeTraffic } from './mixture.js';

const OPTIONS: PairOptions = {
  mode: 'Mode NOTRACK {\n    DisableInternalCache On\n  }',
};

/** Waits until the backup's external cache holds this many flows. */
async function waitCached({ active, backup }: Pair, flows: number): Promise<void> {
  const cached = async () =>
    parseCache(await backup.request(REQUEST.stats), 'external').active === flows;
  await waitFor(cached, {
    for: `${flows} flows in the external cache`,
    every: 200,
    explain: async () => [await backup.request(REQUEST.external), active.log()].join('\n'),
  });
}

async function commitAndCompare({ run, topology, backup }: Pair) {
  await backup.client('-c');
  const [active, committed] = await Promise.all([
    dumpTable(run, topology.fw1.ns),
    dumpTable(run, topology.fw2.ns),
  ]);
  expect(describeDifferences(compareTables(active, committed))).toBe('');
  return committed;
}

describePairings((programs) => {
  const ours = programs.active === OURS;

  test('all kinds of flows are committed equal and live on after a take-over', async () => {
    await withPair(
      programs,
      async (pair) => {
        const { topology } = pair;
        const traffic = await makeTraffic(pair);
        await waitCached(pair, traffic.flows);
        // The C daemon sends what it has gathered once a second.
        if (!ours) await sleep(1500);
        expectVariety(await commitAndCompare(pair));
        topology.release(topology.fw1);
        topology.activate(topology.fw2);
        await expectAlive(traffic);
      },
      OPTIONS,
    );
  });

  test('a flow that ends is forgotten at the peer', async () => {
    await withPair(
      programs,
      async (pair) => {
        const { ns } = pair.topology.fw1;
        const tcp = ['-p', 'tcp', '-s', '10.1.7.7', '-d', '10.2.0.2', '--dport', '80'];
        for (const port of ['1000', '1001']) {
          const flow = [...tcp, '--sport', port, '--state', 'ESTABLISHED', '-t', '600'];
          await ns.exec('conntrack', ['-I', ...flow, '-u', 'ASSURED,SEEN_REPLY']);
        }
        await waitCached(pair, 2);
        await ns.exec('conntrack', ['-D', ...tcp, '--sport', '1000']);
        await waitCached(pair, 1);
        const external = await pair.backup.request(REQUEST.external);
        expect(external).toContain('sport=1001');
        expect(external).not.toContain('sport=1000');
        // Still there: the end of a TCP flow is harmless with window tracking, too.
        expect(await pair.active.request(REQUEST.runtime)).toContain('daemon uptime');
      },
      // The C daemon does not survive this combination.
      ours ? { ...OPTIONS, sync: 'Options {\n    TCPWindowTracking On\n  }' } : OPTIONS,
    );
  });

  test('a peer that asks gets the kernel’s table', async () => {
    await withPair(
      programs,
      async (pair) => {
        const { run, topology, active, backup } = pair;
        const flow = ['-p', 'udp', '-s', '10.1.7.7', '-d', '10.2.0.2', '--dport', '53'];
        const make = (port: number) =>
          topology.fw1.ns.exec('conntrack', ['-I', ...flow, '--sport', `${port}`, '-t', '600']);
        for (let port = 1000; port < 1005; port++) await make(port);
        await waitCached(pair, 5);
        await backup.client('-f', 'external');
        await waitCached(pair, 0);
        await backup.client('-n');
        await waitCached(pair, 5);
        await backup.client('-f', 'external');
        await active.client('-B');
        await waitCached(pair, 5);
        const lines = (await active.client('-i')).trim().split('\n');
        expect(lines).toHaveLength(5);
        expect(lines[0]).toMatch(/^udp +17 5\d\d src=10\.1\.7\.7 .* use=\d+$/);
        expect(await active.request(REQUEST.stats)).toMatch(
          /^internal bypass:\nconnections new:\t\t +\d+\nconnections updated:/,
        );
        if (!ours) return; // there this deletes the kernel's flows
        await active.client('-f', 'internal');
        await active.client('-f');
        await active.client('-R');
        expect((await dumpTable(run, topology.fw1.ns)).size).toBe(5);
      },
      OPTIONS,
    );
  });
});
