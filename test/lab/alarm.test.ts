// ALARM mode on a real link: what was lost comes with the next repetition, and what a dead peer no
// longer repeats is forgotten.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { REQUEST } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { loadFlows } from '../../lab/traffic.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describePairings } from './matrix.js';

const FLOWS = 200;
const MODE = `Mode ALARM {
    RefreshTime 3
    CacheTimeout 8
  }`;

describePairings((programs) => {
  test('lost flows are repeated, and those of a dead peer are forgotten', async () => {
    await withPair(
      programs,
      async ({ run, topology, active, backup }) => {
        const { ns } = topology.fw2;
        ns.nft(`
table inet deaf {
  chain arriving {
    type filter hook prerouting priority -400
    iifname "sync" counter drop
  }
}`);
        const lines = Array.from({ length: FLOWS }, (_, i) => {
          const tuple = `-s 10.1.7.7 -d 10.2.0.2 --sport ${1000 + i} --dport 80`;
          return `-I -p tcp ${tuple} --state ESTABLISHED -u ASSURED,SEEN_REPLY -t 3600\n`;
        });
        const file = join(run.path('flows'), 'restore');
        writeFileSync(file, lines.join(''));
        await loadFlows(topology.fw1.ns, file);
        await waitFor(() => / packets [1-9]/.test(ns.execSync('nft', ['list', 'ruleset'])), {
          for: 'the first datagram to be lost',
        });
        expect((await backup.caches()).external.active).toBe(0);
        ns.nft('delete table inet deaf');
        await waitReplicated(active, backup, FLOWS);
        const [line = ''] = (await backup.request(REQUEST.external)).split('\n');
        expect(Number(/ \[expires in (\d+)s\] /.exec(line)?.[1])).toBeLessThanOrEqual(8);
        // Repeated before it expires, time and again.
        await sleep(10_000);
        expect((await backup.caches()).external.active).toBe(FLOWS);
        await active.kill();
        await waitFor(async () => (await backup.caches()).external.active === 0, {
          for: 'the entries of the dead peer to be forgotten',
          timeout: 12_000,
        });
      },
      { mode: MODE },
    );
  });
});
