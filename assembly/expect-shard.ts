// A shard's verbs over expectations, beside those over flows (shard.ts).
//
//   kernel events ─▶ internal table ─▶ the shard's transmit queue      (events, dump)
//   sync messages ─▶ external table ─▶ kernel requests                 (messages, commit)
//
// An expectation is followed when its helper is one of those the configuration names and its master
// is in the internal cache: what the filter keeps away from the peers announces nothing there either.
// One that comes before its master waits for it (expect-wait.ts).
//
// Same thread and same order as the flows of the shard, so whatever an event says of a master has
// been applied before. Sources: linux/netfilter/nfnetlink_conntrack.h; docs/wire-protocol.md.

import { REQUEST_CREATE, REQUEST_DELETE, REQUEST_UPDATE } from './ctnetlink';
import { decodeExpect, encodeExpectRequest } from './expect';
import {
  EXPECT_ENTRY,
  EXPECT_ENTRY_SIZE,
  EXPECT_PREFIX,
  SHARD_EXPECT_HELPER_COUNT,
  SHARD_EXPECT_HELPERS,
  SHARD_EXPECT_KEY,
  SHARD_EXPECT_ORPHANS,
  SHARD_EXPECT_SCRATCH,
} from './expect-layout';
import {
  addExpect,
  dropExpect,
  endOfExpects,
  expectTableOf,
  fillExpect,
  findExpect,
  livesExpect,
  mergeExpect,
  removeExpect,
  zoneOfExpect,
} from './expect-table';
import { awaitMaster, endWaiter } from './expect-wait';
import { MSG_EXP_DEL, MSG_EXP_NEW } from './framing';
import { hashKey, shardOf } from './hash';
import {
  CONTROL_NOW,
  CONTROL_PORT_COMMIT,
  CONTROL_PORT_FLUSH,
  CONTROL_PORT_INJECT,
  EXPECT_HAS_HELPER,
  EXPECT_HAS_MASTER,
  EXPECT_HAS_TIMEOUT,
  EXPECT_HELPER,
  EXPECT_MASTER,
  EXPECT_PORTID,
  EXPECT_PRESENT,
  EXPECT_SIZE,
  EXPECT_TIMEOUT,
  FLOW_ORIG,
  LIST_MAX,
  OBJECT_ALIVE,
  OBJECT_DEAD,
  OBJECT_FREE,
  OBJECT_FRESH,
  OBJECT_NEW,
  OBJECT_QUEUED,
  OBJECT_STATE,
  OBJECT_TOLD,
  RECORD_OBJECT,
  RECORD_STAMP,
  RECORD_VISIT,
  SHARD_BAD_PAYLOAD,
  SHARD_CURSOR,
  SHARD_EVENT_BAD,
  SHARD_EVENTS,
  SHARD_FILTERED,
  SHARD_IGNORED,
  SHARD_LAST_BAD,
  SHARD_OPTIONS,
  SHARD_SILENT,
  SHARD_TABLES,
  SHARD_WRITTEN,
  TABLE_CREATED,
  TABLE_DEAD,
  TABLE_DESTROYED,
  TABLE_EXTERNAL,
  TABLE_INTERNAL,
  TABLE_RECORDS,
  TABLE_UPDATED,
} from './layout';
import { keyOfTuple } from './record';
import { enqueue } from './shard';
import { decodeSyncExpect } from './sync-expect';
import { bump, findRecord } from './table';

// nlmsg_type of subsystem NFNL_SUBSYS_CTNETLINK_EXP
const EXP_NEW: u32 = 0x0200;
const EXP_DELETE: u32 = 0x0202;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE_EXCL: u32 = 0x600;
const REQUEST_ROOM: u32 = 1024; // more than any request takes
const UNKNOWN_TIMEOUT: u32 = 60; // s, for one whose time has passed

// -------------------------------------------------------------------------------------- routing

/**
 * Splits a list of messages by the shard that owns their master: kernel messages, or sync messages
 * with `wire`. `scratch` has room for an Expectation and a key. What cannot be read goes to shard 0,
 * which refuses and counts it.
 */
