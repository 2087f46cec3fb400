// A wide Flow as one line of text, byte for byte what src/report/flow.ts makes of it: for lists of
// millions of flows, where making JavaScript strings would cost more than everything else. Holds the
// fields that most lists and events have; rarer ones (labels, calendar times) are left to that file.
//
// Pure function over addresses: the caller owns the flow, the words (text-layout.ts) and the
// output; nothing is kept, nothing blocks. Never writes more than LINE_MAX bytes.
//
// IPv6 addresses follow RFC 5952, with the dotted form of inet_ntop(3): see src/report/address.ts.

import {
  AF_INET6,
  DCCP,
  GRE,
  ICMP,
  ICMPV6,
  SCTP,
  TCP,
  UDP,
  UDPLITE,
} from './ctnetlink-attribute';
import {
  BAD_ROOM,
  FLOW_BYTES_ORIG,
  FLOW_BYTES_REPLY,
  FLOW_HELPER,
  FLOW_ID,
  FLOW_MARK,
  FLOW_MESSAGE,
  FLOW_MESSAGE_FLAGS,
  FLOW_OBSERVED,
  FLOW_ORIG,
  FLOW_PACKETS_ORIG,
  FLOW_PACKETS_REPLY,
  FLOW_PRESENT,
  FLOW_REPLY,
  FLOW_SECCTX,
  FLOW_SECCTX_MAX,
  FLOW_SECMARK,
  FLOW_STATE,
  FLOW_STATUS,
  FLOW_TIME_START,
  FLOW_TIME_STOP,
  FLOW_TIMEOUT,
  FLOW_USE,
  FLOW_ZONE,
  FLOW_ZONE_ORIG,
  FLOW_ZONE_REPLY,
  HAS_HELPER,
  HAS_ID,
  HAS_MARK,
  HAS_REPLY,
  HAS_STATE,
  HAS_STATUS,
  HAS_TIMEOUT,
  HAS_ZONE,
  HAS_ZONE_ORIG,
  HAS_ZONE_REPLY,
  SAW_COUNTERS_ORIG,
  SAW_COUNTERS_REPLY,
  SAW_SECCTX,
  SAW_SECMARK,
  SAW_TIME_START,
  SAW_TIME_STOP,
  SAW_USE,
  TUPLE_DPORT,
  TUPLE_DST,
  TUPLE_ICMP_CODE,
  TUPLE_ICMP_TYPE,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SPORT,
  TUPLE_SRC,
} from './layout';
import {
  LINE_EVENT,
  LINE_FAMILY,
  LINE_ID,
  LINE_MAX,
  SLOT,
  SLOT_LENGTH,
  WORD_ASSURED,
  WORD_BYTES,
  WORD_CODE,
  WORD_DCCP_STATE,
  WORD_DELTA,
  WORD_DESTROY,
  WORD_DPORT,
  WORD_DST,
  WORD_DSTKEY,
  WORD_FAMILY,
  WORD_HELPER,
  WORD_HW_OFFLOAD,
  WORD_ICMP_ID,
  WORD_ID,
  WORD_MARK,
  WORD_NEW,
  WORD_OFFLOAD,
  WORD_PACKETS,
  WORD_PROTOCOL,
  WORD_SCTP_STATE,
  WORD_SECCTX,
  WORD_SECMARK,
  WORD_SPORT,
  WORD_SRC,
  WORD_SRCKEY,
  WORD_TCP_STATE,
  WORD_TYPE,
  WORD_UNREPLIED,
  WORD_UPDATE,
  WORD_USE,
  WORD_ZONE,
  WORD_ZONE_ORIG,
  WORD_ZONE_REPLY,
} from './text-layout';

// linux/netfilter/nf_conntrack_common.h
const IPS_SEEN_REPLY: u32 = 0x2;
const IPS_ASSURED: u32 = 0x4;
const IPS_OFFLOAD: u32 = 0x4000;
const IPS_HW_OFFLOAD: u32 = 0x8000;

const MESSAGE_DELETE: u32 = 2; // IPCTNL_MSG_CT_DELETE
const CREATED: u32 = 0x600; // NLM_F_CREATE | NLM_F_EXCL
const SECOND: u64 = 1000000000;

