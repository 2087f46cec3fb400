// Digests of a table: what two nodes compare to know that the internal cache of one and the external
// cache of the other hold the same flows.
//
//   flow ─▶ identity (64 bits) ─▶ range: its upper 10 bits
//                    └─ and what is told of it ─▶ digest (64 bits) ─▶ added to the sum of the range
//
// A sum does not depend on the order of the flows, so neither the shape of a table nor the number of
// shards shows in it: main adds up the shards. It is kept as records change, about 20 ns for an
// update: digestOut() takes the record's share out before the change, digestIn() adds it back after.
// Only living flows count.
//
// A digest is made of what a sync message would tell, in the form in which both sides have it: the
// tuple, zones, status, mark, protocol state, translation, and what few flows have (labels, helper,
// sequence adjustment, synproxy, verification tags, master). Not of timeouts, which run, of ids, which
// are each kernel's own, and of window scales, which travel only when both configurations say so.
//
// The hash has no secret, unlike that of the index: both nodes must come to the same number, and each
// keeps its sums from its first moment on, before it knows a peer. Every step is a bijection of the
// word it takes in, so flows that differ in one word never collide before the last step. Who chooses
// his own tuples can at most make differences of his own flows cancel out: what he could hide is that
// the backup lacks flows of his.

import {
  DIGEST_DOUBTED,
  EXTRA_DCCP_ROLE,
  EXTRA_HELPER,
  EXTRA_LABELS,
  EXTRA_MASTER,
  EXTRA_SEQADJ,
  EXTRA_SYNPROXY,
  EXTRA_VTAG,
  EXTRA_ZONE_REPLY,
  HAS_DCCP_ROLE,
  HAS_HELPER,
  HAS_LABELS,
  HAS_MARK,
  HAS_MASTER,
  HAS_NAT_DPORT,
  HAS_NAT_DST,
  HAS_NAT_SPORT,
  HAS_NAT_SRC,
  HAS_REPLY,
  HAS_SEQADJ_ORIG,
  HAS_SEQADJ_REPLY,
  HAS_STATE,
  HAS_STATUS,
  HAS_SYNPROXY,
  HAS_VTAG,
  HAS_ZONE_ORIG,
  HAS_ZONE_REPLY,
  KNOWN_PORTS,
  OBJECT_ALIVE,
  OBJECT_DOUBTED,
  OBJECT_FRESH,
  OBJECT_NEW,
  OBJECT_STATE,
  OBJECT_TOLD,
  RECORD_DPORT,
  RECORD_DST,
  RECORD_EXTRA,
  RECORD_KEY,
  RECORD_L4,
  RECORD_MARK,
  RECORD_OBJECT,
  RECORD_PRESENT,
  RECORD_REPLY_DPORT,
  RECORD_REPLY_DST,
  RECORD_REPLY_SPORT,
  RECORD_REPLY_SRC,
  RECORD_SIZE,
  RECORD_SPORT,
  RECORD_SRC,
  RECORD_STATE,
  RECORD_STATUS,
  RECORD_V6,
  SHARD_CURSOR,
  SHARD_TABLES,
  TABLE_DESTROYED,
  TABLE_DIGESTS,
  TABLE_EXTERNAL,
  TABLE_INTERNAL,
  TABLE_RECORDS,
  TABLE_SHARES,
  TABLE_SIZE,
  TABLE_USED,
  TUPLE_DST,
  TUPLE_KNOWN,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SPORT,
  TUPLE_SRC,
  V6_DST,
  V6_REPLY_DST,
  V6_REPLY_SRC,
  V6_SRC,
} from './layout';
import { enqueue } from './shard';
import { doubt, leave, sharesIn, sharesOut, trust } from './shares';
import { HELPER_PAYLOAD, nameLength, sendsPorts, UDP, SCTP, DCCP } from './sync-attribute';
import { bump, removeRecord } from './table';

