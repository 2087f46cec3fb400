// Packing a wide Flow into an 80-byte record and back, and the record's rare parts.
//
// A shard owns its records and its side parts: only its thread writes them (but for the sequence
// and the unacknowledged mark, which belong to the sender). Side parts come from chunks that a
// shard takes from the common area with one atomic add, and return to the shard's own free lists.

import { foldV6 } from './hash';
import {
  CONTROL_SIDE_END,
  CONTROL_SIDE_NEXT,
  CONTROL_STARVED,
  EXTRA_DCCP_ROLE,
  EXTRA_HELPER,
  EXTRA_LABELS,
  EXTRA_MASTER,
  EXTRA_SEQADJ,
  EXTRA_SIZE,
  EXTRA_SYNPROXY,
  EXTRA_VTAG,
  EXTRA_ZONE_REPLY,
  FLOW_DCCP_ROLE,
  FLOW_HELPER,
  FLOW_ID,
  FLOW_LABELS,
  FLOW_MARK,
  FLOW_MASTER,
  FLOW_NAT_DPORT,
  FLOW_NAT_DST,
  FLOW_NAT_SPORT,
  FLOW_NAT_SRC,
  FLOW_OBSERVED,
  FLOW_ORIG,
  FLOW_PRESENT,
  FLOW_REPLY,
  FLOW_SEQADJ,
  FLOW_STATE,
  FLOW_STATUS,
  FLOW_SYNPROXY,
  FLOW_TCP_FLAGS_ORIG,
  FLOW_TCP_FLAGS_REPLY,
  FLOW_TCP_MASK_ORIG,
  FLOW_TCP_MASK_REPLY,
  FLOW_TIMEOUT,
  FLOW_VTAG_ORIG,
  FLOW_VTAG_REPLY,
  FLOW_WSCALE_ORIG,
  FLOW_WSCALE_REPLY,
  FLOW_ZONE,
  FLOW_ZONE_ORIG,
  FLOW_ZONE_REPLY,
  HAS_DCCP_ROLE,
  HAS_HELPER,
  HAS_ID,
  HAS_LABELS,
  HAS_MARK,
  HAS_MASTER,
  HAS_NAT_DPORT,
  HAS_NAT_DST,
  HAS_NAT_SPORT,
  HAS_NAT_SRC,
  HAS_ORIG,
  HAS_REPLY,
  HAS_SEQADJ_ORIG,
  HAS_SEQADJ_REPLY,
  HAS_STATE,
  HAS_STATUS,
  HAS_SYNPROXY,
  HAS_TCP_FLAGS,
  HAS_TIMEOUT,
  HAS_VTAG,
  HAS_WSCALE,
  HAS_ZONE,
  HAS_ZONE_ORIG,
  HAS_ZONE_REPLY,
  KNOWN_ICMP,
  KNOWN_L3,
  KNOWN_L4,
  KNOWN_PORTS,
  RECORD_DPORT,
  RECORD_DST,
  RECORD_EXTRA,
  RECORD_ID,
  RECORD_L3,
  RECORD_L4,
  RECORD_MARK,
  RECORD_PRESENT,
  RECORD_REPLY_DPORT,
  RECORD_REPLY_DST,
  RECORD_REPLY_SPORT,
  RECORD_REPLY_SRC,
  RECORD_SPORT,
  RECORD_SRC,
  RECORD_STATE,
  RECORD_STATUS,
  RECORD_TCP_FLAGS_ORIG,
  RECORD_TCP_FLAGS_REPLY,
  RECORD_TIMEOUT,
  RECORD_V6,
  RECORD_WSCALE_ORIG,
  RECORD_WSCALE_REPLY,
  RECORD_ZONE,
  SHARD_EXTRA_FREE,
  SHARD_V6_FREE,
  SIDE_CHUNK,
  TUPLE_DPORT,
  TUPLE_DST,
  TUPLE_KNOWN,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SIZE,
  TUPLE_SPORT,
  TUPLE_SRC,
  V6_DST,
  V6_REPLY_DST,
  V6_REPLY_SRC,
  V6_SIZE,
  V6_SRC,
} from './layout';

const AF_INET6: u32 = 10;
const IPPROTO_ICMP: u32 = 1;
const IPPROTO_ICMPV6: u32 = 58;

// Attributes whose value lies in the extra part. A synproxy of three zeros, which the kernel gives
// every flow made through netlink, needs none.
const IN_EXTRA: u32 =
  HAS_LABELS | HAS_HELPER | HAS_SEQADJ_ORIG | HAS_SEQADJ_REPLY | HAS_VTAG | HAS_ZONE_REPLY |
  HAS_DCCP_ROLE | HAS_MASTER;
