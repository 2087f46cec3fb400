// Expectations: what the kernel announces is read, what a peer announced can be told to the kernel,
// and no request without a tuple can be written.

import { describe, expect, test } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { fromHex, sandbox, toHex } from '../../wasm.js';
import { EXPECTS, FLOWS, OTHERS, readExpect, tupleOf, type Vector, vectors } from './wide.js';

const box = sandbox(4);
const { bytes, view, fn } = box;
const MESSAGE = 4096;
const EXPECT = 1024;
const OUT = 8192;
const ROOM = 640;
const CREATE = 0;
const UPDATE = 1;
const DELETE = 2;
const GET = 3;

const REQUESTS = vectors('ctnetlink-request-vectors.json').filter(
  (vector) => vector.decoded.nlmsg.type >> 8 === 2,
);
const ANNOUNCED = REQUESTS.filter((vector) => vector.decoded.tuple);

function decode(message: Uint8Array): unknown {
  bytes.set(message, MESSAGE);
  bytes.fill(0xa5, EXPECT, EXPECT + L.EXPECT_SIZE);
  const result = fn.decodeExpect!(MESSAGE, message.length, EXPECT);
  return result === 0 ? readExpect(box, EXPECT) : result;
}

function wanted(vector: Vector): Record<string, unknown> {
  const { nlmsg, nfgen: _, ...rest } = vector.decoded;
  for (const name of ['tuple', 'mask', 'master']) {
    if (rest[name]) rest[name] = tupleOf(rest[name]);
  }
  return { type: nlmsg.type, nlflags: nlmsg.flags, portid: nlmsg.portid ?? 0, ...rest };
}

function encode(kind: number, nlflags = 4): Uint8Array {
  bytes.fill(0xcc, OUT, OUT + ROOM + 64);
  const length = fn.encodeExpectRequest!(EXPECT, OUT, ROOM, kind, 9, nlflags);
  expect(length).toBeGreaterThan(20);
  expect(length).toBeLessThanOrEqual(ROOM);
  expect(bytes.slice(OUT + length, OUT + ROOM + 64).every((byte) => byte === 0xcc)).toBe(true);
  expect(view.getUint32(OUT, true)).toBe(length);
  expect(view.getUint32(OUT + 8, true)).toBe(9);
  return bytes.slice(OUT, OUT + length);
}

function present(set: number, clear = 0): void {
  const word = view.getUint32(EXPECT + L.EXPECT_PRESENT, true);
  view.setUint32(EXPECT + L.EXPECT_PRESENT, (word & ~clear) | set, true);
}

describe('reading', () => {
  test.each([...EXPECTS, ...ANNOUNCED].map((vector) => [vector.name, vector] as const))(
    '%s',
    (_name, vector) => {
      expect(decode(fromHex(vector.hex))).toEqual(wanted(vector));
    },
  );

  test('flows and other messages are refused', () => {
    for (const vector of [...FLOWS, ...OTHERS]) {
      expect(decode(fromHex(vector.hex)), vector.name).toBe(L.BAD_TYPE);
    }
    for (const vector of REQUESTS.filter((one) => !ANNOUNCED.includes(one))) {
      expect(decode(fromHex(vector.hex)), vector.name).toBe(L.BAD_TUPLE);
    }
  });

  test('cut at every byte, nothing behind the message matters', () => {
    const outcome = (message: Uint8Array, at: number) => {
      bytes.set(message, at);
      bytes.fill(0xa5, EXPECT, EXPECT + L.EXPECT_SIZE);
      const result = fn.decodeExpect!(at, message.length, EXPECT);
      return `${result} ${toHex(bytes.slice(EXPECT, EXPECT + L.EXPECT_SIZE))}`;
    };
    for (const vector of EXPECTS) {
      const whole = fromHex(vector.hex);
      for (let cut = 0; cut <= whole.length; cut++) {
        const message = whole.slice(0, cut);
        if (cut >= 4) new DataView(message.buffer).setUint32(0, cut, true);
        const reference = outcome(message, bytes.length - cut);
        bytes.fill(0xff, MESSAGE + cut, MESSAGE + cut + 300);
        expect(outcome(message, MESSAGE) === reference, `${vector.name} ${cut}`).toBe(true);
        bytes.set(whole.subarray(cut), MESSAGE + cut);
        expect(outcome(message, MESSAGE) === reference, `${vector.name} ${cut}`).toBe(true);
        if (cut < 20) expect(reference.startsWith(`${L.BAD_LENGTH} `)).toBe(true);
      }
    }
  });
});

