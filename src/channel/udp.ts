// A dedicated link over UDP: one socket bound to our address to receive on, a second one, connected
// to the peer, to send from. Both work on many datagrams a call, straight from and into the shared
// memory, and never block: what the kernel does not take now stays with the caller.
//
// The link's interface gives the datagram size (its MTU), the scope of link-local addresses, and the
// device both sockets are bound to, so that nothing is accepted from another network.
// udp(7), recvmmsg(2), sendmmsg(2).

import * as L from '../../assembly/layout.js';
import type { Arena, MessageVector } from '../cache/arena.js';
import type { Link } from '../config/index.js';
import type { InterfaceInfo } from '../kernel/links.js';
import {
  AF_INET,
  AF_INET6,
  bind,
  close,
  connect,
  EAGAIN,
  ECONNREFUSED,
  EINTR,
  ENOBUFS,
  errno,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  recvmmsg,
  SO_BINDTODEVICE,
  SO_NO_CHECK,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  sendmmsg,
  setBuffer,
  setOption,
  setOptionBytes,
  socket,
} from '../kernel/syscalls.js';
import { socketAddress } from './address.js';

/** IP and UDP headers: what the MTU holds besides our payload. */
const OVERHEAD = { 4: 28, 6: 48 } as const;
const LARGEST_PAYLOAD = 65507;

/** Most payload bytes of one datagram on an interface of this MTU; a whole number of words. */
export function payloadMax(family: 4 | 6, mtu: number): number {
  return Math.min(mtu - OVERHEAD[family], LARGEST_PAYLOAD) & ~3;
}

export class UdpLink {
  readonly kind = 'udp';
  readonly device: string;
  readonly receiver: number;
  private readonly sender: number;
  bytesSent = 0;
  packetsSent = 0;
  sendErrors = 0;
  bytesReceived = 0;
  packetsReceived = 0;
  receiveErrors = 0;

  /** Opens both sockets. Throws SystemCallError with the C daemon's words when it cannot. */
  constructor(
    private readonly arena: Arena,
    private readonly base: number,
    link: Link,
    readonly info: InterfaceInfo,
  ) {
    this.device = link.interface ?? '';
    const domain = link.family === 4 ? AF_INET : AF_INET6;
    const scope = link.family === 6 ? info.index : 0;
    const what = "can't open channel socket";
    this.receiver = socket(domain, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    this.sender = socket(domain, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    try {
      setOption(this.receiver, SOL_SOCKET, SO_REUSEADDR, 1);
      if (link.rcvSocketBuffer) setBuffer(this.receiver, 'receive', link.rcvSocketBuffer * 2);
      bind(this.receiver, socketAddress(link.family, link.address.bytes, link.port, scope), what);
      if (!link.checksum) setOption(this.sender, SOL_SOCKET, SO_NO_CHECK, 1);
      if (link.sndSocketBuffer) setBuffer(this.sender, 'send', link.sndSocketBuffer * 2);
      for (const fd of [this.receiver, this.sender]) this.bindToDevice(fd);
      const peer = socketAddress(link.family, link.destination.bytes, link.port, scope);
      connect(this.sender, peer, what);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Reads up to one vector of datagrams; returns how many. */
  receive(vector: MessageVector): number {
    const count = recvmmsg(
      this.receiver,
      this.base + vector.headers,
      vector.count,
      MSG_DONTWAIT,
      0,
    );
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

  /**
   * Sends outgoing headers `from` … `to` - 1. Returns the first one that the kernel did not take
   * because its buffer is full; a datagram that it refuses for another reason is counted and lost.
   */
  send(from: number, to: number): number {
    const { headers } = this.arena.outgoing;
    let next = from;
    let refused = false;
    while (next < to) {
      const at = this.base + headers + next * L.MMSG_SIZE;
      const sent = sendmmsg(this.sender, at, to - next, MSG_DONTWAIT | MSG_NOSIGNAL);
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
      refused = reason === ECONNREFUSED && !refused;
    }
    return next;
  }

  /** The descriptor to wait on when the send buffer is full. */
  get sendFd(): number {
    return this.sender;
  }

  close(): void {
    close(this.receiver);
    close(this.sender);
  }

  /** Best effort: without the capability the address alone keeps strangers out. */
  private bindToDevice(fd: number): void {
    const name = new TextEncoder().encode(`${this.device}\0`);
    setOptionBytes(fd, SOL_SOCKET, SO_BINDTODEVICE, name);
  }
}
