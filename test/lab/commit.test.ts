// After a commit the internal cache is the kernel's table, though nobody listened to new flows
// meanwhile: reading the table anew changes nothing, a flow that ends afterwards leaves both, and the
// peer hears of live flows that were new in between, but not of its own.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OURS, REQUEST } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { parseCacheDump, waitReplicated } from '../../lab/replication.js';
import { dumpTable, waitSettled } from '../../lab/table.js';
import { loadFlows, startClient, startServer, variety } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const PLAN = variety(2);
const FLOWS = PLAN.reduce((sum, { count }) => sum + count, 0);
const COMMITTED = 20_000;
/** Live flows that come while the commit runs: so many files of so many. */
const FILES = 20;
const PER_FILE = 100;

/** Restore-file lines of `count` flows from the network 10.`net`.0.0/16. */
function restoreFile(net: number, from: number, count: number): string {
  const lines = Array.from({ length: count }, (_, i) => {
    const index = from + i;
    const source = `10.${net}.${index >> 8}.${index & 255}`;
    return `-A -p udp -s ${source} -d 10.2.0.2 --sport 1000 --dport 53 -t 600\n`;
  });
  return lines.join('');
}

describeLab('a commit', () => {
  test.each([0, 2])(
    'leaves the internal cache as the kernel is, with %i workers',
    async (workers) => {
      await withPair(
        { active: OURS, backup: OURS },
        async ({ run, topology, active, backup }) => {
          await startServer(topology);
          const client = await startClient(topology, PLAN);
          await waitSettled(run, topology.fw1.ns, FLOWS);
          await waitReplicated(active, backup, FLOWS);
          await client.pause();
          const internal = async () => parseCacheDump(await backup.request(REQUEST.internal));
          await backup.request(REQUEST.commit);
          await waitFor(async () => (await internal()).size === FLOWS, {
            for: 'the internal cache to hold what was committed',
          });
          const learned = await internal();
          expect((await dumpTable(run, topology.fw2.ns)).size).toBe(FLOWS);
          await backup.client('-R');
          expect(await internal()).toEqual(learned);
          // Committed once more, all of it is there already; the last word is the same.
          await backup.request(REQUEST.commit);
          await waitFor(async () => (await internal()).size === FLOWS, {
            for: 'the internal cache to hold what was committed again',
          });
          topology.fw2.ns.execSync('conntrack', ['-F']);
          await waitFor(async () => (await internal()).size === 0, {
            for: 'the internal cache to forget what was flushed',
          });
        },
        { general: `Workers ${workers}` },
      );
    },
  );

  test('misses no live flow that was new meanwhile, and tells the peer of those alone', async () => {
    await withPair({ active: OURS, backup: OURS }, async ({ run, topology, active, backup }) => {
      const { fw1, fw2 } = topology;
      const file = (name: string, text: string): string => {
        const path = join(run.path('flows'), name);
        writeFileSync(path, text);
        return path;
      };
      await loadFlows(fw1.ns, file('committed', restoreFile(20, 0, COMMITTED)));
      await waitReplicated(active, backup, COMMITTED);
      const live = Array.from({ length: FILES }, (_, i) =>
        file(`live${i}`, restoreFile(30, i * PER_FILE, PER_FILE)),
      );
      await Promise.all([
        backup.request(REQUEST.commit),
        // One file after the other, from before the commit until after it.
        live.reduce(async (before, path) => {
          await before;
          await loadFlows(fw2.ns, path);
        }, Promise.resolve()),
      ]);
      const all = COMMITTED + FILES * PER_FILE;
      expect((await dumpTable(run, fw2.ns)).size).toBe(all);
      const counted = async (): Promise<number[]> => [
        (await backup.caches()).internal.active,
        (await active.caches()).external.active,
      ];
      await waitFor(async () => `${await counted()}` === `${all},${FILES * PER_FILE}`, {
        for: 'both nodes to know the live flows',
        explain: async () => `${await counted()}`,
      });
      const theirs = parseCacheDump(await active.request(REQUEST.external));
      expect([...theirs.keys()].every((key) => key.includes('10.30.'))).toBe(true);
    });
  });
});
