// Flows that only nodes of ours tell each other in full: GRE between the same two hosts, told apart by its
// call ids, and UDP-Lite whose ports are translated. Real packets through the active firewall.

import { expect, test } from 'vitest';
import { OURS } from '../../lab/daemon.js';
import { prepareKinds } from '../../lab/kinds.js';
import { type PairOptions, withPair } from '../../lab/pair.js';
import { PROTOCOL, pptp, sendRaw, udplite } from '../../lab/raw.js';
import { waitAcquainted } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable } from '../../lab/table.js';
import { CLIENT, GATEWAY, SERVER } from '../../lab/topology.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const CALLS = [100, 200, 300];
const PORTS: [number, number] = [40900, 9900];
const TRANSLATED = 21000;

const SETUP: PairOptions = {
  prepare: (topology) => {
    const { fw1, fw2 } = topology;
    prepareKinds(topology, [fw1, fw2]);
    for (const { ns } of [fw1, fw2]) {
      ns.nft(`add rule inet fw as_gateway ip daddr ${SERVER.v4} meta l4proto udplite \
        th dport ${PORTS[1]} snat ip to ${GATEWAY.srv.v4}:${TRANSLATED}`);
    }
  },
};

const LITE = {
  ...{ protocol: PROTOCOL.udplite, from: CLIENT.v4, to: SERVER.v4 },
  hex: udplite(PORTS, CLIENT.v4, SERVER.v4).toString('hex'),
};
const PACKETS = [
  ...(['v4', 'v6'] as const).flatMap((family) =>
    CALLS.map((call) => ({
      ...{ protocol: PROTOCOL.gre, from: CLIENT[family], to: SERVER[family] },
      hex: pptp(call).toString('hex'),
    })),
  ),
  LITE,
];

describeLab('with both daemons ours', () => {
  test('call ids of GRE and translated ports of UDP-Lite are in both kernels', async () => {
    await withPair(
      { active: OURS, backup: OURS },
      async ({ run, topology, active, backup }) => {
        const [there, here] = [topology.fw1.ns, topology.fw2.ns];
        await waitAcquainted(active);
        await sendRaw(topology.client, PACKETS);
        await waitFor(async () => (await backup.caches()).external.active === PACKETS.length, {
          ...{ for: 'the flows at the backup', explain: () => `${active.log()}\n${backup.log()}` },
        });
        await backup.client('-c');
        const first = await dumpTable(run, there);
        const second = await dumpTable(run, here);
        expect(describeDifferences(compareTables(first, second))).toBe('');
        const flows = [...second.values()];
        const keys = flows.flatMap(({ orig }) => (orig.dstkey ? [Number(orig.dstkey)] : []));
        expect(keys.sort((a, b) => a - b)).toEqual([...CALLS, ...CALLS].sort((a, b) => a - b));
        const [lite] = flows.filter(({ protocol }) => protocol === 'udplite');
        expect(lite?.reply.dport).toBe(String(TRANSLATED));

        // Packets of the translated flow still belong to it. Those of GRE would end theirs: the kernel's
        // tracker has no timeout for a flow that was made by a request.
        topology.release(topology.fw1);
        topology.activate(topology.fw2);
        await sendRaw(topology.client, [LITE]);
        const after = await dumpTable(run, here);
        expect(describeDifferences(compareTables(second, after))).toBe('');
      },
      SETUP,
    );
  });
});