export function routeExpects(
  entries: usize, count: u32, shards: u32, lists: usize, counts: usize, scratch: usize, wire: u32,
): void {
  const key = scratch + EXPECT_SIZE;
  for (let i: u32 = 0; i < count; i++) {
    const message = <usize>load<u32>(entries + (<usize>i << 2));
    const reason = wire
      ? decodeSyncExpect(message, <u32>bswap<u16>(load<u16>(message, 2)), scratch)
      : decodeExpect(message, load<u32>(message), scratch);
    let shard: u32 = 0;
    if (reason == 0 && load<u32>(scratch, EXPECT_PRESENT) & EXPECT_HAS_MASTER) {
      keyOfTuple(scratch + EXPECT_MASTER, zoneOfExpect(scratch), key);
      shard = shardOf(hashKey(key), shards);
    }
    const at = counts + (<usize>shard << 2);
    const n = load<u32>(at);
    if (n >= <u32>LIST_MAX) continue;
    store<u32>(lists + ((<usize>shard * LIST_MAX + <usize>n) << 2), <u32>message);
    store<u32>(at, n + 1);
  }
}

// --------------------------------------------------------------------------------- kernel events

/** Applies `count` expectation events of the kernel; what the peers must hear is queued. */
export function shardExpectEvents(shard: usize, list: usize, count: u32): void {
  const expect = shard + SHARD_EXPECT_SCRATCH;
  for (let i: u32 = 0; i < count; i++) {
    const message = <usize>load<u32>(list + (<usize>i << 2));
    const type = <u32>load<u16>(message, 4);
    bump(shard + SHARD_EVENTS);
    const reason = decodeExpect(message, load<u32>(message), expect);
    if (reason != 0 || (type != EXP_NEW && type != EXP_DELETE)) {
      refuse(shard, SHARD_EVENT_BAD, reason);
      continue;
    }
    const port = load<u32>(expect, EXPECT_PORTID);
    if (port != 0 && port == load<u32>(CONTROL_PORT_INJECT)) {
      bump(shard + SHARD_IGNORED);
      continue;
    }
    const own = port == load<u32>(CONTROL_PORT_COMMIT) || port == load<u32>(CONTROL_PORT_FLUSH);
    const replicate = port == 0 || !own;
    const fresh = load<u16>(message, 6) != 0;
    if (type == EXP_DELETE) {
      endWaiter(shard, expect);
      destroyExpect(shard, expect, replicate);
    } else if (!isWanted(shard, expect)) bump(shard + SHARD_FILTERED);
    else if (hasKnownMaster(shard, expect)) changeExpect(shard, expect, fresh, replicate);
    else awaitMaster(shard, expect, fresh, replicate);
  }
}

function refuse(shard: usize, counter: usize, reason: i32): void {
  bump(shard + counter);
  store<i32>(shard, reason, SHARD_LAST_BAD);
}

/** Is its helper one of those that are followed? */
function isWanted(shard: usize, expect: usize): bool {
  const has = load<u32>(expect, EXPECT_PRESENT);
  if (!(has & EXPECT_HAS_MASTER)) return false;
  const prefixes = load<u32>(shard, SHARD_EXPECT_HELPER_COUNT);
  return prefixes == 0 || (has & EXPECT_HAS_HELPER && isListed(shard, expect, prefixes));
}

/** Do the peers know its master, or need they not? */
function hasKnownMaster(shard: usize, expect: usize): bool {
  return load<u32>(shard, SHARD_EXPECT_ORPHANS) != 0 || hasMaster(shard, expect);
}

function isListed(shard: usize, expect: usize, prefixes: u32): bool {
  const list = <usize>load<u32>(shard, SHARD_EXPECT_HELPERS);
  for (let i: u32 = 0; i < prefixes; i++) {
    if (beginsWith(expect + EXPECT_HELPER, list + <usize>i * EXPECT_PREFIX)) return true;
  }
  return false;
}

