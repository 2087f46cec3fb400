// Several nodes in a multicast group: what one sends, every other receives, each over a way of its
// own that loses, doubles and reorders as told. Each node is the daemon's own Replication over its
// own arena, as in pair.ts; the kernel's part, telling who sent a datagram, is made up.

import * as L from '../../../assembly/layout.js';
import type { MessageVector } from '../../../src/cache/arena.js';
import { LocalShards } from '../../../src/cache/shards.js';
import type { Core } from '../../../src/cache/wasm.js';
import { Digests } from '../../../src/sync/digests.js';
import { Replication, type SyncLink } from '../../../src/sync/replication.js';
import { CAPABILITY } from '../../../src/sync/tail.js';
import { EXTERNAL, INTERNAL, type Limits, TestNode } from './arena.js';
import { CLEAN, type Weather } from './pair.js';
import { nameOfFlow } from './spoken.js';

export interface Sent {
  /** Last byte of the sender's IPv4 address. */
  host: number;
  /** Number of the link. */
  link: number;
  datagram: Uint8Array;
}

export class Member implements SyncLink {
  readonly node: TestNode;
  readonly replication: Replication;
  /** With `compare` in the limits. */
  readonly digests: Digests | undefined;
  /** What the comparison of tables told the operator. */
  readonly notices: string[] = [];
  readonly inbox: (Sent & { due: number })[] = [];
  readonly seen: Uint8Array[] = [];
  weather = CLEAN;
  packetsSent = 0;
  lastRead = 0;
  /** The link that it sends on. */
  link = 0;
  bulks = 0;
  abandoned: string[] = [];

  constructor(
    private readonly group: Group,
    readonly host: number,
    limits: Limits,
  ) {
    this.node = new TestNode({ multicast: true, ...limits });
    const { arena } = this.node;
    arena.armNames(0);
    const core = this.node.fn as unknown as Core;
    const shards = new LocalShards(arena, core);
    this.replication = new Replication(arena, 0, core, shards, this, {
      startupResync: false,
      addressOf: (index) => `host ${this.node.bytes[arena.peer(index) + L.PEER_ADDRESS + 3]}`,
      onResyncRequest: () => {
        this.bulks++;
        this.replication.sendBulk();
      },
      onPeerStart: () => {},
      onAbandon: ({ address }) => this.abandoned.push(address),
      capabilities: limits.compare ? CAPABILITY.DIGESTS : 0,
      beaconParts: () => this.digests?.beaconParts(this.replication.lastReceived) ?? [],
      onTail: (peer, tail, now) => this.digests?.hear(peer, tail, now),
      onMoved: (from, into) => this.digests?.move(from, into),
    });
    if (!limits.compare) return;
    const notice = (_: string, text: string): number => this.notices.push(text);
    this.digests = new Digests({ arena, shards, replication: this.replication, notice });
    this.digests.complete = true;
  }

  send(from: number, to: number): number {
    const { node } = this;
    for (let i = from; i < to; i++) {
      const iovec = node.get(node.arena.outgoing.headers + i * L.MMSG_SIZE + L.MMSG_IOV);
      const address = node.get(iovec);
      const datagram = node.bytes.slice(address, address + node.get(iovec + 8));
      this.seen.push(datagram);
      this.group.carry({ host: this.host, link: this.link, datagram });
      this.packetsSent++;
    }
    return to;
  }

