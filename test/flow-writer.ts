// Fills the wide forms of assembly/layout.ts from the `decoded` objects of the ctnetlink vectors,
// as the decoder of the module would: what a report test needs without the module. Writes into the
// caller's memory, which it clears first.

import * as L from '../assembly/layout.js';

/** One tuple of a vector. */
export interface DecodedTuple {
  src?: string;
  dst?: string;
  proto?: number;
  sport?: number;
  dport?: number;
  icmpType?: number;
  icmpCode?: number;
  icmpId?: number;
  zone?: number;
}

interface Counters {
  packets: string;
  bytes: string;
}

interface SeqAdj {
  correctionPos: number;
  offsetBefore: number;
  offsetAfter: number;
}

/** The `decoded` object of a flow's vector. 64-bit values are decimal text. */
export interface DecodedFlow {
  nlmsg?: { type: number; flags: number; portid: number };
  orig?: DecodedTuple;
  reply?: DecodedTuple;
  master?: DecodedTuple;
  status?: number;
  timeout?: number;
  mark?: number;
  secmark?: number;
  secctx?: string;
  id?: number;
  use?: number;
  zone?: number;
  labels?: string;
  helper?: { name: string };
  countersOrig?: Counters;
  countersReply?: Counters;
  seqAdjOrig?: SeqAdj;
  seqAdjReply?: SeqAdj;
  synproxy?: { isn: number; its: number; tsoff: number };
  timestamp?: { start?: string; stop?: string };
  timestampEvent?: string;
  protoinfo?: {
    tcp?: {
      state?: number;
      wscaleOrig?: number;
      wscaleReply?: number;
      flagsOrig?: number;
      maskOrig?: number;
      flagsReply?: number;
      maskReply?: number;
    };
    sctp?: { state?: number; vtagOrig?: number; vtagReply?: number };
    dccp?: { state?: number; role?: number; handshakeSeq?: string };
  };
}

/** The `decoded` object of an expectation's vector. */
export interface DecodedExpect {
  nlmsg?: { type: number; flags: number; portid: number };
  tuple?: DecodedTuple;
  mask?: DecodedTuple;
  master?: DecodedTuple;
  timeout?: number;
  id?: number;
  flags?: number;
  class?: number;
  zone?: number;
  helper?: string;
  fn?: string;
}

/** Writes a wide Flow of FLOW_SIZE bytes at `at`. */
export function writeFlow(view: DataView, at: number, flow: DecodedFlow): void {
  clear(view, at, L.FLOW_SIZE);
  let present = 0;
  let observed = 0;
  const has = (bit: number, known: unknown): boolean => {
    if (known === undefined) return false;
    present |= bit;
    return true;
  };
  const saw = (bit: number, known: unknown): boolean => {
    if (known === undefined) return false;
    observed |= bit;
    return true;
  };
  const u32 = (offset: number, value: number | undefined): void =>
    view.setUint32(at + offset, value ?? 0, true);
  const u16 = (offset: number, value: number | undefined): void =>
    view.setUint16(at + offset, value ?? 0, true);
  const u64 = (offset: number, value: string | undefined): void =>
    view.setBigUint64(at + offset, BigInt(value ?? 0), true);

  if (has(L.HAS_ORIG, flow.orig)) writeTuple(view, at + L.FLOW_ORIG, flow.orig!);
  if (has(L.HAS_REPLY, flow.reply)) writeTuple(view, at + L.FLOW_REPLY, flow.reply!);
  if (has(L.HAS_MASTER, flow.master)) writeTuple(view, at + L.FLOW_MASTER, flow.master!);
  if (has(L.HAS_STATUS, flow.status)) u32(L.FLOW_STATUS, flow.status);
  if (has(L.HAS_TIMEOUT, flow.timeout)) u32(L.FLOW_TIMEOUT, flow.timeout);
  if (has(L.HAS_MARK, flow.mark)) u32(L.FLOW_MARK, flow.mark);
  if (has(L.HAS_ID, flow.id)) u32(L.FLOW_ID, flow.id);
  if (has(L.HAS_ZONE, flow.zone)) u16(L.FLOW_ZONE, flow.zone);
  if (has(L.HAS_ZONE_ORIG, flow.orig?.zone)) u16(L.FLOW_ZONE_ORIG, flow.orig?.zone);
  if (has(L.HAS_ZONE_REPLY, flow.reply?.zone)) u16(L.FLOW_ZONE_REPLY, flow.reply?.zone);
  if (has(L.HAS_HELPER, flow.helper)) writeText(view, at + L.FLOW_HELPER, flow.helper!.name);
  if (has(L.HAS_LABELS, flow.labels)) writeHex(view, at + L.FLOW_LABELS, flow.labels!);
  if (has(L.HAS_SEQADJ_ORIG, flow.seqAdjOrig)) writeSeqAdj(view, at, 0, flow.seqAdjOrig!);
  if (has(L.HAS_SEQADJ_REPLY, flow.seqAdjReply)) writeSeqAdj(view, at, 12, flow.seqAdjReply!);
  if (has(L.HAS_SYNPROXY, flow.synproxy)) {
    u32(L.FLOW_SYNPROXY, flow.synproxy?.isn);
    u32(L.FLOW_SYNPROXY + 4, flow.synproxy?.its);
    u32(L.FLOW_SYNPROXY + 8, flow.synproxy?.tsoff);
  }
  present |= writeProtocol(view, at, flow);

  if (saw(L.SAW_USE, flow.use)) u32(L.FLOW_USE, flow.use);
  if (saw(L.SAW_SECMARK, flow.secmark)) u32(L.FLOW_SECMARK, flow.secmark);
  if (saw(L.SAW_SECCTX, flow.secctx)) writeText(view, at + L.FLOW_SECCTX, flow.secctx!);
  if (saw(L.SAW_COUNTERS_ORIG, flow.countersOrig)) {
    u64(L.FLOW_PACKETS_ORIG, flow.countersOrig?.packets);
    u64(L.FLOW_BYTES_ORIG, flow.countersOrig?.bytes);
  }
  if (saw(L.SAW_COUNTERS_REPLY, flow.countersReply)) {
    u64(L.FLOW_PACKETS_REPLY, flow.countersReply?.packets);
    u64(L.FLOW_BYTES_REPLY, flow.countersReply?.bytes);
  }
  if (saw(L.SAW_TIME_START, flow.timestamp?.start)) u64(L.FLOW_TIME_START, flow.timestamp?.start);
  if (saw(L.SAW_TIME_STOP, flow.timestamp?.stop)) u64(L.FLOW_TIME_STOP, flow.timestamp?.stop);
  if (saw(L.SAW_TIME_EVENT, flow.timestampEvent)) u64(L.FLOW_TIME_EVENT, flow.timestampEvent);
  if (saw(L.SAW_DCCP_SEQ, flow.protoinfo?.dccp?.handshakeSeq)) {
    u64(L.FLOW_DCCP_SEQ, flow.protoinfo?.dccp?.handshakeSeq);
  }

  u32(L.FLOW_PORTID, eventPort(flow.nlmsg));
  u16(L.FLOW_MESSAGE, flow.nlmsg?.type);
  u16(L.FLOW_MESSAGE_FLAGS, flow.nlmsg?.flags);
  u32(L.FLOW_PRESENT, present);
  u32(L.FLOW_OBSERVED, observed);
}

