// Sync messages of flows, the way out: from the wide Flow of layout.ts to bytes.
//
// Every message tells the whole state that the sender knows; its type (NEW, UPD, DEL) changes no
// attribute. The order of attributes is the C daemon's. Room is proved before the first byte is
// written, so a refusal leaves the output untouched. The caller owns all memory, nothing blocks.
// Source: docs/wire-protocol.md.

import {
  BAD_ROOM,
  BAD_TUPLE,
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
  TUPLE_ICMP_CODE,
  TUPLE_ICMP_TYPE,
  TUPLE_KNOWN,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SPORT,
} from './layout';
import {
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
  nameLength,
  NAT_SEQ_ADJ,
  padded,
  PORT,
  putAddress,
  putAddresses,
  putName,
  putRaw16,
  putRaw32,
  putU32,
  putU8,
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
  SYNC_EXTENDED,
  SYNC_OMIT_TIMEOUT,
  SYNC_WSCALE,
  SYNPROXY,
  TCP,
  TCP_STATE,
  TCP_WSCALE_ORIG,
  TCP_WSCALE_REPL,
  TIMEOUT,
  UDP,
  UDPLITE,
  ZONE,
  ZONE_ORIG,
  ZONE_REPLY,
} from './sync-attribute';

/** No message that encodeSync() writes is longer, in bytes. */
export const SYNC_MAX_MESSAGE: u32 = 320;

const HEADER: u32 = 8;
const ONE_WAY: u32 = HAS_ZONE_ORIG | HAS_ZONE_REPLY;
const SEQADJ: u32 = HAS_SEQADJ_ORIG | HAS_SEQADJ_REPLY;
/**
 * Writes the CT message `type` (0 NEW, 1 UPD, 2 DEL) of the Flow at `flow` to `out` and returns its
 * length, or BAD_TUPLE (no identity) or BAD_ROOM (`room` bytes are too few; nothing was written).
 * Flags and sequence number are 0: the sender fills them in when the message leaves. The order of
 * attributes is that of the C daemon, some of whose versions depend on it.
 */
export function encodeSync(flow: usize, out: usize, room: u32, type: i32, options: u32): i32 {
  const present = load<u32>(flow, FLOW_PRESENT);
  const orig = flow + FLOW_ORIG;
  if (!hasIdentity(present, orig)) return BAD_TUPLE;
  if (room < SYNC_MAX_MESSAGE && room < encodedLength(flow, options)) return BAD_ROOM;
  const status: u32 = present & HAS_STATUS ? load<u32>(flow, FLOW_STATUS) : 0;
  let at = putAddresses(out + HEADER, orig, IPV4, IPV6);
  at = putU32(at, STATUS, status);
  at = putU8(at, L4PROTO, load<u8>(orig, TUPLE_L4));
  at = putProtocol(at, flow, present, options);
  if (sendsTimeout(present, options)) at = putU32(at, TIMEOUT, load<u32>(flow, FLOW_TIMEOUT));
  if (present & HAS_MARK) at = putU32(at, MARK, load<u32>(flow, FLOW_MARK));
  if (present & HAS_MASTER) at = putMaster(at, flow + FLOW_MASTER);
  if (present & (HAS_NAT_SRC | HAS_NAT_DST | HAS_NAT_SPORT | HAS_NAT_DPORT)) {
    at = putNat(at, flow, present, options);
  }
  at = putExtensions(at, flow, present);
  if (sendsZone(present, flow)) {
    at = putRaw16(at, ZONE, bswap<u16>(load<u16>(flow, FLOW_ZONE)));
  } else if (options & SYNC_EXTENDED && present & ONE_WAY) {
    at = putOneWay(at, flow, present);
  }
  const len = <u32>(at - out);
  store<u32>(out, 0x10 | (type & 15) | (<u32>bswap<u16>(<u16>len) << 16));
  store<u32>(out, 0, 4);
  return len;
}

// Can the receiver find this flow again? A kernel without a DCCP tracker knows no DCCP ports; such
// a flow is sent with ports of 0.
function hasIdentity(present: u32, orig: usize): bool {
  const known = load<u8>(orig, TUPLE_KNOWN);
  if (!(present & HAS_ORIG) || (known & (KNOWN_L3 | KNOWN_L4)) != (KNOWN_L3 | KNOWN_L4)) {
    return false;
  }
  const l4: u32 = load<u8>(orig, TUPLE_L4);
  if (l4 == ICMP || l4 == ICMPV6) return (known & KNOWN_ICMP) != 0;
  return !sendsPorts(l4) || l4 == DCCP || (known & KNOWN_PORTS) != 0;
}

// @ts-ignore: decorator
@inline
function sendsTimeout(present: u32, options: u32): bool {
  return (present & HAS_TIMEOUT) != 0 && !(options & SYNC_OMIT_TIMEOUT);
}

// @ts-ignore: decorator
@inline
function sendsWscale(present: u32, options: u32): bool {
  return (present & HAS_WSCALE) != 0 && (options & SYNC_WSCALE) != 0;
}

