// A process that gets only a share of one core: what a daemon has left when the firewall's cores are
// busy forwarding. A control group of its own with a quota, version 2 (cpu.max) or, where the cpu
// controller is still mounted alone, version 1 (cpu.cfs_quota_us).
//
//   every PERIOD the group may run QUOTA = share × PERIOD, then it waits for the next
//
// The quota binds SCHED_OTHER only: real-time threads are outside of it, so the caller puts the
// process into SCHED_OTHER first. The period is short, so that what gathers in a pause is little.
// Source: Documentation/admin-guide/cgroup-v2.rst, Documentation/scheduler/sched-bwc.rst.

import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { waitFor } from '../../lab/wait.js';

const PERIOD = 20_000; // µs

/** Where the cpu controller is mounted, and which version of it. */
export interface Controller {
  version: 1 | 2;
  directory: string;
}

/** Finds the cpu controller in the text of /proc/mounts; `controllers` reads a version 2 list. */
export function findController(
  mounts: string,
  controllers: (directory: string) => string,
): Controller | undefined {
  for (const line of mounts.split('\n')) {
    const [, directory = '', type, options = ''] = line.split(' ');
    if (type === 'cgroup' && options.split(',').includes('cpu')) return { version: 1, directory };
    if (type !== 'cgroup2') continue;
    if (controllers(directory).split(/\s+/).includes('cpu')) return { version: 2, directory };
  }
  return undefined;
}

/** The files of a new group that limit it, and what to write, in this order. */
export function quotaFiles(version: 1 | 2, share: number): [string, string][] {
  const quota = Math.round(PERIOD * share);
  if (version === 2) return [['cpu.max', `${quota} ${PERIOD}`]];
  return [
    ['cpu.cfs_period_us', String(PERIOD)],
    ['cpu.cfs_quota_us', String(quota)],
  ];
}

/** A process whose share can be set and lifted. `release` before it ends, or after. */
export class CpuShare {
  private constructor(
    readonly pid: number,
    readonly controller: Controller,
    readonly group: string,
  ) {}

  /** Moves the process, all its threads, into a new group without a limit. */
  static of(pid: number): CpuShare {
    const controller = findController(readFileSync('/proc/mounts', 'utf8'), listControllers);
    if (controller === undefined) throw new Error('no control group here can limit CPU');
    const { version, directory } = controller;
    if (version === 2) writeFileSync(join(directory, 'cgroup.subtree_control'), '+cpu');
    const group = join(directory, `flowtwin-bench-${pid}`);
    mkdirSync(group);
    writeFileSync(join(group, 'cgroup.procs'), String(pid));
    return new CpuShare(pid, controller, group);
  }

  /** Sets the share of one core; 1 is a whole core, undefined no limit. */
  set(share: number | undefined): void {
    const { version } = this.controller;
    const files: [string, string][] =
      share !== undefined
        ? quotaFiles(version, share)
        : version === 2
          ? [['cpu.max', 'max']]
          : [['cpu.cfs_quota_us', '-1']];
    for (const [name, value] of files) writeFileSync(join(this.group, name), value);
  }

  /** Times the process had to wait for its next period so far. */
  get waits(): number {
    const text = readFileSync(join(this.group, 'cpu.stat'), 'utf8');
    return Number(/^nr_throttled (\d+)$/m.exec(text)?.[1] ?? Number.NaN);
  }

  /** Puts the process back where groups begin and removes the group. */
  async release(): Promise<void> {
    if (existsSync(`/proc/${this.pid}`)) {
      writeFileSync(join(dirname(this.group), 'cgroup.procs'), String(this.pid));
    }
    // A process that has just ended stays in its group for a moment.
    await waitFor(
      () => {
        rmdirSync(this.group);
        return true;
      },
      { for: `the control group ${this.group} to be empty`, timeout: 5000, every: 50 },
    );
  }
}

function listControllers(directory: string): string {
  try {
    return readFileSync(join(directory, 'cgroup.controllers'), 'utf8');
  } catch {
    return '';
  }
}
