// Brings near what the next messages will look for. A lookup in a large table waits for two places of
// memory one after the other, the bucket's head and its record, 0.1 to 0.2 µs each; the processor can
// wait for many at a time, but sees no further than the message it is at. So before a block of messages
// is worked through, the heads of all its buckets are read, then the records: reads that do not depend
// on each other, and whose values nobody needs. New flows also split buckets (table.ts), whose records
// lie anywhere, too. WebAssembly has no prefetch.
//
// Only for the common shape, IPv4 with ports; anything else is looked up as ever. What is read here
// decides nothing: a message is judged by its decoder alone. Pure; the room is the shard's.

import { hashWords } from './hash';
import {
  RECORD_L3,
  RECORD_L4,
  RECORD_VISIT,
  SHARD_TOUCH,
  TABLE_COUNT,
} from './layout';
import { head, IPV4, L4PROTO, PORT } from './sync-attribute';
import { bucketOf, nextToSplit } from './table';

/** Messages a block. */
export const TOUCHED: u32 = 16;
/** Flows from which on a table is larger than the processor's nearer caches. */
const LARGE: u32 = 8192;

const AF_INET: u64 = 2;
const KEY_L4: u64 = 8 * (RECORD_L4 - 8);
const KEY_L3: u64 = 8 * (RECORD_L3 - 8);

// A kernel event: nlmsghdr, nfgenmsg, then CTA_TUPLE_ORIG with two addresses, protocol and two ports
// (linux/netfilter/nfnetlink_conntrack.h), all at fixed places.
const EVENT_FLAGS: usize = 6; // of nlmsghdr: not 0 for a new flow
const EVENT_SRC: usize = 32;
const EVENT_DST: usize = 40;
const EVENT_L4: usize = 52;
const EVENT_SPORT: usize = 60;
const EVENT_DPORT: usize = 68;
const EVENT_LENGTH: u32 = 72;

// A sync message: its header, then IPV4, STATUS, L4PROTO and PORT (docs/wire-protocol.md).
const SYNC_SRC: usize = 12;
const SYNC_L4: usize = 32;
const SYNC_PORTS: usize = 40;
const SYNC_LENGTH: u32 = 44;

/**
 * Touches what the next block of the `count` messages at `list` will be looked up by in `table`, from
 * the `from`-th on: kernel events with `events`, else messages of a peer.
 */
export function touchAhead(
  shard: usize, table: usize, list: usize, from: u32, count: u32, events: bool,
): void {
  if (load<u32>(table, TABLE_COUNT) < LARGE) return;
  const heads = shard + SHARD_TOUCH;
  const block = min<u32>(TOUCHED, count - from);
  let fresh: u32 = 0;
  for (let i: u32 = 0; i < block; i++) {
    const message = <usize>load<u32>(list + (<usize>(from + i) << 2));
    fresh += <u32>(events ? load<u16>(message, EVENT_FLAGS) != 0 : (load<u8>(message) & 0xf) == 0);
    const first = events ? firstOfEvent(table, message) : firstOfMessage(table, message);
    store<u32>(heads + (<usize>i << 2), first);
  }
  touchRecords(table, heads, block, fresh);
}

/** First record of the bucket that an event is looked up in; 0 if it is not of the common shape. */
// @ts-ignore: decorator
@inline
function firstOfEvent(table: usize, message: usize): u32 {
  if (load<u32>(message) < EVENT_LENGTH || !isEvent(message)) return 0;
  const ports = <u64>load<u16>(message, EVENT_SPORT) | (<u64>load<u16>(message, EVENT_DPORT) << 16);
  const addresses = <u64>load<u32>(message, EVENT_SRC) | (<u64>load<u32>(message, EVENT_DST) << 32);
  return headOf(table, addresses, ports, load<u8>(message, EVENT_L4));
}

/** The same of a message of a peer. */
// @ts-ignore: decorator
@inline
function firstOfMessage(table: usize, message: usize): u32 {
  if (<u32>bswap<u16>(load<u16>(message, 2)) < SYNC_LENGTH || !isMessage(message)) return 0;
  const addresses = load<u64>(message, SYNC_SRC);
  return headOf(table, addresses, load<u32>(message, SYNC_PORTS), load<u8>(message, SYNC_L4));
}

/** Does an event's original tuple stand where that of IPv4 with ports stands? */
// @ts-ignore: decorator
@inline
function isEvent(message: usize): bool {
  return (
    (load<u32>(message, EVENT_SRC - 4) ^ 0x00010008) |
      (load<u32>(message, EVENT_DST - 4) ^ 0x00020008) |
      (load<u32>(message, EVENT_L4 - 4) ^ 0x00010005) |
      (load<u32>(message, EVENT_SPORT - 4) ^ 0x00020006) |
      (load<u32>(message, EVENT_DPORT - 4) ^ 0x00030006)
  ) == 0;
}

/** Do the four attributes of the common sync message stand in their places? */
// @ts-ignore: decorator
@inline
function isMessage(message: usize): bool {
  return (
    load<u32>(message, SYNC_SRC - 4) == head(12, IPV4) &&
    load<u32>(message, SYNC_L4 - 4) == head(5, L4PROTO) &&
    load<u32>(message, SYNC_PORTS - 4) == head(8, PORT)
  );
}

/** First record of the bucket of an IPv4 flow in zone 0. */
// @ts-ignore: decorator
@inline
function headOf(table: usize, addresses: u64, ports: u64, l4: u64): u32 {
  const rest = ports | (l4 << KEY_L4) | (AF_INET << KEY_L3);
  return load<u32>(bucketOf(table, <u32>hashWords(addresses, rest)));
}

/** Reads the records; the sum is kept, so that no compiler finds the reads useless. */
function touchRecords(table: usize, heads: usize, count: u32, fresh: u32): void {
  let sum: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const record = <usize>load<u32>(heads + (<usize>i << 2));
    sum ^= load<u32>(record) ^ load<u32>(record, RECORD_VISIT - 2);
  }
  for (let i: u32 = 0; i < fresh; i++) sum ^= load<u32>(<usize>load<u32>(nextToSplit(table, i)));
  store<u32>(heads, sum);
}
