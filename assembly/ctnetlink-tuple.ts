// Tuples of ctnetlink: a CTA_TUPLE_* nest ⇄ a Tuple (layout.ts), for flows and expectations.
//
// Pure functions over addresses; the caller owns the memory and has proved that the nest lies in its
// message. A Tuple that is read is written completely: unused address bytes and ports are zero, so
// that tuples can be compared and hashed as plain bytes.
//
// Sources: linux/netfilter/nfnetlink_conntrack.h (CTA_TUPLE_*, CTA_IP_*, CTA_PROTO_*).

import {
  AF_INET,
  AF_INET6,
  CTA_TUPLE_IP,
  CTA_TUPLE_PROTO,
  CTA_TUPLE_ZONE,
  DCCP,
  GRE,
  ICMP,
  ICMPV6,
  SCTP,
  TCP,
  TYPE_MASK,
  UDP,
  UDPLITE,
  closeNest,
  putAddress,
  putByte,
  putPair,
} from './ctnetlink-attribute';
import {
  KNOWN_ICMP,
  KNOWN_L3,
  KNOWN_L4,
  KNOWN_PORTS,
  TUPLE_DPORT,
  TUPLE_DST,
  TUPLE_ICMP_TYPE,
  TUPLE_KNOWN,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SPORT,
  TUPLE_SRC,
} from './layout';

// ---------------------------------------------------------------------------------------------
// Reading tuples

/** Zeroes 16 bytes. */
// @ts-ignore: decorator
@inline
export function clear16(at: usize): void {
  v128.store(at, i64x2.splat(0));
}

/** CTA_TUPLE_IP: fills both addresses (unused bytes zero); KNOWN_L3 or 0. */
function readAddresses(at: usize, left: u32, family: u32, tuple: usize): u32 {
  // V4_SRC 1, V4_DST 2, V6_SRC 3, V6_DST 4: the family of the message tells which pair counts.
  const v6 = family == AF_INET6;
  const source: u32 = v6 ? 3 : 1;
  const need: u32 = v6 ? 20 : 8;
  let src: usize = 0;
  let dst: usize = 0;
  clear16(tuple + TUPLE_SRC);
  clear16(tuple + TUPLE_DST);
  while (left >= 4) {
    const head = load<u32>(at);
    const length = head & 0xffff;
    if (length < 4 || length > left) break;
    const type = (head >> 16) & TYPE_MASK;
    if (length >= need) {
      if (type == source) src = at + 4;
      else if (type == source + 1) dst = at + 4;
    }
    const step = (length + 3) & ~3;
    if (step >= left) break;
    at += step;
    left -= step;
  }
  if (src == 0 || dst == 0) return 0;
  if (v6) {
    v128.store(tuple + TUPLE_SRC, v128.load(src));
    v128.store(tuple + TUPLE_DST, v128.load(dst));
  } else if (family == AF_INET) {
    store<u32>(tuple + TUPLE_SRC, load<u32>(src));
    store<u32>(tuple + TUPLE_DST, load<u32>(dst));
  } else {
    return 0;
  }
  store<u8>(tuple + TUPLE_L3, family);
  return KNOWN_L3;
}

/** Whether the kernel keeps ports (or GRE keys) of this protocol; of others it keeps the number. */
// @ts-ignore: decorator
@inline
function keepsPorts(l4: u32): bool {
  return l4 == TCP || l4 == UDP || l4 == SCTP || l4 == UDPLITE || l4 == DCCP || l4 == GRE;
}

