// The wide forms (assembly/layout.ts) as plain objects in the shape of the vectors' `decoded`, and
// the vectors themselves. An attribute that is not present is not in the object, so two messages
// that say the same give equal objects, whatever garbage lies in absent fields.

import { readFileSync } from 'node:fs';
import * as L from '../../../assembly/layout.js';
import { type Sandbox, toHex } from '../../wasm.js';

export interface Vector {
  name: string;
  event?: string;
  command: string;
  hex: string;
  // biome-ignore lint/suspicious/noExplicitAny: the JSON's own shape, checked by comparison
  decoded: any;
}

export function vectors(file: string): Vector[] {
  const path = new URL(`../../vectors/${file}`, import.meta.url);
  return JSON.parse(readFileSync(path, 'utf8')) as Vector[];
}

const FLOW_EVENTS = new Set(['NEW', 'UPDATE', 'DESTROY', 'DUMP', 'GET']);
const ALL = vectors('ctnetlink-vectors.json');
export const FLOWS = ALL.filter((vector) => FLOW_EVENTS.has(vector.event!));
export const EXPECTS = ALL.filter((vector) => /^EXP_(NEW|DESTROY|DUMP)$/.test(vector.event!));
export const OTHERS = ALL.filter((vector) => !FLOWS.includes(vector) && !EXPECTS.includes(vector));

/** An IPv4 or IPv6 address as text to 4 or 16 bytes in hex. */
export function addressHex(text: string): string {
  if (!text.includes(':')) return toHex(Uint8Array.from(text.split('.'), Number));
  const [head = '', tail] = text.split('::');
  const words = (part: string) => part.split(':').filter((word) => word !== '');
  const left = words(head);
  const right = tail === undefined ? [] : words(tail);
  const zeros = Array<string>(8 - left.length - right.length).fill('0');
  return [...left, ...zeros, ...right].map((word) => word.padStart(4, '0')).join('');
}

type Shape = Record<string, unknown>;

/** A Tuple at `at`, members as far as they are known. */
export function readTuple(box: Sandbox, at: number): Shape {
  const { bytes, view } = box;
  const known = bytes[at + L.TUPLE_KNOWN]!;
  const size = bytes[at + L.TUPLE_L3] === 10 ? 16 : 4;
  const address = (from: number) => toHex(bytes.slice(from, from + size));
  return {
    ...(known & L.KNOWN_L3
      ? { src: address(at + L.TUPLE_SRC), dst: address(at + L.TUPLE_DST) }
      : {}),
    ...(known & L.KNOWN_L4 ? { proto: bytes[at + L.TUPLE_L4] } : {}),
    ...(known & L.KNOWN_PORTS
      ? { sport: view.getUint16(at + L.TUPLE_SPORT), dport: view.getUint16(at + L.TUPLE_DPORT) }
      : {}),
    ...(known & L.KNOWN_ICMP
      ? {
          icmpId: view.getUint16(at + L.TUPLE_SPORT),
          icmpType: bytes[at + L.TUPLE_ICMP_TYPE],
          icmpCode: bytes[at + L.TUPLE_ICMP_CODE],
        }
      : {}),
  };
}

function readText(box: Sandbox, at: number, area: number): string {
  return Buffer.from(box.bytes.slice(at, at + area))
    .toString('latin1')
    .replace(/\0.*$/s, '');
}

function readProtocolInfo(box: Sandbox, at: number, has: (bit: number) => boolean): Shape {
  const { bytes, view } = box;
  const l4 = bytes[at + L.FLOW_ORIG + L.TUPLE_L4]!;
  const state = has(L.HAS_STATE) ? { state: bytes[at + L.FLOW_STATE] } : {};
  if (l4 === 6) {
    const wscale = {
      wscaleOrig: bytes[at + L.FLOW_WSCALE_ORIG],
      wscaleReply: bytes[at + L.FLOW_WSCALE_REPLY],
    };
    const flags = {
      flagsOrig: bytes[at + L.FLOW_TCP_FLAGS_ORIG],
      maskOrig: bytes[at + L.FLOW_TCP_MASK_ORIG],
      flagsReply: bytes[at + L.FLOW_TCP_FLAGS_REPLY],
      maskReply: bytes[at + L.FLOW_TCP_MASK_REPLY],
    };
    const tcp = {
      ...state,
      ...(has(L.HAS_WSCALE) ? wscale : {}),
      ...(has(L.HAS_TCP_FLAGS) ? flags : {}),
    };
    return Object.keys(tcp).length > 0 ? { protoinfo: { tcp } } : {};
  }
  if (l4 === 132) {
    const tags = {
      vtagOrig: view.getUint32(at + L.FLOW_VTAG_ORIG, true),
      vtagReply: view.getUint32(at + L.FLOW_VTAG_REPLY, true),
    };
    const sctp = { ...state, ...(has(L.HAS_VTAG) ? tags : {}) };
    return Object.keys(sctp).length > 0 ? { protoinfo: { sctp } } : {};
  }
  const dccp = {
    ...state,
    ...(has(L.HAS_DCCP_ROLE) ? { role: bytes[at + L.FLOW_DCCP_ROLE] } : {}),
    ...(view.getUint32(at + L.FLOW_OBSERVED, true) & L.SAW_DCCP_SEQ
      ? { handshakeSeq: String(view.getBigUint64(at + L.FLOW_DCCP_SEQ, true)) }
      : {}),
  };
  return l4 === 33 && Object.keys(dccp).length > 0 ? { protoinfo: { dccp } } : {};
}

