// Part `commit`: the hour of the fail-over. How fast a backup puts its external cache into the
// kernel, and how fast it gets everything from a peer that has it: when it asks (resync, as after a
// restart) and when the peer sends on its own (bulk).
//
// The commit's time is the daemon's own, from its log; the kernel's count of flows proves that it
// was one. As at a real fail-over the active node is dead then: alive, its listening to events would
// also cost the other node's commit, as one kernel serves both. The bulk's time is from the order until
// the backup holds the last flow, looked at every few milliseconds. Leaves the flows behind, and the
// active node dead: it comes last.

import { REQUEST } from '../../lab/daemon.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { cpuTime } from '../measure.js';
import type { Nodes } from './contest.js';
import type { Experiment } from './trial.js';

const FLOWS = 200_000;
const REST = 300; // ms
/** Request codes of `-F`, `-f external` and `-n`. */
const FLUSH_KERNEL = 0;
const FLUSH_EXTERNAL = 34;
const REQUEST_RESYNC = 23;

export const commit: Experiment = {
  name: 'commit',
  turns: 2,
  async run({ nodes, add }) {
    // What closed connections have left: the count must be that of our flows.
    await nodes.active.request(FLUSH_KERNEL, 60_000);
    await nodes.backup.request(FLUSH_EXTERNAL);
    await nodes.replicated(0);
    await nodes.load({ do: 'create', from: 0, count: FLOWS, rate: 80_000, burst: 64 });
    await nodes.replicated(FLOWS);
    await nodes.atRest();
    const common = { part: 'commit', schedulingClass: 'RR 99' } as const;
    const rate = { ...common, unit: 'flows/s', better: 'higher' } as const;
    const cpu = { ...common, unit: 'µs CPU', better: 'lower' } as const;
    const resync = await measureFilling(nodes, () => nodes.backup.request(REQUEST_RESYNC));
    const bulk = await measureFilling(nodes, () => nodes.active.request(REQUEST.bulk));
    const lost = { ...common, unit: 'flows', better: 'lower' } as const;
    add({ ...lost, name: 'resync, flows that never arrived' }, FLOWS - resync.arrived);
    if (resync.arrived === FLOWS) {
      add({ ...rate, name: 'resync an empty backup asks for' }, FLOWS / resync.seconds);
    }
    add({ ...lost, name: 'bulk, flows that never arrived' }, FLOWS - bulk.arrived);
    if (bulk.arrived === FLOWS) {
      add({ ...rate, name: 'bulk to an empty backup, from the order on' }, FLOWS / bulk.seconds);
    }
    add({ ...cpu, name: 'bulk, a flow on the active node' }, bulk.active / FLOWS / 1000);
    add({ ...cpu, name: 'bulk, a flow on the backup' }, bulk.backup / FLOWS / 1000);
    const committed = await measureCommit(nodes, bulk.arrived);
    add({ ...rate, name: `commit of ${FLOWS / 1000} k flows` }, bulk.arrived / committed.seconds);
    const known = 'commit, until the internal cache has all';
    add({ ...rate, name: known }, bulk.arrived / committed.known);
    add({ ...cpu, name: 'commit, a flow' }, committed.cpu / bulk.arrived / 1000);
  },
};

interface Bulk {
  arrived: number;
  seconds: number;
  active: number;
  backup: number;
}

/** Empties the backup, gives an order and times until it has all it gets. */
async function measureFilling(nodes: Nodes, order: () => Promise<unknown>): Promise<Bulk> {
  await nodes.backup.request(FLUSH_EXTERNAL);
  await nodes.replicated(0);
  await nodes.atRest();
  const { active, backup } = nodes.pids;
  const before = [cpuTime(active), cpuTime(backup)] as const;
  const start = performance.now();
  await order();
  const arrived = await nodes.arrived(FLOWS, 10);
  const seconds = (performance.now() - start) / 1000;
  await nodes.atRest();
  return {
    arrived,
    seconds,
    active: cpuTime(active) - before[0],
    backup: cpuTime(backup) - before[1],
  };
}

interface Commit {
  seconds: number;
  /** Seconds from the order until the internal cache has all, too. */
  known: number;
  /** Nanoseconds of CPU until the daemon is at rest. */
  cpu: number;
}

async function measureCommit(nodes: Nodes, flows: number): Promise<Commit> {
  const { active, backup } = nodes;
  const pid = nodes.pids.backup;
  await active.kill();
  const before = cpuTime(pid);
  const start = performance.now();
  await backup.request(REQUEST.commit, 120_000);
  await waitFor(async () => (await backup.caches()).internal.active >= flows, {
    for: 'the internal cache to hold what was committed',
    timeout: 60_000,
    every: 20,
    explain: () => backup.log(),
  });
  const known = (performance.now() - start) / 1000;
  const seconds = Number(/commit has taken ([\d.]+) seconds/.exec(backup.log(200))?.[1]);
  await sleep(REST);
  const cpu = cpuTime(pid) - before;
  const there = Number(
    backup.node.ns.execSync('cat', ['/proc/sys/net/netfilter/nf_conntrack_count']),
  );
  if (there < flows) throw new Error(`only ${there} of ${flows} flows are in the kernel`);
  return { seconds, known, cpu };
}
