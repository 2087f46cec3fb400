// ctnetlink: a kernel message → a wide Flow (layout.ts).
//
// Reads what the kernel's connection tracking says over netlink: events, dump and GET entries. Pure
// functions over addresses: the caller owns every buffer, nothing is kept, nothing blocks, nothing
// is allocated. ctnetlink-request.ts is the way back.
//
// The reader trusts nothing. It follows the kernel's own rules (include/net/netlink.h): order is
// irrelevant, unknown types are skipped, the last of several attributes of one type wins, the two
// flag bits of a type are masked off, and a length below 4 or past the end of the nest ends that
// nest silently, keeping what was read before. It never looks behind msg + len.
//
// Nearly every event is TCP or UDP with both tuples first and in one shape, so the tuples, the
// three words behind them and the TCP state are matched as a template, at fixed offsets; the walk
// over attributes goes on where the template ends, or starts at the front when it does not match.
// decodeFlowGeneric is the walk alone: the two must always agree.
//
// Sources: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_conntrack.h.

import {
  AF_INET,
  AF_INET6,
  CTA_COUNTERS_ORIG,
  CTA_COUNTERS_REPLY,
  CTA_HELP,
  CTA_ID,
  CTA_LABELS,
  CTA_MARK,
  CTA_NAT_DST,
  CTA_NAT_SRC,
  CTA_PROTOINFO,
  CTA_PROTOINFO_DCCP,
  CTA_PROTOINFO_SCTP,
  CTA_PROTOINFO_TCP,
  CTA_SECCTX,
  CTA_SECMARK,
  CTA_SEQ_ADJ_ORIG,
  CTA_SEQ_ADJ_REPLY,
  CTA_STATUS,
  CTA_SYNPROXY,
  CTA_TIMEOUT,
  CTA_TIMESTAMP,
  CTA_TIMESTAMP_EVENT,
  CTA_TUPLE_MASTER,
  CTA_TUPLE_ORIG,
  CTA_TUPLE_REPLY,
  CTA_USE,
  CTA_ZONE,
  DCCP,
  HEADER,
  SCTP,
  SUBSYSTEM_CONNTRACK,
  TCP,
  TYPE_MASK,
  UDP,
  findMember,
  readText,
} from './ctnetlink-attribute';
import {
  NEST4,
  NEST6,
  PROTO4,
  PROTO6,
  clear16,
  isNest4,
  isNest6,
  readNest4,
  readNest6,
  readTuple,
  tupleUsable,
} from './ctnetlink-tuple';
import {
  BAD_LENGTH,
  BAD_TUPLE,
  BAD_TYPE,
  FLOW_DCCP_ROLE,
  FLOW_DCCP_SEQ,
  FLOW_HELPER,
  FLOW_ID,
  FLOW_LABELS,
  FLOW_MARK,
  FLOW_MASTER,
  FLOW_MESSAGE,
  FLOW_NAT_DPORT,
  FLOW_NAT_DST,
  FLOW_NAT_SPORT,
  FLOW_NAT_SRC,
  FLOW_ORIG,
  FLOW_PACKETS_ORIG,
  FLOW_PACKETS_REPLY,
  FLOW_PORTID,
  FLOW_PRESENT,
  FLOW_REPLY,
  FLOW_SECCTX,
  FLOW_SECCTX_MAX,
  FLOW_SECMARK,
  FLOW_SEQADJ,
  FLOW_STATE,
  FLOW_STATUS,
  FLOW_SYNPROXY,
  FLOW_TCP_FLAGS_ORIG,
  FLOW_TCP_FLAGS_REPLY,
  FLOW_TIMEOUT,
  FLOW_TIME_EVENT,
  FLOW_TIME_START,
  FLOW_USE,
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
  SAW_COUNTERS_ORIG,
  SAW_COUNTERS_REPLY,
  SAW_DCCP_SEQ,
  SAW_SECCTX,
  SAW_SECMARK,
  SAW_TIME_EVENT,
  SAW_TIME_START,
  SAW_TIME_STOP,
  SAW_USE,
  TUPLE_L4,
} from './layout';

