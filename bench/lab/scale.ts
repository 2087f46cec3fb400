// Part `scale`: what more worker threads bring. Only ours: the C daemon has one thread. In SCHED_OTHER,
// so that main and the workers are equals.
//
// Measured: CPU an event with Workers 0 to 2, of the whole process and of its main thread alone, at
// 60,000 events a second and flat out. On paper: main's share is what cannot be divided (receiving,
// routing, numbering, sending), the rest divides by the workers. So N workers on as many free cores
// carry 1 / max(main, rest / N) events a second, whatever the machine at hand has.

import { threadTimes } from '../measure.js';
import type { Part } from '../part.js';
import { contest, type Nodes } from './contest.js';
import { warmUp } from './events.js';

const MEASURED_WORKERS = [0, 1, 2];
const PAPER_WORKERS = [1, 2, 4, 8, 16];
const TURNS = 1;

interface Share {
  main: number;
  all: number;
  rate: number;
}

const FLAT_OUT = { count: 50_000, rate: 0, burst: 128 };
const PACED = { count: 60_000, rate: 60_000, burst: 8 };

export const scale: Part = async ({ quick, collector, progress }) => {
  const common = { part: 'scale', rivalName: 'none', schedulingClass: 'OTHER' } as const;
  const cpu = { ...common, unit: 'µs CPU', better: 'lower' } as const;
  const rate = { ...common, unit: 'events/s', better: 'higher' } as const;
  for (const workers of quick ? [2] : MEASURED_WORKERS) {
    progress(`scale: Workers ${workers}`);
    const name = `Workers ${workers}`;
    const general = `Workers ${workers}`;
    await contest('ours', { general, schedulingClass: 'OTHER' }, async (nodes) => {
      await warmUp(nodes);
      for (let turn = 0; turn < (quick ? 1 : TURNS); turn++) {
        const flat = await share(nodes, FLAT_OUT);
        collector.add('ours', { ...cpu, name: `${name}, flat out` }, flat.all);
        collector.add('ours', { ...cpu, name: `${name}, flat out, main thread` }, flat.main);
        collector.add('ours', { ...rate, name: `${name}, creates reached` }, flat.rate);
        if (workers === 2) {
          for (const many of PAPER_WORKERS) {
            const bound = Math.max(flat.main, (flat.all - flat.main) / many);
            const note = 'on paper, from Workers 2 flat out';
            collector.add('ours', { ...rate, name: `${many} workers`, note }, 1e6 / bound);
          }
        }
        if (quick || turn > 0) continue;
        const paced = await share(nodes, PACED);
        collector.add('ours', { ...cpu, name: `${name}, 60 k/s` }, paced.all);
        collector.add('ours', { ...cpu, name: `${name}, 60 k/s, main thread` }, paced.main);
      }
    });
  }
};

/** CPU an event in µs on the active node: main thread, and all threads. */
async function share(
  nodes: Nodes,
  load: { count: number; rate: number; burst: number },
): Promise<Share> {
  const { count } = load;
  const { active } = nodes.pids;
  const before = threadTimes(active);
  const cost = await nodes.measure({ do: 'create', from: 0, ...load });
  const after = threadTimes(active);
  const main = ((after.get(active) ?? 0) - (before.get(active) ?? 0)) / count / 1000;
  await nodes.remove(count);
  return { main, all: cost.active / count / 1000, rate: cost.load.rate };
}
