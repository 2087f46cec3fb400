// Tuples in requests: what a direction of a flow is named by, from a command line or from a flow,
// and its mirror. Plain values and the attribute that holds them.

import {
  AF_INET,
  IPPROTO_DCCP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../report/names.js';
import type { Address } from './address.js';
import {
  CTA_IP_V4_DST,
  CTA_IP_V4_SRC,
  CTA_IP_V6_DST,
  CTA_IP_V6_SRC,
  CTA_PROTO_DST_PORT,
  CTA_PROTO_ICMP_CODE,
  CTA_PROTO_ICMP_ID,
  CTA_PROTO_ICMP_TYPE,
  CTA_PROTO_ICMPV6_CODE,
  CTA_PROTO_ICMPV6_ID,
  CTA_PROTO_ICMPV6_TYPE,
  CTA_PROTO_NUM,
  CTA_PROTO_SRC_PORT,
  CTA_TUPLE_IP,
  CTA_TUPLE_PROTO,
  CTA_TUPLE_ZONE,
} from './attributes.js';
import type { MessageWriter } from './message.js';
import { P } from './protocols.js';
import type { Ends, Request } from './request.js';

/** One direction. A member that is undefined is not sent. */
export interface Tuple {
  family: number;
  src: Uint8Array | undefined;
  dst: Uint8Array | undefined;
  protocol: number;
  /** Ports or keys. */
  sport: number | undefined;
  dport: number | undefined;
  icmpId: number | undefined;
  icmpType: number | undefined;
  icmpCode: number | undefined;
  zone: number | undefined;
}

const PORTS = new Set([
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPPROTO_SCTP,
  IPPROTO_DCCP,
  IPPROTO_GRE,
]);

export function hasPorts(protocol: number): boolean {
  return PORTS.has(protocol);
}

/** A tuple from the words of a command line; `sport` and `dport` are the places of its ports. */
export function tupleOf(request: Request, ends: Ends, sport: number, dport: number): Tuple {
  const { places, values } = request;
  const value = (place: number) => (places & (1 << place) ? values[place] : undefined);
  return {
    family: request.family,
    src: bytesOf(ends.src),
    dst: bytesOf(ends.dst),
    protocol: request.choice?.number ?? 0,
    sport: value(sport),
    dport: value(dport),
    icmpId: value(P.icmpId),
    icmpType: value(P.icmpType),
    icmpCode: value(P.icmpCode),
    zone: undefined,
  };
}

function bytesOf(address: Address | undefined): Uint8Array | undefined {
  return address?.bytes;
}

/** Query types and their answers (RFC 792, RFC 950, RFC 4443). */
const ANSWERS: Readonly<Record<number, number>> = {
  8: 0,
  0: 8,
  13: 14,
  14: 13,
  15: 16,
  16: 15,
  17: 18,
  18: 17,
  128: 129,
  129: 128,
};

/** The tuple of the other direction of an untranslated flow. */
export function mirror(tuple: Tuple): Tuple {
  const { icmpType } = tuple;
  return {
    ...tuple,
    src: tuple.dst,
    dst: tuple.src,
    sport: tuple.dport,
    dport: tuple.sport,
    icmpType: icmpType === undefined ? undefined : (ANSWERS[icmpType] ?? icmpType),
    zone: undefined,
  };
}

/** Writes a tuple as the attribute `type`. */
export function putTuple(message: MessageWriter, type: number, tuple: Tuple): void {
  const nest = message.nest(type);
  const v4 = tuple.family === AF_INET;
  const ip = message.nest(CTA_TUPLE_IP);
  if (tuple.src !== undefined) message.raw(v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, tuple.src);
  if (tuple.dst !== undefined) message.raw(v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, tuple.dst);
  message.close(ip);
  const proto = message.nest(CTA_TUPLE_PROTO);
  putProtocol(message, tuple);
  message.close(proto);
  if (tuple.zone !== undefined) message.u16(CTA_TUPLE_ZONE, tuple.zone);
  message.close(nest);
}

function putProtocol(message: MessageWriter, tuple: Tuple): void {
  const { protocol, sport, dport, icmpId, icmpType, icmpCode } = tuple;
  message.u8(CTA_PROTO_NUM, protocol);
  if (protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6) {
    // All three, whether given or not: a ping without an id is one with id 0.
    const v6 = protocol === IPPROTO_ICMPV6;
    message.u8(v6 ? CTA_PROTO_ICMPV6_CODE : CTA_PROTO_ICMP_CODE, icmpCode ?? 0);
    message.u8(v6 ? CTA_PROTO_ICMPV6_TYPE : CTA_PROTO_ICMP_TYPE, icmpType ?? 0);
    message.u16(v6 ? CTA_PROTO_ICMPV6_ID : CTA_PROTO_ICMP_ID, icmpId ?? 0);
    return;
  }
  if (sport !== undefined) message.u16(CTA_PROTO_SRC_PORT, sport);
  if (dport !== undefined) message.u16(CTA_PROTO_DST_PORT, dport);
}
