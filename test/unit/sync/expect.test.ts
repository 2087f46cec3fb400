// Expectations in sync messages: what C daemons sent each other is read and written again byte for
// byte; what is cut or mutated is refused.

import { describe, expect, test } from 'vitest';
import * as layout from '../../../assembly/layout.js';
import { fromHex, toHex } from '../../wasm.js';
import { edge, FLOW, OUT, samples } from './vectors.js';

const EXPECT = FLOW;
const box = edge();
const expectations = samples(3, 5);

function decode(bytes: Uint8Array): number {
  box.bytes.fill(0, EXPECT, EXPECT + layout.EXPECT_SIZE);
  return box.fn.decodeSyncExpect!(box.put(bytes), bytes.length, EXPECT);
}

const raw = (offset: number, size: number) =>
  toHex(box.bytes.subarray(EXPECT + offset, EXPECT + offset + size));
const u32 = (offset: number) => box.view.getUint32(EXPECT + offset, true);

/** Where the words of an expectation lie, and the bit that says so. */
const words: Record<string, [offset: number, has: number]> = {
  TIMEOUT: [layout.EXPECT_TIMEOUT, layout.EXPECT_HAS_TIMEOUT],
  FLAGS: [layout.EXPECT_FLAGS, layout.EXPECT_HAS_FLAGS],
  CLASS: [layout.EXPECT_CLASS, layout.EXPECT_HAS_CLASS],
  NAT_DIR: [layout.EXPECT_NAT_DIR, layout.EXPECT_HAS_NAT_DIR],
};

const names: Record<string, [offset: number, has: number, size: number]> = {
  HELPER_NAME: [layout.EXPECT_HELPER, layout.EXPECT_HAS_HELPER, 16],
  FN: [layout.EXPECT_FN, layout.EXPECT_HAS_FN, 32],
};

const tuples: Record<string, [offset: number, has: number]> = {
  MASTER: [layout.EXPECT_MASTER, layout.EXPECT_HAS_MASTER],
  EXPECT: [layout.EXPECT_TUPLE, layout.EXPECT_HAS_TUPLE],
  MASK: [layout.EXPECT_MASK, layout.EXPECT_HAS_MASK],
  NAT: [layout.EXPECT_NAT, layout.EXPECT_HAS_NAT],
};

/** Holds the wide form to one attribute; returns the bit that it sets. */
function check(name: string, hex: string): number {
  const word = words[name];
  if (word) {
    expect(u32(word[0])).toBe(Number.parseInt(hex, 16));
    return word[1];
  }
  const text = names[name];
  if (text) {
    expect(raw(text[0], text[2])).toBe(hex.padEnd(2 * text[2], '0'));
    return text[1];
  }
  const [whose = '', part = ''] = name.split('_');
  const tuple = tuples[whose];
  if (!tuple) throw new Error(`no check for ${name}`);
  checkTuple(tuple[0], part, hex);
  return tuple[1];
}

function checkTuple(tuple: number, part: string, hex: string): void {
  if (part === 'L4PROTO') expect(raw(tuple + layout.TUPLE_L4, 1)).toBe(hex);
  else if (part === 'PORT') expect(raw(tuple + layout.TUPLE_SPORT, 4)).toBe(hex);
  else {
    const half = hex.length / 2;
    expect(raw(tuple + layout.TUPLE_SRC, 16)).toBe(hex.slice(0, half).padEnd(32, '0'));
    expect(raw(tuple + layout.TUPLE_DST, 16)).toBe(hex.slice(half).padEnd(32, '0'));
  }
}

describe('every captured expectation', () => {
  test('there are vectors of all three types', () => {
    expect(new Set(expectations.map((s) => s.message.type))).toEqual(new Set([3, 4, 5]));
  });

  test.each(expectations)(
    '$name: each attribute is read and nothing else',
    ({ bytes, message }) => {
      expect(decode(bytes)).toBe(0);
      let present = 0;
      for (const attr of message.attrs) present |= check(attr.name, attr.valueHex);
      expect(u32(layout.EXPECT_PRESENT)).toBe(present);
    },
  );

  test.each(expectations)(
    '$name: decoded and encoded gives the same bytes',
    ({ bytes, message }) => {
      decode(bytes);
      const length = box.fn.encodeSyncExpect!(EXPECT, OUT, bytes.length, message.type, 0);
      const expected = bytes.slice();
      expected[1] = 0;
      expected.fill(0, 4, 8);
      expect(toHex(box.bytes.subarray(OUT, OUT + length))).toBe(toHex(expected));
      const tight = box.fn.encodeSyncExpect!(EXPECT, OUT, bytes.length - 1, message.type, 0);
      expect(tight).toBe(layout.BAD_ROOM);
    },
  );

  test.each(expectations)(
    '$name: cut at every byte, is refused or read to its end',
    ({ bytes }) => {
      // The last attribute may be missing and its padding too, but neither tuple nor mask.
      for (let length = 0; length < bytes.length; length++) {
        const verdict = decode(bytes.slice(0, length));
        expect(verdict).toBeLessThanOrEqual(0);
        if (length < 8 + 3 * 28 - 4) expect(verdict).toBeLessThan(0);
        if (verdict < 0) expect(u32(layout.EXPECT_PRESENT)).toBe(0);
      }
    },
  );
});

