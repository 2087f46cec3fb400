// Replication: between the shards and the dedicated link. Outwards it takes the datagrams that the
// shards filled, numbers their messages and sends them; inwards it checks sequence numbers and gives
// the flow messages to the shards. In FTFW it also acknowledges, asks again for what is missing, and
// lets what the peer missed speak again. docs/wire-protocol.md tells the protocol.
//
//   link ─▶ receive ─▶ delivery.ts ─▶ shards        shards ─▶ transmit ─▶ link
//              └─▶ act ─▶ members.ts (who speaks), hello.ts, resend.ts      ▲
//                              └─▶ controls.ts (ACK, NACK, ALIVE, …) ───────┤
//                                                     pace.ts (bulk sends) ─┘
//
// Runs on main, owns the sender and receiver state in the arena. Nothing blocks: datagrams that the
// link does not take now stay in their slots, and no new ones are made until they are gone.

import { randomBytes } from 'node:crypto';
import * as L from '../../assembly/layout.js';
import type { Arena, MessageVector } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import type { Core } from '../cache/wasm.js';
import { Controls } from './controls.js';
import { Delivery } from './delivery.js';
import { FLAG } from './flags.js';
import { Hello } from './hello.js';
import { Members } from './members.js';
import { BULK_DATAGRAMS, Pace, waitingMessages } from './pace.js';
import type { Peer, Peers } from './peers.js';
import { Resend } from './resend.js';
import {
  CAPABILITY,
  capabilitiesPart,
  type Holdings,
  holdingsPart,
  type Identity,
  identityPart,
  modePart,
  type Part,
  programPart,
  type Tail,
  tailOf,
} from './tail.js';

/** Datagrams per turn, so that a peer who is slow to take them starves nobody here. */
const TURN_DATAGRAMS = 1024;
/** ms between two acknowledgements that somebody asked for. */
const ASK_PAUSE = 50;
const TICK = 1000; // ms

/** What replication needs of the dedicated links: see src/channel/link.ts. */
export interface SyncLink {
  readonly packetsSent: number;
  /** Number of the link that was read last. */
  readonly lastRead?: number;
  receive(vector: MessageVector): number;
  send(from: number, to: number): number;
}

export interface ReplicationOptions {
  /** Ask the peer for everything as the first message. */
  startupResync: boolean;
  /** The peer asked for our flows. */
  onResyncRequest: () => void;
  /** The peer (re)started. */
  onPeerStart: () => void;
  /** Carries out the flow messages listed, before their slots are used again. Left out: cached. */
  inject?: ((list: number, count: number) => void) | undefined;
  /** The same for messages of expectations, which are cached besides. */
  injectExpectations?: ((list: number, count: number) => void) | undefined;
  /** Who this node is to others of ours; left out: made up. */
  identity?: Identity;
  /** The program's version, for the peers. */
  program?: string;
  /** CAPABILITY bits of this node. */
  capabilities?: number;
  /** What the beacon of each second tells besides; `room` bytes are left for it. */
  beaconParts?: (room: number) => readonly Part[];
  /** A tail arrived: parts of other stations may be in it. */
  onTail?: (peer: Peer, tail: Tail, now: number) => void;
  /** Address of the node in a place of the receiver's list, for an operator. */
  addressOf?: (index: number) => string;
  /** Messages of what was just received were accepted: the peer is alive and heard. */
  onHeard?: (now: number) => void;
  /** Flows that the peer in place `from` spoke of are those of `into`; undefined: of nobody. */
  onMoved?: (from: number, into: number | undefined) => void;
  /** Nobody waits for the peer's acknowledgements any more. */
  onAbandon?: (peer: Peer) => void;
}

