// From received datagrams to lists of messages, and from one list to a list per shard. This is all
// that main does with an event or a message on its way to a shard: find its bounds and its owner.

import { peekTuple } from './ctnetlink';
import { hashKey, shardOf } from './hash';
import {
  FLOW_ORIG,
  GATHER_CUT,
  GATHER_DONE,
  GATHER_ERROR,
  GATHER_EXPECTS,
  GATHER_FLOWS,
  GATHER_OTHER,
  GATHER_SIZE,
  LIST_MAX, MMSG_FLAGS, MMSG_LEN, MMSG_SIZE, MSG_TRUNC,
} from './layout';
import { keyOfTuple } from './record';
import { peekSync } from './sync';

const NLMSG_HEADER: u32 = 16;
const NLMSG_ERROR: u32 = 2;
const NLMSG_DONE: u32 = 3;
const SUBSYSTEM_CT: u32 = 1;
const SUBSYSTEM_EXPECT: u32 = 2;

/**
 * Lists the netlink messages of `count` received datagrams (`struct mmsghdr` at `headers`, payloads
 * at `slots`, `slotSize` apart). Every listed message lies wholly in its datagram.
 */
export function gatherBatch(
  headers: usize,
  slots: usize,
  slotSize: u32,
  count: u32,
  flows: usize,
  expects: usize,
  result: usize,
): void {
  memory.fill(result, 0, GATHER_SIZE);
  for (let i: u32 = 0; i < count; i++) {
    const header = headers + <usize>i * MMSG_SIZE;
    if (load<u32>(header, MMSG_FLAGS) & MSG_TRUNC) {
      store<u32>(result, load<u32>(result, GATHER_CUT) + 1, GATHER_CUT);
      continue;
    }
    gatherDatagram(
      slots + <usize>i * <usize>slotSize, load<u32>(header, MMSG_LEN), flows, expects, result,
    );
  }
}

/** The same for one datagram of `length` bytes; adds to `result`. */
export function gatherDatagram(
  datagram: usize,
  length: u32,
  flows: usize,
  expects: usize,
  result: usize,
): void {
  let at = datagram;
  let remain = length;
  while (remain >= NLMSG_HEADER) {
    const size = load<u32>(at);
    if (size < NLMSG_HEADER || size > remain) return;
    const type = <u32>load<u16>(at, 4);
    const subsystem = type >> 8;
    if (subsystem == SUBSYSTEM_CT) list(flows, result + GATHER_FLOWS, at);
    else if (subsystem == SUBSYSTEM_EXPECT) list(expects, result + GATHER_EXPECTS, at);
    else if (type == NLMSG_DONE || type == NLMSG_ERROR) {
      if (type == NLMSG_DONE) store<u32>(result, 1, GATHER_DONE);
      if (size >= NLMSG_HEADER + 4) store<i32>(result, load<i32>(at, NLMSG_HEADER), GATHER_ERROR);
    } else store<u32>(result, load<u32>(result, GATHER_OTHER) + 1, GATHER_OTHER);
    const step = (size + 3) & ~3;
    if (step >= remain) return;
    at += <usize>step;
    remain -= step;
  }
}

// @ts-ignore: decorator
@inline
function list(entries: usize, count: usize, message: usize): void {
  const n = load<u32>(count);
  if (n >= <u32>LIST_MAX) return; // a datagram of 64 KiB holds 4096 messages; a batch of events 256
  store<u32>(entries + (<usize>n << 2), <u32>message);
  store<u32>(count, n + 1);
}

/**
 * Splits a list of kernel messages by shard: entries for shard i go to lists + i * 4 * LIST_MAX,
 * their number to counts[i]. What has no readable tuple goes to shard 0, which refuses and counts it.
 */
export function routeFlows(
  entries: usize,
  count: u32,
  shards: u32,
  lists: usize,
  counts: usize,
  scratch: usize,
): void {
  for (let i: u32 = 0; i < count; i++) {
    const message = <usize>load<u32>(entries + (<usize>i << 2));
    const zone = peekTuple(message, load<u32>(message), scratch);
    give(shardByTuple(zone, shards, scratch), lists, counts, message);
  }
}

/** The same for sync messages. */
export function routeMessages(
  entries: usize,
  count: u32,
  shards: u32,
  lists: usize,
  counts: usize,
  scratch: usize,
  wireOptions: u32,
): void {
  for (let i: u32 = 0; i < count; i++) {
    const message = <usize>load<u32>(entries + (<usize>i << 2));
    const length = <u32>bswap<u16>(load<u16>(message, 2));
    const zone = peekSync(message, length, scratch, wireOptions);
    give(shardByTuple(zone, shards, scratch), lists, counts, message);
  }
}

/** Splits a list of records by the shard whose memory they lie in (`base`, `stride` bytes a shard). */
export function routeRecords(
  entries: usize,
  count: u32,
  base: u32,
  stride: u32,
  lists: usize,
  counts: usize,
): void {
  for (let i: u32 = 0; i < count; i++) {
    const record = load<u32>(entries + (<usize>i << 2));
    give((record - base) / stride, lists, counts, <usize>record);
  }
}

// @ts-ignore: decorator
@inline
function shardByTuple(zone: i32, shards: u32, scratch: usize): u32 {
  if (zone < 0) return 0;
  const key = scratch + FLOW_ORIG + 64;
  keyOfTuple(scratch, <u32>zone, key);
  return shardOf(hashKey(key), shards);
}

// @ts-ignore: decorator
@inline
function give(shard: u32, lists: usize, counts: usize, entry: usize): void {
  const count = counts + (<usize>shard << 2);
  const n = load<u32>(count);
  if (n >= <u32>LIST_MAX) return;
  store<u32>(lists + ((<usize>shard * LIST_MAX + <usize>n) << 2), <u32>entry);
  store<u32>(count, n + 1);
}