describe('writing', () => {
  /** An FTP expectation with everything that one can have. */
  function complete(): void {
    decode(fromHex(EXPECTS[0]!.hex));
    bytes.set(
      bytes.slice(EXPECT + L.EXPECT_TUPLE, EXPECT + L.EXPECT_TUPLE + 40),
      EXPECT + L.EXPECT_NAT,
    );
    view.setUint16(EXPECT + L.EXPECT_NAT + L.TUPLE_DPORT, 4242);
    view.setUint32(EXPECT + L.EXPECT_NAT_DIR, 1, true);
    view.setUint16(EXPECT + L.EXPECT_ZONE, 7, true);
    view.setUint32(EXPECT + L.EXPECT_CLASS, 3, true);
    bytes.set(Buffer.from('nat-follow-master\0'), EXPECT + L.EXPECT_FN);
    bytes.fill(0, EXPECT + L.EXPECT_FN + 18, EXPECT + L.EXPECT_FN + 32);
    present(L.EXPECT_HAS_NAT | L.EXPECT_HAS_NAT_DIR | L.EXPECT_HAS_ZONE | L.EXPECT_HAS_FN);
  }

  test('a create says everything that was announced', () => {
    complete();
    const announced = readExpect(box, EXPECT);
    expect(announced).toMatchObject({ fn: 'nat-follow-master', class: 3, zone: 7, natDir: 1 });
    for (const kind of [CREATE, UPDATE]) {
      const { id: _, ...rest } = announced;
      expect(decode(encode(kind, 0x604))).toEqual({
        ...rest,
        type: 0x200,
        nlflags: 0x605,
        portid: 0,
      });
      complete();
    }
  });

  test('every vector survives a create', () => {
    for (const vector of [...EXPECTS, ...ANNOUNCED.filter((one) => one.decoded.mask)]) {
      decode(fromHex(vector.hex));
      const { id: _, ...rest } = wanted(vector);
      expect(decode(encode(CREATE, 4))).toEqual({ ...rest, type: 0x200, nlflags: 5, portid: 0 });
    }
  });

  test('a translation needs both members', () => {
    complete();
    present(0, L.EXPECT_HAS_NAT_DIR);
    expect(decode(encode(CREATE))).not.toHaveProperty('nat');
    complete();
    present(0, L.EXPECT_HAS_NAT);
    expect(decode(encode(CREATE))).not.toHaveProperty('natDir');
  });

  test('a delete and a get are the tuple and its zone', () => {
    for (const [kind, type] of [
      [DELETE, 0x202],
      [GET, 0x201],
    ] as const) {
      complete();
      const { tuple } = readExpect(box, EXPECT);
      expect(decode(encode(kind))).toEqual({ type, nlflags: 5, portid: 0, tuple, zone: 7 });
    }
  });

  test('no delete without a tuple: the kernel would flush every expectation', () => {
    complete();
    const refused = (kind: number) => {
      bytes.fill(0, OUT, OUT + ROOM);
      expect(fn.encodeExpectRequest!(EXPECT, OUT, ROOM, kind, 1, 4)).toBe(L.BAD_TUPLE);
      expect(view.getUint32(OUT, true)).toBe(0);
    };
    present(0, L.EXPECT_HAS_TUPLE);
    for (const kind of [DELETE, GET, CREATE, UPDATE]) refused(kind);
    present(L.EXPECT_HAS_TUPLE);
    for (const known of [0, L.KNOWN_L3, L.KNOWN_L4 | L.KNOWN_PORTS]) {
      bytes[EXPECT + L.EXPECT_TUPLE + L.TUPLE_KNOWN] = known;
      for (const kind of [DELETE, GET, CREATE, UPDATE]) refused(kind);
    }
    complete();
    for (const part of [L.EXPECT_HAS_MASK, L.EXPECT_HAS_MASTER]) {
      complete();
      present(0, part);
      refused(CREATE);
      refused(UPDATE);
    }
  });

  test('too little room and unknown kinds are refused', () => {
    complete();
    expect(fn.encodeExpectRequest!(EXPECT, OUT, ROOM - 1, GET, 1, 4)).toBe(L.BAD_ROOM);
    expect(fn.encodeExpectRequest!(EXPECT, OUT, ROOM, 4, 1, 4)).toBe(L.BAD_TYPE);
  });

  test('an expectation is never read as a flow', () => {
    complete();
    const request = encode(DELETE);
    bytes.set(request, MESSAGE);
    expect(fn.decodeFlow!(MESSAGE, request.length, EXPECT)).toBe(L.BAD_TYPE);
  });
});
