// The interop matrix: {ours, C} × {ours, C} × {FTFW, NOTRACK, ALARM} × {UDP over IPv4 and IPv6, TCP,
// multicast, in two rows also over IPv6} × {caches on, off}. Each pairing and mode is one active firewall
// with a pair of daemons for each transport (lab/fan.ts), real traffic of every kind, and a comparison
// flow by flow in both kernels; then the traffic moves from backup to backup and every connection lives
// on at each.
//
// FLOWTWIN_LAB_REFERENCE=1 adds C with C, which shows what the C daemon itself loses: see `LOST`.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  multicastLink,
  multicastV6Link,
  OURS,
  REQUEST,
  tcpLink,
  udpLink,
} from '../../lab/daemon.js';
import { Fan, type FanOptions, type Rib } from '../../lab/fan.js';
import type { FtpSession } from '../../lab/ftp.js';
import {
  prepareKinds,
  RAW_FLOWS,
  rareVariety,
  SERVED,
  startRaw,
  startShifted,
} from '../../lab/kinds.js';
import type { Pair, Programs } from '../../lab/pair.js';
import {
  compareTables,
  describeDifferences,
  dumpTable,
  type Table,
  waitSettled,
} from '../../lab/table.js';
import {
  type Endpoint,
  type Group,
  type Ping,
  shortLived,
  startClient,
  startPings,
  startServer,
  unanswered,
  variety,
} from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { compareHidden, dumpHidden, type Hidden } from './attributes.js';
import { describePairings } from './matrix.js';

const TRANSPORTS: readonly Rib[] = [
  { name: 'UDP over IPv4', link: (node, peer) => udpLink(node, peer) },
  { name: 'UDP over IPv6', link: (node, peer) => udpLink(node, peer, 6) },
  { name: 'TCP', link: (node, peer) => tcpLink(node, peer) },
  { name: 'multicast', link: (node) => multicastLink(node) },
];

/**
 * What the C daemon loses, in any row. Its C partner loses it, too; ours does not.
 *
 * - As the active node it sends no ports of UDP-Lite, so flows between two hosts become one.
 * - As the active node it never learns that a helper has shifted sequence numbers (no event says so).
 * - As the backup it writes the liberal flags of TCP over the lowest bits of SCTP's tag, unless it
 *   tracks windows. Then it puts scales of 0 in the place of those of TCP that it was told.
 */
const LOST = {
  byActive: { protocol: 'udplite', hidden: 'seqAdjust' },
  byBackup: { tracking: 'wscale', liberal: 'sctp' },
} as const;

/** In the rows that ask for it. */
const MULTICAST_V6: Rib = { name: 'multicast over IPv6', link: multicastV6Link };

const transportsOf = (row: Row): readonly Rib[] =>
  row.multicastV6 ? [...TRANSPORTS, MULTICAST_V6] : TRANSPORTS;

interface Row {
  name: string;
  mode: string;
  /** More lines of the Options section. */
  options?: string;
  /** The backup injects: nothing is committed. */
  injected?: boolean;
  /** Not in C's manual or not in C: the mode of a C node in this row, or false to leave it out. */
  inC?: string | false;
  /** Over multicast of IPv6, too. */
  multicastV6?: boolean;
}

const ROWS: readonly Row[] = [
  { name: 'FTFW', mode: 'FTFW', multicastV6: true },
  {
    name: 'FTFW with window tracking',
    mode: 'FTFW',
    options: 'TCPWindowTracking On',
  },
  { name: 'FTFW without external cache', mode: 'FTFW DisableExternalCache', injected: true },
  { name: 'NOTRACK', mode: 'NOTRACK', multicastV6: true },
  { name: 'NOTRACK without internal cache', mode: 'NOTRACK DisableInternalCache' },
  { name: 'NOTRACK without external cache', mode: 'NOTRACK DisableExternalCache', injected: true },
  {
    name: 'NOTRACK without any cache',
    mode: 'NOTRACK DisableInternalCache DisableExternalCache',
    injected: true,
  },
  { name: 'ALARM', mode: 'ALARM' },
  {
    name: 'ALARM without external cache',
    mode: 'ALARM DisableExternalCache',
    injected: true,
    inC: 'ALARM',
  },
];

/** `FTFW DisableExternalCache` as a Mode section. */
function modeSection(words: string): string {
  const [mode, ...switches] = words.split(' ');
  const lines = switches.map((name) => `    ${name} On\n`);
  if (mode === 'ALARM') lines.push('    RefreshTime 2\n    CacheTimeout 60\n');
  return `Mode ${mode} {\n${lines.join('')}  }`;
}