function readTriple(box: Sandbox, at: number, names: [string, string, string]): Shape {
  return Object.fromEntries(
    names.map((name, index) => [name, box.view.getUint32(at + 4 * index, true)]),
  );
}

function readObserved(box: Sandbox, at: number): Shape {
  const { view } = box;
  const observed = view.getUint32(at + L.FLOW_OBSERVED, true);
  const long = (from: number) => String(view.getBigUint64(at + from, true));
  const counters = (packets: number, bytes: number) => ({
    packets: long(packets),
    bytes: long(bytes),
  });
  const times = {
    ...(observed & L.SAW_TIME_START ? { start: long(L.FLOW_TIME_START) } : {}),
    ...(observed & L.SAW_TIME_STOP ? { stop: long(L.FLOW_TIME_STOP) } : {}),
  };
  return {
    ...(observed & L.SAW_USE ? { use: view.getUint32(at + L.FLOW_USE, true) } : {}),
    ...(observed & L.SAW_COUNTERS_ORIG
      ? { countersOrig: counters(L.FLOW_PACKETS_ORIG, L.FLOW_BYTES_ORIG) }
      : {}),
    ...(observed & L.SAW_COUNTERS_REPLY
      ? { countersReply: counters(L.FLOW_PACKETS_REPLY, L.FLOW_BYTES_REPLY) }
      : {}),
    ...(Object.keys(times).length > 0 ? { timestamp: times } : {}),
    ...(observed & L.SAW_TIME_EVENT ? { timestampEvent: long(L.FLOW_TIME_EVENT) } : {}),
    ...(observed & L.SAW_SECCTX
      ? { secctx: readText(box, at + L.FLOW_SECCTX, L.FLOW_SECCTX_MAX + 1) }
      : {}),
    ...(observed & L.SAW_SECMARK ? { secmark: view.getUint32(at + L.FLOW_SECMARK, true) } : {}),
  };
}

function readNat(box: Sandbox, at: number, has: (bit: number) => boolean): Shape {
  const { bytes, view } = box;
  const size = bytes[at + L.FLOW_ORIG + L.TUPLE_L3] === 10 ? 16 : 4;
  const address = (from: number) => toHex(bytes.slice(at + from, at + from + size));
  return {
    ...(has(L.HAS_NAT_SRC) ? { natSrc: address(L.FLOW_NAT_SRC) } : {}),
    ...(has(L.HAS_NAT_DST) ? { natDst: address(L.FLOW_NAT_DST) } : {}),
    ...(has(L.HAS_NAT_SPORT) ? { natSport: view.getUint16(at + L.FLOW_NAT_SPORT) } : {}),
    ...(has(L.HAS_NAT_DPORT) ? { natDport: view.getUint16(at + L.FLOW_NAT_DPORT) } : {}),
  };
}

const ADJUST: [string, string, string] = ['correctionPos', 'offsetBefore', 'offsetAfter'];

/** The Flow at `at`. */
export function readFlow(box: Sandbox, at: number): Shape {
  const { bytes, view } = box;
  const present = view.getUint32(at + L.FLOW_PRESENT, true);
  const has = (bit: number) => (present & bit) !== 0;
  const word = (from: number) => view.getUint32(at + from, true);
  const half = (from: number) => view.getUint16(at + from, true);
  const tuple = (from: number, bit: number, zone: number) => ({
    ...readTuple(box, at + from),
    ...(has(bit) ? { zone: half(zone) } : {}),
  });
  return {
    type: half(L.FLOW_MESSAGE),
    flags: half(L.FLOW_MESSAGE_FLAGS),
    portid: word(L.FLOW_PORTID),
    ...(has(L.HAS_ORIG) ? { orig: tuple(L.FLOW_ORIG, L.HAS_ZONE_ORIG, L.FLOW_ZONE_ORIG) } : {}),
    ...(has(L.HAS_REPLY)
      ? { reply: tuple(L.FLOW_REPLY, L.HAS_ZONE_REPLY, L.FLOW_ZONE_REPLY) }
      : {}),
    ...(has(L.HAS_MASTER) ? { master: readTuple(box, at + L.FLOW_MASTER) } : {}),
    ...(has(L.HAS_STATUS) ? { status: word(L.FLOW_STATUS) } : {}),
    ...(has(L.HAS_TIMEOUT) ? { timeout: word(L.FLOW_TIMEOUT) } : {}),
    ...(has(L.HAS_MARK) ? { mark: word(L.FLOW_MARK) } : {}),
    ...(has(L.HAS_ID) ? { id: word(L.FLOW_ID) } : {}),
    ...(has(L.HAS_ZONE) ? { zone: half(L.FLOW_ZONE) } : {}),
    ...readProtocolInfo(box, at, has),
    ...(has(L.HAS_SEQADJ_ORIG) ? { seqAdjOrig: readTriple(box, at + L.FLOW_SEQADJ, ADJUST) } : {}),
    ...(has(L.HAS_SEQADJ_REPLY)
      ? { seqAdjReply: readTriple(box, at + L.FLOW_SEQADJ + 12, ADJUST) }
      : {}),
    ...(has(L.HAS_SYNPROXY)
      ? { synproxy: readTriple(box, at + L.FLOW_SYNPROXY, ['isn', 'its', 'tsoff']) }
      : {}),
    ...(has(L.HAS_LABELS)
      ? { labels: toHex(bytes.slice(at + L.FLOW_LABELS, at + L.FLOW_LABELS + 16)) }
      : {}),
    ...(has(L.HAS_HELPER) ? { helper: readText(box, at + L.FLOW_HELPER, 16) } : {}),
    ...readNat(box, at, has),
    ...readObserved(box, at),
  };
}