/** CTA_TUPLE_PROTO: fills protocol and ports or ICMP id, type, code; the KNOWN_* bits of them. */
function readProtocol(at: usize, left: u32, tuple: usize): u32 {
  let seen: u32 = 0; // bit n: member n was there
  let l4: u32 = 0;
  let ports: u32 = 0; // raw sport in the low, raw dport in the high half
  let icmp: u32 = 0; // raw id, then type, then code
  let icmp6: u32 = 0;
  while (left >= 4) {
    const head = load<u32>(at);
    const length = head & 0xffff;
    if (length < 4 || length > left) break;
    const type = (head >> 16) & TYPE_MASK;
    if (length >= 5) {
      const byte: u32 = load<u8>(at + 4);
      const wide = length >= 6;
      const pair: u32 = wide ? load<u16>(at + 4) : 0;
      if (type == 1) {
        l4 = byte;
        seen |= 2;
      } else if (type == 2 && wide) {
        ports = (ports & 0xffff0000) | pair;
        seen |= 4;
      } else if (type == 3 && wide) {
        ports = (ports & 0xffff) | (pair << 16);
        seen |= 8;
      } else if (type == 4 && wide) {
        icmp = (icmp & 0xffff0000) | pair;
        seen |= 0x10;
      } else if (type == 5) {
        icmp = (icmp & 0xff00ffff) | (byte << 16);
        seen |= 0x20;
      } else if (type == 6) {
        icmp = (icmp & 0x00ffffff) | (byte << 24);
        seen |= 0x40;
      } else if (type == 7 && wide) {
        icmp6 = (icmp6 & 0xffff0000) | pair;
        seen |= 0x80;
      } else if (type == 8) {
        icmp6 = (icmp6 & 0xff00ffff) | (byte << 16);
        seen |= 0x100;
      } else if (type == 9) {
        icmp6 = (icmp6 & 0x00ffffff) | (byte << 24);
        seen |= 0x200;
      }
    }
    const step = (length + 3) & ~3;
    if (step >= left) break;
    at += step;
    left -= step;
  }
  let known: u32 = 0;
  let words: u32 = 0;
  if (seen & 2) {
    known = KNOWN_L4;
    if ((seen & 0xc) == 0xc && keepsPorts(l4)) {
      known |= KNOWN_PORTS;
      words = ports;
    } else if (l4 == ICMP && (seen & 0x70) == 0x70) {
      known |= KNOWN_ICMP;
      words = icmp;
    } else if (l4 == ICMPV6 && (seen & 0x380) == 0x380) {
      known |= KNOWN_ICMP;
      words = icmp6;
    }
  }
  store<u8>(tuple + TUPLE_L4, l4);
  store<u32>(tuple + TUPLE_SPORT, words);
  return known;
}

/**
 * Reads the inside of a tuple nest (`left` bytes at `at`, proved by the caller to be there) into a
 * Tuple, which is written completely. Returns the zone of this direction, 0 when there is none.
 * `tupleUsable` tells whether it names a flow.
 */
export function readTuple(at: usize, left: u32, family: u32, tuple: usize): u32 {
  let zone: u32 = 0;
  let l3: u32 = 0;
  let l4: u32 = 0;
  store<u64>(tuple, 0);
  clear16(tuple + TUPLE_SRC);
  clear16(tuple + TUPLE_DST);
  while (left >= 4) {
    const head = load<u32>(at);
    const length = head & 0xffff;
    if (length < 4 || length > left) break;
    const type = (head >> 16) & TYPE_MASK;
    if (type == CTA_TUPLE_IP) l3 = readAddresses(at + 4, length - 4, family, tuple);
    else if (type == CTA_TUPLE_PROTO) l4 = readProtocol(at + 4, length - 4, tuple);
    else if (type == CTA_TUPLE_ZONE && length >= 6) zone = bswap<u16>(load<u16>(at + 4));
    const step = (length + 3) & ~3;
    if (step >= left) break;
    at += step;
    left -= step;
  }
  store<u8>(tuple + TUPLE_KNOWN, l3 | l4);
  return zone;
}

/**
 * Whether a tuple names a flow: addresses, a protocol, and what this protocol cannot do without.
 * SCTP, UDPlite, DCCP and GRE may come without ports, from a kernel without their tracker.
 */
export function tupleUsable(tuple: usize): bool {
  const known: u32 = load<u8>(tuple, TUPLE_KNOWN);
  if ((known & (KNOWN_L3 | KNOWN_L4)) != (KNOWN_L3 | KNOWN_L4)) return false;
  const l3: u32 = load<u8>(tuple, TUPLE_L3);
  if (l3 != AF_INET && l3 != AF_INET6) return false;
  const l4: u32 = load<u8>(tuple, TUPLE_L4);
  if (l4 == TCP || l4 == UDP) return (known & KNOWN_PORTS) != 0;
  if (l4 == ICMP || l4 == ICMPV6) return (known & KNOWN_ICMP) != 0;
  return true;
}

