// Fail-over with one command a side. The connections go on, the counts are told, and a client of the
// C program notices nothing of all that.

import { expect, test } from 'vitest';
import { C, OURS } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable, waitSettled } from '../../lab/table.js';
import { killHard } from '../../lab/takeover.js';
import { startClient, startServer, variety } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const PLAN = variety(2);
const FLOWS = PLAN.reduce((sum, { count }) => sum + count, 0);

describeLab('promotion', () => {
  test('--promote brings every flow into the kernel, then demotes again', async () => {
    await withPair({ active: OURS, backup: OURS }, async (pair) => {
      const { run, topology, active, backup } = pair;
      await startServer(topology);
      const client = await startClient(topology, PLAN);
      await waitSettled(run, topology.fw1.ns, FLOWS);
      await waitReplicated(active, backup, FLOWS);
      await client.pause();
      const before = await dumpTable(run, topology.fw1.ns);
      topology.release(topology.fw1);
      const promoted = JSON.parse(await backup.client('--promote', '-o', 'json')) as {
        committed: number;
        failed: number;
        flows: number;
        sent: boolean;
        reasons: unknown[];
        milliseconds: Record<string, number>;
      };
      expect(promoted).toMatchObject({ committed: FLOWS, failed: 0, sent: true, reasons: [] });
      expect(promoted.flows).toBeGreaterThanOrEqual(FLOWS);
      const steps = Object.keys(promoted.milliseconds).sort();
      expect(steps).toEqual(['bulk', 'commit', 'flush', 'resync', 'total']);
      expect(promoted.milliseconds.total).toBeGreaterThan(0);
      topology.activate(topology.fw2);
      const after = await dumpTable(run, topology.fw2.ns);
      expect(describeDifferences(compareTables(before, after))).toBe('');
      // The caches have changed sides.
      const caches = await backup.caches();
      expect(caches.internal.active).toBe(FLOWS);
      expect(caches.external.active).toBe(0);

      const text = await active.client('--demote');
      expect(text).toMatch(/^purge: the kernel's flows go within \d+ s\n/);
      expect(text).toMatch(new RegExp(`resync: ${FLOWS} flows in the external cache, peers quiet`));
      await client.resume();
      expect(active.log(1000)).toContain('flushing conntrack table in ');
    });
  });

  test('-c tells our client what it did, and a C client nothing', async () => {
    await withPair({ active: OURS, backup: OURS }, async ({ topology, active, backup }) => {
      await startServer(topology);
      await startClient(topology, PLAN);
      await waitReplicated(active, backup, FLOWS);
      expect(await backup.clientOf(C, '-c')).toBe('');
      const report = JSON.parse(await backup.clientOf(OURS, '-c', '-o', 'json')) as object;
      expect(report).toMatchObject({ command: 'commit', committed: FLOWS, failed: 0 });
      expect(await backup.clientOf(OURS, '-c')).toBe('');
    });
  });

  test('--demote fails when there is no peer to learn from', async () => {
    await withPair({ active: OURS, backup: OURS }, async ({ topology, active, backup }) => {
      await backup.greeted();
      await killHard(topology, active);
      await waitFor(
        () =>
          backup.client('--demote').then(
            () => false,
            (error: Error) => /no word from a peer/.test(error.message),
          ),
        { for: '--demote to fail', timeout: 40_000, every: 1000 },
      );
    });
  });
});
