// Active/active (multi-primary): each firewall is the gateway of its own client, and both replicate
// to each other. Nothing goes round in circles, own and foreign flows keep apart, and either firewall
// takes the other one's client over.
//
//   client  10.1.0.2 ── 10.1.0.1  fw1  10.2.0.1  ── server      (A)
//   guest   10.1.0.3 ── 10.1.0.11 fw2  10.2.0.11 ── server      (B)

import { expect, test } from 'vitest';
import { type Daemon, OURS, parseCache, REQUEST } from '../../lab/daemon.js';
import { type Netns, veth } from '../../lab/namespace.js';
import { type Pair, type PairOptions, withPair } from '../../lab/pair.js';
import { compareCaches, waitReplicated } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable, type Table } from '../../lab/table.js';
import { killHard } from '../../lab/takeover.js';
import { CLIENT, type Firewall, PORT, SERVER, type Topology } from '../../lab/topology.js';
import { Endpoint, type Group, startServer } from '../../lab/traffic.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describeLab, describePairings } from './matrix.js';

const GUEST = '10.1.0.3';
const GATEWAYS = {
  fw1: { cli: '10.1.0.1', srv: '10.2.0.1' },
  fw2: { cli: '10.1.0.11', srv: '10.2.0.11' },
} as const;
const COUNT = 4;
const PLAN: Group[] = [
  { name: 'tcp', proto: 'tcp', host: SERVER.v4, port: PORT.plain, count: COUNT, everyMs: 50 },
  { name: 'mark', proto: 'tcp', host: SERVER.v4, port: PORT.marked, count: COUNT, everyMs: 50 },
  { name: 'udp', proto: 'udp', host: SERVER.v4, port: PORT.udp, count: COUNT, everyMs: 50 },
];
const FLOWS = 3 * COUNT;
const ALIVE = { tcp: COUNT, mark: COUNT, udp: COUNT };

/** The second client, and the second firewall as its gateway. */
function prepare(topology: Topology): void {
  const { run, client, server, fw2 } = topology;
  const guest = run.add('g');
  veth(client, 'guest', guest, 'lan');
  client.ip('link set guest master lan');
  takeAddresses(fw2, 'fw2');
  guest.ip(`addr add ${GUEST}/24 dev lan`, `route add default via ${GATEWAYS.fw2.cli}`);
  server.ip(`route add ${GUEST}/32 via ${GATEWAYS.fw2.srv}`);
}

function takeAddresses({ ns }: Firewall, of: keyof typeof GATEWAYS): void {
  const { cli, srv } = GATEWAYS[of];
  ns.ip(`addr add ${cli}/24 dev cli`, `addr add ${srv}/24 dev srv`);
}

interface Both {
  a: Endpoint;
  b: Endpoint;
}

function guestOf({ run }: Pair): Netns {
  return run.namespaces.find(({ name }) => name.endsWith('-g'))!;
}

async function startBoth(pair: Pair): Promise<Both> {
  await startServer(pair.topology);
  const [a, b] = await Promise.all(
    [pair.topology.client, guestOf(pair)].map((ns) =>
      Endpoint.start(ns, 'client', [JSON.stringify(PLAN)]),
    ),
  );
  return { a: a!, b: b! };
}

async function expectBothAlive({ a, b }: Both): Promise<void> {
  expect(await Promise.all([a.probe(15_000), b.probe(15_000)])).toEqual([ALIVE, ALIVE]);
}

/** One firewall has died; the other one gets its addresses, and everybody asks who has them. */
function moveAddresses(pair: Pair, to: Firewall, of: 'fw1' | 'fw2'): void {
  takeAddresses(to, of);
  for (const ns of [pair.topology.client, pair.topology.server, guestOf(pair)]) {
    ns.ip('neigh flush all');
  }
}

const of = (table: Table, host: string): Table =>
  new Map([...table].filter(([, { orig }]) => orig.src === host));

/** Datagrams sent so far. */
async function sent(daemon: Daemon): Promise<number> {
  const text = await daemon.request(REQUEST.stats);
  return Number(/(\d+) Pckts sent/.exec(text)?.[1]);
}