const optionsOf =
  (row: Row, programs: Programs): FanOptions =>
  (role) => ({
    mode: modeSection(programs[role] === OURS ? row.mode : row.inC || row.mode),
    sync: `Options {
    ExpectationSync On
    ${row.options ?? ''}
  }`,
  });

/** Everything that goes through the active firewall. */
interface Load {
  client: Endpoint;
  pings: Ping[];
  session: FtpSession;
  flows: number;
}

const PLAN: readonly Group[] = [...variety(1), ...rareVariety(1)];

async function startLoad({ run, topology }: Fan): Promise<Load> {
  await startServer(topology, SERVED);
  const plan = [...PLAN, ...unanswered(1), shortLived(1)];
  const [client, session] = await Promise.all([
    startClient(topology, plan),
    startShifted(topology),
    startRaw(topology),
  ]);
  const pings = startPings(topology);
  await Promise.all(pings.map((ping) => ping.progress()));
  await client.close('tcp-short');
  const flows = plan.reduce((sum, { count }) => sum + count, 0) + pings.length + RAW_FLOWS + 1;
  await waitSettled(run, topology.fw1.ns, flows);
  return { client, pings, session, flows };
}

const HIDDEN: readonly (keyof Hidden)[] = ['sctp', 'synproxy', 'master', 'seqAdjust', 'wscale'];

function withoutLost(table: Table): Table {
  const kept = [...table].filter(([, { protocol }]) => protocol !== LOST.byActive.protocol);
  return new Map(kept);
}

async function differences(pair: Pair, row: Row): Promise<string> {
  const { run, topology, active, backup } = pair;
  const { ns } = topology.fw1;
  const tables = await Promise.all([dumpTable(run, ns), dumpTable(run, backup.node.ns)]);
  const [first, second] = active.program === OURS ? tables : tables.map(withoutLost);
  const [there, here] = await Promise.all([dumpHidden(ns), dumpHidden(backup.node.ns)]);
  const tracking = row.options?.includes('TCPWindowTracking') ?? false;
  const lost = new Set<keyof Hidden>();
  if (!tracking) lost.add('wscale'); // not replicated then
  if (active.program !== OURS) lost.add(LOST.byActive.hidden);
  if (backup.program !== OURS) lost.add(LOST.byBackup[tracking ? 'tracking' : 'liberal']);
  const names = HIDDEN.filter((name) => !lost.has(name));
  return [describeDifferences(compareTables(first!, second!)), ...compareHidden(there, here, names)]
    .filter(Boolean)
    .join('\n');
}

async function waitEqual(pair: Pair, row: Row): Promise<void> {
  const { active, backup } = pair;
  const commits = !row.injected || (row.inC !== undefined && backup.program !== OURS);
  let last = '';
  await waitFor(
    async () => {
      if (commits) await backup.request(REQUEST.commit);
      last = await differences(pair, row);
      return last === '';
    },
    {
      for: 'both kernels to hold the same flows',
      every: 700,
      timeout: 15_000,
      explain: () => [last, active.log(20), backup.log(20)].join('\n'),
    },
  );
}

async function expectAlive({ client, pings, session }: Load, shifted: boolean): Promise<void> {
  const wanted = Object.fromEntries(PLAN.map(({ name, count }) => [name, count]));
  expect(await client.probe(10_000)).toEqual(wanted);
  await Promise.all(pings.map((ping) => ping.progress()));
  if (shifted) await session.echo();
}

describePairings((programs) => {
  describe.each(ROWS.map((row): [string, Row] => [row.name, row]))('%s', (_name, row) => {
    const transports = transportsOf(row);
    const names = transports.map(({ name }) => name);
    let fan: Fan;
    let load: Load;
    beforeAll(async () => {
      fan = await Fan.open(programs, transports, optionsOf(row, programs), prepareKinds);
      load = await startLoad(fan);
    });
    afterAll(() => fan?.remove());

    test.each(names)('every flow is equal in both kernels over %s', async (name) => {
      await waitEqual(fan.pair(name), row);
    });

    test.each(names)('every connection lives on behind the backup: %s', async (name) => {
      const { topology } = fan;
      const { backup } = fan.pair(name);
      for (const { ns, mac } of [
        topology.fw1,
        ...[...fan.pairs.values()].map((p) => p.backup.node),
      ]) {
        topology.release({ ...topology.fw1, ns, mac });
      }
      topology.activate(backup.node);
      await expectAlive(load, programs.active === OURS);
    });
  });
});