const ZERO: u8 = 0x30;
const LETTER: u8 = 0x57; // 'a' - 10
const DOT: u8 = 0x2e;
const COLON: u8 = 0x3a;

/** Copies a word; the copy may run over its end, what follows overwrites that. */
// @ts-ignore: decorator
@inline
export function word(at: usize, words: usize, index: u32): usize {
  const slot = words + <usize>index * SLOT;
  v128.store(at, v128.load(slot));
  v128.store(at, v128.load(slot, 16), 16);
  return at + load<u8>(slot, SLOT_LENGTH);
}

export function decimal(at: usize, value: u32): usize {
  let digits: u32 = 1;
  for (let rest = value; rest >= 10; rest /= 10) digits++;
  const end = at + digits;
  let place = end;
  do {
    const rest = value / 10;
    store<u8>(--place, ZERO + <u8>(value - rest * 10));
    value = rest;
  } while (value != 0);
  return end;
}

function decimal64(at: usize, value: u64): usize {
  if (value <= 0xffffffff) return decimal(at, <u32>value);
  let digits: u32 = 1;
  for (let rest = value; rest >= 10; rest /= 10) digits++;
  const end = at + digits;
  let place = end;
  do {
    const rest = value / 10;
    store<u8>(--place, ZERO + <u8>(value - rest * 10));
    value = rest;
  } while (value != 0);
  return end;
}

/** Hexadecimal, lower case, without leading zeros. */
function hexadecimal(at: usize, value: u32): usize {
  let shift: i32 = 12;
  while (shift > 0 && value >> shift == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) {
    const digit = <u8>((value >> shift) & 15);
    store<u8>(at++, digit < 10 ? ZERO + digit : LETTER + digit);
  }
  return at;
}

/** A byte in decimal. */
// @ts-ignore: decorator
@inline
export function small(at: usize, value: u32): usize {
  if (value >= 100) {
    const hundreds = value / 100;
    store<u8>(at++, ZERO + <u8>hundreds);
    value -= hundreds * 100;
    const tens = value / 10;
    store<u8>(at++, ZERO + <u8>tens);
    value -= tens * 10;
  } else if (value >= 10) {
    const tens = value / 10;
    store<u8>(at++, ZERO + <u8>tens);
    value -= tens * 10;
  }
  store<u8>(at, ZERO + <u8>value);
  return at + 1;
}

function ipv4(at: usize, address: usize): usize {
  at = small(at, load<u8>(address));
  store<u8>(at, DOT);
  at = small(at + 1, load<u8>(address, 1));
  store<u8>(at, DOT);
  at = small(at + 1, load<u8>(address, 2));
  store<u8>(at, DOT);
  return small(at + 1, load<u8>(address, 3));
}

// @ts-ignore: decorator
@inline
function group(address: usize, index: i32): u32 {
  return bswap<u16>(load<u16>(address + (<usize>index << 1)));
}

/** Groups `from` to `to` with colons between them. */
function groups(at: usize, address: usize, from: i32, to: i32): usize {
  for (let i = from; i < to; i++) {
    if (i > from) store<u8>(at++, COLON);
    at = hexadecimal(at, group(address, i));
  }
  return at;
}

function ipv6(at: usize, address: usize): usize {
  let start: i32 = -1; // the longest run of zero groups
  let length: i32 = 1; // a run must be longer than this
  for (let i: i32 = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && group(address, end) == 0) end++;
    if (end - i > length) {
      start = i;
      length = end - i;
    }
    if (end > i) i = end;
  }
  if (start < 0) return groups(at, address, 0, 8);
  if (start == 0 && (length == 6 || (length == 5 && group(address, 5) == 0xffff))) {
    store<u16>(at, 0x3a3a);
    at += 2;
    if (length == 5) {
      store<u32>(at, 0x66666666);
      store<u8>(at, COLON, 4);
      at += 5;
    }
    return ipv4(at, address + 12);
  }
  at = groups(at, address, 0, start);
  store<u16>(at, 0x3a3a);
  return groups(at + 2, address, start + length, 8);
}