export class Replication {
  readonly identity: Identity;
  private readonly members: Members;
  private readonly controls: Controls;
  private readonly resend: Resend;
  private readonly hello: Hello;
  private readonly pace: Pace;
  private readonly delivery: Delivery;
  private readonly tracked: boolean;
  /** A multicast group: peers have numbers and acknowledgements of their own. */
  private readonly group: boolean;
  private readonly silent: boolean;
  /** Outgoing headers that are armed: from … to - 1. */
  private from = 0;
  private to = 0;
  /** Shard whose slots the armed headers point at; -1: the control datagram. */
  private source = -1;
  private lastAsked = 0;
  private lastTick = 0;
  /** True while a bulk send waits for the peer. */
  bulkWaits = false;
  /** True while the link's buffer is full. */
  blocked = false;
  sendFailures = 0;

  constructor(
    private readonly arena: Arena,
    private readonly base: number,
    private readonly core: Core,
    private readonly shards: Shards,
    private readonly link: SyncLink,
    private readonly options: ReplicationOptions,
  ) {
    const mode = arena.limits.mode;
    this.tracked = mode === L.MODE_FTFW;
    this.group = arena.limits.multicast === true;
    this.silent = mode === L.MODE_ALARM; // sends no control messages at all
    this.identity = options.identity ?? newIdentity();
    const { group, identity, tracked } = this;
    /** What the beacon says that never changes. */
    const lasting = [
      identityPart(identity),
      capabilitiesPart((options.capabilities ?? 0) | CAPABILITY.ADDRESSED),
      modePart(mode),
      programPart(options.program ?? '?'),
    ];
    const { inject, injectExpectations } = options;
    this.delivery = new Delivery({ arena, core, shards, inject, injectExpectations });
    this.controls = new Controls({
      ...{ arena, core, group },
      told: () => (this.holdings ? [...lasting, holdingsPart(this.holdings)] : lasting),
      more: (room) => options.beaconParts?.(room) ?? [],
    });
    this.resend = new Resend({
      ...{ arena, core, shards },
      repeat: (slot, place) => {
        const peer = this.peers.get(place);
        this.controls.push({ flags: 0, from: 0, to: 0, again: slot, peer });
      },
    });
    this.pace = new Pace(arena, shards, tracked);
    const { controls, pace, resend } = this;
    this.members = new Members({
      ...{ arena, controls, resend, pace, identity, group, tracked },
      addressOf: (index) => options.addressOf?.(index) ?? '',
      onAbandon: (peer) => options.onAbandon?.(peer),
      onReturn: () => options.onResyncRequest(),
      onMoved: (from, into) => options.onMoved?.(from, into),
    });
    this.hello = new Hello({
      ...{ arena, controls, resend, members: this.members, node: identity.node, group },
      onPeerStart: () => options.onPeerStart(),
    });
    if (tracked) this.hello.begin();
    if (options.startupResync) this.requestResync();
  }

  get peers(): Peers {
    return this.members.peers;
  }

  /** ms (performance.now) of the last datagram received; 0 before the first. */
  get lastReceived(): number {
    return this.members.lastReceived;
  }

  /** Asks the peer to send all its flows. */
  requestResync(): void {
    if (!this.silent) this.controls.push({ flags: FLAG.RESYNC, from: 0, to: 0 });
  }

  /** Queues every living flow of the internal cache; they leave paced, in the turns that follow. */
  sendBulk(): void {
    if (this.silent) return;
    this.resend.startOver();
    this.pace.begin();
  }

  /** Takes datagrams from the link, at most one vector; returns how many there were. */
  receive(now: number): number {
    const { arena, core } = this;
    if (!this.shards.immediate) this.settleMessages();
    const count = this.link.receive(arena.link);
    if (count === 0) return 0;
    this.members.lastReceived = now;
    if (this.group) arena.set(arena.receiver + L.RECEIVER_LINK, this.link.lastRead ?? 0);
    const { headers, slots, slotSize } = arena.link;
    const accepted = arena.counter(arena.receiver + L.RECEIVER_ACCEPTED);
    let next = 0;
    while (next < count) {
      next = core.receiveBatch(arena.receiver, headers, slots, slotSize, next, count);
      this.deliver();
      this.act();
    }
    if (arena.counter(arena.receiver + L.RECEIVER_ACCEPTED) !== accepted) {
      this.members.hearSenders(now);
      this.options.onHeard?.(now);
    }
    return count;
  }

