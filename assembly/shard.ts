// A shard's verbs. A shard owns one internal and one external table and everything behind its
// context pointer; exactly one thread runs its verbs, in the order in which main gave them. Batches
// come as lists of addresses of raw messages that were checked to lie wholly in memory.
//
//   kernel events ─▶ internal table ─▶ transmit queue ─▶ datagrams          (events, pump)
//   sync messages ─▶ external table ─▶ kernel requests                      (messages, commit)
//
// What an event or a message means for a cache: docs/architecture.md, "The caches".

import {
  decodeFlow,
  encodeRequest,
  natFromReply,
  OPTION_WINDOW_TRACKING,
  REQUEST_CREATE,
  REQUEST_DELETE,
} from './ctnetlink';
import { digestIn, digestOut } from './digest';
import { confirms, speaks } from './shares';
import { EXPECT_ENTRY_SIZE, SHARD_EXPECT_WAITING } from './expect-layout';
import {
  clearExpects,
  dropExpect,
  encodeExpectEntry,
  isExpectation,
  nextExpectOfBulk,
} from './expect-table';
import { serveWaiters } from './expect-wait';
import { sayAtOnce, pumpBypass } from './bypass';
import { filterPasses } from './filter';
import { isCopy, takeOverCopy } from './inject';
import { reportFlow, reportRecord, reportRoom } from './report';
import {
  BAD_ROOM,
  CONTROL_FILTER,
  CONTROL_NOW,
  CONTROL_PORT_COMMIT,
  CONTROL_PORT_FLUSH,
  CONTROL_PORT_INJECT,
  EXTRA_MASTER,
  FLOW_BYTES_ORIG,
  FLOW_BYTES_REPLY,
  FLOW_OBSERVED,
  FLOW_ORIG,
  FLOW_PACKETS_ORIG,
  FLOW_PACKETS_REPLY,
  FLOW_PORTID,
  FLOW_PRESENT,
  FLOW_TIMEOUT,
  FLOW_ID,
  HAS_ID,
  HAS_MASTER,
  HAS_ORIG,
  HAS_TIMEOUT,
  KNOWN_PORTS,
  OBJECT_ALIVE,
  OBJECT_DEAD,
  OBJECT_DOUBTED,
  OBJECT_FRESH,
  OBJECT_FREE,
  OBJECT_NEW,
  OBJECT_QUEUED,
  OBJECT_STATE,
  OBJECT_TOLD,
  OBJECT_TOMB,
  OUT_LENGTH,
  OUT_MESSAGES,
  OUT_PAYLOAD,
  PURGE_UNREPORTED,
  RECORD_ADDED,
  RECORD_EXTRA,
  RECORD_ID,
  RECORD_MARK,
  RECORD_OBJECT,
  RECORD_PRESENT,
  RECORD_SEQUENCE,
  RECORD_SIZE,
  RECORD_STAMP,
  RECORD_STATE,
  RECORD_STATUS,
  RECORD_TIMEOUT,
  RECORD_UNACKED,
  RECORD_VISIT,
  SAW_COUNTERS_ORIG,
  SAW_COUNTERS_REPLY,
  SHARD_ACKNOWLEDGED,
  SHARD_BAD_PAYLOAD,
  SHARD_BULK,
  SHARD_BYPASS,
  SHARD_CURSOR,
  SHARD_DUMPING,
  SHARD_EVENT_BAD,
  SHARD_EVENTS,
  SHARD_EXTENDED,
  SHARD_FILTERED,
  SHARD_FLOW,
  SHARD_HANDLES,
  SHARD_HANDLES_SLOT,
  SHARD_IGNORED,
  SHARD_INJECT,
  SHARD_LAST_BAD,
  SHARD_OMIT_TIMEOUT,
  SHARD_OPTIONS,
  SHARD_OUT,
  SHARD_OUT_SIZE,
  SHARD_OUT_SLOTS,
  SHARD_OVERSIZED,
  SHARD_PAYLOAD_MAX,
  SHARD_QUEUE,
  SHARD_QUEUE_HEAD,
  SHARD_QUEUE_SIZE,
  SHARD_QUEUE_TAIL,
  SHARD_SCRATCH,
  SHARD_SILENT,
  SHARD_SWEEP,
  SHARD_TABLES,
  SHARD_TRAFFIC_BYTES,
  SHARD_TRAFFIC_PACKETS,
  SHARD_VISIT,
  SHARD_WINDOW_TRACKING,
  SHARD_WRITTEN,
  SNAPSHOT_ADDED,
  SNAPSHOT_OBJECT,
  SNAPSHOT_SEQUENCE,
  SNAPSHOT_SIZE,
  SNAPSHOT_STAMP,
  TABLE_CREATE_FAILED,
  TABLE_CREATED,
  TABLE_DEAD,
  TABLE_DESTROYED,
  TABLE_EXTERNAL,
  TABLE_INTERNAL,
  TABLE_KIND,
  TABLE_NO_MEMORY,
  TABLE_RECORDS,
  TABLE_SHARES,
  TABLE_SIZE,
  TABLE_UPDATED,
  TABLE_USED,
  TUPLE_KNOWN,
  TELL_NOBODY,
  TELL_OWN,
} from './layout';
import { dropParts, keyOfTuple, packFlow, reserveParts, unpackFlow, zoneOfFlow } from './record';
import { decodeSync, encodeSync, SYNC_EXTENDED, SYNC_OMIT_TIMEOUT, SYNC_WSCALE } from './sync';
import { addRecord, bump, clearTable, findRecord, removeRecord } from './table';
import { TOUCHED, touchAhead } from './touch';

