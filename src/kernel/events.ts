// The event socket: the kernel's NEW, UPDATE and DESTROY events, read many at a time straight into
// the shared memory. One recvmmsg takes up to 256 datagrams; no JavaScript object is made per event.
//
// Every queued event occupies 1280 bytes of the receive buffer. When the buffer is full the kernel
// drops events and says so once (ENOBUFS), before the ones it still holds: read on, make the buffer
// larger, and compare with the kernel's table later.

import type { EventBatch } from '../cache/arena.js';
import { FLOW_EVENTS, NetlinkSocket } from './netlink.js';
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
} from './syscalls.js';

const NETLINK_BROADCAST_ERROR = 4;
const NETLINK_NO_ENOBUFS = 5;

export interface EventSocketOptions {
  /** Bytes as the kernel reports them; undefined keeps the system's default. */
  bufferSize?: number | undefined;
  /** Largest buffer that growth may reach; 0: no growth. */
  bufferMax: number;
  /** The kernel keeps a DESTROY until it could be delivered, and reports no overrun. */
  reliable: boolean;
}

export class EventSocket {
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
    this.socket = new NetlinkSocket("can't open the event socket", FLOW_EVENTS);
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
  receive(batch: EventBatch): number {
    for (;;) {
      const count = recvmmsg(
        this.socket.fd,
        this.base + batch.headers,
        batch.count,
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

  close(): void {
    this.socket.close();
  }
}
