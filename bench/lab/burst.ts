// Part `burst`: 300,000 new flows as fast as the kernel can make them, as when a link comes back.
// How long until the backup has them all, and whether the event socket (32 MiB, 52,000 events by the
// kernel's account) overran on the way.

import type { Experiment } from './trial.js';

const FLOWS = 300_000;

export const burst: Experiment = {
  name: 'burst',
  turns: 2,
  async run({ nodes, add }) {
    const overruns = await nodes.overruns();
    const start = performance.now();
    const load = await nodes.load({ do: 'create', from: 0, count: FLOWS, rate: 0, burst: 128 });
    if (load.failed > 0) throw new Error(`${load.failed} creates failed: ${load.reason}`);
    const arrived = await nodes.arrived(FLOWS);
    const seconds = (performance.now() - start) / 1000;
    const common = { part: 'burst', schedulingClass: 'RR 99' } as const;
    const low = { ...common, better: 'lower' } as const;
    add({ ...common, name: 'flows made', unit: 'flows/s', better: 'higher' }, load.rate);
    add({ ...low, name: 'until the backup has all it will have', unit: 's' }, seconds);
    const missing = FLOWS - (await nodes.internal());
    add({ ...low, name: 'missing on the active node', unit: 'flows' }, missing);
    add({ ...low, name: 'missing on the backup', unit: 'flows' }, FLOWS - arrived);
    const lost = (await nodes.overruns()) - overruns;
    add({ ...low, name: 'overruns of the event socket', unit: 'times' }, lost);
    await nodes.remove(FLOWS);
  },
};