// @ts-ignore: decorator
@inline
export function address(at: usize, tuple: usize, offset: usize): usize {
  if (<u32>load<u8>(tuple, TUPLE_L3) == AF_INET6) return ipv6(at, tuple + offset);
  return ipv4(at, tuple + offset);
}

// @ts-ignore: decorator
@inline
export function raw16(at: usize): u32 {
  return bswap<u16>(load<u16>(at));
}

/** Addresses and ports (or keys, or type, code and id); begins with a blank. */
function tuple(at: usize, flow: usize, words: usize): usize {
  at = address(word(at, words, WORD_SRC), flow, TUPLE_SRC);
  at = address(word(at, words, WORD_DST), flow, TUPLE_DST);
  switch (<u32>load<u8>(flow, TUPLE_L4)) {
    case TCP:
    case UDP:
    case UDPLITE:
    case SCTP:
    case DCCP:
      at = decimal(word(at, words, WORD_SPORT), raw16(flow + TUPLE_SPORT));
      return decimal(word(at, words, WORD_DPORT), raw16(flow + TUPLE_DPORT));
    case GRE:
      at = hexadecimal(word(at, words, WORD_SRCKEY), raw16(flow + TUPLE_SPORT));
      return hexadecimal(word(at, words, WORD_DSTKEY), raw16(flow + TUPLE_DPORT));
    case ICMP:
    case ICMPV6:
      at = small(word(at, words, WORD_TYPE), load<u8>(flow, TUPLE_ICMP_TYPE));
      at = small(word(at, words, WORD_CODE), load<u8>(flow, TUPLE_ICMP_CODE));
      return decimal(word(at, words, WORD_ICMP_ID), raw16(flow + TUPLE_SPORT));
  }
  return at;
}

// @ts-ignore: decorator
@inline
function counters(at: usize, words: usize, packets: u64, bytes: u64): usize {
  at = decimal64(word(at, words, WORD_PACKETS), packets);
  return decimal64(word(at, words, WORD_BYTES), bytes);
}

/** The characters up to a NUL, at most `max`. */
function text(at: usize, from: usize, max: u32): usize {
  for (let i: u32 = 0; i < max; i++) {
    const character = load<u8>(from + i);
    if (character == 0) break;
    store<u8>(at++, character);
  }
  return at;
}

/** Tag, protocols, timeout and state. */
// @ts-ignore: decorator
@inline
function head(at: usize, flow: usize, words: usize, options: u32, has: u32): usize {
  if (options & LINE_EVENT) {
    const deleted = (<u32>load<u16>(flow, FLOW_MESSAGE) & 0xff) == MESSAGE_DELETE;
    const made = (<u32>load<u16>(flow, FLOW_MESSAGE_FLAGS) & CREATED) != 0;
    at = word(at, words, deleted ? WORD_DESTROY : made ? WORD_NEW : WORD_UPDATE);
  }
  if (options & LINE_FAMILY) {
    at = word(at, words, WORD_FAMILY + (<u32>load<u8>(flow, FLOW_ORIG + TUPLE_L3) & 15));
  }
  const l4: u32 = load<u8>(flow, FLOW_ORIG + TUPLE_L4);
  at = word(at, words, WORD_PROTOCOL + l4);
  if (has & HAS_TIMEOUT) {
    store<u8>(at, 0x20);
    at = decimal(at + 1, load<u32>(flow, FLOW_TIMEOUT));
  }
  if (has & HAS_STATE) {
    const state = min<u32>(load<u8>(flow, FLOW_STATE), 15);
    if (l4 == TCP) at = word(at, words, WORD_TCP_STATE + state);
    else if (l4 == SCTP) at = word(at, words, WORD_SCTP_STATE + state);
    else if (l4 == DCCP) at = word(at, words, WORD_DCCP_STATE + state);
  }
  return at;
}

