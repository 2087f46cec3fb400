// The flow table: a slab of records and a chained index that grows by linear hashing.
//
//   heads[0 … buckets)  ──▶ record ──next──▶ record ──▶ 0
//
// Why this shape: records never move, so an address names a flow for its whole life (queues, resend
// ring and bulk cursors hold plain addresses); there are no tombstones; and the index grows one
// bucket at a time. Every insertion that lifts the load above one splits one bucket, so no
// insertion ever pays for a rebuild of the whole index (45 ms at a million flows otherwise).
//
// `bucket(h)` is h masked to the next power of two; a bucket that does not exist yet is still part
// of the one half a mask below. A table starts with two buckets or more. Records are dense in the slab below TABLE_USED, which is what
// dumps, commits and sweeps walk.
//
// A table belongs to one shard and only that shard's thread writes it.

import { hashKey } from './hash';
import {
  CONTROL_COUNT,
  CONTROL_LIMIT,
  CONTROL_NOW,
  DIGEST_SIZE,
  FLOW_ORIG,
  OBJECT_FREE,
  OBJECT_NEW,
  OBJECT_STATE,
  RECORD_ADDED,
  RECORD_EXTRA,
  RECORD_ID,
  RECORD_KEY,
  RECORD_L3,
  RECORD_NEXT,
  RECORD_OBJECT,
  RECORD_PRESENT,
  RECORD_SEQUENCE,
  RECORD_SIZE,
  RECORD_UNACKED,
  RECORD_V6,
  RECORD_VISIT,
  SHARES_SIZE,
  TABLE_BUCKETS,
  TABLE_BUCKETS_MAX,
  TABLE_CAPACITY,
  TABLE_COUNT,
  TABLE_CREATE_FAILED,
  TABLE_DIGESTS,
  TABLE_FREE,
  TABLE_HEADS,
  TABLE_KIND,
  TABLE_NO_MEMORY,
  TABLE_NO_SPACE,
  TABLE_RECORDS,
  TABLE_SHARES,
  TABLE_USED,
  HAS_ORIG,
} from './layout';
import { dropParts, reserveParts, sameV6 } from './record';

const AF_INET6: u32 = 10;

// @ts-ignore: decorator
@inline
export function bucketOf(table: usize, hash: u32): usize {
  const buckets = load<u32>(table, TABLE_BUCKETS);
  // The mask of the next power of two: 2^ceil(log2(buckets)) - 1.
  const mask = (<u32>0xffffffff) >> clz<u32>(buckets - 1);
  let bucket = hash & mask;
  if (bucket >= buckets) bucket &= mask >> 1;
  return <usize>load<u32>(table, TABLE_HEADS) + (<usize>bucket << 2);
}

// @ts-ignore: decorator
@inline
export function bump(counter: usize): void {
  store<u64>(counter, load<u64>(counter) + 1);
}

/** The record with the 16-byte key at `key`, or 0. `flow` supplies the addresses of IPv6. */
export function findRecord(table: usize, key: usize, flow: usize): usize {
  const low = load<u64>(key);
  const high = load<u64>(key, 8);
  let record = <usize>load<u32>(bucketOf(table, <u32>hashKey(key)));
  while (record != 0) {
    if (load<u64>(record, RECORD_KEY) == low && load<u64>(record, RECORD_KEY + 8) == high) {
      if (<u32>load<u8>(record, RECORD_L3) != AF_INET6 || sameV6(record, flow + FLOW_ORIG)) {
        return record;
      }
    }
    record = <usize>load<u32>(record, RECORD_NEXT);
  }
  return 0;
}

/**
 * A new record for the key at `key` with the parts `flow` needs, linked into the index and otherwise
 * empty. Returns 0, counted, when HashLimit is reached or the memory is used up.
 */
export function addRecord(shard: usize, table: usize, key: usize, flow: usize): usize {
  const kind = <usize>load<u32>(table, TABLE_KIND) << 2;
  if (atomic.add<u32>(CONTROL_COUNT + kind, 1) >= load<u32>(CONTROL_LIMIT + kind)) {
    return refuse(table, kind, TABLE_NO_SPACE);
  }
  const record = takeRecord(table);
  if (record == 0) return refuse(table, kind, TABLE_NO_SPACE);
  store<u32>(record, 0, RECORD_V6);
  store<u32>(record, 0, RECORD_EXTRA);
  if (!reserveParts(shard, record, flow)) {
    dropParts(shard, record);
    freeRecord(table, record);
    return refuse(table, kind, TABLE_NO_MEMORY);
  }
  store<u64>(record, load<u64>(key), RECORD_KEY);
  store<u64>(record, load<u64>(key, 8), RECORD_KEY + 8);
  store<u32>(record, HAS_ORIG, RECORD_PRESENT);
  store<u32>(record, 0, RECORD_ID);
  store<u32>(record, 0, RECORD_SEQUENCE);
  store<u8>(record, OBJECT_NEW, RECORD_OBJECT);
  store<u8>(record, 0, RECORD_VISIT);
  // The flow that was here before may still be named by the resend ring: this one was never sent.
  store<u8>(record, 0, RECORD_UNACKED);
  store<u32>(record, load<u32>(CONTROL_NOW), RECORD_ADDED);

  const count = load<u32>(table, TABLE_COUNT) + 1;
  store<u32>(table, count, TABLE_COUNT);
  if (count > load<u32>(table, TABLE_BUCKETS)) splitBucket(table);
  const head = bucketOf(table, <u32>hashKey(record));
  store<u32>(record, load<u32>(head), RECORD_NEXT);
  store<u32>(head, <u32>record);
  return record;
}

