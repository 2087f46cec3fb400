// Part `burst`: 300,000 new flows as fast as the kernel can make them, as when a link comes back.
// How long until the backup has them all, and whether the event socket (32 MiB, 52,000 events by the
// kernel's account) overran on the way.

import type { Part } from '../part.js';
import { CONTESTANTS, contest } from './contest.js';
import { warmUp } from './events.js';
import { withKernelLimit } from './limit.js';

const FLOWS = 300_000;

export const burst: Part = ({ quick, collector, progress }) =>
  withKernelLimit(FLOWS + 50_000, async (limit) => {
    if (limit < FLOWS) throw new Error(`nf_conntrack_max ${limit} is too low for ${FLOWS} flows`);
    for (let turn = 0; turn < (quick ? 1 : 3); turn++) {
      for (const who of CONTESTANTS) {
        progress(`burst: turn ${turn + 1}, ${who}`);
        await contest(who, {}, async (nodes) => {
          await warmUp(nodes);
          const overrunsBefore = await nodes.overruns();
          const start = performance.now();
          const load = await nodes.load({ do: 'create', from: 0, count: FLOWS, rate: 0, burst: 128 });
          if (load.failed > 0) throw new Error(`${load.failed} creates failed: ${load.reason}`);
          const arrived = await settle(() => nodes.external());
          const seconds = (performance.now() - start) / 1000;
          const overruns = (await nodes.overruns()) - overrunsBefore;
          const internal = await nodes.internal();
          const side = who === 'ours' ? 'ours' : 'rival';
          const add = (name: string, unit: string, better: 'lower' | 'higher', value: number) =>
            collector.add(side, { part: 'burst', name, unit, better, rivalName: 'C' }, value);
          add('creates by the kernel', 'flows/s', 'higher', load.rate);
          add('until the backup has what it will have', 's', 'lower', seconds);
          add('flows missing on the active node', 'flows', 'lower', FLOWS - internal);
          add('flows missing on the backup', 'flows', 'lower', FLOWS - arrived);
          add('overruns of the event socket', 'times', 'lower', overruns);
        });
      }
    }
  });

/** The count once it has all flows, or has not changed for two seconds. */
async function settle(count: () => Promise<number>): Promise<number> {
  let last = -1;
  let since = performance.now();
  for (;;) {
    const now = await count();
    if (now === FLOWS) return now;
    if (now !== last) {
      last = now;
      since = performance.now();
    }
    if (performance.now() - since > 2000) return now;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
