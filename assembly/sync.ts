// Sync messages of flows, the way in: from bytes to the wide Flow of layout.ts, or, for routing, to
// its tuple alone. The way out is sync-encode.ts, expectations are sync-expect.ts.
//
// A message is the 8-byte header of framing.ts and flat attributes (sync-attribute.ts); the table
// of attributes is in docs/wire-protocol.md. The caller owns all memory, the message and the Flow.
// Nothing blocks, nothing is kept between calls, and no byte outside the message is read: every
// attribute's length is checked against what is left before its payload is touched.
//
// Decoding first tries the shape in which a C daemon starts the messages of TCP, UDP, SCTP and
// DCCP flows (addresses, status, protocol, ports, often state and timeout, at fixed offsets) and
// walks the attributes from where that shape ends. Messages come from the network: any order, any
// repetition (the last one wins) and any length must give either a Flow or a reason.
//
// Three fields, the ICMP id and the two NAT ports, travel in the sender's own byte order swapped
// once more: little-endian from the usual little-endian C daemon. SYNC_BIG_ENDIAN_PEER tells that
// the peer is a big-endian one. A Flow holds all ports and ids as they are in the packet.

import {
  BAD_LENGTH,
  BAD_SIZE,
  BAD_TUPLE,
  BAD_TYPE,
  FLOW_DCCP_ROLE,
  FLOW_HELPER,
  FLOW_LABELS,
  FLOW_MARK,
  FLOW_MASTER,
  FLOW_NAT_DPORT,
  FLOW_NAT_DST,
  FLOW_NAT_SPORT,
  FLOW_NAT_SRC,
  FLOW_ORIG,
  FLOW_PRESENT,
  FLOW_SEQADJ,
  FLOW_STATE,
  FLOW_STATUS,
  FLOW_SYNPROXY,
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
  HAS_LABELS,
  HAS_MARK,
  HAS_MASTER,
  HAS_NAT_DPORT,
  HAS_NAT_DST,
  HAS_NAT_SPORT,
  HAS_NAT_SRC,
  HAS_ORIG,
  HAS_SEQADJ_ORIG,
  HAS_SEQADJ_REPLY,
  HAS_STATE,
  HAS_STATUS,
  HAS_SYNPROXY,
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
  TUPLE_KNOWN,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SPORT,
} from './layout';
import {
  closeTuple,
  copyWords,
  DCCP,
  DCCP_ROLE,
  DCCP_STATE,
  DNAT_IPV4,
  DNAT_IPV6,
  DPAT_PORT,
  GRE,
  GRE_KEYS,
  head,
  HELPER_NAME,
  HELPER_PAYLOAD,
  ICMP,
  ICMP_CODE,
  ICMP_ID,
  ICMP_TYPE,
  ICMPV6,
  INET,
  isAttribute,
  IPV4,
  IPV6,
  L4PROTO,
  LABELS,
  LABELS_SIZE,
  MARK,
  MASTER_IPV4,
  MASTER_IPV6,
  MASTER_L4PROTO,
  MASTER_PORT,
  NAT_SEQ_ADJ,
  padded,
  PORT,
  readAddress4,
  readAddresses4,
  readAddresses6,
  readName,
  SCTP,
  SCTP_STATE,
  SCTP_VTAG_ORIG,
  SCTP_VTAG_REPL,
  sendsPorts,
  SNAT_IPV4,
  SNAT_IPV6,
  SPAT_PORT,
  STATUS,
  swapped,
  SYNPROXY,
  TCP,
  TCP_STATE,
  TCP_WSCALE_ORIG,
  TCP_WSCALE_REPL,
  TIMEOUT,
  UDPLITE,
  ZONE,
  ZONE_ORIG,
  ZONE_REPLY,
} from './sync-attribute';

export { SYNC_BIG_ENDIAN_PEER, SYNC_EXTENDED, SYNC_OMIT_TIMEOUT, SYNC_WSCALE } from './sync-attribute';
export * from './sync-encode';
export * from './sync-expect';

const HEADER: u32 = 8;
const LABELS_LENGTH_MAX: u32 = 1028;
/** Bytes of status, protocol and ports, which follow the addresses in the common shape. */
const SHAPE: i32 = 24;

// ---------------------------------------------------------------------------------------------
// Decoding