/** NLM_F_MULTI marks a dump: its port id is the listener's own and names no cause. */
function eventPort(nlmsg: DecodedFlow['nlmsg']): number {
  return nlmsg === undefined || nlmsg.flags & 2 ? 0 : nlmsg.portid;
}

function writeProtocol(view: DataView, at: number, flow: DecodedFlow): number {
  const { tcp, sctp, dccp } = flow.protoinfo ?? {};
  const state = tcp?.state ?? sctp?.state ?? dccp?.state;
  const u8 = (offset: number, value: number | undefined): void =>
    view.setUint8(at + offset, value ?? 0);
  let present = 0;
  u8(L.FLOW_STATE, state);
  if (state !== undefined) present |= L.HAS_STATE;
  if (tcp?.wscaleOrig !== undefined) {
    present |= L.HAS_WSCALE | L.HAS_TCP_FLAGS;
    u8(L.FLOW_WSCALE_ORIG, tcp.wscaleOrig);
    u8(L.FLOW_WSCALE_REPLY, tcp.wscaleReply);
    u8(L.FLOW_TCP_FLAGS_ORIG, tcp.flagsOrig);
    u8(L.FLOW_TCP_MASK_ORIG, tcp.maskOrig);
    u8(L.FLOW_TCP_FLAGS_REPLY, tcp.flagsReply);
    u8(L.FLOW_TCP_MASK_REPLY, tcp.maskReply);
  }
  if (sctp?.vtagOrig !== undefined) {
    present |= L.HAS_VTAG;
    view.setUint32(at + L.FLOW_VTAG_ORIG, sctp.vtagOrig, true);
    view.setUint32(at + L.FLOW_VTAG_REPLY, sctp.vtagReply ?? 0, true);
  }
  if (dccp?.role !== undefined) {
    present |= L.HAS_DCCP_ROLE;
    u8(L.FLOW_DCCP_ROLE, dccp.role);
  }
  return present;
}