export {
  encodeRequest,
  natFromReply,
  OPTION_WINDOW_TRACKING,
  REQUEST_CREATE,
  REQUEST_DELETE,
  REQUEST_GET,
  REQUEST_ROOM,
  REQUEST_UPDATE,
} from './ctnetlink-request';
export { tupleUsable } from './ctnetlink-tuple';

// ---------------------------------------------------------------------------------------------
// The template behind the tuples. (The tuples have theirs in ctnetlink-tuple.ts.)

// Behind the tuples an event has three words (24 bytes), a TCP event then its state (48 bytes):
//
//   0        4    8        12   16       20
//   ┌────────┬────┬────────┬────┬────────┬────────┐
//   │08 00 0c│ id │08 00 03│stat│08 00 07│timeout │
//   └────────┴────┴────────┴────┴────────┴────────┘
//   0        4        8        12  16       20  24       28  32       36  40       44
//   ┌────────┬────────┬────────┬───┬────────┬───┬────────┬───┬────────┬───┬────────┬───┐
//   │30 00 04│2c 00 01│05 00 01│ st│05 00 02│ ws│05 00 03│ ws│06 00 04│ fl│06 00 05│ fl│
//   └────────┴────────┴────────┴───┴────────┴───┴────────┴───┴────────┴───┴────────┴───┘
const WORDS_SIZE: u32 = 24;
const TCP_SIZE: u32 = 48;

/** Whether 24 bytes at `at` are the words of an event. */
// @ts-ignore: decorator
@inline
function isWords(at: usize): bool {
  return ((load<u32>(at) ^ 0x000c0008) | (load<u32>(at, 8) ^ 0x00030008) |
    (load<u32>(at, 16) ^ 0x00070008)) == 0;
}

/** Whether 48 bytes at `at` are the complete CTA_PROTOINFO of a TCP flow. */
// @ts-ignore: decorator
@inline
function isTcp(at: usize): bool {
  const words = (load<u32>(at, 8) ^ 0x00010005) | (load<u32>(at, 16) ^ 0x00020005) |
    (load<u32>(at, 24) ^ 0x00030005) | (load<u32>(at, 32) ^ 0x00040006) |
    (load<u32>(at, 40) ^ 0x00050006);
  return ((load<u64>(at) ^ 0x8001002c80040030) | <u64>words) == 0;
}

/** Reads what follows the tuples, as far as it has the template's shape; then the walk goes on. */
function readBehindTuples(
  at: usize, left: u32, family: u32, l4: u32, flow: usize,
): i32 {
  let seen: u64 = HAS_ORIG | HAS_REPLY;
  let info: usize = 0;
  if (left >= WORDS_SIZE && isWords(at)) {
    store<u32>(flow + FLOW_ID, bswap<u32>(load<u32>(at, 4)));
    store<u32>(flow + FLOW_STATUS, bswap<u32>(load<u32>(at, 12)));
    store<u32>(flow + FLOW_TIMEOUT, bswap<u32>(load<u32>(at, 20)));
    seen |= HAS_ID | HAS_STATUS | HAS_TIMEOUT;
    at += WORDS_SIZE;
    left -= WORDS_SIZE;
  }
  if (l4 == TCP && left >= TCP_SIZE && isTcp(at)) {
    store<u8>(flow + FLOW_STATE, load<u8>(at, 12));
    store<u8>(flow + FLOW_WSCALE_ORIG, load<u8>(at, 20));
    store<u8>(flow + FLOW_WSCALE_REPLY, load<u8>(at, 28));
    store<u16>(flow + FLOW_TCP_FLAGS_ORIG, load<u16>(at, 36));
    store<u16>(flow + FLOW_TCP_FLAGS_REPLY, load<u16>(at, 44));
    seen |= HAS_STATE | HAS_WSCALE | HAS_TCP_FLAGS;
    info = at;
    at += TCP_SIZE;
    left -= TCP_SIZE;
  }
  return readAttributes(at, left, family, flow, seen, info);
}

// ---------------------------------------------------------------------------------------------
// The walk over attributes

