// Walks through the tables of all shards, a slice at a time: a slice a turn at most, and the next one
// only when its shard has done the last, so that neither events nor peers wait for a large table.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards, Slice } from '../cache/shards.js';
import type { VERB } from '../cache/verbs.js';

/** Records looked at in one slice: about 0.1 ms. */
const SLICE = 4096;

export class SlicedWalk {
  /** Flows that the verb has dealt with. */
  total = 0;
  done = false;
  private shard = 0;
  private from = 0;
  private busy = false;

  /** `verb` takes: index to begin with, how many records, then `args`; it returns how many it took. */
  constructor(
    private readonly parts: { arena: Arena; shards: Shards },
    private readonly kind: number,
    private readonly verb: VERB,
    private readonly args: readonly number[],
  ) {}

  /** The next slice, unless one is under way. */
  step(): void {
    if (this.busy || this.done) return;
    const { arena, shards } = this.parts;
    if (arena.get(arena.table(this.shard, this.kind) + L.TABLE_USED) === 0) {
      this.next(0);
      return;
    }
    this.busy = true;
    void shards
      .callSlice(this.shard, this.verb, this.from, SLICE, ...this.args)
      .then(({ count, cursor }: Slice) => {
        this.busy = false;
        this.total += count;
        this.next(cursor);
      });
  }

  private next(from: number): void {
    this.from = from;
    if (from !== 0) return;
    this.shard++;
    this.done = this.shard >= this.parts.shards.count;
  }
}
