// Requests to the kernel: a Flow (layout.ts) → a ctnetlink message that creates, changes, deletes
// or looks up a flow. Pure functions over addresses; the caller owns every buffer, nothing blocks.
//
// The kernel refuses a whole request for one detail that it does not like, and then a flow is lost.
// So a request carries only what the kernel accepts: of the status the bits that user space may
// set, of the TCP flags those that mean something without packets, NAT as the change against a
// plain reply tuple.
//
// DANGER: a CT_DELETE without a tuple is an order to flush the whole table. encodeRequest begins
// every message with a tuple that it has checked, and refuses a flow without one.
//
// Sources: linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h, nf_conntrack_tcp.h;
// docs/wire-protocol.md for what the peers' messages become.

import {
  AF_INET6,
  CTA_HELP,
  CTA_LABELS,
  CTA_MARK,
  CTA_NAT_DST,
  CTA_NAT_SRC,
  CTA_PROTOINFO,
  CTA_PROTOINFO_DCCP,
  CTA_PROTOINFO_SCTP,
  CTA_PROTOINFO_TCP,
  CTA_SEQ_ADJ_ORIG,
  CTA_SEQ_ADJ_REPLY,
  CTA_STATUS,
  CTA_SYNPROXY,
  CTA_TIMEOUT,
  CTA_TUPLE_MASTER,
  CTA_TUPLE_ORIG,
  CTA_TUPLE_REPLY,
  CTA_ZONE,
  CT_DELETE,
  CT_GET,
  CT_NEW,
  DCCP,
  HEADER,
  SCTP,
  TCP,
  UDP,
  UDPLITE,
  closeNest,
  putAddress,
  putByte,
  putHeader,
  putPair,
  putText,
  putWord,
} from './ctnetlink-attribute';
import {
  putInverse,
  putTuple,
  tupleUsable,
} from './ctnetlink-tuple';
import {
  BAD_ROOM,
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
  FLOW_REPLY,
  FLOW_SEQADJ,
  FLOW_STATE,
  FLOW_STATUS,
  FLOW_SYNPROXY,
  FLOW_TCP_FLAGS_ORIG,
  FLOW_TCP_FLAGS_REPLY,
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
  KNOWN_PORTS,
  TUPLE_DPORT,
  TUPLE_DST,
  TUPLE_KNOWN,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SPORT,
  TUPLE_SRC,
} from './layout';

// What encodeRequest builds.
export const REQUEST_CREATE: i32 = 0;
export const REQUEST_UPDATE: i32 = 1;
export const REQUEST_DELETE: i32 = 2;
export const REQUEST_GET: i32 = 3;

/** Option: this node tracks TCP windows, so flows are not created with BE_LIBERAL. */
export const OPTION_WINDOW_TRACKING: u32 = 1;

/** Room that encodeRequest and encodeExpectRequest ask for; no request is longer. */
export const REQUEST_ROOM: u32 = 640;

// linux/netfilter/nf_conntrack_common.h. The first three and FIXED_TIMEOUT are all that user space
// may set. Others are ignored by the kernel, or refused with EBUSY (EXPECTED, DYING).
const IPS_SEEN_REPLY: u32 = 0x2;
const IPS_ASSURED: u32 = 0x4;
const IPS_CONFIRMED: u32 = 0x8;
const IPS_SRC_NAT_DONE: u32 = 0x80;
const IPS_DST_NAT_DONE: u32 = 0x100;
const IPS_FIXED_TIMEOUT: u32 = 0x400;
const SETTABLE_STATUS: u32 = IPS_SEEN_REPLY | IPS_ASSURED | IPS_FIXED_TIMEOUT;

// linux/netfilter/nf_conntrack_tcp.h, IP_CT_TCP_FLAG_*
const TCP_WINDOW_SCALE: u32 = 0x01;
const TCP_BE_LIBERAL: u32 = 0x08;
// WINDOW_SCALE, SACK_PERM, CLOSE_INIT, BE_LIBERAL and SIMULTANEOUS_OPEN describe the connection.
// The other three (0x10, 0x20, 0x40) belong to acknowledgement numbers that no message carries:
// with MAXACK_SET and no number, the kernel calls half of all resets invalid.
const TCP_RESTORABLE: u32 = 0x8f;

