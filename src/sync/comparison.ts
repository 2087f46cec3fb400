// The other side of comparing tables: holds what a peer tells of its flows against the external cache,
// finds the ranges that differ, and has them repaired.
//
//   SUMS differ ─▶ WANTED ─▶ RANGES differ twice ─▶ all flows in doubt ─▶ REPAIR ─▶ … SAID ─▶ those
//                                                                        still in doubt are removed
//
// A difference that passes is none: in FTFW a message that was lost is on its way a moment later. So a
// range counts as different when it was in two comparisons, a second apart. Nothing is removed on
// suspicion: see "repair" in assembly/digest.ts. In a multicast group each peer is compared with what
// it said itself, and one is repaired at a time (assembly/shares.ts). A repair that did not help (messages
// are lost, or the cache is full) is tried again, each time after a longer pause.

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
import { contestedFlows, doubtedSums, groupSums, hasBit, rangeSums, setBit } from './sums.js';
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
  /** Of the peer, in the receiver's list. */
  place: number;
  /** To this peer. */
  say: (parts: readonly Part[]) => void;
  /** Until the shards have applied every message received so far. */
  settle: () => void;
  /** False while another peer's flows are being repaired; true: from now on ours are, and no one else's. */
  mayRepair: () => boolean;
  onFound: (ranges: number) => void;
  onRepaired: (ranges: number, removed: number, failed: number) => void;
}

interface Repair {
  id: number;
  ranges: Uint8Array;
  count: number;
  began: number;
  asked: number;
  /** Put all in doubt, before the peer is asked, and no one else's. */
  doubting: readonly SlicedWalk[];
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
  /** A bit for each group whose ranges we asked for: others may have asked, too. */
  private asked = 0;
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
    this.asked = 0;
    this.repair = undefined;
    this.notBefore = 0;
    this.pause = 0;
  }

  get repairing(): boolean {
    return this.repair !== undefined;
  }

  /** Ends a repair without an outcome: another peer's flows are to be repaired. */
  giveWay(): void {
    this.repair = undefined;
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
    const { arena, place } = this.parts;
    const ours = groupSums(arena, L.TABLE_EXTERNAL, place);
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
    const sure = [...this.differed.keys()].filter((range) => this.differed[range]! >= SURE);
    if (sure.length > 0) this.known = this.unclear(sure) ? 'cannot say' : 'different';
    const due = sure.length > 0 && now >= this.settledAt && now >= this.notBefore;
    if (due && this.parts.mayRepair()) this.begin(now);
    else {
      this.asked = different;
      this.parts.say([wantedPart(different)]);
    }
  }

  private compareRanges(group: number, sums: BigUint64Array): void {
    if (this.repair !== undefined || !(this.asked & (1 << group))) return;
    this.asked &= ~(1 << group);
    const { arena, place } = this.parts;
    const ours = rangeSums(arena, L.TABLE_EXTERNAL, group, place);
    for (let i = 0; i < GROUP; i++) {
      const range = group * GROUP + i;
      const times = this.differed[range]!;
      this.differed[range] = ours[i] === sums[i] ? 0 : Math.min(SURE, times + 1);
    }
  }

  /** Is there another one's later word on a flow of this peer in every one of these ranges? */
  private unclear(ranges: readonly number[]): boolean {
    const { arena, place } = this.parts;
    return ranges.every((range) => contestedFlows(arena, place, range) > 0);
  }

  private begin(now: number): void {
    const { arena, place } = this.parts;
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
      doubting: [
        ...(arena.limits.multicast
          ? [new SlicedWalk(this.parts, L.TABLE_EXTERNAL, VERB.trust, [])]
          : []),
        new SlicedWalk(this.parts, L.TABLE_EXTERNAL, VERB.doubt, [at, place]),
      ],
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
    if (!isDone(repair.doubting) || repair.ended & (1 << group)) return;
    if (!someOf(repair.ranges, group)) return;
    repair.ended |= 1 << group;
    const { arena, place } = this.parts;
    const ours = rangeSums(arena, L.TABLE_EXTERNAL, group, place);
    const doubted = doubtedSums(arena, group);
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
    else if (!isDone(repair.doubting)) stepOf(repair.doubting);
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
    if (failed > 0) this.known = this.unclear(unmended(repair)) ? 'cannot say' : 'different';
    this.parts.onRepaired(repair.count - failed, removed, failed);
  }
}

function isDone(walks: readonly SlicedWalk[]): boolean {
  return walks.every(({ done }) => done);
}

/** The next slice of the first walk that has not come to its end. */
function stepOf(walks: readonly SlicedWalk[]): void {
  walks.find(({ done }) => !done)?.step();
}

/** Ranges of a repair that it did not mend. */
function unmended({ ranges, proven }: Repair): number[] {
  const list: number[] = [];
  for (let range = 0; range < L.DIGEST_RANGES; range++) {
    if (hasBit(ranges, range) && !hasBit(proven, range)) list.push(range);
  }
  return list;
}