/**
 * Decodes the CT message of `len` bytes at `msg` (header included) into the Flow at `flow` and
 * returns 0, or BAD_LENGTH, BAD_SIZE, BAD_TYPE or BAD_TUPLE. After a refusal the Flow is empty.
 * Sets no reply tuple: it does not travel. FLOW_ZONE is always valid, 0 when no zone came.
 */
export function decodeSync(msg: usize, len: u32, flow: usize, options: u32): i32 {
  store<u64>(flow, 0, FLOW_PRESENT); // and FLOW_OBSERVED behind it
  if (len < HEADER) return BAD_LENGTH;
  const end = msg + len;
  const at = msg + HEADER;
  if (isShape(at, end, 12, IPV4)) {
    readAddresses4(flow + FLOW_ORIG, at + 4);
    return decodeShape(at + 12, end, flow, options, bit(IPV4));
  }
  if (isShape(at, end, 36, IPV6)) {
    readAddresses6(flow + FLOW_ORIG, at + 4);
    return decodeShape(at + 36, end, flow, options, bit(IPV6));
  }
  return walk(at, end, flow, options, 0, 0, 0, 0);
}

/** decodeSync() without the shape: the reference that tests hold the other to. */
export function decodeSyncGeneric(msg: usize, len: u32, flow: usize, options: u32): i32 {
  store<u64>(flow, 0, FLOW_PRESENT);
  if (len < HEADER) return BAD_LENGTH;
  return walk(msg + HEADER, msg + len, flow, options, 0, 0, 0, 0);
}

// @ts-ignore: decorator
@inline
function bit(type: u32): u64 {
  return <u64>1 << type;
}

// Are the attributes from `at` addresses, STATUS, L4PROTO and PORT, whole, in this order?
// @ts-ignore: decorator
@inline
function isShape(at: usize, end: usize, addresses: u32, type: u32): bool {
  if (<i32>(end - at) < <i32>addresses + SHAPE) return false;
  const next = at + addresses;
  return (
    load<u32>(at) == head(addresses, type) &&
    load<u32>(next) == head(8, STATUS) &&
    load<u32>(next, 8) == head(5, L4PROTO) &&
    load<u32>(next, 16) == head(8, PORT)
  );
}

// The rest of the common shape; `at` is behind the addresses, which `seen` records.
function decodeShape(at: usize, end: usize, flow: usize, options: u32, seen: u64): i32 {
  store<u32>(flow, bswap<u32>(load<u32>(at, 4)), FLOW_STATUS);
  const l4: u32 = load<u8>(at, 12);
  const ports = load<u32>(at, 20);
  let states: u32 = 0;
  seen |= bit(STATUS) | bit(L4PROTO) | bit(PORT);
  at += SHAPE;
  if (<i32>(end - at) >= 8 && load<u32>(at) == head(5, TCP_STATE)) {
    states = load<u8>(at, 4);
    seen |= bit(TCP_STATE);
    at += 8;
  }
  if (<i32>(end - at) >= 8 && load<u32>(at) == head(8, TIMEOUT)) {
    store<u32>(flow, bswap<u32>(load<u32>(at, 4)), FLOW_TIMEOUT);
    seen |= bit(TIMEOUT);
    at += 8;
  }
  return walk(at, end, flow, options, seen, l4, ports, states);
}

// The length that an attribute must have, 0 for the two that vary.
function exactLength(type: u32): u32 {
  switch (type) {
    case L4PROTO:
    case TCP_STATE:
    case MASTER_L4PROTO:
    case SCTP_STATE:
    case DCCP_STATE:
    case DCCP_ROLE:
    case ICMP_TYPE:
    case ICMP_CODE:
    case TCP_WSCALE_ORIG:
    case TCP_WSCALE_REPL:
      return 5;
    case SPAT_PORT:
    case DPAT_PORT:
    case ICMP_ID:
    case ZONE:
    case ZONE_ORIG:
    case ZONE_REPLY:
      return 6;
    case IPV4:
    case MASTER_IPV4:
      return 12;
    case SYNPROXY:
      return 16;
    case SNAT_IPV6:
    case DNAT_IPV6:
      return 20;
    case NAT_SEQ_ADJ:
      return 28;
    case IPV6:
    case MASTER_IPV6:
      return 36;
    case HELPER_NAME:
    case LABELS:
      return 0;
    default: // PORT, GRE_KEYS, STATUS, TIMEOUT, MARK, MASTER_PORT, SNAT_IPV4, DNAT_IPV4, SCTP_VTAG_*
      return 8;
  }
}

