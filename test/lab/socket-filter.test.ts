// Filter From Kernelspace on real sockets: the cache holds what the rules let through, no more and no
// less, for real flows of every kind; and it was the kernel that dropped the rest, as the daemon had
// nothing left to filter.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { OURS, REQUEST } from '../../lab/daemon.js';
import { type Pair, withPair } from '../../lab/pair.js';
import { parseCacheDump } from '../../lab/replication.js';
import { dumpTable, type Flow } from '../../lab/table.js';
import { CLIENT, SERVER } from '../../lab/topology.js';
import { startClient, startServer, unanswered, variety } from '../../lab/traffic.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

interface Case {
  name: string;
  filter: string;
  passes: (flow: Flow) => boolean;
}

function manyHosts(count: number): string {
  const lines = Array.from({ length: count }, (_, n) => {
    const host = `${172 + (n >> 16)}.16.${(n >> 8) & 255}.${n & 255}`;
    return `IPv4_address ${host.replace(/^172\.16/, `172.${16 + (n % 2)}`)}\nIPv6_address fd77::${n}:1`;
  });
  return lines.join('\n');
}

const CASES: Case[] = [
  {
    name: 'one protocol',
    filter: 'Protocol Accept { UDP }',
    passes: ({ protocol }) => protocol === 'udp',
  },
  {
    name: 'the client of one family ignored',
    filter: `Address Ignore { IPv4_address ${CLIENT.v4} }`,
    passes: ({ orig }) => orig.src !== CLIENT.v4,
  },
  {
    name: 'the real server of one family accepted, behind DNAT too',
    filter: 'Address Accept { IPv4_address 10.2.0.0/16\nIPv6_address fd09::/16 }',
    passes: ({ reply }) => reply.src === SERVER.v4,
  },
  {
    name: 'established connections and what has no state',
    filter: 'State Accept { ESTABLISHED for TCP }',
    passes: ({ protocol, state }) => protocol !== 'tcp' || state === 'ESTABLISHED',
  },
  {
    name: 'everything at once, with 120 addresses of each family',
    filter:
      'Protocol Accept { TCP }\nState Ignore { SYN_SENT for TCP }\n' +
      `Address Ignore { ${manyHosts(120)}\nIPv6_address fd01::/16 }`,
    passes: ({ orig, protocol, state }) =>
      protocol === 'tcp' && state !== 'SYN_SENT' && orig.src !== CLIENT.v6,
  },
];

/** Waits until the cache holds what the kernel does, as far as `passes` goes; the number of flows. */
async function waitCached(
  { run, topology, active }: Pair,
  passes: Case['passes'],
  flows: number,
): Promise<number> {
  let seen = '';
  return await waitFor(
    async () => {
      const table = await dumpTable(run, topology.fw1.ns);
      const wanted = [...table.values()].filter(passes).length;
      const cached = parseCacheDump(await active.request(REQUEST.internal)).size;
      seen = `kernel ${table.size}, of which ${wanted} pass; in the cache ${cached}`;
      return table.size === flows && cached === wanted && wanted < flows && wanted;
    },
    { for: 'the cache to hold what passes', explain: () => seen, every: 200 },
  );
}

describeLab('a filter in the kernel', () => {
  const plan = [...variety(1), ...unanswered(1)];

  test.each(CASES)('$name', async ({ filter, passes }) => {
    await withPair(
      { active: OURS, backup: OURS },
      async (pair) => {
        const { topology, active, backup } = pair;
        await startServer(topology);
        await startClient(topology, plan);
        await waitCached(pair, passes, plan.length);
        await sleep(500);
        const wanted = await waitCached(pair, passes, plan.length);
        await waitFor(async () => (await backup.caches()).external.active === wanted, {
          for: 'the backup to have them',
        });
        const runtime = await active.request(REQUEST.runtime);
        expect(runtime).toMatch(/events filtered:\t +0\n/);
        expect(runtime).not.toMatch(/events received:\t +0\n/);
        expect(active.log(200)).toContain('using kernel-space event filtering');
      },
      { filter: `Filter From Kernelspace { ${filter} }` },
    );
  });

  test('SIGHUP gives the kernel another filter', async () => {
    await withPair(
      { active: OURS, backup: OURS },
      async (pair) => {
        const { topology, active } = pair;
        await startServer(topology);
        await startClient(topology, plan);
        await waitCached(pair, ({ protocol }) => protocol === 'udp', plan.length);
        const text = readFileSync(active.config, 'utf8');
        writeFileSync(active.config, text.replace('Accept { UDP }', 'Accept { TCP }'));
        process.kill(active.pid!, 'SIGHUP');
        await waitCached(pair, ({ protocol }) => protocol === 'tcp', plan.length);
        // Events of the new kind come through, those of the old one no longer.
        await startClient(topology, plan);
        await sleep(500);
        await waitCached(pair, ({ protocol }) => protocol === 'tcp', 2 * plan.length);
        expect(await active.request(REQUEST.runtime)).toMatch(/events filtered:\t +0\n/);
      },
      { filter: 'Filter From Kernelspace { Protocol Accept { UDP } }' },
    );
  });

  test('thousands of addresses are left to user space, and the log says so', async () => {
    await withPair(
      { active: OURS, backup: OURS },
      async (pair) => {
        const { topology, active } = pair;
        await startServer(topology);
        await startClient(topology, plan);
        await waitCached(pair, ({ orig }) => orig.src !== CLIENT.v4, plan.length);
        expect(await active.request(REQUEST.runtime)).not.toMatch(/events filtered:\t +0\n/);
        expect(active.log(200)).toContain('too many addresses for the kernel');
      },
      {
        filter: `Filter From Kernelspace { Address Ignore { ${manyHosts(3000)}
          IPv4_address ${CLIENT.v4} } }`,
      },
    );
  });
});
