// What TCP links keep while they cannot send.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Backlog } from '../../../src/channel/backlog.js';

const SLOT = 64;
const COUNT = 4;
const SOURCE = 4096;

function makeBacklog(): { backlog: Backlog; bytes: Uint8Array } {
  const bytes = new Uint8Array(8192);
  return { bytes, backlog: new Backlog(bytes, { slots: 0, slotSize: SLOT, count: COUNT }) };
}

/** Everything in it, read in bites of `bite` bytes. */
function drain(backlog: Backlog, bytes: Uint8Array, bite: number): number[] {
  const all: number[] = [];
  while (backlog.elements > 0) {
    const count = Math.min(bite, backlog.length);
    all.push(...bytes.subarray(backlog.address, backlog.address + count));
    backlog.advance(count);
  }
  return all;
}

test('gives back what it was given, in order, whatever the bites', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: SLOT }), { maxLength: COUNT }),
      fc.integer({ min: 1, max: SLOT }),
      (lengths, bite) => {
        const { backlog, bytes } = makeBacklog();
        const given: number[] = [];
        lengths.forEach((length, i) => {
          bytes.fill(i + 1, SOURCE, SOURCE + length);
          given.push(...new Array<number>(length).fill(i + 1));
          backlog.push(SOURCE, length);
        });
        expect(drain(backlog, bytes, bite)).toEqual(given);
        expect(backlog.dropped).toBe(0);
      },
    ),
  );
});

test('drops the oldest datagram when one more comes than it holds', () => {
  const { backlog, bytes } = makeBacklog();
  for (let i = 1; i <= COUNT + 2; i++) {
    bytes.fill(i, SOURCE, SOURCE + SLOT);
    backlog.push(SOURCE, SLOT);
  }
  expect(backlog.elements).toBe(COUNT);
  expect(backlog.dropped).toBe(2);
  expect(drain(backlog, bytes, SLOT)[0]).toBe(3);
});

test('puts small datagrams together, so heartbeats do not push out what matters', () => {
  const { backlog, bytes } = makeBacklog();
  bytes.fill(7, SOURCE, SOURCE + SLOT);
  backlog.push(SOURCE, SLOT);
  for (let i = 0; i < 3 * (SLOT / 8); i++) backlog.push(SOURCE, 8);
  expect(backlog.dropped).toBe(0);
  expect(drain(backlog, bytes, SLOT)).toHaveLength(4 * SLOT);
});

test('goes on behind what a connection took in part, and starts over on a new connection', () => {
  const { backlog, bytes } = makeBacklog();
  for (let i = 0; i < 16; i++) bytes[SOURCE + i] = i;
  backlog.push(SOURCE, 16, 5);
  expect(bytes[backlog.address]).toBe(5);
  expect(backlog.length).toBe(11);
  backlog.advance(4);
  expect(bytes[backlog.address]).toBe(9);
  backlog.rewind();
  expect(drain(backlog, bytes, 3)).toEqual(Array.from({ length: 16 }, (_, i) => i));
});