  /** As recvmmsg on one socket: datagrams of one link, with the names of their senders. */
  receive(vector: MessageVector): number {
    const due = this.inbox.filter((flight) => flight.due < this.group.turn);
    const link = due[0]?.link ?? 0;
    const taken = due.filter((flight) => flight.link === link).slice(0, vector.count);
    this.lastRead = link;
    taken.forEach((flight, i) => {
      this.inbox.splice(this.inbox.indexOf(flight), 1);
      const { node } = this;
      const header = vector.headers + i * L.MMSG_SIZE;
      node.bytes.set(flight.datagram, vector.slots + i * vector.slotSize);
      node.set(header + L.MMSG_LEN, flight.datagram.length);
      node.set(header + L.MMSG_FLAGS, 0);
      const name = node.get(header + L.MMSG_NAME);
      // struct sockaddr_in: AF_INET, a port that changes, 192.168.100 + link.host
      node.bytes.set([2, 0, 0x80, i & 255, 192, 168, 100 + link, flight.host], name);
      node.set(header + L.MMSG_NAMELEN, 16);
    });
    return taken.length;
  }

  flows(kind: number): Map<string, string> {
    const { node } = this;
    const list = new Map<string, string>();
    for (const record of node.records(kind)) {
      if (node.state(record) === L.OBJECT_DEAD) continue;
      node.fn.unpackFlow!(record, node.flow);
      const flow = node.flow;
      const mark = node.get(flow + L.FLOW_MARK);
      list.set(nameOfFlow(node, flow), `${mark}`);
    }
    return list;
  }

  get internal(): Map<string, string> {
    return this.flows(INTERNAL);
  }

  get external(): Map<string, string> {
    return this.flows(EXTERNAL);
  }

  count(offset: number): number {
    return this.node.count(this.node.arena.receiver + offset);
  }
}

export class Group {
  now = 5000;
  turn = 0;
  readonly members: Member[] = [];
  /** Hosts whose datagrams nobody gets, and who get none. */
  readonly cut = new Set<number>();

  constructor(
    private readonly next: (below: number) => number,
    hosts: number,
    private readonly limits: Limits,
  ) {
    for (let host = 1; host <= hosts; host++) this.start(host);
  }

  /** Starts or restarts a node. */
  start(host: number, limits: Limits = {}): Member {
    const firstSequence = (1000 + host * 1_000_000_000 + this.turn * 100_000) >>> 0;
    const member = new Member(this, host, { firstSequence, ...this.limits, ...limits });
    this.members[host - 1] = member;
    return member;
  }

  carry(sent: Sent): void {
    if (this.cut.has(sent.host)) return;
    for (const to of this.members) {
      if (to.host === sent.host || this.cut.has(to.host)) continue;
      const chance = () => this.next(1_000_000) / 1_000_000;
      const copies = chance() < to.weather.twice ? 2 : 1;
      for (let i = 0; i < copies; i++) {
        if (chance() < to.weather.loss) continue;
        const late = to.weather.late > 0 ? this.next(to.weather.late + 1) : 0;
        to.inbox.push({ ...sent, due: this.turn + late });
      }
    }
  }

  weather(weather: Weather): void {
    for (const member of this.members) member.weather = weather;
  }

  /** The same with promises: what shards answer is heard between the turns. */
  async runOn(turns: number, each: (turn: number) => void = () => {}): Promise<void> {
    for (let i = 0; i < turns; i++) {
      this.run(1, () => each(i));
      await Promise.resolve();
      await Promise.resolve();
    }
  }

  /** Turns of 100 ms. */
  run(turns: number, each: (turn: number) => void = () => {}): void {
    for (let i = 0; i < turns; i++) {
      this.turn++;
      this.now += 100;
      each(i);
      for (const { node, replication, digests } of this.members) {
        node.now = Math.floor(this.now / 1000);
        digests?.turn(this.now);
        while (replication.receive(this.now) > 0);
        replication.tick(this.now);
        for (let j = 0; replication.transmit(this.now); j++) {
          if (j > 1000) throw new Error('a transmission that never ends');
        }
      }
    }
  }

  /** Until nobody says HELLO any more. */
  greet(): void {
    for (let i = 0; i < 100; i++) {
      const saying = this.members.some(
        ({ node }) => node.get(node.arena.sender + L.SENDER_FLAGS) !== 0,
      );
      if (!saying) break;
      this.run(1);
    }
    this.run(40);
  }
}