const ANY_NAT: u32 = HAS_NAT_SRC | HAS_NAT_DST | HAS_NAT_SPORT | HAS_NAT_DPORT;

/** Writes the 16-byte key of a tuple in `zone` to `key`. */
export function keyOfTuple(tuple: usize, zone: u32, key: usize): void {
  const l3 = <u32>load<u8>(tuple, TUPLE_L3);
  if (l3 == AF_INET6) {
    store<u64>(key, foldV6(tuple + TUPLE_SRC, tuple + TUPLE_DST));
  } else {
    store<u32>(key, load<u32>(tuple, TUPLE_SRC), RECORD_SRC);
    store<u32>(key, load<u32>(tuple, TUPLE_DST), RECORD_DST);
  }
  const known = <u32>load<u8>(tuple, TUPLE_KNOWN);
  if (known & (KNOWN_PORTS | KNOWN_ICMP)) {
    store<u32>(key, load<u32>(tuple, TUPLE_SPORT), RECORD_SPORT);
  } else {
    store<u32>(key, 0, RECORD_SPORT);
  }
  store<u16>(key, <u16>zone, RECORD_ZONE);
  store<u8>(key, load<u8>(tuple, TUPLE_L4), RECORD_L4);
  store<u8>(key, <u8>l3, RECORD_L3);
}

/** The zone a flow's original tuple is looked up in. */
// @ts-ignore: decorator
@inline
export function zoneOfFlow(flow: usize): u32 {
  const present = load<u32>(flow, FLOW_PRESENT);
  if (present & HAS_ZONE) return <u32>load<u16>(flow, FLOW_ZONE);
  if (present & HAS_ZONE_ORIG) return <u32>load<u16>(flow, FLOW_ZONE_ORIG);
  return 0;
}

/** Do the addresses of an IPv6 record equal those of `tuple`? (Its fold already does.) */
// @ts-ignore: decorator
@inline
export function sameV6(record: usize, tuple: usize): bool {
  const part = <usize>load<u32>(record, RECORD_V6);
  if (part == 0) return false;
  return (
    load<u64>(part, V6_SRC) == load<u64>(tuple, TUPLE_SRC) &&
    load<u64>(part, V6_SRC + 8) == load<u64>(tuple, TUPLE_SRC + 8) &&
    load<u64>(part, V6_DST) == load<u64>(tuple, TUPLE_DST) &&
    load<u64>(part, V6_DST + 8) == load<u64>(tuple, TUPLE_DST + 8)
  );
}

// ------------------------------------------------------------------------------- side parts

/**
 * A zeroed side part of `size` bytes from the pool at `shard + pool` (three words: free list, next,
 * end), or 0 when the common area is used up.
 */
function takePart(shard: usize, pool: usize, size: u32): usize {
  const at = shard + pool;
  const free = <usize>load<u32>(at);
  if (free != 0) {
    store<u32>(at, load<u32>(free));
    memory.fill(free, 0, size);
    return free;
  }
  let next = load<u32>(at, 4);
  if (next == 0 || next + size > load<u32>(at, 8)) {
    const chunk = atomic.add<u32>(CONTROL_SIDE_NEXT, SIDE_CHUNK);
    if (<u64>chunk + SIDE_CHUNK > <u64>load<u32>(CONTROL_SIDE_END)) {
      atomic.sub<u32>(CONTROL_SIDE_NEXT, SIDE_CHUNK);
      store<u32>(CONTROL_STARVED, 1);
      return 0;
    }
    next = chunk;
    store<u32>(at, chunk + SIDE_CHUNK, 8);
  }
  store<u32>(at, next + size, 4);
  return <usize>next;
}

function returnPart(shard: usize, pool: usize, part: usize): void {
  const at = shard + pool;
  store<u32>(part, load<u32>(at));
  store<u32>(at, <u32>part);
}

/** Gives both side parts of a record back. */
export function dropParts(shard: usize, record: usize): void {
  const v6 = <usize>load<u32>(record, RECORD_V6);
  if (v6 != 0) {
    returnPart(shard, SHARD_V6_FREE, v6);
    store<u32>(record, 0, RECORD_V6);
  }
  const extra = <usize>load<u32>(record, RECORD_EXTRA);
  if (extra != 0) {
    returnPart(shard, SHARD_EXTRA_FREE, extra);
    store<u32>(record, 0, RECORD_EXTRA);
  }
}

