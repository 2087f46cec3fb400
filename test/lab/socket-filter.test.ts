// Filter From Kernelspace on real sockets: the cache holds what the rules let through, no more and no
// less, for real flows of every kind; and it was the kernel that dropped the rest, as the daemon had
// nothing left to filter.

import { expect, test } from 'vitest';
import { OURS, REQUEST } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { parseCacheDump } from '../../lab/replication.js';
import { dumpTable, type Flow, waitSettled } from '../../lab/table.js';
import { CLIENT, SERVER } from '../../lab/topology.js';
import { startClient, startServer, unanswered, variety } from '../../lab/traffic.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

interface Case {
  name: string;
  filter: string;
  passes: (flow: Flow) => boolean;
}

const sources = ({ orig, reply }: Flow): string[] => [orig.src ?? '', reply.src ?? ''];

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
    name: 'the real servers accepted, behind DNAT too',
    filter: `Address Accept { IPv4_address 10.2.0.0/16\nIPv6_address ${SERVER.v6} }`,
    passes: (flow) => sources(flow).some((source) => source === SERVER.v4 || source === SERVER.v6),
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

describeLab('a filter in the kernel', () => {
  test.each(CASES)('$name', async ({ filter, passes }) => {
    await withPair(
      { active: OURS, backup: OURS },
      async ({ run, topology, active, backup }) => {
        await startServer(topology);
        const plan = [...variety(1, 0), ...unanswered(1)];
        await startClient(topology, plan);
        await waitSettled(run, topology.fw1.ns, plan.length);
        const table = await dumpTable(run, topology.fw1.ns);
        const wanted = [...table.values()].filter(passes).length;
        expect(wanted).toBeGreaterThan(0);
        expect(wanted).toBeLessThan(table.size);
        await waitFor(
          async () => parseCacheDump(await active.request(REQUEST.internal)).size === wanted,
          { for: `${wanted} flows in the cache`, explain: () => active.request(REQUEST.internal) },
        );
        await sleep(300);
        expect(parseCacheDump(await active.request(REQUEST.internal)).size).toBe(wanted);
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

  test('thousands of addresses are left to user space, and the log says so', async () => {
    await withPair(
      { active: OURS, backup: OURS },
      async ({ run, topology, active }) => {
        await startServer(topology);
        const plan = variety(1, 0);
        await startClient(topology, plan);
        await waitSettled(run, topology.fw1.ns, plan.length);
        const table = await dumpTable(run, topology.fw1.ns);
        const wanted = [...table.values()].filter(({ orig }) => orig.src !== CLIENT.v4).length;
        await waitFor(
          async () => parseCacheDump(await active.request(REQUEST.internal)).size === wanted,
          { for: `${wanted} flows in the cache` },
        );
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
