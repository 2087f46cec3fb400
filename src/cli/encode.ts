// Requests to the kernel, from a command line or from a flow that the kernel has shown. Each function
// writes one message and returns its length; flags and order of attributes are those that the C
// command sends (docs/conntrack.md, "Requests").
//
// DANGER: a CT_DELETE without a tuple is a flush. Only encodeFlush makes one; encodeDelete begins
// with the tuple of the flow.

import { HAS_ID, HAS_ZONE, HAS_ZONE_ORIG } from '../../assembly/layout.js';
import { AF_INET, IPPROTO_DCCP, IPPROTO_SCTP, IPPROTO_TCP, TCP_STATES } from '../report/names.js';
import type { FlowReader, TupleReader } from '../report/reader.js';
import type { Translation } from './address.js';
import * as A from './attributes.js';
import { wholeWords } from './labels.js';
import {
  type MessageWriter,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
} from './message.js';
import type { CommandName } from './options.js';
import { P } from './protocols.js';
import type { Request } from './request.js';
import { hasPorts, mirror, putTuple, type Tuple, tupleOf } from './tuple.js';
import { IPS_CONFIRMED } from './values.js';

/** IP_CT_TCP_FLAG_* (linux/netfilter/nf_conntrack_tcp.h): tolerate what the window check refuses. */
const TCP_LIBERAL = 0x0a; // SACK_PERM | BE_LIBERAL
const TCP_CLOSED = 0x0e; // and CLOSE_INIT: a new SYN may reopen the tuple
const TIME_WAIT = TCP_STATES.indexOf('TIME_WAIT');

/** The tuples of a flow to be made: what is not given is the mirror of what is. */
export function wantedTuples(request: Request): { orig: Tuple; reply: Tuple; mirrored: boolean } {
  let orig = tupleOf(request, request.orig, P.sport, P.dport);
  let reply = tupleOf(request, request.reply, P.replySport, P.replyDport);
  const hasOrig = request.has('src') && request.has('dst');
  const hasReply = request.has('reply-src') && request.has('reply-dst');
  const mirrored = hasOrig !== hasReply;
  if (hasOrig && hasReply) reply.icmpType = mirror(orig).icmpType;
  else if (hasOrig) reply = mirror(orig);
  else orig = fromReply(reply);
  if (request.has('orig-zone')) orig.zone = request.origZone;
  if (request.has('reply-zone')) reply.zone = request.replyZone;
  if (!hasOrig) reply.icmpType = mirror(orig).icmpType;
  return { orig, reply, mirrored };
}

/** The original direction when only the reply was given; ICMP type and code are always of it. */
function fromReply(reply: Tuple): Tuple {
  return { ...mirror(reply), icmpType: reply.icmpType };
}

/** CT_NEW that makes a flow (-I, `exclusive`) or makes or updates it (-A). */
export function encodeCreate(
  message: MessageWriter,
  at: number,
  request: Request,
  exclusive: boolean,
  acknowledged: boolean,
  sequence: number,
): number {
  const flags =
    NLM_F_REQUEST | NLM_F_CREATE | (exclusive ? NLM_F_EXCL : 0) | (acknowledged ? NLM_F_ACK : 0);
  const { orig, reply, mirrored } = wantedTuples(request);
  message.begin(at, A.CT_NEW, flags, request.family);
  putTuple(message, A.CTA_TUPLE_ORIG, orig);
  putTuple(message, A.CTA_TUPLE_REPLY, reply);
  if (request.has('status')) message.u32(A.CTA_STATUS, request.status.set | IPS_CONFIRMED);
  message.u32(A.CTA_TIMEOUT, request.timeout);
  if (request.has('mark')) message.u32(A.CTA_MARK, request.mark.value);
  putProtocolInfo(message, request, true);
  putTranslation(message, A.CTA_NAT_SRC, request.srcNat, savedPort(request, mirrored, 'source'));
  putTranslation(message, A.CTA_NAT_DST, request.dstNat, savedPort(request, mirrored, 'target'));
  if (request.has('zone')) message.u16(A.CTA_ZONE, request.zone);
  if (request.labelAdd !== undefined) message.raw(A.CTA_LABELS, wholeWords(request.labelAdd));
  return message.end(sequence);
}

/**
 * The translated port that a line of `-o save` tells: it prints a translated address as -n or -g,
 * and the port only as a port of the reply.
 */
function savedPort(
  request: Request,
  mirrored: boolean,
  side: 'source' | 'target',
): number | undefined {
  const { places, values } = request;
  const [port, reply] = side === 'source' ? [P.sport, P.replyDport] : [P.dport, P.replySport];
  const both = (1 << port) | (1 << reply);
  if (!mirrored || (places & both) !== both) return undefined;
  return values[port] === values[reply] ? undefined : values[reply];
}

