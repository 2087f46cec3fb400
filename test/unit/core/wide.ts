// Wide Flows in memory for tests of records and tables: attribute by attribute, as raw bytes, from
// one list of where each attribute lies. An attribute is named by its HAS_* bit.

import fc from 'fast-check';
import * as L from '../../../assembly/layout.js';
import { toHex } from '../../wasm.js';
import type { TestNode } from './arena.js';

interface Field {
  bit: number;
  parts: { at: number; size: number }[];
}

const one = (bit: number, at: number, size: number): Field => ({ bit, parts: [{ at, size }] });

/** Every attribute but the tuples of the flow itself. */
export const FIELDS: Field[] = [
  one(L.HAS_STATUS, L.FLOW_STATUS, 4),
  one(L.HAS_TIMEOUT, L.FLOW_TIMEOUT, 4),
  one(L.HAS_MARK, L.FLOW_MARK, 4),
  one(L.HAS_ID, L.FLOW_ID, 4),
  one(L.HAS_STATE, L.FLOW_STATE, 1),
  one(L.HAS_WSCALE, L.FLOW_WSCALE_ORIG, 2),
  {
    bit: L.HAS_TCP_FLAGS,
    parts: [
      { at: L.FLOW_TCP_FLAGS_ORIG, size: 1 },
      { at: L.FLOW_TCP_FLAGS_REPLY, size: 1 },
    ],
  },
  one(L.HAS_VTAG, L.FLOW_VTAG_ORIG, 8),
  one(L.HAS_DCCP_ROLE, L.FLOW_DCCP_ROLE, 1),
  one(L.HAS_SEQADJ_ORIG, L.FLOW_SEQADJ, 12),
  one(L.HAS_SEQADJ_REPLY, L.FLOW_SEQADJ + 12, 12),
  one(L.HAS_SYNPROXY, L.FLOW_SYNPROXY, 12),
  one(L.HAS_LABELS, L.FLOW_LABELS, 16),
  one(L.HAS_HELPER, L.FLOW_HELPER, 16),
  one(L.HAS_ZONE_REPLY, L.FLOW_ZONE_REPLY, 2),
  one(L.HAS_MASTER, L.FLOW_MASTER, L.TUPLE_SIZE),
];

/** A translation as a peer tells it, or the reply tuple as the kernel does. */
export const NAT_BITS = L.HAS_NAT_SRC | L.HAS_NAT_DST | L.HAS_NAT_SPORT | L.HAS_NAT_DPORT;
const NAT_FIELDS: Field[] = [
  one(L.HAS_NAT_SRC, L.FLOW_NAT_SRC, 16),
  one(L.HAS_NAT_DST, L.FLOW_NAT_DST, 16),
  one(L.HAS_NAT_SPORT, L.FLOW_NAT_SPORT, 2),
  one(L.HAS_NAT_DPORT, L.FLOW_NAT_DPORT, 2),
];
const REPLY: Field = one(L.HAS_REPLY, L.FLOW_REPLY, L.TUPLE_SIZE);
const ALL_FIELDS = [...FIELDS, REPLY, ...NAT_FIELDS];

export interface Identity {
  v6: boolean;
  l4: number;
  src: Uint8Array;
  dst: Uint8Array;
  sport: number;
  dport: number;
  zone: number;
}

/** Attributes by bit; the values are the bytes in hex. */
export type Attributes = Map<number, string>;

const PORTS = [6, 17, 132, 33, 136, 47];

export function knownOf(l4: number): number {
  const both = L.KNOWN_L3 | L.KNOWN_L4;
  if (PORTS.includes(l4)) return both | L.KNOWN_PORTS;
  return l4 === 1 || l4 === 58 ? both | L.KNOWN_ICMP : both;
}

function tupleBytes(v6: boolean, l4: number, src: Uint8Array, dst: Uint8Array): Uint8Array {
  const tuple = new Uint8Array(L.TUPLE_SIZE);
  tuple[L.TUPLE_L3] = v6 ? 10 : 2;
  tuple[L.TUPLE_L4] = l4;
  tuple[L.TUPLE_KNOWN] = knownOf(l4);
  tuple.set(src.subarray(0, v6 ? 16 : 4), L.TUPLE_SRC);
  tuple.set(dst.subarray(0, v6 ? 16 : 4), L.TUPLE_DST);
  return tuple;
}