const TUPLES =
  '000c00000a0100020a0200020005000206000000000800030001001500' +
  '0c00040a0100020a020002000500060600000000080007000004d2' +
  '000c0008ffffffffffffffff0005000a060000000008000b0000ffff';

function build(attrs: string): Uint8Array {
  const length = (8 + attrs.length / 2).toString(16).padStart(4, '0');
  return fromHex(`1300${length}00000000${attrs}`);
}

describe('rules of the receiver', () => {
  test('the three tuples are enough', () => {
    expect(decode(build(TUPLES))).toBe(0);
  });

  test.each([
    ['master', 0, 56],
    ['expected tuple', 56, 112],
    ['mask', 112, 168],
  ])('without the %s it is refused', (_name, from, to) => {
    expect(decode(build(TUPLES.slice(0, from) + TUPLES.slice(to)))).toBe(layout.BAD_TUPLE);
  });

  test.each([
    ['an unknown type', '0008001500000000', layout.BAD_TYPE],
    ['a wrong size', '0006000d00000000', layout.BAD_SIZE],
    ['a length below the header', '0003000d00000000', layout.BAD_LENGTH],
    ['a length beyond the message', '000c000d00000000', layout.BAD_LENGTH],
    ['a helper name of 13 bytes', `00110013${'61'.repeat(16)}`, layout.BAD_SIZE],
    ['an expectfn of 29 bytes', `00210014${'61'.repeat(32)}`, layout.BAD_SIZE],
  ])('%s is refused', (_name, attr, reason) => {
    expect(decode(build(TUPLES + attr))).toBe(reason);
  });

  test('a name without NUL ends with its attribute', () => {
    expect(decode(build(`${TUPLES}00100013${'61'.repeat(12)}0008000d00000001`))).toBe(0);
    expect(raw(layout.EXPECT_HELPER, 16)).toBe('61'.repeat(12) + '00'.repeat(4));
  });

  test('an IPv6 NAT tuple comes without its address, and leaves without it', () => {
    const nat = '00050011060000000008001000150000' + '0008001200000001';
    const message = build(`${TUPLES}0008000d00000000${nat}`);
    expect(decode(message)).toBe(0);
    expect(box.bytes[EXPECT + layout.EXPECT_NAT + layout.TUPLE_KNOWN]).toBe(
      layout.KNOWN_L4 | layout.KNOWN_PORTS,
    );
    const length = box.fn.encodeSyncExpect!(EXPECT, OUT, 400, 3, 0);
    expect(toHex(box.bytes.subarray(OUT, OUT + length))).toBe(toHex(message));
  });
});

describe('what the sender leaves out', () => {
  test('TIMEOUT when CommitTimeout is configured', () => {
    decode(build(`${TUPLES}0008000c0000012c`));
    const timeout = (options: number) => {
      const length = box.fn.encodeSyncExpect!(EXPECT, OUT, 400, 3, options);
      return toHex(box.bytes.subarray(OUT, OUT + length)).includes('0008000c0000012c');
    };
    expect(timeout(0)).toBe(true);
    expect(timeout(2)).toBe(false);
  });

  test('a name that a C peer would refuse the whole message for', () => {
    decode(build(`${TUPLES}00100013${'61'.repeat(12)}`));
    const length = box.fn.encodeSyncExpect!(EXPECT, OUT, 400, 3, 0);
    expect(toHex(box.bytes.subarray(OUT, OUT + length))).not.toContain('00130061');
    expect(length).toBe(8 + 84 + 8);
  });

  test('an expectation without tuples', () => {
    box.view.setUint32(EXPECT, layout.EXPECT_HAS_TUPLE, true);
    expect(box.fn.encodeSyncExpect!(EXPECT, OUT, 400, 3, 0)).toBe(layout.BAD_TUPLE);
  });
});