/** Does the name begin with the prefix (lower case, NUL-padded), in any letter case? */
function beginsWith(name: usize, prefix: usize): bool {
  for (let i: usize = 0; i < <usize>EXPECT_PREFIX; i++) {
    const wanted = load<u8>(prefix + i);
    if (wanted == 0) return true;
    let letter = load<u8>(name + i);
    if (letter >= 0x41 && letter <= 0x5a) letter |= 0x20;
    if (letter != wanted) return false;
  }
  return true;
}

/** Does the master of the expectation at `expect` live in the internal cache? */
export function hasMaster(shard: usize, expect: usize): bool {
  const key = shard + SHARD_EXPECT_KEY;
  const table = shard + SHARD_TABLES; // TABLE_INTERNAL is the first
  keyOfTuple(expect + EXPECT_MASTER, zoneOfExpect(expect), key);
  const master = findRecord(table, key, expect + EXPECT_MASTER - FLOW_ORIG);
  return master != 0 && (<u32>load<u8>(master, RECORD_OBJECT) & OBJECT_STATE) != OBJECT_DEAD;
}

/** NEW (`fresh`) or an update of an expectation that is followed. Returns its entry, or 0. */
export function changeExpect(shard: usize, expect: usize, fresh: bool, replicate: bool): usize {
  const table = expectTableOf(shard, TABLE_INTERNAL);
  let record = findExpect(shard, table, expect);
  if (record == 0) {
    record = addExpect(table, expect);
    if (record == 0) return 0;
  } else if (fresh || !livesExpect(record)) {
    replaceExpect(table, record, expect);
  } else {
    mergeExpect(record, expect);
    setState(record, OBJECT_ALIVE);
    bump(table + TABLE_UPDATED);
  }
  if (replicate) enqueue(shard, record);
  return record;
}

/** A new expectation in the place of an equal one: told as NEW until that is acknowledged. */
function replaceExpect(table: usize, record: usize, expect: usize): void {
  if (livesExpect(record)) bump(table + TABLE_DESTROYED);
  else store<u32>(table, load<u32>(table, TABLE_DEAD) - 1, TABLE_DEAD);
  const queued = <u32>load<u8>(record, RECORD_OBJECT) & OBJECT_QUEUED;
  store<u8>(record, <u8>(queued | OBJECT_NEW | OBJECT_FRESH), RECORD_OBJECT);
  fillExpect(record, expect);
  bump(table + TABLE_CREATED);
}

function setState(record: usize, state: u32): void {
  const kept = <u32>load<u8>(record, RECORD_OBJECT) & (OBJECT_QUEUED | OBJECT_FRESH | OBJECT_TOLD);
  store<u8>(record, <u8>(kept | state), RECORD_OBJECT);
}

function destroyExpect(shard: usize, expect: usize, replicate: bool): void {
  const record = findExpect(shard, expectTableOf(shard, TABLE_INTERNAL), expect);
  if (record != 0 && livesExpect(record)) buryExpect(shard, record, replicate);
}

/** Ends a living entry: with a DEL to send, or at once when nobody is told. */
function buryExpect(shard: usize, record: usize, replicate: bool): void {
  const table = expectTableOf(shard, TABLE_INTERNAL);
  bump(table + TABLE_DESTROYED);
  if (!replicate || load<u32>(shard, SHARD_OPTIONS) & SHARD_SILENT) {
    dropExpect(shard, record);
    return;
  }
  setState(record, OBJECT_DEAD);
  store<u32>(table, load<u32>(table, TABLE_DEAD) + 1, TABLE_DEAD);
  enqueue(shard, record);
}

// ----------------------------------------------------------------------------------- kernel dump

/**
 * Merges `count` entries of a dump of the kernel's expectations, generation `visit`. Main reads such
 * a dump in one go (src/sync/expectations.ts), so no event can come between its parts. With
 * `replicate` the peers hear what is new.
 */