/** CTA_PROTOINFO_TCP: state, window scales, flags; the HAS_* bits of what was there. */
function readTcp(at: usize, left: u32, flow: usize): u32 {
  let seen: u32 = 0;
  while (left >= 4) {
    const head = load<u32>(at);
    const length = head & 0xffff;
    if (length < 4 || length > left) break;
    const type = (head >> 16) & TYPE_MASK;
    if (length >= 5 && type - 1 < 3) {
      store<u8>(flow + FLOW_STATE + (type - 1), load<u8>(at + 4)); // STATE, WSCALE_*
      seen |= 1 << type;
    } else if (length >= 6 && type - 4 < 2) {
      store<u16>(flow + FLOW_TCP_FLAGS_ORIG + ((type - 4) << 1), load<u16>(at + 4));
      seen |= 1 << type;
    }
    const step = (length + 3) & ~3;
    if (step >= left) break;
    at += step;
    left -= step;
  }
  let has: u32 = seen & 2 ? HAS_STATE : 0;
  if ((seen & 0xc) == 0xc) has |= HAS_WSCALE;
  if ((seen & 0x30) == 0x30) has |= HAS_TCP_FLAGS;
  return has;
}

/** CTA_PROTOINFO_SCTP: state and verification tags. */
function readSctp(at: usize, left: u32, flow: usize): u32 {
  const state = findMember(at, left, 1, 5);
  const orig = findMember(at, left, 2, 8);
  const reply = findMember(at, left, 3, 8);
  let has: u32 = 0;
  if (state != 0) {
    store<u8>(flow + FLOW_STATE, load<u8>(state + 4));
    has = HAS_STATE;
  }
  if (orig != 0 && reply != 0) {
    store<u32>(flow + FLOW_VTAG_ORIG, bswap<u32>(load<u32>(orig + 4)));
    store<u32>(flow + FLOW_VTAG_REPLY, bswap<u32>(load<u32>(reply + 4)));
    has |= HAS_VTAG;
  }
  return has;
}

/** CTA_PROTOINFO_DCCP: state, role, handshake sequence (a SAW_* bit, in the high half). */
function readDccp(at: usize, left: u32, flow: usize): u64 {
  const state = findMember(at, left, 1, 5);
  const role = findMember(at, left, 2, 5);
  const sequence = findMember(at, left, 3, 12);
  let has: u64 = 0;
  if (state != 0) {
    store<u8>(flow + FLOW_STATE, load<u8>(state + 4));
    has = HAS_STATE;
  }
  if (role != 0) {
    store<u8>(flow + FLOW_DCCP_ROLE, load<u8>(role + 4));
    has |= HAS_DCCP_ROLE;
  }
  if (sequence != 0) {
    store<u64>(flow + FLOW_DCCP_SEQ, bswap<u64>(load<u64>(sequence + 4)));
    has |= (SAW_DCCP_SEQ as u64) << 32;
  }
  return has;
}

/** CTA_PROTOINFO: only the nest of the flow's own protocol counts, as in the kernel. */
function readProtocolInfo(at: usize, left: u32, flow: usize): u64 {
  const l4: u32 = load<u8>(flow, FLOW_ORIG + TUPLE_L4);
  const wanted: u32 = l4 == TCP ? CTA_PROTOINFO_TCP
    : l4 == SCTP ? CTA_PROTOINFO_SCTP
    : l4 == DCCP ? CTA_PROTOINFO_DCCP
    : 0;
  if (wanted == 0) return 0;
  const nest = findMember(at, left, wanted, 4);
  if (nest == 0) return 0;
  const inside: u32 = <u32>load<u16>(nest) - 4;
  if (l4 == TCP) return readTcp(nest + 4, inside, flow);
  if (l4 == SCTP) return readSctp(nest + 4, inside, flow);
  return readDccp(nest + 4, inside, flow);
}

