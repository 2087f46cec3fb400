// Options of the modes, each by its effect. The others are shown elsewhere: ResendQueueSize in
// daemon.test.ts and test/unit/core/sender.test.ts, ACKWindowSize in test/unit/core/receiver.test.ts
// and ftfw.test.ts, PurgeTimeout in daemon.test.ts, RefreshTime and CacheTimeout in alarm.test.ts,
// DisableInternalCache in bypass.test.ts, DisableExternalCache in injection.test.ts, and all modes
// and caches in interop-matrix.test.ts.

import { expect, test } from 'vitest';
import { type PairOptions, withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { dumpTable } from '../../lab/table.js';
import { describePairings } from './matrix.js';

const FLOW = ['-p', 'udp', '-s', '10.1.7.7', '-d', '10.2.0.2', '--dport', '53', '-t', '5000'];
const FLOWS = 10;

describePairings((programs) => {
  const modes = ['FTFW', 'NOTRACK'].map((name): [string, PairOptions] => [
    name,
    { mode: `Mode ${name} {\n    StartupResync On\n  }` },
  ]);
  test.each(modes)(
    'StartupResync: a backup that starts late asks for everything: %s',
    async (_, options) => {
      await withPair(
        programs,
        async ({ topology, active, backup }) => {
          await active.greeted();
          await backup.stop();
          for (let port = 0; port < FLOWS; port++) {
            await topology.fw1.ns.exec('conntrack', ['-I', ...FLOW, '--sport', `${1000 + port}`]);
          }
          await backup.start();
          await waitReplicated(active, backup, FLOWS);
        },
        options,
      );
    },
  );

  test('CommitTimeout: what is committed lives that long', async () => {
    await withPair(
      programs,
      async ({ run, topology, active, backup }) => {
        await topology.fw1.ns.exec('conntrack', ['-I', ...FLOW, '--sport', '1000']);
        await waitReplicated(active, backup, 1);
        await backup.client('-c');
        const [flow] = (await dumpTable(run, topology.fw2.ns)).values();
        expect(flow?.timeout).toBeLessThanOrEqual(77);
        expect(flow?.timeout).toBeGreaterThan(40);
      },
      { mode: 'Mode FTFW {\n    CommitTimeout 77\n  }' },
    );
  });
});
