// The expectation table: a slab of entries (expect-layout.ts) and a chained index of fixed size.
//
// Expectations are few and short-lived: one per transfer that a helper announced, gone when the
// transfer begins. So the table is simpler than that of flows (table.ts): whole wide forms, no side
// parts, an index that never grows. It lies in the shard that owns the *master* flow, and the router
// sends events and messages there. Three things come for free that way, with any number of workers:
// the master is looked up in a table of the same thread; an expectation leaves through the transmit
// queue of its master, behind it; and what is acknowledged finds its way back by its address.
//
// An entry is known by its zone and three tuples: master, expected, mask. The keyed hash of the
// expected tuple picks the bucket. Only the shard's thread writes, except for the two words of the
// head that belong to the sender (RECORD_SEQUENCE, RECORD_UNACKED).

import {
  EXPECT_BUCKETS,
  EXPECT_ENTRY,
  EXPECT_ENTRY_SIZE,
  SHARD_EXPECT_KEY,
  SHARD_EXPECT_WAITING,
  SHARD_EXPECTS,
} from './expect-layout';
import { MSG_EXP_NEW } from './framing';
import { hashKey } from './hash';
import {
  CONTROL_NOW,
  EXPECT_CLASS,
  EXPECT_FLAGS,
  EXPECT_FN,
  EXPECT_HAS_CLASS,
  EXPECT_HAS_FLAGS,
  EXPECT_HAS_FN,
  EXPECT_HAS_HELPER,
  EXPECT_HAS_ID,
  EXPECT_HAS_NAT,
  EXPECT_HAS_NAT_DIR,
  EXPECT_HAS_TIMEOUT,
  EXPECT_HAS_ZONE,
  EXPECT_HELPER,
  EXPECT_ID,
  EXPECT_MASK,
  EXPECT_MASTER,
  EXPECT_NAT,
  EXPECT_NAT_DIR,
  EXPECT_PRESENT,
  EXPECT_SIZE,
  EXPECT_TIMEOUT,
  EXPECT_TUPLE,
  EXPECT_ZONE,
  KNOWN_PORTS,
  OBJECT_ALIVE,
  OBJECT_DEAD,
  OBJECT_FREE,
  OBJECT_NEW,
  OBJECT_QUEUED,
  OBJECT_STATE,
  OBJECT_TOMB,
  RECORD_ADDED,
  RECORD_KEY,
  RECORD_NEXT,
  RECORD_OBJECT,
  RECORD_SEQUENCE,
  RECORD_STAMP,
  RECORD_UNACKED,
  RECORD_VISIT,
  TABLE_CAPACITY,
  TABLE_COUNT,
  TABLE_CREATE_FAILED,
  TABLE_CREATED,
  TABLE_DEAD,
  TABLE_FREE,
  TABLE_HEADS,
  TABLE_INTERNAL,
  TABLE_NO_SPACE,
  TABLE_RECORDS,
  TABLE_SIZE,
  TABLE_USED,
  TUPLE_DST,
  TUPLE_KNOWN,
  TUPLE_SIZE,
  TUPLE_SPORT,
  TUPLE_SRC,
} from './layout';
import { keyOfTuple } from './record';
import { encodeSyncExpect } from './sync-expect';
import { bump } from './table';

/** The shard's table of that kind. */
// @ts-ignore: decorator
@inline
export function expectTableOf(shard: usize, kind: u32): usize {
  return shard + SHARD_EXPECTS + <usize>kind * TABLE_SIZE;
}

/** Is this record of the transmit queue an expectation, and not a flow? */
// @ts-ignore: decorator
@inline
export function isExpectation(shard: usize, record: usize): bool {
  const table = expectTableOf(shard, TABLE_INTERNAL);
  const base = <usize>load<u32>(table, TABLE_RECORDS);
  const size = <usize>load<u32>(table, TABLE_CAPACITY) * EXPECT_ENTRY_SIZE;
  return record >= base && record < base + size;
}

/** The zone of an expectation's master. The kernel does not tell it: 0 unless a tool did. */
// @ts-ignore: decorator
@inline
export function zoneOfExpect(expect: usize): u32 {
  return load<u32>(expect, EXPECT_PRESENT) & EXPECT_HAS_ZONE ? <u32>load<u16>(expect, EXPECT_ZONE) : 0;
}

// @ts-ignore: decorator
@inline
function headOf(table: usize, key: usize): usize {
  const bucket = <u32>hashKey(key) & (EXPECT_BUCKETS - 1);
  return <usize>load<u32>(table, TABLE_HEADS) + (<usize>bucket << 2);
}

