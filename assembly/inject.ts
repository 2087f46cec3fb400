// Direct injection (DisableExternalCache): what a peer says goes into this kernel at once.
//
//   sync messages ─▶ kernel requests (main, injectRequests)
//                 ─▶ register of copies (the shard, shardInjected)
//
// Requests are made on main, between the link it reads and the socket it writes: they need no
// table, and the kernel does the work inside main's send anyway. The register is the external table
// without attributes: it knows which of this kernel's flows are copies of a peer's. A copy is not
// ours to speak of: when it times out here, where no packet refreshes it, the flow may well live on
// the peer, and a DEL would end it there. It becomes ours with the first event that packets or an
// operator cause. docs/wire-protocol.md, "Building the kernel request".

import {
  encodeRequest,
  OPTION_WINDOW_TRACKING,
  REQUEST_CREATE,
  REQUEST_DELETE,
  REQUEST_UPDATE,
} from './ctnetlink';
import { hashLow } from './hash';
import {
  CONTROL_NOW,
  FLOW_ORIG,
  FLOW_PRESENT,
  FLOW_SIZE,
  FLOW_STATE,
  FLOW_STATUS,
  FLOW_TIMEOUT,
  HAS_MASTER,
  HAS_ORIG,
  HAS_STATE,
  HAS_STATUS,
  HAS_TIMEOUT,
  HAS_ZONE,
  HAS_ZONE_ORIG,
  INJECT_OUTCOME,
  INJECT_REPEATS,
  INJECT_ROW,
  INJECT_UNENCODABLE,
  INJECT_UNREADABLE,
  INJECT_WINDOW_TRACKING,
  INJECT_WRITTEN,
  RECORD_STAMP,
  SHARD_BAD_PAYLOAD,
  SHARD_FLOW,
  SHARD_LAST_BAD,
  SHARD_SCRATCH,
  SHARD_TABLES,
  TABLE_DESTROYED,
  TABLE_EXTERNAL,
  TABLE_INTERNAL,
  TABLE_SIZE,
  TUPLE_L4,
} from './layout';
import { keyOfTuple, packFlow, zoneOfFlow } from './record';
import { disown } from './shard';
import { decodeSync } from './sync';
import { addRecord, bump, findRecord, removeRecord } from './table';

const MSG_NEW: u32 = 0; // type of a sync message
const MSG_DEL: u32 = 2;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE_EXCL: u32 = 0x600;
const REQUEST_ROOM: u32 = 1024; // more than any request takes
const IPPROTO_TCP: u32 = 6;
const TCP_ESTABLISHED: u8 = 3;
const IPS_ASSURED: u32 = 4;
// s, for a flow that came without a timeout (its sender has CommitTimeout set): the kernel's own for
// an established connection, and for the rest long enough to outlive a pause of their packets.
const TIMEOUT_ESTABLISHED: u32 = 432000;
const TIMEOUT_OTHER: u32 = 180;

// @ts-ignore: decorator
@inline
function tableOf(shard: usize, kind: u32): usize {
  return shard + SHARD_TABLES + <usize>kind * TABLE_SIZE;
}

// @ts-ignore: decorator
@inline
function lengthOf(message: usize): u32 {
  return <u32>bswap<u16>(load<u16>(message, 2));
}

// @ts-ignore: decorator
@inline
function typeOf(message: usize): u32 {
  return <u32>load<u8>(message) & 0xf;
}

/**
 * Writes a request for each of the `count` listed messages to `out`, in their order; the n-th has
 * nlmsg_seq `sequence` + n, the last one asks for an acknowledgement. Row n of `rows` gets the hash
 * of its flow and INJECT_UNREADABLE or INJECT_UNENCODABLE where there is no request. Stops before a
 * flow with a master, so that the master is there for certain, and where `room` ends. Returns the
 * number of messages taken, 1 at least; the word at rows + INJECT_WRITTEN is the bytes written.
 * `flow`: a scratch Flow with 64 bytes behind it.
 */
