// Bypass (DisableInternalCache): an event of the kernel becomes a message at once, without a record.
//
//   kernel events ─▶ messages, waiting in a ring ─▶ datagrams, at the end of the turn
//
// The ring lies where the internal table would have its records: this shard has none, and the room
// is of the right size, HashLimit times 80 bytes. Head and tail are offsets in bytes.
//
//   ┌───────────┬─────────┬─────────┬─ ─ ─┬────────────┐     A message never wraps: a word of 0
//   │ … free …  │ message │ message │  …  │ 0 (to end) │     says that the next one is at the
//   └───────────┴─────────┴─────────┴─ ─ ─┴────────────┘     beginning.
//               ▲ head                    ▲ tail
//
// What finds no room is lost, and counted: nobody knows the flow, so nobody can say it again.

import { natFromReply } from './ctnetlink';
import {
  OUT_LENGTH,
  OUT_MESSAGES,
  OUT_PAYLOAD,
  RECORD_SIZE,
  SHARD_BYPASS_DESTROYED,
  SHARD_BYPASS_DROPPED,
  SHARD_BYPASS_HEAD,
  SHARD_BYPASS_NEW,
  SHARD_BYPASS_TAIL,
  SHARD_BYPASS_UPDATED,
  SHARD_BYPASS_WAITING,
  SHARD_EXTENDED,
  SHARD_HANDLES_SLOT,
  SHARD_LAST_BAD,
  SHARD_OMIT_TIMEOUT,
  SHARD_OPTIONS,
  SHARD_OUT,
  SHARD_OUT_SIZE,
  SHARD_OUT_SLOTS,
  SHARD_OVERSIZED,
  SHARD_PAYLOAD_MAX,
  SHARD_TABLES,
  SHARD_WINDOW_TRACKING,
  TABLE_CAPACITY,
  TABLE_RECORDS,
} from './layout';
import { encodeSync, SYNC_EXTENDED, SYNC_OMIT_TIMEOUT, SYNC_WSCALE } from './sync';
import { SYNC_MAX_MESSAGE } from './sync-encode';
import { bump } from './table';

const MSG_NEW: i32 = 0;
const MSG_UPD: i32 = 1;

// @ts-ignore: decorator
@inline
function ringOf(shard: usize): usize {
  return <usize>load<u32>(shard, SHARD_TABLES + TABLE_RECORDS);
}

/** Has the message `type` (0 NEW, 1 UPD, 2 DEL) of the Flow at `flow` wait to be sent. */
export function sayAtOnce(shard: usize, flow: usize, type: i32): void {
  const at = placeForMessage(shard);
  if (at == 0) {
    bump(shard + SHARD_BYPASS_DROPPED);
    return;
  }
  natFromReply(flow);
  const options = load<u32>(shard, SHARD_OPTIONS);
  let wire: u32 = 0;
  if (options & SHARD_OMIT_TIMEOUT) wire |= SYNC_OMIT_TIMEOUT;
  if (options & SHARD_EXTENDED) wire |= SYNC_EXTENDED;
  if (options & SHARD_WINDOW_TRACKING) wire |= SYNC_WSCALE;
  const length = encodeSync(flow, at, SYNC_MAX_MESSAGE, type, wire);
  if (length <= 0) {
    refuse(shard, length);
    return;
  }
  store<u32>(shard, <u32>(at - ringOf(shard)) + <u32>length, SHARD_BYPASS_TAIL);
  store<u32>(shard, load<u32>(shard, SHARD_BYPASS_WAITING) + 1, SHARD_BYPASS_WAITING);
  if (type == MSG_NEW) bump(shard + SHARD_BYPASS_NEW);
  else if (type == MSG_UPD) bump(shard + SHARD_BYPASS_UPDATED);
  else bump(shard + SHARD_BYPASS_DESTROYED);
}

function refuse(shard: usize, reason: i32): void {
  bump(shard + SHARD_OVERSIZED);
  store<i32>(shard, reason, SHARD_LAST_BAD);
}

/**
 * Where the next message may be written, SYNC_MAX_MESSAGE bytes of room; 0 when the ring is full.
 * Always leaves a byte free, so that head = tail means empty.
 */
function placeForMessage(shard: usize): usize {
  const ring = ringOf(shard);
  const size = load<u32>(shard, SHARD_TABLES + TABLE_CAPACITY) * RECORD_SIZE;
  const head = load<u32>(shard, SHARD_BYPASS_HEAD);
  const tail = load<u32>(shard, SHARD_BYPASS_TAIL);
  if (tail < head) return head - tail > SYNC_MAX_MESSAGE ? ring + <usize>tail : 0;
  if (size - tail > SYNC_MAX_MESSAGE) return ring + <usize>tail;
  if (head <= SYNC_MAX_MESSAGE) return 0;
  store<u32>(ring + <usize>tail, 0);
  return ring;
}

/** Puts waiting messages into at most `slots` datagrams; returns how many were filled. */
export function pumpBypass(shard: usize, slots: u32): u32 {
  const limit = min<u32>(slots, load<u32>(shard, SHARD_OUT_SLOTS));
  const size = <usize>load<u32>(shard, SHARD_OUT_SIZE);
  let slot = <usize>load<u32>(shard, SHARD_OUT);
  let filled: u32 = 0;
  while (filled < limit && fillDatagram(shard, slot)) {
    filled++;
    slot += size;
  }
  return filled;
}

function fillDatagram(shard: usize, slot: usize): bool {
  const room = load<u32>(shard, SHARD_PAYLOAD_MAX);
  const most = load<u32>(shard, SHARD_HANDLES_SLOT);
  let used: u32 = 0;
  let messages: u32 = 0;
  while (messages < most) {
    const message = oldest(shard);
    if (message == 0) break;
    const length = <u32>bswap<u16>(load<u16>(message, 2));
    if (length > room - used) {
      if (used != 0) break;
      refuse(shard, 0); // the link's MTU is absurdly small
      leave(shard, message, length);
      continue;
    }
    memory.copy(slot + OUT_PAYLOAD + used, message, <usize>length);
    used += length;
    messages++;
    leave(shard, message, length);
  }
  store<u32>(slot, used, OUT_LENGTH);
  store<u32>(slot, messages, OUT_MESSAGES);
  return messages != 0;
}

/** The message that has waited longest, or 0. */
function oldest(shard: usize): usize {
  const head = load<u32>(shard, SHARD_BYPASS_HEAD);
  if (head == load<u32>(shard, SHARD_BYPASS_TAIL)) return 0;
  const message = ringOf(shard) + <usize>head;
  return load<u32>(message) != 0 ? message : ringOf(shard);
}

/** An empty ring starts over: fewer pages touched. */
function leave(shard: usize, message: usize, length: u32): void {
  const head = <u32>(message - ringOf(shard)) + length;
  const empty = head == load<u32>(shard, SHARD_BYPASS_TAIL);
  store<u32>(shard, empty ? 0 : head, SHARD_BYPASS_HEAD);
  if (empty) store<u32>(shard, 0, SHARD_BYPASS_TAIL);
  store<u32>(shard, load<u32>(shard, SHARD_BYPASS_WAITING) - 1, SHARD_BYPASS_WAITING);
}
