// Sync messages from a hostile or broken peer: cut short, mutated, invented. Every message lies at
// the very end of the memory, so reading one byte behind it traps and fails the test.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as layout from '../../../assembly/layout.js';
import { edge, FLOW, FLOW2, OUT, samples, snapshot, TUPLE } from './vectors.js';

const box = edge();
const flows = samples(0, 2);
const all = samples(0, 5);
const reasons = [layout.BAD_LENGTH, layout.BAD_SIZE, layout.BAD_TYPE, layout.BAD_TUPLE];

/** Decodes in all ways, holds them to each other, and returns the verdict. */
function judge(bytes: Uint8Array, options = 0): number {
  const at = box.put(bytes);
  box.bytes.fill(0, FLOW, FLOW + layout.FLOW_SIZE);
  box.bytes.fill(0, FLOW2, FLOW2 + layout.FLOW_SIZE);
  const verdict = box.fn.decodeSync!(at, bytes.length, FLOW, options);
  const generic = box.fn.decodeSyncGeneric!(at, bytes.length, FLOW2, options);
  const zone = box.fn.peekSync!(at, bytes.length, TUPLE, options);
  if (verdict !== generic) throw new Error(`shape says ${verdict}, walk says ${generic}`);
  const present = box.view.getUint32(FLOW + layout.FLOW_PRESENT, true);
  if (verdict < 0) {
    if (!reasons.includes(verdict)) throw new Error(`no such reason: ${verdict}`);
    if (present !== 0) throw new Error('a refused message left a Flow');
    return verdict;
  }
  if (!equal(FLOW, FLOW2, layout.FLOW_SIZE)) throw new Error('shape and walk differ');
  if (zone !== zoneOf(present)) throw new Error(`zone ${zone}`);
  if (!equal(TUPLE, FLOW + layout.FLOW_ORIG, layout.TUPLE_SIZE))
    throw new Error('routed elsewhere');
  return 0;
}

// The zone in which a flow is looked up.
function zoneOf(present: number): number {
  if (!(present & layout.HAS_ZONE) && present & layout.HAS_ZONE_ORIG) {
    return box.view.getUint16(FLOW + layout.FLOW_ZONE_ORIG, true);
  }
  return box.view.getUint16(FLOW + layout.FLOW_ZONE, true);
}

// A hundred thousand comparisons: expect() is for the few, this for the many.
function equal(a: number, b: number, size: number): boolean {
  return Buffer.compare(snapshot(box, a, size), snapshot(box, b, size)) === 0;
}

function setLength(bytes: Uint8Array): Uint8Array {
  bytes[2] = bytes.length >> 8;
  bytes[3] = bytes.length & 255;
  return bytes;
}

describe('a message cut short', () => {
  test.each(flows)('$name: at every byte, is read to its end and no further', ({ bytes }) => {
    expect(judge(bytes.slice())).toBe(0);
    let accepted = 0;
    for (let length = 0; length < bytes.length; length++) {
      if (judge(setLength(bytes.slice(0, length))) === 0) accepted++;
    }
    // What follows the identity may be missing, and padding, but the identity may not.
    expect(accepted).toBeLessThan(bytes.length - 8 - 12 - 8 - 4);
  });

  test('does not change its verdict with the bytes that follow', () => {
    for (const { bytes } of flows) {
      for (let length = 8; length < bytes.length; length++) {
        const cut = bytes.slice(0, length);
        const verdict = judge(cut);
        const flow = snapshot(box, FLOW);
        // The same cut with what looks like more attributes behind it.
        box.bytes.set(cut, OUT);
        box.bytes.set(bytes.subarray(length), OUT + length);
        box.bytes.fill(0, FLOW, FLOW + layout.FLOW_SIZE);
        const again = box.fn.decodeSync!(OUT, length, FLOW, 0);
        if (again !== verdict) throw new Error(`${again} instead of ${verdict}`);
        if (verdict < 0) continue;
        expect(Buffer.compare(snapshot(box, FLOW), flow)).toBe(0);
      }
    }
  });
});

