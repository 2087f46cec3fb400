// Our control messages are longer than a C daemon's: it must take them as if they were not, in every
// mode that has them and on every kind of link. Two nodes of ours must know each other by them.

import { expect, test } from 'vitest';
import { type Daemon, multicastLink, tcpLink, udpLink } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import type { Firewall } from '../../lab/topology.js';
import { startClient, startServer, variety } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describePairings } from './matrix.js';

const FTFW = 'Mode FTFW {\n    ACKWindowSize 20\n  }';
const NOTRACK = 'Mode NOTRACK {\n  }';

const WAYS: [name: string, mode: string, link: (node: Firewall, peer: Firewall) => string][] = [
  ['FTFW over UDP', FTFW, udpLink],
  ['FTFW over TCP', FTFW, tcpLink],
  ['FTFW over multicast', FTFW, multicastLink],
  ['NOTRACK over UDP', NOTRACK, udpLink],
];

/** Refused messages of any kind, and lost ones, as `-s network` counts them. */
async function refused(daemon: Daemon): Promise<string[]> {
  const text = await daemon.client('-s', 'network');
  return [...text.matchAll(/^\s*(?:Malformed|Wrong|Bad|Truncated|Packets lost)[^:\n]*:\s*(\d+)/gm)]
    .filter(([, count]) => count !== '0')
    .map(([line]) => line.trim());
}

/** Entries of the resend queue that speak of flows. */
async function waitingFlows(daemon: Daemon): Promise<number> {
  const text = await daemon.client('-s', 'rsqueue');
  return [...text.matchAll(/object/g)].length;
}

describePairings((programs) => {
  test.each(WAYS)('%s: what it adds to control messages offends nobody', async (_, mode, link) => {
    const plan = variety(1, 20);
    const flows = plan.reduce((sum, group) => sum + group.count, 0);
    await withPair(
      programs,
      async ({ topology, active, backup }) => {
        await Promise.all([active.greeted(), backup.greeted()]);
        await startServer(topology);
        await startClient(topology, plan);
        await waitReplicated(active, backup, flows);
        if (mode === FTFW) {
          // Every acknowledgement of ours has a tail, and every one is taken.
          await waitFor(async () => (await waitingFlows(active)) === 0, {
            for: 'the flows to be acknowledged',
            timeout: 15_000,
            every: 200,
            explain: () => active.client('-s', 'rsqueue'),
          });
        }
        expect(await refused(active)).toEqual([]);
        expect(await refused(backup)).toEqual([]);
      },
      { mode, link },
    );
  });
});