// nlmsg_type of subsystem NFNL_SUBSYS_CTNETLINK (linux/netfilter/nfnetlink_conntrack.h)
const CT_NEW: u32 = 0x0100;
const CT_DELETE: u32 = 0x0102;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE_EXCL: u32 = 0x600;
const REQUEST_ROOM: u32 = 1024; // more than any request takes
const UNKNOWN_TIMEOUT: u32 = 60; // s, for a flow whose timeout is not known or has passed

// @ts-ignore: decorator
@inline
function tableOf(shard: usize, kind: u32): usize {
  return shard + SHARD_TABLES + <usize>kind * TABLE_SIZE;
}

// @ts-ignore: decorator
@inline
function stateOf(record: usize): u32 {
  return <u32>load<u8>(record, RECORD_OBJECT) & OBJECT_STATE;
}

/** Sets the state, keeps all other bits but the tomb bit. */
// @ts-ignore: decorator
@inline
function setState(record: usize, state: u32): void {
  const object = <u32>load<u8>(record, RECORD_OBJECT);
  store<u8>(record, <u8>((object & (OBJECT_QUEUED | OBJECT_FRESH | OBJECT_TOLD | OBJECT_DOUBTED)) | state), RECORD_OBJECT);
}

// ------------------------------------------------------------------------------ kernel events

/** Applies `count` kernel events to the internal cache and queues what the peers must hear. */
export function shardEvents(shard: usize, list: usize, count: u32): void {
  const flow = shard + SHARD_FLOW;
  const table = tableOf(shard, TABLE_INTERNAL);
  const filter = <usize>load<u32>(CONTROL_FILTER);
  const options = load<u32>(shard, SHARD_OPTIONS);
  for (let i: u32 = 0; i < count; i++) {
    if (i % TOUCHED == 0) touchAhead(shard, table, list, i, count, true);
    const message = <usize>load<u32>(list + (<usize>i << 2));
    const type = <u32>load<u16>(message, 4);
    bump(shard + SHARD_EVENTS);
    const reason = decodeFlow(message, load<u32>(message), flow);
    if (reason != 0 || (type != CT_NEW && type != CT_DELETE)) {
      refuseMessage(shard, SHARD_EVENT_BAD, reason);
      continue;
    }
    const port = load<u32>(flow, FLOW_PORTID);
    let replicate = true;
    if (port != 0) {
      // Our own doings: an injected flow is the peer's, not ours; a commit or flush changes our
      // cache, but the peers must not hear of it.
      if (port == load<u32>(CONTROL_PORT_INJECT)) {
        bump(shard + SHARD_IGNORED);
        continue;
      }
      replicate = port != load<u32>(CONTROL_PORT_COMMIT) && port != load<u32>(CONTROL_PORT_FLUSH);
    }
    if (filter != 0 && !filterPasses(filter, flow, <u32>(type == CT_DELETE))) {
      bump(shard + SHARD_FILTERED);
      continue;
    }
    const gone = type == CT_DELETE;
    const fresh = load<u16>(message, 6) != 0;
    // A copy that ends here may live on where it is from: nobody is told.
    if (options & SHARD_INJECT && takeOverCopy(shard, flow) && gone) replicate = false;
    if (options & SHARD_BYPASS) {
      if (replicate) sayAtOnce(shard, flow, gone ? OBJECT_DEAD : fresh ? OBJECT_NEW : OBJECT_ALIVE);
    } else if (gone) destroyFlow(shard, table, flow, replicate);
    else changeFlow(shard, table, flow, fresh, replicate);
  }
  if (load<u32>(shard, SHARD_EXPECT_WAITING) != 0) serveWaiters(shard);
}

function refuseMessage(shard: usize, counter: usize, reason: i32): void {
  bump(shard + counter);
  store<i32>(shard, reason, SHARD_LAST_BAD);
}

/** NEW (`fresh`) or UPDATE of the flow at `flow`. */
function changeFlow(shard: usize, table: usize, flow: usize, fresh: bool, replicate: bool): void {
  const key = shard + SHARD_SCRATCH;
  keyOfTuple(flow + FLOW_ORIG, zoneOfFlow(flow), key);
  let record = findRecord(table, key, flow);
  if (record == 0) {
    record = addFlow(shard, table, key, flow);
    if (record == 0) return;
  } else if (fresh || stateOf(record) == OBJECT_DEAD) {
    if (!replaceFlow(shard, table, record, flow)) return;
  } else {
    if (!partsFor(shard, table, record, flow)) return;
    mergeFlow(table, record, flow);
  }
  store<u8>(record, load<u8>(shard, SHARD_VISIT), RECORD_VISIT);
  if (replicate) enqueue(shard, record);
}

/** An update of a living record; its parts are reserved. */
// @ts-ignore: decorator
@inline
function mergeFlow(table: usize, record: usize, flow: usize): void {
  digestOut(table, record);
  packFlow(record, flow, false);
  digestIn(table, record);
  setUpdated(record);
  store<u32>(record, load<u32>(CONTROL_NOW), RECORD_STAMP);
  bump(table + TABLE_UPDATED);
}

