// The resend queue against a list of what is held: honest, forged and overlapping acknowledgements,
// at any place of the sequence space, cost no more than the ring is long and free exactly what they
// name.

import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { FLAG } from '../../../src/sync/flags.js';
import { split, TestNode } from './arena.js';
import { kernelMessage } from './kernel.js';

const RING = 128; // the power of two above ResendQueueSize
const LIMIT = 100;
const node = new TestNode({ hashLimit: 256, resendQueueSize: LIMIT, payloadMax: 500 });
const { sender } = node.arena;
const field = (offset: number) => node.get(sender + offset);

beforeEach(() => {
  node.reset();
});

/** Sequence arithmetic: how far `s` is ahead of `from`, negative when behind. */
const ahead = (s: number, from: number) => (s - from) | 0;

function heldSequences(): number[] {
  const list: number[] = [];
  const next = field(L.SENDER_NEXT);
  for (let back = field(L.SENDER_MASK) + 1; back > 0; back--) {
    const sequence = (next - back) >>> 0;
    if (ahead(sequence, field(L.SENDER_TAIL)) < 0) continue;
    if (node.get(field(L.SENDER_RING) + 4 * (sequence & field(L.SENDER_MASK))) !== 0) {
      list.push(sequence);
    }
  }
  return list;
}

function ringEntries(): number {
  const entries = node.words(field(L.SENDER_RING), field(L.SENDER_MASK) + 1);
  return entries.filter((entry) => entry !== 0).length;
}

function checkSender(): void {
  expect(field(L.SENDER_HELD)).toBe(ringEntries());
  expect(heldSequences()).toHaveLength(ringEntries());
  expect(field(L.SENDER_HELD)).toBeLessThanOrEqual(LIMIT);
  expect((field(L.SENDER_NEXT) - field(L.SENDER_TAIL)) >>> 0).toBeLessThanOrEqual(RING);
}

function startAt(sequence: number): void {
  node.set(sender + L.SENDER_NEXT, sequence);
  node.set(sender + L.SENDER_TAIL, sequence);
}

function control(flags: number, from = 0, to = 0): Uint8Array {
  const at = node.arena.control;
  const length = node.fn.senderControl!(sender, at, flags, from, to);
  return node.bytes.slice(at, at + length);
}

/** A number near a limit of the sequence space or of what is held, or just any. */
const anySequence = (first: number) =>
  fc.oneof(
    fc.nat(0xffffffff),
    fc
      .tuple(
        fc.constantFrom(0, 2 ** 31, first, (first + 2 ** 31) >>> 0),
        fc.integer({ min: -99, max: 99 }),
      )
      .map(([base, off]) => (base + off) >>> 0),
  );

