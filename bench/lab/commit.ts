// Part `commit`: the hour of the fail-over. How fast a backup puts its external cache into the
// kernel, and how fast it gets everything from a peer that has it (bulk, as after a restart).
//
// The commit's time is the daemon's own, from its log; the kernel's count of flows proves that it
// was one. The bulk's time is from the order until the backup holds the last flow, looked at every
// few milliseconds.

import type { Part } from '../part.js';
import { REQUEST } from '../../lab/daemon.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { cpuTime } from '../measure.js';
import { CONTESTANTS, contest, type Nodes } from './contest.js';
import { withKernelLimit } from './limit.js';

const FLUSH_EXTERNAL = 34; // request code of `-f external`

export const commit: Part = ({ quick, collector, progress }) => {
  const flows = quick ? 100_000 : 200_000;
  return withKernelLimit(2 * flows + 50_000, async () => {
    for (let turn = 0; turn < (quick ? 1 : 3); turn++) {
      for (const who of CONTESTANTS) {
        progress(`commit: turn ${turn + 1}, ${who}`);
        await contest(who, {}, async (nodes) => {
          await nodes.load({ do: 'create', from: 0, count: flows, rate: 60_000, burst: 32 });
          await nodes.replicated(flows);
          await nodes.atRest();
          const side = who === 'ours' ? 'ours' : 'rival';
          const add = (name: string, unit: string, better: 'lower' | 'higher', value: number) =>
            collector.add(side, { part: 'commit', name, unit, better, rivalName: 'C' }, value);
          const bulk = await measureBulk(nodes, flows);
          add('bulk to an empty backup', 'flows/s', 'higher', flows / bulk.seconds);
          add('bulk, active node', 'µs CPU', 'lower', bulk.active / flows / 1000);
          add('bulk, backup', 'µs CPU', 'lower', bulk.backup / flows / 1000);
          const committed = await measureCommit(nodes, flows);
          add(`commit of ${flows / 1000} k flows`, 'flows/s', 'higher', flows / committed.seconds);
          add('commit', 'µs CPU', 'lower', committed.cpu / flows / 1000);
        });
      }
    }
  });
};

async function measureBulk(
  nodes: Nodes,
  flows: number,
): Promise<{ seconds: number; active: number; backup: number }> {
  await nodes.backup.request(FLUSH_EXTERNAL);
  await nodes.replicated(0);
  await nodes.atRest();
  const { active, backup } = nodes.pids;
  const before = [cpuTime(active), cpuTime(backup)] as const;
  const start = performance.now();
  await nodes.active.request(REQUEST.bulk);
  await nodes.replicated(flows, 60_000, 10);
  const seconds = (performance.now() - start) / 1000;
  await nodes.atRest();
  return { seconds, active: cpuTime(active) - before[0], backup: cpuTime(backup) - before[1] };
}

async function measureCommit(
  nodes: Nodes,
  flows: number,
): Promise<{ seconds: number; cpu: number }> {
  const { backup } = nodes.pids;
  const before = cpuTime(backup);
  await nodes.backup.request(REQUEST.commit, 120_000);
  const seconds = await waitFor(
    () => {
      const found = /commit has taken ([\d.]+) seconds/.exec(nodes.backup.log(200))?.[1];
      return found === undefined ? undefined : Number(found);
    },
    { for: 'the end of the commit', timeout: 60_000, every: 20, explain: () => nodes.backup.log() },
  );
  await sleep(100);
  const cpu = cpuTime(backup) - before;
  const ns = nodes.backup.node.ns;
  const there = Number(ns.execSync('cat', ['/proc/sys/net/netfilter/nf_conntrack_count']));
  if (there < flows) throw new Error(`only ${there} of ${flows} flows are in the kernel`);
  return { seconds, cpu };
}
