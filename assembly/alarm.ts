// ALARM mode: the two sweeps that make it reliable without a single acknowledgement. Every flow of
// the internal cache is sent again within RefreshTime, changed or not; an entry of the external
// cache of which nothing was heard for CacheTimeout is forgotten. Both walk the slab by index, a
// slice a call, so the work and the datagrams are spread evenly and no record needs a timer.

import {
  CONTROL_NOW,
  OBJECT_ALIVE,
  OBJECT_FREE,
  OBJECT_NEW,
  OBJECT_STATE,
  RECORD_OBJECT,
  RECORD_SIZE,
  RECORD_STAMP,
  SHARD_TABLES,
  TABLE_DESTROYED,
  TABLE_EXTERNAL,
  TABLE_INTERNAL,
  TABLE_RECORDS,
  TABLE_SIZE,
  TABLE_USED,
} from './layout';
import { digestOut } from './digest';
import { enqueue } from './shard';
import { bump, removeRecord } from './table';

/** Queues the living flows among `count` records from index `from` on; returns the next index, 0 at the end. */
export function shardRefresh(shard: usize, from: u32, count: u32): u32 {
  const table = shard + SHARD_TABLES + TABLE_INTERNAL * TABLE_SIZE;
  const base = <usize>load<u32>(table, TABLE_RECORDS);
  const used = load<u32>(table, TABLE_USED);
  const end = endOfSlice(from, count, used);
  for (let i = from; i < end; i++) {
    const record = base + <usize>i * RECORD_SIZE;
    const state = <u32>load<u8>(record, RECORD_OBJECT) & OBJECT_STATE;
    if (state == OBJECT_NEW || state == OBJECT_ALIVE) enqueue(shard, record);
  }
  return end < used ? end : 0;
}

/**
 * Forgets the entries among `count` records from index `from` on that were last heard of `seconds`
 * ago or earlier; returns the next index, 0 at the end.
 */
export function shardExpire(shard: usize, from: u32, count: u32, seconds: u32): u32 {
  const table = shard + SHARD_TABLES + TABLE_EXTERNAL * TABLE_SIZE;
  const base = <usize>load<u32>(table, TABLE_RECORDS);
  const used = load<u32>(table, TABLE_USED);
  const now = load<u32>(CONTROL_NOW);
  const end = endOfSlice(from, count, used);
  for (let i = from; i < end; i++) {
    const record = base + <usize>i * RECORD_SIZE;
    if ((<u32>load<u8>(record, RECORD_OBJECT) & OBJECT_STATE) == OBJECT_FREE) continue;
    // A worker may see the clock a moment before main wrote the stamp's second.
    const age = <i32>(now - load<u32>(record, RECORD_STAMP));
    if (age < 0 || <u32>age < seconds) continue;
    digestOut(table, record);
    removeRecord(shard, table, record);
    bump(table + TABLE_DESTROYED);
  }
  return end < used ? end : 0;
}

/** One behind the last index of a slice; a table that was emptied meanwhile has none. */
// @ts-ignore: decorator
@inline
function endOfSlice(from: u32, count: u32, used: u32): u32 {
  return from >= used ? used : from + min<u32>(count, used - from);
}
