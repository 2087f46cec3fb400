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
  private lastExpectRefresh: number;
  private lastExpectExpiry: number;

  /** `now` in ms, here and in tick(). */
  constructor(
    private readonly arena: Arena,
    private readonly shards: Shards,
    private readonly times: AlarmTimes,
    now: number,
  ) {
    const { refreshTime, cacheTimeout } = times;
    this.last = now;
    this.lastExpectRefresh = now;
    this.lastExpectExpiry = now;
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
    if (this.arena.limits.expectations !== undefined) this.walkExpectations(now);
  }

  /** Expectations are few: all of them in one step. */
  private walkExpectations(now: number): void {
    const { shards } = this;
    const { refreshTime, cacheTimeout } = this.times;
    const refresh = now - this.lastExpectRefresh >= Math.max(1, refreshTime) * 1000 * MARGIN;
    const expire = now - this.lastExpectExpiry >= 1000;
    if (refresh) this.lastExpectRefresh = now;
    if (expire) this.lastExpectExpiry = now;
    for (let shard = 0; shard < shards.count; shard++) {
      if (refresh) shards.post(shard, VERB.expectRefresh);
      if (expire) shards.post(shard, VERB.expectExpire, cacheTimeout);
    }
  }

  private walkOn(walk: Walk, elapsed: number): void {
    const used = this.arena.get(this.arena.table(walk.shard, walk.kind) + L.TABLE_USED);
    const due = walk.fraction + (used * elapsed) / walk.lap; // a step ends at the table's end
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
