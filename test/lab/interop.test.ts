// Every kind of flow goes from an active firewall to a backup, into the backup's kernel, and on
// living after a take-over, for each pairing of our daemon and the C daemon.

import { expect, test } from 'vitest';
import { multicastLink, tcpLink, udpLink } from '../../lab/daemon.js';
import { type Pair, type PairOptions, withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import {
  compareTables,
  describeDifferences,
  dumpTable,
  type Table,
  waitSettled,
} from '../../lab/table.js';
import { takeOver } from '../../lab/takeover.js';
import { LABEL, MARK, ZONE } from '../../lab/topology.js';
import {
  type Endpoint,
  type Ping,
  shortLived,
  startClient,
  startPings,
  startServer,
  unanswered,
  variety,
} from '../../lab/traffic.js';
import { describePairings } from './matrix.js';

interface Traffic {
  client: Endpoint;
  pings: Ping[];
  /** Flows in the active kernel. */
  flows: number;
}

const COUNT = 2;

async function makeTraffic({ run, topology }: Pair): Promise<Traffic> {
  await startServer(topology);
  const plan = [...variety(COUNT), ...unanswered(COUNT), shortLived(COUNT)];
  const client = await startClient(topology, plan);
  const pings = startPings(topology);
  await Promise.all(pings.map((ping) => ping.progress()));
  await client.close('tcp-short');
  const flows = plan.reduce((sum, group) => sum + group.count, 0) + pings.length;
  await waitSettled(run, topology.fw1.ns, flows);
  return { client, pings, flows };
}

/** The table shows what the plan was to make; otherwise an equal table would prove little. */
function expectVariety(table: Table): void {
  const flows = [...table.values()];
  const count = (wanted: (flow: (typeof flows)[number]) => boolean) => flows.filter(wanted).length;
  const both = 2 * COUNT;
  expect(count((flow) => flow.mark === String(MARK))).toBe(both);
  expect(count((flow) => flow.zone === String(ZONE))).toBe(both);
  expect(count((flow) => flow.labels === `bit${LABEL}`)).toBe(both);
  expect(count((flow) => flow.helper === 'ftp')).toBe(both);
  expect(count((flow) => flow.reply.dst !== flow.orig.src)).toBe(2 * both);
  expect(count((flow) => flow.reply.src !== flow.orig.dst)).toBe(2 * both);
  expect(count((flow) => flow.state === 'TIME_WAIT')).toBe(COUNT);
  expect(count((flow) => flow.state === 'SYN_SENT')).toBe(COUNT);
  expect(count((flow) => flow.status.includes('UNREPLIED'))).toBe(2 * COUNT);
  expect(count((flow) => flow.protocol.startsWith('icmp'))).toBe(2);
}

async function commitAndCompare(pair: Pair): Promise<Table> {
  const { run, topology, backup } = pair;
  await backup.client('-c');
  const [active, committed] = await Promise.all([
    dumpTable(run, topology.fw1.ns),
    dumpTable(run, topology.fw2.ns),
  ]);
  expect(describeDifferences(compareTables(active, committed))).toBe('');
  return committed;
}

async function expectAlive({ client, pings }: Traffic): Promise<void> {
  const answered = await client.probe(10_000);
  const wanted = Object.fromEntries(variety(COUNT).map(({ name, count }) => [name, count]));
  expect(answered).toEqual(wanted);
  await Promise.all(pings.map((ping) => ping.progress()));
}

describePairings((programs) => {
  test('all kinds of flows are committed equal and live on after a take-over', async () => {
    await withPair(programs, async (pair) => {
      const traffic = await makeTraffic(pair);
      await waitReplicated(pair.active, pair.backup, traffic.flows);
      expectVariety(await commitAndCompare(pair));
      await takeOver(pair.topology, pair.backup, { release: true });
      await expectAlive(traffic);
      const { internal, external } = await pair.backup.caches();
      expect(internal.active).toBe(traffic.flows);
      expect(external.active).toBe(0);
      // The bulk update of the new active firewall refills the other one.
      await waitReplicated(pair.backup, pair.active, traffic.flows);
    });
  });

  const links: [string, PairOptions][] = [
    ['UDP over IPv6', { link: (node, peer) => udpLink(node, peer, 6) }],
    ['multicast', { link: (node) => multicastLink(node) }],
    [
      'TCP without sequence tracking',
      { link: (node, peer) => tcpLink(node, peer), mode: 'Mode NOTRACK {\n  }' },
    ],
  ];
  test.each(links)('flows are committed equal over %s', async (_, options) => {
    await withPair(
      programs,
      async (pair) => {
        const traffic = await makeTraffic(pair);
        await waitReplicated(pair.active, pair.backup, traffic.flows);
        expectVariety(await commitAndCompare(pair));
      },
      options,
    );
  });
});
