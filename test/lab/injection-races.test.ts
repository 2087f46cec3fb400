// DisableExternalCache when the backup's kernel is not as its peer believes: it has the flow already,
// has lost it, or another flow of its own owns the translated tuple. Real connections from known
// ports through the active firewall, the backup's kernel prepared by conntrack(8), and both programs
// as the backup, which must end alike. docs/wire-protocol.md, "What a message becomes in the kernel".

import { expect, test } from 'vitest';
import { type Daemon, OURS, REQUEST } from '../../lab/daemon.js';
import type { Netns } from '../../lab/namespace.js';
import { type Pair, type PairOptions, withPair } from '../../lab/pair.js';
import {
  type CompareOptions,
  compareTables,
  describeDifferences,
  dumpTable,
  type Flow,
} from '../../lab/table.js';
import { CLIENT, GATEWAY, PORT, SERVER, type Topology } from '../../lab/topology.js';
import { type Endpoint, startClient, startServer } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { dumpHidden } from './attributes.js';
import { describePairings } from './matrix.js';

const MODE = 'Mode FTFW {\n    DisableExternalCache On\n  }';
/** Source ports of the connections. */
const SOURCE = { plain: 45000, clash: 45001, udp: 45002 } as const;
/** The mark of what the backup's kernel has on its own. */
const OWN = 99;
/** IP_CT_TCP_FLAG_* of linux/netfilter/nf_conntrack_tcp.h. */
const FLAG = { windowScale: 0x01, beLiberal: 0x08 } as const;

/** A connection from this source port. */
async function connectFrom(
  topology: Topology,
  source: number,
  proto: 'tcp' | 'udp',
  port: number,
): Promise<Endpoint> {
  topology.client.sysctl({ 'net.ipv4.ip_local_port_range': `"${source} ${source}"` });
  const group = { name: proto, proto, host: SERVER.v4, port, count: 1, everyMs: 100 };
  const client = await startClient(topology, [group]);
  expect(await client.probe(5000)).toEqual({ [proto]: 1 });
  return client;
}

const tuple = (proto: string, from: string, to: string, sport: number, dport: number) => [
  ...['-p', proto, '-s', from, '-d', to],
  ...['--sport', `${sport}`, '--dport', `${dport}`],
];
const PLAIN = tuple('tcp', CLIENT.v4, SERVER.v4, SOURCE.plain, PORT.plain);
const TRANSLATED = tuple('tcp', CLIENT.v4, SERVER.v4, SOURCE.clash, PORT.snat);
/** A connection of the backup firewall itself: its tuple is what TRANSLATED becomes. */
const CLASHING = tuple('tcp', GATEWAY.srv.v4, SERVER.v4, SOURCE.clash, PORT.snat);
const DATAGRAMS = tuple('udp', CLIENT.v4, SERVER.v4, SOURCE.udp, PORT.udp);

const change = (ns: Netns, what: '-I' | '-U' | '-D', flow: string[], ...more: string[]) =>
  ns.execSync('conntrack', [what, ...flow, ...more]);

function prepare({ fw1, fw2 }: Topology): void {
  fw1.ns.sysctl({
    'net.netfilter.nf_conntrack_udp_timeout': 300,
    'net.netfilter.nf_conntrack_udp_timeout_stream': 300,
  });
  // Left over from an older connection, in another state and with attributes of its own.
  change(fw2.ns, '-I', PLAIN, '--state', 'SYN_SENT', '-t', '300', '-m', `${OWN}`);
  change(fw2.ns, '-I', CLASHING, '--state', 'ESTABLISHED', '-t', '300', '-m', `${OWN}`);
}

/** Waits until both kernels hold the same flows, but for those of the backup's own. */
async function waitEqual(pair: Pair, flows: number, options: CompareOptions = {}): Promise<void> {
  const { run, topology, active, backup } = pair;
  let differences = '';
  await waitFor(
    async () => {
      const [first, second] = await Promise.all([
        dumpTable(run, topology.fw1.ns),
        dumpTable(run, topology.fw2.ns),
      ]);
      const copies = new Map([...second].filter(([, { mark }]) => mark !== String(OWN)));
      differences = describeDifferences(compareTables(first, copies, options));
      return differences === '' && first.size === flows;
    },
    {
      for: `the same ${flows} flows in both kernels`,
      every: 200,
      timeout: 15_000,
      explain: () => [differences, active.log(), backup.log()].join('\n'),
    },
  );
}

async function failures(daemon: Daemon): Promise<number[]> {
  const text = await daemon.request(REQUEST.stats);
  const [, part = ''] = /external inject:\n((?:.+\n){3})/.exec(text) ?? [];
  return [...part.matchAll(/failed:\s+(\d+)/g)].map(([, count]) => Number(count));
}