/** Three be32 members 1, 2, 3 of a nest to consecutive u32 at `to`; whether all were there. */
function readTriple(at: usize, left: u32, to: usize): bool {
  let seen: u32 = 0;
  while (left >= 4) {
    const head = load<u32>(at);
    const length = head & 0xffff;
    if (length < 4 || length > left) break;
    const member = ((head >> 16) & TYPE_MASK) - 1;
    if (member < 3 && length >= 8) {
      store<u32>(to + (member << 2), bswap<u32>(load<u32>(at + 4)));
      seen |= 1 << member;
    }
    const step = (length + 3) & ~3;
    if (step >= left) break;
    at += step;
    left -= step;
  }
  return seen == 7;
}

/** be64 members 1 and 2 of a nest to consecutive u64 at `to`; bits 0 and 1: what was there. */
function readLongs(at: usize, left: u32, to: usize): u32 {
  let seen: u32 = 0;
  while (left >= 4) {
    const head = load<u32>(at);
    const length = head & 0xffff;
    if (length < 4 || length > left) break;
    const member = ((head >> 16) & TYPE_MASK) - 1;
    if (member < 2 && length >= 12) {
      store<u64>(to + (member << 3), bswap<u64>(load<u64>(at + 4)));
      seen |= 1 << member;
    }
    const step = (length + 3) & ~3;
    if (step >= left) break;
    at += step;
    left -= step;
  }
  return seen;
}

/** Packets and bytes: be64 members 1 and 2, or the be32 members 3 and 4 of old kernels. */
function readCounters(at: usize, left: u32, packets: usize): bool {
  if (readLongs(at, left, packets) == 3) return true;
  const packet = findMember(at, left, 3, 8);
  const byte = findMember(at, left, 4, 8);
  if (packet == 0 || byte == 0) return false;
  store<u64>(packets, <u64>bswap<u32>(load<u32>(packet + 4)));
  store<u64>(packets + 8, <u64>bswap<u32>(load<u32>(byte + 4)));
  return true;
}

/** CTA_LABELS: whole words only, shorter bitmaps are the low words. */
function readLabels(at: usize, size: u32, flow: usize): bool {
  if (size & 3) return false;
  clear16(flow + FLOW_LABELS);
  memory.copy(flow + FLOW_LABELS, at, min<u32>(size, 16));
  return true;
}

/** CTA_NAT_SRC or _DST of a request: 1 if an address was read, 2 if a port was, or both. */
function readNat(at: usize, left: u32, family: u32, address: usize, port: usize): u32 {
  let read: u32 = 0;
  const v6 = family == AF_INET6;
  const minimum = v6 ? findMember(at, left, 4, 20) : findMember(at, left, 1, 8);
  if (minimum != 0) {
    v128.store(address, v6 ? v128.load(minimum + 4) : v128.load_zero<u32>(minimum + 4));
    read = 1;
  }
  const proto = findMember(at, left, 3, 4);
  const least = proto == 0 ? 0 : findMember(proto + 4, <u32>load<u16>(proto) - 4, 1, 6);
  if (least != 0) {
    store<u16>(port, load<u16>(least + 4));
    read |= 2;
  }
  return read;
}

/** The bit of an attribute if `on`, else cleared: of two attributes of one type, the last wins. */
// @ts-ignore: decorator
@inline
function setBit(seen: u64, bit: u64, on: bool): u64 {
  return on ? seen | bit : seen & ~bit;
}

/** A SAW_* bit in the word that the walk carries: FLOW_PRESENT low, FLOW_OBSERVED high. */
// @ts-ignore: decorator
@inline
function saw(bit: u32): u64 {
  return <u64>bit << 32;
}

