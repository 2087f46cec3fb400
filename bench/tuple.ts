// Which tuple flow number n has, and how it gets into a prepared request. One source per 16,384
// flows, so a million flows come from 64 hosts, as behind a firewall.
//
//   n  →  10.64.0.0 + n / 16384, port 16384 + n mod 16384  →  10.128.0.0 + n mod 251, port 80
//
// Addresses and ports are big-endian, as in the packet.

import { ORIG, REPLY, type RequestKind } from './request.js';

const SOURCES = 0x0a400000;
const TARGETS = 0x0a800000;
const PER_SOURCE = 16384;
export const SERVICE_PORT = 80;

/** Source address of flow n as a number. */
export function sourceOf(n: number): number {
  return SOURCES + Math.floor(n / PER_SOURCE);
}

export function portOf(n: number): number {
  return PER_SOURCE + (n % PER_SOURCE);
}

/** The flow that has this source, or -1. */
export function flowOf(source: number, port: number): number {
  const host = source - SOURCES;
  if (host < 0 || host >= 0x400000 || port < PER_SOURCE || port >= 2 * PER_SOURCE) return -1;
  return host * PER_SOURCE + port - PER_SOURCE;
}

/** Makes the request at `at` speak of flow n. */
export function patchTuple(view: DataView, at: number, kind: RequestKind, n: number): void {
  const source = sourceOf(n);
  const target = TARGETS + (n % 251);
  const port = portOf(n);
  view.setUint32(at + ORIG.src, source);
  view.setUint32(at + ORIG.dst, target);
  view.setUint16(at + ORIG.sport, port);
  if (kind !== 'create') return;
  view.setUint32(at + REPLY.src, target);
  view.setUint32(at + REPLY.dst, source);
  view.setUint16(at + REPLY.dport, port);
}