describe('a mutated message', () => {
  test('never traps, whatever bytes changed', () => {
    fc.assert(
      fc.property(
        fc.nat(all.length - 1),
        fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        fc.nat(3),
        (which, changes, tail) => {
          const source = all[which]!.bytes;
          const bytes = source.slice(0, Math.max(8, source.length - tail));
          for (const [at, value] of changes) bytes[8 + (at % (bytes.length - 8))] = value;
          judge(bytes);
          const at = box.put(bytes);
          const verdict = box.fn.decodeSyncExpect!(at, bytes.length, FLOW);
          if (verdict !== 0 && !reasons.includes(verdict)) throw new Error(`${verdict}`);
        },
      ),
      { numRuns: 8000 },
    );
  });

  test('that decodes encodes again to something that decodes to the same Flow', () => {
    let decoded = 0;
    fc.assert(
      fc.property(
        fc.nat(flows.length - 1),
        fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 3 }),
        (which, changes) => {
          const bytes = flows[which]!.bytes.slice();
          for (const [at, value] of changes) bytes[8 + (at % (bytes.length - 8))] = value;
          if (judge(bytes) !== 0) return;
          decoded++;
          encodedAgain(box.view.getUint32(FLOW, true));
        },
      ),
      { numRuns: 6000 },
    );
    expect(decoded).toBeGreaterThan(1000);
  });
});

/** Options of the encoder: window scales (4), and what only nodes of ours know (8). */
const WITH_ALL = 4 | 8;

/** Encodes the Flow, decodes the result, and compares what may travel. */
function encodedAgain(present: number): void {
  const length = box.fn.encodeSync!(FLOW, OUT, 1468, 0, WITH_ALL);
  expect(length).toBeGreaterThanOrEqual(36);
  box.bytes.fill(0, FLOW2, FLOW2 + layout.FLOW_SIZE);
  expect(box.fn.decodeSync!(OUT, length, FLOW2, 0)).toBe(0);
  const first = snapshot(box, FLOW);
  const second = snapshot(box, FLOW2);
  const view = new DataView(first.buffer);
  // What a sender never says: labels without a bit, and a helper name of 12 characters, which the
  // encoder leaves out for the peer's sake; window scales without a state; UDPlite ports.
  let expected = present | layout.HAS_STATUS;
  if (first.slice(layout.FLOW_LABELS, layout.FLOW_LABELS + 16).every((byte) => byte === 0)) {
    expected &= ~layout.HAS_LABELS;
  }
  if (first[layout.FLOW_HELPER + 11] !== 0) expected &= ~layout.HAS_HELPER;
  if (!(present & layout.HAS_STATE)) {
    expected &= ~(layout.HAS_WSCALE | layout.HAS_VTAG | layout.HAS_DCCP_ROLE);
  }
  expect(new DataView(second.buffer).getUint32(0, true)).toBe(expected >>> 0);
  expect(view.getUint8(layout.FLOW_ORIG + layout.TUPLE_L4)).toBe(
    second[layout.FLOW_ORIG + layout.TUPLE_L4],
  );
  const tuple = [layout.FLOW_ORIG, layout.FLOW_ORIG + layout.TUPLE_SIZE] as const;
  if (view.getUint8(layout.FLOW_ORIG + layout.TUPLE_L4) !== 136) {
    expect(second.slice(...tuple)).toEqual(first.slice(...tuple));
  }
  if (present & layout.HAS_MARK) {
    expect(second.slice(layout.FLOW_MARK, layout.FLOW_MARK + 4)).toEqual(
      first.slice(layout.FLOW_MARK, layout.FLOW_MARK + 4),
    );
  }
}

// Invented messages: attributes in any number and order, mostly of the right size.
const sizes = [
  8, 32, 1, 4, 1, 4, 4, 4, 8, 32, 1, 4, 4, 4, 2, 2, 24, 1, 4, 4, 1, 1, 1, 1, 2, 1, 1, 6, 16, 16, 16,
  12, 2,
];

const attribute = fc
  .record({
    type: fc.oneof(
      { weight: 20, arbitrary: fc.nat(32) },
      { weight: 10, arbitrary: fc.constantFrom(0, 1, 2, 3, 22, 23, 24, 32) },
      { weight: 1, arbitrary: fc.constantFrom(33, 34, 60, 61, 62, 63, 255, 65535) },
    ),
    wrong: fc.oneof({ weight: 40, arbitrary: fc.constant(0) }, fc.integer({ min: -4, max: 8 })),
    fill: fc.uint8Array({ minLength: 40, maxLength: 40 }),
    protocol: fc.constantFrom(1, 6, 17, 33, 47, 58, 132, 136),
  })
  .map(({ type, wrong, fill, protocol }) => {
    const length = 4 + Math.max(0, (sizes[type] ?? (type === 60 || type === 61 ? 2 : 4)) + wrong);
    const bytes = new Uint8Array((length + 3) & ~3);
    bytes.set(fill.subarray(0, bytes.length - 4), 4);
    bytes.set([length >> 8, length & 255, type >> 8, type & 255]);
    if (type === 2 || type === 10) bytes[4] = protocol;
    return bytes;
  });

