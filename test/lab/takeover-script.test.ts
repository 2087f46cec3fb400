// contrib/primary-backup.sh as keepalived calls it, with a real pair: the primary dies, the backup
// takes over, the dead one comes back as backup.

import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Daemon } from '../../lab/daemon.js';
import { OURS } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { ROOT } from '../../lab/require.js';
import { dumpTable } from '../../lab/table.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';
import { expectAlive, makeTraffic } from './mixture.js';

/** Calls the script on a firewall; rejects unless its status is 0. */
function script(daemon: Daemon, role: string): Promise<string> {
  return daemon.node.ns.exec('env', [
    `CONNTRACKD=${OURS.path}`,
    `CONNTRACKD_CONFIG=${daemon.config}`,
    `CONNTRACKD_LOCK=${join(daemon.directory, 'lock')}`,
    'sh',
    join(ROOT, 'contrib', 'primary-backup.sh'),
    role,
  ]);
}

describeLab('primary-backup.sh', () => {
  test('every connection lives on, and the dead firewall returns as the backup', async () => {
    await withPair(
      { active: OURS, backup: OURS },
      async (pair) => {
        const { run, topology, active, backup } = pair;
        const traffic = await makeTraffic(pair);
        await waitFor(async () => (await backup.caches()).external.active >= traffic.flows, {
          for: 'the flows on the backup',
          explain: () => backup.log(),
        });
        topology.cut(topology.fw1);
        await active.kill();
        await script(backup, 'primary');
        topology.activate(topology.fw2);
        await expectAlive(traffic);

        topology.plugIn(topology.fw1);
        try {
          await script(active, 'backup'); // no daemon answers: it starts one
          await waitFor(
            async () =>
              (await active.caches()).external.active === (await backup.caches()).internal.active,
            { for: 'the flows to come back', explain: () => active.log(), every: 200 },
          );
          // The kernel of the new backup lets go of what it had.
          await waitFor(async () => (await dumpTable(run, topology.fw1.ns)).size === 0, {
            for: 'the purge',
            explain: () => active.log(),
          });
          await script(active, 'fault');
          expect(active.log()).toContain('flushing conntrack table in 1 secs');
        } finally {
          await active.client('-k');
        }
      },
      { sync: 'PurgeTimeout 1' },
    );
  });
});
