// ALARM mode's clock: repeats what we know and forgets what peers no longer tell. Nothing is
// acknowledged in this mode; a message that was lost is mended by the next repetition, and a flow
// whose end was not heard of goes when it was not repeated for CacheTimeout.
//
// Instead of a timer a flow, the tables are walked at a steady pace: a whole lap of the internal
// cache takes less than RefreshTime, of the external one a tenth of CacheTimeout. Runs on main,
// inside the turns of the data plane; the shards do the work, a slice at a time.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';

/** ms between two slices at least. */
const STEP = 50;
/** The lap is a little shorter than promised: a late turn must not break the promise. */
const MARGIN = 0.9;

/** A walk through one table of one shard. */
interface Walk {
  shard: number;
  kind: number;
  /** ms a lap takes. */
  lap: number;
  /** Index of the next record. */
  next: number;
  /** Records due but not whole yet. */
  fraction: number;
  busy: boolean;
  step: (from: number, count: number) => Promise<number>;
}

export interface AlarmTimes {
  /** Seconds within which every flow is repeated. */
  refreshTime: number;
  /** Seconds without a word after which an external entry goes. */
  cacheTimeout: number;
}

export class Alarm {
  private readonly walks: Walk[] = [];
  private last: number;

  /** `now` in ms, here and in tick(). */
  constructor(
    private readonly arena: Arena,
    shards: Shards,
    { refreshTime, cacheTimeout }: AlarmTimes,
    now: number,
  ) {
    this.last = now;
    for (let shard = 0; shard < shards.count; shard++) {
      const start = { shard, next: 0, fraction: 0, busy: false };
      this.walks.push({
        ...start,
        kind: L.TABLE_INTERNAL,
        lap: Math.max(1, refreshTime) * 1000 * MARGIN,
        step: (from, count) => shards.call(shard, VERB.refresh, from, count),
      });
      this.walks.push({
        ...start,
        kind: L.TABLE_EXTERNAL,
        lap: Math.min(10, Math.max(1, cacheTimeout / 10)) * 1000,
        step: (from, count) => shards.call(shard, VERB.expire, from, count, cacheTimeout),
      });
    }
  }

  /** Walks on by the time that has passed. */
  tick(now: number): void {
    const elapsed = now - this.last;
    if (elapsed < STEP) return;
    this.last = now;
    for (const walk of this.walks) this.walkOn(walk, elapsed);
  }

  private walkOn(walk: Walk, elapsed: number): void {
    const used = this.arena.get(this.arena.table(walk.shard, walk.kind) + L.TABLE_USED);
    // A stop of the whole process must not become a burst: one lap at most.
    const due = walk.fraction + used * Math.min(1, elapsed / walk.lap);
    if (walk.busy || due < 1) {
      walk.fraction = Math.min(due, used);
      return;
    }
    walk.fraction = due % 1;
    walk.busy = true;
    void walk.step(walk.next, Math.floor(due)).then((next) => {
      walk.next = next;
      walk.busy = false;
    });
  }
}
