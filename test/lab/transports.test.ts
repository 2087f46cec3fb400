// What a dedicated link takes and what it does not: nothing that arrives on another interface, the
// options of its sockets as the peer and the kernel see them, link-local addresses, and a TCP stream
// that was cut in the middle of a message.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { multicastLink, OURS, REQUEST, SYNC_PORT, tcpLink, udpLink } from '../../lab/daemon.js';
import type { Netns } from '../../lab/namespace.js';
import { type Pair, type PairOptions, withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import type { Firewall } from '../../lab/topology.js';
import { Endpoint, loadFlows } from '../../lab/traffic.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describeLab, describePairings } from './matrix.js';

const BATCH = 200;
const STRAY = { v4: '10.1.0.22', v6: 'fd01::22' } as const;

async function createFlows({ run, topology }: Pair, batch: number): Promise<void> {
  const lines = Array.from({ length: BATCH }, (_, i) => {
    const tuple = `-s 10.1.7.${batch} -d 10.2.0.2 --sport ${1000 + i} --dport 80`;
    return `-I -p tcp ${tuple} --state ESTABLISHED -u ASSURED,SEEN_REPLY -t 3600\n`;
  });
  const file = join(run.path('flows'), `batch${batch}`);
  writeFileSync(file, lines.join(''));
  await loadFlows(topology.fw1.ns, file);
}

/** Packets that a firewall has counted under this name. */
function counted(ns: Netns, name: string): number {
  return Number(
    /packets (\d+)/.exec(ns.execSync('nft', ['list', 'counter', 'inet', 'watch', name]))?.[1],
  );
}

function watch({ ns }: Firewall, rules: Record<string, string>): void {
  const names = Object.keys(rules);
  ns.nft(`
table inet watch {
${names.map((name) => `  counter ${name} { }`).join('\n')}
  chain arriving {
    type filter hook prerouting priority -400
${names.map((name) => `    ${rules[name]} counter name "${name}"`).join('\n')}
  }
}`);
}

const malformed = async ({ backup }: Pair): Promise<number> =>
  Number(
    /Malformed msgs:\s+(\d+)|(\d+) Malformed msgs/i
      .exec(await backup.request(REQUEST.stats))
      ?.slice(1)
      .find(Boolean),
  );

/** Lines of two bytes, which are no message, to the sync port of the backup. */
function disturb(ns: Netns, host: string, proto: 'udp' | 'tcp' = 'udp'): Promise<Endpoint> {
  const group = { name: 'stray', proto, host, port: SYNC_PORT, count: 1, everyMs: 20 };
  return Endpoint.start(ns, 'client', [JSON.stringify([group])]);
}

describeLab('a link of ours', () => {
  const both = { active: OURS, backup: OURS };
  const links: [string, PairOptions, 'v4' | 'v6'][] = [
    ['UDP over IPv4', {}, 'v4'],
    ['UDP over IPv6', { link: (node, peer) => udpLink(node, peer, 6) }, 'v6'],
    ['multicast', { link: (node) => multicastLink(node) }, 'v4'],
  ];
  const GROUP = '225.0.0.50';

  test.each(links)(
    '%s takes nothing that arrives on another interface',
    async (name, options, family) => {
      await withPair(
        both,
        async (pair) => {
          const { topology } = pair;
          const { fw1, fw2, client } = topology;
          watch(fw2, { stray: `iifname "cli" udp dport ${SYNC_PORT}` });
          const group = name === 'multicast';
          const length = family === 'v4' ? 24 : 64;
          fw2.ns.ip(
            `addr add ${STRAY[family]}/${length} dev cli${family === 'v6' ? ' nodad' : ''}`,
          );
          const to = group ? GROUP : fw2.sync[family];
          const route = `route add ${to}/${family === 'v4' ? 32 : 128}`;
          client.ip(group ? `${route} dev lan` : `${route} via ${STRAY[family]}`);
          if (group) fw1.ns.ip(`${route} dev sync`);
          await disturb(client, to);
          await waitFor(() => counted(fw2.ns, 'stray') > 20, {
            for: 'datagrams on the wrong interface',
          });
          await createFlows(pair, 1);
          await waitReplicated(pair.active, pair.backup, BATCH);
          expect(await malformed(pair)).toBe(0);
          // The same from the right one is seen.
          await disturb(fw1.ns, to);
          await waitFor(async () => (await malformed(pair)) > 0, {
            for: 'malformed datagrams to be counted',
            explain: () => pair.backup.request(REQUEST.stats),
          });
          await createFlows(pair, 2);
          await waitReplicated(pair.active, pair.backup, 2 * BATCH);
        },
        options,
      );
    },
  );

  test('TCP takes no connection that comes by another interface', async () => {
    await withPair(
      both,
      async (pair) => {
        const { fw2, client } = pair.topology;
        fw2.ns.ip(`addr add ${STRAY.v4}/24 dev cli`);
        client.ip(`route add ${fw2.sync.v4}/32 via ${STRAY.v4}`);
        const stray = await disturb(client, fw2.sync.v4, 'tcp');
        const [report] = await stray.report();
        expect(report?.error).toContain('ECONNREFUSED');
        await createFlows(pair, 1);
        await waitReplicated(pair.active, pair.backup, BATCH);
      },
      { link: (node, peer) => tcpLink(node, peer) },
    );
  });

  const sums: [string, (text: string) => string, boolean][] = [
    ['on', (text) => text, false],
    ['off', (text) => text.replace('Checksum on', 'Checksum off'), true],
  ];
  test.each(sums)(
    'Checksum %s decides what stands in the datagrams',
    async (_, change, without) => {
      const link = (node: Firewall, peer: Firewall) => change(udpLink(node, peer));
      await withPair(
        both,
        async (pair) => {
          const { fw2 } = pair.topology;
          watch(fw2, {
            seen: `iifname "sync" udp dport ${SYNC_PORT}`,
            none: `iifname "sync" udp dport ${SYNC_PORT} udp checksum 0`,
          });
          await createFlows(pair, 1);
          await waitReplicated(pair.active, pair.backup, BATCH);
          await waitFor(() => counted(fw2.ns, 'seen') > 3, { for: 'datagrams' });
          if (without) expect(counted(fw2.ns, 'none')).toBeGreaterThan(3);
          else expect(counted(fw2.ns, 'none')).toBe(0);
        },
        { link },
      );
    },
  );

  test('multicast stays on its network (TTL 1), and buffers are as large as asked for', async () => {
    await withPair(
      both,
      async (pair) => {
        const { fw2 } = pair.topology;
        watch(fw2, {
          seen: 'iifname "sync" ip daddr 225.0.0.50',
          far: 'iifname "sync" ip daddr 225.0.0.50 ip ttl != 1',
        });
        await createFlows(pair, 1);
        await waitReplicated(pair.active, pair.backup, BATCH);
        await waitFor(() => counted(fw2.ns, 'seen') > 3, { for: 'datagrams' });
        expect(counted(fw2.ns, 'far')).toBe(0);
        const sockets = fw2.ns.execSync('ss', [
          '-Hunma',
          `( sport = :${SYNC_PORT} or dport = :${SYNC_PORT} )`,
        ]);
        const sizes = (name: string) =>
          [...sockets.matchAll(new RegExp(`[(,]${name}(\\d+)`, 'g'))].map(([, n]) => Number(n));
        expect(Math.max(...sizes('rb'))).toBeGreaterThanOrEqual(1249280);
        expect(Math.max(...sizes('tb'))).toBeGreaterThanOrEqual(1249280);
      },
      { link: (node) => multicastLink(node) },
    );
  });
});

describePairings((programs) => {
  test('UDP runs over link-local addresses, with the scope of the interface', async () => {
    const local = (fw: Firewall) => ({
      ...fw,
      sync: { ...fw.sync, v6: `fe80::7:${fw.name.at(-1)}` },
    });
    await withPair(
      programs,
      async (pair) => {
        await createFlows(pair, 1);
        await waitReplicated(pair.active, pair.backup, BATCH);
      },
      {
        prepare: ({ fw1, fw2 }) => {
          for (const fw of [fw1, fw2]) fw.ns.ip(`addr add ${local(fw).sync.v6}/64 dev sync nodad`);
        },
        link: (node, peer) => udpLink(local(node), local(peer), 6),
      },
    );
  });

  const ours = programs.backup === OURS;
  // The C daemon keeps the half message of the old connection and never finds its place again.
  test.runIf(ours)(
    'TCP finds its place again after a connection that was cut in a message',
    async () => {
      await withPair(
        programs,
        async (pair) => {
          const { fw1, fw2 } = pair.topology;
          await Promise.all([pair.active.greeted(), pair.backup.greeted()]);
          await createFlows(pair, 1);
          await waitReplicated(pair.active, pair.backup, BATCH);
          for (let batch = 2; batch <= 4; batch++) {
            // Takes the place of the peer's connection, sends a part of a message, and is gone.
            const intruder = await disturb(fw1.ns, fw2.sync.v4, 'tcp');
            const [report] = await intruder.report();
            expect(report?.localPort).toBeGreaterThan(0);
            intruder.stop();
            await createFlows(pair, batch);
            await sleep(1100); // the peer tries to connect once a second
          }
          // In FTFW whatever was lost with the connection is sent again.
          await waitReplicated(pair.active, pair.backup, 4 * BATCH, 30_000);
        },
        { link: (node, peer) => tcpLink(node, peer) },
      );
    },
  );
});
