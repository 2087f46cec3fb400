// What the links over UDP and multicast share: one socket to receive on, a second one, aimed at the
// peer or the group by connect(2), to send from. Both work on many datagrams a call, straight from
// and into the shared memory, and never block: what the kernel does not take now stays with the
// caller.
//
// Connecting fixes route and source address, which saves a lookup a datagram but ages: the interface
// may be down at start, or come back with other addresses. So a failure to aim is no failure to
// start, and a refused datagram makes the socket aim anew, at most once a second.
// udp(7), recvmmsg(2), sendmmsg(2), connect(2).

import * as L from '../../assembly/layout.js';
import type { Arena, MessageVector } from '../cache/arena.js';
import type { InterfaceInfo } from '../kernel/links.js';
import {
  close,
  EAGAIN,
  ECONNREFUSED,
  EINTR,
  ENOBUFS,
  errno,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  POLLIN,
  POLLOUT,
  recvmmsg,
  sendmmsg,
  tryConnect,
} from '../kernel/syscalls.js';
import { NO_ADDRESS } from './address.js';
import type { DedicatedLink, Watch } from './link.js';

const AIM_INTERVAL = 1000; // ms

/** Sockets ready for use: the receiver bound, the sender not yet aimed at `peer`. */
export interface DatagramSockets {
  receiver: number;
  sender: number;
  /** sockaddr of the peer or the group. */
  peer: Uint8Array;
}

export abstract class DatagramLink implements DedicatedLink {
  abstract readonly kind: 'udp' | 'multicast';
  readonly ready = true;
  bytesSent = 0;
  packetsSent = 0;
  sendErrors = 0;
  bytesReceived = 0;
  packetsReceived = 0;
  receiveErrors = 0;
  private aimed = false;
  private aimedAt = -AIM_INTERVAL;

  protected constructor(
    private readonly arena: Arena,
    private readonly base: number,
    readonly device: string,
    readonly info: InterfaceInfo,
    private readonly sockets: DatagramSockets,
  ) {
    this.aim(performance.now());
  }

  watch(add: Watch, sending: boolean): void {
    add(this.sockets.receiver, POLLIN);
    if (sending) add(this.sockets.sender, POLLOUT);
  }

  receive(vector: MessageVector): number {
    const at = this.base + vector.headers;
    const count = recvmmsg(this.sockets.receiver, at, vector.count, MSG_DONTWAIT, 0);
    if (count < 0) {
      const reason = errno();
      if (reason !== EAGAIN && reason !== EINTR) this.receiveErrors++;
      return 0;
    }
    this.packetsReceived += count;
    for (let i = 0; i < count; i++) {
      this.bytesReceived += this.arena.get(vector.headers + i * L.MMSG_SIZE + L.MMSG_LEN);
    }
    return count;
  }

  send(from: number, to: number): number {
    const { headers } = this.arena.outgoing;
    if (!this.aimed) {
      this.sendErrors += to - from; // no route: lost like any datagram
      return to;
    }
    let next = from;
    let refused = false;
    while (next < to) {
      const at = this.base + headers + next * L.MMSG_SIZE;
      const sent = sendmmsg(this.sockets.sender, at, to - next, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) {
        for (let i = next; i < next + sent; i++) {
          this.bytesSent += this.arena.get(headers + i * L.MMSG_SIZE + L.MMSG_LEN);
        }
        this.packetsSent += sent;
        next += sent;
        continue;
      }
      const reason = errno();
      if (reason === EINTR) continue;
      if (reason === EAGAIN || reason === ENOBUFS) return next;
      this.sendErrors++;
      // ECONNREFUSED tells of an earlier datagram (the peer's host is up, its daemon is not); the
      // one at hand was not tried yet and gets one more try. Anything else is this one's fault.
      if (reason !== ECONNREFUSED || refused) next++;
      if (reason !== ECONNREFUSED) this.aimed = false;
      refused = reason === ECONNREFUSED && !refused;
      if (!this.aimed) return this.send(next, to);
    }
    return next;
  }

  tend(now: number): void {
    if (!this.aimed && now - this.aimedAt >= AIM_INTERVAL) this.aim(now);
  }

  leave(): void {}

  close(): void {
    close(this.sockets.receiver);
    close(this.sockets.sender);
  }

  /** Chooses route and source address afresh; the old ones must be given up first. */
  private aim(now: number): void {
    this.aimedAt = now;
    tryConnect(this.sockets.sender, NO_ADDRESS);
    this.aimed = tryConnect(this.sockets.sender, this.sockets.peer) === 0;
  }
}