// 0, or why an attribute of this length (`remain` bytes are left of the message) is refused.
// @ts-ignore: decorator
@inline
function checkAttribute(size: u32, type: u32, remain: i32): i32 {
  if (<i32>size > remain || size < 4) return BAD_LENGTH;
  if (!isAttribute(type)) return BAD_TYPE;
  const exact = exactLength(type);
  if (exact != 0) return size == exact ? 0 : BAD_SIZE;
  return size > (type == LABELS ? LABELS_LENGTH_MAX : 4 + HELPER_PAYLOAD) ? BAD_SIZE : 0;
}

// Walks the attributes from `at` and completes the Flow. `seen` has a bit for each type so far.
// What shares a place in the Flow, or has a place only under some protocols, is collected aside
// until the protocol is certain, so that the order of attributes does not matter: `ports`; `icmp`
// (id, type and code as they lie in a tuple); `states` (TCP, SCTP and DCCP, a byte each).
// Up to four trailing bytes are no attribute and are ignored, as the C daemon does.
function walk(
  at: usize,
  end: usize,
  flow: usize,
  options: u32,
  seen: u64,
  l4: u32,
  ports: u32,
  states: u32,
): i32 {
  let icmp: u32 = 0;
  let zone: u32 = 0;
  let remain = <i32>(end - at);
  while (remain > 4) {
    const size: u32 = bswap<u16>(load<u16>(at));
    const type: u32 = bswap<u16>(load<u16>(at, 2));
    const bad = checkAttribute(size, type, remain);
    if (bad) return bad;
    const payload = at + 4;
    at += padded(size);
    remain -= padded(size);
    switch (type) {
      case IPV4:
        readAddresses4(flow + FLOW_ORIG, payload);
        break;
      case IPV6:
        readAddresses6(flow + FLOW_ORIG, payload);
        break;
      case L4PROTO:
        l4 = load<u8>(payload);
        break;
      case PORT:
        ports = load<u32>(payload);
        break;
      case STATUS:
        store<u32>(flow, bswap<u32>(load<u32>(payload)), FLOW_STATUS);
        break;
      case TIMEOUT:
        store<u32>(flow, bswap<u32>(load<u32>(payload)), FLOW_TIMEOUT);
        break;
      case MARK:
        store<u32>(flow, bswap<u32>(load<u32>(payload)), FLOW_MARK);
        break;
      case TCP_STATE:
        states = (states & ~0xff) | load<u8>(payload);
        break;
      case SCTP_STATE:
        states = (states & ~0xff00) | (<u32>load<u8>(payload) << 8);
        break;
      case DCCP_STATE:
        states = (states & ~0xff0000) | (<u32>load<u8>(payload) << 16);
        break;
      case ICMP_ID:
        icmp = (icmp & ~0xffff) | swapped(payload, options);
        break;
      case ICMP_TYPE:
        icmp = (icmp & ~0xff0000) | (<u32>load<u8>(payload) << 16);
        break;
      case ICMP_CODE:
        icmp = (icmp & ~0xff000000) | (<u32>load<u8>(payload) << 24);
        break;
      case ZONE:
        zone = bswap<u16>(load<u16>(payload));
        break;
      case SNAT_IPV4:
        readAddress4(flow + FLOW_NAT_SRC, payload);
        seen &= ~bit(SNAT_IPV6);
        break;
      case DNAT_IPV4:
        readAddress4(flow + FLOW_NAT_DST, payload);
        seen &= ~bit(DNAT_IPV6);
        break;
      case SPAT_PORT:
        store<u16>(flow, swapped(payload, options), FLOW_NAT_SPORT);
        break;
      case DPAT_PORT:
        store<u16>(flow, swapped(payload, options), FLOW_NAT_DPORT);
        break;
      default:
        seen = decodeRare(type, size - 4, payload, flow, seen);
        continue;
    }
    seen |= bit(type);
  }
  return finish(flow, seen, l4, ports, icmp, states, zone);
}

