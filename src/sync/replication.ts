// Replication: between the shards and the dedicated link. Outwards it takes the datagrams that the
// shards filled, numbers their messages and sends them; inwards it checks sequence numbers and gives
// the flow messages to the shards. In FTFW it also acknowledges, asks again for what is missing, and
// lets what the peer missed speak again. docs/wire-protocol.md tells the protocol.
//
// Runs on main, owns the sender and receiver state in the arena. Nothing blocks: datagrams that the
// link does not take now stay in their slots, and no new ones are made until they are gone.

import { randomBytes } from 'node:crypto';
import * as L from '../../assembly/layout.js';
import type { Arena, MessageVector } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import type { Core } from '../cache/wasm.js';
import { FLAG } from './flags.js';
import { type Peer, Peers } from './peers.js';
import {
  addresseesPart,
  appendTail,
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
  tailLength,
  tailOf,
} from './tail.js';

/** Datagrams of a bulk send at a time (with workers, what a worker has filled). */
const BULK_DATAGRAMS = 16;
/** Messages of a bulk send that may be unacknowledged: what a default receive buffer holds. */
const BULK_WINDOW = 2048;
/** ms: a peer that has not acknowledged by then is gone, or acknowledges in larger steps. */
const BULK_PATIENCE = 100;
/** ms between two slices of a bulk send that nobody acknowledges. */
const BULK_PAUSE = 1;
/** Datagrams per turn otherwise, so that a peer who is slow to take them starves nobody here. */
const TURN_DATAGRAMS = 1024;
/** Largest control message without its tail. */
const CONTROL_LENGTH = 16;
/** Most bytes of a datagram of control messages. */
const CONTROL_ROOM = 1400;
/** ms between two acknowledgements that somebody asked for. */
const ASK_PAUSE = 50;
/** ms that we say HELLO to those who do not answer while others have. */
const HELLO_MOST = 5000;
/** ms that a peer among several may hold up the resend queue, silent or behind. */
const HOLD_MOST = 10_000;
/** ms without a word after which one of several is forgotten. */
const FORGET = 60_000;
const TICK = 1000; // ms
/** ms from the peer's answer until what it has not acknowledged counts as lost: two of its ticks. */
const HELLO_GRACE = 2500;

interface ControlMessage {
  flags: number;
  from: number;
  to: number;
  /** Slot of a control message that is sent a second time. */
  again?: number;
  /** Whom it is meant for, in a multicast group. */
  peer?: Peer | undefined;
  /** What stands in its tail, apart from the beacon. */
  parts?: readonly Part[];
  /** Its tail tells who we are and what we hold, as of the moment it leaves. */
  beacon?: boolean;
}

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
  /** Nobody waits for the peer's acknowledgements any more. */
  onAbandon?: (peer: Peer) => void;
}

