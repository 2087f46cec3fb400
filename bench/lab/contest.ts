// One contestant at a time on the lab's two firewalls: ours or the C daemon, on both nodes, with the
// same configuration, the same load and the machine to itself. Parts of the bench call `contest` for
// one, then for the other, in turn, as often as they repeat.
//
// The nodes are made new each time, so that no table, queue or buffer of the turn before is left. Both
// daemons are put into the same scheduling class, and the kernel is asked whether they are in it: left
// alone, the C daemon takes SCHED_RR 99 and ours stays in SCHED_OTHER.

import { C, type Daemon, OURS, type Program } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import type { Topology } from '../../lab/topology.js';
import { sleep, waitFor } from '../../lab/wait.js';
import type { LoadCommand, LoadReport } from '../load.js';
import { cpuTime, linkCounters, type SchedulingClass, setClass } from '../measure.js';
import { LineProcess } from './process.js';

export type Contestant = 'ours' | 'C';
export const CONTESTANTS: readonly Contestant[] = ['ours', 'C'];

const PROGRAMS: Record<Contestant, Program> = { ours: OURS, C };

export interface ContestOptions {
  /** Entries of each cache. Default 1,048,576. */
  flows?: number;
  /** More lines for the General section. */
  general?: string;
  /** Text of the Mode section. Default: FTFW with its defaults. */
  mode?: string;
  /** Bytes of the event socket's buffer, which never grows. Default 32 MiB. */
  buffer?: number;
  /** Class of both daemons from the start. Default RR 99, which the C daemon takes by itself. */
  schedulingClass?: SchedulingClass;
  /** Environment of the daemons. */
  env?: NodeJS.ProcessEnv;
}

/** What one load cost the two nodes. */
export interface Cost {
  load: LoadReport;
  /** Nanoseconds of CPU from the first request until both nodes were at rest. */
  active: number;
  backup: number;
  /** Datagrams and bytes from the active node to the backup. */
  packets: number;
  bytes: number;
}

/** How long a backup may get nothing before it counts as having all it will get. */
const PATIENCE = 4000; // ms
/** Time both nodes get to finish what the load left them. */
const REST = 350; // ms

export class Nodes {
  constructor(
    readonly topology: Topology,
    readonly active: Daemon,
    readonly backup: Daemon,
    readonly generator: LineProcess,
  ) {}

  get pids(): { active: number; backup: number } {
    const { active, backup } = this;
    if (active.pid === undefined || backup.pid === undefined) throw new Error('a daemon has ended');
    return { active: active.pid, backup: backup.pid };
  }

  load(command: LoadCommand): Promise<LoadReport> {
    return this.generator.ask<LoadReport>(command);
  }

  /** Runs a load and reads what it cost. Throws when the kernel refused a request. */
  async measure(command: LoadCommand): Promise<Cost> {
    const { active, backup } = this.pids;
    const before = [cpuTime(active), cpuTime(backup), linkCounters(active, 'sync')] as const;
    const load = await this.load(command);
    await sleep(REST);
    await this.atRest();
    const link = linkCounters(active, 'sync');
    if (load.failed > 0) throw new Error(`${load.failed} requests failed: ${load.reason}`);
    return {
      load,
      active: cpuTime(active) - before[0],
      backup: cpuTime(backup) - before[1],
      packets: link.sentPackets - before[2].sentPackets,
      bytes: link.sentBytes - before[2].sentBytes,
    };
  }

  /** Waits until neither node computes any more. Asks the scheduler's account, not the daemons. */
  async atRest(timeout = 60_000): Promise<void> {
    const { active, backup } = this.pids;
    let seen = cpuTime(active) + cpuTime(backup);
    await waitFor(
      () => {
        const now = cpuTime(active) + cpuTime(backup);
        const resting = now - seen < QUIET;
        seen = now;
        return resting;
      },
      { for: 'the daemons to finish their work', every: 100, timeout },
    );
  }

  /**
   * Removes flows 0 … count - 1 from the kernel and waits until the backup has forgotten them. Paced:
   * an overrun here would cost the half minute until the daemon looks at the kernel's table again.
   */
  async remove(count: number): Promise<void> {
    await this.load({ do: 'delete', from: 0, count, rate: REMOVE_RATE, burst: 64 });
    await this.replicated(0);
    await this.atRest();
  }

  setClass(to: SchedulingClass): void {
    const { active, backup } = this.pids;
    for (const pid of [active, backup]) setClass(pid, to);
  }

  /** Entries in the backup's external cache. */
  async external(): Promise<number> {
    return (await this.backup.caches()).external.active;
  }

  async internal(): Promise<number> {
    return (await this.active.caches()).internal.active;
  }

  /** Waits until the backup's external cache holds exactly so many entries. */
  async replicated(count: number, timeout = 60_000, every = 20): Promise<void> {
    let last = -1;
    await waitFor(
      async () => {
        last = await this.external();
        return last === count;
      },
      {
        for: `the backup to hold ${count} flows`,
        timeout,
        every,
        explain: () => `it holds ${last}`,
      },
    );
  }

  /** Entries of the backup once it has `count` of them, or has got no more for a while. */
  async arrived(count: number, every = 20): Promise<number> {
    let last = -1;
    let since = performance.now();
    for (;;) {
      const now = await this.external();
      if (now === count) return now;
      if (now !== last) {
        last = now;
        since = performance.now();
      }
      if (performance.now() - since > PATIENCE) return now;
      await sleep(every);
    }
  }

  /** Times the active node's event socket lost events, by its own account. */
  async overruns(): Promise<number> {
    const text = await this.active.request(RUNTIME);
    return Number(/overrun\w* *:?\s+(\d+)/i.exec(text)?.[1] ?? Number.NaN);
  }
}

const REMOVE_RATE = 100_000; // flows/s
const RUNTIME = 30; // request code of `-s runtime`
const QUIET = 2_000_000; // ns in 100 ms: both daemons' idle work is far below

/** Runs `body` with one program on both nodes; everything is gone afterwards. */
export async function contest<T>(
  who: Contestant,
  options: ContestOptions,
  body: (nodes: Nodes) => Promise<T>,
): Promise<T> {
  const program = PROGRAMS[who];
  const { flows = 1_048_576, buffer = 32 * 2 ** 20, mode, env } = options;
  const general = `
  HashSize ${Math.max(65536, Math.ceil(flows / 4))}
  HashLimit ${flows}
  NetlinkBufferSize ${buffer}
  NetlinkBufferSizeMaxGrowth ${buffer}
  ${options.general ?? ''}`;
  let result: T | undefined;
  await withPair(
    { active: program, backup: program },
    async ({ topology, active, backup }) => {
      const generator = await LineProcess.start(topology.fw1.ns, 'load.js');
      try {
        await Promise.all([active.greeted(), backup.greeted()]);
        const nodes = new Nodes(topology, active, backup, generator);
        nodes.setClass(options.schedulingClass ?? 'RR 99');
        result = await body(nodes);
      } finally {
        await generator.stop();
      }
    },
    { general, ...(mode ? { mode } : {}), ...(env ? { env } : {}) },
  );
  return result as T;
}