// The attributes that few messages have. Returns `seen` with what the attribute makes of it.
function decodeRare(type: u32, bytes: u32, payload: usize, flow: usize, seen: u64): u64 {
  switch (type) {
    case MASTER_IPV4:
      readAddresses4(flow + FLOW_MASTER, payload);
      break;
    case MASTER_IPV6:
      readAddresses6(flow + FLOW_MASTER, payload);
      break;
    case MASTER_L4PROTO:
      store<u8>(flow, load<u8>(payload), FLOW_MASTER + TUPLE_L4);
      break;
    case MASTER_PORT:
      store<u32>(flow, load<u32>(payload), FLOW_MASTER + TUPLE_SPORT);
      break;
    case NAT_SEQ_ADJ:
      copyWords(flow + FLOW_SEQADJ, payload, 6);
      break;
    case SCTP_VTAG_ORIG:
      store<u32>(flow, bswap<u32>(load<u32>(payload)), FLOW_VTAG_ORIG);
      break;
    case SCTP_VTAG_REPL:
      store<u32>(flow, bswap<u32>(load<u32>(payload)), FLOW_VTAG_REPLY);
      break;
    case DCCP_ROLE:
      store<u8>(flow, load<u8>(payload), FLOW_DCCP_ROLE);
      break;
    case TCP_WSCALE_ORIG:
      store<u8>(flow, load<u8>(payload), FLOW_WSCALE_ORIG);
      break;
    case TCP_WSCALE_REPL:
      store<u8>(flow, load<u8>(payload), FLOW_WSCALE_REPLY);
      break;
    case HELPER_NAME: // an empty name names no helper
      if (readName(flow + FLOW_HELPER, 16, payload, bytes)) break;
      return seen & ~bit(HELPER_NAME);
    case LABELS: // a payload that is not whole words is ignored; an earlier one stays
      if (bytes == 0 || (bytes & 3) != 0) return seen;
      decodeLabels(bytes, payload, flow);
      break;
    case SNAT_IPV6:
      v128.store(flow, v128.load(payload), FLOW_NAT_SRC);
      seen &= ~bit(SNAT_IPV4);
      break;
    case DNAT_IPV6:
      v128.store(flow, v128.load(payload), FLOW_NAT_DST);
      seen &= ~bit(DNAT_IPV4);
      break;
    case SYNPROXY: // its, isn, tsoff on the wire; isn, its, tsoff in a Flow
      store<u32>(flow, bswap<u32>(load<u32>(payload)), FLOW_SYNPROXY + 4);
      store<u32>(flow, bswap<u32>(load<u32>(payload, 4)), FLOW_SYNPROXY);
      store<u32>(flow, bswap<u32>(load<u32>(payload, 8)), FLOW_SYNPROXY + 8);
      break;
    case ZONE_ORIG:
      store<u16>(flow, bswap<u16>(load<u16>(payload)), FLOW_ZONE_ORIG);
      break;
    case ZONE_REPLY:
      store<u16>(flow, bswap<u16>(load<u16>(payload)), FLOW_ZONE_REPLY);
      break;
    case GRE_KEYS: // where ports are, which have the last word where there are any
      store<u32>(flow, load<u32>(payload), FLOW_ORIG + TUPLE_SPORT);
      break;
  }
  return seen | bit(type);
}

// Linux has 128 labels, so words beyond the fourth carry none that a kernel could take.
function decodeLabels(bytes: u32, payload: usize, flow: usize): void {
  store<u64>(flow, 0, FLOW_LABELS);
  store<u64>(flow, 0, FLOW_LABELS + 8);
  copyWords(flow + FLOW_LABELS, payload, (bytes < LABELS_SIZE ? bytes : LABELS_SIZE) >> 2);
}

// `has` if the attribute was seen.
// @ts-ignore: decorator
@inline
function when(seen: u64, type: u32, has: u32): u32 {
  return <u32>((seen >> type) & 1) * has;
}

