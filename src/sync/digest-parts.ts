// What two nodes tell each other to compare their tables and to repair what differs, as parts of a
// tail (tail.ts). Ranges and their sums: assembly/digest.ts. A group is GROUP ranges, one after the
// other. What has not exactly the length or the values that it must have is not told at all.
//
//   SUMS     the owner of the flows  the sum of each group of its internal cache
//   WANTED   the one who compares    groups whose ranges it wants to see
//   RANGES   the owner               the sum of each range of one group
//   REPAIR   the one who compares    ranges that the owner is to say again
//   SAID     the owner               all of them are said: their sums, a group each
//   VERDICT  the one who compares    what came of it, for each owner, in every beacon

import * as L from '../../assembly/layout.js';
import { PART, type Part, type Tail } from './tail.js';

export const GROUPS = 16;
/** Ranges of a group. */
export const GROUP = L.DIGEST_RANGES / GROUPS;
const BITMAP = L.DIGEST_RANGES / 8;

const SUMS = PART.DIGEST_FIRST;
const WANTED = PART.DIGEST_FIRST + 1;
const RANGES = PART.DIGEST_FIRST + 2;
const REPAIR = PART.DIGEST_FIRST + 3;
const SAID = PART.DIGEST_FIRST + 4;
const VERDICT = PART.DIGEST_FIRST + 5;

/** How the flows of one node and their copy at another compare. */
export const VERDICTS = ['cannot say', 'equal', 'different', 'repairing'] as const;
export type Verdict = (typeof VERDICTS)[number];

export interface DigestParts {
  /** GROUPS sums. */
  sums?: BigUint64Array;
  /** A bit for each group. */
  wanted?: number;
  ranges?: { group: number; sums: BigUint64Array };
  /** `ranges`: a bit for each range. */
  repair?: { id: number; ranges: Uint8Array };
  said?: { id: number; group: number; sums: BigUint64Array };
  /** `node`: whose flows it is about; in a group there are several. */
  verdicts?: { node: bigint; verdict: Verdict }[];
}

export function sumsPart(sums: BigUint64Array): Part {
  return part(SUMS, 8 * GROUPS, (view) => putSums(view, 0, sums));
}

export function wantedPart(groups: number): Part {
  return part(WANTED, 2, (view) => view.setUint16(0, groups));
}

export function rangesPart(group: number, sums: BigUint64Array): Part {
  return part(RANGES, 4 + 8 * GROUP, (view) => {
    view.setUint16(0, group);
    putSums(view, 4, sums);
  });
}

export function repairPart(id: number, ranges: Uint8Array): Part {
  const made = part(REPAIR, 4 + BITMAP, (view) => view.setUint32(0, id));
  made.value.set(ranges, 4);
  return made;
}

export function saidPart(id: number, group: number, sums: BigUint64Array): Part {
  return part(SAID, 8 + 8 * GROUP, (view) => {
    view.setUint32(0, id);
    view.setUint16(4, group);
    putSums(view, 8, sums);
  });
}

export function verdictPart(node: bigint, verdict: Verdict): Part {
  return part(VERDICT, 9, (view) => {
    view.setBigUint64(0, node);
    view.setUint8(8, VERDICTS.indexOf(verdict));
  });
}

/** What a tail says about digests. */
export function readDigestParts({ parts }: Tail): DigestParts {
  const told: DigestParts = {};
  for (const { type, value } of parts) {
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    if (type === SUMS && value.length === 8 * GROUPS) told.sums = takeSums(view, 0, GROUPS);
    else if (type === WANTED && value.length === 2) told.wanted = view.getUint16(0);
    else if (type === RANGES && value.length === 4 + 8 * GROUP) readRanges(view, told);
    else if (type === REPAIR && value.length === 4 + BITMAP) {
      told.repair = { id: view.getUint32(0), ranges: value.slice(4) };
    } else if (type === SAID && value.length === 8 + 8 * GROUP) readSaid(view, told);
    else if (type === VERDICT && value.length === 9) readVerdict(view, told);
  }
  return told;
}

function readRanges(view: DataView, told: DigestParts): void {
  const group = view.getUint16(0);
  if (group < GROUPS) told.ranges = { group, sums: takeSums(view, 4, GROUP) };
}

function readSaid(view: DataView, told: DigestParts): void {
  const group = view.getUint16(4);
  if (group >= GROUPS) return;
  told.said = { id: view.getUint32(0), group, sums: takeSums(view, 8, GROUP) };
}

function readVerdict(view: DataView, told: DigestParts): void {
  const verdict = VERDICTS[view.getUint8(8)];
  if (verdict === undefined) return;
  told.verdicts ??= [];
  told.verdicts.push({ node: view.getBigUint64(0), verdict });
}

function part(type: number, length: number, fill: (view: DataView) => void): Part {
  const value = new Uint8Array(length);
  fill(new DataView(value.buffer));
  return { type, value };
}

function putSums(view: DataView, at: number, sums: BigUint64Array): void {
  sums.forEach((sum, i) => {
    view.setBigUint64(at + 8 * i, sum);
  });
}

function takeSums(view: DataView, at: number, count: number): BigUint64Array {
  return BigUint64Array.from({ length: count }, (_, i) => view.getBigUint64(at + 8 * i));
}