/** The attributes that few messages have. Returns `seen` with their bits. */
function readRare(type: u32, at: usize, size: u32, family: u32, flow: usize, seen: u64): u64 {
  switch (type) {
    case CTA_HELP: {
      const length = readText(findMember(at, size, 1, 4), flow + FLOW_HELPER, 16);
      return setBit(seen, HAS_HELPER, length > 0 && length < 16);
    }
    case CTA_NAT_SRC: {
      const read = readNat(at, size, family, flow + FLOW_NAT_SRC, flow + FLOW_NAT_SPORT);
      return setBit(setBit(seen, HAS_NAT_SRC, (read & 1) != 0), HAS_NAT_SPORT, (read & 2) != 0);
    }
    case CTA_NAT_DST: {
      const read = readNat(at, size, family, flow + FLOW_NAT_DST, flow + FLOW_NAT_DPORT);
      return setBit(setBit(seen, HAS_NAT_DST, (read & 1) != 0), HAS_NAT_DPORT, (read & 2) != 0);
    }
    case CTA_COUNTERS_ORIG:
      return setBit(
        seen, saw(SAW_COUNTERS_ORIG), readCounters(at, size, flow + FLOW_PACKETS_ORIG),
      );
    case CTA_COUNTERS_REPLY:
      return setBit(
        seen, saw(SAW_COUNTERS_REPLY), readCounters(at, size, flow + FLOW_PACKETS_REPLY),
      );
    case CTA_TUPLE_MASTER:
      readTuple(at, size, family, flow + FLOW_MASTER);
      return setBit(seen, HAS_MASTER, tupleUsable(flow + FLOW_MASTER));
    case CTA_SEQ_ADJ_ORIG:
      return setBit(seen, HAS_SEQADJ_ORIG, readTriple(at, size, flow + FLOW_SEQADJ));
    case CTA_SEQ_ADJ_REPLY:
      return setBit(seen, HAS_SEQADJ_REPLY, readTriple(at, size, flow + FLOW_SEQADJ + 12));
    case CTA_SECMARK:
      if (size < 4) return seen;
      store<u32>(flow + FLOW_SECMARK, bswap<u32>(load<u32>(at)));
      return seen | saw(SAW_SECMARK);
    case CTA_SECCTX: {
      const length = readText(findMember(at, size, 1, 4), flow + FLOW_SECCTX, FLOW_SECCTX_MAX + 1);
      return setBit(seen, saw(SAW_SECCTX), length > 0);
    }
    case CTA_TIMESTAMP:
      seen &= ~saw(SAW_TIME_START | SAW_TIME_STOP);
      return seen | saw(readLongs(at, size, flow + FLOW_TIME_START) * SAW_TIME_START);
    case CTA_LABELS:
      return setBit(seen, HAS_LABELS, readLabels(at, size, flow));
    case CTA_SYNPROXY:
      return setBit(seen, HAS_SYNPROXY, readTriple(at, size, flow + FLOW_SYNPROXY));
    case CTA_TIMESTAMP_EVENT:
      if (size < 8) return seen;
      store<u64>(flow + FLOW_TIME_EVENT, bswap<u64>(load<u64>(at)));
      return seen | saw(SAW_TIME_EVENT);
  }
  return seen;
}

/**
 * The walk over the attributes in `left` bytes at `at`. `seen` holds what a template has read
 * before, `read` is the CTA_PROTOINFO that it has read, or 0. Writes FLOW_PRESENT and
 * FLOW_OBSERVED; 0 or BAD_TUPLE.
 */
function readAttributes(
  at: usize, left: u32, family: u32, flow: usize, seen: u64, read: usize,
): i32 {
  let info = read; // CTA_PROTOINFO waits for the protocol, which may come behind it
  while (left >= 4) {
    const head = load<u32>(at);
    const length = head & 0xffff;
    if (length < 4 || length > left) break;
    const type = (head >> 16) & TYPE_MASK;
    const body = at + 4;
    if (type == CTA_PROTOINFO) {
      info = at;
    } else if (length == 8) {
      const value = bswap<u32>(load<u32>(body));
      if (type == CTA_STATUS) {
        store<u32>(flow + FLOW_STATUS, value);
        seen |= HAS_STATUS;
      } else if (type == CTA_TIMEOUT) {
        store<u32>(flow + FLOW_TIMEOUT, value);
        seen |= HAS_TIMEOUT;
      } else if (type == CTA_ID) {
        store<u32>(flow + FLOW_ID, value);
        seen |= HAS_ID;
      } else if (type == CTA_MARK) {
        store<u32>(flow + FLOW_MARK, value);
        seen |= HAS_MARK;
      } else if (type == CTA_USE) {
        store<u32>(flow + FLOW_USE, value);
        seen |= saw(SAW_USE);
      } else {
        seen = readOther(type, body, 4, family, flow, seen);
      }
    } else {
      seen = readOther(type, body, length - 4, family, flow, seen);
    }
    const step = (length + 3) & ~3;
    if (step >= left) break;
    at += step;
    left -= step;
  }
  if (info != 0 && (info != read || load<u8>(flow, FLOW_ORIG + TUPLE_L4) != TCP)) {
    seen &= ~(<u64>(HAS_STATE | HAS_WSCALE | HAS_TCP_FLAGS));
    seen |= readProtocolInfo(info + 4, <u32>load<u16>(info) - 4, flow);
  }
  store<u64>(flow + FLOW_PRESENT, seen);
  return seen & HAS_ORIG ? 0 : BAD_TUPLE;
}