// Turns what was seen into a Flow, or refuses a flow without identity: the kernel could not create
// it and the cache could not find it again.
function finish(
  flow: usize,
  seen: u64,
  l4: u32,
  ports: u32,
  icmp: u32,
  states: u32,
  zone: u32,
): i32 {
  if (!finishTuple(flow + FLOW_ORIG, seen, l4, ports, icmp)) return BAD_TUPLE;
  let present = HAS_ORIG | when(seen, STATUS, HAS_STATUS) | when(seen, TIMEOUT, HAS_TIMEOUT);
  present |= when(seen, MARK, HAS_MARK);
  store<u16>(flow, zone, FLOW_ZONE);
  if (zone != 0) present |= HAS_ZONE;
  if (l4 == TCP) {
    store<u8>(flow, states, FLOW_STATE);
    present |= when(seen, TCP_STATE, HAS_STATE);
  }
  const rare = ~(bit(TIMEOUT) | bit(MARK) | bit(ZONE) | (bit(TIMEOUT) - 1));
  if (seen & rare) present |= finishRare(flow, seen, l4, states);
  store<u32>(flow, present, FLOW_PRESENT);
  return 0;
}

// Completes the original tuple from the attributes collected aside; false if one is missing.
function finishTuple(tuple: usize, seen: u64, l4: u32, ports: u32, icmp: u32): bool {
  if (!(seen & (bit(IPV4) | bit(IPV6))) || !(seen & bit(L4PROTO))) return false;
  let known = KNOWN_L3 | KNOWN_L4;
  let identity: u32 = 0;
  if (sendsPorts(l4)) {
    if (!(seen & bit(PORT))) return false;
    identity = ports;
    known |= KNOWN_PORTS;
  } else if (l4 == ICMP || l4 == ICMPV6) {
    const triple = bit(ICMP_TYPE) | bit(ICMP_CODE) | bit(ICMP_ID);
    if ((seen & triple) != triple) return false;
    identity = icmp;
    known |= KNOWN_ICMP;
  } else if (l4 == GRE && (seen & bit(GRE_KEYS)) != 0) {
    identity = load<u32>(tuple, TUPLE_SPORT); // where it was put as it came
    known |= KNOWN_PORTS;
  } else if (l4 == UDPLITE && (seen & bit(PORT)) != 0) {
    // No C daemon sends these: they are ours.
    identity = ports;
    known |= KNOWN_PORTS;
  }
  store<u8>(tuple, l4, TUPLE_L4);
  store<u16>(tuple, known, TUPLE_KNOWN); // the byte behind it is padding, zero
  store<u32>(tuple, identity, TUPLE_SPORT);
  return true;
}

// HAS_* bits of what is neither in the common shape nor mark nor zone.
function finishRare(flow: usize, seen: u64, l4: u32, states: u32): u32 {
  let present = when(seen, NAT_SEQ_ADJ, HAS_SEQADJ_ORIG | HAS_SEQADJ_REPLY);
  present |= when(seen, SYNPROXY, HAS_SYNPROXY) | when(seen, LABELS, HAS_LABELS);
  present |= when(seen, HELPER_NAME, HAS_HELPER);
  // An address of the other family than the flow's says nothing.
  const inet = load<u8>(flow, FLOW_ORIG + TUPLE_L3) == INET;
  present |= when(seen, inet ? SNAT_IPV4 : SNAT_IPV6, HAS_NAT_SRC);
  present |= when(seen, inet ? DNAT_IPV4 : DNAT_IPV6, HAS_NAT_DST);
  // A C daemon sends ports of 0 for ICMP as soon as a nat chain exists, NAT or not.
  if (sendsPorts(l4) || (l4 == UDPLITE && load<u32>(flow, FLOW_ORIG + TUPLE_SPORT) != 0)) {
    present |= when(seen, SPAT_PORT, HAS_NAT_SPORT) | when(seen, DPAT_PORT, HAS_NAT_DPORT);
  }
  if (l4 == TCP) {
    present |= when(seen & (seen >> 1), TCP_WSCALE_ORIG, HAS_WSCALE); // both, 25 and 26
  } else if (l4 == SCTP) {
    store<u8>(flow, states >> 8, FLOW_STATE);
    present |= when(seen, SCTP_STATE, HAS_STATE);
    present |= when(seen & (seen >> 1), SCTP_VTAG_ORIG, HAS_VTAG); // both, 18 and 19
  } else if (l4 == DCCP) {
    store<u8>(flow, states >> 16, FLOW_STATE);
    present |= when(seen, DCCP_STATE, HAS_STATE) | when(seen, DCCP_ROLE, HAS_DCCP_ROLE);
  }
  // One zone for both directions, or one of one direction: a flow has no two.
  if (!(seen & bit(ZONE)) || load<u16>(flow, FLOW_ZONE) == 0) {
    if (load<u16>(flow, FLOW_ZONE_ORIG) != 0) present |= when(seen, ZONE_ORIG, HAS_ZONE_ORIG);
    if (load<u16>(flow, FLOW_ZONE_REPLY) != 0) present |= when(seen, ZONE_REPLY, HAS_ZONE_REPLY);
  }
  const master = (seen & (bit(MASTER_IPV4) | bit(MASTER_IPV6))) != 0;
  if (master && (seen & bit(MASTER_L4PROTO)) != 0) {
    closeTuple(flow + FLOW_MASTER, true, true, (seen & bit(MASTER_PORT)) != 0);
    present |= HAS_MASTER;
  }
  return present;
}

