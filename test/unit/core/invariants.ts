// What must hold of a shard after every step, whatever the steps were. Each check reads the memory
// alone and trusts no counter it has not recomputed.

import { expect } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { EXTERNAL, INTERNAL, type TestNode } from './arena.js';

export function checkShard(node: TestNode): void {
  const parts = { v6: new Set<number>(), extra: new Set<number>() };
  for (const kind of [INTERNAL, EXTERNAL]) {
    checkTable(node, kind);
    collectParts(node, kind, parts);
  }
  checkQueue(node);
  checkSideParts(node, parts);
  for (const record of node.records(EXTERNAL)) {
    expect(node.state(record), 'no dead flow in the external cache').not.toBe(L.OBJECT_DEAD);
  }
}

/** The index reaches every record that is not free exactly once, in the bucket of its hash. */
export function checkTable(node: TestNode, kind: number): void {
  const table = node.table(kind);
  const records = node.records(kind);
  const count = node.get(table + L.TABLE_COUNT);
  expect(records.length, 'TABLE_COUNT').toBe(count);
  expect(node.get(L.CONTROL_COUNT + 4 * kind), 'CONTROL_COUNT').toBe(count);
  expect(records.filter((record) => node.state(record) === L.OBJECT_DEAD).length).toBe(
    node.get(table + L.TABLE_DEAD),
  );
  const heads = node.get(table + L.TABLE_HEADS);
  const buckets = node.get(table + L.TABLE_BUCKETS);
  const seen = new Set<number>();
  for (let bucket = 0; bucket < buckets; bucket++) {
    let record = node.get(heads + 4 * bucket);
    while (record !== 0) {
      if (seen.has(record)) throw new Error('a record is in the index twice, or a chain is a ring');
      seen.add(record);
      const hash = node.fn.hashLow!(record) >>> 0;
      if (bucketOf(hash, buckets) !== bucket) throw new Error('a record in the wrong bucket');
      record = node.get(record + L.RECORD_NEXT);
    }
  }
  expect(seen.size, 'records in the index').toBe(count);
  for (const record of records) if (!seen.has(record)) throw new Error('a record out of reach');
  checkFreeList(node, kind, records.length);
  checkDigests(node, kind);
}

/** The sums of the ranges are what they would be if they were made from nothing now. */
export function checkDigests(node: TestNode, kind: number): void {
  const digests = node.get(node.table(kind) + L.TABLE_DIGESTS);
  if (digests === 0) return;
  if (node.get(node.table(kind) + L.TABLE_SHARES) !== 0) {
    checkShares(node);
    return;
  }
  const fresh = new BigUint64Array((2 * L.DIGEST_DOUBTED) / 8);
  for (const record of node.records(kind)) {
    if (node.state(record) === L.OBJECT_DEAD) continue;
    const range = node.fn.recordRange!(record);
    const digest = BigInt(node.fn.recordDigest!(record));
    fresh[range]! += digest;
    if (node.bytes[record + L.RECORD_OBJECT]! & L.OBJECT_DOUBTED) {
      fresh[L.DIGEST_DOUBTED / 8 + range]! += digest;
    }
  }
  const kept = node.arena.u64.subarray(digests / 8, digests / 8 + fresh.length);
  const wrong = fresh.findIndex((sum, i) => sum !== kept[i]);
  expect(wrong, `range of the ${kind === INTERNAL ? 'internal' : 'external'} cache`).toBe(-1);
}

