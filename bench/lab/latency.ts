// Part `latency`: from the request that makes a flow to the datagram on the dedicated link that
// speaks of it. The clock is the machine's on both ends: load.ts notes it right before the request,
// the kernel stamps the datagram's arrival at the peer (sniffer.ts). So the kernel's own work on the
// flow and on the datagram is in every figure, the same for both programs.
//
// And on to the peer's cache: the first time at which the peer's daemon had read all that was in its
// socket, looked at every 100 µs (queue.ts); that grain is in the figures of both programs.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SYNC_PORT } from '../../lab/daemon.js';
import { sleep } from '../../lab/wait.js';
import { setObserver } from '../measure.js';
import { quantile } from '../statistics.js';
import type { Nodes } from './contest.js';
import { LineProcess } from './process.js';
import type { Experiment } from './trial.js';

const RATES = [
  { name: '1 k/s', rate: 1000, burst: 1, count: 2000 },
  { name: '20 k/s', rate: 20_000, burst: 2, count: 30_000 },
  { name: '60 k/s', rate: 60_000, burst: 8, count: 60_000 },
];
const QUANTILES = [
  ['p50', 0.5],
  ['p99', 0.99],
  ['p99.9', 0.999],
] as const;

export const latency: Experiment = {
  name: 'latency',
  turns: 2,
  async run({ nodes, quick, add }) {
    const { ns } = nodes.topology.fw2;
    const words = ['sync', String(nodes.pids.backup), String(SYNC_PORT)];
    const sniffer = await LineProcess.start(ns, 'lab/sniffer.js', ...words);
    try {
      setObserver(sniffer.pid); // or the load generator's spinning would keep it from looking
      for (const rate of quick ? [RATES[1]!] : RATES) {
        const delays = await measureDelays(nodes, sniffer, rate);
        for (const end of ['link', "peer's cache"] as const) {
          for (const [quantileName, part] of QUANTILES) {
            const name = `event to ${end}, ${rate.name}, ${quantileName}`;
            const unit = { unit: 'ms', better: 'lower', schedulingClass: 'RR 99' } as const;
            add({ part: 'latency', name, ...unit }, quantile(delays[end], part));
          }
        }
      }
    } finally {
      await sniffer.stop();
    }
  },
};

interface Delays {
  link: Float64Array;
  "peer's cache": Float64Array;
}

/** Delays of new flows in ms, sorted. Throws when a flow was never seen on the link. */
async function measureDelays(
  nodes: Nodes,
  sniffer: LineProcess,
  load: { rate: number; burst: number; count: number },
): Promise<Delays> {
  const { rate, burst, count } = load;
  const sentFile = join(nodes.active.directory, 'sent');
  const seenFile = join(nodes.active.directory, 'seen');
  const window = { from: 0, count };
  await sniffer.ask({ do: 'save', file: seenFile, ...window }); // forgets what it saw so far
  await nodes.load({ do: 'create', ...window, rate, burst, stamps: sentFile });
  await sleep(100);
  await nodes.replicated(count);
  await sniffer.ask({ do: 'save', file: seenFile, ...window });
  await nodes.remove(count);
  const sent = stampsOf(sentFile);
  const seen = stampsOf(seenFile);
  const delays = { link: new Float64Array(count), "peer's cache": new Float64Array(count) };
  for (let i = 0; i < count; i++) {
    const [onLink, read] = [seen[2 * i]!, seen[2 * i + 1]!];
    if (onLink === 0n) throw new Error(`flow ${i} of ${count} was not seen on the link`);
    if (read === 0n) throw new Error(`flow ${i} of ${count} was not read by the peer`);
    delays.link[i] = Number(onLink - sent[i]!) / 1e6;
    delays["peer's cache"][i] = Number(read - sent[i]!) / 1e6;
  }
  delays.link.sort();
  delays["peer's cache"].sort();
  return delays;
}

function stampsOf(file: string): BigInt64Array {
  const bytes = readFileSync(file);
  return new BigInt64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}