// ---------------------------------------------------------------------------------------------
// Routing

/**
 * Reads only what identifies the flow of the CT message of `len` bytes at `msg`: its original tuple
 * into the Tuple at `tuple`, and its zone as the result (0 when none came), or a negative reason.
 * Whatever decodeSync() accepts, this accepts with the same tuple and zone; it accepts more,
 * because it checks no attribute that it does not need.
 */
export function peekSync(msg: usize, len: u32, tuple: usize, options: u32): i32 {
  if (len < HEADER) return BAD_LENGTH;
  const end = msg + len;
  let at = msg + HEADER;
  if (isShape(at, end, 12, IPV4)) {
    readAddresses4(tuple, at + 4);
    at += 12;
    const shape = bit(IPV4) | bit(L4PROTO) | bit(PORT);
    return peek(at + SHAPE, end, tuple, options, shape, load<u8>(at, 12), load<u32>(at, 20));
  }
  if (isShape(at, end, 36, IPV6)) {
    readAddresses6(tuple, at + 4);
    at += 36;
    const shape = bit(IPV6) | bit(L4PROTO) | bit(PORT);
    return peek(at + SHAPE, end, tuple, options, shape, load<u8>(at, 12), load<u32>(at, 20));
  }
  return peek(at, end, tuple, options, 0, 0, 0);
}

// The walk of decoding with eyes for the identity only. It runs to the end: the zone comes last,
// and a repeated attribute would replace an earlier one.
function peek(
  at: usize,
  end: usize,
  tuple: usize,
  options: u32,
  seen: u64,
  l4: u32,
  ports: u32,
): i32 {
  let icmp: u32 = 0;
  let zone: u32 = 0;
  let zoneOrig: u32 = 0;
  let remain = <i32>(end - at);
  while (remain > 4) {
    const size: u32 = bswap<u16>(load<u16>(at));
    const type: u32 = bswap<u16>(load<u16>(at, 2));
    if (<i32>size > remain || size < 4) return BAD_LENGTH;
    if (!isAttribute(type)) return BAD_TYPE;
    if (bit(type) & IDENTITY) {
      if (size != exactLength(type)) return BAD_SIZE;
      const payload = at + 4;
      seen |= bit(type);
      switch (type) {
        case IPV4:
          readAddresses4(tuple, payload);
          break;
        case IPV6:
          readAddresses6(tuple, payload);
          break;
        case L4PROTO:
          l4 = load<u8>(payload);
          break;
        case PORT:
          ports = load<u32>(payload);
          break;
        case ICMP_ID:
          icmp = (icmp & ~0xffff) | swapped(payload, options);
          break;
        case ICMP_TYPE:
          icmp = (icmp & ~0xff0000) | (<u32>load<u8>(payload) << 16);
          break;
        case ICMP_CODE:
          icmp = (icmp & ~0xff000000) | (<u32>load<u8>(payload) << 24);
          break;
        case ZONE_ORIG:
          zoneOrig = bswap<u16>(load<u16>(payload));
          break;
        case GRE_KEYS:
          store<u32>(tuple, load<u32>(payload), TUPLE_SPORT);
          break;
        default:
          zone = bswap<u16>(load<u16>(payload));
      }
    }
    at += padded(size);
    remain -= padded(size);
  }
  if (!finishTuple(tuple, seen, l4, ports, icmp)) return BAD_TUPLE;
  return zone != 0 ? zone : zoneOrig;
}

// Types 0 to 3, the ICMP triple, the zones and the keys of GRE.
const IDENTITY: u64 = 0x5000_0001_01c0_000f;
