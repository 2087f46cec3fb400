// A dedicated link over TCP. Each node is server and client: it sends on the connection that it
// opened and receives on the one that it accepted, so a pair of nodes has two connections, each used
// in one direction.
//
//          our client ──── our messages ────▶ peer's server
//          our server ◀─── its messages ───── peer's client
//
//   client:  down ── connect(2), once a second ──▶ connecting ──▶ up ── error, end ──▶ down
//   server:  a new connection replaces the one before, which is most likely a dead one
//
// A stream that loses its framing cannot be mended: it is closed and the peer connects again. Bytes
// that went down with a connection are repaired by FTFW; in the other modes they are lost. Memory
// (backlog, carry) lies in the arena; main owns it all; nothing blocks. tcp(7), socket(7).

import * as L from '../../assembly/layout.js';
import type { Arena, MessageVector } from '../cache/arena.js';
import type { Link } from '../config/index.js';
import type { InterfaceInfo } from '../kernel/links.js';
import {
  accept,
  bind,
  close,
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  EINPROGRESS,
  EINTR,
  EISCONN,
  ENOBUFS,
  errno,
  listen,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  POLLIN,
  POLLOUT,
  recv,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_REUSEADDR,
  SOL_SOCKET,
  send,
  sendmmsg,
  setOption,
  setOptionBytes,
  tryConnect,
} from '../kernel/syscalls.js';
import { socketAddress } from './address.js';
import type { Backlog } from './backlog.js';
import type { DedicatedLink, Watch } from './link.js';
import { closeOnFailure, openFailed, receiveBuffer, sendBuffer, streamSocket } from './sockets.js';
import { BROKEN, type StreamReader } from './stream.js';

// linux/tcp.h
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;

/** ms between two attempts to connect. */
const RECONNECT = 1000;
/** ms an attempt may take: the kernel itself would wait for minutes between two of its tries. */
const PATIENCE = 3000;
/** ms that sent bytes may stay unacknowledged; likewise. */
const UNACKNOWLEDGED = 5000;
const NONE = -1;
/** Waits, and how they end, that are no failure of a connection. */
const PENDING: ReadonlySet<number> = new Set([EINPROGRESS, EALREADY, EAGAIN, EINTR]);

export interface TcpParts {
  arena: Arena;
  base: number;
  backlog: Backlog;
  reader: StreamReader;
  /** What an operator should know: connections that come and go. */
  report: (level: 'info' | 'warning', text: string) => void;
}

export class TcpLink implements DedicatedLink {
  readonly kind = 'tcp';
  readonly device: string;
  bytesSent = 0;
  packetsSent = 0;
  sendErrors = 0;
  bytesReceived = 0;
  packetsReceived = 0;
  receiveErrors = 0;
  private readonly listener: number;
  private readonly peer: Uint8Array;
  private server = NONE;
  private client = NONE;
  private connecting = false;
  /** The first datagram of the backlog left on our connection in part. */
  private partial = false;
  private attemptedAt = 0;
  /** accept(2) failed for want of descriptors: not watched until then. */
  private deafUntil = 0;

  /**
   * Listens and begins to connect. Throws SystemCallError when it cannot listen; a peer that is not
   * there, or a way to it that does not exist yet, is no failure.
   */
  constructor(
    private readonly parts: TcpParts,
    private readonly link: Link,
    readonly info: InterfaceInfo,
  ) {
    this.device = link.interface ?? '';
    const scope = link.family === 6 ? info.index : 0;
    this.peer = socketAddress(link.family, link.destination.bytes, link.port, scope);
    this.listener = streamSocket(link);
    closeOnFailure([this.listener], () => {
      setOption(this.listener, SOL_SOCKET, SO_REUSEADDR, 1);
      receiveBuffer(this.listener, link); // connections inherit it
      const own = socketAddress(link.family, link.address.bytes, link.port, scope);
      bind(this.listener, own, openFailed(link));
      listen(this.listener, 1, openFailed(link));
    });
    this.connect(performance.now());
  }

  get serverConnected(): boolean {
    return this.server !== NONE;
  }

  get clientConnected(): boolean {
    return this.client !== NONE && !this.connecting;
  }

  get ready(): boolean {
    return this.clientConnected && this.parts.backlog.elements === 0;
  }

  watch(add: Watch, sending: boolean): void {
    if (performance.now() >= this.deafUntil) add(this.listener, POLLIN);
    if (this.server !== NONE) add(this.server, POLLIN);
    if (this.client === NONE) return;
    const room = this.connecting || sending || this.partial;
    add(this.client, POLLIN | (room ? POLLOUT : 0));
  }

  // ---------------------------------------------------------------------------------- receiving

  receive(vector: MessageVector): number {
    if (this.server === NONE) return 0;
    const { slots, end } = this.parts.reader.fill(vector, this.read);
    if (end !== undefined) {
      if (end === BROKEN) {
        this.receiveErrors++;
        this.report('warning', 'what the peer sends is no message: its connection is closed');
      }
      this.dropServer();
    }
    return slots;
  }

  private readonly read = (address: number, room: number): number => {
    const count = recv(this.server, this.parts.base + address, room, MSG_DONTWAIT);
    if (count > 0) {
      this.bytesReceived += count;
      this.packetsReceived++;
      return count;
    }
    if (count < 0) {
      const reason = errno();
      if (PENDING.has(reason)) return -1;
      this.receiveErrors++;
    }
    return 0;
  };

