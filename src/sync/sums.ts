// The digests of a whole cache, on main: the shards' sums added up (assembly/digest.ts). Which shard
// has a flow is each node's own affair, so only the total of all shards means something to a peer.
// Right while the shards rest; who reads sees to that.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import { GROUP, GROUPS } from './digest-parts.js';

/** The sum of each range of a group of a cache. */
export function rangeSums(arena: Arena, kind: number, group: number): BigUint64Array {
  return addUp(arena, kind, group * GROUP, GROUP);
}

/** The same of the flows in doubt alone. */
export function doubtedSums(arena: Arena, group: number): BigUint64Array {
  return addUp(arena, L.TABLE_EXTERNAL, L.DIGEST_DOUBTED / 8 + group * GROUP, GROUP);
}

/** The sum of each group of a cache. */
export function groupSums(arena: Arena, kind: number): BigUint64Array {
  const sums = new BigUint64Array(GROUPS);
  for (let group = 0; group < GROUPS; group++) {
    for (const sum of rangeSums(arena, kind, group)) sums[group]! += sum;
  }
  return sums;
}

function addUp(arena: Arena, kind: number, first: number, count: number): BigUint64Array {
  const sums = new BigUint64Array(count);
  for (let shard = 0; shard < arena.limits.shards; shard++) {
    const at = arena.get(arena.table(shard, kind) + L.TABLE_DIGESTS) / 8 + first;
    for (let i = 0; i < count; i++) sums[i]! += arena.u64[at + i]!;
  }
  return sums;
}

export function hasBit(bits: Uint8Array, index: number): boolean {
  return (bits[index >> 3]! & (1 << (index & 7))) !== 0;
}

export function setBit(bits: Uint8Array, index: number): void {
  bits[index >> 3]! |= 1 << (index & 7);
}
