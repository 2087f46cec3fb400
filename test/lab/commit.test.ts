// After a commit the internal cache is the kernel's table, though the kernel kept quiet about most of
// it: reading the table anew changes nothing, and a flow that ends afterwards leaves both.

import { expect, test } from 'vitest';
import { OURS, REQUEST } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { parseCacheDump, waitReplicated } from '../../lab/replication.js';
import { dumpTable, waitSettled } from '../../lab/table.js';
import { startClient, startServer, variety } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const PLAN = variety(2);
const FLOWS = PLAN.reduce((sum, { count }) => sum + count, 0);

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
});
