// The load generator: a process in the active firewall's namespace that makes the kernel create,
// change and destroy TCP flows, at a rate or as fast as it can.
//
//   command line on stdin ──▶ requests prepared once, addresses and ports patched ──▶ send(2)
//
// One send carries a burst of up to 256 requests; the kernel does them all inside the call and queues
// the events for whoever listens. Only requests that fail are answered. Flow n has a tuple of its own
// (tuple.ts), so no two commands get in each other's way. At a rate the process sleeps through long
// gaps and spins through short ones (a sleep of 50 µs takes 120 here), so bursts keep their size.
//
// The danger of this interface: a delete request without a tuple deletes the whole table. Requests
// are therefore cut from templates that start with the tuple, and `checkDelete` refuses any other.
//
// Commands are JSON lines and answered by JSON lines. Everything blocks: it is a process of its own.
// Source: linux/netfilter/nfnetlink_conntrack.h, linux/netlink.h.

import { writeFileSync } from 'node:fs';
import koffi from 'koffi';
import { NetlinkSocket } from '../src/kernel/netlink.js';
import {
  EAGAIN,
  errno,
  errorText,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  recv,
  SystemCallError,
  send,
} from '../src/kernel/syscalls.js';
import { answerCommands } from './answer.js';
import { checkDelete, type RequestKind, template } from './request.js';
import { patchTuple } from './tuple.js';

export interface LoadCommand {
  do: RequestKind;
  /** Flows from … from + count - 1. */
  from: number;
  count: number;
  /** Flows a second; 0: as fast as it goes. */
  rate: number;
  /** Requests in one send, at most 256. */
  burst: number;
  /** TCP state that create and update set (linux/netfilter/nf_conntrack_tcp.h). Default 3. */
  state?: number;
  /** File for the time of each flow's request: i64 ns since the epoch, in the order of the flows. */
  stamps?: string;
}

export interface LoadReport {
  sent: number;
  failed: number;
  seconds: number;
  /** Flows a second that were reached. */
  rate: number;
  /** The kernel's words for the first failure. */
  reason?: string;
}

const MOST = 256;
const SLEEP_ABOVE = 400; // µs: gaps that are worth a sleep
const SLEEP_EARLY = 300; // µs: how much earlier to wake up, as sleeps overrun
const CLOCK_REALTIME = 0;

const libc = koffi.load(null);
const nanosleep = libc.func('int nanosleep(const void *time, uintptr_t rest)');
const clockGettime = libc.func('int clock_gettime(int clock, _Out_ void *time)');

class Load {
  readonly #socket = new NetlinkSocket('the load generator');
  readonly #reply = new ArrayBuffer(65536);
  readonly #replyAddress = addressOf(this.#reply);
  readonly #now = new BigInt64Array(2);
  #failed = 0;
  #reason = '';

  constructor() {
    this.#socket.receiveBuffer(16 * 2 ** 20);
    this.#socket.sendBuffer(4 * 2 ** 20);
  }

  run(command: LoadCommand): LoadReport {
    const { count, from, rate } = command;
    const burst = Math.min(command.burst, MOST);
    const one = template(command.do, command.state ?? 3);
    if (command.do === 'delete') checkDelete(one);
    const buffer = new ArrayBuffer(one.length * burst);
    const bytes = new Uint8Array(buffer);
    for (let i = 0; i < burst; i++) bytes.set(one, i * one.length);
    const view = new DataView(buffer);
    const address = addressOf(buffer);
    const stamps = command.stamps === undefined ? undefined : new BigInt64Array(count);
    this.#failed = 0;
    this.#reason = '';
    const start = performance.now();
    for (let done = 0; done < count; ) {
      const take = Math.min(burst, count - done);
      for (let i = 0; i < take; i++) patchTuple(view, i * one.length, command.do, from + done + i);
      if (rate > 0) waitUntil(start + (done / rate) * 1000);
      if (stamps) stamps.fill(this.#clock(), done, done + take);
      if (send(this.#socket.fd, address, take * one.length, MSG_NOSIGNAL) < 0) {
        throw new SystemCallError('send', errno(), 'the load generator');
      }
      done += take;
      if (done % 1024 < take) this.#readFailures();
    }
    const seconds = (performance.now() - start) / 1000;
    this.#readFailures();
    if (stamps) writeFileSync(command.stamps!, stamps);
    const report = { sent: count, failed: this.#failed, seconds, rate: count / seconds };
    return this.#reason === '' ? report : { ...report, reason: this.#reason };
  }

  /** Nanoseconds since the epoch. */
  #clock(): bigint {
    clockGettime(CLOCK_REALTIME, this.#now);
    return this.#now[0]! * 1_000_000_000n + this.#now[1]!;
  }

  #readFailures(): void {
    const view = new DataView(this.#reply);
    for (;;) {
      const length = recv(
        this.#socket.fd,
        this.#replyAddress,
        this.#reply.byteLength,
        MSG_DONTWAIT,
      );
      if (length < 0) {
        const reason = errno();
        if (reason === EAGAIN) return;
        throw new SystemCallError('recv', reason, 'the load generator');
      }
      for (let at = 0; at + 20 <= length; at += (view.getUint32(at, true) + 3) & ~3) {
        const error = -view.getInt32(at + 16, true);
        if (error === 0) continue;
        this.#failed++;
        if (this.#reason === '') this.#reason = errorText(error);
      }
    }
  }
}

function addressOf(buffer: ArrayBuffer): number {
  return Number(koffi.address(new Uint8Array(buffer)));
}

/** Waits until performance.now() reaches `time` (ms). */
function waitUntil(time: number): void {
  for (;;) {
    const left = (time - performance.now()) * 1000;
    if (left <= 0) return;
    if (left > SLEEP_ABOVE) {
      const whole = new BigInt64Array([0n, BigInt(Math.floor((left - SLEEP_EARLY) * 1000))]);
      if (left < 1_000_000) nanosleep(whole, 0);
      else nanosleep(new BigInt64Array([BigInt(Math.floor(left / 1e6)), 0n]), 0);
    }
  }
}

const load = new Load();
await answerCommands((command: LoadCommand) => load.run(command));