const IPS_SRC_NAT_DONE: u32 = 0x80; // linux/netfilter/nf_conntrack_common.h
const IPS_DST_NAT_DONE: u32 = 0x100;
const NAT: u32 = HAS_NAT_SRC | HAS_NAT_DST | HAS_NAT_SPORT | HAS_NAT_DPORT;
const NAT_PORTS: u32 = HAS_NAT_SPORT | HAS_NAT_DPORT;
const RARE: u32 =
  HAS_LABELS | HAS_HELPER | HAS_SEQADJ_ORIG | HAS_SEQADJ_REPLY | HAS_SYNPROXY | HAS_VTAG |
  HAS_ZONE_REPLY | HAS_DCCP_ROLE | HAS_MASTER;

const SEED: u64 = 0x243f6a8885a308d3; // digits of pi
const STEP: u64 = 0x9e3779b97f4a7c15; // odd, so that each step can be undone
const LAST: u64 = 0xd6e8feb86659fd93;

/** Takes a word into a hash. */
// @ts-ignore: decorator
@inline
function mix(hash: u64, word: u64): u64 {
  const product = (hash ^ word) * STEP;
  return product ^ (product >> 32);
}

// ------------------------------------------------------------------------- keeping the sums

/** A record of `table` has come to live, or has been changed: its share is added. */
export function digestIn(table: usize, record: usize): void {
  const sums = <usize>load<u32>(table, TABLE_DIGESTS);
  if (sums == 0) return;
  if (load<u32>(table, TABLE_SHARES)) return sharesIn(table, record);
  const identity = identityOf(record);
  const sum = sums + rangeOf(identity);
  store<u64>(sum, load<u64>(sum) + digestOf(record, identity));
}

/** A living record of `table` is about to change or to end: its share, and any doubt, goes. */
export function digestOut(table: usize, record: usize): void {
  const sums = <usize>load<u32>(table, TABLE_DIGESTS);
  if (sums == 0) return;
  if (load<u32>(table, TABLE_SHARES)) return sharesOut(table, record);
  const identity = identityOf(record);
  const digest = digestOf(record, identity);
  const sum = sums + rangeOf(identity);
  store<u64>(sum, load<u64>(sum) - digest);
  const object = <u32>load<u8>(record, RECORD_OBJECT);
  if (!(object & OBJECT_DOUBTED)) return;
  store<u8>(record, <u8>(object & ~OBJECT_DOUBTED), RECORD_OBJECT);
  store<u64>(sum, load<u64>(sum, DIGEST_DOUBTED) - digest, DIGEST_DOUBTED);
}

/** The digest of a record on its own, for tests. */
export function recordDigest(record: usize): u64 {
  return digestOf(record, identityOf(record));
}

/** The range that a record belongs to. */
export function recordRange(record: usize): u32 {
  return <u32>(identityOf(record) >> 54);
}

// @ts-ignore: decorator
@inline
export function rangeOf(identity: u64): usize {
  return <usize>(identity >> 54) << 3;
}

/** A hash of tuple and zone that is the same on every node. */
// @ts-ignore: decorator
@inline
export function identityOf(record: usize): u64 {
  const v6 = <usize>load<u32>(record, RECORD_V6);
  let hash = SEED;
  if (v6 == 0) {
    hash = mix(hash, load<u64>(record, RECORD_KEY));
  } else {
    hash = mix(mix(hash, load<u64>(v6, V6_SRC)), load<u64>(v6, V6_SRC + 8));
    hash = mix(mix(hash, load<u64>(v6, V6_DST)), load<u64>(v6, V6_DST + 8));
  }
  return mix(hash, load<u64>(record, RECORD_KEY + 8)); // ports, zone, protocol, family
}

export function digestOf(record: usize, identity: u64): u64 {
  const present = load<u32>(record, RECORD_PRESENT);
  const l4 = <u32>load<u8>(record, RECORD_L4);
  const status = present & HAS_STATUS ? load<u32>(record, RECORD_STATUS) : 0;
  const mark = present & HAS_MARK ? load<u32>(record, RECORD_MARK) : 0;
  let hash = mix(identity, <u64>status | (<u64>mark << 32));
  const nat = translationOf(record, present, status, l4);
  let word: u64 = (nat >> 8) | (present & HAS_ZONE_ORIG);
  if (present & HAS_STATE && hasState(l4)) word |= <u64>load<u8>(record, RECORD_STATE) << 32;
  hash = mix(hash, word);
  if (nat != 0) hash = translated(hash, record, nat);
  if (present & RARE) {
    const extra = <usize>load<u32>(record, RECORD_EXTRA);
    if (extra != 0) hash = rare(hash, extra, present, l4);
  }
  hash *= LAST;
  return hash ^ (hash >> 32);
}