describe('the resend queue', () => {
  it('frees what an acknowledgement names and nothing else, however it is forged', () => {
    const scene = fc.constantFrom(1000, 0, 0xffffffd0, 0x7fffffd0, 0x80000000).chain((first) =>
      fc.record({
        first: fc.constant(first),
        ranges: fc.array(fc.tuple(anySequence(first), anySequence(first), fc.boolean()), {
          maxLength: 30,
        }),
      }),
    );
    fc.assert(
      fc.property(scene, ({ first, ranges }) => {
        node.reset();
        startAt(first);
        for (let n = 0; n < 60; n++) node.events(kernelMessage('new', { n }));
        node.send();
        for (const [from, to, miss] of ranges) {
          if (ahead(to, from) < 0) continue; // such a message is refused as bad before
          const tail = field(L.SENDER_TAIL);
          const named = heldSequences().filter((s) => {
            return (
              ahead(s, tail) >= Math.max(0, ahead(from, tail)) && ahead(s, tail) <= ahead(to, tail)
            );
          });
          const kept = heldSequences().filter((s) => !named.includes(s));
          node.set(sender + L.SENDER_AGAIN_COUNT, 0);
          if (miss) node.fn.senderMissed!(sender, from, to);
          else node.fn.senderAcknowledged!(sender, from, to);
          expect(heldSequences()).toEqual(kept);
          expect(field(L.SENDER_AGAIN_COUNT)).toBe(miss ? named.length : 0);
          checkSender();
        }
      }),
      { numRuns: 300 },
    );
  });

  it('does not walk half the sequence space for a range that is no range', () => {
    for (let n = 0; n < 60; n++) node.events(kernelMessage('new', { n }));
    node.send();
    const tail = field(L.SENDER_TAIL);
    // From as far ahead as can be, to just behind the oldest: valid as serial numbers.
    const started = performance.now();
    for (let i = 0; i < 1000; i++) {
      node.fn.senderAcknowledged!(sender, tail + 0x7fffffff - i, tail - 1 - i);
      node.fn.senderMissed!(sender, tail + 0x7fffffff - i, tail - 1 - i);
    }
    expect(field(L.SENDER_HELD)).toBe(60);
    // Each unclipped walk would take seconds.
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it('holds no more than its limit and counts what it gives up, dead flows included', () => {
    for (let n = 0; n < 250; n++) {
      node.events(kernelMessage('new', { n }));
      node.send();
      checkSender();
    }
    expect(field(L.SENDER_HELD)).toBe(LIMIT);
    expect(node.count(sender + L.SENDER_PUSHED_OUT)).toBe(250 - LIMIT);
    expect(node.count(sender + L.SENDER_SENT)).toBe(250);
    for (let n = 0; n < 250; n++) node.events(kernelMessage('destroy', { n }));
    node.send();
    expect(field(L.SENDER_HELD)).toBe(LIMIT);
    expect(field(L.SENDER_REAP_COUNT)).toBe(250 - LIMIT);
  });

  it('gives up what is older than the ring is long, even when little is held', () => {
    node.events(kernelMessage('new', { n: 1 }));
    node.send();
    for (let i = 0; i < RING - 1; i++) control(FLAG.ALIVE);
    expect(field(L.SENDER_HELD)).toBe(1);
    control(FLAG.ALIVE);
    expect(field(L.SENDER_HELD)).toBe(0);
    expect(node.count(sender + L.SENDER_PUSHED_OUT)).toBe(1);
    checkSender();
  });

  it('holds nothing when nothing is acknowledged (NOTRACK)', () => {
    node.set(sender + L.SENDER_TRACKED, 0);
    for (let i = 0; i < 3; i++) {
      for (let n = 0; n < 200; n++) node.events(kernelMessage('update', { n }));
      node.send();
      control(FLAG.RESYNC);
    }
    expect(field(L.SENDER_HELD)).toBe(0);
    expect(ringEntries()).toBe(0);
    expect(field(L.SENDER_NEXT)).toBe(1000 + 603);
  });

  it('numbers every message of a datagram in turn and sets the greetings', () => {
    startAt(0xfffffffe);
    node.set(sender + L.SENDER_FLAGS, FLAG.HELLO);
    node.set(sender + L.SENDER_ONCE, FLAG.HELLO_BACK);
    for (let n = 0; n < 4; n++) node.events(kernelMessage('new', { n }));
    const messages = node.send().flatMap(split);
    const read = messages.map((message) => [Buffer.from(message).readUInt32BE(4), message[1]]);
    expect(read).toEqual([
      [0xfffffffe, FLAG.HELLO | FLAG.HELLO_BACK],
      [0xffffffff, FLAG.HELLO],
      [0, FLAG.HELLO],
      [1, FLAG.HELLO],
    ]);
    checkSender();
  });

  it('sends a lost control message again with a new number and without an old greeting', () => {
    node.set(sender + L.SENDER_FLAGS, FLAG.HELLO);
    control(FLAG.ACK, 5, 9);
    control(FLAG.ALIVE);
    control(FLAG.NACK, 20, 30);
    expect(field(L.SENDER_HELD)).toBe(2);
    node.set(sender + L.SENDER_FLAGS, 0);
    node.fn.senderMissed!(sender, 1000, 1002);
    expect(field(L.SENDER_CONTROL_AGAIN_COUNT)).toBe(2);
    const list = node.words(field(L.SENDER_CONTROL_AGAIN), 2);
    const again = list.map((index) => {
      const length = node.fn.senderControlAgain!(sender, node.arena.control, index);
      return Buffer.from(
        node.bytes.slice(node.arena.control, node.arena.control + length),
      ).toString('hex');
    });
    expect(again).toEqual(['1a080010000003eb0000000500000009', '1a040010000003ec000000140000001e']);
    checkSender();
  });

  it('takes no control message for another after its slot was used again', () => {
    node.set(sender + L.SENDER_CONTROL_NEXT, L.CONTROL_SLOTS - 1);
    control(FLAG.ACK, 1, 1);
    control(FLAG.ACK, 2, 2);
    expect(field(L.SENDER_CONTROL_NEXT)).toBe(1);
    node.set(sender + L.SENDER_CONTROL_NEXT, L.CONTROL_SLOTS - 1);
    control(FLAG.ACK, 3, 3); // overwrites the slot of 1000
    node.fn.senderMissed!(sender, 1000, 1000);
    expect(field(L.SENDER_CONTROL_AGAIN_COUNT)).toBe(0);
    node.fn.senderMissed!(sender, 1002, 1002);
    expect(field(L.SENDER_CONTROL_AGAIN_COUNT)).toBe(1);
    checkSender();
  });

  it('lets a record speak for itself that took the place of a forgotten one', () => {
    startAt(0);
    node.events(kernelMessage('new', { n: 1 }));
    node.send(); // number 0
    const record = node.records(0)[0]!;
    node.set(L.CONTROL_PORT_FLUSH, 4002);
    node.events(kernelMessage('destroy', { n: 1 }, 4002));
    node.events(kernelMessage('new', { n: 2 }));
    expect(node.records(0)).toEqual([record]);
    // The number 0 spoke of flow 1: flow 2 was never sent, so there is nothing to send again.
    node.fn.senderMissed!(sender, 0, 0);
    expect(field(L.SENDER_AGAIN_COUNT)).toBe(0);
    checkSender();
  });

  it('forgets everything when the peer restarts, and lets dead flows go', () => {
    for (let n = 0; n < 10; n++) node.events(kernelMessage('new', { n }));
    node.send();
    for (let n = 0; n < 4; n++) node.events(kernelMessage('destroy', { n }));
    node.send();
    control(FLAG.ACK, 1, 2);
    node.fn.senderForget!(sender);
    expect(field(L.SENDER_HELD)).toBe(0);
    expect(field(L.SENDER_TAIL)).toBe(field(L.SENDER_NEXT));
    expect(field(L.SENDER_REAP_COUNT)).toBe(4);
    expect(node.count(sender + L.SENDER_PUSHED_OUT)).toBe(0);
    checkSender();
  });
});
