// A wide Flow as the arguments of the command that makes it again (`conntrack -o save`), byte for byte what
// src/report/save.ts makes of it: for lists of millions of flows, as text.ts is. Marks and labels
// (`-o whole`) are left to that file.
//
// Pure function over addresses: the caller owns the flow, the words (text-layout.ts) and the output.

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
  FLOW_DCCP_ROLE,
  FLOW_ORIG,
  FLOW_OBSERVED,
  FLOW_PRESENT,
  FLOW_REPLY,
  FLOW_SECMARK,
  FLOW_STATE,
  FLOW_STATUS,
  FLOW_TIMEOUT,
  FLOW_VTAG_ORIG,
  FLOW_VTAG_REPLY,
  FLOW_ZONE,
  FLOW_ZONE_ORIG,
  FLOW_ZONE_REPLY,
  HAS_DCCP_ROLE,
  HAS_REPLY,
  HAS_STATE,
  HAS_STATUS,
  HAS_TIMEOUT,
  HAS_VTAG,
  HAS_ZONE,
  HAS_ZONE_ORIG,
  HAS_ZONE_REPLY,
  SAW_SECMARK,
  TUPLE_DPORT,
  TUPLE_DST,
  TUPLE_ICMP_CODE,
  TUPLE_ICMP_TYPE,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SPORT,
  TUPLE_SRC,
} from './layout';
import { address, decimal, raw16, small, word } from './text';
import {
  LINE_MAX,
  SLOT,
  WORD_DCCP_STATE,
  WORD_PROTOCOL,
  WORD_SAVE_ASSURED,
  WORD_SAVE_CLIENT,
  WORD_SAVE_DPORT,
  WORD_SAVE_DST,
  WORD_SAVE_DST_NAT,
  WORD_SAVE_DSTKEY,
  WORD_SAVE_EXPECTED,
  WORD_SAVE_FIXED_TIMEOUT,
  WORD_SAVE_ICMP_CODE,
  WORD_SAVE_ICMP_ID,
  WORD_SAVE_ICMP_TYPE,
  WORD_SAVE_ICMPV6_CODE,
  WORD_SAVE_ICMPV6_ID,
  WORD_SAVE_ICMPV6_TYPE,
  WORD_SAVE_PROTOCOL,
  WORD_SAVE_REPLY_DPORT,
  WORD_SAVE_REPLY_DST,
  WORD_SAVE_REPLY_DSTKEY,
  WORD_SAVE_REPLY_SPORT,
  WORD_SAVE_REPLY_SRC,
  WORD_SAVE_REPLY_SRCKEY,
  WORD_SAVE_SECMARK,
  WORD_SAVE_SEEN_REPLY,
  WORD_SAVE_SERVER,
  WORD_SAVE_SPORT,
  WORD_SAVE_SRC,
  WORD_SAVE_SRC_NAT,
  WORD_SAVE_SRCKEY,
  WORD_SAVE_STATE,
  WORD_SAVE_STATUS,
  WORD_SAVE_TIMEOUT,
  WORD_SAVE_UNSET,
  WORD_SAVE_VTAG_ORIG,
  WORD_SAVE_VTAG_REPLY,
  WORD_SAVE_ZONE,
  WORD_SAVE_ZONE_ORIG,
  WORD_SAVE_ZONE_REPLY,
  WORD_SCTP_STATE,
  WORD_TCP_STATE,
} from './text-layout';

// linux/netfilter/nf_conntrack_common.h
const IPS_EXPECTED: u32 = 0x1;
const IPS_SEEN_REPLY: u32 = 0x2;
const IPS_ASSURED: u32 = 0x4;
const IPS_SRC_NAT_DONE: u32 = 0x80;
const IPS_DST_NAT_DONE: u32 = 0x100;
const IPS_FIXED_TIMEOUT: u32 = 0x400;
/** The bits that a line can name. */
const NAMED: u32 = IPS_EXPECTED | IPS_SEEN_REPLY | IPS_ASSURED | IPS_FIXED_TIMEOUT;

const BLANK: u8 = 0x20;

/** The names of status bits; each word ends with the comma to the next. */
function statusNames(at: usize, words: usize, status: u32): usize {
  at = word(at, words, WORD_SAVE_STATUS);
  if (!(status & NAMED)) return word(at, words, WORD_SAVE_UNSET);
  if (status & IPS_EXPECTED) at = word(at, words, WORD_SAVE_EXPECTED);
  if (status & IPS_SEEN_REPLY) at = word(at, words, WORD_SAVE_SEEN_REPLY);
  if (status & IPS_ASSURED) at = word(at, words, WORD_SAVE_ASSURED);
  if (status & IPS_FIXED_TIMEOUT) at = word(at, words, WORD_SAVE_FIXED_TIMEOUT);
  return at - 1;
}

