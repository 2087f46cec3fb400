// Parts `active` and `backup`: what a flow event costs the node that sees it, and what its message
// costs the node that receives it. Both come from the same load, as the two nodes always work
// together.
//
// Creates, updates and deletes of the same flows at 20 and 60 thousand a second in small bursts, then
// as fast as the kernel makes them. Small bursts are what forwarded traffic looks like to a daemon:
// one wake-up each, and the wake-up is what costs. One round with both programs in SCHED_RR 99, one
// with both in SCHED_OTHER.

import type { SchedulingClass } from '../measure.js';
import type { Cost, Nodes } from './contest.js';
import type { Experiment, Trial } from './trial.js';

interface Rate {
  name: string;
  /** Events a second, 0 for as fast as possible. */
  rate: number;
  /** Requests in one send: what one wake-up of the daemon finds. */
  burst: number;
  flows: number;
}

const SLOW: Rate = { name: '20 k/s', rate: 20_000, burst: 2, flows: 16_000 };
const FAST: Rate = { name: '60 k/s', rate: 60_000, burst: 8, flows: 48_000 };
/** As many as the event socket holds: an overrun would make the rest look cheap. */
const FLAT_OUT: Rate = { name: 'flat out', rate: 0, burst: 128, flows: 50_000 };
const VERBS = ['create', 'update', 'delete'] as const;
type Verb = (typeof VERBS)[number];
/** TCP state that an update sets, other than the one of a create. */
const FIN_WAIT = 4;
const WARM_UP = { count: 40_000, rate: 60_000, burst: 8 };
const LONG_WARM_UP = { count: 20_000, rate: 20_000, burst: 2 };
const LONG_ROUNDS = 2;

export const events: Experiment = {
  name: 'events',
  turns: 2,
  async run(trial) {
    const { nodes, quick } = trial;
    const rates = quick ? [SLOW, FLAT_OUT] : [SLOW, FAST, FLAT_OUT];
    await round(trial, 'RR 99', rates);
    if (quick) return;
    nodes.setClass('OTHER');
    await round(trial, 'OTHER', rates);
    nodes.setClass('RR 99');
  },
};

async function round(trial: Trial, as: SchedulingClass, rates: readonly Rate[]): Promise<void> {
  for (const rate of rates) {
    const costs = await cycle(trial.nodes, rate, trial.quick ? 0.5 : 1);
    for (const [verb, cost] of costs) record(trial, verb, rate, cost, as);
    for (const node of ['active', 'backup'] as const) {
      const each = costs.map(([, cost]) => cost[node] / cost.load.sent / 1000);
      const name = `${VERBS.join(' + ')}, ${rate.name}`;
      const cpu = { unit: 'µs CPU', better: 'lower', schedulingClass: as } as const;
      trial.add({ part: node, name, ...cpu }, each.reduce((sum, cost) => sum + cost) / each.length);
    }
  }
}

function record(
  { add }: Trial,
  verb: Verb,
  rate: Rate,
  cost: Cost,
  schedulingClass: SchedulingClass,
): void {
  const { sent } = cost.load;
  const cpu = { unit: 'µs CPU', better: 'lower', schedulingClass } as const;
  const name = `${verb}, ${rate.name}`;
  add({ part: 'active', name, ...cpu }, cost.active / sent / 1000);
  add({ part: 'backup', name, ...cpu }, cost.backup / sent / 1000);
  if (rate.rate === 0) {
    const reached = { unit: 'events/s', better: 'higher', schedulingClass } as const;
    add({ part: 'active', name: `${verb}, rate reached`, ...reached }, cost.load.rate);
  }
  if (verb === 'create') {
    const wire = { unit: 'B', better: 'lower', schedulingClass } as const;
    add({ part: 'active', name: `link bytes a flow, ${rate.name}`, ...wire }, cost.bytes / sent);
  }
}

/** Creates, updates and deletes the same flows; the cost of each. */
async function cycle(nodes: Nodes, rate: Rate, share: number): Promise<[Verb, Cost][]> {
  const costs: [Verb, Cost][] = [];
  const count = Math.round(rate.flows * share);
  const load = { from: 0, count, rate: rate.rate, burst: rate.burst };
  for (const verb of VERBS) {
    const state = verb === 'update' ? { state: FIN_WAIT } : {};
    costs.push([verb, await nodes.measure({ do: verb, ...load, ...state })]);
    if (verb === 'create') await nodes.replicated(count);
  }
  await nodes.replicated(0);
  return costs;
}

/**
 * Lets compilers and allocators settle. V8 compiles what has run often, so the turns count, not the
 * events: a daemon that has seen two seconds of traffic still pays for its compilation, one that has run
 * for a minute does not. `long` is for figures of the daemon that has run for long.
 */
export async function warmUp(nodes: Nodes, long = false): Promise<void> {
  const loads = [WARM_UP, ...(long ? Array<typeof WARM_UP>(LONG_ROUNDS).fill(LONG_WARM_UP) : [])];
  for (const load of loads) {
    for (const verb of VERBS) await nodes.load({ do: verb, from: 0, ...load });
    await nodes.replicated(0);
  }
  await nodes.atRest();
}
