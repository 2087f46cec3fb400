// Part `limit`: how many events a second a daemon keeps up with when it gets a quarter of one core
// (cpu-share.ts), in SCHED_OTHER. Only the active node is limited; the backup and the kernel's work in
// the load generator are not.
//
// A probe makes new flows at one rate for some seconds. It succeeds when the event socket never
// overran and the active node's cache has every flow. The buffer is 8 MiB (16 by the kernel's account:
// 13,000 events), so that what falls behind shows soon. Between probes the limit is lifted and the
// tables are emptied. Rates rise until a probe fails; searchRate() tells how.

import { sleep, waitFor } from '../../lab/wait.js';
import { cpuTime } from '../measure.js';
import type { Part } from '../part.js';
import { searchRate } from '../search.js';
import { CONTESTANTS, contest, type Nodes } from './contest.js';
import { CpuShare } from './cpu-share.js';
import { warmUp } from './events.js';
import { withKernelLimit } from './limit.js';

const SHARE = 0.25;
const BUFFER = 8 * 2 ** 20;
const SECONDS = 2;
const BURST = 8;
/** Deletes a second between probes, when nothing is limited. */
const CLEAR_RATE = 100_000;
const SEARCH = { from: 40_000, factor: 1.4, halvings: 2, most: 400_000 };
const FLUSH_CACHES = [33, 34]; // request codes of `-f internal` and `-f external`

export const limit: Part = ({ collector, progress }) =>
  withKernelLimit(SEARCH.most * SECONDS + 100_000, async (kernelLimit) => {
    const most = Math.min(SEARCH.most, Math.floor(kernelLimit / SECONDS / 1.1));
    for (const who of CONTESTANTS) {
      const side = who === 'ours' ? 'ours' : 'rival';
      await contest(who, { buffer: BUFFER, schedulingClass: 'OTHER' }, async (nodes) => {
        await warmUp(nodes);
        const share = CpuShare.of(nodes.pids.active);
        let used = 0;
        try {
          const found = await searchRate({ ...SEARCH, most }, async (rate) => {
            const probe = await tryRate(nodes, share, rate);
            const words =
              probe.lost === undefined ? 'not made' : probe.lost ? 'lost events' : 'nothing lost';
            progress(`limit: ${who}, ${rate}/s: ${words}`);
            if (probe.lost === undefined) return undefined;
            if (!probe.lost) used = Math.max(used, probe.used);
            return !probe.lost;
          });
          const common = { part: 'limit', rivalName: 'C', schedulingClass: 'OTHER' } as const;
          const rate = { ...common, unit: 'events/s', better: 'higher' } as const;
          collector.add(side, { ...rate, name: 'loss-free rate at 25 % of a core' }, found.best);
          if (found.failed !== undefined) {
            collector.add(side, { ...rate, name: 'lowest rate that lost events' }, found.failed);
          }
          const cpu = { ...common, unit: '% of a core', better: 'lower' } as const;
          collector.add(side, { ...cpu, name: 'most CPU in a probe without loss' }, used);
        } finally {
          await share.release();
        }
      });
    }
  });

/**
 * New flows at this rate under the limit; whether any was lost, and the CPU used, in % of a core.
 * Undefined: none was lost, but the generator did not reach the rate.
 */
async function tryRate(
  nodes: Nodes,
  share: CpuShare,
  rate: number,
): Promise<{ lost: boolean | undefined; used: number }> {
  const count = Math.round(rate * SECONDS);
  const overruns = await nodes.overruns();
  share.set(SHARE);
  const before = [cpuTime(nodes.pids.active), performance.now()] as const;
  const load = await nodes.load({ do: 'create', from: 0, count, rate, burst: BURST });
  const used = (cpuTime(nodes.pids.active) - before[0]) / 1e4 / (performance.now() - before[1]);
  share.set(undefined);
  await nodes.atRest();
  const lost = (await nodes.overruns()) > overruns || (await nodes.internal()) < count;
  await clear(nodes, count, lost);
  if (load.failed > 0) throw new Error(`${load.failed} creates failed: ${load.reason}`);
  if (!lost && load.rate < rate * 0.95) return { lost: undefined, used };
  return { lost, used };
}

/** Empties all tables. After a loss the daemons' caches may hold what the kernel no longer has. */
async function clear(nodes: Nodes, count: number, lost: boolean): Promise<void> {
  // Paced: the small buffer would overrun.
  await nodes.load({ do: 'delete', from: 0, count, rate: CLEAR_RATE, burst: 64 });
  if (!lost) await nodes.replicated(0);
  await nodes.atRest();
  if (!lost) return;
  await waitFor(
    async () => {
      for (const node of [nodes.active, nodes.backup]) {
        for (const code of FLUSH_CACHES) await node.request(code);
      }
      await sleep(300);
      return (await nodes.internal()) === 0 && (await nodes.external()) === 0;
    },
    { for: 'the caches to be empty', timeout: 30_000, every: 300 },
  );
  await nodes.atRest();
}