/**
 * A record whose NEW still waits for its turn stays new: as an UPD it would be merged into whatever
 * the peer, or its kernel, has left of an older flow on the tuple.
 */
// @ts-ignore: decorator
@inline
function setUpdated(record: usize): void {
  const object = <u32>load<u8>(record, RECORD_OBJECT);
  if ((object & (OBJECT_STATE | OBJECT_QUEUED)) == (OBJECT_NEW | OBJECT_QUEUED)) return;
  setState(record, OBJECT_ALIVE);
}

/** reserveParts(), with a refusal counted. */
function partsFor(shard: usize, table: usize, record: usize, flow: usize): bool {
  if (reserveParts(shard, record, flow)) return true;
  bump(table + TABLE_NO_MEMORY);
  return false;
}

function addFlow(shard: usize, table: usize, key: usize, flow: usize): usize {
  const record = addRecord(shard, table, key, flow);
  if (record == 0) return 0;
  packFlow(record, flow, false);
  digestIn(table, record);
  store<u32>(record, load<u32>(CONTROL_NOW), RECORD_STAMP);
  bump(table + TABLE_CREATED);
  return record;
}

/**
 * A new flow on the tuple of an old one: the old attributes go, the place in the table stays. Its
 * messages are NEWs until one is acknowledged: an UPD would be merged into the old flow at the peer.
 */
function replaceFlow(shard: usize, table: usize, record: usize, flow: usize): bool {
  if (stateOf(record) == OBJECT_DEAD) {
    store<u32>(table, load<u32>(table, TABLE_DEAD) - 1, TABLE_DEAD);
  } else {
    digestOut(table, record);
    bump(table + TABLE_DESTROYED);
  }
  dropParts(shard, record);
  store<u32>(record, HAS_ORIG, RECORD_PRESENT);
  store<u32>(record, 0, RECORD_ID);
  if (!partsFor(shard, table, record, flow)) {
    bump(table + TABLE_CREATE_FAILED);
    // Without its side parts an IPv6 record has no addresses: it cannot stay.
    setState(record, OBJECT_NEW);
    dropFlow(shard, table, record);
    return false;
  }
  packFlow(record, flow, false);
  digestIn(table, record);
  const kept = <u32>load<u8>(record, RECORD_OBJECT) & (OBJECT_QUEUED | OBJECT_DOUBTED);
  store<u8>(record, <u8>(kept | OBJECT_NEW | OBJECT_FRESH), RECORD_OBJECT);
  const now = load<u32>(CONTROL_NOW);
  store<u32>(record, now, RECORD_STAMP);
  store<u32>(record, now, RECORD_ADDED);
  bump(table + TABLE_CREATED);
  return true;
}

function destroyFlow(shard: usize, table: usize, flow: usize, replicate: bool): void {
  const key = shard + SHARD_SCRATCH;
  keyOfTuple(flow + FLOW_ORIG, zoneOfFlow(flow), key);
  let record = findRecord(table, key, flow);
  if (record == 0) {
    // The dump that runs may still list this flow: remember that it is gone.
    if (load<u32>(shard, SHARD_DUMPING) == 0) return;
    record = addRecord(shard, table, key, flow);
    if (record == 0) return;
    packFlow(record, flow, false);
    markDead(table, record, OBJECT_TOMB);
    return;
  }
  if (stateOf(record) == OBJECT_DEAD) return;
  const observed = load<u32>(flow, FLOW_OBSERVED);
  if (observed & SAW_COUNTERS_ORIG) countTraffic(shard, flow, FLOW_PACKETS_ORIG, FLOW_BYTES_ORIG);
  if (observed & SAW_COUNTERS_REPLY) countTraffic(shard, flow, FLOW_PACKETS_REPLY, FLOW_BYTES_REPLY);
  bump(table + TABLE_DESTROYED);
  reportFlow(shard, flow);
  buryFlow(shard, table, record, replicate);
}

function countTraffic(shard: usize, flow: usize, packets: usize, bytes: usize): void {
  const p = shard + SHARD_TRAFFIC_PACKETS;
  const b = shard + SHARD_TRAFFIC_BYTES;
  store<u64>(p, load<u64>(p) + load<u64>(flow + packets));
  store<u64>(b, load<u64>(b) + load<u64>(flow + bytes));
}

/** Ends a living record: with a DEL to send, or at once when nobody is told. */
function buryFlow(shard: usize, table: usize, record: usize, replicate: bool): void {
  digestOut(table, record);
  if (replicate && !(load<u32>(shard, SHARD_OPTIONS) & SHARD_SILENT)) {
    markDead(table, record, 0);
    enqueue(shard, record);
  } else {
    dropFlow(shard, table, record);
  }
}

// @ts-ignore: decorator
@inline
function markDead(table: usize, record: usize, bits: u32): void {
  setState(record, OBJECT_DEAD | bits);
  store<u32>(table, load<u32>(table, TABLE_DEAD) + 1, TABLE_DEAD);
}

/**
 * Forgets a record without telling anyone. While it is queued, or while a dump might bring it back
 * to the internal cache, it stays as a tomb; the pump or the end of the dump removes it.
 */