/** The expectation at `at`. */
export function readExpect(box: Sandbox, at: number): Shape {
  const { view } = box;
  const present = view.getUint32(at + L.EXPECT_PRESENT, true);
  const word = (name: string, bit: number, from: number) =>
    present & bit ? { [name]: view.getUint32(at + from, true) } : {};
  const tuple = (name: string, bit: number, from: number) =>
    present & bit ? { [name]: readTuple(box, at + from) } : {};
  return {
    type: view.getUint16(at + L.EXPECT_MESSAGE, true),
    nlflags: view.getUint16(at + L.EXPECT_MESSAGE_FLAGS, true),
    portid: view.getUint32(at + L.EXPECT_PORTID, true),
    ...tuple('tuple', L.EXPECT_HAS_TUPLE, L.EXPECT_TUPLE),
    ...tuple('mask', L.EXPECT_HAS_MASK, L.EXPECT_MASK),
    ...tuple('master', L.EXPECT_HAS_MASTER, L.EXPECT_MASTER),
    ...tuple('nat', L.EXPECT_HAS_NAT, L.EXPECT_NAT),
    ...word('natDir', L.EXPECT_HAS_NAT_DIR, L.EXPECT_NAT_DIR),
    ...word('timeout', L.EXPECT_HAS_TIMEOUT, L.EXPECT_TIMEOUT),
    ...word('id', L.EXPECT_HAS_ID, L.EXPECT_ID),
    ...word('flags', L.EXPECT_HAS_FLAGS, L.EXPECT_FLAGS),
    ...word('class', L.EXPECT_HAS_CLASS, L.EXPECT_CLASS),
    ...(present & L.EXPECT_HAS_ZONE ? { zone: view.getUint16(at + L.EXPECT_ZONE, true) } : {}),
    ...(present & L.EXPECT_HAS_HELPER ? { helper: readText(box, at + L.EXPECT_HELPER, 16) } : {}),
    ...(present & L.EXPECT_HAS_FN ? { fn: readText(box, at + L.EXPECT_FN, 32) } : {}),
  };
}

/** A tuple of a vector's `decoded` with its addresses in hex. */
export function tupleOf(tuple: Shape): Shape {
  return {
    ...tuple,
    src: addressHex(tuple.src as string),
    dst: addressHex(tuple.dst as string),
  };
}

// What a vector's `decoded` says besides the message: names of bits, and the fields of no flow.
const NOT_COMPARED = ['nlmsg', 'nfgen', 'statusFlags', 'labelBits', 'helper', 'protoinfo'];

/** What readFlow must give for a vector. */
export function expectedFlow(vector: Vector): Shape {
  const { decoded } = vector;
  const rest = Object.fromEntries(
    Object.entries(decoded as Shape).filter(([name]) => !NOT_COMPARED.includes(name)),
  );
  const tuples = ['orig', 'reply', 'master'].filter((name) => name in rest);
  const named = ([member]: [string, unknown]) => !/Names?$/.test(member);
  const protoinfo = Object.fromEntries(
    Object.entries((decoded.protoinfo ?? {}) as Record<string, Shape>).map(([name, members]) => [
      name,
      Object.fromEntries(Object.entries(members).filter(named)),
    ]),
  );
  return {
    type: decoded.nlmsg.type,
    flags: decoded.nlmsg.flags,
    portid: decoded.nlmsg.portid ?? 0,
    ...rest,
    ...Object.fromEntries(tuples.map((name) => [name, tupleOf(rest[name] as Shape)])),
    ...(decoded.protoinfo ? { protoinfo } : {}),
    ...(decoded.helper ? { helper: decoded.helper.name } : {}),
  };
}
