// A daemon dies without warning and starts again on the files it left behind: the other one must
// not mind, and after the resync both know the same flows again.

import { expect, test } from 'vitest';
import { C, type Daemon } from '../../lab/daemon.js';
import { type Pair, withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable, waitSettled } from '../../lab/table.js';
import { startClient, startServer, variety } from '../../lab/traffic.js';
import { describePairings } from './matrix.js';

const COUNT = 2;

/** Ours starts on a stale lock file and socket; the C daemon needs its lock file removed. */
async function crashAndStart(daemon: Daemon, meanwhile: () => Promise<unknown>): Promise<void> {
  await daemon.kill();
  await meanwhile();
  if (daemon.program === C) daemon.removeLock();
  await daemon.start();
}

async function expectEqualAfterCommit(pair: Pair, flows: number): Promise<void> {
  const { run, topology, active, backup } = pair;
  await waitSettled(run, topology.fw1.ns, flows);
  await waitReplicated(active, backup, flows);
  await backup.client('-c');
  const [first, second] = await Promise.all([
    dumpTable(run, topology.fw1.ns),
    dumpTable(run, topology.fw2.ns),
  ]);
  expect(describeDifferences(compareTables(first, second))).toBe('');
}

describePairings((programs) => {
  const plan = variety(COUNT, 50);
  const flows = plan.reduce((sum, group) => sum + group.count, 0);

  test('the backup is killed, starts again and asks for a resync', async () => {
    await withPair(programs, async (pair) => {
      const { topology, active, backup } = pair;
      await startServer(topology);
      await startClient(topology, plan);
      await waitReplicated(active, backup, flows);
      // Twice as many flows: half of them it never heard of.
      await crashAndStart(backup, () => startClient(topology, plan));
      expect((await backup.caches()).external.active).toBeLessThan(2 * flows);
      await backup.client('-n');
      await expectEqualAfterCommit(pair, 2 * flows);
    });
  });

  test('the active daemon is killed, starts again and sends a bulk update', async () => {
    await withPair(programs, async (pair) => {
      const { topology, active, backup } = pair;
      await startServer(topology);
      await startClient(topology, plan);
      await waitReplicated(active, backup, flows);
      await crashAndStart(active, () => startClient(topology, plan));
      // The start reads the kernel's table, so nothing created meanwhile is lost.
      expect((await active.caches()).internal.active).toBe(2 * flows);
      await active.client('-B');
      await waitReplicated(active, backup, 2 * flows);
      // Sequence numbers began anew; what comes now must still be taken.
      await startClient(topology, plan);
      await expectEqualAfterCommit(pair, 3 * flows);
    });
  });

  const orders = [
    ['the active one first', true],
    ['the backup first', false],
  ] as const;
  test.each(orders)('both are killed and start again, %s', async (_, activeFirst) => {
    await withPair(programs, async (pair) => {
      const { topology, active, backup } = pair;
      await startServer(topology);
      await startClient(topology, plan);
      await waitReplicated(active, backup, flows);
      await Promise.all([active.kill(), backup.kill()]);
      await startClient(topology, plan);
      for (const daemon of activeFirst ? [active, backup] : [backup, active]) {
        if (daemon.program === C) daemon.removeLock();
        await daemon.start();
      }
      await Promise.all([active.greeted(), backup.greeted()]);
      await backup.client('-n');
      await expectEqualAfterCommit(pair, 2 * flows);
    });
  });

  test('the backup stops in order and starts again: nothing is left behind', async () => {
    await withPair(programs, async ({ topology, active, backup }) => {
      await startServer(topology);
      await startClient(topology, plan);
      await waitReplicated(active, backup, flows);
      await backup.stop();
      await backup.start();
      await backup.client('-n');
      await waitReplicated(active, backup, flows);
    });
  });
});