function dropFlow(shard: usize, table: usize, record: usize): void {
  if (isExpectation(shard, record)) return dropExpect(shard, record);
  const dead = stateOf(record) == OBJECT_DEAD;
  const queued = (<u32>load<u8>(record, RECORD_OBJECT) & OBJECT_QUEUED) != 0;
  const dumping = load<u32>(table, TABLE_KIND) == TABLE_INTERNAL && load<u32>(shard, SHARD_DUMPING);
  if (queued || dumping) {
    if (!dead) markDead(table, record, OBJECT_TOMB);
    else setState(record, OBJECT_DEAD | OBJECT_TOMB);
    return;
  }
  if (dead) store<u32>(table, load<u32>(table, TABLE_DEAD) - 1, TABLE_DEAD);
  removeRecord(shard, table, record);
}

/**
 * A peer speaks of the flow of an internal record. If only a dump told us of it, and we told nobody,
 * it is a copy that was here before we started: it is no flow of ours.
 */
export function disown(shard: usize, record: usize): void {
  if (load<u8>(record, RECORD_OBJECT) != OBJECT_NEW || load<u32>(record, RECORD_SEQUENCE)) return;
  const table = tableOf(shard, TABLE_INTERNAL);
  digestOut(table, record);
  dropFlow(shard, table, record);
}

// -------------------------------------------------------------------------------- kernel dump

/** Opens a dump of the kernel's table: from now on every entry and event counts as seen. */
export function shardDumpBegin(shard: usize): void {
  let visit = load<u32>(shard, SHARD_VISIT) + 1;
  if (visit > 255) visit = 1;
  store<u32>(shard, visit, SHARD_VISIT);
  store<u32>(shard, 1, SHARD_DUMPING);
  store<u32>(shard, 0, SHARD_SWEEP); // an earlier dump that was given up may have left it in mid-way
}

/**
 * Merges `count` entries of a kernel dump. An entry may be older than an event already applied: the
 * generation tells (then only missing attributes are taken), and a dead record with the same kernel
 * id stays dead. A living record with another kernel id is another flow: the newer of both stays.
 * `tell` (TELL_*) says whether the peers hear of what is new or changed. An entry that the filter
 * refuses is as if the kernel did not list it: a purge takes it out of the cache. A copy of a peer's
 * flow (SHARD_INJECT) is left out. With SHARD_BYPASS what is listed goes out as NEW.
 */
export function shardDump(shard: usize, list: usize, count: u32, tell: u32): void {
  const flow = shard + SHARD_FLOW;
  const table = tableOf(shard, TABLE_INTERNAL);
  const key = shard + SHARD_SCRATCH;
  const visit = load<u8>(shard, SHARD_VISIT);
  const options = load<u32>(shard, SHARD_OPTIONS);
  const filter = <usize>load<u32>(CONTROL_FILTER);
  for (let i: u32 = 0; i < count; i++) {
    if (i % TOUCHED == 0) touchAhead(shard, table, list, i, count, true);
    const message = <usize>load<u32>(list + (<usize>i << 2));
    const reason = decodeFlow(message, load<u32>(message), flow);
    if (reason != 0) {
      refuseMessage(shard, SHARD_EVENT_BAD, reason);
      continue;
    }
    if (filter != 0 && !filterPasses(filter, flow, 0)) continue;
    keyOfTuple(flow + FLOW_ORIG, zoneOfFlow(flow), key);
    const copy = (options & SHARD_INJECT) != 0 && isCopy(shard, key, flow);
    if (options & SHARD_BYPASS) {
      if (tell != TELL_NOBODY && !copy) sayAtOnce(shard, flow, OBJECT_NEW);
      continue;
    }
    let record = findRecord(table, key, flow);
    let changed = true;
    let found = true;
    if (copy) {
      // The peer's. A record of it may be from before it said so; it is not gone either.
      if (record != 0) store<u8>(record, visit, RECORD_VISIT);
      continue;
    }
    if (record == 0) {
      record = addFlow(shard, table, key, flow);
      if (record == 0) continue;
    } else if (stateOf(record) == OBJECT_DEAD) {
      if (sameIncarnation(record, flow)) continue;
      if (!replaceFlow(shard, table, record, flow)) continue;
    } else if (!sameIncarnation(record, flow)) {
      if (load<u8>(record, RECORD_VISIT) == visit) continue;
      if (!replaceFlow(shard, table, record, flow)) continue;
    } else {
      if (!partsFor(shard, table, record, flow)) continue;
      found = false;
      changed = mergeDumped(table, record, flow, load<u8>(record, RECORD_VISIT) == visit);
      if (changed) {
        setUpdated(record);
        bump(table + TABLE_UPDATED);
      }
    }
    store<u8>(record, visit, RECORD_VISIT);
    if (!changed || tell == TELL_NOBODY) continue;
    if (tell == TELL_OWN && found && isPeers(shard, key, flow)) continue;
    enqueue(shard, record);
  }
}

/** Has a peer told us of the flow at `flow`, and not of its end? */
function isPeers(shard: usize, key: usize, flow: usize): bool {
  const record = findRecord(tableOf(shard, TABLE_EXTERNAL), key, flow);
  return record != 0 && stateOf(record) != OBJECT_DEAD;
}

function sameIncarnation(record: usize, flow: usize): bool {
  const both = load<u32>(record, RECORD_PRESENT) & load<u32>(flow, FLOW_PRESENT);
  return !(both & HAS_ID) || load<u32>(record, RECORD_ID) == load<u32>(flow, FLOW_ID);
}

