// When a daemon has read what arrived for it on the dedicated link: a thread that looks into the
// receive queue of the daemon's own UDP socket every 100 µs and notes the times at which it was empty.
// A datagram that arrived before such a time has been read by then, and both programs put what they
// read into the cache at once. The daemon is not asked and does not notice.
//
//   daemon's socket ── pidfd_getfd ──▶ a second descriptor here ── ioctl(SIOCINQ) ──▶ 0: empty
//
// Times go into shared memory, nanoseconds since the epoch, taken before the look; the first word
// counts them. Source: pidfd_getfd(2), udp(7), proc(5).

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isMainThread, workerData } from 'node:worker_threads';
import koffi from 'koffi';
import { errno, errorText } from '../../src/kernel/syscalls.js';

// asm-generic/unistd.h, the same on x86-64
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;
const SIOCINQ = 0x541b; // linux/sockios.h
const CLOCK_REALTIME = 0;
const PAUSE = 100_000n; // ns
/** The first 8 bytes are two i32: how many times were noted, and whether to stop. */
const HEADER = 8;

export interface QueueWatch {
  shared: SharedArrayBuffer;
  pid: number;
  port: number;
}

/** Shared memory for so many looks. */
export function makeShared(looks: number): SharedArrayBuffer {
  return new SharedArrayBuffer(HEADER + looks * 8);
}

/** Forgets what was noted. */
export function forget(shared: SharedArrayBuffer): void {
  Atomics.store(new Int32Array(shared, 0, 2), 0, 0);
}

export function stopWatch(shared: SharedArrayBuffer): void {
  Atomics.store(new Int32Array(shared, 0, 2), 1, 1);
}

/** The times so far, rising. */
export function emptyTimes(shared: SharedArrayBuffer): BigInt64Array {
  return new BigInt64Array(shared, HEADER, Atomics.load(new Int32Array(shared, 0, 2), 0));
}

/** The first of the rising times that is not before `time`; 0 when there is none. */
export function firstFrom(times: BigInt64Array, time: bigint): bigint {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (times[middle]! < time) low = middle + 1;
    else high = middle;
  }
  return times[low] ?? 0n;
}

/** Inode of the UDP socket bound to the port, in the text of /proc/PID/net/udp. */
export function inodeOfPort(text: string, port: number): string | undefined {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/);
    if (fields[1]?.endsWith(local)) return fields[9];
  }
  return undefined;
}

function socketOf(pid: number, port: number): number {
  const inode = inodeOfPort(readFileSync(`/proc/${pid}/net/udp`, 'utf8'), port);
  const number = readdirSync(`/proc/${pid}/fd`).find((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`;
    } catch {
      return false; // closed meanwhile
    }
  });
  if (number === undefined) throw new Error(`process ${pid} has no UDP socket on port ${port}`);
  return Number(number);
}

function watch({ shared, pid, port }: QueueWatch): void {
  const libc = koffi.load(null);
  const syscall = libc.func('long syscall(long number, long a, long b, long c)');
  const ioctl = libc.func('int ioctl(int fd, unsigned long request, _Out_ void *value)');
  const clock = libc.func('int clock_gettime(int clock, _Out_ void *time)');
  const nanosleep = libc.func('int nanosleep(const void *time, uintptr_t rest)');
  const process = Number(syscall(SYS_PIDFD_OPEN, pid, 0, 0));
  if (process < 0) throw new Error(`pidfd_open: ${errorText(errno())}`);
  const fd = Number(syscall(SYS_PIDFD_GETFD, process, socketOf(pid, port), 0));
  if (fd < 0) throw new Error(`pidfd_getfd: ${errorText(errno())}`);
  const words = new Int32Array(shared, 0, 2);
  const times = new BigInt64Array(shared, HEADER);
  const queued = new Int32Array(1);
  const now = new BigInt64Array(2);
  const pause = new BigInt64Array([0n, PAUSE]);
  while (Atomics.load(words, 1) === 0) {
    nanosleep(pause, 0);
    clock(CLOCK_REALTIME, now);
    if (ioctl(fd, SIOCINQ, queued) < 0) throw new Error(`SIOCINQ: ${errorText(errno())}`);
    if (queued[0] !== 0) continue;
    const count = words[0]!;
    if (count >= times.length) continue;
    times[count] = now[0]! * 1_000_000_000n + now[1]!;
    Atomics.store(words, 0, count + 1);
  }
}

if (!isMainThread && workerData?.watchQueue) watch(workerData as QueueWatch);