function putTranslation(
  message: MessageWriter,
  type: number,
  translation: Translation | undefined,
  savedPort: number | undefined,
): void {
  if (translation === undefined) return;
  const nest = message.nest(type);
  const v4 = translation.address.family === AF_INET;
  message.raw(v4 ? A.CTA_NAT_V4_MINIP : A.CTA_NAT_V6_MINIP, translation.address.bytes);
  const port = translation.port ?? savedPort;
  if (port !== undefined) {
    const ports = message.nest(A.CTA_NAT_PROTO);
    message.u16(A.CTA_PROTONAT_PORT_MIN, port);
    message.u16(A.CTA_PROTONAT_PORT_MAX, port);
    message.close(ports);
  }
  message.close(nest);
}

/** State and what else the protocol keeps. `always`: the flags of TCP even without a state. */
function putProtocolInfo(message: MessageWriter, request: Request, always: boolean): void {
  const { places, values } = request;
  const protocol = request.choice?.number;
  const stated = (places & (1 << P.state)) !== 0;
  const state = values[P.state]!;
  if (protocol === IPPROTO_TCP && (stated || always)) {
    const flags = stated && state >= TIME_WAIT ? TCP_CLOSED : TCP_LIBERAL;
    const info = message.nest(A.CTA_PROTOINFO);
    const tcp = message.nest(A.CTA_PROTOINFO_TCP);
    if (stated) message.u8(A.CTA_PROTOINFO_TCP_STATE, state);
    message.pair(A.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, flags, flags);
    message.pair(A.CTA_PROTOINFO_TCP_FLAGS_REPLY, flags, flags);
    message.close(tcp);
    message.close(info);
  } else if (protocol === IPPROTO_SCTP && (stated || places & VTAGS)) {
    const info = message.nest(A.CTA_PROTOINFO);
    const sctp = message.nest(A.CTA_PROTOINFO_SCTP);
    if (stated) message.u8(A.CTA_PROTOINFO_SCTP_STATE, state);
    putTag(message, request, A.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, P.origVtag);
    putTag(message, request, A.CTA_PROTOINFO_SCTP_VTAG_REPLY, P.replyVtag);
    message.close(sctp);
    message.close(info);
  } else if (protocol === IPPROTO_DCCP && stated) {
    const info = message.nest(A.CTA_PROTOINFO);
    const dccp = message.nest(A.CTA_PROTOINFO_DCCP);
    message.u8(A.CTA_PROTOINFO_DCCP_STATE, state);
    if (places & (1 << P.role)) message.u8(A.CTA_PROTOINFO_DCCP_ROLE, values[P.role]!);
    message.close(dccp);
    message.close(info);
  }
}

const VTAGS = (1 << P.origVtag) | (1 << P.replyVtag);

/** Verification tags are written with their bytes reversed, and `-o save` prints them so. */
function putTag(message: MessageWriter, request: Request, type: number, place: number): void {
  if (!(request.places & (1 << place))) return;
  message.u32(type, swapped(request.values[place]!));
}

/** The bytes of a 32-bit number in the other order. */
export function swapped(value: number): number {
  return (
    ((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >> 8) & 0xff00) | (value >>> 24)
  );
}

/** CT_GET of one flow, by whichever pair of addresses was given. */
export function encodeGet(
  message: MessageWriter,
  at: number,
  request: Request,
  sequence: number,
): number {
  message.begin(at, A.CT_GET, NLM_F_REQUEST, request.family);
  if (request.has('src') && request.has('dst')) {
    putTuple(message, A.CTA_TUPLE_ORIG, tupleOf(request, request.orig, P.sport, P.dport));
  } else {
    const { orig, reply } = wantedTuples(request);
    const ported = hasPorts(reply.protocol) && request.places & (1 << P.replySport);
    // Given ports of the original direction name the same flow from the other side.
    const tuple = ported || !hasPorts(reply.protocol) ? reply : fromOrigPorts(request, orig);
    putTuple(message, A.CTA_TUPLE_REPLY, tuple);
  }
  putProtocolInfo(message, request, true);
  return message.end(sequence);
}

function fromOrigPorts(request: Request, orig: Tuple): Tuple {
  const { sport, dport } = tupleOf(request, request.orig, P.sport, P.dport);
  return mirror({ ...orig, sport, dport });
}

/** Type of the dump that a command makes of its table. */
function dumpType(request: Request): number {
  if (request.table === 'dying') return A.CT_GET_DYING;
  if (request.table === 'unconfirmed') return A.CT_GET_UNCONFIRMED;
  return request.has('zero') ? A.CT_GET_CTRZERO : A.CT_GET;
}