/** Merges a dump entry into a living record; true when a peer would want to know. */
function mergeDumped(table: usize, record: usize, flow: usize, newerEvent: bool): bool {
  const status = load<u32>(record, RECORD_STATUS);
  const mark = load<u32>(record, RECORD_MARK);
  const state = load<u8>(record, RECORD_STATE);
  const present = load<u32>(record, RECORD_PRESENT);
  digestOut(table, record);
  packFlow(record, flow, newerEvent);
  digestIn(table, record);
  if (!newerEvent) store<u32>(record, load<u32>(CONTROL_NOW), RECORD_STAMP);
  return (
    status != load<u32>(record, RECORD_STATUS) ||
    mark != load<u32>(record, RECORD_MARK) ||
    state != load<u8>(record, RECORD_STATE) ||
    present != load<u32>(record, RECORD_PRESENT)
  );
}

/**
 * Closes a dump. With `purge`, living records that neither the dump nor an event has seen are gone
 * from the kernel: they are buried and, with `replicate`, announced; with SHARD_REPORT they are
 * reported, unless `purge` is PURGE_UNREPORTED. Tombs are removed. Works on up
 * to `slice` records a call; returns 0 when done, else it wants to be called again.
 */
export function shardDumpEnd(shard: usize, purge: u32, replicate: u32, slice: u32): u32 {
  const table = tableOf(shard, TABLE_INTERNAL);
  const base = <usize>load<u32>(table, TABLE_RECORDS);
  const end = base + <usize>load<u32>(table, TABLE_USED) * RECORD_SIZE;
  const visit = load<u8>(shard, SHARD_VISIT);
  let record = <usize>load<u32>(shard, SHARD_SWEEP);
  if (record == 0) {
    record = base;
    store<u32>(shard, 0, SHARD_DUMPING);
  }
  for (let i: u32 = 0; i < slice && record < end; i++, record += RECORD_SIZE) {
    if (!reportRoom(shard)) break; // main empties the ring, then calls again
    const state = stateOf(record);
    if (state == OBJECT_FREE) continue;
    if (state == OBJECT_DEAD) {
      if (<u32>load<u8>(record, RECORD_OBJECT) & OBJECT_TOMB) dropFlow(shard, table, record);
    } else if (purge && load<u8>(record, RECORD_VISIT) != visit) {
      bump(table + TABLE_DESTROYED);
      if (purge != PURGE_UNREPORTED) reportRecord(shard, record);
      buryFlow(shard, table, record, replicate != 0);
    }
  }
  const more = record < end;
  store<u32>(shard, more ? <u32>record : 0, SHARD_SWEEP);
  return more ? 1 : 0;
}

// ----------------------------------------------------------------------------- transmit queue

/** Has a record told to the peers; at most once, with its latest state. */
export function enqueue(shard: usize, record: usize): void {
  const object = load<u8>(record, RECORD_OBJECT);
  if (object & OBJECT_QUEUED) return; // its latest state leaves when its turn comes
  if (load<u32>(shard, SHARD_OPTIONS) & SHARD_SILENT) return;
  const size = load<u32>(shard, SHARD_QUEUE_SIZE);
  const tail = load<u32>(shard, SHARD_QUEUE_TAIL);
  // One place per record, so the queue can never be full.
  store<u32>(<usize>load<u32>(shard, SHARD_QUEUE) + (<usize>tail << 2), <u32>record);
  store<u32>(shard, tail + 1 == size ? 0 : tail + 1, SHARD_QUEUE_TAIL);
  store<u8>(record, object | OBJECT_QUEUED, RECORD_OBJECT);
}

/** Records waiting to be sent. */
export function shardQueued(shard: usize): u32 {
  const head = load<u32>(shard, SHARD_QUEUE_HEAD);
  const tail = load<u32>(shard, SHARD_QUEUE_TAIL);
  return tail >= head ? tail - head : tail + load<u32>(shard, SHARD_QUEUE_SIZE) - head;
}

/** Starts sending every living flow of the internal cache, then every expectation. */
export function shardBulk(shard: usize): void {
  store<u32>(shard, load<u32>(tableOf(shard, TABLE_INTERNAL), TABLE_RECORDS), SHARD_BULK);
}

/**
 * Encodes queued flows, then flows of a running bulk send, into at most `slots` datagrams.
 * Returns how many were filled; sequence numbers are still blank.
 */
export function shardPump(shard: usize, slots: u32): u32 {
  const limit = min<u32>(slots, load<u32>(shard, SHARD_OUT_SLOTS));
  const size = <usize>load<u32>(shard, SHARD_OUT_SIZE);
  const handlesSize = <usize>load<u32>(shard, SHARD_HANDLES_SLOT) << 2;
  const bypass = (load<u32>(shard, SHARD_OPTIONS) & SHARD_BYPASS) != 0;
  let filled = bypass ? pumpBypass(shard, limit) : 0;
  let slot = <usize>load<u32>(shard, SHARD_OUT) + <usize>filled * size;
  let handles = <usize>load<u32>(shard, SHARD_HANDLES) + <usize>filled * handlesSize;
  while (filled < limit && fillDatagram(shard, slot, handles)) {
    filled++;
    slot += size;
    handles += handlesSize;
  }
  return filled;
}

