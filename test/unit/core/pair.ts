// Two nodes joined by a dedicated link that loses, doubles and reorders datagrams as told. Each is
// the daemon's own Replication over its own arena; only the socket, the kernel and the clock are
// made up. Everything is seeded, so a failure repeats.

import * as L from '../../../assembly/layout.js';
import type { MessageVector } from '../../../src/cache/arena.js';
import { LocalShards } from '../../../src/cache/shards.js';
import type { Core } from '../../../src/cache/wasm.js';
import type { UdpLink } from '../../../src/channel/udp.js';
import { Digests } from '../../../src/sync/digests.js';
import { Replication, type ReplicationOptions } from '../../../src/sync/replication.js';
import { CAPABILITY } from '../../../src/sync/tail.js';
import { toHex } from '../../wasm.js';
import { EXTERNAL, INTERNAL, type Limits, TestNode } from './arena.js';
import { nameOfFlow } from './spoken.js';

export interface Weather {
  /** Chances, 0 to 1, for each datagram. */
  loss: number;
  twice: number;
  /** Most turns a datagram is late; 0 keeps the order. */
  late: number;
}

export const CLEAN: Weather = { loss: 0, twice: 0, late: 0 };
export const DOWN: Weather = { loss: 1, twice: 0, late: 0 };

interface Flight {
  due: number;
  datagram: Uint8Array;
}

/** One direction of the link, as the receiving socket. */
class Direction {
  weather = CLEAN;
  readonly seen: Uint8Array[] = [];
  private flights: Flight[] = [];

  constructor(private readonly next: (below: number) => number) {}

  put(turn: number, datagram: Uint8Array): void {
    this.seen.push(datagram);
    const chance = () => this.next(1_000_000) / 1_000_000;
    const copies = chance() < this.weather.twice ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (chance() < this.weather.loss) continue;
      const late = this.weather.late > 0 ? this.next(this.weather.late + 1) : 0;
      this.flights.push({ due: turn + late, datagram });
    }
  }

  take(turn: number, most: number): Uint8Array[] {
    const due = this.flights.filter((flight) => flight.due < turn).slice(0, most);
    this.flights = this.flights.filter((flight) => !due.includes(flight));
    return due.map(({ datagram }) => datagram);
  }

  clear(): void {
    this.flights = [];
  }
}

/** What UdpLink is to Replication, without a socket. */
class SimulatedLink {
  packetsSent = 0;

  constructor(
    private readonly node: TestNode,
    private readonly out: Direction,
    private readonly into: Direction,
    private readonly turn: () => number,
  ) {}

  send(from: number, to: number): number {
    const { node } = this;
    for (let i = from; i < to; i++) {
      const iovec = node.get(node.arena.outgoing.headers + i * L.MMSG_SIZE + L.MMSG_IOV);
      const address = node.get(iovec);
      this.out.put(this.turn(), node.bytes.slice(address, address + node.get(iovec + 8)));
      this.packetsSent++;
    }
    return to;
  }

  receive(vector: MessageVector): number {
    const datagrams = this.into.take(this.turn(), vector.count);
    datagrams.forEach((datagram, i) => {
      this.node.bytes.set(datagram, vector.slots + i * vector.slotSize);
      this.node.set(vector.headers + i * L.MMSG_SIZE + L.MMSG_LEN, datagram.length);
      this.node.set(vector.headers + i * L.MMSG_SIZE + L.MMSG_FLAGS, 0);
    });
    return datagrams.length;
  }
}

export class Peer {
  readonly node: TestNode;
  readonly replication: Replication;
  readonly digests: Digests | undefined;
  /** What the comparison of tables told the operator. */
  readonly notices: string[] = [];
  starts = 0;

  constructor(limits: Limits, out: Direction, into: Direction, turn: () => number) {
    this.node = new TestNode(limits);
    const { arena } = this.node;
    const core = this.node.fn as unknown as Core;
    const link = new SimulatedLink(this.node, out, into, turn);
    const shards = new LocalShards(arena, core);
    this.replication = new Replication(
      ...([arena, 0, core, shards, link as unknown as UdpLink] as const),
      {
        ...(limits.compare ? this.comparing() : {}),
        startupResync: false,
        onResyncRequest: () => this.replication.sendBulk(),
        onPeerStart: () => {
          this.starts++;
        },
      },
    );
    if (!limits.compare) return;
    const notice = (_: string, text: string): number => this.notices.push(text);
    this.digests = new Digests({ arena, shards, replication: this.replication, notice });
    this.digests.complete = true;
  }

