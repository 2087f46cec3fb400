// Parts `active` and `backup`: what a flow event costs the node that sees it, and what its message
// costs the node that receives it. Both come from the same load, as the two nodes always work
// together.
//
// Each turn: creates, updates and deletes of the same flows at 20, 40 and 60 thousand a second in
// small bursts, then as fast as the kernel makes them. Small bursts are what forwarded traffic looks
// like to a daemon: one wake-up each, and the wake-up is what costs. Both programs take SCHED_RR 99
// by themselves; the second round puts both into SCHED_OTHER.

import type { SchedulingClass } from '../measure.js';
import { CONTESTANTS, type Contestant, contest, type Cost, type Nodes } from './contest.js';
import type { Part } from '../part.js';

interface Rate {
  name: string;
  /** Events a second, 0 for as fast as possible. */
  rate: number;
  burst: number;
  /** Share of the flows a paced load of one second has. */
  flows: number;
}

const PACED: Rate[] = [
  { name: '20 k/s', rate: 20_000, burst: 2, flows: 20_000 },
  { name: '40 k/s', rate: 40_000, burst: 4, flows: 40_000 },
  { name: '60 k/s', rate: 60_000, burst: 8, flows: 60_000 },
];
const FLAT_OUT: Rate = { name: 'flat out', rate: 0, burst: 128, flows: 150_000 };
const VERBS = ['create', 'update', 'delete'] as const;
const WARM_UP = 30_000;

export const events: Part = async ({ quick, collector, progress }) => {
  const classes: SchedulingClass[] = quick ? ['RR 99'] : ['RR 99', 'OTHER'];
  for (let turn = 0; turn < (quick ? 1 : 3); turn++) {
    for (const who of CONTESTANTS) {
      progress(`events: turn ${turn + 1}, ${who}`);
      await contest(who, {}, async (nodes) => {
        await warmUp(nodes);
        for (const schedulingClass of classes) {
          nodes.setClass(schedulingClass);
          for (const rate of [...PACED, FLAT_OUT]) {
            if (quick && rate.rate === 40_000) continue;
            for (const [verb, cost] of await cycle(nodes, rate, quick ? 0.5 : 1)) {
              record(who, verb, rate, cost, schedulingClass);
            }
          }
        }
      });
    }
  }

  function record(
    who: Contestant,
    verb: string,
    rate: Rate,
    cost: Cost,
    schedulingClass: string,
  ): void {
    const side = who === 'ours' ? 'ours' : 'rival';
    const common = { unit: 'µs CPU', better: 'lower', rivalName: 'C', schedulingClass } as const;
    const name = `${verb}, ${rate.name}`;
    const { sent } = cost.load;
    collector.add(side, { part: 'active', name, ...common }, cost.active / sent / 1000);
    collector.add(side, { part: 'backup', name, ...common }, cost.backup / sent / 1000);
    if (rate.rate === 0) {
      const reached = { unit: 'events/s', better: 'higher', rivalName: 'C' } as const;
      collector.add(
        side,
        { part: 'active', name: `${verb}, rate reached`, ...reached, schedulingClass },
        cost.load.rate,
      );
    }
    if (verb === 'create') {
      const wire = { unit: 'B', better: 'lower', rivalName: 'C', schedulingClass } as const;
      collector.add(
        side,
        { part: 'active', name: `bytes on the link a new flow, ${rate.name}`, ...wire },
        cost.bytes / sent,
      );
    }
  }
};

/** Creates, updates and deletes the same flows; the cost of each. */
async function cycle(nodes: Nodes, rate: Rate, share: number): Promise<[string, Cost][]> {
  const costs: [string, Cost][] = [];
  const count = Math.round(rate.flows * share);
  const load = { from: 0, count, rate: rate.rate, burst: rate.burst };
  for (const verb of VERBS) {
    costs.push([verb, await nodes.measure({ do: verb, ...load, ...(verb === 'update' ? { state: 4 } : {}) })]);
    if (verb === 'create') await nodes.replicated(count);
  }
  await nodes.replicated(0);
  return costs;
}

/** Lets compilers and allocators settle. */
export async function warmUp(nodes: Nodes): Promise<void> {
  const load = { from: 0, count: WARM_UP, rate: 30_000, burst: 8 };
  for (const verb of VERBS) await nodes.load({ do: verb, ...load });
  await nodes.replicated(0);
  await nodes.atRest();
}