// ------------------------------------------------------------------------------------- pack

/**
 * Takes the side parts that `flow` needs beyond what the record has.
 * Returns false, with the record unchanged in meaning, when the memory is used up.
 */
export function reserveParts(shard: usize, record: usize, flow: usize): bool {
  if (<u32>load<u8>(flow, FLOW_ORIG + TUPLE_L3) == AF_INET6 && load<u32>(record, RECORD_V6) == 0) {
    const part = takePart(shard, SHARD_V6_FREE, V6_SIZE);
    if (part == 0) return false;
    store<u32>(record, <u32>part, RECORD_V6);
    copy16(part + V6_SRC, flow + FLOW_ORIG + TUPLE_SRC);
    copy16(part + V6_DST, flow + FLOW_ORIG + TUPLE_DST);
  }
  if (load<u32>(record, RECORD_EXTRA) == 0) {
    const present = load<u32>(flow, FLOW_PRESENT);
    let needs = (present & IN_EXTRA) != 0;
    if (!needs && present & HAS_SYNPROXY) {
      needs =
        (load<u64>(flow, FLOW_SYNPROXY) | <u64>load<u32>(flow, FLOW_SYNPROXY + 8)) != 0;
    }
    if (needs) {
      const part = takePart(shard, SHARD_EXTRA_FREE, EXTRA_SIZE);
      if (part == 0) return false;
      store<u32>(record, <u32>part, RECORD_EXTRA);
    }
  }
  return true;
}

/**
 * Merges `flow` into `record`: every attribute present overwrites, absent ones stay (what a kernel
 * UPDATE or an UPD message means). The parts were reserved before. With `fill`, only attributes the
 * record does not know yet are taken.
 */
export function packFlow(record: usize, flow: usize, fill: bool): void {
  const known = load<u32>(record, RECORD_PRESENT);
  let take = load<u32>(flow, FLOW_PRESENT);
  if (fill) take &= ~known;
  let present = known | take;

  if (take & HAS_STATUS) store<u32>(record, load<u32>(flow, FLOW_STATUS), RECORD_STATUS);
  if (take & HAS_TIMEOUT) store<u32>(record, load<u32>(flow, FLOW_TIMEOUT), RECORD_TIMEOUT);
  if (take & HAS_MARK) store<u32>(record, load<u32>(flow, FLOW_MARK), RECORD_MARK);
  if (take & HAS_ID) store<u32>(record, load<u32>(flow, FLOW_ID), RECORD_ID);
  if (take & HAS_STATE) store<u8>(record, load<u8>(flow, FLOW_STATE), RECORD_STATE);
  if (take & HAS_WSCALE) store<u16>(record, load<u16>(flow, FLOW_WSCALE_ORIG), RECORD_WSCALE_ORIG);
  if (take & HAS_TCP_FLAGS) {
    store<u8>(record, load<u8>(flow, FLOW_TCP_FLAGS_ORIG), RECORD_TCP_FLAGS_ORIG);
    store<u8>(record, load<u8>(flow, FLOW_TCP_FLAGS_REPLY), RECORD_TCP_FLAGS_REPLY);
  }
  const v6 = <usize>load<u32>(record, RECORD_V6);
  if (take & HAS_REPLY) {
    present &= ~ANY_NAT;
    store<u32>(record, load<u32>(flow, FLOW_REPLY + TUPLE_SPORT), RECORD_REPLY_SPORT);
    if (v6 != 0) {
      copy16(v6 + V6_REPLY_SRC, flow + FLOW_REPLY + TUPLE_SRC);
      copy16(v6 + V6_REPLY_DST, flow + FLOW_REPLY + TUPLE_DST);
    } else {
      store<u32>(record, load<u32>(flow, FLOW_REPLY + TUPLE_SRC), RECORD_REPLY_SRC);
      store<u32>(record, load<u32>(flow, FLOW_REPLY + TUPLE_DST), RECORD_REPLY_DST);
    }
  } else if (take & ANY_NAT && !(known & HAS_REPLY)) {
    packNat(record, v6, flow, take);
  } else {
    present &= ~(take & ANY_NAT);
  }
  if (take & (IN_EXTRA | HAS_SYNPROXY)) packExtra(record, flow, take);
  store<u32>(record, present, RECORD_PRESENT);
}

