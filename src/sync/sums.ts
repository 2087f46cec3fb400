// The digests of a whole cache, on main: the shards' sums added up (assembly/digest.ts). Which shard
// has a flow is each node's own affair, so only the total of all shards means something to a peer.
// Right while the shards rest; who reads sees to that.
//
// `place`: of the member of a multicast group of whose flows the external cache's sum is wanted
// (assembly/shares.ts). With one peer there is one sum, whatever the place.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import { GROUP, GROUPS } from './digest-parts.js';

/** The sum of each range of a group of a cache. */
export function rangeSums(arena: Arena, kind: number, group: number, place = 0): BigUint64Array {
  const sums = new BigUint64Array(GROUP);
  for (let shard = 0; shard < arena.limits.shards; shard++) {
    const table = arena.table(shard, kind);
    const shares = arena.get(table + L.TABLE_SHARES);
    const at =
      shares === 0
        ? arena.get(table + L.TABLE_DIGESTS)
        : shares + L.SHARES_SUMS + place * L.SHARES_SUMS_SIZE;
    addUp(arena, sums, at, group);
  }
  return sums;
}

/** The same of the flows in doubt alone. */
export function doubtedSums(arena: Arena, group: number): BigUint64Array {
  const sums = new BigUint64Array(GROUP);
  for (let shard = 0; shard < arena.limits.shards; shard++) {
    const table = arena.table(shard, L.TABLE_EXTERNAL);
    addUp(arena, sums, arena.get(table + L.TABLE_DIGESTS) + L.DIGEST_DOUBTED, group);
  }
  return sums;
}

/** Flows of a range of which the member in `place` speaks, and another one's word came later. */
export function contestedFlows(arena: Arena, place: number, range: number): number {
  let count = 0;
  for (let shard = 0; shard < arena.limits.shards; shard++) {
    const shares = arena.get(arena.table(shard, L.TABLE_EXTERNAL) + L.TABLE_SHARES);
    if (shares === 0) continue;
    count += arena.get(shares + L.SHARES_CONTESTED + place * L.SHARES_CONTESTED_SIZE + range * 4);
  }
  return count;
}

/** The sum of each group of a cache. */
export function groupSums(arena: Arena, kind: number, place = 0): BigUint64Array {
  const sums = new BigUint64Array(GROUPS);
  for (let group = 0; group < GROUPS; group++) {
    for (const sum of rangeSums(arena, kind, group, place)) sums[group]! += sum;
  }
  return sums;
}

/** Adds the sums of a group of ranges in the array at `at`. */
function addUp(arena: Arena, sums: BigUint64Array, at: number, group: number): void {
  const first = at / 8 + group * GROUP;
  for (let i = 0; i < GROUP; i++) sums[i]! += arena.u64[first + i]!;
}

export function hasBit(bits: Uint8Array, index: number): boolean {
  return (bits[index >> 3]! & (1 << (index & 7))) !== 0;
}

export function setBit(bits: Uint8Array, index: number): void {
  bits[index >> 3]! |= 1 << (index & 7);
}
