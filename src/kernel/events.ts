// The event socket: the kernel's NEW, UPDATE and DESTROY events, read many at a time straight into
// the shared memory. One recvmmsg takes up to 256 datagrams; no JavaScript object is made per event.
//
// Every queued event occupies 1280 bytes of the receive buffer. When the buffer is full the kernel
// drops events and says so once (ENOBUFS), before the ones it still holds: read on, make the buffer
// larger, and compare with the kernel's table later.

import type { EventBatch } from '../cache/arena.js';
import { EXPECT_EVENTS, FLOW_EVENTS, NetlinkSocket } from './netlink.js';
import {
  EAGAIN,
  EINTR,
  ENOBUFS,
  errno,
  getOption,
  MSG_DONTWAIT,
  recvmmsg,
  SO_RCVBUF,
  SOL_SOCKET,
  SystemCallError,
  setSocketFilter,
} from './syscalls.js';

// linux/netlink.h, linux/netfilter/nfnetlink.h
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_DROP_MEMBERSHIP = 2;
const NFNLGRP_CONNTRACK_NEW = 1;
const NETLINK_BROADCAST_ERROR = 4;
const NETLINK_NO_ENOBUFS = 5;

export interface EventSocketOptions {
  /** Bytes as the kernel reports them; undefined keeps the system's default. */
  bufferSize?: number | undefined;
  /** Largest buffer that growth may reach; 0: no growth. */
  bufferMax: number;
  /** Events of expectations too. */
  expectations?: boolean;
  /** The kernel keeps a DESTROY until it could be delivered, and reports no overrun. */
  reliable: boolean;
}

/** Where events come from: the event socket, or nowhere (PollSecs). */
export interface EventSource {
  readonly fd: number;
  readonly bufferSize: number;
  readonly overruns: number;
  readonly failures: number;
  receive(batch: EventBatch, most?: number): number;
  grow(): number | undefined;
  setBufferMax(bytes: number): void;
  filterInKernel(program: Uint8Array<ArrayBuffer>): number;
  hearNew(listening: boolean): void;
  close(): void;
}

/** With PollSecs: no socket, no event, no overrun; poll(2) ignores its descriptor. */
export const NO_EVENTS: EventSource = {
  fd: -1,
  bufferSize: 0,
  overruns: 0,
  failures: 0,
  receive: () => 0,
  grow: () => undefined,
  setBufferMax: () => undefined,
  filterInKernel: () => 0,
  hearNew: () => undefined,
  close: () => undefined,
};

export class EventSocket implements EventSource {
  private readonly socket: NetlinkSocket;
  bufferSize: number;
  /** Times the kernel had to drop events. */
  overruns = 0;
  /** Reads that failed for another reason. */
  failures = 0;

  /**
   * Subscribes at once; events queue from now on. `base` is the address of the arena.
   * Throws MissingCapability without CAP_NET_ADMIN.
   */
  constructor(
    private readonly base: number,
    private readonly options: EventSocketOptions,
  ) {
    const groups = FLOW_EVENTS | (options.expectations === true ? EXPECT_EVENTS : 0);
    this.socket = new NetlinkSocket("can't open the event socket", groups);
    const { bufferSize, bufferMax } = options;
    if (bufferSize !== undefined && bufferSize <= bufferMax) this.socket.receiveBuffer(bufferSize);
    this.bufferSize = getOption(this.socket.fd, SOL_SOCKET, SO_RCVBUF);
    if (options.reliable) {
      this.socket.option(NETLINK_BROADCAST_ERROR, 1);
      this.socket.option(NETLINK_NO_ENOBUFS, 1);
    }
  }

  get fd(): number {
    return this.socket.fd;
  }

  /** Reads what is queued, up to one batch; returns the number of datagrams. Never blocks. */
  receive(batch: EventBatch, most = batch.count): number {
    for (;;) {
      const count = recvmmsg(
        this.socket.fd,
        this.base + batch.headers,
        Math.min(most, batch.count),
        MSG_DONTWAIT,
        0,
      );
      if (count >= 0) return count;
      const reason = errno();
      if (reason === EAGAIN || reason === EINTR) return 0;
      if (reason !== ENOBUFS) {
        this.failures++;
        throw new SystemCallError('recvmmsg', reason, "can't read the event socket");
      }
      this.overruns++;
    }
  }

  /**
   * Doubles the buffer after an overrun. Returns the new size, or undefined when that would exceed
   * NetlinkBufferSizeMaxGrowth.
   */
  grow(): number | undefined {
    if (this.bufferSize * 2 > this.options.bufferMax) return undefined;
    this.bufferSize = this.socket.receiveBuffer(this.bufferSize * 2);
    return this.bufferSize;
  }

  /** Has the kernel drop events (socket-filter.ts); returns 0 or the errno of its refusal. */
  filterInKernel(program: Uint8Array<ArrayBuffer>): number {
    return setSocketFilter(this.socket.fd, program);
  }

  /**
   * Hears of new flows, as from the start, or no longer: then the kernel does not even write those
   * events. Updates and ends are heard as ever; what was missed, a comparison with the table finds.
   */
  hearNew(listening: boolean): void {
    const membership = listening ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP;
    this.socket.option(membership, NFNLGRP_CONNTRACK_NEW);
  }

  /** Sets NetlinkBufferSizeMaxGrowth. */
  setBufferMax(bytes: number): void {
    this.options.bufferMax = bytes;
  }

  close(): void {
    this.socket.close();
  }
}
