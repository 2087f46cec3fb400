// Part `commit`, the other way: with DisableExternalCache a backup keeps nothing for later but puts
// every flow it hears of into its kernel at once. Timed from the first of a burst of new flows until
// both kernels have the last; the count is the kernel's own.

import { sleep } from '../../lab/wait.js';
import { cpuTime, kernelFlows } from '../measure.js';
import type { Part } from '../part.js';
import { CONTESTANTS, contest, type Nodes } from './contest.js';
import { withKernelLimit } from './limit.js';

const FLOWS = 100_000;
const MODE = 'Mode FTFW {\n    DisableExternalCache On\n  }';
const TURNS = 2;
/** How long the backup's kernel may get nothing before it counts as having all it will get. */
const PATIENCE = 4000; // ms

export const injection: Part = ({ quick, collector, progress }) =>
  withKernelLimit(2 * FLOWS + 50_000, async () => {
    for (const who of CONTESTANTS) {
      const side = who === 'ours' ? 'ours' : 'rival';
      progress(`direct injection: ${who}`);
      await contest(who, { mode: MODE }, async (nodes) => {
        await burst(nodes, FLOWS / 10); // lets compilers settle
        for (let turn = 0; turn < (quick ? 1 : TURNS); turn++) {
          const { seconds, arrived, cpu } = await burst(nodes, FLOWS);
          const common = { part: 'commit', rivalName: 'C', schedulingClass: 'RR 99' } as const;
          const rate = { ...common, unit: 'flows/s', better: 'higher' } as const;
          const lower = { ...common, better: 'lower' } as const;
          const missing = { ...lower, unit: 'flows', name: 'direct injection, missing flows' };
          collector.add(side, missing, FLOWS - arrived);
          const each = { ...lower, unit: 'µs CPU', name: 'direct injection, a flow on the backup' };
          collector.add(side, each, cpu / arrived / 1000);
          if (arrived < FLOWS) continue;
          collector.add(
            side,
            { ...rate, name: 'direct injection, event to kernel' },
            FLOWS / seconds,
          );
        }
      });
    }
  });

/** Makes flows as fast as it goes, waits until the backup's kernel has them, and removes them. */
async function burst(
  nodes: Nodes,
  count: number,
): Promise<{ seconds: number; arrived: number; cpu: number }> {
  const { active, backup } = nodes.pids;
  const others = [kernelFlows(active), kernelFlows(backup)] as const;
  const before = cpuTime(backup);
  const start = performance.now();
  const load = await nodes.load({ do: 'create', from: 0, count, rate: 0, burst: 128 });
  if (load.failed > 0) throw new Error(`${load.failed} creates failed: ${load.reason}`);
  const end = await settled(() => kernelFlows(backup) - others[1], count);
  await nodes.atRest();
  const cpu = cpuTime(backup) - before;
  const arrived = Math.min(count, kernelFlows(backup) - others[1]);
  await nodes.load({ do: 'delete', from: 0, count, rate: 60_000, burst: 64 });
  await settled(() => count - (kernelFlows(backup) - others[1]), count);
  await nodes.atRest();
  return { seconds: (end - start) / 1000, arrived, cpu };
}

/** The time at which `read` reached `wanted`, or last changed. */
async function settled(read: () => number, wanted: number): Promise<number> {
  let last = -1;
  let since = performance.now();
  for (;;) {
    const now = read();
    if (now !== last) {
      last = now;
      since = performance.now();
    }
    if (now >= wanted || performance.now() - since > PATIENCE) return since;
    await sleep(2);
  }
}
