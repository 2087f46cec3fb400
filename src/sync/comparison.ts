// The other side of comparing tables: holds what a peer tells of its flows against the external cache,
// finds the ranges that differ, and has them repaired.
//
//   SUMS differ ─▶ WANTED ─▶ RANGES differ twice ─▶ all flows in doubt ─▶ REPAIR ─▶ … SAID ─▶ those
//                                                                        still in doubt are removed
//
// A difference that passes is none: in FTFW a message that was lost is on its way a moment later. So a
// range counts as different when it was in two comparisons, a second apart. Nothing is removed on
// suspicion: see "repair" in assembly/digest.ts. A repair that did not help (messages are lost, or the
// cache is full) is tried again, each time after a longer pause.

import { randomBytes } from 'node:crypto';
import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import {
  type DigestParts,
  GROUP,
  GROUPS,
  repairPart,
  type Verdict,
  wantedPart,
} from './digest-parts.js';
import { SlicedWalk } from './slices.js';
import { doubtedSums, groupSums, hasBit, rangeSums, setBit } from './sums.js';
import type { Part } from './tail.js';
import { someOf } from './teller.js';

/** ms a peer must have run before its tables count: one that just started is still reading its own. */
const SETTLED = 5000;
/** ms without SUMS after which nothing is known. */
const VALID = 5000;
/** ms after which an order that was not answered is given again, and after which it is given up. */
const AGAIN = 2000;
const PATIENCE = 60_000;
const LONGEST_PAUSE = 300_000; // ms between two repairs that do not help
/** Comparisons in which a range must have differed. */
const SURE = 2;

export interface ComparisonParts {
  arena: Arena;
  shards: Shards;
  say: (parts: readonly Part[]) => void;
  /** Until the shards have applied every message received so far. */
  settle: () => void;
  onFound: (ranges: number) => void;
  onRepaired: (ranges: number, removed: number, failed: number) => void;
}

interface Repair {
  id: number;
  ranges: Uint8Array;
  count: number;
  began: number;
  asked: number;
  /** Puts all in doubt, before the peer is asked. */
  doubting: SlicedWalk;
  /** Groups whose end was told. */
  ended: number;
  /** Ranges whose sums agree without the doubted. */
  proven: Uint8Array;
  failed: number;
  removing: SlicedWalk | undefined;
}

export class Comparison {
  readonly counters = { compared: 0, found: 0, repaired: 0, failed: 0, removed: 0 };
  private known: Verdict = 'cannot say';
  private lastSums = Number.NEGATIVE_INFINITY;
  /** For each range, comparisons in a row in which it differed. */
  private readonly differed = new Uint8Array(L.DIGEST_RANGES);
  private repair: Repair | undefined;
  private notBefore = 0;
  private pause = 0;

  constructor(
    private readonly parts: ComparisonParts,
    private settledAt: number,
  ) {}

  verdict(now: number): Verdict {
    if (now - this.lastSums > VALID) return 'cannot say';
    return this.repair !== undefined ? 'repairing' : this.known;
  }

  /** The peer is another one, or has started anew. */
  forget(now: number): void {
    this.settledAt = now + SETTLED;
    this.lastSums = Number.NEGATIVE_INFINITY;
    this.known = 'cannot say';
    this.differed.fill(0);
    this.repair = undefined;
    this.notBefore = 0;
    this.pause = 0;
  }

  hear({ sums, ranges, said }: DigestParts, now: number): void {
    if (sums === undefined && ranges === undefined && said === undefined) return;
    this.parts.settle();
    if (ranges !== undefined) this.compareRanges(ranges.group, ranges.sums);
    if (said !== undefined) this.hearEnd(said);
    if (sums !== undefined) this.compareGroups(sums, now);
  }

  private compareGroups(sums: BigUint64Array, now: number): void {
    this.lastSums = now;
    if (this.repair !== undefined) return;
    this.counters.compared++;
    const ours = groupSums(this.parts.arena, L.TABLE_EXTERNAL);
    let different = 0;
    for (let group = 0; group < GROUPS; group++) {
      if (ours[group] !== sums[group]) different |= 1 << group;
      else this.differed.fill(0, group * GROUP, (group + 1) * GROUP);
    }
    if (different === 0) {
      this.known = 'equal';
      this.pause = 0;
      return;
    }
    const sure = this.differed.some((times) => times >= SURE);
    if (sure) this.known = 'different';
    if (sure && now >= this.settledAt && now >= this.notBefore) this.begin(now);
    else this.parts.say([wantedPart(different)]);
  }