async function expectQuiet(pair: Pair, { a, b }: Both): Promise<void> {
  await Promise.all([a.pause(), b.pause()]);
  await sleep(1500); // what was on its way
  const daemons = [pair.active, pair.backup];
  const before = await Promise.all(daemons.map(sent));
  await sleep(3000);
  const after = await Promise.all(daemons.map(sent));
  // A keep-alive a second and its answer; a flow that went in circles would be thousands.
  for (const [i, count] of after.entries()) expect(count - before[i]!).toBeLessThan(30);
  await Promise.all([a.resume(), b.resume()]);
}

type Dying = 'fw1' | 'fw2';

describePairings((programs) => {
  test.each<Dying>(['fw1', 'fw2'])(
    'both work, and the other one takes over when %s dies',
    async (dying) => {
      await withPair(
        programs,
        async (pair) => {
          const { run, topology, active, backup } = pair;
          const both = await startBoth(pair);
          await waitReplicated(active, backup, FLOWS);
          await waitReplicated(backup, active, FLOWS);
          await expectQuiet(pair, both);
          expect((await active.caches()).internal.active).toBe(FLOWS);
          expect((await backup.caches()).internal.active).toBe(FLOWS);

          const [dead, heir] = dying === 'fw1' ? [active, backup] : [backup, active];
          const host = dying === 'fw1' ? CLIENT.v4 : GUEST;
          const before = of(await dumpTable(run, dead.node.ns), host);
          await killHard(topology, dead);
          await heir.client('-c');
          const after = of(await dumpTable(run, heir.node.ns), host);
          expect(describeDifferences(compareTables(before, after))).toBe('');
          moveAddresses(pair, heir.node, dying);
          await expectBothAlive(both);
          for (const order of ['-f', '-R']) await heir.client(order);
          expect((await heir.caches()).internal.active).toBe(2 * FLOWS);

          // The dead one returns as a backup and learns both clients' flows.
          const { ns, sync } = dead.node;
          ns.ip('addr flush dev cli scope global', 'addr flush dev srv scope global');
          ns.ip('link set sync up', `addr replace ${sync.v6}/64 dev sync nodad`);
          if (dead.program !== OURS) dead.removeLock();
          await dead.start();
          await dead.client('-F');
          await dead.client('-f');
          await dead.client('-n');
          await waitReplicated(heir, dead, 2 * FLOWS);
          expect((await dead.caches()).internal.active).toBe(0);
          expect(await compareCaches(heir, dead)).toEqual([]);
        },
        { prepare },
      );
    },
  );
});

describeLab('active/active without external caches', () => {
  const options: PairOptions = {
    prepare,
    mode: 'Mode FTFW {\n    DisableExternalCache On\n  }',
  };
  const programs = { active: OURS, backup: OURS };

  test.each<Dying>(['fw1', 'fw2'])('each kernel holds all flows, and %s may die', async (dying) => {
    await withPair(
      programs,
      async (pair) => {
        const { run, topology, active, backup } = pair;
        const both = await startBoth(pair);
        const dump = (node: Firewall) => dumpTable(run, node.ns);
        await waitFor(
          async () => {
            const [first, second] = await Promise.all([dump(topology.fw1), dump(topology.fw2)]);
            const apart = compareTables(first, second, { ignore: ['timeout'] });
            return apart.length === 0 && first.size === 2 * FLOWS;
          },
          { for: 'both kernels to hold all flows', explain: () => backup.log() },
        );
        await expectQuiet(pair, both);
        // Each speaks of its own flows only.
        for (const daemon of [active, backup]) {
          const text = await daemon.request(REQUEST.stats);
          expect(parseCache(text, 'internal').active).toBe(FLOWS);
        }
        const [dead, heir] = dying === 'fw1' ? [active, backup] : [backup, active];
        await killHard(topology, dead);
        moveAddresses(pair, heir.node, dying);
        await expectBothAlive(both);
      },
      options,
    );
  });
});