  /** Takes the newest connection that waits. */
  private welcome(now: number): void {
    for (;;) {
      const fd = accept(this.listener);
      if (fd < 0) {
        const reason = errno();
        if (reason === ECONNABORTED || reason === EINTR) continue;
        if (reason !== EAGAIN) this.deafUntil = now + RECONNECT;
        return;
      }
      this.dropServer();
      this.server = fd;
      this.parts.reader.reset();
      setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
      setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 5); // s
      setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 2); // s
      setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
      this.report('info', 'the peer has connected');
    }
  }

  private dropServer(): void {
    if (this.server === NONE) return;
    close(this.server);
    this.server = NONE;
  }

  // ------------------------------------------------------------------------------------ sending

  send(from: number, to: number): number {
    const { arena, base, backlog } = this.parts;
    const { headers } = arena.outgoing;
    let next = from;
    while (next < to) {
      if (!this.clientConnected) return this.keep(next, to);
      if (!this.drain()) {
        if (this.clientConnected) return next;
        continue;
      }
      const at = base + headers + next * L.MMSG_SIZE;
      const sent = sendmmsg(this.client, at, to - next, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent <= 0) {
        if (this.isFull(errno())) return next;
        continue;
      }
      // The kernel stops behind a datagram that it took in part: only the last one can be short.
      for (let i = next; i < next + sent; i++) {
        this.bytesSent += arena.get(headers + i * L.MMSG_SIZE + L.MMSG_LEN);
      }
      this.packetsSent += sent;
      next += sent;
      const written = arena.get(headers + (next - 1) * L.MMSG_SIZE + L.MMSG_LEN);
      const length = arena.outgoingLength(next - 1);
      if (written < length) {
        backlog.push(arena.outgoingAddress(next - 1, base), length, written);
        this.partial = true;
      }
    }
    return next;
  }

  /** Without a connection: into the backlog. */
  private keep(from: number, to: number): number {
    const { arena, base, backlog } = this.parts;
    const before = backlog.dropped;
    for (let i = from; i < to; i++) {
      backlog.push(arena.outgoingAddress(i, base), arena.outgoingLength(i));
    }
    this.sendErrors += backlog.dropped - before;
    return to;
  }

  /** Sends the backlog; true when nothing is left of it. */
  private drain(): boolean {
    const { base, backlog } = this.parts;
    while (backlog.elements > 0) {
      const { address, length } = backlog;
      const sent = send(this.client, base + address, length, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent <= 0) {
        if (this.isFull(errno()) || !this.clientConnected) return false;
        continue;
      }
      if (backlog.written === 0) this.packetsSent++;
      this.bytesSent += sent;
      backlog.advance(sent);
      this.partial = backlog.written > 0;
    }
    return true;
  }

  /** After a send that failed: true when there is no room now; a dead connection is taken down. */
  private isFull(reason: number): boolean {
    if (reason === EAGAIN || reason === ENOBUFS) return true;
    if (reason !== EINTR) {
      this.sendErrors++;
      this.disconnect();
    }
    return false;
  }

  // ----------------------------------------------------------------------------------- the client

  tend(now: number, current: boolean): void {
    if (now >= this.deafUntil) this.welcome(now);
    if (this.client === NONE) {
      if (now - this.attemptedAt >= RECONNECT) this.connect(now);
    } else if (this.connecting) {
      this.connected(now);
    } else {
      this.listenForEnd();
    }
    if (current && this.clientConnected) this.drain();
  }

  private connect(now: number): void {
    this.attemptedAt = now;
    try {
      this.client = streamSocket(this.link);
    } catch {
      return; // no descriptor left: another time
    }
    sendBuffer(this.client, this.link);
    setOption(this.client, IPPROTO_TCP, TCP_NODELAY, 1);
    setOption(this.client, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED);
    this.connecting = true;
    this.connected(now);
  }

  /** Asks how the connection is getting on. */
  private connected(now: number): void {
    const reason = tryConnect(this.client, this.peer);
    if (reason === 0 || reason === EISCONN) {
      this.connecting = false;
      this.report('info', 'connected to the peer');
    } else if (!PENDING.has(reason) || now - this.attemptedAt >= PATIENCE) {
      this.disconnect();
    }
  }

  /** Nothing ever comes back on this connection but its end. */
  private listenForEnd(): void {
    const { arena, base } = this.parts;
    const count = recv(this.client, base + arena.scratch, 64, MSG_DONTWAIT);
    if (count > 0 || (count < 0 && PENDING.has(errno()))) return;
    this.report('info', 'the connection to the peer is closed');
    this.disconnect();
  }

  private disconnect(): void {
    if (this.client !== NONE) close(this.client);
    this.client = NONE;
    this.connecting = false;
    if (this.partial) this.parts.backlog.rewind();
    this.partial = false;
  }

  /**
   * What a dead link still holds must not come out when it revives: other links have told newer
   * things by then. A message sent in part cannot be finished elsewhere either. So the connection is
   * reset, which discards what the kernel holds, and made anew.
   */
  leave(dead: boolean): void {
    if (this.client === NONE || this.connecting) return;
    if (!dead && !this.partial) return;
    const immediately = new Uint8Array(new Int32Array([1, 0]).buffer); // struct linger
    setOptionBytes(this.client, SOL_SOCKET, SO_LINGER, immediately);
    this.disconnect();
  }

  close(): void {
    this.dropServer();
    this.disconnect();
    close(this.listener);
  }

  private report(level: 'info' | 'warning', text: string): void {
    this.parts.report(level, `TCP link over \`${this.device}': ${text}`);
  }
}