export function injectRequests(
  list: usize,
  count: u32,
  out: usize,
  room: u32,
  rows: usize,
  sequence: u32,
  flow: usize,
  options: u32,
): u32 {
  let used: u32 = 0;
  let last: usize = 0;
  let taken: u32 = 0;
  for (; taken < count && used + REQUEST_ROOM <= room; taken++) {
    const message = <usize>load<u32>(list + (<usize>taken << 2));
    const row = rows + <usize>taken * INJECT_ROW;
    store<u64>(row, 0);
    if (decodeSync(message, lengthOf(message), flow, 0) != 0) {
      store<u32>(row, INJECT_UNREADABLE, INJECT_OUTCOME);
      continue;
    }
    if (taken > 0 && load<u32>(flow, FLOW_PRESENT) & HAS_MASTER) break;
    keyOfTuple(flow + FLOW_ORIG, zoneOfFlow(flow), flow + FLOW_SIZE);
    store<u32>(row, hashLow(flow + FLOW_SIZE));
    const at = out + <usize>used;
    const length = firstRequest(flow, at, room - used, typeOf(message), sequence + taken, options);
    if (length <= 0) {
      store<u32>(row, INJECT_UNENCODABLE, INJECT_OUTCOME);
      continue;
    }
    last = at;
    used += <u32>length;
  }
  if (last != 0) store<u16>(last, load<u16>(last, 6) | NLM_F_ACK, 6);
  store<u32>(rows, used, INJECT_WRITTEN);
  return taken;
}

/** NEW creates, UPD updates, DEL deletes. Where NEWs are repeated (ALARM), a NEW updates first. */
function firstRequest(
  flow: usize,
  out: usize,
  room: u32,
  type: u32,
  sequence: u32,
  options: u32,
): i32 {
  const wire = requestOptions(options);
  if (type == MSG_DEL) return encodeRequest(flow, out, room, REQUEST_DELETE, sequence, 0, wire);
  if (type == MSG_NEW && !(options & INJECT_REPEATS)) {
    completeTimeout(flow);
    return encodeRequest(flow, out, room, REQUEST_CREATE, sequence, NLM_F_CREATE_EXCL, wire);
  }
  return encodeRequest(flow, out, room, REQUEST_UPDATE, sequence, 0, wire);
}

// @ts-ignore: decorator
@inline
function requestOptions(options: u32): u32 {
  return options & INJECT_WINDOW_TRACKING ? OPTION_WINDOW_TRACKING : 0;
}

/** The kernel creates no flow without a timeout. An update without one keeps the kernel's. */
function completeTimeout(flow: usize): void {
  const present = load<u32>(flow, FLOW_PRESENT);
  if (present & HAS_TIMEOUT) return;
  const established =
    <u32>load<u8>(flow, FLOW_ORIG + TUPLE_L4) == IPPROTO_TCP &&
    (present & (HAS_STATE | HAS_STATUS)) == (HAS_STATE | HAS_STATUS) &&
    load<u8>(flow, FLOW_STATE) == TCP_ESTABLISHED &&
    (load<u32>(flow, FLOW_STATUS) & IPS_ASSURED) != 0;
  store<u32>(flow, established ? TIMEOUT_ESTABLISHED : TIMEOUT_OTHER, FLOW_TIMEOUT);
  store<u32>(flow, present | HAS_TIMEOUT, FLOW_PRESENT);
}

/**
 * Second try for the `count` listed messages, NEW or UPD: a delete and a create each, with
 * nlmsg_seq `sequence` + 2n and + 2n + 1. A delete never goes without its create. The word at rows +
 * INJECT_WRITTEN is the bytes written; row n says INJECT_UNENCODABLE where there is no request.
 */