export function shardExpectDump(
  shard: usize, list: usize, count: u32, visit: u32, replicate: u32,
): void {
  const expect = shard + SHARD_EXPECT_SCRATCH;
  const table = expectTableOf(shard, TABLE_INTERNAL);
  for (let i: u32 = 0; i < count; i++) {
    const message = <usize>load<u32>(list + (<usize>i << 2));
    const reason = decodeExpect(message, load<u32>(message), expect);
    if (reason != 0) {
      refuse(shard, SHARD_EVENT_BAD, reason);
      continue;
    }
    if (!isWanted(shard, expect) || !hasKnownMaster(shard, expect)) continue;
    let record = findExpect(shard, table, expect);
    if (record != 0 && livesExpect(record)) mergeExpect(record, expect); // the time left, above all
    else record = changeExpect(shard, expect, true, replicate != 0);
    if (record != 0) store<u8>(record, <u8>visit, RECORD_VISIT);
  }
}

/** After a dump: what generation `visit` has not seen is gone from the kernel. */
export function shardExpectPurge(shard: usize, visit: u32, replicate: u32): void {
  const table = expectTableOf(shard, TABLE_INTERNAL);
  const end = endOfExpects(table);
  let record = <usize>load<u32>(table, TABLE_RECORDS);
  for (; record < end; record += EXPECT_ENTRY_SIZE) {
    if (livesExpect(record) && load<u8>(record, RECORD_VISIT) != visit) {
      buryExpect(shard, record, replicate != 0);
    }
  }
}

// --------------------------------------------------------------------------------- sync messages

/** Applies `count` EXP messages of a peer to the external table. */
export function shardExpectMessages(shard: usize, list: usize, count: u32): void {
  const expect = shard + SHARD_EXPECT_SCRATCH;
  const table = expectTableOf(shard, TABLE_EXTERNAL);
  for (let i: u32 = 0; i < count; i++) {
    const message = <usize>load<u32>(list + (<usize>i << 2));
    const reason = decodeSyncExpect(message, <u32>bswap<u16>(load<u16>(message, 2)), expect);
    if (reason != 0) {
      refuse(shard, SHARD_BAD_PAYLOAD, reason);
      continue;
    }
    const record = findExpect(shard, table, expect);
    const type = <i32>load<u8>(message) & 0xf;
    if (type == MSG_EXP_DEL) {
      if (record == 0) continue;
      removeExpect(table, record);
      bump(table + TABLE_DESTROYED);
    } else if (record == 0) {
      addExpect(table, expect);
    } else if (type == MSG_EXP_NEW) {
      replaceExpect(table, record, expect);
    } else {
      mergeExpect(record, expect);
      setState(record, OBJECT_ALIVE);
      bump(table + TABLE_UPDATED);
    }
  }
}

// ----------------------------------------------------------------------------------------- commit

/**
 * Writes the requests that put the external expectations into the kernel, `most` expectations at a
 * time, from `cursor` on (0 = the beginning). Each has two numbers: `sequence` + 2n creates it,
 * + 2n + 1 sets what is left of its time, which the kernel ignores on creation (left out when no
 * timeout is known: the helper's own holds). The entry's address goes to handles[n]. Returns the
 * number of expectations; SHARD_CURSOR and SHARD_WRITTEN as for flows.
 */
export function shardExpectCommit(
  shard: usize, cursor: u32, out: usize, room: u32, handles: usize, most: u32, sequence: u32,
  fixedTimeout: u32,
): u32 {
  const table = expectTableOf(shard, TABLE_EXTERNAL);
  const end = endOfExpects(table);
  let record = cursor != 0 ? <usize>cursor : <usize>load<u32>(table, TABLE_RECORDS);
  let count: u32 = 0;
  let used: u32 = 0;
  let last: usize = 0;
  for (; record < end && count < most && used + 2 * REQUEST_ROOM <= room; record += EXPECT_ENTRY_SIZE) {
    if (!livesExpect(record)) continue;
    const at = out + <usize>used;
    const length = putCreation(shard, record, at, room - used, sequence + 2 * count, fixedTimeout);
    if (length == 0) continue;
    last = at;
    used += length;
    store<u32>(handles + (<usize>count << 2), <u32>record);
    count++;
  }
  if (last != 0) askForAnswer(last, out + <usize>used);
  store<u32>(shard, record < end ? <u32>record : 0, SHARD_CURSOR);
  store<u32>(shard, used, SHARD_WRITTEN);
  return count;
}

