// Bypass: without an internal cache, every event of the kernel is a message of its own.

import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { INTERNAL, split, TestNode } from './arena.js';
import { type KernelFlow, type Kind, kernelMessage } from './kernel.js';
import { cached, decode, said, say } from './spoken.js';

const PORT = { commit: 4001, flush: 4002, inject: 4003 };
const NOTRACK = { hashLimit: 100, mode: L.MODE_NOTRACK };
const options = L.SHARD_BYPASS | L.SHARD_INJECT | L.SHARD_WINDOW_TRACKING;
const node = new TestNode({ ...NOTRACK, shardOptions: options });

beforeEach(() => {
  node.reset();
  node.set(L.CONTROL_PORT_COMMIT, PORT.commit);
  node.set(L.CONTROL_PORT_FLUSH, PORT.flush);
  node.set(L.CONTROL_PORT_INJECT, PORT.inject);
});

function event(kind: Kind, flow: KernelFlow, port = 0): void {
  node.events(kernelMessage(kind, flow, port));
}

const count = (counter: number) => node.count(node.shard + counter);
const waiting = () => node.get(node.shard + L.SHARD_BYPASS_WAITING);

describe('an event', () => {
  test('becomes a message of its own type, and no record', () => {
    event('new', { n: 1 });
    event('update', { n: 1, state: 2 });
    event('update', { n: 1, state: 3 });
    event('update', { n: 2, v6: true });
    event('destroy', { n: 1 });
    event('destroy', { n: 9, zone: 7 });
    expect(waiting()).toBe(6);
    expect(said(node)).toEqual(['NEW 1', 'UPD 1', 'UPD 1', 'UPD 2v6', 'DEL 1', 'DEL 9 zone 7']);
    expect(waiting()).toBe(0);
    expect(cached(node, INTERNAL)).toEqual([]);
    expect(count(L.SHARD_BYPASS_NEW)).toBe(1);
    expect(count(L.SHARD_BYPASS_UPDATED)).toBe(3);
    expect(count(L.SHARD_BYPASS_DESTROYED)).toBe(2);
  });

  test('carries the translation of a flow behind NAT', () => {
    event('update', { n: 1, snat: 9, status: 0x18e, state: 3 });
    const [message] = node.pump().flatMap(({ out }) => split(node.payload(out)));
    decode(node, message!);
    const has = node.get(node.flow + L.FLOW_PRESENT);
    expect(has & (L.HAS_NAT_SRC | L.HAS_NAT_SPORT)).toBe(L.HAS_NAT_SRC | L.HAS_NAT_SPORT);
  });

  test('of the end of a TCP flow says no window scales, for it has none', () => {
    event('destroy', { n: 1 });
    const [message] = node.pump().flatMap(({ out }) => split(node.payload(out)));
    expect(say(node, message!)).toBe('DEL 1');
    expect(node.get(node.flow + L.FLOW_PRESENT) & L.HAS_WSCALE).toBe(0);
  });

  test.each(Object.entries(PORT))('of our own %s is told to nobody', (_, port) => {
    event('new', { n: 1 }, port);
    event('update', { n: 1 }, port);
    event('destroy', { n: 1 }, port);
    expect(said(node)).toEqual([]);
  });

  test('of the end of a peer’s flow is told to nobody', () => {
    event('new', { n: 1 });
    const [message] = node.pump().flatMap(({ out }) => split(node.payload(out)));
    node.bytes.set(message!, node.arena.link.slots);
    node.set(node.arena.messageLists, node.arena.link.slots);
    node.fn.shardInjected!(node.shard, node.arena.messageLists, 1, 0);
    event('destroy', { n: 1 });
    expect(said(node)).toEqual([]);
    event('update', { n: 1 });
    event('destroy', { n: 1 });
    expect(said(node)).toEqual(['UPD 1', 'DEL 1']);
  });
});

test('a table that is read goes out as NEW', () => {
  node.fn.shardDumpBegin!(node.shard);
  node.dump(true, kernelMessage('dump', { n: 1 }), kernelMessage('dump', { n: 2, v6: true }));
  expect(node.fn.shardDumpEnd!(node.shard, 0, 1, 1e6)).toBe(0);
  expect(said(node)).toEqual(['NEW 1', 'NEW 2v6']);
});

test('what finds no room to wait in is dropped and counted, and the rest keeps its order', () => {
  for (let n = 1; n <= 500; n++) event('new', { n });
  const kept = count(L.SHARD_BYPASS_NEW);
  expect(kept).toBeGreaterThan(50);
  expect(count(L.SHARD_BYPASS_DROPPED)).toBe(500 - kept);
  expect(said(node)).toEqual(Array.from({ length: kept }, (_, i) => `NEW ${i + 1}`));
  event('new', { n: 600 });
  expect(said(node)).toEqual(['NEW 600']);
});

test('messages come out as they went in, however the ring turns', () => {
  const steps = fc.array(
    fc.oneof(
      { weight: 3, arbitrary: fc.record({ add: fc.integer({ min: 1, max: 40 }) }) },
      { weight: 1, arbitrary: fc.record({ slots: fc.integer({ min: 1, max: 4 }) }) },
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, (list) => {
      node.reset();
      const sent: string[] = [];
      const got: string[] = [];
      let n = 0;
      const take = (slots: number) => {
        const filled = node.pump(slots);
        for (const { out } of filled) {
          for (const message of split(node.payload(out))) got.push(say(node, message));
        }
        return filled.length;
      };
      for (const step of list) {
        if ('slots' in step) {
          take(step.slots);
          continue;
        }
        for (let i = 0; i < step.add; i++) {
          const before = count(L.SHARD_BYPASS_NEW);
          // Messages of different lengths: the end of the ring is met at every offset.
          event('new', n % 3 === 0 ? { n: ++n, v6: true, mark: n } : { n: ++n, l4: 17 });
          if (count(L.SHARD_BYPASS_NEW) > before) sent.push(`NEW ${n}${n % 3 === 1 ? 'v6' : ''}`);
        }
        expect(waiting()).toBe(sent.length - got.length);
      }
      while (take(64) > 0);
      expect(got).toEqual(sent);
    }),
    { numRuns: 100 },
  );
}, 60_000);