/** The Tuple of an identity. Protocols without ports have zeros there. */
export function tupleOf(id: Identity): Uint8Array {
  const tuple = tupleBytes(id.v6, id.l4, id.src, id.dst);
  if (knownOf(id.l4) & (L.KNOWN_PORTS | L.KNOWN_ICMP)) {
    tuple.set([id.sport & 255, id.sport >> 8, id.dport & 255, id.dport >> 8], L.TUPLE_SPORT);
  }
  return tuple;
}

/** Writes a wide Flow; what is not in `attributes` is garbage, as codecs leave it. */
export function writeFlow(node: TestNode, id: Identity, attributes: Attributes): void {
  const { bytes, view, flow } = node;
  bytes.fill(0xa5, flow, flow + L.FLOW_SIZE);
  bytes.set(tupleOf(id), flow + L.FLOW_ORIG);
  let present = L.HAS_ORIG;
  view.setUint16(flow + L.FLOW_ZONE, id.zone, true);
  if (id.zone !== 0) present |= L.HAS_ZONE;
  for (const { bit, parts } of ALL_FIELDS) {
    const hex = attributes.get(bit);
    if (hex === undefined) continue;
    present |= bit;
    const value = Buffer.from(hex, 'hex');
    let from = 0;
    for (const { at, size } of parts) {
      bytes.set(value.subarray(from, from + size), flow + at);
      from += size;
    }
  }
  view.setUint32(flow + L.FLOW_PRESENT, present, true);
  view.setUint32(flow + L.FLOW_OBSERVED, 0, true);
}

/** The attributes of the wide Flow at `at`, those that are present. */
export function readAttributes(node: TestNode, at: number): Attributes {
  const present = node.get(at + L.FLOW_PRESENT);
  const list: Attributes = new Map();
  for (const { bit, parts } of ALL_FIELDS) {
    if (!(present & bit)) continue;
    const hex = parts.map((part) =>
      toHex(node.bytes.slice(at + part.at, at + part.at + part.size)),
    );
    list.set(bit, hex.join(''));
  }
  return list;
}

// ------------------------------------------------------------------------------- arbitraries

const raw = (size: number) => fc.uint8Array({ minLength: size, maxLength: size });

export const anyIdentity: fc.Arbitrary<Identity> = fc.record({
  v6: fc.boolean(),
  l4: fc.constantFrom(6, 17, 1, 58, 132, 33, 136, 47, 253),
  src: raw(16),
  dst: raw(16),
  sport: fc.nat(65535),
  dport: fc.nat(65535),
  zone: fc.constantFrom(0, 0, 1, 65535),
});

const attributeOf = (field: Field): fc.Arbitrary<[number, string] | undefined> => {
  const size = field.parts.reduce((sum, part) => sum + part.size, 0);
  // Zeros often: a synproxy of zeros is stored without a side part.
  const value = fc.oneof(raw(size), fc.constant(new Uint8Array(size)));
  return fc.option(
    value.map((bytes): [number, string] => [field.bit, toHex(bytes)]),
    { nil: undefined },
  );
};

const anyNat = (v6: boolean): fc.Arbitrary<[number, string][]> =>
  fc
    .tuple(
      ...NAT_FIELDS.map((field) => {
        const address = field.parts[0]!.size === 16;
        return fc.option(
          raw(field.parts[0]!.size).map((bytes): [number, string] => {
            if (address && !v6) bytes.fill(0, 4);
            return [field.bit, toHex(bytes)];
          }),
          { nil: undefined },
        );
      }),
    )
    .map((list) => list.filter((entry) => entry !== undefined));

function anyReply(id: Identity): fc.Arbitrary<[number, string][]> {
  return fc
    .tuple(raw(16), raw(16), fc.nat(65535), fc.nat(65535))
    .map(([src, dst, sport, dport]) => [
      [L.HAS_REPLY, toHex(tupleOf({ ...id, src, dst, sport, dport }))],
    ]);
}

/** Attributes a flow with this identity may have. */
export function anyAttributes(id: Identity): fc.Arbitrary<Attributes> {
  const back = fc.oneof(fc.constant<[number, string][]>([]), anyReply(id), anyNat(id.v6));
  return fc
    .tuple(fc.tuple(...FIELDS.map(attributeOf)), back)
    .map(([list, more]) => new Map([...list.filter((entry) => entry !== undefined), ...more]));
}
