// Where messages begin and end, in datagrams and in streams, and what a C daemon's counters made of
// broken ones.

import { describe, expect, test } from 'vitest';
import { FLOW_SIZE } from '../../../assembly/layout.js';
import { fromHex } from '../../wasm.js';
import {
  edge,
  FLOW,
  type Message,
  type Negative,
  negatives,
  snapshot,
  vectors,
} from './vectors.js';

const box = edge();
const { frameLength, frameLengthStream, frameKind } = box.fn;

// The results of framing.ts.
const TRUNCATED = -11;
const BAD_SIZE = -12;
const KIND = { bad: 0, flow: 1, expect: 2, ack: 3, nack: 4, resync: 5, alive: 6 };

// Header fields, read without the module.
const version = (at: number) => box.view.getUint8(at) >> 4;
const typeOf = (at: number) => box.view.getUint8(at) & 15;
const flagsOf = (at: number) => box.view.getUint8(at + 1);

/** The messages of a datagram at `at`, or the reason why the walk stopped. */
function walk(at: number, length: number): { offsets: number[]; stop: number } {
  const offsets: number[] = [];
  let used = 0;
  while (used < length) {
    const size = frameLength!(at + used, length - used);
    if (size < 0) return { offsets, stop: size };
    offsets.push(used);
    used += size;
  }
  return { offsets, stop: 0 };
}

/** What a message is, by the capture's own words. */
function kindOf({ type, flags }: Message): number {
  if (type <= 2) return KIND.flow;
  if (type <= 5) return KIND.expect;
  if (flags & 8) return KIND.ack;
  if (flags & 4) return KIND.nack;
  return flags & 2 ? KIND.resync : KIND.alive;
}

describe('every captured datagram', () => {
  test.each(vectors)('$name: falls into its messages', ({ hex, messages }) => {
    const bytes = fromHex(hex);
    const at = box.put(bytes);
    const { offsets, stop } = walk(at, bytes.length);
    expect(stop).toBe(0);
    expect(offsets).toEqual(messages.map((message) => message.offset));
    for (const message of messages) {
      expect(frameKind!(at + message.offset)).toBe(kindOf(message));
    }
  });

  test.each(vectors)(
    '$name: split at every byte, a stream waits for the rest',
    ({ hex, messages }) => {
      const bytes = fromHex(hex);
      const first = messages[0]!;
      for (let length = 0; length <= bytes.length; length++) {
        const at = box.put(bytes.slice(0, length));
        expect(frameLengthStream!(at, length)).toBe(length < first.len ? 0 : first.len);
        const { stop } = walk(at, length);
        const whole = messages.some((m) => m.offset + m.len === length) || length === 0;
        expect(stop === 0).toBe(whole);
      }
    },
  );

  test.each(vectors)('$name: each message decodes the same alone', ({ hex, messages }) => {
    const bytes = fromHex(hex);
    for (const message of messages) {
      if (message.type > 2) continue;
      const at = box.put(bytes) + message.offset;
      box.bytes.fill(0, FLOW, FLOW + FLOW_SIZE);
      expect(box.fn.decodeSync!(at, message.len, FLOW, 0)).toBe(0);
      const inside = snapshot(box, FLOW);
      const alone = box.put(bytes.slice(message.offset, message.offset + message.len));
      box.bytes.fill(0, FLOW, FLOW + FLOW_SIZE);
      expect(box.fn.decodeSync!(alone, message.len, FLOW, 0)).toBe(0);
      expect(snapshot(box, FLOW)).toEqual(inside);
    }
  });
});

describe('a stream that lost its framing', () => {
  test.each([
    ['length 0', '10000000'],
    ['length 7', '10000007'],
    ['an ACK of 8 bytes', '1a080008'],
  ])('%s: is noticed in the first four bytes', (_name, hex) => {
    expect(frameLengthStream!(box.put(fromHex(hex)), 4)).toBe(BAD_SIZE);
  });
});

// Where this program is stricter than the C daemon, which caches these flows (and crashes in the
// next dump over the last one): what lacks its identity is malformed payload.
const stricter = new Set(['no IP attr', 'no L4PROTO', 'no PORT', 'NEW len 8 no attrs']);

const COUNTERS = [
  'Malformed messages',
  'Wrong protocol version',
  'Malformed header',
  'Malformed payload',
  'Bad message size',
  'Truncated message',
  'Bad message type',
];

/** What the receiver of a mode does with a message before attributes: rules of the mode itself. */
function verdict(
  mode: Negative['mode'],
  ptr: number,
): 'header' | 'type' | 'ignored' | 'data' | 'ok' {
  const type = typeOf(ptr);
  const flags = flagsOf(ptr);
  if (mode === 'ALARM') {
    if (flags !== 0) return 'ignored';
    return type > 5 ? 'type' : 'data';
  }
  const kind = frameKind!(ptr);
  if (kind === KIND.flow || kind === KIND.expect) return 'data';
  // NOTRACK knows neither ACK nor NACK and looks at the other two flags only.
  if (mode === 'NOTRACK') return type === 10 && (flags & 0x12) !== 0 ? 'ok' : 'header';
  return kind === KIND.bad ? 'header' : 'ok';
}

/** Counters after one datagram, by the receiver's walk of docs/wire-protocol.md. */
function receive(mode: Negative['mode'], hex: string, count: (name: string) => void): void {
  const bytes = fromHex(hex);
  const at = box.put(bytes);
  const bad = (name: string) => {
    count('Malformed messages');
    count(name);
  };
  const { offsets, stop } = walk(at, bytes.length);
  for (const offset of offsets) {
    const ptr = at + offset;
    if (version(ptr) !== 1) {
      bad('Wrong protocol version');
      continue;
    }
    const what = verdict(mode, ptr);
    if (what === 'header') bad('Malformed header');
    if (what === 'type') bad('Bad message type');
    if (what !== 'data') continue;
    const length = frameLength!(ptr, bytes.length - offset);
    const code =
      typeOf(ptr) <= 2
        ? box.fn.decodeSync!(ptr, length, FLOW, 0)
        : box.fn.decodeSyncExpect!(ptr, length, FLOW);
    if (code < 0) bad('Malformed payload');
  }
  if (stop === TRUNCATED) bad('Truncated message');
  if (stop === BAD_SIZE) bad('Bad message size');
}

describe('broken datagrams are counted as the C daemon counts them', () => {
  test.each(negatives)('$mode, $name', ({ mode, name, datagrams, statsDelta }) => {
    const counted: Record<string, number> = {};
    for (const hex of datagrams) {
      receive(mode, hex, (counter) => {
        counted[counter] = (counted[counter] ?? 0) + 1;
      });
    }
    const expected = Object.fromEntries(
      Object.entries(statsDelta).filter(([counter]) => COUNTERS.includes(counter)),
    );
    if (stricter.has(name)) {
      expect(expected).toEqual({}); // it took the message
      expect(counted).toEqual({ 'Malformed messages': 1, 'Malformed payload': 1 });
    } else {
      expect(counted).toEqual(expected);
    }
  });
});