function packNat(record: usize, v6: usize, flow: usize, take: u32): void {
  if (take & HAS_NAT_SRC) {
    if (v6 != 0) copy16(v6 + V6_REPLY_DST, flow + FLOW_NAT_SRC);
    else store<u32>(record, load<u32>(flow, FLOW_NAT_SRC), RECORD_REPLY_DST);
  }
  if (take & HAS_NAT_DST) {
    if (v6 != 0) copy16(v6 + V6_REPLY_SRC, flow + FLOW_NAT_DST);
    else store<u32>(record, load<u32>(flow, FLOW_NAT_DST), RECORD_REPLY_SRC);
  }
  if (take & HAS_NAT_SPORT) store<u16>(record, load<u16>(flow, FLOW_NAT_SPORT), RECORD_REPLY_DPORT);
  if (take & HAS_NAT_DPORT) store<u16>(record, load<u16>(flow, FLOW_NAT_DPORT), RECORD_REPLY_SPORT);
}

function packExtra(record: usize, flow: usize, take: u32): void {
  const extra = <usize>load<u32>(record, RECORD_EXTRA);
  if (extra == 0) return; // only a synproxy of zeros gets here: no part means zeros
  if (take & HAS_LABELS) copy16(extra + EXTRA_LABELS, flow + FLOW_LABELS);
  if (take & HAS_HELPER) copy16(extra + EXTRA_HELPER, flow + FLOW_HELPER);
  if (take & HAS_SEQADJ_ORIG) memory.copy(extra + EXTRA_SEQADJ, flow + FLOW_SEQADJ, 12);
  if (take & HAS_SEQADJ_REPLY) memory.copy(extra + EXTRA_SEQADJ + 12, flow + FLOW_SEQADJ + 12, 12);
  if (take & HAS_SYNPROXY) memory.copy(extra + EXTRA_SYNPROXY, flow + FLOW_SYNPROXY, 12);
  if (take & HAS_VTAG) {
    store<u32>(extra, load<u32>(flow, FLOW_VTAG_ORIG), EXTRA_VTAG);
    store<u32>(extra, load<u32>(flow, FLOW_VTAG_REPLY), EXTRA_VTAG + 4);
  }
  if (take & HAS_ZONE_REPLY) store<u16>(extra, load<u16>(flow, FLOW_ZONE_REPLY), EXTRA_ZONE_REPLY);
  if (take & HAS_DCCP_ROLE) store<u8>(extra, load<u8>(flow, FLOW_DCCP_ROLE), EXTRA_DCCP_ROLE);
  if (take & HAS_MASTER) memory.copy(extra + EXTRA_MASTER, flow + FLOW_MASTER, TUPLE_SIZE);
}

// ----------------------------------------------------------------------------------- unpack

/** Spreads `record` out into the wide form at `flow`. */
export function unpackFlow(record: usize, flow: usize): void {
  const present = load<u32>(record, RECORD_PRESENT);
  store<u32>(flow, present | HAS_ORIG, FLOW_PRESENT);
  store<u32>(flow, 0, FLOW_OBSERVED);
  const v6 = <usize>load<u32>(record, RECORD_V6);
  const l4 = <u32>load<u8>(record, RECORD_L4);
  const l3 = <u32>load<u8>(record, RECORD_L3);
  const head = l3 | (l4 << 8) | (knownOf(l4) << 16);
  const orig = flow + FLOW_ORIG;
  store<u32>(orig, head);
  store<u32>(orig, load<u32>(record, RECORD_SPORT), TUPLE_SPORT);
  if (v6 != 0) {
    copy16(orig + TUPLE_SRC, v6 + V6_SRC);
    copy16(orig + TUPLE_DST, v6 + V6_DST);
  } else {
    store4(orig + TUPLE_SRC, load<u32>(record, RECORD_SRC));
    store4(orig + TUPLE_DST, load<u32>(record, RECORD_DST));
  }
  if (present & HAS_REPLY) {
    const reply = flow + FLOW_REPLY;
    store<u32>(reply, head);
    store<u32>(reply, load<u32>(record, RECORD_REPLY_SPORT), TUPLE_SPORT);
    if (v6 != 0) {
      copy16(reply + TUPLE_SRC, v6 + V6_REPLY_SRC);
      copy16(reply + TUPLE_DST, v6 + V6_REPLY_DST);
    } else {
      store4(reply + TUPLE_SRC, load<u32>(record, RECORD_REPLY_SRC));
      store4(reply + TUPLE_DST, load<u32>(record, RECORD_REPLY_DST));
    }
  } else if (present & ANY_NAT) {
    unpackNat(record, v6, flow);
  }
  store<u32>(flow, load<u32>(record, RECORD_STATUS), FLOW_STATUS);
  store<u32>(flow, load<u32>(record, RECORD_TIMEOUT), FLOW_TIMEOUT);
  store<u32>(flow, load<u32>(record, RECORD_MARK), FLOW_MARK);
  store<u32>(flow, load<u32>(record, RECORD_ID), FLOW_ID);
  const zone = load<u16>(record, RECORD_ZONE);
  store<u16>(flow, zone, FLOW_ZONE);
  store<u16>(flow, zone, FLOW_ZONE_ORIG);
  store<u8>(flow, load<u8>(record, RECORD_STATE), FLOW_STATE);
  store<u16>(flow, load<u16>(record, RECORD_WSCALE_ORIG), FLOW_WSCALE_ORIG);
  store<u8>(flow, load<u8>(record, RECORD_TCP_FLAGS_ORIG), FLOW_TCP_FLAGS_ORIG);
  store<u8>(flow, load<u8>(record, RECORD_TCP_FLAGS_REPLY), FLOW_TCP_FLAGS_REPLY);
  store<u8>(flow, 0, FLOW_TCP_MASK_ORIG);
  store<u8>(flow, 0, FLOW_TCP_MASK_REPLY);
  if (present & (IN_EXTRA | HAS_SYNPROXY)) unpackExtra(record, flow);
}

