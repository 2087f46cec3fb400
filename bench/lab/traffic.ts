// Short-lived TCP connections as a part of `active` and `backup`: real packets through the firewall,
// from SYN to close, at a rate both programs carry. The figure is CPU a connection; what the kernel
// told about each is read from the active node's own counters and stands in the note.

import { cpuTime, type SchedulingClass } from '../measure.js';
import type { Nodes } from './contest.js';
import { LineProcess } from './process.js';
import type { Experiment } from './trial.js';

const RATE = 2000; // connections a second
const CLASSES: readonly SchedulingClass[] = ['RR 99', 'OTHER'];
const QUICK_CLASSES: readonly SchedulingClass[] = ['RR 99'];
const HOSTS = Array.from({ length: 16 }, (_, i) => [10, 2, 0, 16 + i]);

export const traffic: Experiment = {
  name: 'connections',
  turns: 2,
  async run({ nodes, quick, add }) {
    const count = quick ? 2000 : 4000;
    const { client, server } = nodes.topology;
    server.ip(...HOSTS.map((host) => `addr add ${host.join('.')}/24 dev lan`));
    const acceptor = await LineProcess.start(server, 'lab/connections.js', 'server');
    const opener = await LineProcess.start(client, 'lab/connections.js', 'client');
    try {
      await opener.ask({ hosts: HOSTS, count: 500, rate: RATE });
      for (const schedulingClass of quick ? QUICK_CLASSES : CLASSES) {
        nodes.setClass(schedulingClass);
        await nodes.atRest();
        const { active, backup } = nodes.pids;
        const before = [cpuTime(active), cpuTime(backup)] as const;
        const told = await eventsTold(nodes);
        const { rate } = await opener.ask<{ rate: number }>({ hosts: HOSTS, count, rate: RATE });
        await nodes.atRest();
        const cost = [cpuTime(active) - before[0], cpuTime(backup) - before[1]] as const;
        const events = (await eventsTold(nodes)) - told;
        const name = `TCP connection, SYN to close, ${RATE / 1000} k/s`;
        const note = `${(events / count).toFixed(1)} events each; ${Math.round(rate)}/s reached`;
        const figure = { name, unit: 'µs CPU', better: 'lower', schedulingClass, note } as const;
        add({ part: 'active', ...figure }, cost[0] / count / 1000);
        add({ part: 'backup', ...figure }, cost[1] / count / 1000);
      }
      nodes.setClass('RR 99');
    } finally {
      await Promise.all([opener.stop(), acceptor.stop()]);
    }
  },
};

async function eventsTold(nodes: Nodes): Promise<number> {
  const { created, updated, destroyed } = (await nodes.active.caches()).internal;
  return created + updated + destroyed;
}
