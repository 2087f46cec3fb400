// Messages out of a byte stream: however the kernel cuts it, whole messages come out, in order.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { BROKEN, ENDED, StreamReader } from '../../../src/channel/stream.js';
import { TestNode } from '../core/arena.js';

const node = new TestNode({ hashLimit: 64, resendQueueSize: 64, streams: 1 });
const { arena } = node;

/** A reader, and what a stream that is cut into `pieces` leaves in the slots. */
function readAll(pieces: readonly Uint8Array[]): { slots: Uint8Array[]; end: string | undefined } {
  const reader = new StreamReader(arena, arena.carries[0]!, (ptr, remain) =>
    node.fn.frameLengthStream!(ptr, remain),
  );
  reader.reset();
  const waiting = pieces.filter((piece) => piece.length > 0).map((piece) => piece.slice());
  const slots: Uint8Array[] = [];
  for (;;) {
    const before = waiting.length;
    const { slots: count, end } = reader.fill(arena.link, (address, room) => {
      const piece = waiting[0];
      if (piece === undefined) return 0;
      const taken = Math.min(room, piece.length);
      arena.bytes.set(piece.subarray(0, taken), address);
      if (taken === piece.length) waiting.shift();
      else waiting[0] = piece.subarray(taken);
      return taken;
    });
    for (let i = 0; i < count; i++) {
      const length = arena.get(arena.link.headers + i * L.MMSG_SIZE + L.MMSG_LEN);
      const slot = arena.link.slots + i * arena.link.slotSize;
      slots.push(arena.bytes.slice(slot, slot + length));
    }
    if (end !== undefined) return { slots, end };
    if (before === 0) throw new Error('a stream without an end');
  }
}

/** A data message of `length` bytes, all but its header filled with `fill`. */
function message(length: number, fill: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(fill, 8);
  bytes[0] = 0x10;
  bytes[2] = length >> 8;
  bytes[3] = length & 255;
  return bytes;
}

function cut(stream: Uint8Array, at: readonly number[]): Uint8Array[] {
  const places = [...new Set(at.map((n) => n % (stream.length + 1)))].sort((a, b) => a - b);
  return [0, ...places].map((from, i) => stream.subarray(from, places[i] ?? stream.length));
}

const lengths = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 8, max: 200 }) },
  { weight: 1, arbitrary: fc.integer({ min: 60_000, max: 65_535 }) },
);

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Every slot holds whole messages only. */
function expectWhole(slots: readonly Uint8Array[]): void {
  for (const slot of slots) {
    let at = 0;
    while (at < slot.length) at += (slot[at + 2]! << 8) | slot[at + 3]!;
    expect(at).toBe(slot.length);
  }
}

describe('a stream of messages', () => {
  test('comes out whole however it is cut', () => {
    fc.assert(
      fc.property(
        fc.array(lengths, { maxLength: 12 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (sizes, at) => {
          const stream = concat(sizes.map((size, i) => message(size, i + 1)));
          const { slots, end } = readAll(cut(stream, at));
          expect(end).toBe(ENDED);
          expectWhole(slots);
          expect(Buffer.from(concat(slots)).equals(Buffer.from(stream))).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('comes out whole when every byte comes alone', () => {
    const stream = concat([message(8, 1), message(76, 2), message(16, 3)]);
    const { slots } = readAll([...stream].map((byte) => Uint8Array.of(byte)));
    expect(slots.map((slot) => slot.length)).toEqual([8, 76, 16]);
  });

  test('keeps an unfinished message to itself', () => {
    const stream = concat([message(40, 1), message(80, 2)]).subarray(0, 100);
    const { slots, end } = readAll([stream]);
    expect(slots.map((slot) => slot.length)).toEqual([40]);
    expect(end).toBe(ENDED);
  });

  test('ends where a length is none, and what came before counts', () => {
    for (const bad of [0, 7]) {
      const broken = message(64, 9);
      broken[3] = bad;
      const { slots, end } = readAll([concat([message(40, 1), broken, message(40, 2)])]);
      expect(end).toBe(BROKEN);
      expect(slots.map((slot) => slot.length)).toEqual([40]);
    }
  });

  test('does not remember the connection before', () => {
    const reader = new StreamReader(arena, arena.carries[0]!, (ptr, remain) =>
      node.fn.frameLengthStream!(ptr, remain),
    );
    const feed = (piece: Uint8Array) => {
      let given = false;
      return reader.fill(arena.link, (address) => {
        if (given) return -1;
        given = true;
        arena.bytes.set(piece, address);
        return piece.length;
      });
    };
    expect(feed(message(80, 1).subarray(0, 50)).slots).toBe(0);
    reader.reset();
    expect(feed(message(24, 2))).toEqual({ slots: 1 });
    expect(arena.get(arena.link.headers + L.MMSG_LEN)).toBe(24);
  });
});
