// 300,000 flows as fast as the kernel takes them: the backup has all of them in the end, and the
// event socket was never overrun.

import { expect, test } from 'vitest';
import { withKernelLimit } from '../../bench/lab/limit.js';
import { LineProcess } from '../../bench/lab/process.js';
import type { LoadCommand, LoadReport } from '../../bench/load.js';
import { OURS, REQUEST } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const FLOWS = 300_000;

describeLab('a burst', () => {
  test('300,000 flows created flat out are all on the backup, none lost', async () => {
    await withKernelLimit(2 * FLOWS, run);
  });

  async function run(): Promise<void> {
    await withPair(
      { active: OURS, backup: OURS },
      async ({ topology, active, backup }) => {
        await Promise.all([active.greeted(), backup.greeted()]);
        const load = await LineProcess.start(topology.fw1.ns, 'load.js');
        try {
          const all: LoadCommand = { do: 'create', from: 0, count: FLOWS, rate: 0, burst: 256 };
          const report = await load.ask<LoadReport>(all);
          expect(report.failed).toBe(0);
          await waitFor(async () => (await backup.caches()).external.active >= FLOWS, {
            for: 'the backup to have them all',
            timeout: 60_000,
            every: 200,
            explain: async () => `${await active.request(REQUEST.stats)}${backup.log()}`,
          });
        } finally {
          await load.stop();
        }
        expect((await active.caches()).internal.active).toBe(FLOWS);
        expect((await backup.caches()).external.active).toBe(FLOWS);
        expect(await active.request(REQUEST.runtime)).toMatch(/netlink overrun:\t\t +0\n/);
      },
      { general: 'HashLimit 500000\n  NetlinkBufferSize 33554432' },
    );
  }
});
