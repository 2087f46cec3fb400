// Who is who at the other end, and whom the resend queue waits for. With one peer there is little to
// it; in a multicast group a sender is known by link and address and has numbers of its own, and a
// node is known by the number in its tail. A node that changes to another link is the same node, and
// two that share an entry of the receiver's list are two.
//
// A message stays in the resend queue until every member has it. One that is silent or behind for
// HOLD_MOST among several is not waited for any more.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Controls } from './controls.js';
import { FLAG } from './flags.js';
import type { Pace } from './pace.js';
import { type Peer, Peers } from './peers.js';
import type { Resend } from './resend.js';
import type { Identity, Tail } from './tail.js';

/** ms that a peer among several may hold up the resend queue, silent or behind. */
const HOLD_MOST = 10_000;
/** ms without a word after which one of several is forgotten. */
const FORGET = 60_000;

export interface MembersParts {
  arena: Arena;
  controls: Controls;
  resend: Resend;
  pace: Pace;
  identity: Identity;
  /** A multicast group: there may be several. */
  group: boolean;
  /** FTFW: they acknowledge. */
  tracked: boolean;
  /** Address of the node in a place of the receiver's list, for an operator. */
  addressOf: (index: number) => string;
  /** Nobody waits for the peer's acknowledgements any more. */
  onAbandon: (peer: Peer) => void;
  /** One that was given up acknowledges again: it lacks what was sent meanwhile. */
  onReturn: () => void;
  /** What came from the place `from` came from `into`; undefined: `from` may be another's from now on. */
  onMoved: (from: number, into: number | undefined) => void;
}

export class Members {
  readonly peers = new Peers();
  /** ms (performance.now) of the last datagram received; 0 before the first. */
  lastReceived = 0;
  /** Bits of the peers that the resend queue waits for. */
  private required = 0;
  /** When which number was due, a second apart, HOLD_MOST back. */
  private readonly marks: { at: number; next: number }[] = [];

  constructor(private readonly parts: MembersParts) {}

  /** The peer whose numbers an entry of the receiver's list has. */
  of(entry: number): Peer {
    const { arena } = this.parts;
    return this.at(arena.get(arena.peer(entry) + L.PEER_OF));
  }

  private at(index: number): Peer {
    return this.peers.at(index, this.lastReceived, () => this.parts.addressOf(index));
  }

  /** Marks those from whom messages came as heard. */
  hearSenders(now: number): void {
    const { arena, group } = this.parts;
    if (!group) {
      this.at(0).heardAt = now;
      return;
    }
    for (const peer of this.peers.values()) {
      const accepted = arena.counter(arena.peer(peer.index) + L.PEER_ACCEPTED);
      if (accepted === peer.accepted) continue;
      peer.accepted = accepted;
      if (peer.heardAt === 0) this.require(peer);
      peer.heardAt = now;
    }
  }

  /** The peer that a tail speaks for, whatever the entry of its sender was taken for. */
  owner(sender: Peer, { identity }: Tail, entry: number): Peer {
    const { arena, group, onMoved } = this.parts;
    if (!group || identity === undefined) return sender;
    const owner = this.ownerOf(sender, identity, entry);
    // What it said so far was said by the owner, whatever was thought of it.
    const at = arena.peer(entry) + L.PEER_PLACE;
    const place = arena.get(at);
    arena.set(at, owner.index);
    if (place !== owner.index) onMoved(place, owner.index);
    return owner;
  }

