// The kernel as the command line sees it: one request socket, dumps, single requests, and the memory
// that both sides work in. Requests are carried out inside the send call and their answers are queued
// when it returns, so nothing here waits; only the events (events.ts) are waited for.
//
// The memory is a WebAssembly memory of this process, so that the module's decoder and line writer
// (flow-kernel.ts) read and write what the kernel and the terminal see without a copy:
//
//   0        4 KiB          64 KiB            128 KiB            512 KiB
//   ┌────────┬──────────────┬─────────────────┬──────────────────┬──────────────────────
//   │scratch │ words        │ receive buffer  │ output           │ requests, grows
//   └────────┴──────────────┴─────────────────┴──────────────────┴──────────────────────
//
// linux/netlink.h; rules of answers: docs/conntrack.md, "Requests".

import { NetlinkSocket } from '../kernel/netlink.js';
import {
  addressOf,
  EAGAIN,
  EINTR,
  ENOBUFS,
  errno,
  errorText,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  preferLargePages,
  recv,
  send,
} from '../kernel/syscalls.js';
import { type CommandError, type Operation, operationFailed } from './complain.js';
import { MessageWriter } from './message.js';

const RECEIVE = 65536;
const RECEIVE_SIZE = 65536;
export const OUTPUT = 131072;
export const OUTPUT_SIZE = 393216;
export const REQUESTS = 524288;
const PAGE = 65536;
const PAGES_MAX = 65536;
/** Growth from which on large pages are worth asking for. */
const LARGE = 8 * 2 ** 20;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
/** Room for the errors of a whole batch: each takes a buffer of about 1 KiB. */
const BUFFERS = 4 * 2 ** 20;

/** errno of an answer; 0 is an acknowledgement. */
export type Answer = (position: number, errno: number) => void;

export class Kernel {
  protected readonly memory: WebAssembly.Memory;
  bytes: Uint8Array;
  view: DataView;
  message: MessageWriter;
  readonly base: number;
  private socketOpen: NetlinkSocket | undefined;
  private sequence = 1;

  constructor(pages = 16) {
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: PAGES_MAX, shared: true });
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.message = new MessageWriter(this.bytes, this.view);
    this.base = addressOf(this.memory);
  }

  /** Makes room for requests up to this address. Views are made anew; addresses stay. */
  reserve(end: number): void {
    if (end <= this.bytes.length) return;
    const old = this.bytes.length;
    const pages = Math.ceil((end * 1.5 - old) / PAGE);
    this.memory.grow(pages);
    // Where the kernel gives memory by the small page only, that takes longer than what is done with it.
    if (pages * PAGE >= LARGE) preferLargePages(this.base + old, pages * PAGE);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.message = new MessageWriter(this.bytes, this.view);
  }

  private get socket(): NetlinkSocket {
    if (this.socketOpen === undefined) {
      this.socketOpen = new NetlinkSocket("can't open a netlink socket");
      this.socketOpen.receiveBuffer(BUFFERS);
      this.socketOpen.sendBuffer(BUFFERS);
    }
    return this.socketOpen;
  }

  /** The first of `count` sequence numbers. */
  takeSequence(count = 1): number {
    const first = this.sequence;
    this.sequence += count;
    return first;
  }

  private send(at: number, length: number): void {
    if (send(this.socket.fd, this.base + at, length, MSG_NOSIGNAL) < 0) {
      throw new KernelError(errno());
    }
  }

  /** Bytes of the next answer in the receive buffer, 0 when there is none. */
  private receive(): number {
    for (;;) {
      const length = recv(this.socket.fd, this.base + RECEIVE, RECEIVE_SIZE, MSG_DONTWAIT);
      if (length >= 0) return length;
      const reason = errno();
      if (reason === EAGAIN) return 0;
      if (reason !== EINTR) throw new KernelError(reason);
    }
  }

  /**
   * Sends one or more requests that lie together and gives every error and acknowledgement to
   * `answer`, by position; other messages (the data of a GET) to `data`. `first` is the sequence
   * number of the first request.
   */
  transact(
    at: number,
    length: number,
    first: number,
    answer: Answer,
    data?: (at: number, size: number) => void,
  ): void {
    this.send(at, length);
    for (let size = this.receive(); size > 0; size = this.receive()) {
      this.walk(RECEIVE, size, (message, bytes, type) => {
        if (type !== NLMSG_ERROR) {
          data?.(message, bytes);
          return true;
        }
        answer(
          this.view.getUint32(message + 8, true) - first,
          -this.view.getInt32(message + 16, true),
        );
        return true;
      });
    }
  }

  /** One request; throws KernelError if the kernel refuses it. */
  ask(at: number, length: number, sequence: number, data?: (at: number, size: number) => void) {
    let reason = 0;
    this.transact(
      at,
      length,
      sequence,
      (_, error) => {
        reason ||= error;
      },
      data,
    );
    if (reason !== 0) throw new KernelError(reason);
  }

  /**
   * Carries out a dump: `entry` for each message, `datagram` after each datagram. What `entry` is
   * given lies in memory until `datagram` has returned.
   */
  dump(
    at: number,
    length: number,
    entry: (message: number, size: number) => void,
    datagram?: () => void,
  ): void {
    this.send(at, length);
    for (;;) {
      const size = this.receive();
      if (size === 0) throw new KernelError(ENOBUFS); // the kernel's end of a dump always comes
      const more = this.walk(RECEIVE, size, (message, bytes, type) => {
        if (type !== NLMSG_DONE && type !== NLMSG_ERROR) {
          entry(message, bytes);
          return true;
        }
        const reason = bytes >= 20 ? -this.view.getInt32(message + 16, true) : 0;
        if (reason > 0) throw new KernelError(reason);
        return false;
      });
      datagram?.();
      if (!more) return;
    }
  }

  private walk(
    at: number,
    size: number,
    visit: (message: number, bytes: number, type: number) => boolean,
  ): boolean {
    const end = at + size;
    while (at + 16 <= end) {
      const bytes = this.view.getUint32(at, true);
      if (bytes < 16 || at + bytes > end) return true;
      if (!visit(at, bytes, this.view.getUint16(at + 4, true))) return false;
      at += (bytes + 3) & ~3;
    }
    return true;
  }

  close(): void {
    this.socketOpen?.close();
  }
}

/** The kernel refused; which words that makes depends on what was asked (`failed`). */
export class KernelError extends Error {
  constructor(readonly errno: number) {
    super(errorText(errno));
    this.name = 'KernelError';
  }

  failed(operation: Operation, expect = false): CommandError {
    return operationFailed(operation, expect, this.errno, errorText);
  }
}

/** Runs `body`; what the kernel refuses becomes `Operation failed: ...`. */
export function attempting<T>(operation: Operation, expect: boolean, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw error instanceof KernelError ? error.failed(operation, expect) : error;
  }
}