async function flow(pair: Pair, source: number): Promise<Flow | undefined> {
  const table = await dumpTable(pair.run, pair.topology.fw2.ns);
  return [...table.values()].find(
    ({ orig, mark }) => orig.sport === String(source) && mark !== String(OWN),
  );
}

/** Flags of both directions of the backup's TCP flows from the client. */
async function tcpFlags({ topology }: Pair): Promise<number[]> {
  const hidden = [...(await dumpHidden(topology.fw2.ns)).values()];
  return hidden.flatMap(({ tcpFlags = '' }) =>
    tcpFlags.split('.').map((pair) => Number.parseInt(pair.slice(0, 2), 16)),
  );
}

describePairings((programs) => {
  const options: PairOptions = { mode: MODE, prepare };

  test('what the kernel has is replaced, what it lacks is made, what clashes is told', async () => {
    await withPair(
      programs,
      async (pair) => {
        const { topology, backup } = pair;
        const [there, here] = [topology.fw1.ns, topology.fw2.ns];
        await startServer(topology);

        // NEW of a flow that is there: it exists (EEXIST), and is replaced.
        const client = await connectFrom(topology, SOURCE.plain, 'tcp', PORT.plain);
        await waitEqual(pair, 1);
        expect((await flow(pair, SOURCE.plain))?.state).toBe('ESTABLISHED');

        // The timeouts are the peer's, not those of this kernel.
        const datagrams = await connectFrom(topology, SOURCE.udp, 'udp', PORT.udp);
        await waitEqual(pair, 2, { timeoutTolerance: 60 });

        // UPD of a flow that is gone (ENOENT): it is made, with all that the message says.
        change(here, '-D', DATAGRAMS);
        change(there, '-U', DATAGRAMS, '-m', '5');
        await waitEqual(pair, 2, { timeoutTolerance: 60 });

        // DEL of a flow that is gone is no failure.
        datagrams.stop();
        change(here, '-D', DATAGRAMS);
        change(there, '-D', DATAGRAMS);
        expect(await failures(backup)).toEqual([0, 0, 0]);

        // NEW and its updates whose translated tuple is another flow's.
        const translated = await connectFrom(topology, SOURCE.clash, 'tcp', PORT.snat);
        if (programs.backup === OURS) {
          // Counted and told, until the other flow has ended: then the next update brings it.
          await waitFor(async () => Math.max(...(await failures(backup))) > 0, {
            for: 'the clash to be counted',
            explain: () => backup.log(),
          });
          expect(await flow(pair, SOURCE.clash)).toBeUndefined();
          expect(backup.log()).toMatch(/could not (add new|update) ct entry.*: File exists/);
          change(here, '-D', CLASHING);
          change(there, '-U', TRANSLATED, '-m', '6');
          await waitEqual(pair, 2);
        } else {
          // The C daemon lets the kernel choose another port, to which no packet of the flow fits.
          const copy = await waitFor(() => flow(pair, SOURCE.clash), { for: 'the copy' });
          expect(copy.reply.dst).toBe(GATEWAY.srv.v4);
          expect(copy.reply.dport).not.toBe(String(SOURCE.clash));
          change(here, '-D', CLASHING);
        }

        // Without window tracking nothing is known of windows: every flow passes any.
        const flags = await tcpFlags(pair);
        expect(flags).toHaveLength(4);
        expect(flags.every((value) => (value & FLAG.beLiberal) !== 0)).toBe(true);

        topology.release(topology.fw1);
        topology.activate(topology.fw2);
        expect(await client.probe(10_000)).toEqual({ tcp: 1 });
        if (programs.backup === OURS) {
          expect(await translated.probe(10_000)).toEqual({ tcp: 1 });
        }
      },
      options,
    );
  });

  // The C daemon sets scales of 0 in the place of those of the peer.
  test.runIf(programs.backup === OURS)(
    'with TCPWindowTracking the scales, and no liberal flag',
    async () => {
      await withPair(
        programs,
        async (pair) => {
          const { topology } = pair;
          await startServer(topology);
          const client = await connectFrom(topology, SOURCE.plain, 'tcp', PORT.plain);
          await waitEqual(pair, 1);
          const scales = async (ns: Netns) =>
            [...(await dumpHidden(ns)).values()].map(({ wscale }) => wscale);
          expect((await scales(topology.fw1.ns)).join()).toMatch(/^0[1-9a-e]\.0[1-9a-e]$/);
          expect(await scales(topology.fw2.ns)).toEqual(await scales(topology.fw1.ns));
          const flags = await tcpFlags(pair);
          expect(flags).toHaveLength(2);
          for (const value of flags) {
            expect(value & (FLAG.beLiberal | FLAG.windowScale)).toBe(FLAG.windowScale);
          }
          topology.release(topology.fw1);
          topology.activate(topology.fw2);
          expect(await client.probe(10_000)).toEqual({ tcp: 1 });
        },
        { mode: MODE, sync: 'Options {\n    TCPWindowTracking On\n  }' },
      );
    },
  );
});