export class Replication {
  readonly peers = new Peers();
  readonly identity: Identity;
  /** What the beacon says that never changes. */
  private readonly lasting: readonly Part[];
  private lastAsked = 0;
  /** SENDER_PUSHED_OUT when the last bulk send began. */
  private pushedOut = 0n;
  private readonly controls: ControlMessage[] = [];
  private readonly tracked: boolean;
  /** A multicast group: peers have numbers and acknowledgements of their own. */
  private readonly group: boolean;
  /** Bits of the peers that the resend queue waits for. */
  private required = 0;
  /** When which number was due, a second apart, HOLD_MOST back. */
  private readonly marks: { at: number; next: number }[] = [];
  private answeredAt: number | undefined;
  private readonly silent: boolean;
  /** Outgoing headers that are armed: from … to - 1. */
  private from = 0;
  private to = 0;
  /** Shard whose slots the armed headers point at; -1: the control datagram. */
  private source = -1;
  /** Up to which number we said HELLO, until that is known to have arrived. */
  private unheard: { since: number; last: number } | undefined;
  private lastTick = 0;
  /** ms: a peer said HELLO. */
  private helloAt = Number.NEGATIVE_INFINITY;
  /** Last number the peer has acknowledged; while a bulk send runs, at least where that began. */
  private ackedTo = 0;
  private lastBulk = 0;
  /** True while a bulk send waits for the peer. */
  bulkWaits = false;
  private readonly messagePositions: number[];
  private readonly recordPositions: number[];
  /** True while the link's buffer is full. */
  blocked = false;
  /** ms (performance.now) of the last datagram received; 0 before the first. */
  lastReceived = 0;
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
    this.lasting = [
      identityPart(this.identity),
      capabilitiesPart((options.capabilities ?? 0) | CAPABILITY.ADDRESSED),
      modePart(mode),
      programPart(options.program ?? '?'),
    ];
    this.messagePositions = new Array<number>(shards.count).fill(0);
    this.recordPositions = new Array<number>(shards.count).fill(0);
    if (this.tracked) arena.set(arena.sender + L.SENDER_FLAGS, FLAG.HELLO);
    if (options.startupResync) this.requestResync();
  }

  /** Asks the peer to send all its flows. */
  requestResync(): void {
    if (!this.silent) this.controls.push({ flags: FLAG.RESYNC, from: 0, to: 0 });
  }

  /** Queues every living flow of the internal cache; they leave paced, in the turns that follow. */
  sendBulk(): void {
    if (this.silent) return;
    this.pushedOut = this.arena.counter(this.arena.sender + L.SENDER_PUSHED_OUT);
    this.ackedTo = this.arena.get(this.arena.sender + L.SENDER_NEXT);
    for (let shard = 0; shard < this.shards.count; shard++) this.shards.post(shard, VERB.bulk);
  }

  /** Takes datagrams from the link, at most one vector; returns how many there were. */
  receive(now: number): number {
    const { arena, core } = this;
    if (!this.shards.immediate) this.settleMessages();
    const count = this.link.receive(arena.link);
    if (count === 0) return 0;
    this.lastReceived = now;
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
      this.hearSenders(now);
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
    this.deliverFlows(heard, count);
    this.deliverExpectations();
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
      this.deliverFlows(delivered, before);
      delivered = before;
      const entry = arena.get(at + L.ACTION_PEER);
      this.hear(this.peerOf(entry), arena.get(at + L.ACTION_MESSAGE), entry);
    }
    return delivered;
  }

  /** Hands the flow messages `first` … `end` - 1 of the list to their shards. */
  private deliverFlows(first: number, end: number): void {
    const { arena, core, shards } = this;
    const count = end - first;
    if (count <= 0) return;
    const list = arena.get(arena.receiver + L.RECEIVER_FLOWS) + first * 4;
    const verb = this.options.inject === undefined ? VERB.messages : VERB.injected;
    this.options.inject?.(list, count);
    if (shards.immediate) {
      shards.post(0, verb, list, count, 0);
      return;
    }
    this.settleMessages();
    const counts = arena.messageCounts;
    arena.bytes.fill(0, counts, counts + shards.count * 4);
    core.routeMessages(list, count, shards.count, arena.messageLists, counts, arena.scratch, 0);
    for (let shard = 0; shard < shards.count; shard++) {
      const part = arena.get(counts + shard * 4);
      if (part === 0) continue;
      shards.post(shard, verb, arena.messageLists + shard * L.LIST_MAX * 4, part, 0);
      this.messagePositions[shard] = shards.position(shard);
    }
  }

  /** Without ExpectationSync there is no place for them: accepted, and that is all. */
  private deliverExpectations(): void {
    const { arena, core, shards } = this;
    const count = arena.get(arena.receiver + L.RECEIVER_EXPECT_COUNT);
    arena.set(arena.receiver + L.RECEIVER_EXPECT_COUNT, 0);
    if (count === 0 || arena.limits.expectations === undefined) return;
    const list = arena.get(arena.receiver + L.RECEIVER_EXPECTS);
    this.options.injectExpectations?.(list, count);
    if (shards.immediate) {
      shards.post(0, VERB.expectMessages, list, count);
      return;
    }
    this.settleMessages();
    const { messageLists, messageCounts: counts } = arena;
    arena.bytes.fill(0, counts, counts + shards.count * 4);
    core.routeExpects(list, count, shards.count, messageLists, counts, arena.scratch, 1);
    for (let shard = 0; shard < shards.count; shard++) {
      const part = arena.get(counts + shard * 4);
      if (part === 0) continue;
      shards.post(shard, VERB.expectMessages, messageLists + shard * L.LIST_MAX * 4, part);
      this.messagePositions[shard] = shards.position(shard);
    }
  }

  /** Until the shards have read what was received. Their vector is free again then. */
  settleMessages(): void {
    for (let shard = 0; shard < this.shards.count; shard++) {
      this.shards.waitFor(shard, this.messagePositions[shard]!);
    }
  }

  /** Does what the received messages asked for, in their order. */
  private act(): void {
    const { arena, core } = this;
    const count = arena.get(arena.receiver + L.RECEIVER_ACTION_COUNT);
    arena.set(arena.receiver + L.RECEIVER_ACTION_COUNT, 0);
    let at = arena.get(arena.receiver + L.RECEIVER_ACTIONS);
    for (let i = 0; i < count; i++, at += L.ACTION_SIZE) {
      const from = arena.get(at + L.ACTION_FROM);
      const to = arena.get(at + L.ACTION_TO);
      const message = arena.get(at + L.ACTION_MESSAGE);
      const entry = arena.get(at + L.ACTION_PEER);
      let peer = this.peerOf(entry);
      let tail: Tail | undefined;
      switch (arena.get(at + L.ACTION_KIND)) {
        case L.ACTION_SEND_ACK:
          this.controls.push({ flags: FLAG.ACK, from, to, peer });
          break;
        case L.ACTION_SEND_NACK:
          this.controls.push({ flags: FLAG.NACK, from, to, peer });
          break;
        case L.ACTION_GOT_ACK:
          tail = this.hear(peer, message, entry);
          peer = this.peerOf(entry);
          if (!this.isForUs(peer, tail, from, to)) break;
          this.require(peer);
          core.senderAcknowledged(arena.sender, from, to, peer.bit);
          this.advance(peer, to);
          this.passOn();
          break;
        case L.ACTION_GOT_NACK:
          tail = this.hear(peer, message, entry);
          peer = this.peerOf(entry);
          if (!this.isForUs(peer, tail, from, to)) break;
          this.require(peer);
          core.senderMissed(arena.sender, from, to);
          this.passOn();
          break;
        case L.ACTION_GOT_RESYNC:
          this.hear(peer, message, entry);
          this.options.onResyncRequest();
          break;
        case L.ACTION_GOT_HELLO:
          this.helloAt = this.lastReceived;
          this.extend(false); // until it is known who that is
          this.peerStarted(peer, this.lastReceived);
          break;
        case L.ACTION_GOT_HELLO_BACK:
          this.takeAnswer(peer, message);
          break;
      }
    }
  }

  /** The peer whose numbers an entry of the receiver's list has. */
  private peerOf(entry: number): Peer {
    const { arena } = this;
    return this.peerAt(arena.get(arena.peer(entry) + L.PEER_OF));
  }

  private peerAt(index: number): Peer {
    return this.peers.at(index, this.lastReceived, () => this.options.addressOf?.(index) ?? '');
  }

  /** Takes what stands in the tail of a message, if it has one. */
  private hear(sender: Peer, message: number, entry: number): Tail | undefined {
    const tail = tailOf(this.arena.view, message);
    if (tail === undefined) return undefined;
    const peer = this.owner(sender, tail, entry);
    peer.take(tail, this.lastReceived);
    if (tail.holdings !== undefined) peer.externalThen = this.flowsOf(L.TABLE_EXTERNAL);
    if (tail.asks) this.answer();
    this.options.onTail?.(peer, tail, this.lastReceived);
    return tail;
  }

  /** Marks those from whom messages came as heard. */
  private hearSenders(now: number): void {
    if (!this.group) {
      this.peerAt(0).heardAt = now;
      return;
    }
    for (const peer of this.peers.values()) {
      const accepted = this.arena.counter(this.arena.peer(peer.index) + L.PEER_ACCEPTED);
      if (accepted === peer.accepted) continue;
      peer.accepted = accepted;
      if (peer.heardAt === 0) this.require(peer);
      peer.heardAt = now;
    }
  }

  // In a multicast group a sender is known by link and address, a node by the number in its tail. A
  // node that changes to another link is the same node, and two that share an entry are two.

  /** The peer that a tail speaks for, whatever the entry of its sender was taken for. */
  private owner(sender: Peer, { identity }: Tail, entry: number): Peer {
    if (!this.group || identity === undefined) return sender;
    const { arena, peers } = this;
    if (sender.identity?.node === identity.node) return sender;
    for (const other of peers.values()) {
      if (other === sender || other.identity?.node !== identity.node) continue;
      arena.set(arena.peer(entry) + L.PEER_OF, other.index);
      if (entry === sender.index) this.unite(sender, other);
      return other;
    }
    if (sender.identity === undefined || entry === sender.entry || entry === sender.index) {
      sender.entry = entry;
      return sender;
    }
    arena.set(arena.peer(entry) + L.PEER_OF, entry);
    const peer = this.peerAt(entry);
    this.require(peer);
    return peer;
  }

  /** What came from `sender` came from `peer`: numbers between the two are missing. */
  private unite(sender: Peer, peer: Peer): void {
    const { arena } = this;
    const [from, into] = [arena.peer(sender.index), arena.peer(peer.index)];
    const last = arena.get(into + L.PEER_LAST);
    const first = arena.get(from + L.PEER_FIRST);
    if (arena.get(from + L.PEER_SET) !== 0 && ((first - last) | 0) > 0) {
      if (this.tracked && first !== last + 1) {
        const [lost, end] = [(last + 1) >>> 0, (first - 1) >>> 0];
        this.controls.push({ flags: FLAG.NACK, from: lost, to: end, peer });
      }
      for (const offset of [L.PEER_LAST, L.PEER_ACK_FROM, L.PEER_ACK_FROM_SET]) {
        arena.set(into + offset, arena.get(from + offset));
      }
    }
    this.remove(sender);
  }

  private remove(peer: Peer): void {
    this.peers.remove(peer.index);
    this.setRequired(this.required & ~peer.bit);
  }

  /** The resend queue waits for this peer, too, from now on. */
  private require(peer: Peer): void {
    if (!this.group || !this.tracked || this.required & peer.bit) return;
    this.setRequired(this.required | peer.bit);
    if (!peer.abandoned) return;
    // What it missed meanwhile is gone from the queue: it gets everything instead.
    peer.abandoned = false;
    this.options.onResyncRequest();
  }

  private setRequired(bits: number): void {
    if (bits === this.required) return;
    this.required = bits;
    this.core.senderPeers(this.arena.sender, bits);
    this.passOn();
  }

  /**
   * Is an ACK or NACK meant for this node? One of ours names whom it means. A C daemon does not: its
   * range is for us if we can have sent it.
   */
  private isForUs(peer: Peer, tail: Tail | undefined, from: number, to: number): boolean {
    if (!this.group) return true;
    if (tail?.addressees !== undefined) return tail.addressees.includes(this.identity.node);
    if (this.peers.size <= 1 || peer.abandoned) return !peer.abandoned;
    const { arena } = this;
    const size = arena.get(arena.sender + L.SENDER_MASK) + 1;
    const newest = arena.get(arena.sender + L.SENDER_NEXT) - 1;
    return (to - from) >>> 0 < size && (newest - to) >>> 0 < size;
  }

  /** A peer has acknowledged up to `to`; the slowest one paces a bulk send. */
  private advance(peer: Peer, to: number): void {
    if (peer.acknowledged === undefined || ((to - peer.acknowledged) | 0) > 0) {
      peer.acknowledged = to;
    }
    let slowest = peer.acknowledged;
    for (const other of this.peers.values()) {
      if (!(this.required & other.bit)) continue;
      const its = other.acknowledged ?? this.ackedTo;
      if (((its - slowest) | 0) < 0) slowest = its;
    }
    if (((slowest - this.ackedTo) | 0) > 0) this.ackedTo = slowest;
  }

  /** Those who are silent or behind among several are not waited for for ever. */
  private tendGroup(now: number): void {
    const { arena, marks, peers } = this;
    const next = arena.get(arena.sender + L.SENDER_NEXT);
    marks.push({ at: now, next });
    while (marks.length > 1 && now - marks[1]!.at >= HOLD_MOST) marks.shift();
    if (peers.size > 1) {
      for (const peer of peers.all) {
        const silent = now - Math.max(peer.heardAt, peer.since);
        if (silent > FORGET) this.forget(peer);
        else if (silent > HOLD_MOST) this.abandon(peer);
      }
      if (now - marks[0]!.at >= HOLD_MOST) this.abandonSlow(marks[0]!.next);
    }
    this.endHello(now);
  }

  /** The queue still holds a number from before `due`: those who lack it are given up. */
  private abandonSlow(due: number): void {
    const { arena } = this;
    const { sender } = arena;
    const tail = arena.get(sender + L.SENDER_TAIL);
    if (((tail - due) | 0) >= 0) return;
    const have = this.bitsOf(tail);
    const lacking = this.required & ~have;
    if (lacking === this.required) return; // nobody has it: most likely it is being repaired
    for (const peer of this.peers.all) if (lacking & peer.bit) this.abandon(peer);
  }

  private bitsOf(sequence: number): number {
    const { arena } = this;
    const mask = arena.get(arena.sender + L.SENDER_MASK);
    const at = arena.get(arena.sender + L.SENDER_BITS) + ((sequence & mask) >>> 0) * 2;
    return arena.view.getUint16(at, true);
  }

  private abandon(peer: Peer): void {
    if (!this.tracked || !(this.required & peer.bit)) return;
    peer.abandoned = true;
    this.setRequired(this.required & ~peer.bit);
    this.options.onAbandon?.(peer);
  }

  private forget(peer: Peer): void {
    const { arena } = this;
    for (let i = 0; i < L.PEERS_MAX; i++) {
      const entry = arena.peer(i);
      if (arena.get(entry + L.PEER_OF) === peer.index) arena.set(entry + L.PEER_USED, 0);
    }
    this.remove(peer);
  }

  /** A HELLO_BACK: from the only peer, or for us, or from a C daemon, which names nobody. */
  private takeAnswer(peer: Peer, message: number): void {
    if (!this.group) {
      this.peerAnswered();
      return;
    }
    const named = tailOf(this.arena.view, message)?.addressees;
    if (
      named === undefined ? peer.isOurs && this.peers.size > 1 : !named.includes(this.identity.node)
    ) {
      return;
    }
    peer.answered = true;
    this.answeredAt ??= this.lastReceived;
    this.endHello(this.lastReceived);
  }

  /** HELLO ends when everybody heard has answered, or has had time enough to. */
  private endHello(now: number): void {
    if (this.answeredAt === undefined) return;
    const open = this.peers.all.some((peer) => !peer.answered && peer.isPresent(now));
    if (open && now - this.answeredAt < HELLO_MOST) return;
    this.answeredAt = undefined;
    this.peerAnswered();
  }

  /** Acknowledges now what would be acknowledged within a second, and tells what we hold. */
  private answer(): void {
    if (this.lastReceived - this.lastAsked < ASK_PAUSE) return;
    this.lastAsked = this.lastReceived;
    this.beacon();
  }

  /** Sends a message of ours to our peers' stations, `parts` in its tail; never in ALARM. */
  say(parts: readonly Part[]): void {
    if (!this.silent) this.controls.push({ flags: FLAG.ALIVE, from: 0, to: 0, parts });
  }

  /** Room that the tail of a message has for parts of its own, in bytes. */
  get tailRoom(): number {
    return this.controlRoom - CONTROL_LENGTH - tailLength([]);
  }

  private get controlRoom(): number {
    return Math.min(this.arena.limits.payloadMax, CONTROL_ROOM);
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
    const { arena } = this;
    const { sender } = arena;
    return arena.get(sender + L.SENDER_HELD) - arena.get(sender + L.SENDER_HELD_CONTROLS);
  }

  /** Flow messages given up without acknowledgement since the last bulk: the peers lack them. */
  get givenUp(): bigint {
    const { arena } = this;
    return arena.counter(arena.sender + L.SENDER_PUSHED_OUT) - this.pushedOut;
  }

  /** Has the peer acknowledged every flow message up to number `last`? */
  hasAcknowledged(peer: Peer, last: number): boolean {
    if (!this.tracked) return true;
    if (peer.abandoned) return false;
    const { arena } = this;
    const { sender } = arena;
    if (peer.acknowledged === undefined || ((last - peer.acknowledged) | 0) > 0) return false;
    const ring = arena.get(sender + L.SENDER_RING);
    const mask = arena.get(sender + L.SENDER_MASK);
    const tail = arena.get(sender + L.SENDER_TAIL);
    for (let s = tail; ((last - s) | 0) >= 0; s = (s + 1) >>> 0) {
      const entry = arena.get(ring + ((s & mask) >>> 0) * 4);
      if (entry === 0 || entry & L.ENTRY_CONTROL) continue;
      if (!this.group || !(this.bitsOf(s) & peer.bit)) return false;
    }
    return true;
  }

  private flowsOf(kind: number): number {
    const { arena } = this;
    return arena.sumTables(kind, L.TABLE_COUNT) - arena.sumTables(kind, L.TABLE_DEAD);
  }

  /**
   * The peer has heard us. While we said HELLO it took any number for the right one, so what was lost
   * then was lost unnoticed: what is still not acknowledged after HELLO_GRACE is sent again.
   */
  private peerAnswered(): void {
    const { arena } = this;
    if (arena.get(arena.sender + L.SENDER_FLAGS) === 0) return;
    arena.set(arena.sender + L.SENDER_FLAGS, 0);
    this.unheard = {
      since: performance.now(),
      last: (arena.get(arena.sender + L.SENDER_NEXT) - 1) >>> 0,
    };
  }

  private repeatUnheard(now: number): void {
    if (this.unheard === undefined || now - this.unheard.since < HELLO_GRACE) return;
    const { sender } = this.arena;
    this.core.senderMissed(sender, this.arena.get(sender + L.SENDER_TAIL), this.unheard.last);
    this.unheard = undefined;
    this.passOn();
  }

  /**
   * The peer says HELLO: it runs anew and knows nothing of what was sent before. What it never
   * acknowledged is sent again, once per start; acknowledgements of its former life are void. It is
   * answered at once: until then it says HELLO with everything, and counts no losses.
   */
  private peerStarted(peer: Peer, now: number): void {
    const { arena, core } = this;
    const { sender } = arena;
    const greeting = !this.group && arena.get(sender + L.SENDER_ONCE) !== 0;
    if (!this.group) arena.set(sender + L.SENDER_ONCE, FLAG.HELLO_BACK);
    if (greeting || now - peer.greetedAt < TICK) return;
    peer.greetedAt = now;
    const others = this.controls.filter(
      (control) => control.flags === FLAG.RESYNC || (this.group && control.peer !== peer),
    );
    this.controls.splice(0, this.controls.length, ...others);
    const back = this.group ? FLAG.HELLO_BACK : 0;
    this.controls.push({ flags: FLAG.ALIVE | back, from: 0, to: 0, peer, beacon: this.group });
    if (this.group) peer.abandoned = false;
    this.require(peer);
    const last = (arena.get(sender + L.SENDER_NEXT) - 1) >>> 0;
    core.senderMissed(sender, arena.get(sender + L.SENDER_TAIL), last);
    if (!this.group) arena.set(sender + L.SENDER_CONTROL_AGAIN_COUNT, 0);
    this.passOn();
    this.options.onPeerStart();
  }

  /** Gives the shards what the sender found: dead records to remove, records to send again. */
  private passOn(): void {
    const { arena } = this;
    const { sender } = arena;
    this.giveRecords(VERB.reap, sender + L.SENDER_REAP, sender + L.SENDER_REAP_COUNT);
    this.giveRecords(VERB.requeue, sender + L.SENDER_AGAIN, sender + L.SENDER_AGAIN_COUNT);
    const again = arena.get(sender + L.SENDER_CONTROL_AGAIN_COUNT);
    const list = arena.get(sender + L.SENDER_CONTROL_AGAIN);
    arena.set(sender + L.SENDER_CONTROL_AGAIN_COUNT, 0);
    for (let i = 0; i < again; i++) {
      const slot = arena.get(list + i * 4);
      const at = arena.get(sender + L.SENDER_CONTROLS) + slot * L.CONTROL_SLOT_SIZE;
      const place = (arena.get(at + L.CONTROL_SLOT_FLAGS) >>> 8) - 1;
      this.controls.push({ flags: 0, from: 0, to: 0, again: slot, peer: this.peers.get(place) });
    }
  }

  private giveRecords(verb: VERB, listWord: number, countWord: number): void {
    const { arena, shards } = this;
    const total = arena.get(countWord);
    if (total === 0) return;
    arena.set(countWord, 0);
    const list = arena.get(listWord);
    if (shards.immediate) {
      shards.post(0, verb, list, total);
      return;
    }
    for (let first = 0; first < total; first += L.LIST_MAX) {
      this.routeRecords(verb, list + first * 4, Math.min(L.LIST_MAX, total - first));
    }
  }

  private routeRecords(verb: VERB, list: number, count: number): void {
    const { arena, shards } = this;
    for (let shard = 0; shard < shards.count; shard++) {
      shards.waitFor(shard, this.recordPositions[shard]!);
    }
    const { recordLists, recordCounts, shardBase, shardStride } = arena;
    arena.bytes.fill(0, recordCounts, recordCounts + shards.count * 4);
    this.core.routeRecords(list, count, shardBase, shardStride, recordLists, recordCounts);
    for (let shard = 0; shard < shards.count; shard++) {
      const part = arena.get(recordCounts + shard * 4);
      if (part === 0) continue;
      shards.post(shard, verb, recordLists + shard * L.LIST_MAX * 4, part);
      this.recordPositions[shard] = shards.position(shard);
    }
  }

  /** The once-a-second duty: acknowledge what came, or say that we live; and who we are. */
  tick(now: number): void {
    if (this.silent || now - this.lastTick < TICK) return;
    this.lastTick = now;
    this.repeatUnheard(now);
    this.peers.tick(now);
    this.extend(this.mayExtend());
    if (this.group) this.tendGroup(now);
    this.beacon();
  }

  /** Does everybody who hears us take attributes that no C daemon knows? */
  private mayExtend(): boolean {
    const { peers, helloAt } = this;
    return peers.peerSpeaks(CAPABILITY.ZONES) && peers.all.every(({ tailAt }) => tailAt > helloAt);
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
    const first = this.controls.length;
    if (this.tracked && this.group) {
      for (const { index } of this.peers.values())
        this.core.receiverTick(this.arena.receiver, index);
      this.act();
    } else if (this.tracked && this.core.receiverTick(this.arena.receiver, 0) === 1) {
      this.act();
    }
    if (this.controls.length === first) this.controls.push({ flags: FLAG.ALIVE, from: 0, to: 0 });
    this.controls[first]!.beacon = true;
  }

  /** The parts of a control message's tail, no more of them than fit `room` bytes. */
  private partsOf(message: ControlMessage, room: number): readonly Part[] {
    const { beacon } = message;
    const named = this.group ? message.peer?.identity : undefined;
    const given = message.parts ?? [];
    const parts = named === undefined ? given : [addresseesPart([named.node]), ...given];
    if (!beacon) return tailLength(parts) <= room ? parts : [];
    const { holdings } = this;
    const told = [...parts, ...this.lasting, ...(holdings ? [holdingsPart(holdings)] : [])];
    const left = room - tailLength(told);
    if (left < 0) return [];
    const more = this.options.beaconParts?.(left) ?? [];
    return tailLength(more) - tailLength([]) <= left ? [...told, ...more] : told;
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
    this.passOn();
    this.lastTick = now;
    arena.armOutgoing(0, base, arena.control, used);
    link.send(0, 1);
  }

  /** Sends what waits. Returns true when more is left for the next turn. */
  transmit(now: number): boolean {
    let budget = TURN_DATAGRAMS;
    this.bulkWaits = false;
    while (this.flush() && budget > 0) {
      const bulk = this.isBulk();
      this.bulkWaits = bulk && !this.mayGoOn(now);
      const armed = this.armControls() || (this.bulkWaits ? 0 : this.armFlows(bulk));
      if (armed === 0) break;
      budget -= armed;
      if (bulk && this.source >= 0) this.lastBulk = now;
    }
    return this.to > this.from || budget <= 0;
  }

  /**
   * May the bulk send go on? The peer's receive buffer is the limit, and nobody tells its size: in
   * FTFW its acknowledgements show what it has taken, otherwise a slice a millisecond must do.
   */
  private mayGoOn(now: number): boolean {
    const waited = now - this.lastBulk;
    if (!this.tracked) return waited >= BULK_PAUSE;
    const next = this.arena.get(this.arena.sender + L.SENDER_NEXT);
    return ((next - this.ackedTo) | 0) < BULK_WINDOW || waited >= BULK_PATIENCE;
  }

  /** Is every change of the internal cache told, and on its way? */
  isAtRest(): boolean {
    if (this.from < this.to || !this.shards.isAtRest() || this.isBulk()) return false;
    return waitingMessages(this.arena) === 0;
  }

  /** May some hundred flows be said besides, with regard to the peer's receive buffer? */
  mayAdd(now: number): boolean {
    if (this.blocked || this.isBulk() || waitingMessages(this.arena) > 0) return false;
    if (!this.mayGoOn(now)) return false;
    this.lastBulk = now;
    return true;
  }

  private isBulk(): boolean {
    for (let shard = 0; shard < this.shards.count; shard++) {
      if (this.arena.get(this.arena.shard(shard) + L.SHARD_BULK) !== 0) return true;
    }
    return false;
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
    const { arena, core, controls } = this;
    if (controls.length === 0) return 0;
    const room = this.controlRoom;
    let used = 0;
    let taken = 0;
    for (; taken < controls.length && used + CONTROL_LENGTH <= room; taken++) {
      const message = controls[taken]!;
      const parts = this.partsOf(message, room - CONTROL_LENGTH);
      const tail = parts.length === 0 ? 0 : tailLength(parts);
      if (used > 0 && used + CONTROL_LENGTH + tail > room) break; // in the next datagram
      const { from, to, again, peer } = message;
      // The place of the addressee is kept with what may have to be sent again.
      const flags = this.group && peer ? message.flags | ((peer.index + 1) << 8) : message.flags;
      const out = arena.control + used;
      const length =
        again === undefined
          ? core.senderControl(arena.sender, out, flags, from, to)
          : core.senderControlAgain(arena.sender, out, again);
      used += tail === 0 ? length : appendTail(arena.view, out, length, parts);
    }
    controls.splice(0, taken);
    this.passOn(); // numbering may have pushed old entries out of the resend queue
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
      this.passOn();
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

/** Messages that wait to be sent, in all shards. */
export function waitingMessages(arena: Arena): number {
  let waiting = 0;
  for (let i = 0; i < arena.limits.shards; i++) {
    const shard = arena.shard(i);
    const length = arena.get(shard + L.SHARD_QUEUE_TAIL) - arena.get(shard + L.SHARD_QUEUE_HEAD);
    waiting += length < 0 ? length + arena.get(shard + L.SHARD_QUEUE_SIZE) : length;
    waiting += arena.get(shard + L.SHARD_BYPASS_WAITING);
  }
  return waiting;
}