  /** Hands the listed messages to their shards. */
  private deliver(): void {
    const { arena } = this;
    const count = arena.get(arena.receiver + L.RECEIVER_FLOW_COUNT);
    const heard = this.hearTails();
    arena.set(arena.receiver + L.RECEIVER_FLOW_COUNT, 0);
    this.delivery.flows(heard, count);
    this.delivery.expectations();
  }

  /**
   * The tails of ALIVEs, each in its place among the flow messages: a digest is about the flows that
   * were told before it. Returns how many flow messages were delivered on the way.
   */
  private hearTails(): number {
    const { arena } = this;
    const count = arena.get(arena.receiver + L.RECEIVER_ACTION_COUNT);
    let at = arena.get(arena.receiver + L.RECEIVER_ACTIONS);
    let delivered = 0;
    for (let i = 0; i < count; i++, at += L.ACTION_SIZE) {
      if (arena.get(at + L.ACTION_KIND) !== L.ACTION_GOT_ALIVE) continue;
      const before = arena.get(at + L.ACTION_FROM);
      this.delivery.flows(delivered, before);
      delivered = before;
      const entry = arena.get(at + L.ACTION_PEER);
      this.hear(this.members.of(entry), arena.get(at + L.ACTION_MESSAGE), entry);
    }
    return delivered;
  }

  /** Until the shards have read what was received. Their vector is free again then. */
  settleMessages(): void {
    this.delivery.settle();
  }

  /** Does what the received messages asked for, in their order. */
  private act(): void {
    const { arena, controls, members } = this;
    const count = arena.get(arena.receiver + L.RECEIVER_ACTION_COUNT);
    arena.set(arena.receiver + L.RECEIVER_ACTION_COUNT, 0);
    let at = arena.get(arena.receiver + L.RECEIVER_ACTIONS);
    for (let i = 0; i < count; i++, at += L.ACTION_SIZE) {
      const from = arena.get(at + L.ACTION_FROM);
      const to = arena.get(at + L.ACTION_TO);
      const message = arena.get(at + L.ACTION_MESSAGE);
      const entry = arena.get(at + L.ACTION_PEER);
      let peer = members.of(entry);
      let tail: Tail | undefined;
      switch (arena.get(at + L.ACTION_KIND)) {
        case L.ACTION_SEND_ACK:
          controls.push({ flags: FLAG.ACK, from, to, peer });
          break;
        case L.ACTION_SEND_NACK:
          controls.push({ flags: FLAG.NACK, from, to, peer });
          break;
        case L.ACTION_GOT_ACK:
          tail = this.hear(peer, message, entry);
          peer = members.of(entry);
          if (!members.isForUs(peer, tail, from, to)) break;
          members.require(peer);
          members.acknowledged(peer, from, to);
          break;
        case L.ACTION_GOT_NACK:
          tail = this.hear(peer, message, entry);
          peer = members.of(entry);
          if (!members.isForUs(peer, tail, from, to)) break;
          members.require(peer);
          this.resend.missed(from, to);
          break;
        case L.ACTION_GOT_RESYNC:
          this.hear(peer, message, entry);
          this.options.onResyncRequest();
          break;
        case L.ACTION_GOT_HELLO:
          this.extend(false); // until it is known who that is
          this.hello.hear(peer, this.lastReceived);
          break;
        case L.ACTION_GOT_HELLO_BACK:
          this.hello.takeAnswer(peer, message);
          break;
      }
    }
  }

  /** Takes what stands in the tail of a message, if it has one. */
  private hear(sender: Peer, message: number, entry: number): Tail | undefined {
    const tail = tailOf(this.arena.view, message);
    if (tail === undefined) return undefined;
    const peer = this.members.owner(sender, tail, entry);
    peer.take(tail, this.lastReceived);
    if (tail.holdings !== undefined) peer.externalThen = this.flowsOf(L.TABLE_EXTERNAL);
    this.extend(this.mayExtend()); // what begins from here on is told in full
    if (tail.asks) this.answer();
    this.options.onTail?.(peer, tail, this.lastReceived);
    return tail;
  }