function fillDatagram(shard: usize, slot: usize, handles: usize): bool {
  const table = tableOf(shard, TABLE_INTERNAL);
  const room = load<u32>(shard, SHARD_PAYLOAD_MAX);
  const most = load<u32>(shard, SHARD_HANDLES_SLOT);
  const options = load<u32>(shard, SHARD_OPTIONS);
  let used: u32 = 0;
  let messages: u32 = 0;
  while (messages < most) {
    const record = nextToSend(shard, table);
    if (record == 0) break;
    const length = encodeRecord(shard, record, slot + OUT_PAYLOAD + used, room - used, options);
    if (length < 0) {
      // The datagram is full: this record opens the next one. Alone it always fits, unless the
      // link's MTU is absurdly small: then it is dropped and counted.
      if (length == BAD_ROOM && used != 0) break;
      refuseMessage(shard, SHARD_OVERSIZED, length);
      // A DEL that never leaves is never acknowledged: its record goes now.
      doneSending(shard, table, record, options & ~SHARD_ACKNOWLEDGED);
      continue;
    }
    store<u32>(handles + (<usize>messages << 2), <u32>record);
    used += <u32>length;
    messages++;
    doneSending(shard, table, record, options);
  }
  store<u32>(slot, used, OUT_LENGTH);
  store<u32>(slot, messages, OUT_MESSAGES);
  return messages != 0;
}

/** The record whose turn it is, still queued; 0 when nothing waits. */
function nextToSend(shard: usize, table: usize): usize {
  while (load<u32>(shard, SHARD_QUEUE_HEAD) != load<u32>(shard, SHARD_QUEUE_TAIL)) {
    const head = load<u32>(shard, SHARD_QUEUE_HEAD);
    const record = <usize>load<u32>(<usize>load<u32>(shard, SHARD_QUEUE) + (<usize>head << 2));
    if (!(<u32>load<u8>(record, RECORD_OBJECT) & OBJECT_TOMB)) return record;
    leaveQueue(shard, record);
    dropFlow(shard, table, record);
  }
  return nextOfBulk(shard, table);
}

function nextOfBulk(shard: usize, table: usize): usize {
  let record = <usize>load<u32>(shard, SHARD_BULK);
  if (record == 0) return 0;
  const end =
    <usize>load<u32>(table, TABLE_RECORDS) + <usize>load<u32>(table, TABLE_USED) * RECORD_SIZE;
  while (record < end) {
    const state = stateOf(record);
    if (state == OBJECT_NEW || state == OBJECT_ALIVE) break;
    record += RECORD_SIZE;
  }
  // Expectations go last; their slab lies behind that of the flows.
  if (record >= end) record = nextExpectOfBulk(shard, record > end ? record : 0);
  store<u32>(shard, <u32>record, SHARD_BULK);
  return record;
}

/** Takes the record at the head out of the queue. An empty queue starts over: fewer pages touched. */
function leaveQueue(shard: usize, record: usize): void {
  const head = load<u32>(shard, SHARD_QUEUE_HEAD) + 1;
  store<u8>(record, load<u8>(record, RECORD_OBJECT) & ~OBJECT_QUEUED, RECORD_OBJECT);
  if (head == load<u32>(shard, SHARD_QUEUE_TAIL)) {
    store<u32>(shard, 0, SHARD_QUEUE_HEAD);
    store<u32>(shard, 0, SHARD_QUEUE_TAIL);
  } else {
    store<u32>(shard, head == load<u32>(shard, SHARD_QUEUE_SIZE) ? 0 : head, SHARD_QUEUE_HEAD);
  }
}

function doneSending(shard: usize, table: usize, record: usize, options: u32): void {
  const object = load<u8>(record, RECORD_OBJECT);
  if (object & OBJECT_FRESH) store<u8>(record, object | OBJECT_TOLD, RECORD_OBJECT);
  if (shardQueued(shard) == 0) {
    // it came from the bulk send
    const size = isExpectation(shard, record) ? EXPECT_ENTRY_SIZE : RECORD_SIZE;
    store<u32>(shard, <u32>record + size, SHARD_BULK);
    return;
  }
  leaveQueue(shard, record);
  if (stateOf(record) == OBJECT_DEAD && !(options & SHARD_ACKNOWLEDGED)) {
    dropFlow(shard, table, record);
  }
}

/** Message of the record's current state; length or a negative reason. */
function encodeRecord(shard: usize, record: usize, out: usize, room: u32, options: u32): i32 {
  let wire: u32 = 0;
  if (options & SHARD_OMIT_TIMEOUT) wire |= SYNC_OMIT_TIMEOUT;
  if (options & SHARD_EXTENDED) wire |= SYNC_EXTENDED;
  if (isExpectation(shard, record)) {
    return encodeExpectEntry(record, out, room, messageType(record), wire);
  }
  const flow = shard + SHARD_FLOW;
  unpackFlow(record, flow);
  natFromReply(flow);
  if (options & SHARD_WINDOW_TRACKING) wire |= SYNC_WSCALE;
  return encodeSync(flow, out, room, messageType(record), wire);
}