// @ts-ignore: decorator
@inline
function sendsZone(present: u32, flow: usize): bool {
  return (present & HAS_ZONE) != 0 && load<u16>(flow, FLOW_ZONE) != 0;
}

// The zone of one direction alone.
function putOneWay(at: usize, flow: usize, present: u32): usize {
  if (present & HAS_ZONE_ORIG) {
    at = putRaw16(at, ZONE_ORIG, bswap<u16>(load<u16>(flow, FLOW_ZONE_ORIG)));
  }
  if (!(present & HAS_ZONE_REPLY)) return at;
  return putRaw16(at, ZONE_REPLY, bswap<u16>(load<u16>(flow, FLOW_ZONE_REPLY)));
}

// The keys of GRE: without them two tunnels between the same hosts are one flow.
// @ts-ignore: decorator
@inline
function sendsKeys(orig: usize, l4: u32, options: u32): bool {
  if (l4 != GRE) return false;
  return (options & SYNC_EXTENDED) != 0 && (load<u8>(orig, TUPLE_KNOWN) & KNOWN_PORTS) != 0;
}

// Ports and state, or the ICMP triple: what depends on the protocol.
function putProtocol(at: usize, flow: usize, present: u32, options: u32): usize {
  const orig = flow + FLOW_ORIG;
  const l4: u32 = load<u8>(orig, TUPLE_L4);
  if (l4 == ICMP || l4 == ICMPV6) {
    at = putU8(at, ICMP_TYPE, load<u8>(orig, TUPLE_ICMP_TYPE));
    at = putU8(at, ICMP_CODE, load<u8>(orig, TUPLE_ICMP_CODE));
    return putRaw16(at, ICMP_ID, swapped(orig + TUPLE_SPORT, options));
  }
  if (!sendsPorts(l4)) {
    if (sendsLitePorts(orig, l4)) return putRaw32(at, PORT, load<u32>(orig, TUPLE_SPORT));
    if (!sendsKeys(orig, l4, options)) return at;
    return putRaw32(at, GRE_KEYS, load<u32>(orig, TUPLE_SPORT));
  }
  const ports = load<u8>(orig, TUPLE_KNOWN) & KNOWN_PORTS ? load<u32>(orig, TUPLE_SPORT) : 0;
  at = putRaw32(at, PORT, ports);
  if (!(present & HAS_STATE) || l4 == UDP) return at;
  const state = load<u8>(flow, FLOW_STATE);
  if (l4 == TCP) {
    at = putU8(at, TCP_STATE, state);
    if (!sendsWscale(present, options)) return at;
    at = putU8(at, TCP_WSCALE_ORIG, load<u8>(flow, FLOW_WSCALE_ORIG));
    return putU8(at, TCP_WSCALE_REPL, load<u8>(flow, FLOW_WSCALE_REPLY));
  }
  if (l4 == SCTP) {
    at = putU8(at, SCTP_STATE, state);
    if (!(present & HAS_VTAG)) return at;
    at = putU32(at, SCTP_VTAG_ORIG, load<u32>(flow, FLOW_VTAG_ORIG));
    return putU32(at, SCTP_VTAG_REPL, load<u32>(flow, FLOW_VTAG_REPLY));
  }
  at = putU8(at, DCCP_STATE, state);
  if (!(present & HAS_DCCP_ROLE)) return at;
  return putU8(at, DCCP_ROLE, load<u8>(flow, FLOW_DCCP_ROLE));
}

function putMaster(at: usize, master: usize): usize {
  at = putAddresses(at, master, MASTER_IPV4, MASTER_IPV6);
  at = putU8(at, MASTER_L4PROTO, load<u8>(master, TUPLE_L4));
  if (!masterPorts(master)) return at;
  return putRaw32(at, MASTER_PORT, load<u32>(master, TUPLE_SPORT));
}

// @ts-ignore: decorator
@inline
function masterPorts(master: usize): bool {
  const known = load<u8>(master, TUPLE_KNOWN);
  return (known & KNOWN_PORTS) != 0 && sendsPorts(load<u8>(master, TUPLE_L4));
}

// What NAT changed; the family of the addresses is the flow's.
function putNat(at: usize, flow: usize, present: u32, options: u32): usize {
  const l3 = load<u8>(flow, FLOW_ORIG + TUPLE_L3);
  if (present & HAS_NAT_SRC) at = putAddress(at, l3, SNAT_IPV4, SNAT_IPV6, flow + FLOW_NAT_SRC);
  if (present & HAS_NAT_DST) at = putAddress(at, l3, DNAT_IPV4, DNAT_IPV6, flow + FLOW_NAT_DST);
  const l4: u32 = load<u8>(flow, FLOW_ORIG + TUPLE_L4);
  if (!sendsPorts(l4) && !sendsLitePorts(flow + FLOW_ORIG, l4)) return at;
  if (present & HAS_NAT_SPORT) {
    at = putRaw16(at, SPAT_PORT, swapped(flow + FLOW_NAT_SPORT, options));
  }
  if (!(present & HAS_NAT_DPORT)) return at;
  return putRaw16(at, DPAT_PORT, swapped(flow + FLOW_NAT_DPORT, options));
}