  /** Acknowledges now what would be acknowledged within a second, and tells what we hold. */
  private answer(): void {
    if (this.lastReceived - this.lastAsked < ASK_PAUSE) return;
    this.lastAsked = this.lastReceived;
    this.beacon();
  }

  /**
   * Sends a message of ours to our peers' stations, `parts` in its tail; never in ALARM. `peer`: the
   * only one it is meant for.
   */
  say(parts: readonly Part[], peer?: Peer): void {
    if (!this.silent) this.controls.push({ flags: FLAG.ALIVE, from: 0, to: 0, parts, peer });
  }

  /** Room that the tail of a message has for parts of its own, in bytes. */
  get tailRoom(): number {
    return this.controls.tailRoom;
  }

  /** What this node holds; undefined without an internal cache. */
  get holdings(): Holdings | undefined {
    const { arena } = this;
    if (arena.limits.shardOptions & L.SHARD_BYPASS) return undefined;
    return {
      internal: this.flowsOf(L.TABLE_INTERNAL),
      external: this.flowsOf(L.TABLE_EXTERNAL),
      unacknowledged: this.unacknowledged,
      waiting: waitingMessages(arena),
    };
  }

  /** Flow messages that no peer has acknowledged. */
  get unacknowledged(): number {
    return this.resend.unacknowledged;
  }

  /** Flow messages given up without acknowledgement since the last bulk: the peers lack them. */
  get givenUp(): bigint {
    return this.resend.givenUp;
  }

  /** Has the peer acknowledged every flow message up to number `last`? */
  hasAcknowledged(peer: Peer, last: number): boolean {
    return !this.tracked || this.resend.hasAcknowledged(peer, last, this.group);
  }

  private flowsOf(kind: number): number {
    const { arena } = this;
    return arena.sumTables(kind, L.TABLE_COUNT) - arena.sumTables(kind, L.TABLE_DEAD);
  }

  /** The once-a-second duty: acknowledge what came, or say that we live; and who we are. */
  tick(now: number): void {
    if (this.silent || now - this.lastTick < TICK) return;
    this.lastTick = now;
    this.hello.repeatUnheard(now);
    this.peers.tick(now);
    this.extend(this.mayExtend());
    if (this.group) {
      this.members.tick(now);
      this.hello.endWhenAnswered(now);
    }
    this.beacon();
  }

  /** Does everybody who hears us take attributes that no C daemon knows? */
  private mayExtend(): boolean {
    const { hello, peers } = this;
    const known = peers.all.every(({ tailAt }) => tailAt > hello.heardAt);
    return known && peers.peerSpeaks(CAPABILITY.ZONES);
  }

  private extend(extended: boolean): void {
    const { arena } = this;
    const bit = extended ? L.SHARD_EXTENDED : 0;
    for (let i = 0; i < arena.limits.shards; i++) {
      const at = arena.shard(i) + L.SHARD_OPTIONS;
      arena.set(at, (arena.get(at) & ~L.SHARD_EXTENDED) | bit);
    }
  }

  /** An ACK of what is to be acknowledged, or an ALIVE, with what this node is and holds. */
  private beacon(): void {
    const first = this.controls.count;
    if (this.tracked && this.group) {
      for (const { index } of this.peers.values())
        this.core.receiverTick(this.arena.receiver, index);
      this.act();
    } else if (this.tracked && this.core.receiverTick(this.arena.receiver, 0) === 1) {
      this.act();
    }
    if (this.controls.count === first) this.controls.push({ flags: FLAG.ALIVE, from: 0, to: 0 });
    this.controls.makeBeacon(first);
  }