/** NEW, UPD or DEL by the record's state; a fresh flow that lives is a NEW all the time. */
function messageType(record: usize): i32 {
  const object = <u32>load<u8>(record, RECORD_OBJECT);
  const state = object & OBJECT_STATE;
  if (!(object & OBJECT_FRESH)) return <i32>state;
  if (object & OBJECT_TOLD && !load<u8>(record, RECORD_UNACKED)) {
    store<u8>(record, <u8>(object & ~(OBJECT_FRESH | OBJECT_TOLD)), RECORD_OBJECT);
    return <i32>state;
  }
  return state == OBJECT_ALIVE ? OBJECT_NEW : <i32>state;
}

/** Queues records whose messages the peer missed. A record that is gone by now has nothing to say. */
export function shardRequeue(shard: usize, list: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const record = <usize>load<u32>(list + (<usize>i << 2));
    const object = <u32>load<u8>(record, RECORD_OBJECT);
    if ((object & OBJECT_STATE) != OBJECT_FREE && !(object & OBJECT_TOMB)) enqueue(shard, record);
  }
}

/** Removes dead records whose DEL was acknowledged or pushed out of the resend queue. */
export function shardReap(shard: usize, list: usize, count: u32): void {
  const table = tableOf(shard, TABLE_INTERNAL);
  for (let i: u32 = 0; i < count; i++) {
    const record = <usize>load<u32>(list + (<usize>i << 2));
    if (stateOf(record) != OBJECT_DEAD) continue;
    if (<u32>load<u8>(record, RECORD_OBJECT) & OBJECT_QUEUED) continue;
    // It lived and died again since: the resend queue waits for its second DEL.
    if (load<u8>(record, RECORD_UNACKED)) continue;
    dropFlow(shard, table, record);
  }
}

// ------------------------------------------------------------------------------ sync messages

/** Applies `count` sync messages of a peer to the external cache. */
export function shardMessages(shard: usize, list: usize, count: u32, wireOptions: u32): void {
  const flow = shard + SHARD_FLOW;
  const table = tableOf(shard, TABLE_EXTERNAL);
  const key = shard + SHARD_SCRATCH;
  const shares = <usize>load<u32>(table, TABLE_SHARES);
  for (let i: u32 = 0; i < count; i++) {
    if (i % TOUCHED == 0) touchAhead(shard, table, list, i, count, false);
    const message = <usize>load<u32>(list + (<usize>i << 2));
    const length = <u32>bswap<u16>(load<u16>(message, 2));
    const reason = decodeSync(message, length, flow, wireOptions);
    if (reason != 0) {
      refuseMessage(shard, SHARD_BAD_PAYLOAD, reason);
      continue;
    }
    keyOfTuple(flow + FLOW_ORIG, zoneOfFlow(flow), key);
    const record = findRecord(table, key, flow);
    const type = <u32>load<u8>(message) & 0xf;
    if (shares != 0) speaks(shares, message);
    if (type == 2) {
      if (record == 0) continue;
      digestOut(table, record);
      removeRecord(shard, table, record);
      bump(table + TABLE_DESTROYED);
    } else if (record == 0) {
      addFlow(shard, table, key, flow);
    } else if (type == 0) {
      if (shares != 0 && confirms(shares, record)) continue;
      replaceFlow(shard, table, record, flow);
    } else if (partsFor(shard, table, record, flow)) {
      mergeFlow(table, record, flow);
    }
  }
}

// ------------------------------------------------------------------------------------- commit

/**
 * Writes create requests for the external cache, `most` at a time, from `cursor` on (0 =
 * the beginning). Pass 0 takes the flows without a master, pass 1 those with one, so that
 * masters exist first. The n-th request has nlmsg_seq `sequence` + n, the last one asks for an
 * acknowledgement; its record's address goes to handles[n]. Returns the number of requests;
 * SHARD_CURSOR is the next cursor, 0 when the table is through; SHARD_WRITTEN the bytes written.
 */
export function shardCommit(
  shard: usize,
  cursor: u32,
  pass: u32,
  out: usize,
  room: u32,
  handles: usize,
  most: u32,
  sequence: u32,
  fixedTimeout: u32,
): u32 {
  const table = tableOf(shard, 1);
  const base = <usize>load<u32>(table, TABLE_RECORDS);
  const end = base + <usize>load<u32>(table, TABLE_USED) * RECORD_SIZE;
  let record = cursor != 0 ? <usize>cursor : base;
  const options = requestOptions(shard);
  let count: u32 = 0;
  let used: u32 = 0;
  let last: usize = 0;
  while (record < end && count < most && used + REQUEST_ROOM <= room) {
    if (stateOf(record) != OBJECT_FREE && <u32>isRelated(record) == pass) {
      const flow = shard + SHARD_FLOW;
      unpackFlow(record, flow);
      setCommitTimeout(record, flow, fixedTimeout);
      const at = out + <usize>used;
      const length = encodeRequest(
        flow, at, room - used, REQUEST_CREATE, sequence + count, NLM_F_CREATE_EXCL, options,
      );
      if (length > 0) {
        store<u32>(handles + (<usize>count << 2), <u32>record);
        last = at;
        used += <u32>length;
        count++;
      } else {
        refuseMessage(shard, SHARD_OVERSIZED, length);
      }
    }
    record += RECORD_SIZE;
  }
  if (last != 0) store<u16>(last, load<u16>(last, 6) | NLM_F_ACK, 6);
  store<u32>(shard, record < end ? <u32>record : 0, SHARD_CURSOR);
  store<u32>(shard, used, SHARD_WRITTEN);
  return count;
}

