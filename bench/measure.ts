// What a process costs, read from /proc: CPU, memory, bytes on its links, scheduling class.
//
// CPU is the sum of user and system time of every thread, in nanoseconds, from the scheduler's own
// account (proc(5), /proc/PID/task/TID/schedstat, first number). Threads of Node's and koffi's pools
// count, so nothing of ours is left out. Memory is PSS (a page shared with others counts in part) and
// RSS. Reading /proc costs the measured process nothing, but it is synchronous here.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

export type SchedulingClass = 'RR 99' | 'OTHER';

/** Nanoseconds of CPU of each thread, by thread id. */
export type ThreadTimes = Map<number, number>;

/** First number of a schedstat line: nanoseconds on the CPU. */
export function parseSchedstat(text: string): number {
  const time = Number(text.split(' ', 1)[0]);
  if (!/^\d/.test(text) || !Number.isFinite(time)) throw new Error(`not a schedstat: ${text}`);
  return time;
}

/** A `Name:  123 kB` field of smaps_rollup or status, in bytes. */
export function parseKilobytes(text: string, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
  if (found === undefined) throw new Error(`no ${name} in ${text.slice(0, 200)}`);
  return Number(found) * 1024;
}

export interface LinkCounters {
  receivedBytes: number;
  receivedPackets: number;
  sentBytes: number;
  sentPackets: number;
}

/** One interface's counters in the text of /proc/PID/net/dev. */
export function parseNetDev(text: string, device: string): LinkCounters {
  for (const line of text.split('\n')) {
    const [name, rest] = line.split(':');
    if (name?.trim() !== device || rest === undefined) continue;
    const numbers = rest.trim().split(/\s+/).map(Number);
    return {
      receivedBytes: numbers[0]!,
      receivedPackets: numbers[1]!,
      sentBytes: numbers[8]!,
      sentPackets: numbers[9]!,
    };
  }
  throw new Error(`no interface ${device}`);
}

/** CPU of every living thread of a process. */
export function threadTimes(pid: number): ThreadTimes {
  const times: ThreadTimes = new Map();
  for (const entry of readdirSync(`/proc/${pid}/task`)) {
    const text = readFileSync(`/proc/${pid}/task/${entry}/schedstat`, 'utf8');
    times.set(Number(entry), parseSchedstat(text));
  }
  return times;
}

/** Nanoseconds of CPU of a process, all threads. */
export function cpuTime(pid: number): number {
  let sum = 0;
  for (const time of threadTimes(pid).values()) sum += time;
  return sum;
}

export interface Memory {
  /** Bytes. */
  pss: number;
  rss: number;
}

export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return { pss: parseKilobytes(text, 'Pss'), rss: parseKilobytes(text, 'Rss') };
}

/** Counters of an interface in the network namespace of the process. */
export function linkCounters(pid: number, device: string): LinkCounters {
  return parseNetDev(readFileSync(`/proc/${pid}/net/dev`, 'utf8'), device);
}

/** Numbers of sched.h as the kernel shows them. */
const POLICY: Record<SchedulingClass, number> = { OTHER: 0, 'RR 99': 2 };

/** Policy in the text of /proc/PID/stat: field 41, counted behind the name in parentheses. */
export function parsePolicy(text: string): number {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const policy = Number(fields[38]);
  if (!Number.isInteger(policy)) throw new Error(`no scheduling policy in ${text}`);
  return policy;
}

/**
 * Puts a process into a scheduling class: RR its main thread, where both programs do their work, as
 * their own configuration would; OTHER every thread. Throws when the kernel did not do it.
 */
export function setClass(pid: number, to: SchedulingClass): void {
  const words = to === 'OTHER' ? ['-a', '-o', '-p', '0'] : ['-r', '-p', '99'];
  execFileSync('chrt', [...words, String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] });
  const policy = parsePolicy(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  if (policy !== POLICY[to]) throw new Error(`process ${pid} is not in class ${to}`);
}

/** Puts every thread of an observer just below the daemons it observes, above everything else. */
export function setObserver(pid: number): void {
  execFileSync('chrt', ['-a', '-r', '-p', '98', String(pid)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

/** Flows in the connection-tracking table of the process's network namespace. */
export function kernelFlows(pid: number): number {
  return parseKernelFlows(readFileSync(`/proc/${pid}/net/stat/nf_conntrack`, 'utf8'));
}

/** The first column of /proc/net/stat/nf_conntrack, hexadecimal and the same in every line. */
export function parseKernelFlows(text: string): number {
  const count = Number.parseInt(text.split('\n')[1] ?? '', 16);
  if (Number.isNaN(count)) throw new Error(`not a statistic of connection tracking: ${text}`);
  return count;
}