function unpackNat(record: usize, v6: usize, flow: usize): void {
  if (v6 != 0) {
    copy16(flow + FLOW_NAT_SRC, v6 + V6_REPLY_DST);
    copy16(flow + FLOW_NAT_DST, v6 + V6_REPLY_SRC);
  } else {
    store4(flow + FLOW_NAT_SRC, load<u32>(record, RECORD_REPLY_DST));
    store4(flow + FLOW_NAT_DST, load<u32>(record, RECORD_REPLY_SRC));
  }
  store<u16>(flow, load<u16>(record, RECORD_REPLY_DPORT), FLOW_NAT_SPORT);
  store<u16>(flow, load<u16>(record, RECORD_REPLY_SPORT), FLOW_NAT_DPORT);
}

function unpackExtra(record: usize, flow: usize): void {
  const extra = <usize>load<u32>(record, RECORD_EXTRA);
  if (extra == 0) {
    memory.fill(flow + FLOW_SYNPROXY, 0, 12);
    return;
  }
  copy16(flow + FLOW_LABELS, extra + EXTRA_LABELS);
  copy16(flow + FLOW_HELPER, extra + EXTRA_HELPER);
  memory.copy(flow + FLOW_SEQADJ, extra + EXTRA_SEQADJ, 24);
  memory.copy(flow + FLOW_SYNPROXY, extra + EXTRA_SYNPROXY, 12);
  store<u32>(flow, load<u32>(extra, EXTRA_VTAG), FLOW_VTAG_ORIG);
  store<u32>(flow, load<u32>(extra, EXTRA_VTAG + 4), FLOW_VTAG_REPLY);
  store<u16>(flow, load<u16>(extra, EXTRA_ZONE_REPLY), FLOW_ZONE_REPLY);
  store<u8>(flow, load<u8>(extra, EXTRA_DCCP_ROLE), FLOW_DCCP_ROLE);
  memory.copy(flow + FLOW_MASTER, extra + EXTRA_MASTER, TUPLE_SIZE);
}

/** Which tuple fields a protocol has. Stored tuples are always complete for their protocol. */
// @ts-ignore: decorator
@inline
function knownOf(l4: u32): u32 {
  if (l4 == 6 || l4 == 17) return KNOWN_L3 | KNOWN_L4 | KNOWN_PORTS;
  if (l4 == IPPROTO_ICMP || l4 == IPPROTO_ICMPV6) return KNOWN_L3 | KNOWN_L4 | KNOWN_ICMP;
  // SCTP, DCCP, UDPlite, GRE
  if (l4 == 132 || l4 == 33 || l4 == 136 || l4 == 47) return KNOWN_L3 | KNOWN_L4 | KNOWN_PORTS;
  return KNOWN_L3 | KNOWN_L4;
}

// @ts-ignore: decorator
@inline
function copy16(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from));
  store<u64>(to, load<u64>(from, 8), 8);
}

/** An IPv4 address in a 16-byte field: the rest is zero. */
// @ts-ignore: decorator
@inline
function store4(to: usize, address: u32): void {
  store<u64>(to, <u64>address);
  store<u64>(to, 0, 8);
}