  private comparing(): Partial<ReplicationOptions> {
    return {
      capabilities: CAPABILITY.DIGESTS,
      beaconParts: () => this.digests!.beaconParts(this.replication.lastReceived),
      onTail: (peer, tail, now) => this.digests!.hear(peer, tail, now),
    };
  }

  /** Entries of the resend queue that speak of flows. */
  heldFlows(): number {
    const { sender } = this.node.arena;
    const ring = this.node.get(sender + L.SENDER_RING);
    const entries = this.node.words(ring, this.node.get(sender + L.SENDER_MASK) + 1);
    return entries.filter((entry) => entry !== 0 && !(entry & L.ENTRY_CONTROL)).length;
  }

  held(): number {
    return this.node.get(this.node.arena.sender + L.SENDER_HELD);
  }

  dead(): number {
    return this.node.get(this.node.table(INTERNAL) + L.TABLE_DEAD);
  }

  saysHello(): boolean {
    return this.node.get(this.node.arena.sender + L.SENDER_FLAGS) !== 0;
  }

  /** The living flows of a cache, each as the message that would tell a peer all about it. */
  flows(kind: number): Map<string, string> {
    const { node } = this;
    const { fn, flow, arena } = node;
    const list = new Map<string, string>();
    for (const record of node.records(kind)) {
      if (node.state(record) === L.OBJECT_DEAD) continue;
      fn.unpackFlow!(record, flow);
      if (kind === INTERNAL) fn.natFromReply!(flow);
      const length = fn.encodeSync!(flow, arena.control, 1000, 0, 0);
      if (length <= 0) throw new Error(`a flow that does not encode: ${length}`);
      const l4 = node.bytes[flow + L.FLOW_ORIG + L.TUPLE_L4];
      const key = `${l4} ${nameOfFlow(node, flow)}`;
      list.set(key, toHex(node.bytes.slice(arena.control + 8, arena.control + length)));
    }
    return list;
  }
}

export class Pair {
  now = 5000;
  turn = 0;
  a: Peer;
  b: Peer;
  readonly toB: Direction;
  readonly toA: Direction;

  constructor(
    readonly next: (below: number) => number,
    readonly limits: { a?: Limits; b?: Limits } = {},
  ) {
    this.toB = new Direction(next);
    this.toA = new Direction(next);
    this.a = this.startA();
    this.b = this.startB();
  }

  private startA(): Peer {
    return new Peer(this.limits.a ?? {}, this.toB, this.toA, () => this.turn);
  }

  private startB(): Peer {
    return new Peer(this.limits.b ?? {}, this.toA, this.toB, () => this.turn);
  }

  restartA(limits: Limits = {}): void {
    this.limits.a = { ...this.limits.a, ...limits };
    this.a = this.startA();
    this.toA.clear();
  }

  restartB(limits: Limits = {}): void {
    this.limits.b = { ...this.limits.b, ...limits };
    this.b = this.startB();
    this.toB.clear();
  }

  weather(toB: Weather, toA: Weather = toB): void {
    this.toB.weather = toB;
    this.toA.weather = toA;
  }

  /** The same with promises: what shards answer is heard between the turns. */
  async runOn(turns: number, each: (turn: number) => void = () => {}): Promise<void> {
    for (let i = 0; i < turns; i++) {
      this.run(1, () => each(i));
      await Promise.resolve();
      await Promise.resolve();
    }
  }

  /** Turns of 100 ms: each node reads, does its duties and sends. */
  run(turns: number, each: (turn: number) => void = () => {}): void {
    for (let i = 0; i < turns; i++) {
      this.turn++;
      this.now += 100;
      each(i);
      for (const peer of [this.a, this.b]) {
        peer.node.now = Math.floor(this.now / 1000);
        peer.digests?.turn(this.now);
        while (peer.replication.receive(this.now) > 0);
        peer.replication.tick(this.now);
        for (let j = 0; peer.replication.transmit(this.now); j++) {
          if (j > 1000) throw new Error('a transmission that never ends');
        }
      }
    }
  }

  /** Until both have heard each other. */
  greet(): void {
    for (let i = 0; i < 100 && (this.a.saysHello() || this.b.saysHello()); i++) this.run(1);
    if (this.a.saysHello() || this.b.saysHello()) throw new Error('they never met');
    this.run(20);
  }
}

export const internal = (peer: Peer) => peer.flows(INTERNAL);
export const external = (peer: Peer) => peer.flows(EXTERNAL);