/** What stands before the addresses. */
// @ts-ignore: decorator
@inline
function head(at: usize, flow: usize, words: usize, has: u32): usize {
  if (has & HAS_TIMEOUT) {
    at = decimal(word(at, words, WORD_SAVE_TIMEOUT), load<u32>(flow, FLOW_TIMEOUT));
  }
  if (has & HAS_STATUS) at = statusNames(at, words, load<u32>(flow, FLOW_STATUS));
  if (load<u32>(flow, FLOW_OBSERVED) & SAW_SECMARK) {
    at = decimal(word(at, words, WORD_SAVE_SECMARK), load<u32>(flow, FLOW_SECMARK));
  }
  if (has & HAS_ZONE) at = decimal(word(at, words, WORD_SAVE_ZONE), load<u16>(flow, FLOW_ZONE));
  if (has & HAS_ZONE_ORIG) {
    at = decimal(word(at, words, WORD_SAVE_ZONE_ORIG), load<u16>(flow, FLOW_ZONE_ORIG));
  }
  if (has & HAS_ZONE_REPLY) {
    at = decimal(word(at, words, WORD_SAVE_ZONE_REPLY), load<u16>(flow, FLOW_ZONE_REPLY));
  }
  return at;
}

/** Whether two addresses of a flow differ. */
// @ts-ignore: decorator
@inline
function differ(flow: usize, one: usize, other: usize): bool {
  if (<u32>load<u8>(flow, FLOW_ORIG + TUPLE_L3) != AF_INET6) {
    return load<u32>(flow + one) != load<u32>(flow + other);
  }
  return v128.any_true(v128.xor(v128.load(flow + one), v128.load(flow + other)));
}

/** Addresses; a translated address of the reply is named as the translation. */
// @ts-ignore: decorator
@inline
function addresses(at: usize, flow: usize, words: usize, has: u32): usize {
  at = address(word(at, words, WORD_SAVE_SRC), flow + FLOW_ORIG, TUPLE_SRC);
  at = address(word(at, words, WORD_SAVE_DST), flow + FLOW_ORIG, TUPLE_DST);
  if (!(has & HAS_REPLY)) return at;
  const status = has & HAS_STATUS ? load<u32>(flow, FLOW_STATUS) : 0;
  const target =
    status & IPS_DST_NAT_DONE && differ(flow, FLOW_REPLY + TUPLE_SRC, FLOW_ORIG + TUPLE_DST);
  const source =
    status & IPS_SRC_NAT_DONE && differ(flow, FLOW_REPLY + TUPLE_DST, FLOW_ORIG + TUPLE_SRC);
  at = word(at, words, target ? WORD_SAVE_DST_NAT : WORD_SAVE_REPLY_SRC);
  at = address(at, flow + FLOW_REPLY, TUPLE_SRC);
  at = word(at, words, source ? WORD_SAVE_SRC_NAT : WORD_SAVE_REPLY_DST);
  return address(at, flow + FLOW_REPLY, TUPLE_DST);
}

/** Two ports or keys of the tuple at `tuple`, behind the words `first` and `second`. */
// @ts-ignore: decorator
@inline
function ports(at: usize, tuple: usize, words: usize, first: u32, second: u32): usize {
  at = decimal(word(at, words, first), raw16(tuple + TUPLE_SPORT));
  return decimal(word(at, words, second), raw16(tuple + TUPLE_DPORT));
}

/** Type, code and id; `first` is the word of the first of them. */
// @ts-ignore: decorator
@inline
function icmp(at: usize, tuple: usize, words: usize, type: u32, code: u32, id: u32): usize {
  at = small(word(at, words, type), load<u8>(tuple, TUPLE_ICMP_TYPE));
  at = small(word(at, words, code), load<u8>(tuple, TUPLE_ICMP_CODE));
  return decimal(word(at, words, id), raw16(tuple + TUPLE_SPORT));
}

/** The protocol by its name, which the word of a line begins with. */
// @ts-ignore: decorator
@inline
function protocolName(at: usize, words: usize, protocol: u32): usize {
  const slot = words + <usize>(WORD_PROTOCOL + protocol) * SLOT;
  for (let i: usize = 0; load<u8>(slot + i) != BLANK; i++) store<u8>(at++, load<u8>(slot + i));
  return at;
}