  /**
   * A lone ALIVE on a link that is not in use, to learn whether the peer hears us there: it answers
   * on the link where it heard us last. In FTFW one number is left out before it, which is asked for
   * at once; there is nothing behind it. Otherwise the answer is the peer's own ALIVE within a
   * second, so we say nothing of ours meanwhile.
   */
  probe(link: SyncLink, now: number): void {
    const { arena, base, core } = this;
    if (this.silent || this.to > this.from) return; // the headers are in use: another time
    const alive = (): number => core.senderControl(arena.sender, arena.control, FLAG.ALIVE, 0, 0);
    if (this.tracked && arena.get(arena.sender + L.SENDER_ONCE) === 0) alive();
    const used = alive();
    this.resend.passOn();
    this.lastTick = now;
    arena.armOutgoing(0, base, arena.control, used);
    link.send(0, 1);
  }

  /** Sends what waits. Returns true when more is left for the next turn. */
  transmit(now: number): boolean {
    let budget = TURN_DATAGRAMS;
    this.bulkWaits = false;
    while (this.flush() && budget > 0) {
      const bulk = this.pace.running;
      this.bulkWaits = bulk && !this.pace.mayGoOn(now);
      const armed = this.armControls() || (this.bulkWaits ? 0 : this.armFlows(bulk));
      if (armed === 0) break;
      budget -= armed;
      if (bulk && this.source >= 0) this.pace.went(now);
    }
    return this.to > this.from || budget <= 0;
  }

  /** Is every change of the internal cache told, and on its way? */
  isAtRest(): boolean {
    if (this.from < this.to || !this.shards.isAtRest() || this.pace.running) return false;
    return waitingMessages(this.arena) === 0;
  }

  /** May some hundred flows be said besides, with regard to the peer's receive buffer? */
  mayAdd(now: number): boolean {
    if (this.blocked || this.pace.running || waitingMessages(this.arena) > 0) return false;
    if (!this.pace.mayGoOn(now)) return false;
    this.pace.went(now);
    return true;
  }

  /** Sends the armed datagrams; false while the link does not take them all. */
  private flush(): boolean {
    if (this.from === this.to) return true;
    this.from = this.link.send(this.from, this.to);
    this.blocked = this.from < this.to;
    if (this.blocked) return false;
    if (this.source >= 0) this.shards.releaseDatagrams(this.source);
    this.from = 0;
    this.to = 0;
    return true;
  }

  /** Arms one datagram of control messages; the number of datagrams, 0 or 1. */
  private armControls(): number {
    const { arena, controls } = this;
    if (controls.count === 0) return 0;
    const used = controls.fill();
    this.resend.passOn(); // numbering may have pushed old entries out of the resend queue
    arena.armOutgoing(0, this.base, arena.control, used);
    this.source = -1;
    this.to = 1;
    return 1;
  }

  /** Arms the datagrams of the first shard that has some; their number. */
  private armFlows(bulk: boolean): number {
    const { arena, core, shards } = this;
    for (let shard = 0; shard < shards.count; shard++) {
      const most = bulk && shards.immediate ? BULK_DATAGRAMS : arena.outgoing.count;
      const count = shards.takeDatagrams(shard, most);
      if (count === 0) continue;
      const context = arena.shard(shard);
      const size = arena.get(context + L.SHARD_OUT_SIZE);
      const handlesSize = arena.get(context + L.SHARD_HANDLES_SLOT) * 4;
      let slot = arena.get(context + L.SHARD_OUT);
      let handles = arena.get(context + L.SHARD_HANDLES);
      for (let i = 0; i < count; i++, slot += size, handles += handlesSize) {
        core.senderStamp(arena.sender, slot, handles);
        arena.armOutgoing(i, this.base, slot + L.OUT_PAYLOAD, arena.get(slot + L.OUT_LENGTH));
      }
      this.resend.passOn();
      this.source = shard;
      this.to = count;
      return count;
    }
    return 0;
  }
}

/** A number that no other life of a node has, and when this one began. */
function newIdentity(): Identity {
  return { node: randomBytes(8).readBigUInt64BE(), start: Date.now() };
}
