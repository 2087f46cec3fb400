// How fast a bulk send goes. The limit is the peer's receive buffer, and nobody tells its size: in
// FTFW its acknowledgements show what it has taken, otherwise a slice a millisecond must do.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';

/** Datagrams of a bulk send at a time (with workers, what a worker has filled). */
export const BULK_DATAGRAMS = 16;
/** Messages of a bulk send that may be unacknowledged: what a default receive buffer holds. */
const WINDOW = 2048;
/** ms: a peer that has not acknowledged by then is gone, or acknowledges in larger steps. */
const PATIENCE = 100;
/** ms between two slices of a bulk send that nobody acknowledges. */
const PAUSE = 1;

export class Pace {
  /** Last number the slowest peer has acknowledged; while a bulk send runs, at least its beginning. */
  acknowledged = 0;
  private last = 0;

  /** `tracked`: peers acknowledge. */
  constructor(
    private readonly arena: Arena,
    private readonly shards: Shards,
    private readonly tracked: boolean,
  ) {}

  /** Every living flow of the internal cache is to be said. */
  begin(): void {
    this.acknowledged = this.arena.get(this.arena.sender + L.SENDER_NEXT);
    for (let shard = 0; shard < this.shards.count; shard++) this.shards.post(shard, VERB.bulk);
  }

  /** Is a bulk send under way? */
  get running(): boolean {
    for (let shard = 0; shard < this.shards.count; shard++) {
      if (this.arena.get(this.arena.shard(shard) + L.SHARD_BULK) !== 0) return true;
    }
    return false;
  }

  /** May the next slice leave? */
  mayGoOn(now: number): boolean {
    const waited = now - this.last;
    if (!this.tracked) return waited >= PAUSE;
    const next = this.arena.get(this.arena.sender + L.SENDER_NEXT);
    return ((next - this.acknowledged) | 0) < WINDOW || waited >= PATIENCE;
  }

  /** A slice has left. */
  went(now: number): void {
    this.last = now;
  }
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
