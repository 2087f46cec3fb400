// Expectations as the kernel announces them and as peers tell of them, for tests. The master is a
// flow of kernel.ts, picked by its number. Source: linux/netfilter/nfnetlink_conntrack.h.

import { EXPECT_ENTRY, EXPECT_ENTRY_SIZE } from '../../../assembly/expect-layout.js';
import * as L from '../../../assembly/layout.js';
import { toHex } from '../../wasm.js';
import type { TestNode } from './arena.js';
import { address, attribute, be32, nest, sportOf, tuple } from './kernel.js';

export interface Announced {
  /** Picks the master. */
  n: number;
  /** Port the data connection will go to. */
  port: number;
  v6?: boolean;
  helper?: string;
  timeout?: number;
  flags?: number;
  class?: number;
  /** Saved port before translation; with it comes the function that follows the master. */
  nat?: number;
}

export type ExpectKind = 'new' | 'update' | 'destroy';

const TYPE = { new: 0x200, update: 0x200, destroy: 0x202 };
const FLAGS = { new: 0x600, update: 0, destroy: 0 };

/** A message of the kernel about an expectation, caused by the socket `port`. */
export function expectMessage(kind: ExpectKind, of: Announced, port = 0): Uint8Array {
  const { v6 = false, n } = of;
  const client = address(1, n, v6);
  const server = address(2, n, v6);
  const ones = new Uint8Array(client.length).fill(255);
  const parts = [
    tuple(2, 6, { src: server, dst: client, sport: 0, dport: of.port }),
    tuple(3, 6, { src: ones, dst: ones, sport: 0, dport: 0xffff }),
    tuple(1, 6, { src: client, dst: server, sport: sportOf(n), dport: 80 }),
    be32(4, of.timeout ?? 300),
    be32(8, of.flags ?? 0),
    be32(9, of.class ?? 0),
    attribute(6, Buffer.from(`${of.helper ?? 'ftp'}\0`, 'latin1')),
  ];
  if (of.nat !== undefined) {
    const zero = new Uint8Array(client.length);
    const saved = tuple(2, 6, { src: client, dst: zero, sport: of.nat, dport: 0 });
    parts.push(nest(10, be32(1, 1), saved));
    parts.push(attribute(11, Buffer.from('nat-follow-master\0', 'latin1')));
  }
  const body = Buffer.concat(parts);
  const out = new Uint8Array(20 + body.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, out.length, true);
  view.setUint16(4, TYPE[kind], true);
  view.setUint16(6, FLAGS[kind], true);
  view.setUint32(12, port, true);
  out[16] = v6 ? 10 : 2;
  out.set(body, 20);
  return out;
}

/** Gives kernel messages of either kind to the shard, flows first, as the data plane does. */
export function happens(node: TestNode, ...messages: Uint8Array[]): void {
  const flows = node.gather(messages);
  const expects = node.get(node.arena.gather + L.GATHER_EXPECTS);
  const batch = node.arena.batches[0]!;
  node.fn.shardEvents!(node.shard, batch.flows, flows);
  node.fn.shardExpectEvents!(node.shard, batch.expects, expects);
}

/** Addresses of the entries of a cache that are not free. */
export function entries(node: TestNode, kind: number): number[] {
  const table = node.arena.expectTable(0, kind);
  const base = node.get(table + L.TABLE_RECORDS);
  const used = node.get(table + L.TABLE_USED);
  const all = Array.from({ length: used }, (_, i) => base + i * EXPECT_ENTRY_SIZE);
  return all.filter((entry) => node.state(entry) !== L.OBJECT_FREE);
}

/** The living expectations of a cache, each as the message that would tell a peer all about it. */
export function known(node: TestNode, kind: number): string[] {
  const { fn, arena } = node;
  const living = entries(node, kind).filter((entry) => node.state(entry) !== L.OBJECT_DEAD);
  return living
    .map((entry) => {
      const length = fn.encodeSyncExpect!(entry + EXPECT_ENTRY, arena.control, 1000, 3, 0);
      if (length <= 0) throw new Error(`an expectation that does not encode: ${length}`);
      return toHex(node.bytes.slice(arena.control + 8, arena.control + length));
    })
    .sort();
}

/** A counter of a table of expectations. */
export function counted(node: TestNode, kind: number, offset: number): number {
  return node.count(node.arena.expectTable(0, kind) + offset);
}

/** Applies EXP messages of a peer to the external table. */
export function told(node: TestNode, ...messages: Uint8Array[]): void {
  const { arena } = node;
  for (const message of messages) {
    node.bytes.set(message, arena.link.slots);
    node.set(arena.messageLists, arena.link.slots);
    node.fn.shardExpectMessages!(node.shard, arena.messageLists, 1);
  }
}