function refuse(table: usize, kind: usize, reason: usize): usize {
  atomic.sub<u32>(CONTROL_COUNT + kind, 1);
  bump(table + TABLE_CREATE_FAILED);
  bump(table + reason);
  return 0;
}

/** Unlinks a record from the index, gives its parts back and puts it on the free list. */
export function removeRecord(shard: usize, table: usize, record: usize): void {
  let link = bucketOf(table, <u32>hashKey(record));
  let at = <usize>load<u32>(link);
  while (at != 0 && at != record) {
    link = at + RECORD_NEXT;
    at = <usize>load<u32>(link);
  }
  if (at == 0) return;
  store<u32>(link, load<u32>(record, RECORD_NEXT));
  dropParts(shard, record);
  freeRecord(table, record);
  store<u32>(table, load<u32>(table, TABLE_COUNT) - 1, TABLE_COUNT);
  atomic.sub<u32>(CONTROL_COUNT + (<usize>load<u32>(table, TABLE_KIND) << 2), 1);
}

/** A record from the free list or the untouched end of the slab; 0 when the slab is full. */
function takeRecord(table: usize): usize {
  const free = <usize>load<u32>(table, TABLE_FREE);
  if (free != 0) {
    store<u32>(table, load<u32>(free, RECORD_NEXT), TABLE_FREE);
    return free;
  }
  const used = load<u32>(table, TABLE_USED);
  if (used >= load<u32>(table, TABLE_CAPACITY)) return 0;
  store<u32>(table, used + 1, TABLE_USED);
  return <usize>load<u32>(table, TABLE_RECORDS) + <usize>used * RECORD_SIZE;
}

function freeRecord(table: usize, record: usize): void {
  store<u8>(record, OBJECT_FREE, RECORD_OBJECT);
  store<u32>(record, load<u32>(table, TABLE_FREE), RECORD_NEXT);
  store<u32>(table, <u32>record, TABLE_FREE);
}

/** Head of the bucket that is split `later` splits from now. */
// @ts-ignore: decorator
@inline
export function nextToSplit(table: usize, later: u32): usize {
  const added = load<u32>(table, TABLE_BUCKETS) + later;
  const mask = (<u32>0xffffffff) >> clz<u32>(added);
  return <usize>load<u32>(table, TABLE_HEADS) + (<usize>(added & (mask >> 1)) << 2);
}

/** Adds bucket `buckets`; its records come from the one bucket that stood in for it so far. */
function splitBucket(table: usize): void {
  const buckets = load<u32>(table, TABLE_BUCKETS);
  if (buckets >= load<u32>(table, TABLE_BUCKETS_MAX)) return;
  const heads = <usize>load<u32>(table, TABLE_HEADS);
  const mask = (<u32>0xffffffff) >> clz<u32>(buckets); // mask of the grown table
  const from = nextToSplit(table, 0);
  store<u32>(table, buckets + 1, TABLE_BUCKETS);
  let keep: u32 = 0;
  let move: u32 = 0;
  let record = <usize>load<u32>(from);
  while (record != 0) {
    const next = <usize>load<u32>(record, RECORD_NEXT);
    if ((<u32>hashKey(record) & mask) == buckets) {
      store<u32>(record, move, RECORD_NEXT);
      move = <u32>record;
    } else {
      store<u32>(record, keep, RECORD_NEXT);
      keep = <u32>record;
    }
    record = next;
  }
  store<u32>(from, keep);
  store<u32>(heads + (<usize>buckets << 2), move);
}

/** Empties the table: every record free, every part back with the shard, counters kept. */
export function clearTable(shard: usize, table: usize): void {
  const used = load<u32>(table, TABLE_USED);
  let record = <usize>load<u32>(table, TABLE_RECORDS);
  for (let i: u32 = 0; i < used; i++, record += RECORD_SIZE) {
    if ((load<u8>(record, RECORD_OBJECT) & OBJECT_STATE) == OBJECT_FREE) continue;
    dropParts(shard, record);
    // The resend ring may still name it: a free record has nothing to send.
    store<u8>(record, OBJECT_FREE, RECORD_OBJECT);
  }
  memory.fill(<usize>load<u32>(table, TABLE_HEADS), 0, <usize>load<u32>(table, TABLE_BUCKETS) << 2);
  const kind = <usize>load<u32>(table, TABLE_KIND) << 2;
  atomic.sub<u32>(CONTROL_COUNT + kind, load<u32>(table, TABLE_COUNT));
  store<u32>(table, 0, TABLE_USED);
  store<u32>(table, 0, TABLE_FREE);
  store<u32>(table, 0, TABLE_COUNT);
  const digests = <usize>load<u32>(table, TABLE_DIGESTS);
  if (digests != 0) memory.fill(digests, 0, DIGEST_SIZE);
  const shares = <usize>load<u32>(table, TABLE_SHARES);
  if (shares != 0) memory.fill(shares, 0, SHARES_SIZE);
}