// @ts-ignore: decorator
@inline
function hasState(l4: u32): bool {
  return l4 != UDP && sendsPorts(l4);
}

/**
 * HAS_NAT_* bits of what is translated. The kernel's record has the reply tuple instead, from which
 * the message is made as natFromReply() (ctnetlink-request.ts) does it.
 */
function translationOf(record: usize, present: u32, status: u32, l4: u32): u32 {
  const ports = sendsPorts(l4);
  if (!(present & HAS_REPLY)) return present & (ports ? NAT : NAT & ~NAT_PORTS);
  if (!(status & (IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE))) return 0;
  let nat: u32 = 0;
  const v6 = <usize>load<u32>(record, RECORD_V6);
  if (status & IPS_SRC_NAT_DONE) {
    const same = v6 == 0
      ? load<u32>(record, RECORD_REPLY_DST) == load<u32>(record, RECORD_SRC)
      : same16(v6 + V6_REPLY_DST, v6 + V6_SRC);
    if (!same) nat |= HAS_NAT_SRC;
    if (ports && load<u16>(record, RECORD_REPLY_DPORT) != load<u16>(record, RECORD_SPORT)) {
      nat |= HAS_NAT_SPORT;
    }
  }
  if (status & IPS_DST_NAT_DONE) {
    const same = v6 == 0
      ? load<u32>(record, RECORD_REPLY_SRC) == load<u32>(record, RECORD_DST)
      : same16(v6 + V6_REPLY_SRC, v6 + V6_DST);
    if (!same) nat |= HAS_NAT_DST;
    if (ports && load<u16>(record, RECORD_REPLY_SPORT) != load<u16>(record, RECORD_DPORT)) {
      nat |= HAS_NAT_DPORT;
    }
  }
  return nat;
}

function translated(start: u64, record: usize, nat: u32): u64 {
  let hash = start;
  const v6 = <usize>load<u32>(record, RECORD_V6);
  if (nat & HAS_NAT_SRC) {
    hash = v6 == 0
      ? mix(hash, <u64>load<u32>(record, RECORD_REPLY_DST))
      : mix16(hash, v6 + V6_REPLY_DST);
  }
  if (nat & HAS_NAT_DST) {
    hash = v6 == 0
      ? mix(hash, <u64>load<u32>(record, RECORD_REPLY_SRC))
      : mix16(hash, v6 + V6_REPLY_SRC);
  }
  if (!(nat & NAT_PORTS)) return hash;
  const sport = nat & HAS_NAT_SPORT ? <u64>load<u16>(record, RECORD_REPLY_DPORT) : 0;
  const dport = nat & HAS_NAT_DPORT ? <u64>load<u16>(record, RECORD_REPLY_SPORT) : 0;
  return mix(hash, sport | (dport << 16));
}