function sameTuple(a: usize, b: usize): bool {
  if (load<u16>(a) != load<u16>(b)) return false; // l3 and l4
  const ports = <u32>load<u8>(a, TUPLE_KNOWN) & <u32>load<u8>(b, TUPLE_KNOWN) & KNOWN_PORTS;
  if (ports && load<u32>(a, TUPLE_SPORT) != load<u32>(b, TUPLE_SPORT)) return false;
  return memory.compare(a + TUPLE_SRC, b + TUPLE_SRC, TUPLE_DST + 16 - TUPLE_SRC) == 0;
}

export function sameExpect(a: usize, b: usize): bool {
  return (
    sameTuple(a + EXPECT_TUPLE, b + EXPECT_TUPLE) &&
    sameTuple(a + EXPECT_MASTER, b + EXPECT_MASTER) &&
    sameTuple(a + EXPECT_MASK, b + EXPECT_MASK) &&
    zoneOfExpect(a) == zoneOfExpect(b)
  );
}

/** The entry that speaks of the same expectation as the wide form at `expect`, or 0. */
export function findExpect(shard: usize, table: usize, expect: usize): usize {
  const key = shard + SHARD_EXPECT_KEY;
  keyOfTuple(expect + EXPECT_TUPLE, zoneOfExpect(expect), key);
  let record = <usize>load<u32>(headOf(table, key));
  while (record != 0) {
    if (sameExpect(record + EXPECT_ENTRY, expect)) return record;
    record = <usize>load<u32>(record, RECORD_NEXT);
  }
  return 0;
}

/** A new entry with a copy of `expect`; 0, counted, when the table is full. */
export function addExpect(table: usize, expect: usize): usize {
  const record = takeEntry(table);
  if (record == 0) {
    bump(table + TABLE_CREATE_FAILED);
    bump(table + TABLE_NO_SPACE);
    return 0;
  }
  keyOfTuple(expect + EXPECT_TUPLE, zoneOfExpect(expect), record + RECORD_KEY);
  store<u32>(record, 0, RECORD_SEQUENCE);
  store<u8>(record, 0, RECORD_VISIT);
  // The one that was here before may still be named by the resend ring: this one was never sent.
  store<u8>(record, 0, RECORD_UNACKED);
  store<u8>(record, OBJECT_NEW, RECORD_OBJECT);
  fillExpect(record, expect);
  const head = headOf(table, record + RECORD_KEY);
  store<u32>(record, load<u32>(head), RECORD_NEXT);
  store<u32>(head, <u32>record);
  store<u32>(table, load<u32>(table, TABLE_COUNT) + 1, TABLE_COUNT);
  bump(table + TABLE_CREATED);
  return record;
}

/** Begins an entry's life anew: everything from `expect`, nothing of what was there. */
export function fillExpect(record: usize, expect: usize): void {
  memory.copy(record + EXPECT_ENTRY, expect, EXPECT_SIZE);
  const now = load<u32>(CONTROL_NOW);
  store<u32>(record, now, RECORD_ADDED);
  store<u32>(record, now, RECORD_STAMP);
}

/** An update: what `expect` says counts, what it does not mention stays. */
export function mergeExpect(record: usize, expect: usize): void {
  const to = record + EXPECT_ENTRY;
  const has = load<u32>(expect, EXPECT_PRESENT);
  mergeWord(to, expect, has & EXPECT_HAS_TIMEOUT, EXPECT_TIMEOUT);
  mergeWord(to, expect, has & EXPECT_HAS_ID, EXPECT_ID);
  mergeWord(to, expect, has & EXPECT_HAS_FLAGS, EXPECT_FLAGS);
  mergeWord(to, expect, has & EXPECT_HAS_CLASS, EXPECT_CLASS);
  mergeWord(to, expect, has & EXPECT_HAS_NAT_DIR, EXPECT_NAT_DIR);
  if (has & EXPECT_HAS_NAT) memory.copy(to + EXPECT_NAT, expect + EXPECT_NAT, TUPLE_SIZE);
  if (has & EXPECT_HAS_HELPER) memory.copy(to + EXPECT_HELPER, expect + EXPECT_HELPER, 16);
  if (has & EXPECT_HAS_FN) memory.copy(to + EXPECT_FN, expect + EXPECT_FN, 32);
  store<u32>(to, load<u32>(to, EXPECT_PRESENT) | has, EXPECT_PRESENT);
  store<u32>(record, load<u32>(CONTROL_NOW), RECORD_STAMP);
}

// @ts-ignore: decorator
@inline
function mergeWord(to: usize, from: usize, has: u32, offset: usize): void {
  if (has) store<u32>(to + offset, load<u32>(from + offset));
}