// ---------------------------------------------------------------------------------------------
// The template: the tuple nest of a flow with ports, 52 bytes for IPv4, 76 for IPv6. Padding is
// not compared.
//
//   0        4        8        12  16       20  24       28       32  36       40    44       48
//   ┌────────┬────────┬────────┬───┬────────┬───┬────────┬────────┬──┬────────┬─────┬────────┬─────┐
//   │34 00 01│14 00 01│08 00 01│src│08 00 02│dst│1c 00 02│05 00 01│l4│06 00 02│sport│06 00 03│dport│
//   └────────┴────────┴────────┴───┴────────┴───┴────────┴────────┴──┴────────┴─────┴────────┴─────┘
//   ┌────────┬────────┬────────┬───┬────────┬───┬────────┬────────┬──┬────────┬─────┬────────┬─────┐
//   │4c 00 01│2c 00 01│14 00 03│src│14 00 04│dst│1c 00 02│05 00 01│l4│06 00 02│sport│06 00 03│dport│
//   └────────┴────────┴────────┴───┴────────┴───┴────────┴────────┴──┴────────┴─────┴────────┴─────┘
//   0        4        8        12  28       32  48       52       56 60       64    68       72
export const NEST4: u32 = 52;
export const NEST6: u32 = 76;
export const PROTO4: usize = 24; // where CTA_TUPLE_PROTO begins
export const PROTO6: usize = 48;

/** Whether 28 bytes at `at` are CTA_TUPLE_PROTO with ports; 0 if so. */
// @ts-ignore: decorator
@inline
function unlikePorts(at: usize): u64 {
  return (load<u64>(at) ^ 0x000100058002001c) |
    <u64>((load<u32>(at, 12) ^ 0x00020006) | (load<u32>(at, 20) ^ 0x00030006));
}

/** Whether 52 bytes at `at` are an IPv4 tuple nest of type `kind` in the template's shape. */
// @ts-ignore: decorator
@inline
export function isNest4(at: usize, kind: u64): bool {
  const words = (load<u32>(at, 8) ^ 0x00010008) | (load<u32>(at, 16) ^ 0x00020008);
  return ((load<u64>(at) ^ (0x8001001480000034 | (kind << 16))) | <u64>words |
    unlikePorts(at + PROTO4)) == 0;
}

/** Whether 76 bytes at `at` are an IPv6 tuple nest of type `kind` in the template's shape. */
// @ts-ignore: decorator
@inline
export function isNest6(at: usize, kind: u64): bool {
  const words = (load<u32>(at, 8) ^ 0x00030014) | (load<u32>(at, 28) ^ 0x00040014);
  return ((load<u64>(at) ^ (0x8001002c8000004c | (kind << 16))) | <u64>words |
    unlikePorts(at + PROTO6)) == 0;
}

/** The first 8 bytes of a Tuple from a matched CTA_TUPLE_PROTO. */
// @ts-ignore: decorator
@inline
function readPorts(at: usize, l3: u64, l4: u32, tuple: usize): void {
  const known: u64 = KNOWN_L3 | KNOWN_L4 | KNOWN_PORTS;
  const ports = <u64>load<u16>(at, 16) << 32 | <u64>load<u16>(at, 24) << 48;
  store<u64>(tuple, l3 | (<u64>l4 << 8) | (known << 16) | ports);
}

/** Reads a tuple nest that isNest4 accepted. Equal to readTuple of the same bytes. */
// @ts-ignore: decorator
@inline
export function readNest4(at: usize, l4: u32, tuple: usize): void {
  readPorts(at + PROTO4, AF_INET, l4, tuple);
  v128.store(tuple + TUPLE_SRC, v128.load_zero<u32>(at + 12));
  v128.store(tuple + TUPLE_DST, v128.load_zero<u32>(at + 20));
}