/** What lies in the extra part, as far as it travels. What travels not is as if it were not there. */
function rare(start: u64, extra: usize, present: u32, l4: u32): u64 {
  let hash = start;
  if (present & HAS_LABELS && (load<u64>(extra, EXTRA_LABELS) | load<u64>(extra, EXTRA_LABELS + 8))) {
    hash = mix16(mix(hash, HAS_LABELS), extra + EXTRA_LABELS);
  }
  if (present & HAS_HELPER) {
    const length = nameLength(extra + EXTRA_HELPER, 16);
    if (length != 0 && length < HELPER_PAYLOAD) {
      hash = mix16(mix(hash, HAS_HELPER), extra + EXTRA_HELPER);
    }
  }
  if ((present & (HAS_SEQADJ_ORIG | HAS_SEQADJ_REPLY)) == (HAS_SEQADJ_ORIG | HAS_SEQADJ_REPLY)) {
    hash = mix16(mix(hash, HAS_SEQADJ_ORIG), extra + EXTRA_SEQADJ);
    hash = mix(hash, load<u64>(extra, EXTRA_SEQADJ + 16));
  }
  if (present & HAS_SYNPROXY) {
    const first = load<u64>(extra, EXTRA_SYNPROXY);
    const third = <u64>load<u32>(extra, EXTRA_SYNPROXY + 8);
    if ((first | third) != 0) hash = mix(mix(mix(hash, HAS_SYNPROXY), first), third);
  }
  if (present & HAS_STATE && l4 == SCTP && present & HAS_VTAG) {
    const tags = <u64>load<u32>(extra, EXTRA_VTAG) | (<u64>load<u32>(extra, EXTRA_VTAG + 4) << 32);
    hash = mix(mix(hash, HAS_VTAG), tags);
  }
  if (present & HAS_STATE && l4 == DCCP && present & HAS_DCCP_ROLE) {
    hash = mix(mix(hash, HAS_DCCP_ROLE), <u64>load<u8>(extra, EXTRA_DCCP_ROLE));
  }
  if (present & HAS_ZONE_REPLY) {
    hash = mix(mix(hash, HAS_ZONE_REPLY), <u64>load<u16>(extra, EXTRA_ZONE_REPLY));
  }
  return present & HAS_MASTER ? withMaster(hash, extra + EXTRA_MASTER) : hash;
}

function withMaster(start: u64, master: usize): u64 {
  const l4 = <u32>load<u8>(master, TUPLE_L4);
  const ports = (<u32>load<u8>(master, TUPLE_KNOWN) & KNOWN_PORTS) != 0 && sendsPorts(l4);
  let word = <u64>load<u8>(master, TUPLE_L3) | (<u64>l4 << 8);
  if (ports) word |= <u64>load<u32>(master, TUPLE_SPORT) << 32;
  let hash = mix(mix(start, HAS_MASTER), word);
  // Of an IPv4 address what is behind the first four bytes counts for nothing.
  if (load<u8>(master, TUPLE_L3) == 2) {
    return mix(hash, <u64>load<u32>(master, TUPLE_SRC) | (<u64>load<u32>(master, TUPLE_DST) << 32));
  }
  hash = mix16(hash, master + TUPLE_SRC);
  return mix16(hash, master + TUPLE_DST);
}

// @ts-ignore: decorator
@inline
function mix16(hash: u64, at: usize): u64 {
  return mix(mix(hash, load<u64>(at)), load<u64>(at, 8));
}

// @ts-ignore: decorator
@inline
function same16(a: usize, b: usize): bool {
  return ((load<u64>(a) ^ load<u64>(b)) | (load<u64>(a, 8) ^ load<u64>(b, 8))) == 0;
}

// ----------------------------------------------------------------------------------- repair
//
// The owner of the flows says those of a range again, as NEW, so that nothing old survives; the other
// side, which asked for it, has put all it holds of the range in doubt before. Whoever is spoken of is
// doubted no more. In the end the owner tells its sum. When that is what is left without the doubted,
// the doubted are flows that the owner does not have, and only then are they removed: a message that
// was lost on the way leaves another sum, and nobody goes.
//
// `ranges`: a bit for each range, DIGEST_RANGES / 8 bytes. A slice looks at `count` records from index
// `from` on; SHARD_CURSOR is where the next one begins, 0 at the end.

// @ts-ignore: decorator
@inline
export function isAmong(ranges: usize, record: usize): bool {
  const range = recordRange(record);
  return (<u32>load<u8>(ranges + (range >> 3)) & (1 << (range & 7))) != 0;
}

// @ts-ignore: decorator
@inline
export function isAlive(record: usize): bool {
  const state = <u32>load<u8>(record, RECORD_OBJECT) & OBJECT_STATE;
  return state == OBJECT_NEW || state == OBJECT_ALIVE;
}

// @ts-ignore: decorator
@inline
export function recordAt(table: usize, index: u32): usize {
  return <usize>load<u32>(table, TABLE_RECORDS) + <usize>index * RECORD_SIZE;
}

/** One behind the last index of a slice. */
// @ts-ignore: decorator
@inline
export function endOfSlice(table: usize, from: u32, count: u32): u32 {
  const used = load<u32>(table, TABLE_USED);
  return from >= used ? used : from + min<u32>(count, used - from);
}

