// What a dedicated link is to the rest of the daemon, whatever carries it: a thing that fills a
// vector with runs of whole sync messages, takes datagrams to send, and tells what to wait for.
//
// A link belongs to main. It owns its descriptors and nothing else: receive slots, outgoing headers
// and the payload they point at lie in the arena. No method ever blocks.

import type { MessageVector } from '../cache/arena.js';
import type { InterfaceInfo } from '../kernel/links.js';

export type LinkKind = 'udp' | 'multicast' | 'tcp';

/** Adds a descriptor to the set that the idle loop waits on; `events` as in poll.h. */
export type Watch = (fd: number, events: number) => void;

export interface LinkTraffic {
  readonly bytesSent: number;
  readonly packetsSent: number;
  readonly sendErrors: number;
  readonly bytesReceived: number;
  readonly packetsReceived: number;
  readonly receiveErrors: number;
}

export interface DedicatedLink extends LinkTraffic {
  readonly kind: LinkKind;
  /** The network interface it runs over, as configured. */
  readonly device: string;
  /** What is known of that interface; `status` follows the kernel's reports. */
  readonly info: InterfaceInfo;
  /** Could a datagram leave at once? False while a TCP link has no connection. */
  readonly ready: boolean;
  /** TCP only: the peer is connected to us; we are connected to the peer. */
  readonly serverConnected?: boolean;
  readonly clientConnected?: boolean;

  /** What to wait for; `sending`: datagrams wait for room on this link. */
  watch(add: Watch, sending: boolean): void;
  /** Fills slots of `vector` with runs of messages; returns how many slots. */
  receive(vector: MessageVector): number;
  /**
   * Sends outgoing headers `from` … `to` - 1. Returns the first one not taken: its turn comes when
   * there is room again. What is taken need not be sent anew by the caller.
   */
  send(from: number, to: number): number;
  /** Upkeep, once a turn. `now` in ms; `current`: this is the link that is sent on. */
  tend(now: number, current: boolean): void;
  /** Another link is sent on from now on. `dead`: what this one still holds must not arrive late. */
  leave(dead: boolean): void;
  close(): void;
}

/** Headers of IP and of what is above it: what the MTU holds besides our payload. */
const OVERHEAD = {
  udp: { 4: 28, 6: 48 },
  multicast: { 4: 28, 6: 48 },
  tcp: { 4: 40, 6: 60 },
} as const;
const LARGEST_PAYLOAD = 65507;

/** Most payload bytes of one datagram on an interface of this MTU; a whole number of words. */
export function payloadMax(kind: LinkKind, family: 4 | 6, mtu: number): number {
  return Math.min(mtu - OVERHEAD[kind][family], LARGEST_PAYLOAD) & ~3;
}