/** CTA_PROTOINFO of a TCP flow. */
function putTcp(at: usize, flow: usize, has: u32, options: u32): usize {
  let orig: u32 = options & OPTION_WINDOW_TRACKING ? 0 : TCP_BE_LIBERAL;
  let reply = orig;
  if (has & HAS_TCP_FLAGS) {
    orig |= load<u8>(flow, FLOW_TCP_FLAGS_ORIG) & TCP_RESTORABLE;
    reply |= load<u8>(flow, FLOW_TCP_FLAGS_REPLY) & TCP_RESTORABLE;
  } else if (has & HAS_WSCALE) {
    // The kernel keeps scale factors only if this flag is set in both directions. Flags that were
    // read from a kernel have it exactly when scaling is on.
    orig |= TCP_WINDOW_SCALE;
    reply |= TCP_WINDOW_SCALE;
  }
  let end = at + 8;
  if (has & HAS_STATE) end = putByte(end, 1, load<u8>(flow, FLOW_STATE));
  if (has & HAS_WSCALE) {
    end = putByte(end, 2, load<u8>(flow, FLOW_WSCALE_ORIG));
    end = putByte(end, 3, load<u8>(flow, FLOW_WSCALE_REPLY));
  }
  // The mask names the flags that are set and no other: what the kernel has learnt since stays.
  if (orig | reply) {
    end = putPair(end, 4, orig | (orig << 8));
    end = putPair(end, 5, reply | (reply << 8));
  }
  if (end == at + 8) return at;
  closeNest(at + 4, CTA_PROTOINFO_TCP, end);
  return closeNest(at, CTA_PROTOINFO, end);
}

/** CTA_PROTOINFO, if the protocol has one and its mandatory members are known. */
function putProtocolInfo(at: usize, flow: usize, has: u32, options: u32): usize {
  const l4: u32 = load<u8>(flow, FLOW_ORIG + TUPLE_L4);
  if (l4 == TCP) return putTcp(at, flow, has, options);
  if (!(has & HAS_STATE)) return at;
  let end = at;
  if (l4 == SCTP && has & HAS_VTAG) {
    end = putByte(at + 8, 1, load<u8>(flow, FLOW_STATE));
    end = putWord(end, 2, load<u32>(flow, FLOW_VTAG_ORIG));
    end = putWord(end, 3, load<u32>(flow, FLOW_VTAG_REPLY));
    closeNest(at + 4, CTA_PROTOINFO_SCTP, end);
  } else if (l4 == DCCP && has & HAS_DCCP_ROLE) {
    end = putByte(at + 8, 1, load<u8>(flow, FLOW_STATE));
    end = putByte(end, 2, load<u8>(flow, FLOW_DCCP_ROLE));
    closeNest(at + 4, CTA_PROTOINFO_DCCP, end);
  } else {
    return at;
  }
  return closeNest(at, CTA_PROTOINFO, end);
}

/** Whether NAT may change ports of this protocol and a request may say so. */
// @ts-ignore: decorator
@inline
function natsPorts(l4: u32): bool {
  return l4 == TCP || l4 == UDP || l4 == SCTP || l4 == UDPLITE || l4 == DCCP;
}

/**
 * CTA_NAT_SRC or CTA_NAT_DST. The port is named even when it does not change: left free, the kernel
 * may give the flow another port than its peer used, and then no packet fits any more.
 */
function putNat(
  at: usize, type: u32, flow: usize, hasAddress: bool, hasPort: bool, address: usize, port: u32,
): usize {
  const v6 = load<u8>(flow, FLOW_ORIG + TUPLE_L3) == AF_INET6;
  const known: u32 = load<u8>(flow, FLOW_ORIG + TUPLE_KNOWN);
  const ports = natsPorts(load<u8>(flow, FLOW_ORIG + TUPLE_L4)) && (known & KNOWN_PORTS) != 0;
  if (!hasAddress && !(hasPort && ports)) return at;
  let end = at + 4;
  if (hasAddress) end = putAddress(end, v6 ? 4 : 1, v6, address);
  if (ports) end = closeNest(end, 3, putPair(end + 4, 1, port));
  return closeNest(at, type, end);
}