// Sequence adjustment, helper, labels, synproxy.
function putExtensions(at: usize, flow: usize, present: u32): usize {
  if ((present & SEQADJ) == SEQADJ) {
    store<u32>(at, head(28, NAT_SEQ_ADJ));
    copyWords(at + 4, flow + FLOW_SEQADJ, 6);
    at += 28;
  }
  if (present & HAS_HELPER) {
    const chars = helperToSend(flow);
    if (chars != 0) at = putName(at, HELPER_NAME, flow + FLOW_HELPER, chars);
  }
  if (sendsLabels(present, flow)) {
    store<u32>(at, head(4 + LABELS_SIZE, LABELS));
    copyWords(at + 4, flow + FLOW_LABELS, LABELS_SIZE >> 2);
    at += 4 + LABELS_SIZE;
  }
  if (present & HAS_SYNPROXY) {
    store<u32>(at, head(16, SYNPROXY));
    store<u32>(at, bswap<u32>(load<u32>(flow, FLOW_SYNPROXY + 4)), 4); // its
    store<u32>(at, bswap<u32>(load<u32>(flow, FLOW_SYNPROXY)), 8); // isn
    store<u32>(at, bswap<u32>(load<u32>(flow, FLOW_SYNPROXY + 8)), 12); // tsoff
    at += 16;
  }
  return at;
}

// Characters of the helper's name, or 0 if it must stay at home: a C receiver refuses the whole
// message when the name has more than 11 characters, and losing the helper is better than losing
// the flow. (A C sender sends such names, and its flows never arrive.)
function helperToSend(flow: usize): u32 {
  const chars = nameLength(flow + FLOW_HELPER, 16);
  return chars < HELPER_PAYLOAD ? chars : 0;
}

// @ts-ignore: decorator
@inline
function sendsLabels(present: u32, flow: usize): bool {
  if (!(present & HAS_LABELS)) return false;
  return (load<u64>(flow, FLOW_LABELS) | load<u64>(flow, FLOW_LABELS + 8)) != 0;
}

// What encodeSync() would write, in bytes. Only asked when the room is short; a test holds the two
// together.
function encodedLength(flow: usize, options: u32): u32 {
  const present = load<u32>(flow, FLOW_PRESENT);
  const orig = flow + FLOW_ORIG;
  const l4: u32 = load<u8>(orig, TUPLE_L4);
  const inet = load<u8>(orig, TUPLE_L3) == INET;
  let len = HEADER + (inet ? 12 : 36) + 8 + 8 + protocolLength(orig, l4, present, options);
  if (sendsKeys(orig, l4, options)) len += 8;
  if (sendsTimeout(present, options)) len += 8;
  if (present & HAS_MARK) len += 8;
  if (present & HAS_MASTER) {
    const master = flow + FLOW_MASTER;
    len += (load<u8>(master, TUPLE_L3) == INET ? 12 : 36) + 8 + (masterPorts(master) ? 8 : 0);
  }
  const address: u32 = inet ? 8 : 20;
  if (present & HAS_NAT_SRC) len += address;
  if (present & HAS_NAT_DST) len += address;
  if (sendsPorts(l4) || sendsLitePorts(orig, l4)) {
    if (present & HAS_NAT_SPORT) len += 8;
    if (present & HAS_NAT_DPORT) len += 8;
  }
  if ((present & SEQADJ) == SEQADJ) len += 28;
  if (present & HAS_HELPER) {
    const chars = helperToSend(flow);
    if (chars != 0) len += 4 + padded(chars + 1);
  }
  if (sendsLabels(present, flow)) len += 4 + LABELS_SIZE;
  if (present & HAS_SYNPROXY) len += 16;
  if (sendsZone(present, flow)) return len + 8;
  if (!(options & SYNC_EXTENDED)) return len;
  if (present & HAS_ZONE_ORIG) len += 8;
  return present & HAS_ZONE_REPLY ? len + 8 : len;
}

// Ports of UDP-Lite, if the kernel told them. A C daemon sends none, but takes and commits them.
// @ts-ignore: decorator
@inline
function sendsLitePorts(orig: usize, l4: u32): bool {
  if (l4 != UDPLITE) return false;
  return (load<u8>(orig, TUPLE_KNOWN) & KNOWN_PORTS) != 0 && load<u32>(orig, TUPLE_SPORT) != 0;
}

// Bytes of what putProtocol() writes.
function protocolLength(orig: usize, l4: u32, present: u32, options: u32): u32 {
  if (l4 == ICMP || l4 == ICMPV6) return 24;
  if (!sendsPorts(l4)) return sendsLitePorts(orig, l4) ? 8 : 0;
  if (!(present & HAS_STATE) || l4 == UDP) return 8;
  if (l4 == TCP) return sendsWscale(present, options) ? 32 : 16;
  if (l4 == SCTP) return present & HAS_VTAG ? 32 : 16;
  return present & HAS_DCCP_ROLE ? 24 : 16;
}
