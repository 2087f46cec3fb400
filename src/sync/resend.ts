// The resend queue as main sees it: what peers acknowledge and miss goes in, what follows from it
// comes out: dead records to remove, records that speak again, control messages to repeat. The queue
// itself is a ring in the arena (assembly/sender.ts).

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import type { Core } from '../cache/wasm.js';
import type { Peer } from './peers.js';

export interface ResendParts {
  arena: Arena;
  core: Core;
  shards: Shards;
  /** The control message in `slot` is to be sent once more; `place` of its addressee, or -1. */
  repeat: (slot: number, place: number) => void;
}

export class Resend {
  private readonly positions: number[];
  /** SENDER_PUSHED_OUT when the last bulk send began. */
  private pushedOut = 0n;

  constructor(private readonly parts: ResendParts) {
    this.positions = new Array<number>(parts.shards.count).fill(0);
  }

  private get sender(): number {
    return this.parts.arena.sender;
  }

  /** The number that the next message gets. */
  get next(): number {
    return this.parts.arena.get(this.sender + L.SENDER_NEXT);
  }

  /** The oldest number that is held. */
  get tail(): number {
    return this.parts.arena.get(this.sender + L.SENDER_TAIL);
  }

  /** Numbers that the ring has room for. */
  get size(): number {
    return this.parts.arena.get(this.sender + L.SENDER_MASK) + 1;
  }

  /** A peer has `from` … `to`. */
  acknowledged(from: number, to: number, bit: number): void {
    this.parts.core.senderAcknowledged(this.sender, from, to, bit);
  }

  /** A peer misses `from` … `to`. */
  missed(from: number, to: number): void {
    this.parts.core.senderMissed(this.sender, from, to);
    this.passOn();
  }

  /** Whatever is held up to number `last` is sent again. `controls`: control messages, too. */
  missedUpTo(last: number, controls: boolean): void {
    const { arena, core } = this.parts;
    core.senderMissed(this.sender, this.tail, last);
    if (!controls) arena.set(this.sender + L.SENDER_CONTROL_AGAIN_COUNT, 0);
    this.passOn();
  }

  /** Bits of the peers that the queue waits for, in a multicast group. */
  waitFor(bits: number): void {
    this.parts.core.senderPeers(this.sender, bits);
    this.passOn();
  }

  /** Bits of the peers that have number `sequence`. */
  bitsOf(sequence: number): number {
    const { arena } = this.parts;
    const at = arena.get(this.sender + L.SENDER_BITS) + ((sequence & (this.size - 1)) >>> 0) * 2;
    return arena.view.getUint16(at, true);
  }

  /** Flow messages that no peer has acknowledged. */
  get unacknowledged(): number {
    const { arena } = this.parts;
    return arena.get(this.sender + L.SENDER_HELD) - arena.get(this.sender + L.SENDER_HELD_CONTROLS);
  }

  /** A bulk send begins: what was given up before is made up for. */
  startOver(): void {
    this.pushedOut = this.parts.arena.counter(this.sender + L.SENDER_PUSHED_OUT);
  }

  /** Messages given up without acknowledgement since the last bulk: the peers lack them. */
  get givenUp(): bigint {
    return this.parts.arena.counter(this.sender + L.SENDER_PUSHED_OUT) - this.pushedOut;
  }

  /** Has the peer acknowledged every flow message up to number `last`? `group`: among several. */
  hasAcknowledged(peer: Peer, last: number, group: boolean): boolean {
    const { arena } = this.parts;
    if (peer.abandoned) return false;
    if (peer.acknowledged === undefined || ((last - peer.acknowledged) | 0) > 0) return false;
    const ring = arena.get(this.sender + L.SENDER_RING);
    const mask = this.size - 1;
    for (let s = this.tail; ((last - s) | 0) >= 0; s = (s + 1) >>> 0) {
      const entry = arena.get(ring + ((s & mask) >>> 0) * 4);
      if (entry === 0 || entry & L.ENTRY_CONTROL) continue;
      if (!group || !(this.bitsOf(s) & peer.bit)) return false;
    }
    return true;
  }

  /** Gives the shards what the sender found. */
  passOn(): void {
    const { arena, repeat } = this.parts;
    const { sender } = this;
    this.giveRecords(VERB.reap, sender + L.SENDER_REAP, sender + L.SENDER_REAP_COUNT);
    this.giveRecords(VERB.requeue, sender + L.SENDER_AGAIN, sender + L.SENDER_AGAIN_COUNT);
    const again = arena.get(sender + L.SENDER_CONTROL_AGAIN_COUNT);
    const list = arena.get(sender + L.SENDER_CONTROL_AGAIN);
    arena.set(sender + L.SENDER_CONTROL_AGAIN_COUNT, 0);
    for (let i = 0; i < again; i++) {
      const slot = arena.get(list + i * 4);
      const at = arena.get(sender + L.SENDER_CONTROLS) + slot * L.CONTROL_SLOT_SIZE;
      repeat(slot, (arena.get(at + L.CONTROL_SLOT_FLAGS) >>> 8) - 1);
    }
  }

  private giveRecords(verb: VERB, listWord: number, countWord: number): void {
    const { arena, shards } = this.parts;
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
    const { arena, core, shards } = this.parts;
    for (let shard = 0; shard < shards.count; shard++) {
      shards.waitFor(shard, this.positions[shard]!);
    }
    const { recordLists, recordCounts, shardBase, shardStride } = arena;
    arena.bytes.fill(0, recordCounts, recordCounts + shards.count * 4);
    core.routeRecords(list, count, shardBase, shardStride, recordLists, recordCounts);
    for (let shard = 0; shard < shards.count; shard++) {
      const part = arena.get(recordCounts + shard * 4);
      if (part === 0) continue;
      shards.post(shard, verb, recordLists + shard * L.LIST_MAX * 4, part);
      this.positions[shard] = shards.position(shard);
    }
  }
}
