// The owner's side of comparing tables: tells the sums of its internal cache, and says again the flows
// of the ranges in which the other side found a difference.
//
// A sum is worth something only together with a place in the stream of messages: it is taken in a
// moment in which every change of the cache has been told, and leaves before the next change does. Who
// has taken all messages up to it must hold the same flows.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import { type DigestParts, GROUP, GROUPS, rangesPart, saidPart, sumsPart } from './digest-parts.js';
import { SlicedWalk } from './slices.js';
import { groupSums, hasBit, rangeSums } from './sums.js';
import type { Part } from './tail.js';

const INTERVAL = 1000; // ms between two SUMS
/** ms between two answers to WANTED, whoever asks how often. */
const ANSWER_PAUSE = 200;
/** ms from the end of a repair to the next one. */
const REPAIR_PAUSE = 500;
/** Flows said in one go: what a small receive buffer holds. */
const MOST = 256;

export interface TellerParts {
  arena: Arena;
  shards: Shards;
  say: (parts: readonly Part[]) => void;
  /** Is every change told, and nothing under way? */
  atRest: () => boolean;
  /** May more be said, with regard to the peer's receive buffer? */
  mayAdd: (now: number) => boolean;
}

interface Telling {
  id: number;
  ranges: Uint8Array;
  walk: SlicedWalk;
}

export class Teller {
  /** Flows said again for a repair, and repairs carried out. */
  flowsSaid = 0;
  repairs = 0;
  private lastSums = Number.NEGATIVE_INFINITY;
  private lastAnswer = Number.NEGATIVE_INFINITY;
  private lastRepair = Number.NEGATIVE_INFINITY;
  private wanted = 0;
  private telling: Telling | undefined;
  /** The last repair that is through: asked for once more, its end is told once more. */
  private told: { id: number; ranges: Uint8Array } | undefined;
  private endDue = false;

  constructor(private readonly parts: TellerParts) {}

  hear({ wanted, repair }: DigestParts, now: number): void {
    if (wanted !== undefined) this.wanted |= wanted;
    if (repair === undefined || this.telling?.id === repair.id) return;
    if (this.told?.id === repair.id) this.endDue = true;
    else if (this.telling === undefined && now - this.lastRepair >= REPAIR_PAUSE) {
      this.begin(repair.id, repair.ranges);
    }
  }

  private begin(id: number, ranges: Uint8Array): void {
    const { arena } = this.parts;
    const at = arena.ranges.said;
    arena.bytes.set(ranges, at);
    const walk = new SlicedWalk(this.parts, L.TABLE_INTERNAL, VERB.sayAgain, [at, MOST]);
    this.telling = { id, ranges, walk };
    this.endDue = false;
  }

  /** The peer is gone, or is another one. */
  forget(): void {
    this.wanted = 0;
    this.told = undefined;
    this.endDue = false;
  }

  /** At the beginning of a turn. True when there is work for the next one. */
  turn(now: number): boolean {
    if (this.telling !== undefined) this.goOn(now);
    if (!this.parts.atRest()) return this.telling !== undefined;
    if (this.telling?.walk.done) this.end(now);
    if (this.endDue) this.tellEnd();
    if (this.wanted !== 0 && now - this.lastAnswer >= ANSWER_PAUSE) this.tellRanges(now);
    if (now - this.lastSums >= INTERVAL) {
      this.lastSums = now;
      this.parts.say([sumsPart(groupSums(this.parts.arena, L.TABLE_INTERNAL))]);
    }
    return this.telling !== undefined || this.wanted !== 0;
  }

  private goOn(now: number): void {
    const { walk } = this.telling!;
    if (!walk.done && this.parts.mayAdd(now)) walk.step();
  }

  private end(now: number): void {
    const { id, ranges, walk } = this.telling!;
    this.flowsSaid += walk.total;
    this.repairs++;
    this.lastRepair = now;
    this.telling = undefined;
    this.told = { id, ranges };
    this.endDue = true;
  }

  private tellEnd(): void {
    this.endDue = false;
    const { id, ranges } = this.told!;
    for (let group = 0; group < GROUPS; group++) {
      if (!someOf(ranges, group)) continue;
      this.parts.say([saidPart(id, group, rangeSums(this.parts.arena, L.TABLE_INTERNAL, group))]);
    }
  }

  private tellRanges(now: number): void {
    this.lastAnswer = now;
    for (let group = 0; group < GROUPS; group++) {
      if (!(this.wanted & (1 << group))) continue;
      this.parts.say([rangesPart(group, rangeSums(this.parts.arena, L.TABLE_INTERNAL, group))]);
    }
    this.wanted = 0;
  }
}

/** Is a range of this group among those of the bitmap? */
export function someOf(ranges: Uint8Array, group: number): boolean {
  for (let i = 0; i < GROUP; i++) if (hasBit(ranges, group * GROUP + i)) return true;
  return false;
}
