// The flows a datagram of the dedicated link speaks of, by the numbers of tuple.ts. Reads as little
// as it needs: headers, and of each flow message the attributes IPV4 and PORT.
// Source: docs/wire-protocol.md.

import { flowOf } from '../tuple.js';

const UDP_HEADER = 8;
const SYNC_HEADER = 8;
const LAST_FLOW_TYPE = 2; // CT NEW, UPD, DEL
const IPV4 = 0;
const PORT = 3;

/** Numbers of the flows in an IPv4 packet of `length` bytes at `at`; none if it is something else. */
export function namesInDatagram(view: DataView, at: number, length: number): number[] {
  const names: number[] = [];
  if (length < 28 || view.getUint8(at + 9) !== 17) return names;
  const end = at + Math.min(length, view.getUint16(at + 2));
  let message = at + (view.getUint8(at) & 15) * 4 + UDP_HEADER;
  while (message + SYNC_HEADER <= end) {
    const size = view.getUint16(message + 2);
    if (size < SYNC_HEADER || message + size > end) break;
    if ((view.getUint8(message) & 15) <= LAST_FLOW_TYPE) {
      const name = nameOf(view, message + SYNC_HEADER, message + size);
      if (name >= 0) names.push(name);
    }
    message += size;
  }
  return names;
}

function nameOf(view: DataView, from: number, end: number): number {
  let source = -1;
  let port = -1;
  for (let at = from; at + 4 < end; ) {
    const size = view.getUint16(at);
    if (size < 4) break;
    const type = view.getUint16(at + 2);
    if (type === IPV4) source = view.getUint32(at + 4);
    else if (type === PORT) port = view.getUint16(at + 4);
    at += (size + 3) & ~3;
  }
  return source < 0 || port < 0 ? -1 : flowOf(source, port);
}
