// Messages that were received and found in order, on their way to the shards. They lie in the slots of
// the link's vector until the shards have read them; settle() waits for that, before the vector is
// filled again.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import type { Core } from '../cache/wasm.js';

export interface DeliveryParts {
  arena: Arena;
  core: Core;
  shards: Shards;
  /** Carries out the flow messages listed, before their slots are used again. Left out: cached. */
  inject?: ((list: number, count: number) => void) | undefined;
  /** The same for messages of expectations, which are cached besides. */
  injectExpectations?: ((list: number, count: number) => void) | undefined;
}

export class Delivery {
  private readonly positions: number[];

  constructor(private readonly parts: DeliveryParts) {
    this.positions = new Array<number>(parts.shards.count).fill(0);
  }

  /** Hands the flow messages `first` … `end` - 1 of the receiver's list to their shards. */
  flows(first: number, end: number): void {
    const { arena, core, shards, inject } = this.parts;
    const count = end - first;
    if (count <= 0) return;
    const list = arena.get(arena.receiver + L.RECEIVER_FLOWS) + first * 4;
    const verb = inject === undefined ? VERB.messages : VERB.injected;
    inject?.(list, count);
    if (shards.immediate) {
      shards.post(0, verb, list, count, 0);
      return;
    }
    this.settle();
    const { messageLists, messageCounts: counts } = arena;
    arena.bytes.fill(0, counts, counts + shards.count * 4);
    core.routeMessages(list, count, shards.count, messageLists, counts, arena.scratch, 0);
    this.postParts(verb, [0]);
  }

  /** Without ExpectationSync there is no place for them: accepted, and that is all. */
  expectations(): void {
    const { arena, core, shards, injectExpectations } = this.parts;
    const count = arena.get(arena.receiver + L.RECEIVER_EXPECT_COUNT);
    arena.set(arena.receiver + L.RECEIVER_EXPECT_COUNT, 0);
    if (count === 0 || arena.limits.expectations === undefined) return;
    const list = arena.get(arena.receiver + L.RECEIVER_EXPECTS);
    injectExpectations?.(list, count);
    if (shards.immediate) {
      shards.post(0, VERB.expectMessages, list, count);
      return;
    }
    this.settle();
    const { messageLists, messageCounts: counts } = arena;
    arena.bytes.fill(0, counts, counts + shards.count * 4);
    core.routeExpects(list, count, shards.count, messageLists, counts, arena.scratch, 1);
    this.postParts(VERB.expectMessages, []);
  }

  /** To each shard what was routed to it. */
  private postParts(verb: VERB, more: readonly number[]): void {
    const { arena, shards } = this.parts;
    for (let shard = 0; shard < shards.count; shard++) {
      const part = arena.get(arena.messageCounts + shard * 4);
      if (part === 0) continue;
      shards.post(shard, verb, arena.messageLists + shard * L.LIST_MAX * 4, part, ...more);
      this.positions[shard] = shards.position(shard);
    }
  }

  /** Until the shards have read what was received. Their vector is free again then. */
  settle(): void {
    const { shards } = this.parts;
    for (let shard = 0; shard < shards.count; shard++) {
      shards.waitFor(shard, this.positions[shard]!);
    }
  }
}