function putNats(at: usize, flow: usize, has: u32): usize {
  const sport: u32 = has & HAS_NAT_SPORT
    ? load<u16>(flow, FLOW_NAT_SPORT)
    : load<u16>(flow, FLOW_ORIG + TUPLE_SPORT);
  const dport: u32 = has & HAS_NAT_DPORT
    ? load<u16>(flow, FLOW_NAT_DPORT)
    : load<u16>(flow, FLOW_ORIG + TUPLE_DPORT);
  at = putNat(
    at, CTA_NAT_SRC, flow, (has & HAS_NAT_SRC) != 0, (has & HAS_NAT_SPORT) != 0,
    flow + FLOW_NAT_SRC, sport,
  );
  return putNat(
    at, CTA_NAT_DST, flow, (has & HAS_NAT_DST) != 0, (has & HAS_NAT_DPORT) != 0,
    flow + FLOW_NAT_DST, dport,
  );
}

/** A nest of three be32 members. */
function putTriple(at: usize, type: u32, from: usize): usize {
  let end = putWord(at + 4, 1, load<u32>(from));
  end = putWord(end, 2, load<u32>(from, 4));
  end = putWord(end, 3, load<u32>(from, 8));
  return closeNest(at, type, end);
}

/** What a create and an update share: the words, TCP/SCTP/DCCP, labels, adjustments. */
function putReplicated(at: usize, flow: usize, has: u32, kind: i32, options: u32): usize {
  const status = load<u32>(flow, FLOW_STATUS);
  const fixed = (has & HAS_STATUS) != 0 && (status & IPS_FIXED_TIMEOUT) != 0;
  if (has & HAS_STATUS) {
    at = putWord(at, CTA_STATUS, (status & SETTABLE_STATUS) | IPS_CONFIRMED);
  }
  // The kernel refuses (EPERM) to change a fixed timeout, and a flow with timeout 0 has expired.
  if (has & HAS_TIMEOUT && !(fixed && kind == REQUEST_UPDATE)) {
    at = putWord(at, CTA_TIMEOUT, max<u32>(load<u32>(flow, FLOW_TIMEOUT), 1));
  }
  if (has & HAS_MARK) at = putWord(at, CTA_MARK, load<u32>(flow, FLOW_MARK));
  at = putProtocolInfo(at, flow, has, options);
  if (has & HAS_SEQADJ_ORIG) at = putTriple(at, CTA_SEQ_ADJ_ORIG, flow + FLOW_SEQADJ);
  if (has & HAS_SEQADJ_REPLY) at = putTriple(at, CTA_SEQ_ADJ_REPLY, flow + FLOW_SEQADJ + 12);
  if (has & HAS_SYNPROXY) at = putTriple(at, CTA_SYNPROXY, flow + FLOW_SYNPROXY);
  if (has & HAS_LABELS) {
    // Always all 16 bytes: words that a shorter bitmap leaves out are cleared.
    store<u32>(at, 20 | (CTA_LABELS << 16));
    v128.store(at + 4, v128.load(flow + FLOW_LABELS));
    at += 20;
  }
  return at;
}

/**
 * Writes the request `kind` (REQUEST_*) for the Flow at `flow` to `out`. `nlflags` are the flags of
 * the header besides REQUEST: ACK, and CREATE or EXCL. Returns the length (a multiple of 4),
 * BAD_ROOM when `room` is below REQUEST_ROOM, BAD_TYPE for an unknown kind, or BAD_TUPLE when the
 * original tuple does not name a flow, or (CREATE) has an ICMP type without an answer or a master
 * of another address family.
 *
 * CREATE sends the plain inverse of the original tuple as reply and describes the translation in
 * CTA_NAT_*, which is the only form that makes the kernel translate packets. UPDATE leaves out what
 * the kernel does not change (reply, NAT, master, helper). DELETE and GET are the tuple and its
 * zone alone.
 */