/** The same of a group: each member's sums, its contested flows, and what is in doubt. */
function checkShares(node: TestNode): void {
  const table = node.table(EXTERNAL);
  const shares = node.get(table + L.TABLE_SHARES);
  const doubter = node.get(shares + L.SHARES_DOUBTER);
  const sums = new BigUint64Array((L.PEERS_MAX * L.SHARES_SUMS_SIZE) / 8);
  const contested = new Uint32Array((L.PEERS_MAX * L.SHARES_CONTESTED_SIZE) / 4);
  const doubted = new BigUint64Array(L.DIGEST_RANGES);
  for (const record of node.records(EXTERNAL)) {
    const range = node.fn.recordRange!(record);
    const digest = BigInt(node.fn.recordDigest!(record));
    const speakers = node.get(record + L.RECORD_SPEAKERS);
    const agree = speakers & 0xffff;
    expect(agree & ~(speakers >>> 16), 'whoever agrees speaks of it').toBe(0);
    for (let place = 0; place < L.PEERS_MAX; place++) {
      if (agree & (1 << place)) sums[place * L.DIGEST_RANGES + range]! += digest;
      else if ((speakers >>> 16) & (1 << place)) contested[place * L.DIGEST_RANGES + range]!++;
    }
    const inDoubt = (node.bytes[record + L.RECORD_OBJECT]! & L.OBJECT_DOUBTED) !== 0;
    if (inDoubt && agree & doubter) doubted[range]! += digest;
  }
  const { u64, u32 } = node.arena;
  const sumsAt = (shares + L.SHARES_SUMS) / 8;
  const wrong = sums.findIndex((sum, i) => sum !== u64[sumsAt + i]);
  expect(wrong, 'sum of a member').toBe(-1);
  const contestedAt = (shares + L.SHARES_CONTESTED) / 4;
  expect(
    contested.findIndex((count, i) => count !== u32[contestedAt + i]),
    'contested flows of a member',
  ).toBe(-1);
  const doubtedAt = (node.get(table + L.TABLE_DIGESTS) + L.DIGEST_DOUBTED) / 8;
  expect(
    doubted.findIndex((sum, i) => sum !== u64[doubtedAt + i]),
    'sum in doubt',
  ).toBe(-1);
}

/** Linear hashing as the textbook has it: h mod 2m, or h mod m where that bucket is yet to come. */
export function bucketOf(hash: number, buckets: number): number {
  let m = 1;
  while (m * 2 <= buckets) m *= 2;
  const wide = hash % (m * 2);
  return wide < buckets ? wide : hash % m;
}

function checkFreeList(node: TestNode, kind: number, living: number): void {
  const table = node.table(kind);
  const used = node.get(table + L.TABLE_USED);
  let free = 0;
  let record = node.get(table + L.TABLE_FREE);
  while (record !== 0) {
    if (++free > used) throw new Error('the free list is a ring');
    if (node.state(record) !== L.OBJECT_FREE) throw new Error('a used record on the free list');
    record = node.get(record + L.RECORD_NEXT);
  }
  expect(free + living, 'free and used records').toBe(used);
}

/** The queue bit says exactly who is in the queue, and nobody is there twice. */
function checkQueue(node: TestNode): void {
  const queue = node.queue();
  expect(new Set(queue).size, 'records queued once').toBe(queue.length);
  expect(node.fn.shardQueued!(node.shard)).toBe(queue.length);
  const flagged = node.records(INTERNAL).filter((record) => node.isQueued(record));
  expect(new Set(flagged)).toEqual(new Set(queue));
  expect(node.records(EXTERNAL).some((record) => node.isQueued(record))).toBe(false);
}

function collectParts(
  node: TestNode,
  kind: number,
  parts: { v6: Set<number>; extra: Set<number> },
): void {
  for (const record of node.records(kind)) {
    const v6 = node.get(record + L.RECORD_V6);
    const extra = node.get(record + L.RECORD_EXTRA);
    if (v6 !== 0) {
      if (parts.v6.has(v6)) throw new Error('two records share a v6 part');
      parts.v6.add(v6);
    }
    if (extra !== 0) {
      if (parts.extra.has(extra)) throw new Error('two records share an extra part');
      parts.extra.add(extra);
    }
    const isV6 = node.bytes[record + L.RECORD_L3] === 10;
    // Only a tomb may have lost its addresses, when there was no memory for them.
    if (isV6 !== (v6 !== 0) && !node.isTomb(record)) throw new Error('a v6 part amiss');
  }
}

/** Parts in use, free and never handed out make up the chunks taken: none is lost or shared. */
function checkSideParts(node: TestNode, used: { v6: Set<number>; extra: Set<number> }): void {
  const taken = (node.get(L.CONTROL_SIDE_NEXT) - node.sideStart) / L.SIDE_CHUNK;
  const v6 = poolParts(node, L.SHARD_V6_FREE, L.V6_SIZE, used.v6);
  const extra = poolParts(node, L.SHARD_EXTRA_FREE, L.EXTRA_SIZE, used.extra);
  expect(v6 * L.V6_SIZE + extra * L.EXTRA_SIZE, 'bytes of side parts').toBe(taken * L.SIDE_CHUNK);
}

function poolParts(node: TestNode, pool: number, size: number, used: Set<number>): number {
  const at = node.shard + pool;
  const seen = new Set(used);
  let free = node.get(at);
  while (free !== 0) {
    if (seen.has(free)) throw new Error('a side part is free and used, or free twice');
    seen.add(free);
    free = node.get(free);
  }
  const rest = (node.get(at + 8) - node.get(at + 4)) / size;
  return seen.size + rest;
}