/** Writes a wide Expectation of EXPECT_SIZE bytes at `at`. */
export function writeExpect(view: DataView, at: number, expect: DecodedExpect): void {
  clear(view, at, L.EXPECT_SIZE);
  let present = 0;
  const has = (bit: number, known: unknown): boolean => {
    if (known === undefined) return false;
    present |= bit;
    return true;
  };
  const u32 = (offset: number, value: number | undefined): void =>
    view.setUint32(at + offset, value ?? 0, true);
  if (has(L.EXPECT_HAS_TUPLE, expect.tuple)) writeTuple(view, at + L.EXPECT_TUPLE, expect.tuple!);
  if (has(L.EXPECT_HAS_MASK, expect.mask)) writeTuple(view, at + L.EXPECT_MASK, expect.mask!);
  if (has(L.EXPECT_HAS_MASTER, expect.master)) {
    writeTuple(view, at + L.EXPECT_MASTER, expect.master!);
  }
  if (has(L.EXPECT_HAS_TIMEOUT, expect.timeout)) u32(L.EXPECT_TIMEOUT, expect.timeout);
  if (has(L.EXPECT_HAS_ID, expect.id)) u32(L.EXPECT_ID, expect.id);
  if (has(L.EXPECT_HAS_FLAGS, expect.flags)) u32(L.EXPECT_FLAGS, expect.flags);
  if (has(L.EXPECT_HAS_CLASS, expect.class)) u32(L.EXPECT_CLASS, expect.class);
  if (has(L.EXPECT_HAS_ZONE, expect.zone)) {
    view.setUint16(at + L.EXPECT_ZONE, expect.zone ?? 0, true);
  }
  if (has(L.EXPECT_HAS_HELPER, expect.helper)) {
    writeText(view, at + L.EXPECT_HELPER, expect.helper!);
  }
  if (has(L.EXPECT_HAS_FN, expect.fn)) writeText(view, at + L.EXPECT_FN, expect.fn!);
  u32(L.EXPECT_PORTID, eventPort(expect.nlmsg));
  view.setUint16(at + L.EXPECT_MESSAGE, expect.nlmsg?.type ?? 0, true);
  view.setUint16(at + L.EXPECT_MESSAGE_FLAGS, expect.nlmsg?.flags ?? 0, true);
  u32(L.EXPECT_PRESENT, present);
}

function writeTuple(view: DataView, at: number, tuple: DecodedTuple): void {
  let known = 0;
  if (tuple.src !== undefined && tuple.dst !== undefined) {
    known |= L.KNOWN_L3;
    const ipv6 = tuple.src.includes(':');
    view.setUint8(at + L.TUPLE_L3, ipv6 ? 10 : 2);
    writeAddress(view, at + L.TUPLE_SRC, tuple.src);
    writeAddress(view, at + L.TUPLE_DST, tuple.dst);
  }
  if (tuple.proto !== undefined) {
    known |= L.KNOWN_L4;
    view.setUint8(at + L.TUPLE_L4, tuple.proto);
  }
  if (tuple.sport !== undefined) {
    known |= L.KNOWN_PORTS;
    view.setUint16(at + L.TUPLE_SPORT, tuple.sport);
    view.setUint16(at + L.TUPLE_DPORT, tuple.dport ?? 0);
  }
  if (tuple.icmpType !== undefined) {
    known |= L.KNOWN_ICMP;
    view.setUint16(at + L.TUPLE_SPORT, tuple.icmpId ?? 0);
    view.setUint8(at + L.TUPLE_ICMP_TYPE, tuple.icmpType);
    view.setUint8(at + L.TUPLE_ICMP_CODE, tuple.icmpCode ?? 0);
  }
  view.setUint8(at + L.TUPLE_KNOWN, known);
}

/** Writes the bytes of an address in either notation (RFC 4291 section 2.2). */
export function writeAddress(view: DataView, at: number, text: string): void {
  addressBytes(text).forEach((byte, i) => {
    view.setUint8(at + i, byte);
  });
}

function addressBytes(text: string): number[] {
  if (!text.includes(':')) return text.split('.').map(Number);
  const [head = '', tail] = text.split('::');
  const before = wordBytes(head);
  if (tail === undefined) return before;
  const after = wordBytes(tail);
  return [...before, ...new Array<number>(16 - before.length - after.length).fill(0), ...after];
}

function wordBytes(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((word) => {
    if (word.includes('.')) return word.split('.').map(Number);
    const value = Number.parseInt(word, 16);
    return [value >> 8, value & 255];
  });
}

function writeSeqAdj(view: DataView, at: number, side: number, seqAdj: SeqAdj): void {
  view.setUint32(at + L.FLOW_SEQADJ + side, seqAdj.correctionPos, true);
  view.setUint32(at + L.FLOW_SEQADJ + side + 4, seqAdj.offsetBefore, true);
  view.setUint32(at + L.FLOW_SEQADJ + side + 8, seqAdj.offsetAfter, true);
}

function writeHex(view: DataView, at: number, hex: string): void {
  for (let i = 0; i < hex.length; i += 2) {
    view.setUint8(at + i / 2, Number.parseInt(hex.slice(i, i + 2), 16));
  }
}

function writeText(view: DataView, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) view.setUint8(at + i, text.charCodeAt(i));
}

function clear(view: DataView, at: number, size: number): void {
  new Uint8Array(view.buffer, view.byteOffset + at, size).fill(0);
}