// @ts-ignore: decorator
@inline
export function leaveAt(shard: usize, table: usize, index: u32): void {
  store<u32>(shard, index < load<u32>(table, TABLE_USED) ? index : 0, SHARD_CURSOR);
}

/** Has the living flows of the internal cache in `ranges` said as NEW; `most` of them, their number. */
export function shardSayAgain(shard: usize, from: u32, count: u32, ranges: usize, most: u32): u32 {
  const table = shard + SHARD_TABLES + TABLE_INTERNAL * TABLE_SIZE;
  const end = endOfSlice(table, from, count);
  let said: u32 = 0;
  let index = from;
  for (; index < end && said < most; index++) {
    const record = recordAt(table, index);
    if (!isAlive(record) || !isAmong(ranges, record)) continue;
    const object = <u32>load<u8>(record, RECORD_OBJECT);
    store<u8>(record, <u8>((object | OBJECT_FRESH) & ~OBJECT_TOLD), RECORD_OBJECT);
    enqueue(shard, record);
    said++;
  }
  leaveAt(shard, table, index);
  return said;
}

/**
 * Puts the flows of the external cache in `ranges` in doubt; their number. In a group: those that the
 * member in `place` speaks of.
 */
export function shardDoubt(
  shard: usize,
  from: u32,
  count: u32,
  ranges: usize,
  place: u32,
): u32 {
  const table = shard + SHARD_TABLES + TABLE_EXTERNAL * TABLE_SIZE;
  const sums = <usize>load<u32>(table, TABLE_DIGESTS);
  const shared = load<u32>(table, TABLE_SHARES) != 0;
  const end = endOfSlice(table, from, count);
  let doubted: u32 = 0;
  for (let index = from; index < end && sums != 0; index++) {
    const record = recordAt(table, index);
    if (!isAlive(record) || !isAmong(ranges, record)) continue;
    const object = <u32>load<u8>(record, RECORD_OBJECT);
    if (object & OBJECT_DOUBTED) continue;
    if (shared) {
      if (doubt(table, record, place)) doubted++;
      continue;
    }
    store<u8>(record, <u8>(object | OBJECT_DOUBTED), RECORD_OBJECT);
    const identity = identityOf(record);
    const sum = sums + DIGEST_DOUBTED + rangeOf(identity);
    store<u64>(sum, load<u64>(sum) + digestOf(record, identity));
    doubted++;
  }
  leaveAt(shard, table, end);
  return doubted;
}

/** Ends all doubt in the external cache of a group, whatever repair it is left from. */
export function shardTrust(shard: usize, from: u32, count: u32): u32 {
  const table = shard + SHARD_TABLES + TABLE_EXTERNAL * TABLE_SIZE;
  const end = endOfSlice(table, from, count);
  let trusted: u32 = 0;
  for (let index = from; index < end; index++) {
    const record = recordAt(table, index);
    if (!isAlive(record) || !(<u32>load<u8>(record, RECORD_OBJECT) & OBJECT_DOUBTED)) continue;
    trust(table, record);
    trusted++;
  }
  leaveAt(shard, table, end);
  return trusted;
}

/**
 * Removes the flows in doubt of the external cache in `ranges`; their number. In a group one stays if
 * another member than the one in doubt speaks of it.
 */
export function shardRemoveDoubted(shard: usize, from: u32, count: u32, ranges: usize): u32 {
  const table = shard + SHARD_TABLES + TABLE_EXTERNAL * TABLE_SIZE;
  const shared = load<u32>(table, TABLE_SHARES) != 0;
  const end = endOfSlice(table, from, count);
  let removed: u32 = 0;
  for (let index = from; index < end; index++) {
    const record = recordAt(table, index);
    if (!isAlive(record) || !(<u32>load<u8>(record, RECORD_OBJECT) & OBJECT_DOUBTED)) continue;
    if (!isAmong(ranges, record)) continue;
    if (shared) {
      if (!leave(table, record)) continue;
    } else {
      digestOut(table, record);
    }
    removeRecord(shard, table, record);
    bump(table + TABLE_DESTROYED);
    removed++;
  }
  leaveAt(shard, table, end);
  return removed;
}
