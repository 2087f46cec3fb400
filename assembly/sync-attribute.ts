// Attributes of sync messages: the bytes of one attribute, and the tuples in them.
//
//   ┌─────────┬─────────┬───────────────┬─────────┐
//   │ len u16 │type u16 │ payload       │ padding │   len = 4 + payload, big-endian;
//   └─────────┴─────────┴───────────────┴─────────┘   zero padding to a multiple of 4
//
// Attributes are flat and lie one behind the other. Nothing here checks bounds: the callers
// (sync.ts, sync-expect.ts) have proved the length before they read and the room before they write.
// Not part of the module's exports. Source: docs/wire-protocol.md.

import {
  KNOWN_L3,
  KNOWN_L4,
  KNOWN_PORTS,
  TUPLE_DST,
  TUPLE_KNOWN,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SPORT,
  TUPLE_SRC,
} from './layout';

export const INET: u32 = 2; // AF_INET
export const INET6: u32 = 10; // AF_INET6

// IANA protocol numbers.
export const ICMP: u32 = 1;
export const TCP: u32 = 6;
export const UDP: u32 = 17;
export const DCCP: u32 = 33;
export const ICMPV6: u32 = 58;
export const SCTP: u32 = 132;
export const UDPLITE: u32 = 136;
export const GRE: u32 = 47;

/** The peer is a big-endian C daemon: ICMP id and NAT ports arrive and leave unswapped. */
export const SYNC_BIG_ENDIAN_PEER: u32 = 1;
/** Encoding: leave out TIMEOUT, because the configuration sets CommitTimeout. */
export const SYNC_OMIT_TIMEOUT: u32 = 2;
/** Encoding: send window scales, because the configuration sets TCPWindowTracking. */
export const SYNC_WSCALE: u32 = 4;
/** Encoding: every peer takes what no C daemon knows. */
export const SYNC_EXTENDED: u32 = 8;

// Attribute types of CT messages.
export const IPV4: u32 = 0;
export const IPV6: u32 = 1;
export const L4PROTO: u32 = 2;
export const PORT: u32 = 3;
export const TCP_STATE: u32 = 4;
export const STATUS: u32 = 5;
export const TIMEOUT: u32 = 6;
export const MARK: u32 = 7;
export const MASTER_IPV4: u32 = 8;
export const MASTER_IPV6: u32 = 9;
export const MASTER_L4PROTO: u32 = 10;
export const MASTER_PORT: u32 = 11;
export const SNAT_IPV4: u32 = 12;
export const DNAT_IPV4: u32 = 13;
export const SPAT_PORT: u32 = 14;
export const DPAT_PORT: u32 = 15;
export const NAT_SEQ_ADJ: u32 = 16;
export const SCTP_STATE: u32 = 17;
export const SCTP_VTAG_ORIG: u32 = 18;
export const SCTP_VTAG_REPL: u32 = 19;
export const DCCP_STATE: u32 = 20;
export const DCCP_ROLE: u32 = 21;
export const ICMP_TYPE: u32 = 22;
export const ICMP_CODE: u32 = 23;
export const ICMP_ID: u32 = 24;
export const TCP_WSCALE_ORIG: u32 = 25;
export const TCP_WSCALE_REPL: u32 = 26;
export const HELPER_NAME: u32 = 27;
export const LABELS: u32 = 28;
export const SNAT_IPV6: u32 = 29;
export const DNAT_IPV6: u32 = 30;
export const SYNPROXY: u32 = 31;
export const ZONE: u32 = 32;

// Attributes that no C daemon knows: sent only while every peer has said that it can take them. The
// numbers leave room for what the protocol may get.
export const ZONE_ORIG: u32 = 60;
export const ZONE_REPLY: u32 = 61;
export const GRE_KEYS: u32 = 62; // source, destination; as ports

/** Is there an attribute of this type? */
// @ts-ignore: decorator
@inline
export function isAttribute(type: u32): bool {
  return type <= ZONE || (type >= ZONE_ORIG && type <= GRE_KEYS);
}

/** Bytes of a LABELS payload: 128 labels, as Linux has. */
export const LABELS_SIZE: u32 = 16;

/** Payload limits of the two names, with or without their NUL. */
export const HELPER_PAYLOAD: u32 = 12;
export const FN_PAYLOAD: u32 = 28;

/** Protocols whose ports a C daemon sends and demands: exactly these. */
// @ts-ignore: decorator
@inline
export function sendsPorts(l4: u32): bool {
  return l4 == TCP || l4 == UDP || l4 == SCTP || l4 == DCCP;
}

/** Four bytes of length and type, as a little-endian load sees them on the wire. */
// @ts-ignore: decorator
@inline
export function head(len: u32, type: u32): u32 {
  return bswap<u32>((len << 16) | type);
}

/** Where the next attribute begins, relative to this one. */
// @ts-ignore: decorator
@inline
export function padded(len: u32): u32 {
  return (len + 3) & ~3;
}

// Writers: each returns the address behind what it wrote. Padding is written as part of a whole
// word, so no byte of an earlier message can leak into it.

// @ts-ignore: decorator
@inline
export function putU8(at: usize, type: u32, value: u32): usize {
  store<u32>(at, head(5, type));
  store<u32>(at, value & 0xff, 4);
  return at + 8;
}