/** Reads a tuple nest that isNest6 accepted. Equal to readTuple of the same bytes. */
// @ts-ignore: decorator
@inline
export function readNest6(at: usize, l4: u32, tuple: usize): void {
  readPorts(at + PROTO6, AF_INET6, l4, tuple);
  v128.store(tuple + TUPLE_SRC, v128.load(at + 12));
  v128.store(tuple + TUPLE_DST, v128.load(at + 32));
}

// ---------------------------------------------------------------------------------------------
// Writing

/** The type that answers an ICMP or ICMPv6 query, or -1 for a type that tracks nothing. */
function inverseIcmp(l4: u32, type: u32): i32 {
  if (l4 == ICMPV6) {
    if (type == 128 || type == 129) return type ^ 1;
    return type == 139 || type == 140 ? 279 - type : -1;
  }
  if (type == 0 || type == 8) return type ^ 8;
  if (type >= 13 && type <= 18) return ((type + 1) ^ 1) - 1; // 13↔14, 15↔16, 17↔18
  return -1;
}

/** CTA_TUPLE_PROTO with raw `sport` and `dport` (ICMP: id, and type in the low byte of dport). */
function putProtocol(at: usize, l4: u32, known: u32, sport: u32, dport: u32): usize {
  let end = putByte(at + 4, 1, l4);
  if (l4 == ICMP || l4 == ICMPV6) {
    const first: u32 = l4 == ICMP ? 4 : 7;
    end = putPair(end, first, sport);
    end = putByte(end, first + 1, dport);
    end = putByte(end, first + 2, dport >> 8);
  } else if (known & KNOWN_PORTS || l4 == GRE) {
    // The kernel insists on GRE keys; peers do not send them, and plain GRE has zeros.
    const have = (known & KNOWN_PORTS) != 0;
    end = putPair(end, 2, have ? sport : 0);
    end = putPair(end, 3, have ? dport : 0);
  }
  return closeNest(at, CTA_TUPLE_PROTO, end);
}

/** A tuple nest of `type` with the zone of its direction (0: none). The tuple must be usable. */
export function putTuple(at: usize, type: u32, tuple: usize, zone: u32): usize {
  return putTupleParts(
    at, type, tuple, tuple + TUPLE_SRC, tuple + TUPLE_DST,
    load<u16>(tuple, TUPLE_SPORT), load<u16>(tuple, TUPLE_DPORT), zone,
  );
}

function putTupleParts(
  at: usize, type: u32, tuple: usize, src: usize, dst: usize, sport: u32, dport: u32, zone: u32,
): usize {
  const v6 = load<u8>(tuple, TUPLE_L3) == AF_INET6;
  const first: u32 = v6 ? 3 : 1;
  let end = putAddress(at + 8, first, v6, src);
  end = putAddress(end, first + 1, v6, dst);
  closeNest(at + 4, CTA_TUPLE_IP, end);
  end = putProtocol(end, load<u8>(tuple, TUPLE_L4), load<u8>(tuple, TUPLE_KNOWN), sport, dport);
  if (zone != 0) end = putPair(end, CTA_TUPLE_ZONE, bswap<u16>(<u16>zone));
  return closeNest(at, type, end);
}

/** The plain inverse of `tuple` as a nest of `type`, or 0 when its ICMP type has no answer. */
export function putInverse(at: usize, type: u32, tuple: usize, zone: u32): usize {
  const l4: u32 = load<u8>(tuple, TUPLE_L4);
  let sport: u32 = load<u16>(tuple, TUPLE_DPORT);
  let dport: u32 = load<u16>(tuple, TUPLE_SPORT);
  if (l4 == ICMP || l4 == ICMPV6) {
    const answer = inverseIcmp(l4, load<u8>(tuple, TUPLE_ICMP_TYPE));
    if (answer < 0) return 0;
    dport = (sport & 0xff00) | answer; // same code
    sport = load<u16>(tuple, TUPLE_SPORT); // same id
  }
  return putTupleParts(
    at, type, tuple, tuple + TUPLE_DST, tuple + TUPLE_SRC, sport, dport, zone,
  );
}