/** The shape that the fast path knows, whole or only its beginning. */
const shape = fc
  .record({
    six: fc.boolean(),
    order: fc.constantFrom(
      '',
      'a',
      'as',
      'asl',
      'aslp',
      'aslpc',
      'aslpct',
      'aslpt',
      'aspl',
      'aslpct',
    ),
    protocol: fc.constantFrom(1, 6, 17, 33, 47, 132),
  })
  .map(({ six, order, protocol }) =>
    Array.from(order, (part) => {
      if (part === 'a') {
        return six ? [0, 36, 0, 1, ...Array(32).fill(7)] : [0, 12, 0, 0, 10, 1, 0, 2, 10, 2, 0, 2];
      }
      if (part === 's') return [0, 8, 0, 5, 0, 0, 1, 0x8e];
      if (part === 'l') return [0, 5, 0, 2, protocol, 0, 0, 0];
      if (part === 'p') return [0, 8, 0, 3, 0x9c, 0x44, 0x1f, 0x92];
      if (part === 'c') return [0, 5, 0, 4, 3, 0, 0, 0];
      return [0, 8, 0, 6, 0, 0, 0, 120];
    }).flat(),
  );

test('an invented message: the fast path, the walk and the router agree', () => {
  let accepted = 0;
  fc.assert(
    fc.property(
      shape,
      fc.array(attribute, { maxLength: 12 }),
      fc.uint8Array({ maxLength: 6 }),
      fc.nat(1),
      (start, attributes, tail, options) => {
        const bytes = Uint8Array.from([0x10, 0, 0, 0, 0, 0, 0, 0, ...start]);
        const parts = [bytes, ...attributes, ...(tail.length < 5 ? [tail] : [])];
        const message = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
        let at = 0;
        for (const part of parts) {
          message.set(part, at);
          at += part.length;
        }
        if (judge(message, options) === 0) accepted++;
      },
    ),
    { numRuns: 8000 },
  );
  expect(accepted).toBeGreaterThan(1000); // otherwise this proves nothing about decoding
});

test('an invented Flow: the announced room is exact, one byte less is refused', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 0xffffff }),
      fc.constantFrom(2, 10),
      fc.constantFrom(1, 6, 17, 33, 47, 58, 132),
      fc.nat(16),
      fc.nat(15),
      fc.boolean(),
      (bits, l3, l4, name, options, labels) => {
        box.bytes.fill(0x41, FLOW, FLOW + layout.FLOW_SIZE);
        box.view.setUint32(FLOW, bits | layout.HAS_ORIG, true);
        for (const tuple of [layout.FLOW_ORIG, layout.FLOW_MASTER]) {
          box.bytes.set([l3, l4, 15, 0], FLOW + tuple);
        }
        box.bytes[FLOW + layout.FLOW_HELPER + Math.min(name, 15)] = 0;
        if (!labels) box.bytes.fill(0, FLOW + layout.FLOW_LABELS, FLOW + layout.FLOW_LABELS + 16);
        box.bytes.fill(0xee, OUT, OUT + 400);
        const length = box.fn.encodeSync!(FLOW, OUT, 65535, 1, options);
        expect(length).toBeLessThanOrEqual(320);
        expect(box.bytes.subarray(OUT + length, OUT + 400).every((byte) => byte === 0xee)).toBe(
          true,
        );
        const whole = box.bytes.slice(OUT, OUT + length);
        box.bytes.fill(0xee, OUT, OUT + 400);
        expect(box.fn.encodeSync!(FLOW, OUT, length - 1, 1, options)).toBe(layout.BAD_ROOM);
        expect(box.bytes.subarray(OUT, OUT + 400).every((byte) => byte === 0xee)).toBe(true);
        expect(box.fn.encodeSync!(FLOW, OUT, length, 1, options)).toBe(length);
        expect(box.bytes.slice(OUT, OUT + length)).toEqual(whole);
        box.put(whole);
        expect(box.fn.decodeSync!(box.end - length, length, FLOW2, options & 1)).toBe(0);
      },
    ),
    { numRuns: 2000 },
  );
});