export function injectAgain(
  list: usize,
  count: u32,
  out: usize,
  room: u32,
  rows: usize,
  sequence: u32,
  flow: usize,
  options: u32,
): void {
  const wire = requestOptions(options);
  let used: u32 = 0;
  let last: usize = 0;
  for (let i: u32 = 0; i < count; i++) {
    const message = <usize>load<u32>(list + (<usize>i << 2));
    const row = rows + <usize>i * INJECT_ROW;
    store<u64>(row, <u64>INJECT_UNENCODABLE << 32);
    if (used + 2 * REQUEST_ROOM > room) continue;
    if (decodeSync(message, lengthOf(message), flow, 0) != 0) continue;
    completeTimeout(flow);
    const n = sequence + 2 * i;
    const at = out + <usize>used;
    const first = encodeRequest(flow, at, room - used, REQUEST_DELETE, n, 0, wire);
    if (first <= 0) continue;
    const next = at + <usize>first;
    const left = room - used - <u32>first;
    const second = encodeRequest(flow, next, left, REQUEST_CREATE, n + 1, NLM_F_CREATE_EXCL, wire);
    if (second <= 0) continue;
    store<u64>(row, 0);
    used += <u32>(first + second);
    last = next;
  }
  if (last != 0) store<u16>(last, load<u16>(last, 6) | NLM_F_ACK, 6);
  store<u32>(rows, used, INJECT_WRITTEN);
}

// -------------------------------------------------------------------------- register of copies

/** Enters the flows of `count` messages in the register, or takes them out (DEL). */
export function shardInjected(shard: usize, list: usize, count: u32, wireOptions: u32): void {
  const flow = shard + SHARD_FLOW;
  const key = shard + SHARD_SCRATCH;
  const register = tableOf(shard, TABLE_EXTERNAL);
  for (let i: u32 = 0; i < count; i++) {
    const message = <usize>load<u32>(list + (<usize>i << 2));
    const reason = decodeSync(message, lengthOf(message), flow, wireOptions);
    if (reason != 0) {
      bump(shard + SHARD_BAD_PAYLOAD);
      store<i32>(shard, reason, SHARD_LAST_BAD);
      continue;
    }
    // The tuple is all there is to know: no side part but the addresses of IPv6.
    store<u32>(flow, load<u32>(flow, FLOW_PRESENT) & (HAS_ORIG | HAS_ZONE | HAS_ZONE_ORIG), FLOW_PRESENT);
    keyOfTuple(flow + FLOW_ORIG, zoneOfFlow(flow), key);
    let copy = findRecord(register, key, flow);
    if (typeOf(message) == MSG_DEL) {
      if (copy != 0) removeCopy(shard, register, copy);
      continue;
    }
    if (copy == 0) {
      copy = addRecord(shard, register, key, flow);
      if (copy != 0) packFlow(copy, flow, false);
    }
    if (copy != 0) store<u32>(copy, load<u32>(CONTROL_NOW), RECORD_STAMP);
    const record = findRecord(tableOf(shard, TABLE_INTERNAL), key, flow);
    if (record != 0) disown(shard, record);
  }
}

/** Is the flow with the key at `key` a copy of a peer's? */
export function isCopy(shard: usize, key: usize, flow: usize): bool {
  return findRecord(tableOf(shard, TABLE_EXTERNAL), key, flow) != 0;
}

/** Something happened here to the flow at `flow`: it is no copy any more. True when it was one. */
export function takeOverCopy(shard: usize, flow: usize): bool {
  const key = shard + SHARD_SCRATCH;
  const register = tableOf(shard, TABLE_EXTERNAL);
  keyOfTuple(flow + FLOW_ORIG, zoneOfFlow(flow), key);
  const copy = findRecord(register, key, flow);
  if (copy == 0) return false;
  removeCopy(shard, register, copy);
  return true;
}

function removeCopy(shard: usize, register: usize, copy: usize): void {
  removeRecord(shard, register, copy);
  bump(register + TABLE_DESTROYED);
}
