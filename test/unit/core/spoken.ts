// What messages say, in words: 'NEW 5', 'UPD 7v6', 'DEL 3 zone 2'. The number is the one that picks
// the tuple in kernel.ts. Decoding is the module's own.

import * as L from '../../../assembly/layout.js';
import { split, type TestNode } from './arena.js';

const TYPES = ['NEW', 'UPD', 'DEL'];

/** The flow in the wide Flow at `at`: its number, family and zone. */
export function nameOfFlow(node: TestNode, at: number): string {
  const tuple = at + L.FLOW_ORIG;
  const v6 = node.bytes[tuple + L.TUPLE_L3] === 10;
  const host = tuple + L.TUPLE_SRC + (v6 ? 14 : 2);
  const n = (node.bytes[host]! << 8) | node.bytes[host + 1]!;
  const zone = node.view.getUint16(at + L.FLOW_ZONE, true);
  const hasZone = node.get(at + L.FLOW_PRESENT) & L.HAS_ZONE && zone !== 0;
  return `${n}${v6 ? 'v6' : ''}${hasZone ? ` zone ${zone}` : ''}`;
}

/** Decodes a message into node.flow. */
export function decode(node: TestNode, message: Uint8Array): void {
  const at = node.arena.control;
  node.bytes.set(message, at);
  const reason = node.fn.decodeSync!(at, message.length, node.flow, 0);
  if (reason !== 0) throw new Error(`a message that does not decode: ${reason}`);
}

export function say(node: TestNode, message: Uint8Array): string {
  decode(node, message);
  return `${TYPES[message[0]! & 15]} ${nameOfFlow(node, node.flow)}`;
}

/** The messages of all datagrams, in order. */
export function saidIn(node: TestNode, datagrams: readonly Uint8Array[]): string[] {
  return datagrams.flatMap((datagram) => split(datagram)).map((message) => say(node, message));
}

/** Pumps all there is, without numbering it, and tells what it says. */
export function said(node: TestNode): string[] {
  const list: string[] = [];
  for (;;) {
    const slots = node.pump();
    if (slots.length === 0) return list;
    list.push(
      ...saidIn(
        node,
        slots.map(({ out }) => node.payload(out)),
      ),
    );
  }
}

/** The flows of a cache with a state each: 'new 5', 'alive 7v6', 'dead 3', 'tomb 9'. */
export function cached(node: TestNode, kind: number): string[] {
  return node
    .records(kind)
    .map((record) => {
      node.fn.unpackFlow!(record, node.flow);
      const name = nameOfFlow(node, node.flow);
      const state = node.isTomb(record) ? 'tomb' : ['new', 'alive', 'dead'][node.state(record)];
      return `${state} ${name}`;
    })
    .sort();
}