/**
 * Second try for those that the kernel already has: each is deleted first. Three numbers each, from
 * `sequence` on: delete, create, time. Returns the bytes written.
 */
export function shardExpectCommitAgain(
  shard: usize, list: usize, count: u32, out: usize, room: u32, sequence: u32, fixedTimeout: u32,
): u32 {
  let used: u32 = 0;
  let last: usize = 0;
  for (let i: u32 = 0; i < count && used + 3 * REQUEST_ROOM <= room; i++) {
    const record = <usize>load<u32>(list + (<usize>i << 2));
    if (!livesExpect(record)) continue; // a peer ended it since the first try
    const at = out + <usize>used;
    const n = sequence + 3 * i;
    const first = encodeExpectRequest(
      record + EXPECT_ENTRY, at, room - used, REQUEST_DELETE, n, 0,
    );
    if (first <= 0) continue;
    const rest = room - used - <u32>first;
    const second = putCreation(shard, record, at + <usize>first, rest, n + 1, fixedTimeout);
    if (second == 0) continue; // a delete never goes without its create
    last = at;
    used += <u32>first + second;
  }
  if (last != 0) askForAnswer(last, out + <usize>used);
  return used;
}

/** Sets NLM_F_ACK on the last of the messages at `at`, which end at `end`. */
function askForAnswer(at: usize, end: usize): void {
  while (at + <usize>load<u32>(at) < end) at += <usize>load<u32>(at);
  store<u16>(at, load<u16>(at, 6) | NLM_F_ACK, 6);
}

/** The create request and, if a time is known, the update that sets it. Bytes, 0: not possible. */
function putCreation(
  shard: usize, record: usize, out: usize, room: u32, sequence: u32, fixedTimeout: u32,
): u32 {
  const expect = shard + SHARD_EXPECT_SCRATCH;
  memory.copy(expect, record + EXPECT_ENTRY, EXPECT_SIZE);
  const has = load<u32>(expect, EXPECT_PRESENT);
  if (fixedTimeout != 0) {
    store<u32>(expect, fixedTimeout, EXPECT_TIMEOUT);
    store<u32>(expect, has | EXPECT_HAS_TIMEOUT, EXPECT_PRESENT);
  } else if (has & EXPECT_HAS_TIMEOUT) {
    const age = load<u32>(CONTROL_NOW) - load<u32>(record, RECORD_STAMP);
    const given = load<u32>(expect, EXPECT_TIMEOUT);
    store<u32>(expect, given > age ? given - age : UNKNOWN_TIMEOUT, EXPECT_TIMEOUT);
  }
  const first = encodeExpectRequest(expect, out, room, REQUEST_CREATE, sequence, NLM_F_CREATE_EXCL);
  if (first <= 0) {
    refuse(shard, SHARD_BAD_PAYLOAD, first);
    return 0;
  }
  if (!(load<u32>(expect, EXPECT_PRESENT) & EXPECT_HAS_TIMEOUT)) return <u32>first;
  const second = encodeExpectRequest(
    expect, out + <usize>first, room - <u32>first, REQUEST_UPDATE, sequence + 1, 0,
  );
  return second > 0 ? <u32>(first + second) : <u32>first;
}

/**
 * Direct injection: writes the requests that carry out the EXP message at `message`. A DEL is one,
 * numbered `sequence`. NEW and UPD are a delete, since an expectation cannot be changed, a create,
 * and the update that sets its time: `sequence`, + 1, + 2. Returns the bytes, 0 when the message is
 * malformed (its shard counts it). `expect`: a scratch Expectation.
 */
