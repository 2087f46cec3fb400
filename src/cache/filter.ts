// Compiling the filter of the configuration into the bytes that the shards ask for every flow.
//
// Main does it once at start, before the arena is laid out, and the arena keeps the copy that counts;
// nothing here blocks. Layout and what passes: assembly/filter-layout.ts, assembly/filter.ts,
// docs/configuration.md ("General / Filter").

import * as F from '../../assembly/filter-layout.js';
import type { AddressEntry, Filter, Policy } from '../config/config.js';

/** Addresses from first to last, both included, as numbers. */
interface Range {
  first: bigint;
  last: bigint;
}

const RULES = { Accept: F.FILTER_ACCEPT, Ignore: F.FILTER_IGNORE } as const;
const LOW_HALF = 0xffff_ffff_ffff_ffffn;

/**
 * The filter as bytes that may lie at any address aligned to 8. `From` makes no difference: what is
 * followed is the same. Throws RangeError for a protocol or a state above 255.
 */
export function compileFilter(filter: Filter): Uint8Array {
  const { protocol, address, state } = filter;
  const ranges6 = mergedRanges(address?.entries ?? [], 6);
  const ranges4 = mergedRanges(address?.entries ?? [], 4);
  const at6 = F.FILTER_RANGES;
  const at4 = at6 + ranges6.length * F.RANGE6_SIZE;
  const bytes = new Uint8Array(at4 + ranges4.length * F.RANGE4_SIZE);
  const view = new DataView(bytes.buffer);
  const rule = address === undefined ? F.FILTER_ANY : RULES[address.policy];
  view.setUint32(F.FILTER_RULE, rule, true);
  view.setUint32(F.FILTER_COUNT6, ranges6.length, true);
  view.setUint32(F.FILTER_AT6, at6, true);
  view.setUint32(F.FILTER_COUNT4, ranges4.length, true);
  view.setUint32(F.FILTER_AT4, at4, true);
  bytes.set(passing(protocol?.policy, protocol?.numbers ?? []), F.FILTER_PROTOCOLS);
  bytes.set(passing(state?.policy, state?.states ?? []), F.FILTER_STATES);
  ranges6.forEach((range, i) => {
    writeRange6(view, at6 + i * F.RANGE6_SIZE, range);
  });
  ranges4.forEach(({ first, last }, i) => {
    view.setUint32(at4 + i * F.RANGE4_SIZE + F.RANGE4_FIRST, Number(first), true);
    view.setUint32(at4 + i * F.RANGE4_SIZE + F.RANGE4_LAST, Number(last), true);
  });
  return bytes;
}

function writeRange6(view: DataView, at: number, { first, last }: Range): void {
  view.setBigUint64(at + F.RANGE6_FIRST, first >> 64n, true);
  view.setBigUint64(at + F.RANGE6_FIRST + 8, first & LOW_HALF, true);
  view.setBigUint64(at + F.RANGE6_LAST, last >> 64n, true);
  view.setBigUint64(at + F.RANGE6_LAST + 8, last & LOW_HALF, true);
}

/** The numbers that pass, as a set of 256 bits; all of them without a policy. */
function passing(policy: Policy | undefined, numbers: readonly number[]): Uint8Array {
  const set = new Uint8Array(32);
  for (const number of numbers) {
    if (!(number >= 0 && number <= 255)) throw new RangeError(`${number} in a filter`);
    set[number >> 3]! |= 1 << (number & 7);
  }
  return policy === 'Accept' ? set : set.map((byte) => ~byte);
}

/** What the entries of a family cover, sorted; ranges that overlap or touch are one. */
function mergedRanges(entries: readonly AddressEntry[], family: 4 | 6): Range[] {
  const ranges = entries
    .filter((entry) => entry.family === family)
    .map(rangeOf)
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const merged: Range[] = [];
  for (const range of ranges) {
    const before = merged.at(-1);
    if (before === undefined || range.first > before.last + 1n) merged.push(range);
    else if (range.last > before.last) before.last = range.last;
  }
  return merged;
}

function rangeOf({ family, bytes, prefix }: AddressEntry): Range {
  const width = family === 4 ? 32 : 128;
  const hosts = (1n << BigInt(width - prefix)) - 1n;
  const last = BigInt(`0x${Buffer.from(bytes).toString('hex')}`) | hosts;
  return { first: last ^ hosts, last };
}