  private compareRanges(group: number, sums: BigUint64Array): void {
    if (this.repair !== undefined) return;
    const ours = rangeSums(this.parts.arena, L.TABLE_EXTERNAL, group);
    for (let i = 0; i < GROUP; i++) {
      const range = group * GROUP + i;
      const times = this.differed[range]!;
      this.differed[range] = ours[i] === sums[i] ? 0 : Math.min(SURE, times + 1);
    }
  }

  private begin(now: number): void {
    const { arena } = this.parts;
    const ranges = new Uint8Array(L.DIGEST_RANGES / 8);
    let count = 0;
    this.differed.forEach((times, range) => {
      if (times < SURE) return;
      setBit(ranges, range);
      count++;
    });
    this.differed.fill(0);
    const at = arena.ranges.doubted;
    arena.bytes.set(ranges, at);
    this.repair = {
      ...{ id: randomBytes(4).readUInt32BE(), ranges, count, began: now, ended: 0, failed: 0 },
      asked: Number.NEGATIVE_INFINITY,
      doubting: new SlicedWalk(this.parts, L.TABLE_EXTERNAL, VERB.doubt, [at]),
      proven: new Uint8Array(ranges.length),
      removing: undefined,
    };
    this.counters.found += count;
    this.parts.onFound(count);
  }

  /** The peer has said a group again: is what it spoke of all that it has? */
  private hearEnd({ id, group, sums }: NonNullable<DigestParts['said']>): void {
    const { repair } = this;
    if (repair === undefined || repair.id !== id || repair.removing !== undefined) return;
    if (!repair.doubting.done || repair.ended & (1 << group) || !someOf(repair.ranges, group))
      return;
    repair.ended |= 1 << group;
    const ours = rangeSums(this.parts.arena, L.TABLE_EXTERNAL, group);
    const doubted = doubtedSums(this.parts.arena, group);
    for (let i = 0; i < GROUP; i++) {
      const range = group * GROUP + i;
      if (!hasBit(repair.ranges, range)) continue;
      if (BigInt.asUintN(64, ours[i]! - doubted[i]!) === sums[i]) setBit(repair.proven, range);
      else repair.failed++;
    }
  }

  /** True when there is work for the next turn. */
  turn(now: number): boolean {
    const { repair } = this;
    if (repair === undefined) return false;
    if (now - repair.began > PATIENCE) this.finish(repair, repair.count, now);
    else if (!repair.doubting.done) repair.doubting.step();
    else if (repair.removing !== undefined) this.remove(repair, now);
    else if (this.isTold(repair)) this.beginRemoving(repair);
    else if (now - repair.asked >= AGAIN) {
      repair.asked = now;
      this.parts.say([repairPart(repair.id, repair.ranges)]);
    } else return false; // the peer's turn
    return this.repair !== undefined;
  }

  private isTold({ ranges, ended }: Repair): boolean {
    for (let group = 0; group < GROUPS; group++) {
      if (!(ended & (1 << group)) && someOf(ranges, group)) return false;
    }
    return true;
  }

  private beginRemoving(repair: Repair): void {
    const { arena } = this.parts;
    const at = arena.ranges.doubted;
    arena.bytes.set(repair.proven, at);
    repair.removing = new SlicedWalk(this.parts, L.TABLE_EXTERNAL, VERB.removeDoubted, [at]);
  }

  private remove(repair: Repair, now: number): void {
    repair.removing!.step();
    if (repair.removing!.done) this.finish(repair, repair.failed, now);
  }

  private finish(repair: Repair, failed: number, now: number): void {
    const removed = repair.removing?.total ?? 0;
    this.repair = undefined;
    this.counters.repaired += repair.count - failed;
    this.counters.failed += failed;
    this.counters.removed += removed;
    this.pause = failed === 0 ? 0 : Math.min(LONGEST_PAUSE, Math.max(1000, 2 * this.pause));
    this.notBefore = now + this.pause;
    if (failed > 0) this.known = 'different';
    this.parts.onRepaired(repair.count - failed, removed, failed);
  }
}