export function injectExpectRequests(
  message: usize, expect: usize, out: usize, room: u32, sequence: u32,
): u32 {
  if (decodeSyncExpect(message, <u32>bswap<u16>(load<u16>(message, 2)), expect) != 0) return 0;
  let used = encodeExpectRequest(expect, out, room, REQUEST_DELETE, sequence, 0);
  if (used <= 0) return 0;
  if ((<i32>load<u8>(message) & 0xf) != MSG_EXP_DEL) {
    const create = encodeExpectRequest(
      expect, out + <usize>used, room - used, REQUEST_CREATE, sequence + 1, NLM_F_CREATE_EXCL,
    );
    if (create <= 0) return 0;
    used += create;
    if (load<u32>(expect, EXPECT_PRESENT) & EXPECT_HAS_TIMEOUT) {
      const update = encodeExpectRequest(
        expect, out + <usize>used, room - used, REQUEST_UPDATE, sequence + 2, 0,
      );
      if (update > 0) used += update;
    }
  }
  askForAnswer(out, out + <usize>used);
  return <u32>used;
}

/** A delete request for each listed entry of a kernel dump, as deleteRequests() does for flows. */
export function deleteExpectRequests(
  entries: usize, count: u32, expect: usize, out: usize, room: u32, sequence: u32,
): u32 {
  let used: u32 = 0;
  let last: usize = 0;
  for (let i: u32 = 0; i < count && used + REQUEST_ROOM <= room; i++) {
    const message = <usize>load<u32>(entries + (<usize>i << 2));
    if (decodeExpect(message, load<u32>(message), expect) != 0) continue;
    const at = out + <usize>used;
    const length = encodeExpectRequest(expect, at, room - used, REQUEST_DELETE, sequence + i, 0);
    if (length <= 0) continue;
    last = at;
    used += <u32>length;
  }
  if (last != 0) store<u16>(last, load<u16>(last, 6) | NLM_F_ACK, 6);
  return used;
}

// ---------------------------------------------------------------------------- for main's orders

/** Copies up to `most` living entries to `out`, EXPECT_ENTRY_SIZE apart; SHARD_CURSOR as for flows. */
export function shardExpectSnapshot(
  shard: usize, cursor: u32, kind: u32, out: usize, most: u32,
): u32 {
  const table = expectTableOf(shard, kind);
  const end = endOfExpects(table);
  let record = cursor != 0 ? <usize>cursor : <usize>load<u32>(table, TABLE_RECORDS);
  let count: u32 = 0;
  for (; record < end && count < most; record += EXPECT_ENTRY_SIZE) {
    if (!livesExpect(record)) continue;
    memory.copy(out + <usize>count * EXPECT_ENTRY_SIZE, record, EXPECT_ENTRY_SIZE);
    count++;
  }
  store<u32>(shard, record < end ? <u32>record : 0, SHARD_CURSOR);
  return count;
}

/** ALARM mode: queues every living expectation again. */
export function shardExpectRefresh(shard: usize): void {
  const table = expectTableOf(shard, TABLE_INTERNAL);
  const end = endOfExpects(table);
  let record = <usize>load<u32>(table, TABLE_RECORDS);
  for (; record < end; record += EXPECT_ENTRY_SIZE) {
    if (livesExpect(record)) enqueue(shard, record);
  }
}

/** ALARM mode: forgets external entries that were last heard of `seconds` ago or earlier. */
export function shardExpectExpire(shard: usize, seconds: u32): void {
  const table = expectTableOf(shard, TABLE_EXTERNAL);
  const end = endOfExpects(table);
  const now = load<u32>(CONTROL_NOW);
  let record = <usize>load<u32>(table, TABLE_RECORDS);
  for (; record < end; record += EXPECT_ENTRY_SIZE) {
    const age = <i32>(now - load<u32>(record, RECORD_STAMP));
    if (!livesExpect(record) || age < 0 || <u32>age < seconds) continue;
    removeExpect(table, record);
    bump(table + TABLE_DESTROYED);
  }
}