export function encodeRequest(
  flow: usize, out: usize, room: u32, kind: i32, seq: u32, nlflags: u32, options: u32,
): i32 {
  if (room < REQUEST_ROOM) return BAD_ROOM;
  if (kind < REQUEST_CREATE || kind > REQUEST_GET) return BAD_TYPE;
  const has = load<u32>(flow, FLOW_PRESENT);
  const orig = flow + FLOW_ORIG;
  if (!(has & HAS_ORIG) || !tupleUsable(orig)) return BAD_TUPLE;
  const family: u32 = load<u8>(orig, TUPLE_L3);
  // The kernel takes one zone: of both directions, or of one.
  const zone: u32 = has & HAS_ZONE ? load<u16>(flow, FLOW_ZONE) : 0;
  const zoneOrig: u32 = zone == 0 && has & HAS_ZONE_ORIG ? load<u16>(flow, FLOW_ZONE_ORIG) : 0;
  let at = putTuple(out + HEADER, CTA_TUPLE_ORIG, orig, zoneOrig);
  if (kind == REQUEST_CREATE) {
    const zoneReply: u32 = zone == 0 && zoneOrig == 0 && has & HAS_ZONE_REPLY
      ? load<u16>(flow, FLOW_ZONE_REPLY)
      : 0;
    at = putInverse(at, CTA_TUPLE_REPLY, orig, zoneReply);
    if (at == 0) return BAD_TUPLE;
  }
  if (zone != 0) at = putPair(at, CTA_ZONE, bswap<u16>(<u16>zone));
  if (kind == REQUEST_CREATE || kind == REQUEST_UPDATE) {
    at = putReplicated(at, flow, has, kind, options);
  }
  if (kind == REQUEST_CREATE) {
    at = putNats(at, flow, has);
    if (has & HAS_MASTER) {
      const master = flow + FLOW_MASTER;
      if (!tupleUsable(master) || load<u8>(master, TUPLE_L3) != family) return BAD_TUPLE;
      at = putTuple(at, CTA_TUPLE_MASTER, master, 0);
    }
    if (has & HAS_HELPER && load<u8>(flow, FLOW_HELPER) != 0) {
      at = closeNest(at, CTA_HELP, putText(at + 4, 1, flow + FLOW_HELPER, 16));
    }
  }
  const type = kind == REQUEST_DELETE ? CT_DELETE : kind == REQUEST_GET ? CT_GET : CT_NEW;
  return putHeader(out, at, type, nlflags, seq, family);
}

/**
 * Derives the translation from both tuples: HAS_NAT_* and FLOW_NAT_* where the reply is not the
 * inverse of the original tuple and STATUS says that the kernel set up this kind of NAT; cleared
 * otherwise. Ports only for protocols that have them.
 */
export function natFromReply(flow: usize): void {
  const has = load<u32>(flow, FLOW_PRESENT) &
    ~(HAS_NAT_SRC | HAS_NAT_DST | HAS_NAT_SPORT | HAS_NAT_DPORT);
  const need: u32 = HAS_ORIG | HAS_REPLY | HAS_STATUS;
  let nat: u32 = 0;
  if ((has & need) == need) {
    const status = load<u32>(flow, FLOW_STATUS);
    if (status & IPS_SRC_NAT_DONE) {
      nat |= natOf(
        flow + (FLOW_ORIG + TUPLE_SRC), flow + (FLOW_REPLY + TUPLE_DST), flow + FLOW_NAT_SRC,
      ) ? HAS_NAT_SRC : 0;
    }
    if (status & IPS_DST_NAT_DONE) {
      nat |= natOf(
        flow + (FLOW_ORIG + TUPLE_DST), flow + (FLOW_REPLY + TUPLE_SRC), flow + FLOW_NAT_DST,
      ) ? HAS_NAT_DST : 0;
    }
    const ports = load<u8>(flow, FLOW_ORIG + TUPLE_KNOWN) &
      load<u8>(flow, FLOW_REPLY + TUPLE_KNOWN) & KNOWN_PORTS;
    if (ports && natsPorts(load<u8>(flow, FLOW_ORIG + TUPLE_L4))) {
      const sport = load<u16>(flow, FLOW_REPLY + TUPLE_DPORT);
      const dport = load<u16>(flow, FLOW_REPLY + TUPLE_SPORT);
      if (status & IPS_SRC_NAT_DONE && sport != load<u16>(flow, FLOW_ORIG + TUPLE_SPORT)) {
        store<u16>(flow + FLOW_NAT_SPORT, sport);
        nat |= HAS_NAT_SPORT;
      }
      if (status & IPS_DST_NAT_DONE && dport != load<u16>(flow, FLOW_ORIG + TUPLE_DPORT)) {
        store<u16>(flow + FLOW_NAT_DPORT, dport);
        nat |= HAS_NAT_DPORT;
      }
    }
  }
  store<u32>(flow + FLOW_PRESENT, has | nat);
}

/** Keeps the address at `after` as the new one if it differs from the one at `before`. */
function natOf(before: usize, after: usize, to: usize): bool {
  const address = v128.load(after);
  if (!v128.any_true(v128.xor(address, v128.load(before)))) return false;
  v128.store(to, address);
  return true;
}