/** Whether the kernel that has this DCCP flow does not track DCCP: see src/report/save.ts. */
// @ts-ignore: decorator
@inline
function untracked(orig: usize, has: u32): bool {
  return !(has & HAS_STATE) && !(load<u16>(orig, TUPLE_SPORT) | load<u16>(orig, TUPLE_DPORT));
}

/** The protocol and what it has instead of, or beside, ports. */
function protocolWords(at: usize, flow: usize, words: usize, has: u32): usize {
  const orig = flow + FLOW_ORIG;
  const reply = flow + FLOW_REPLY;
  const protocol: u32 = load<u8>(orig, TUPLE_L4);
  at = word(at, words, WORD_SAVE_PROTOCOL);
  switch (protocol) {
    case TCP:
    case UDP:
    case UDPLITE:
    case SCTP:
    case DCCP:
      at = protocolName(at, words, protocol);
      if (protocol == DCCP && untracked(orig, has)) return at;
      at = ports(at, orig, words, WORD_SAVE_SPORT, WORD_SAVE_DPORT);
      if (!(has & HAS_REPLY)) return at;
      return ports(at, reply, words, WORD_SAVE_REPLY_SPORT, WORD_SAVE_REPLY_DPORT);
    case GRE:
      at = protocolName(at, words, protocol);
      at = ports(at, orig, words, WORD_SAVE_SRCKEY, WORD_SAVE_DSTKEY);
      if (!(has & HAS_REPLY)) return at;
      return ports(at, reply, words, WORD_SAVE_REPLY_SRCKEY, WORD_SAVE_REPLY_DSTKEY);
    case ICMP:
      at = protocolName(at, words, protocol);
      return icmp(at, orig, words, WORD_SAVE_ICMP_TYPE, WORD_SAVE_ICMP_CODE, WORD_SAVE_ICMP_ID);
    case ICMPV6:
      at = protocolName(at, words, protocol);
      return icmp(
        at, orig, words, WORD_SAVE_ICMPV6_TYPE, WORD_SAVE_ICMPV6_CODE, WORD_SAVE_ICMPV6_ID,
      );
  }
  return decimal(at, protocol);
}

/** State, verification tags, role. */
// @ts-ignore: decorator
@inline
function tail(at: usize, flow: usize, words: usize, has: u32): usize {
  if (has & HAS_STATE) {
    const protocol: u32 = load<u8>(flow, FLOW_ORIG + TUPLE_L4);
    const state = min<u32>(load<u8>(flow, FLOW_STATE), 15);
    let names: u32 = 0;
    if (protocol == TCP) names = WORD_TCP_STATE;
    else if (protocol == SCTP) names = WORD_SCTP_STATE;
    else if (protocol == DCCP) names = WORD_DCCP_STATE;
    if (names != 0) at = word(word(at, words, WORD_SAVE_STATE), words, names + state);
  }
  if (has & HAS_VTAG) {
    const orig = bswap<u32>(load<u32>(flow, FLOW_VTAG_ORIG)); // as src/report/reader.ts
    const reply = bswap<u32>(load<u32>(flow, FLOW_VTAG_REPLY));
    at = decimal(word(at, words, WORD_SAVE_VTAG_ORIG), orig);
    at = decimal(word(at, words, WORD_SAVE_VTAG_REPLY), reply);
  }
  if (has & HAS_DCCP_ROLE) {
    const server = load<u8>(flow, FLOW_DCCP_ROLE) != 0;
    at = word(at, words, server ? WORD_SAVE_SERVER : WORD_SAVE_CLIENT);
  }
  return at;
}

/**
 * Writes the saved line of the Flow at `flow` to `out`, without a newline, beginning with the word
 * `command` (WORD_SAVE_NEW, WORD_SAVE_UPDATE or WORD_SAVE_DESTROY) of `words`. Returns its length, or
 * BAD_ROOM when `room` is below LINE_MAX.
 */
export function flowSaved(flow: usize, out: usize, room: u32, words: usize, command: u32): i32 {
  if (room < <u32>LINE_MAX) return BAD_ROOM;
  const has = load<u32>(flow, FLOW_PRESENT);
  let at = word(out, words, command);
  at = head(at, flow, words, has);
  at = addresses(at, flow, words, has);
  at = protocolWords(at, flow, words, has);
  at = tail(at, flow, words, has);
  return <i32>(at - out);
}
