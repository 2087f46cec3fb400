// Zones of one direction, as a firewall between VRFs sets them: the side of the customer has a zone, so
// that customers may use the same addresses, and the side of the server has none, where translation
// keeps them apart. Or the other way round. Real rules, real connections, through to their life behind
// the other firewall. What a C peer gets of them: docs/wire-protocol.md.

import { expect, test } from 'vitest';
import { OURS } from '../../lab/daemon.js';
import { type Pair, type PairOptions, withPair } from '../../lab/pair.js';
import { waitAcquainted } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable, waitSettled } from '../../lab/table.js';
import { CLIENT, GATEWAY, PORT, SERVER, type Topology } from '../../lab/topology.js';
import { type Group, startClient, startServer } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const BOTH = { active: OURS, backup: OURS };
/** Ports, and the zone of the direction that has one. */
const ORIG = { zone: 5, plain: 7100 } as const;
const REPLY = { zone: 6, plain: 7200 } as const;
/** A second customer, who uses the addresses and ports of the first. */
const TWIN = { zone: 8, port: 4444 } as const;

function rules({ fw1, fw2 }: Topology): void {
  for (const { ns } of [fw1, fw2]) {
    ns.nft(`
add rule inet fw untracked iifname "cli" th dport { ${ORIG.plain}, ${PORT.snat} } ct original zone set ${ORIG.zone}
add rule inet fw untracked iifname "cli" th dport ${REPLY.plain} ct reply zone set ${REPLY.zone}
add rule inet fw untracked iifname "srv" th sport ${REPLY.plain} ct reply zone set ${REPLY.zone}`);
  }
}

const PLAN: Group[] = (['v4', 'v6'] as const).flatMap((family) =>
  [ORIG.plain, REPLY.plain, PORT.snat].flatMap((port) =>
    (['tcp', 'udp'] as const).map((proto) => ({
      ...{ name: `${proto}-${family}-${port}`, proto, host: SERVER[family], port },
      ...{ count: 1, everyMs: 100 },
    })),
  ),
);

describeLab('zones of one direction', () => {
  test.each<[string, PairOptions, boolean]>([
    ['committed', {}, true],
    [
      'injected',
      {
        mode: ({ name }) =>
          `Mode FTFW {\n    DisableExternalCache ${name === 'fw2' ? 'On' : 'Off'}\n  }`,
      },
      false,
    ],
  ])('flows keep them, and live on behind the backup: %s', async (_, options, commit) => {
    await withPair(
      BOTH,
      async ({ run, topology, active, backup }: Pair) => {
        const [there, here] = [topology.fw1.ns, topology.fw2.ns];
        await waitAcquainted(active);
        await startServer(topology, [ORIG.plain, REPLY.plain]);
        const client = await startClient(topology, PLAN);
        await waitSettled(run, there, PLAN.length);
        const [connection] = await client.report();
        there.execSync('conntrack', [
          ...['-I', '-p', 'tcp', '-s', CLIENT.v4, '-d', SERVER.v4, '-t', '600'],
          ...['--sport', `${connection!.localPort}`, '--dport', `${ORIG.plain}`],
          ...['--state', 'ESTABLISHED', '--orig-zone', `${TWIN.zone}`],
          ...['-n', `${GATEWAY.srv.v4}:${TWIN.port}`],
        ]);
        let differences = '';
        const zones = await waitFor(
          async () => {
            if (commit && (await backup.caches()).external.active === PLAN.length + 1) {
              await backup.client('-c');
            }
            const [first, second] = await Promise.all([
              dumpTable(run, there),
              dumpTable(run, here),
            ]);
            differences = describeDifferences(compareTables(first, second));
            return (
              differences === '' &&
              first.size === PLAN.length + 1 &&
              [...second.values()].map(({ zone }) => zone)
            );
          },
          {
            ...{ for: 'the same flows in both kernels', every: 300 },
            explain: () => [differences, active.log(), backup.log()].join('\n'),
          },
        );
        const count = (wanted: string) => zones.filter((zone) => zone === wanted).length;
        expect(count(`orig ${ORIG.zone}`)).toBe(8);
        expect(count(`reply ${REPLY.zone}`)).toBe(4);
        expect(count(`orig ${TWIN.zone}`)).toBe(1);
        topology.release(topology.fw1);
        topology.activate(topology.fw2);
        const all = Object.fromEntries(PLAN.map(({ name }) => [name, 1]));
        expect(await client.probe(10_000)).toEqual(all);
      },
      { ...options, prepare: rules },
    );
  });
});