/** `raw` is written in the byte order it was loaded in. */
// @ts-ignore: decorator
@inline
export function putRaw16(at: usize, type: u32, raw: u32): usize {
  store<u32>(at, head(6, type));
  store<u32>(at, raw & 0xffff, 4);
  return at + 8;
}

// @ts-ignore: decorator
@inline
export function putU32(at: usize, type: u32, value: u32): usize {
  return putRaw32(at, type, bswap<u32>(value));
}

/** `raw` is written in the byte order it was loaded in. */
// @ts-ignore: decorator
@inline
export function putRaw32(at: usize, type: u32, raw: u32): usize {
  store<u32>(at, head(8, type));
  store<u32>(at, raw, 4);
  return at + 8;
}

/** One address of the family `l3`, 4 or 16 bytes from `from`. */
export function putAddress(at: usize, l3: u32, type4: u32, type6: u32, from: usize): usize {
  if (l3 == INET) return putRaw32(at, type4, load<u32>(from));
  store<u32>(at, head(20, type6));
  v128.store(at, v128.load(from), 4);
  return at + 20;
}

/** Source and destination of a tuple, `type4` or `type6` by its family. */
export function putAddresses(at: usize, tuple: usize, type4: u32, type6: u32): usize {
  if (load<u8>(tuple, TUPLE_L3) == INET) {
    store<u32>(at, head(12, type4));
    store<u32>(at, load<u32>(tuple, TUPLE_SRC), 4);
    store<u32>(at, load<u32>(tuple, TUPLE_DST), 8);
    return at + 12;
  }
  store<u32>(at, head(36, type6));
  v128.store(at, v128.load(tuple, TUPLE_SRC), 4);
  v128.store(at, v128.load(tuple, TUPLE_DST), 20);
  return at + 36;
}

/** A name of `chars` characters and its NUL. */
export function putName(at: usize, type: u32, name: usize, chars: u32): usize {
  const len = 4 + chars + 1;
  store<u32>(at, head(len, type));
  store<u32>(at + padded(len) - 4, 0);
  memory.copy(at + 4, name, chars);
  return at + padded(len);
}

/** Characters before the NUL, looking at no more than `limit` bytes. */
export function nameLength(name: usize, limit: u32): u32 {
  let chars: u32 = 0;
  while (chars < limit && load<u8>(name + chars) != 0) chars++;
  return chars;
}

// Readers: `payload` is the address behind the attribute's header.

/** IPv4 source and destination; the twelve unused bytes of each become zero. */
// @ts-ignore: decorator
@inline
export function readAddresses4(tuple: usize, payload: usize): void {
  store<u8>(tuple, INET, TUPLE_L3);
  readAddress4(tuple + TUPLE_SRC, payload);
  readAddress4(tuple + TUPLE_DST, payload + 4);
}

// @ts-ignore: decorator
@inline
export function readAddresses6(tuple: usize, payload: usize): void {
  store<u8>(tuple, INET6, TUPLE_L3);
  v128.store(tuple, v128.load(payload), TUPLE_SRC);
  v128.store(tuple, v128.load(payload, 16), TUPLE_DST);
}

// @ts-ignore: decorator
@inline
export function readAddress4(to: usize, payload: usize): void {
  store<u64>(to, load<u32>(payload));
  store<u64>(to, 0, 8);
}

/**
 * A name into a field of `field` bytes, NUL-padded; returns its characters. The sender's NUL is
 * looked for inside the payload only: without one the name ends where the attribute does. `payload`
 * is shorter than `field`, so the field always keeps a NUL.
 */
export function readName(to: usize, field: u32, payload: usize, bytes: u32): u32 {
  const chars = nameLength(payload, bytes);
  memory.fill(to, 0, field);
  memory.copy(to, payload, chars);
  return chars;
}

/**
 * Completes a tuple whose addresses, protocol and ports were stored as their attributes came: sets
 * what is known and clears ports that no attribute gave. Returns TUPLE_KNOWN.
 */
export function closeTuple(tuple: usize, l3: bool, l4: bool, ports: bool): u32 {
  const protocol: u32 = l4 ? load<u8>(tuple, TUPLE_L4) : 0;
  let known: u32 = 0;
  if (l3) known |= KNOWN_L3;
  if (l4) known |= KNOWN_L4;
  if (ports && sendsPorts(protocol)) known |= KNOWN_PORTS;
  else store<u32>(tuple, 0, TUPLE_SPORT);
  if (!l3) store<u8>(tuple, 0, TUPLE_L3);
  store<u8>(tuple, protocol, TUPLE_L4);
  store<u16>(tuple, known, TUPLE_KNOWN); // the byte behind it is padding, zero
  return known;
}

// The three fields that a little-endian C daemon swaps once too often, in packet order.
// @ts-ignore: decorator
@inline
export function swapped(payload: usize, options: u32): u32 {
  const raw = load<u16>(payload);
  return options & SYNC_BIG_ENDIAN_PEER ? raw : bswap<u16>(raw);
}

// 32-bit words between wire order and host order.
// @ts-ignore: decorator
@inline
export function copyWords(to: usize, from: usize, words: u32): void {
  for (let i: u32 = 0; i < words; i++) {
    store<u32>(to + (i << 2), bswap<u32>(load<u32>(from + (i << 2))));
  }
}