const FILTERS_STATUS: readonly (CommandName | undefined)[] = ['list', 'top'];
const FILTERS_MARK: readonly (CommandName | undefined)[] = ['list', 'top', 'delete'];

/**
 * Dump of a flow table. What the kernel can sort out it is asked to: `narrow` adds filters that the
 * C command does not use, each of which only leaves out flows that the selection would refuse.
 */
export function encodeDump(
  message: MessageWriter,
  at: number,
  request: Request,
  narrow: boolean,
  sequence: number,
): number {
  message.begin(at, dumpType(request), NLM_F_REQUEST | NLM_F_DUMP, request.family);
  if (request.has('mark') && FILTERS_MARK.includes(request.command)) {
    message.u32(A.CTA_MARK, request.mark.value);
    message.u32(A.CTA_MARK_MASK, request.mark.mask ?? 0xffffffff);
  }
  if (request.has('status') && FILTERS_STATUS.includes(request.command)) {
    const { set, clear } = request.status;
    message.u32(A.CTA_STATUS, set);
    // Without any bit there is no mask either: the kernel then refuses, as it should.
    if ((set | clear) !== 0) message.u32(A.CTA_STATUS_MASK, set | clear);
  }
  if (narrow && request.table === 'conntrack') putNarrowing(message, request);
  return message.end(sequence);
}

function putNarrowing(message: MessageWriter, request: Request): void {
  // Zone 0 would leave out flows that have a zone in one direction only, which count as zone 0.
  const zone = request.zone || request.origZone || request.replyZone;
  if (zone !== 0) message.u16(A.CTA_ZONE, zone);
  if (request.family === 0) return; // the kernel filters tuples of a known family only
  const orig = narrowing(request, 'orig');
  const reply = narrowing(request, 'reply');
  if (orig.flags === 0 && reply.flags === 0) return;
  if (orig.flags !== 0) putTuple(message, A.CTA_TUPLE_ORIG, orig.tuple);
  if (reply.flags !== 0) putTuple(message, A.CTA_TUPLE_REPLY, reply.tuple);
  const filter = message.nest(A.CTA_FILTER);
  message.u32(A.CTA_FILTER_ORIG_FLAGS, swapped(orig.flags)); // these two are in host order
  message.u32(A.CTA_FILTER_REPLY_FLAGS, swapped(reply.flags));
  message.close(filter);
}

/** The members of one direction that the kernel compares as we do: whole IPv4 addresses, ports. */
function narrowing(request: Request, side: 'orig' | 'reply'): { tuple: Tuple; flags: number } {
  const isOrig = side === 'orig';
  const [sport, dport] = isOrig ? [P.sport, P.dport] : [P.replySport, P.replyDport];
  const tuple = tupleOf(request, request[side], sport, dport);
  let flags = 0;
  // IPv6 addresses select the wrong flows on some kernels; prefixes the kernel does not know.
  const v4 = request.family === AF_INET;
  if (v4 && tuple.src !== undefined && !(isOrig && request.has('mask-src'))) {
    flags |= A.FILTER_IP_SRC;
  }
  if (v4 && tuple.dst !== undefined && !(isOrig && request.has('mask-dst'))) {
    flags |= A.FILTER_IP_DST;
  }
  if (request.has('protonum') && isOrig) {
    flags |= A.FILTER_PROTO_NUM;
    if (hasPorts(tuple.protocol)) {
      if (tuple.sport !== undefined) flags |= A.FILTER_SRC_PORT;
      if (tuple.dport !== undefined) flags |= A.FILTER_DST_PORT;
    }
  }
  return { tuple, flags };
}

/** CT_DELETE of the flow that the kernel has shown: that very one, by its id. */
export function encodeDelete(
  message: MessageWriter,
  at: number,
  flow: FlowReader,
  acknowledged: boolean,
  sequence: number,
): number {
  const flags = NLM_F_REQUEST | (acknowledged ? NLM_F_ACK : 0);
  message.begin(at, A.CT_DELETE, flags, flow.orig.family);
  putTuple(message, A.CTA_TUPLE_ORIG, flowTuple(flow));
  if (flow.has(HAS_ZONE)) message.u16(A.CTA_ZONE, flow.zone);
  if (flow.has(HAS_ID)) message.u32(A.CTA_ID, flow.id);
  return message.end(sequence);
}

/** CT_DELETE of a flow that a request has just made, to take it back. */
export function encodeUndo(
  message: MessageWriter,
  at: number,
  request: Request,
  sequence: number,
): number {
  message.begin(at, A.CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, request.family);
  putTuple(message, A.CTA_TUPLE_ORIG, wantedTuples(request).orig);
  if (request.has('zone')) message.u16(A.CTA_ZONE, request.zone);
  return message.end(sequence);
}