function takeEntry(table: usize): usize {
  const free = <usize>load<u32>(table, TABLE_FREE);
  if (free != 0) {
    store<u32>(table, load<u32>(free, RECORD_NEXT), TABLE_FREE);
    return free;
  }
  const used = load<u32>(table, TABLE_USED);
  if (used >= load<u32>(table, TABLE_CAPACITY)) return 0;
  store<u32>(table, used + 1, TABLE_USED);
  return <usize>load<u32>(table, TABLE_RECORDS) + <usize>used * EXPECT_ENTRY_SIZE;
}

/** Takes an entry out of the index and puts it on the free list. */
export function removeExpect(table: usize, record: usize): void {
  let link = headOf(table, record + RECORD_KEY);
  let at = <usize>load<u32>(link);
  while (at != 0 && at != record) {
    link = at + RECORD_NEXT;
    at = <usize>load<u32>(link);
  }
  if (at == 0) return;
  store<u32>(link, load<u32>(record, RECORD_NEXT));
  store<u8>(record, OBJECT_FREE, RECORD_OBJECT);
  store<u32>(record, load<u32>(table, TABLE_FREE), RECORD_NEXT);
  store<u32>(table, <u32>record, TABLE_FREE);
  store<u32>(table, load<u32>(table, TABLE_COUNT) - 1, TABLE_COUNT);
}

/**
 * Forgets an entry of the internal table without telling anyone: at once, or, while the transmit
 * queue holds it, when its turn comes there.
 */
export function dropExpect(shard: usize, record: usize): void {
  const table = expectTableOf(shard, TABLE_INTERNAL);
  const object = <u32>load<u8>(record, RECORD_OBJECT);
  const dead = (object & OBJECT_STATE) == OBJECT_DEAD;
  if (object & OBJECT_QUEUED) {
    if (!dead) store<u32>(table, load<u32>(table, TABLE_DEAD) + 1, TABLE_DEAD);
    store<u8>(record, <u8>(OBJECT_QUEUED | OBJECT_DEAD | OBJECT_TOMB), RECORD_OBJECT);
    return;
  }
  if (dead) store<u32>(table, load<u32>(table, TABLE_DEAD) - 1, TABLE_DEAD);
  removeExpect(table, record);
}

/** Empties a table; what the resend ring still names is free and has nothing to send. */
export function clearExpects(shard: usize, kind: u32): void {
  const table = expectTableOf(shard, kind);
  if (load<u32>(table, TABLE_CAPACITY) == 0) return;
  if (kind == TABLE_INTERNAL) store<u32>(shard, 0, SHARD_EXPECT_WAITING);
  const end = endOfExpects(table);
  for (let record = <usize>load<u32>(table, TABLE_RECORDS); record < end; record += EXPECT_ENTRY_SIZE) {
    store<u8>(record, OBJECT_FREE, RECORD_OBJECT);
  }
  memory.fill(<usize>load<u32>(table, TABLE_HEADS), 0, EXPECT_BUCKETS << 2);
  store<u32>(table, 0, TABLE_USED);
  store<u32>(table, 0, TABLE_FREE);
  store<u32>(table, 0, TABLE_COUNT);
  store<u32>(table, 0, TABLE_DEAD);
}

/** One behind the last entry ever taken. */
// @ts-ignore: decorator
@inline
export function endOfExpects(table: usize): usize {
  return <usize>load<u32>(table, TABLE_RECORDS) + <usize>load<u32>(table, TABLE_USED) * EXPECT_ENTRY_SIZE;
}

/** Is the entry neither free nor dead? */
// @ts-ignore: decorator
@inline
export function livesExpect(record: usize): bool {
  const state = <u32>load<u8>(record, RECORD_OBJECT) & OBJECT_STATE;
  return state == OBJECT_NEW || state == OBJECT_ALIVE;
}

/**
 * The first living expectation from `record` on (0: from the beginning) in the internal table, or 0:
 * what a bulk send takes when it is through with the flows.
 */
export function nextExpectOfBulk(shard: usize, record: usize): usize {
  const table = expectTableOf(shard, TABLE_INTERNAL);
  const end = endOfExpects(table);
  if (record == 0) record = <usize>load<u32>(table, TABLE_RECORDS);
  while (record < end && !livesExpect(record)) record += EXPECT_ENTRY_SIZE;
  return record < end ? record : 0;
}

/** The message of an entry; `state` is OBJECT_NEW, OBJECT_ALIVE or OBJECT_DEAD. */
export function encodeExpectEntry(
  record: usize, out: usize, room: u32, state: i32, wireOptions: u32,
): i32 {
  return encodeSyncExpect(record + EXPECT_ENTRY, out, room, MSG_EXP_NEW + state, wireOptions);
}
