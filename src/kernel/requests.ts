// The request socket: many requests in one send, one acknowledgement. The kernel carries requests
// out inside the send call, in order and each for itself; every failing one answers with an error of
// its own, the last one asks for an acknowledgement. So after the send all answers are already
// queued, and reading them never waits. (linux/netlink.h, NLMSG_ERROR)

import type { Arena } from '../cache/arena.js';
import { NetlinkSocket } from './netlink.js';
import {
  EAGAIN,
  EINTR,
  ENOBUFS,
  errno,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  recv,
  SystemCallError,
  send,
} from './syscalls.js';

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 0x1;
const NLM_F_DUMP = 0x300;
const SUBSYSTEM_CT = 1;
const SUBSYSTEM_EXPECT = 2;
const GET = 1;
/** Room for the errors of a whole batch: each takes a fresh socket buffer of about 1 KiB. */
const BUFFERS = 4 * 2 ** 20;

/** What a batch of requests came to: errno (positive) per failed request, by its position. */
export type Failures = Map<number, number>;

export class RequestSocket {
  private readonly socket: NetlinkSocket;
  private sequence = 1;

  constructor(
    private readonly arena: Arena,
    private readonly base: number,
    what: string,
  ) {
    this.socket = new NetlinkSocket(what);
    this.socket.receiveBuffer(BUFFERS);
    this.socket.sendBuffer(BUFFERS);
  }

  get port(): number {
    return this.socket.port;
  }

  /** First of `count` sequence numbers for a batch that send() will be given. */
  takeSequence(count: number): number {
    if (this.sequence + count > 0x7fffffff) this.sequence = 1;
    const first = this.sequence;
    this.sequence += count;
    return first;
  }

  /**
   * Carries out the `count` requests in the `bytes` bytes at `address`, numbered from `first`; the
   * last one written asks for an acknowledgement. Returns the failures by position.
   * Throws when the kernel takes none, or when answers were lost.
   */
  send(address: number, bytes: number, first: number, count: number): Failures {
    if (send(this.socket.fd, this.base + address, bytes, MSG_NOSIGNAL) < 0) {
      throw new SystemCallError('send', errno(), "can't send requests to the kernel");
    }
    const failures: Failures = new Map();
    const { reply, replySize } = this.arena.requests;
    for (;;) {
      const length = recv(this.socket.fd, this.base + reply, replySize, MSG_DONTWAIT);
      if (length < 0) {
        const reason = errno();
        if (reason === EAGAIN) return failures;
        if (reason === EINTR) continue;
        // ENOBUFS: some errors were lost. Say so rather than count their requests as done.
        throw new SystemCallError(
          'recv',
          reason,
          reason === ENOBUFS
            ? 'answers of the kernel were lost'
            : "can't read the kernel's answers",
        );
      }
      this.readErrors(reply, length, first, count, failures);
    }
  }

  private readErrors(
    at: number,
    length: number,
    first: number,
    count: number,
    failures: Failures,
  ): void {
    const { view } = this.arena;
    const end = at + length;
    while (at + 20 <= end) {
      const size = view.getUint32(at, true);
      if (size < 16 || at + size > end) return;
      if (view.getUint16(at + 4, true) === NLMSG_ERROR) {
        const error = -view.getInt32(at + 16, true);
        const position = view.getUint32(at + 8, true) - first;
        if (error !== 0 && position >= 0 && position < count) failures.set(position, error);
      }
      at += (size + 3) & ~3;
    }
  }

  close(): void {
    this.socket.close();
  }
}

/** A dump of the kernel's flow or expectation table, read one datagram (up to 32 KiB) at a time. */
export class KernelDump {
  private readonly socket: NetlinkSocket;
  private done = false;

  /** Asks for the whole table, both families. Throws MissingCapability without CAP_NET_ADMIN. */
  constructor(
    private readonly arena: Arena,
    private readonly base: number,
    what: 'flows' | 'expectations',
  ) {
    this.socket = new NetlinkSocket("can't get kernel conntrack table");
    this.socket.receiveBuffer(2 ** 20);
    const subsystem = what === 'flows' ? SUBSYSTEM_CT : SUBSYSTEM_EXPECT;
    const request = arena.requests.reply;
    const { view } = arena;
    arena.bytes.fill(0, request, request + 20);
    view.setUint32(request, 20, true);
    view.setUint16(request + 4, (subsystem << 8) | GET, true);
    view.setUint16(request + 6, NLM_F_REQUEST | NLM_F_DUMP, true);
    view.setUint32(request + 8, 1, true);
    if (send(this.socket.fd, base + request, 20, MSG_NOSIGNAL) < 0) {
      const error = new SystemCallError('send', errno(), "can't get kernel conntrack table");
      this.socket.close();
      throw error;
    }
  }

  /**
   * Bytes of the next datagram, now in arena.dump.buffer; 0 at the end of the table. The messages
   * in it lie there until the next call. Throws with the kernel's reason if it breaks off.
   */
  next(): number {
    if (this.done) return 0;
    const { buffer, size } = this.arena.dump;
    let length = recv(this.socket.fd, this.base + buffer, size, MSG_DONTWAIT);
    while (length < 0 && errno() === EINTR) {
      length = recv(this.socket.fd, this.base + buffer, size, MSG_DONTWAIT);
    }
    if (length < 0) {
      throw new SystemCallError('recv', errno(), "can't dump kernel table");
    }
    this.findEnd(buffer, length);
    return length;
  }

  private findEnd(at: number, length: number): void {
    const { view } = this.arena;
    const end = at + length;
    while (at + 20 <= end) {
      const size = view.getUint32(at, true);
      if (size < 16 || at + size > end) return;
      const type = view.getUint16(at + 4, true);
      if (type === NLMSG_ERROR || type === NLMSG_DONE) {
        this.done = true;
        const error = -view.getInt32(at + 16, true);
        if (error > 0) throw new SystemCallError('dump', error, "can't dump kernel table");
        return;
      }
      at += (size + 3) & ~3;
    }
  }

  close(): void {
    this.socket.close();
  }
}