/** The original tuple of a flow, with the zone of that direction. */
function flowTuple(flow: FlowReader): Tuple {
  const tuple = readTuple(flow.orig);
  if (flow.has(HAS_ZONE_ORIG)) tuple.zone = flow.zoneOrig;
  return tuple;
}

function readTuple(tuple: TupleReader): Tuple {
  const { protocol } = tuple;
  const ported = hasPorts(protocol);
  const icmp = protocol === 1 || protocol === 58;
  return {
    family: tuple.family,
    src: tuple.srcBytes,
    dst: tuple.dstBytes,
    protocol,
    sport: ported ? tuple.sport : undefined,
    dport: ported ? tuple.dport : undefined,
    icmpId: icmp ? tuple.sport : undefined,
    icmpType: icmp ? tuple.icmpType : undefined,
    icmpCode: icmp ? tuple.icmpCode : undefined,
    zone: undefined,
  };
}

/** What -U changes of a flow. */
export interface Change {
  status: number | undefined;
  timeout: number | undefined;
  mark: number | undefined;
  labels: Uint8Array | undefined;
  labelsMask: Uint8Array | undefined;
}

/** CT_NEW that changes a flow, or (`get`) the CT_GET after it. */
export function encodeUpdate(
  message: MessageWriter,
  at: number,
  request: Request,
  flow: FlowReader,
  change: Change,
  get: boolean,
  sequence: number,
): number {
  const flags = get ? NLM_F_REQUEST : NLM_F_REQUEST | NLM_F_ACK;
  message.begin(at, get ? A.CT_GET : A.CT_NEW, flags, flow.orig.family);
  putTuple(message, A.CTA_TUPLE_ORIG, flowTuple(flow));
  if (change.status !== undefined) message.u32(A.CTA_STATUS, change.status);
  if (change.timeout !== undefined) message.u32(A.CTA_TIMEOUT, change.timeout);
  if (change.mark !== undefined) message.u32(A.CTA_MARK, change.mark);
  putProtocolInfo(message, request, false);
  if (flow.has(HAS_ZONE)) message.u16(A.CTA_ZONE, flow.zone);
  if (change.labels !== undefined) message.raw(A.CTA_LABELS, change.labels);
  if (change.labelsMask !== undefined) message.raw(A.CTA_LABELS_MASK, change.labelsMask);
  return message.end(sequence);
}

/** CT_DELETE or EXP_DELETE of a whole table. A family restricts it (version 1 makes it count). */
export function encodeFlush(
  message: MessageWriter,
  at: number,
  request: Request,
  sequence: number,
): number {
  const expect = request.table === 'expect';
  const flags = NLM_F_REQUEST | NLM_F_ACK;
  const version = !expect && request.has('family') ? 1 : 0;
  message.begin(at, expect ? A.EXP_DELETE : A.CT_DELETE, flags, request.family, version);
  return message.end(sequence);
}

/** A request that is a header alone: counters, statistics, a dump of expectations. */
export function encodeBare(
  message: MessageWriter,
  at: number,
  type: number,
  dump: boolean,
  family: number,
  sequence: number,
): number {
  message.begin(at, type, NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0), family);
  return message.end(sequence);
}

/** EXP_NEW. */
export function encodeExpectCreate(
  message: MessageWriter,
  at: number,
  request: Request,
  sequence: number,
): number {
  const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  message.begin(at, A.EXP_NEW, flags, request.family);
  const tuple = tupleOf(request, request.tuple, P.tupleSport, P.tupleDport);
  const master = tupleOf(request, request.orig, P.sport, P.dport);
  putTuple(message, A.CTA_EXPECT_TUPLE, tuple);
  putTuple(message, A.CTA_EXPECT_MASTER, master);
  putTuple(message, A.CTA_EXPECT_MASK, tupleOf(request, request.mask, P.maskSport, P.maskDport));
  message.u32(A.CTA_EXPECT_TIMEOUT, request.timeout);
  return message.end(sequence);
}

/** EXP_GET or EXP_DELETE of one expectation. The C command gets by what it calls the master. */
export function encodeExpectOne(
  message: MessageWriter,
  at: number,
  request: Request,
  sequence: number,
): number {
  const remove = request.command === 'delete';
  const flags = NLM_F_REQUEST | NLM_F_ACK;
  message.begin(at, remove ? A.EXP_DELETE : A.EXP_GET, flags, request.family);
  const tuple = tupleOf(request, request.orig, P.sport, P.dport);
  putTuple(message, remove ? A.CTA_EXPECT_TUPLE : A.CTA_EXPECT_MASTER, tuple);
  return message.end(sequence);
}
