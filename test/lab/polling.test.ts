// PollSecs: no events are followed, and yet the backup learns of every flow that lives long enough,
// of every change, and of every end.

import { expect, test } from 'vitest';
import { LineProcess } from '../../bench/lab/process.js';
import type { LoadCommand, LoadReport } from '../../bench/load.js';
import { OURS, REQUEST } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const FLOWS = 300;
// linux/netfilter/nf_conntrack_tcp.h
const ESTABLISHED = 3;
const FIN_WAIT = 4;

describeLab('polling', () => {
  test.each([0, 2])('flows come, change and go without an event, Workers %i', async (workers) => {
    await withPair(
      { active: OURS, backup: OURS },
      async ({ topology, active, backup }) => {
        await Promise.all([active.greeted(), backup.greeted()]);
        const load = await LineProcess.start(topology.fw1.ns, 'load.js');
        const order = async (what: LoadCommand['do'], state: number): Promise<void> => {
          const command = { do: what, from: 0, count: FLOWS, rate: 0, burst: 256, state };
          expect((await load.ask<LoadReport>(command)).failed).toBe(0);
        };
        try {
          await order('create', ESTABLISHED);
          await waitReplicated(active, backup, FLOWS);
          await order('update', FIN_WAIT);
          await waitFor(
            async () =>
              (await backup.request(REQUEST.external)).split(' FIN_WAIT ').length - 1 === FLOWS,
            { for: 'the new state on the backup', explain: () => backup.log() },
          );
          await order('delete', FIN_WAIT);
          await waitFor(async () => (await backup.caches()).external.active === 0, {
            for: 'the backup to hear of their end',
          });
        } finally {
          await load.stop();
        }
        const runtime = await active.request(REQUEST.runtime);
        expect(runtime).toMatch(/events received:\t +0\n/);
        expect(runtime).toMatch(/current buffer size \(in bytes\):\t +0\n/);
      },
      { general: `PollSecs 1\n  Workers ${workers}` },
    );
  });
});