/**
 * Second try for flows that the kernel already has: a delete and a create each, with nlmsg_seq
 * `sequence` + 2n and + 2n + 1. Returns the bytes written. A flow that a peer destroyed since the
 * first try is left out; a delete never goes without its create.
 */
export function shardCommitAgain(
  shard: usize,
  list: usize,
  count: u32,
  out: usize,
  room: u32,
  sequence: u32,
  fixedTimeout: u32,
): u32 {
  const flow = shard + SHARD_FLOW;
  const options = requestOptions(shard);
  let used: u32 = 0;
  let last: usize = 0;
  for (let i: u32 = 0; i < count && used + 2 * REQUEST_ROOM <= room; i++) {
    const record = <usize>load<u32>(list + (<usize>i << 2));
    if (stateOf(record) == OBJECT_FREE) continue;
    unpackFlow(record, flow);
    setCommitTimeout(record, flow, fixedTimeout);
    const n = sequence + 2 * i;
    const at = out + <usize>used;
    const first = encodeRequest(flow, at, room - used, REQUEST_DELETE, n, 0, options);
    if (first <= 0) continue;
    const next = at + <usize>first;
    const left = room - used - <u32>first;
    const second = encodeRequest(flow, next, left, REQUEST_CREATE, n + 1, NLM_F_CREATE_EXCL, options);
    if (second <= 0) continue;
    used += <u32>(first + second);
    last = next;
  }
  if (last != 0) store<u16>(last, load<u16>(last, 6) | NLM_F_ACK, 6);
  return used;
}

function requestOptions(shard: usize): u32 {
  return load<u32>(shard, SHARD_OPTIONS) & SHARD_WINDOW_TRACKING ? OPTION_WINDOW_TRACKING : 0;
}

/** Has it a master whose ports are known? Only such a flow waits for the second pass. */
function isRelated(record: usize): bool {
  if (!(load<u32>(record, RECORD_PRESENT) & HAS_MASTER)) return false;
  const extra = <usize>load<u32>(record, RECORD_EXTRA);
  return extra != 0 && (<u32>load<u8>(extra, EXTRA_MASTER + TUPLE_KNOWN) & KNOWN_PORTS) != 0;
}

/** What is left of the flow's timeout, or `fixed` seconds when CommitTimeout says so. */
function setCommitTimeout(record: usize, flow: usize, fixed: u32): void {
  const present = load<u32>(flow, FLOW_PRESENT);
  let timeout = fixed;
  if (timeout == 0) {
    timeout = UNKNOWN_TIMEOUT;
    if (present & HAS_TIMEOUT) {
      const age = load<u32>(CONTROL_NOW) - load<u32>(record, RECORD_STAMP);
      const given = load<u32>(record, RECORD_TIMEOUT);
      if (given > age) timeout = given - age;
    }
  }
  store<u32>(flow, timeout, FLOW_TIMEOUT);
  store<u32>(flow, present | HAS_TIMEOUT, FLOW_PRESENT);
}

// -------------------------------------------------------------------------- for main's orders

/** Empties a cache without telling anyone. */
export function shardFlush(shard: usize, kind: u32): void {
  const table = tableOf(shard, kind);
  if (kind == TABLE_INTERNAL) {
    store<u32>(shard, 0, SHARD_QUEUE_HEAD);
    store<u32>(shard, 0, SHARD_QUEUE_TAIL);
    store<u32>(shard, 0, SHARD_BULK);
  }
  clearTable(shard, table);
  store<u32>(table, 0, TABLE_DEAD);
  clearExpects(shard, kind);
}

/**
 * Copies up to `most` living flows of a cache to `out`, one snapshot each, from `cursor`
 * on (0 = the beginning). Returns the number copied; SHARD_CURSOR is the next cursor, 0 when through.
 */
export function shardSnapshot(
  shard: usize,
  cursor: u32,
  kind: u32,
  out: usize,
  most: u32,
): u32 {
  const table = tableOf(shard, kind);
  const base = <usize>load<u32>(table, TABLE_RECORDS);
  const end = base + <usize>load<u32>(table, TABLE_USED) * RECORD_SIZE;
  let record = cursor != 0 ? <usize>cursor : base;
  let count: u32 = 0;
  for (; record < end && count < most; record += RECORD_SIZE) {
    const state = stateOf(record);
    if (state != OBJECT_NEW && state != OBJECT_ALIVE) continue;
    snapshotRecord(record, out + <usize>count * SNAPSHOT_SIZE);
    count++;
  }
  store<u32>(shard, record < end ? <u32>record : 0, SHARD_CURSOR);
  return count;
}

/** Copies one record, for a log line. */
export function snapshotRecord(record: usize, out: usize): void {
  unpackFlow(record, out);
  store<u32>(out, load<u32>(record, RECORD_ADDED), SNAPSHOT_ADDED);
  store<u32>(out, load<u32>(record, RECORD_STAMP), SNAPSHOT_STAMP);
  store<u32>(out, load<u32>(record, RECORD_SEQUENCE), SNAPSHOT_SEQUENCE);
  store<u8>(out, load<u8>(record, RECORD_OBJECT), SNAPSHOT_OBJECT);
}