/** Attributes outside the everyday words: tuples, zone, words of an unusual size, rare ones. */
function readOther(type: u32, at: usize, size: u32, family: u32, flow: usize, seen: u64): u64 {
  if (type == CTA_TUPLE_ORIG) {
    const zone = readTuple(at, size, family, flow + FLOW_ORIG);
    store<u16>(flow + FLOW_ZONE_ORIG, zone);
    seen = setBit(seen, HAS_ZONE_ORIG, zone != 0);
    return setBit(seen, HAS_ORIG, tupleUsable(flow + FLOW_ORIG));
  }
  if (type == CTA_TUPLE_REPLY) {
    const zone = readTuple(at, size, family, flow + FLOW_REPLY);
    store<u16>(flow + FLOW_ZONE_REPLY, zone);
    seen = setBit(seen, HAS_ZONE_REPLY, zone != 0);
    return setBit(seen, HAS_REPLY, tupleUsable(flow + FLOW_REPLY));
  }
  if (type == CTA_ZONE) {
    if (size < 2) return seen;
    const zone = bswap<u16>(load<u16>(at));
    store<u16>(flow + FLOW_ZONE, zone);
    return setBit(seen, HAS_ZONE, zone != 0); // zone 0 is no zone
  }
  // The excess of an over-long word is ignored, except of CTA_STATUS: some architectures send its
  // number as padding in front of CTA_TIMESTAMP_EVENT.
  if (type == CTA_TIMEOUT || type == CTA_MARK || type == CTA_ID || type == CTA_USE) {
    if (size < 4) return seen;
    const value = bswap<u32>(load<u32>(at));
    if (type == CTA_TIMEOUT) {
      store<u32>(flow + FLOW_TIMEOUT, value);
      return seen | HAS_TIMEOUT;
    }
    if (type == CTA_MARK) {
      store<u32>(flow + FLOW_MARK, value);
      return seen | HAS_MARK;
    }
    if (type == CTA_ID) {
      store<u32>(flow + FLOW_ID, value);
      return seen | HAS_ID;
    }
    store<u32>(flow + FLOW_USE, value);
    return seen | saw(SAW_USE);
  }
  return readRare(type, at, size, family, flow, seen);
}

/** The length of the message's own header if it is sound, else BAD_LENGTH or BAD_TYPE. */
// @ts-ignore: decorator
@inline
function checkMessage(msg: usize, len: u32): i32 {
  if (len < HEADER) return BAD_LENGTH;
  const length = load<u32>(msg);
  if (length < HEADER || length > len || length > 0x7fffffff) return BAD_LENGTH;
  if (load<u8>(msg, 5) != SUBSYSTEM_CONNTRACK) return BAD_TYPE;
  return length;
}

/** FLOW_PORTID, FLOW_MESSAGE and FLOW_MESSAGE_FLAGS from the header. */
// @ts-ignore: decorator
@inline
function readHeader(msg: usize, flow: usize): void {
  store<u32>(flow + FLOW_PORTID, load<u32>(msg, 12));
  store<u32>(flow + FLOW_MESSAGE, load<u32>(msg, 4));
}