/** Both directions. */
// @ts-ignore: decorator
@inline
function directions(at: usize, flow: usize, words: usize, has: u32, saw: u32): usize {
  at = tuple(at, flow + FLOW_ORIG, words);
  if (has & HAS_ZONE_ORIG) {
    at = decimal(word(at, words, WORD_ZONE_ORIG), load<u16>(flow, FLOW_ZONE_ORIG));
  }
  if (saw & SAW_COUNTERS_ORIG) {
    at = counters(at, words, load<u64>(flow, FLOW_PACKETS_ORIG), load<u64>(flow, FLOW_BYTES_ORIG));
  }
  if (has & HAS_STATUS && !(load<u32>(flow, FLOW_STATUS) & IPS_SEEN_REPLY)) {
    at = word(at, words, WORD_UNREPLIED);
  }
  if (has & HAS_REPLY) at = tuple(at, flow + FLOW_REPLY, words);
  if (has & HAS_ZONE_REPLY) {
    at = decimal(word(at, words, WORD_ZONE_REPLY), load<u16>(flow, FLOW_ZONE_REPLY));
  }
  if ((saw & (SAW_COUNTERS_ORIG | SAW_COUNTERS_REPLY)) == (SAW_COUNTERS_ORIG | SAW_COUNTERS_REPLY)) {
    at = counters(
      at, words, load<u64>(flow, FLOW_PACKETS_REPLY), load<u64>(flow, FLOW_BYTES_REPLY),
    );
  }
  return at;
}

/** Seconds from start to stop or now, both cut to seconds first; may be negative. */
// @ts-ignore: decorator
@inline
function age(at: usize, flow: usize, words: usize, saw: u32, now: u32): usize {
  at = word(at, words, WORD_DELTA);
  const end: u64 = saw & SAW_TIME_STOP ? load<u64>(flow, FLOW_TIME_STOP) / SECOND : now;
  const start: u64 = load<u64>(flow, FLOW_TIME_START) / SECOND;
  if (end >= start) return decimal64(at, end - start);
  store<u8>(at, 0x2d);
  return decimal64(at + 1, start - end);
}

/** What follows the directions. */
// @ts-ignore: decorator
@inline
function attributes(
  at: usize, flow: usize, words: usize, options: u32, now: u32, has: u32, saw: u32,
): usize {
  if (has & HAS_STATUS) {
    const status = load<u32>(flow, FLOW_STATUS);
    if (status & IPS_HW_OFFLOAD) at = word(at, words, WORD_HW_OFFLOAD);
    else if (status & IPS_OFFLOAD) at = word(at, words, WORD_OFFLOAD);
    else if (status & IPS_ASSURED) at = word(at, words, WORD_ASSURED);
  }
  if (has & HAS_MARK) at = decimal(word(at, words, WORD_MARK), load<u32>(flow, FLOW_MARK));
  if (saw & SAW_SECMARK) at = decimal(word(at, words, WORD_SECMARK), load<u32>(flow, FLOW_SECMARK));
  if (saw & SAW_SECCTX) at = text(word(at, words, WORD_SECCTX), flow + FLOW_SECCTX, FLOW_SECCTX_MAX);
  if (has & HAS_ZONE) at = decimal(word(at, words, WORD_ZONE), load<u16>(flow, FLOW_ZONE));
  if (saw & SAW_TIME_START) at = age(at, flow, words, saw, now);
  if (has & HAS_HELPER) at = text(word(at, words, WORD_HELPER), flow + FLOW_HELPER, 16);
  if (saw & SAW_USE) at = decimal(word(at, words, WORD_USE), load<u32>(flow, FLOW_USE));
  if (options & LINE_ID && has & HAS_ID) {
    at = decimal(word(at, words, WORD_ID), load<u32>(flow, FLOW_ID));
  }
  return at;
}

/**
 * Writes the line of the Flow at `flow` to `out`, without a newline. `words` is a table as drawn in
 * text-layout.ts, `options` LINE_* bits, `now` seconds since the epoch for the age of living flows.
 * Returns its length, or BAD_ROOM when `room` is below LINE_MAX.
 */
export function flowLine(
  flow: usize, out: usize, room: u32, words: usize, options: u32, now: u32,
): i32 {
  if (room < <u32>LINE_MAX) return BAD_ROOM;
  const has = load<u32>(flow, FLOW_PRESENT);
  const saw = load<u32>(flow, FLOW_OBSERVED);
  let at = head(out, flow, words, options, has);
  at = directions(at, flow, words, has, saw);
  at = attributes(at, flow, words, options, now, has, saw);
  return <i32>(at - out);
}