  private ownerOf(sender: Peer, identity: Identity, entry: number): Peer {
    const { arena } = this.parts;
    if (sender.identity?.node === identity.node) return sender;
    for (const other of this.peers.values()) {
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
    const peer = this.at(entry);
    this.require(peer);
    return peer;
  }

  /** What came from `sender` came from `peer`: numbers between the two are missing. */
  private unite(sender: Peer, peer: Peer): void {
    const { arena, controls, tracked } = this.parts;
    const [from, into] = [arena.peer(sender.index), arena.peer(peer.index)];
    const last = arena.get(into + L.PEER_LAST);
    const first = arena.get(from + L.PEER_FIRST);
    if (arena.get(from + L.PEER_SET) !== 0 && ((first - last) | 0) > 0) {
      if (tracked && first !== last + 1) {
        const [lost, end] = [(last + 1) >>> 0, (first - 1) >>> 0];
        controls.push({ flags: FLAG.NACK, from: lost, to: end, peer });
      }
      // What came on the old link before is acknowledged by itself, as before any gap.
      if (tracked && arena.get(into + L.PEER_ACK_FROM_SET) !== 0) {
        const start = arena.get(into + L.PEER_ACK_FROM);
        controls.push({ flags: FLAG.ACK, from: start, to: last, peer });
      }
      for (const offset of [L.PEER_LAST, L.PEER_ACK_FROM, L.PEER_ACK_FROM_SET]) {
        arena.set(into + offset, arena.get(from + offset));
      }
    }
    this.remove(sender);
    for (const [first, end] of sender.anonymous) this.acknowledged(peer, first, end);
  }

  private remove(peer: Peer): void {
    this.peers.remove(peer.index);
    this.setRequired(this.required & ~peer.bit);
  }

  /** The resend queue waits for this peer, too, from now on. */
  require(peer: Peer): void {
    const { group, onReturn, tracked } = this.parts;
    if (!group || !tracked || this.required & peer.bit) return;
    this.setRequired(this.required | peer.bit);
    if (!peer.abandoned) return;
    // What it missed meanwhile is gone from the queue: it gets everything instead, and its time for it.
    peer.abandoned = false;
    this.marks.length = 0;
    onReturn();
  }

  private setRequired(bits: number): void {
    if (bits === this.required) return;
    this.required = bits;
    this.parts.resend.waitFor(bits);
  }

  /**
   * Is an ACK or NACK meant for this node? One of ours names whom it means. A C daemon does not: its
   * range is for us if we can have sent it.
   */
  isForUs(peer: Peer, tail: Tail | undefined, from: number, to: number): boolean {
    const { group, identity, resend } = this.parts;
    if (!group) return true;
    if (tail?.addressees !== undefined) return tail.addressees.includes(identity.node);
    if (this.peers.size <= 1 || peer.abandoned) return !peer.abandoned;
    const newest = resend.next - 1;
    return (to - from) >>> 0 < resend.size && (newest - to) >>> 0 < resend.size;
  }

  /** A peer has acknowledged `from` … `to`; the slowest one paces a bulk send. */
  acknowledged(peer: Peer, from: number, to: number): void {
    const { group, pace, resend } = this.parts;
    if (group && peer.identity === undefined) peer.noteAnonymous(from, to);
    resend.acknowledged(from, to, peer.bit);
    if (peer.acknowledged === undefined || ((to - peer.acknowledged) | 0) > 0) {
      peer.acknowledged = to;
    }
    let slowest = peer.acknowledged;
    for (const other of this.peers.values()) {
      if (!(this.required & other.bit)) continue;
      const its = other.acknowledged ?? pace.acknowledged;
      if (((its - slowest) | 0) < 0) slowest = its;
    }
    if (((slowest - pace.acknowledged) | 0) > 0) pace.acknowledged = slowest;
    resend.passOn();
  }

  /** Those who are silent or behind among several are not waited for for ever. Once a second. */
  tick(now: number): void {
    const { marks, peers } = this;
    marks.push({ at: now, next: this.parts.resend.next });
    while (marks.length > 1 && now - marks[1]!.at >= HOLD_MOST) marks.shift();
    if (peers.size <= 1) return;
    for (const peer of peers.all) {
      const silent = now - Math.max(peer.heardAt, peer.since);
      if (silent > FORGET) this.forget(peer);
      else if (silent > HOLD_MOST) this.abandon(peer);
    }
    if (now - marks[0]!.at >= HOLD_MOST) this.abandonSlow(marks[0]!.next);
  }

  /** The queue still holds a number from before `due`: those who lack it are given up. */
  private abandonSlow(due: number): void {
    const { resend } = this.parts;
    const { tail } = resend;
    if (((tail - due) | 0) >= 0) return;
    const lacking = this.required & ~resend.bitsOf(tail);
    if (lacking === this.required) return; // nobody has it: most likely it is being repaired
    for (const peer of this.peers.all) if (lacking & peer.bit) this.abandon(peer);
  }

  private abandon(peer: Peer): void {
    const { onAbandon, tracked } = this.parts;
    if (!tracked || !(this.required & peer.bit)) return;
    peer.abandoned = true;
    this.setRequired(this.required & ~peer.bit);
    onAbandon(peer);
  }

  private forget(peer: Peer): void {
    const { arena, onMoved } = this.parts;
    for (let i = 0; i < L.PEERS_MAX; i++) {
      const entry = arena.peer(i);
      if (!arena.get(entry + L.PEER_USED) || arena.get(entry + L.PEER_OF) !== peer.index) continue;
      arena.set(entry + L.PEER_USED, 0);
      onMoved(i, undefined);
    }
    this.remove(peer);
  }
}