/**
 * Reads the netlink message at `msg` (nlmsghdr first, at most `len` bytes) into the Flow at `flow`.
 * FLOW_PRESENT and FLOW_OBSERVED are set anew; other fields of absent attributes keep what they
 * held, but a tuple, helper, label or security context that is present is written completely.
 * Returns 0, BAD_LENGTH (shorter than 20 bytes, or nlmsg_len past `len`), BAD_TYPE (another
 * subsystem) or BAD_TUPLE (no original tuple that names a flow).
 */
export function decodeFlow(msg: usize, len: u32, flow: usize): i32 {
  const length: u32 = checkMessage(msg, len);
  if (<i32>length < 0) return length;
  readHeader(msg, flow);
  const family: u32 = load<u8>(msg, 16);
  const body = msg + HEADER;
  if (family == AF_INET && length >= HEADER + 2 * NEST4) {
    const l4: u32 = load<u8>(body, PROTO4 + 8);
    if (
      isNest4(body, CTA_TUPLE_ORIG) && isNest4(body + NEST4, CTA_TUPLE_REPLY) &&
      (l4 == TCP || l4 == UDP) && load<u8>(body, NEST4 + PROTO4 + 8) == l4
    ) {
      readNest4(body, l4, flow + FLOW_ORIG);
      readNest4(body + NEST4, l4, flow + FLOW_REPLY);
      return readBehindTuples(body + 2 * NEST4, length - (HEADER + 2 * NEST4), family, l4, flow);
    }
  } else if (family == AF_INET6 && length >= HEADER + 2 * NEST6) {
    const l4: u32 = load<u8>(body, PROTO6 + 8);
    if (
      isNest6(body, CTA_TUPLE_ORIG) && isNest6(body + NEST6, CTA_TUPLE_REPLY) &&
      (l4 == TCP || l4 == UDP) && load<u8>(body, NEST6 + PROTO6 + 8) == l4
    ) {
      readNest6(body, l4, flow + FLOW_ORIG);
      readNest6(body + NEST6, l4, flow + FLOW_REPLY);
      return readBehindTuples(body + 2 * NEST6, length - (HEADER + 2 * NEST6), family, l4, flow);
    }
  }
  return readAttributes(body, length - HEADER, family, flow, 0, 0);
}

/** decodeFlow by the attribute walk alone: what the template path must equal. */
export function decodeFlowGeneric(msg: usize, len: u32, flow: usize): i32 {
  const length: u32 = checkMessage(msg, len);
  if (<i32>length < 0) return length;
  readHeader(msg, flow);
  return readAttributes(msg + HEADER, length - HEADER, load<u8>(msg, 16), flow, 0, 0);
}

/**
 * Reads only the original tuple, for routing. Returns the zone that the tuple is looked up in
 * (CTA_ZONE, or the original direction's own, or 0), or a negative reason.
 */
export function peekTuple(msg: usize, len: u32, tuple: usize): i32 {
  const length: u32 = checkMessage(msg, len);
  if (<i32>length < 0) return length;
  const family: u32 = load<u8>(msg, 16);
  let at: usize = msg + HEADER;
  let left: u32 = length - HEADER;
  let usable = false;
  let zone: u32 = 0;
  let tupleZone: u32 = 0;
  if (family == AF_INET && left >= NEST4 && isNest4(at, CTA_TUPLE_ORIG)) {
    const l4: u32 = load<u8>(at, PROTO4 + 8);
    if (l4 == TCP || l4 == UDP) {
      readNest4(at, l4, tuple);
      usable = true;
      at += NEST4;
      left -= NEST4;
    }
  }
  while (left >= 4) {
    const head = load<u32>(at);
    const size = head & 0xffff;
    if (size < 4 || size > left) break;
    const type = (head >> 16) & TYPE_MASK;
    if (type == CTA_TUPLE_ORIG) {
      tupleZone = readTuple(at + 4, size - 4, family, tuple);
      usable = tupleUsable(tuple);
    } else if (type == CTA_ZONE && size >= 6) {
      zone = bswap<u16>(load<u16>(at + 4));
    }
    const step = (size + 3) & ~3;
    if (step >= left) break;
    at += step;
    left -= step;
  }
  if (!usable) return BAD_TUPLE;
  return zone != 0 ? zone : tupleZone;
}
