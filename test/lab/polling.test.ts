// PollSecs: no events are followed, and yet the backup learns of every flow that lives long enough,
// of every change, and of every end.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OURS, REQUEST } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { loadFlows } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const FLOWS = 300;

describeLab('polling', () => {
  test('flows come, change and go without an event', async () => {
    await withPair(
      { active: OURS, backup: OURS },
      async ({ run, topology, active, backup }) => {
        await Promise.all([active.greeted(), backup.greeted()]);
        const { ns } = topology.fw1;
        const write = (command: string, options: string): Promise<void> => {
          const lines = Array.from({ length: FLOWS }, (_, i) => {
            const tuple = `-s 10.1.7.7 -d 10.2.0.2 --sport ${1000 + i} --dport 80`;
            return `${command} -p tcp ${tuple} ${options}\n`;
          });
          const file = join(run.path('flows'), 'restore');
          writeFileSync(file, lines.join(''));
          return loadFlows(ns, file);
        };
        await write('-I', '--state ESTABLISHED -u ASSURED,SEEN_REPLY -t 3600');
        await waitReplicated(active, backup, FLOWS);
        await write('-U', '-m 7');
        await waitFor(
          async () =>
            (await backup.request(REQUEST.external)).split('mark=7 ').length - 1 === FLOWS,
          { for: 'the new mark on the backup', explain: () => backup.log() },
        );
        await write('-D', '');
        await waitFor(async () => (await backup.caches()).external.active === 0, {
          for: 'the backup to hear of their end',
        });
        const runtime = await active.request(REQUEST.runtime);
        expect(runtime).toMatch(/events received:\t +0\n/);
        expect(runtime).toMatch(/current buffer size \(in bytes\):\t +0\n/);
      },
      { general: 'PollSecs 1' },
    );
  });
});
