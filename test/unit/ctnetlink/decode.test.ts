// What the kernel says is what the flow says: every captured message, whole, cut short at every
// byte, and broken at random. The template and the attribute walk are held equal throughout.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BAD_LENGTH,
  BAD_TUPLE,
  BAD_TYPE,
  FLOW_OBSERVED,
  FLOW_PRESENT,
  FLOW_SIZE,
  TUPLE_SIZE,
} from '../../../assembly/layout.js';
import { fromHex, sandbox } from '../../wasm.js';
import { EXPECTS, expectedFlow, FLOWS, OTHERS, readFlow, readTuple } from './wide.js';

const box = sandbox(4);
const { bytes, view, fn } = box;
const MESSAGE = 4096;
const FLOW = 1024;
const DECODERS = ['decodeFlow', 'decodeFlowGeneric'] as const;

/** FLOW_PRESENT and FLOW_OBSERVED of the last decoded flow. */
const bits = () => [
  view.getUint32(FLOW + FLOW_PRESENT, true),
  view.getUint32(FLOW + FLOW_OBSERVED, true),
];

/** Decodes `message` on both ways, which must agree; the flow, or the reason of its refusal. */
function both(message: Uint8Array): unknown {
  const flow = decode('decodeFlow', message);
  const has = bits();
  expect(decode('decodeFlowGeneric', message)).toEqual(flow);
  if (typeof flow === 'object') expect(bits()).toEqual(has);
  return flow;
}

/** Decodes `message`; the flow, or the reason of its refusal. */
function decode(decoder: (typeof DECODERS)[number], message: Uint8Array): unknown {
  bytes.set(message, MESSAGE);
  bytes.fill(0xa5, FLOW, FLOW + FLOW_SIZE);
  const result = fn[decoder]!(MESSAGE, message.length, FLOW);
  return result === 0 ? readFlow(box, FLOW) : result;
}

/** The message with its nlmsg_len set to its length. */
function sized(message: Uint8Array): Uint8Array {
  new DataView(message.buffer, message.byteOffset).setUint32(0, message.length, true);
  return message;
}

/** The top-level attributes of a sound message, each with its padding. */
function attributes(message: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  const words = new DataView(message.buffer, message.byteOffset, message.length);
  for (let at = 20; at + 4 <= message.length; ) {
    const length = (words.getUint16(at, true) + 3) & ~3;
    if (length < 4) break;
    const part = new Uint8Array(length);
    part.set(message.subarray(at, at + length));
    parts.push(part);
    at += length;
  }
  return parts;
}

function join(header: Uint8Array, parts: readonly Uint8Array[]): Uint8Array {
  return sized(Uint8Array.from([...header.subarray(0, 20), ...parts.flatMap((part) => [...part])]));
}

const MESSAGES = FLOWS.map((vector) => fromHex(vector.hex));

describe('every captured message', () => {
  test.each(FLOWS.map((vector) => [vector.name, vector] as const))('%s', (_name, vector) => {
    for (const decoder of DECODERS) {
      expect(decode(decoder, fromHex(vector.hex)), decoder).toEqual(expectedFlow(vector));
    }
  });

  test.each(FLOWS.map((vector) => [vector.name, vector] as const))('routes %s', (_name, vector) => {
    const message = fromHex(vector.hex);
    bytes.set(message, MESSAGE);
    bytes.fill(0xa5, FLOW, FLOW + TUPLE_SIZE);
    const zone = fn.peekTuple!(MESSAGE, message.length, FLOW);
    const { zone: own, ...tuple } = expectedFlow(vector).orig as { zone?: number };
    expect(zone).toBe(vector.decoded.zone ?? own ?? 0);
    expect(readTuple(box, FLOW)).toEqual(tuple);
  });

  test('peekTuple and decodeFlow write the same tuple bytes', () => {
    for (const message of MESSAGES) {
      decode('decodeFlow', message);
      bytes.fill(0x5a, 2048, 2048 + TUPLE_SIZE);
      fn.peekTuple!(MESSAGE, message.length, 2048);
      expect(bytes.slice(2048, 2048 + TUPLE_SIZE)).toEqual(
        bytes.slice(FLOW + 8, FLOW + 8 + TUPLE_SIZE),
      );
    }
  });

  test('other messages are refused', () => {
    for (const vector of [...OTHERS, ...EXPECTS]) {
      const subsystem = vector.decoded.nlmsg.type >> 8;
      expect(decode('decodeFlow', fromHex(vector.hex)), vector.name).toBe(
        subsystem === 1 ? BAD_TUPLE : BAD_TYPE,
      );
    }
  });
});

describe('a message that is cut short', () => {
  const END = bytes.length;

  /** Everything a decoder leaves behind for a message at `at`, as one string. */
  function outcome(message: Uint8Array, at: number, length: number): string {
    bytes.set(message, at);
    const left: string[] = [];
    for (const decoder of [...DECODERS, 'peekTuple']) {
      bytes.fill(0xa5, FLOW, FLOW + FLOW_SIZE);
      left.push(String(fn[decoder]!(at, length, FLOW)));
      left.push(
        Buffer.from(bytes.buffer as unknown as ArrayBuffer, FLOW, FLOW_SIZE).toString('latin1'),
      );
    }
    return left.join('|');
  }

  // At the end of the memory any read behind the message traps; elsewhere what lies behind, be it
  // 0xff, zeros or the message's own continuation, must not change the outcome.
  test.each(FLOWS.map((vector) => [vector.name, vector] as const))('%s', (_name, vector) => {
    const whole = fromHex(vector.hex);
    for (let cut = 0; cut <= whole.length; cut++) {
      const message = whole.slice(0, cut);
      if (cut >= 4) sized(message);
      const reference = outcome(message, END - cut, cut);
      const guards = [
        new Uint8Array(512).fill(0xff),
        new Uint8Array(512),
        Uint8Array.from([...whole.subarray(cut), ...whole.subarray(20)]),
      ];
      for (const guard of guards) {
        bytes.set(guard, MESSAGE + cut);
        expect(outcome(message, MESSAGE, cut) === reference, `cut at ${cut}`).toBe(true);
      }
      if (cut < 20) expect(reference.startsWith(`${BAD_LENGTH}|`)).toBe(true);
    }
  });

  test('nlmsg_len past the buffer is refused', () => {
    for (const whole of MESSAGES) {
      for (let cut = 0; cut < whole.length; cut++) {
        bytes.set(whole, MESSAGE);
        expect(fn.decodeFlow!(MESSAGE, cut, FLOW)).toBe(BAD_LENGTH);
        expect(fn.peekTuple!(MESSAGE, cut, FLOW)).toBe(BAD_LENGTH);
      }
    }
  });

  test('nlmsg_len below the headers, or with its top bit set, is refused', () => {
    const message = Uint8Array.from(MESSAGES[0]!);
    for (const length of [0, 4, 19, 0x80000000, 0xffffffff]) {
      new DataView(message.buffer).setUint32(0, length, true);
      expect(decode('decodeFlow', message)).toBe(BAD_LENGTH);
    }
  });
});

describe('an attribute that is too short', () => {
  // Every leaf of every message in turn: moved to the end of its nest, its nest to the end of the
  // message, cut to every length, and nothing behind it but the end of the memory.
  const NESTS = new Map([
    ['', [1, 2, 4, 5, 6, 9, 10, 13, 14, 15, 16, 19, 20, 24]],
    ['1', [1, 2]],
    ['2', [1, 2]],
    ['14', [1, 2]],
    ['4', [1, 2, 3]],
  ]);

  interface Node {
    type: number;
    payload: Uint8Array;
    inside?: Node[];
  }

  function parse(from: Uint8Array, path: number[] = []): Node[] {
    const nodes: Node[] = [];
    const words = new DataView(from.buffer, from.byteOffset, from.length);
    for (let at = 0; at + 4 <= from.length; ) {
      const length = words.getUint16(at, true);
      if (length < 4) break;
      const type = words.getUint16(at + 2, true) & 0x3fff;
      const payload = from.subarray(at + 4, at + length);
      const nested = NESTS.get(path.join('.'))?.includes(type);
      nodes.push({
        type,
        payload,
        ...(nested ? { inside: parse(payload, [...path, type]) } : {}),
      });
      at += (length + 3) & ~3;
    }
    return nodes;
  }

  function build({ type, payload, inside }: Node, padded: boolean): number[] {
    const body = inside
      ? inside.flatMap((node, index) => build(node, padded || index < inside.length - 1))
      : [...payload];
    const length = body.length + 4;
    const whole = [length & 0xff, length >> 8, type, inside ? 0x80 : 0, ...body];
    while (padded && whole.length & 3) whole.push(0);
    return whole;
  }

  /** Every tree of `nodes` with one leaf last at every level and shortened to each length. */
  function* shortened(nodes: Node[]): Generator<Node[]> {
    for (const [index, node] of nodes.entries()) {
      const others = nodes.filter((_, other) => other !== index);
      if (node.inside) {
        for (const inside of shortened(node.inside)) yield [...others, { ...node, inside }];
      } else {
        for (let size = 0; size <= node.payload.length; size++) {
          yield [...others, { ...node, payload: node.payload.slice(0, size) }];
        }
      }
    }
  }

  test('is read to its end and no further', () => {
    let tried = 0;
    for (const whole of MESSAGES) {
      for (const nodes of shortened(parse(whole.subarray(20)))) {
        const body = nodes.flatMap((node, index) => build(node, index < nodes.length - 1));
        const message = sized(Uint8Array.from([...whole.subarray(0, 20), ...body]));
        const at = bytes.length - message.length;
        bytes.set(message, at);
        const outcomes = [...DECODERS, 'peekTuple'].map((decoder) => {
          bytes.fill(0xa5, FLOW, FLOW + FLOW_SIZE);
          const result = fn[decoder]!(at, message.length, FLOW);
          const left = bytes.slice(FLOW, FLOW + FLOW_SIZE);
          bytes.fill(0xff, MESSAGE, MESSAGE + message.length + 64);
          bytes.set(message, MESSAGE);
          bytes.fill(0xa5, FLOW, FLOW + FLOW_SIZE);
          expect(fn[decoder]!(MESSAGE, message.length, FLOW)).toBe(result);
          expect(Buffer.compare(bytes.slice(FLOW, FLOW + FLOW_SIZE), left)).toBe(0);
          return result;
        });
        expect(outcomes[0]).toBe(outcomes[1]);
        tried++;
      }
    }
    expect(tried).toBeGreaterThan(10_000);
  }, 60_000);
});

describe('the parsing rules of the kernel', () => {
  const established = MESSAGES[FLOWS.findIndex(({ name }) => name === 'tcp4 ACK / UPDATE')]!;
  const udp = MESSAGES[FLOWS.findIndex(({ name }) => name === 'zone both / NEW')]!;
  const base = decode('decodeFlow', established) as Record<string, unknown>;

  test('order is irrelevant', () => {
    fc.assert(
      fc.property(
        fc.nat(MESSAGES.length - 1).chain((index) => {
          const parts = attributes(MESSAGES[index]!);
          const order = fc.shuffledSubarray(parts, { minLength: parts.length });
          return fc.tuple(fc.constant(index), order);
        }),
        ([index, parts]) => {
          expect(both(join(MESSAGES[index]!, parts))).toEqual(expectedFlow(FLOWS[index]!));
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('the last of several attributes of one type wins', () => {
    fc.assert(
      fc.property(fc.nat(MESSAGES.length - 1), fc.nat(MESSAGES.length - 1), (one, two) => {
        // The second message's attributes behind the first's equal the first's without the types
        // that the second has, then the second's.
        if (FLOWS[one]!.decoded.nfgen.family !== FLOWS[two]!.decoded.nfgen.family) return;
        const first = attributes(MESSAGES[one]!);
        const second = attributes(MESSAGES[two]!);
        const types = new Set(second.map((part) => (part[2]! | (part[3]! << 8)) & 0x3fff));
        // A status-numbered padding attribute replaces nothing, so it is left out of this.
        if (second.some((part) => part.length === 4)) return;
        const kept = first.filter((part) => !types.has((part[2]! | (part[3]! << 8)) & 0x3fff));
        expect(both(join(MESSAGES[one]!, [...first, ...second]))).toEqual(
          both(join(MESSAGES[one]!, [...kept, ...second])),
        );
      }),
      { numRuns: 1000 },
    );
  });

  test('flag bits of a type are ignored', () => {
    const plain = attributes(established).map((part) => {
      part[3] = part[3]! & 0x3f;
      return part;
    });
    expect(both(join(established, plain))).toEqual(base);
    const ordered = plain.map((part) => {
      part[3] = part[3]! | 0x40;
      return part;
    });
    expect(both(join(established, ordered))).toEqual(base);
  });

  test('unknown types are skipped', () => {
    const unknown = Uint8Array.of(8, 0, 99, 0, 1, 2, 3, 4);
    const parts = attributes(established);
    expect(both(join(established, [unknown, ...parts]))).toEqual(base);
    expect(both(join(established, [...parts, unknown]))).toEqual(base);
  });

  test('a bad length ends the parsing, what came before stays', () => {
    const [orig, reply, ...rest] = attributes(established);
    for (const bad of [0, 3, 0xffff]) {
      const broken = Uint8Array.of(bad & 0xff, bad >> 8, 3, 0, 0, 0, 0, 0);
      const flow = both(join(established, [orig!, reply!, broken, ...rest]));
      expect(flow).toEqual({ type: 256, flags: 0, portid: 0, orig: base.orig, reply: base.reply });
    }
  });

  test('a status that is not four bytes is ignored, other long words are cut', () => {
    const parts = attributes(established);
    const status = Uint8Array.of(12, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0);
    expect(both(join(established, [...parts, status]))).toEqual(base);
    expect(both(join(established, [...parts, Uint8Array.of(4, 0, 3, 0)]))).toEqual(base);
    const mark = Uint8Array.of(12, 0, 8, 0, 0, 0, 0, 7, 9, 9, 9, 9);
    expect(both(join(established, [...parts, mark]))).toEqual({ ...base, mark: 7 });
    const short = Uint8Array.of(7, 0, 8, 0, 1, 2, 3, 0);
    expect(both(join(established, [...parts, short]))).toEqual(base);
  });

  test('a later tuple of another protocol takes the TCP state away', () => {
    const parts = attributes(established);
    const [orig] = attributes(udp);
    const flow = both(join(established, [...parts, orig!])) as Record<string, unknown>;
    expect(flow.orig).toEqual(expectedFlow(FLOWS[MESSAGES.indexOf(udp)]!).orig);
    expect(flow).not.toHaveProperty('protoinfo');
  });

  test('a message without a usable original tuple is refused', () => {
    const [orig, reply, ...rest] = attributes(established);
    expect(both(join(established, [reply!, ...rest]))).toBe(BAD_TUPLE);
    expect(both(join(established, []))).toBe(BAD_TUPLE);
    const noPort = Uint8Array.from(orig!);
    noPort[46] = 99; // DST_PORT becomes an unknown type
    expect(both(join(established, [noPort, reply!, ...rest]))).toBe(BAD_TUPLE);
    const [udpOrig] = attributes(udp);
    expect(both(join(udp, [udpOrig!]))).toBeTypeOf('object');
    udpOrig![38] = 99; // SRC_PORT
    expect(both(join(udp, [udpOrig!]))).toBe(BAD_TUPLE);
    const otherFamily = Uint8Array.from(established);
    otherFamily[16] = 10;
    expect(both(otherFamily)).toBe(BAD_TUPLE);
  });

  const KEYS: Record<number, string> = {
    2: 'reply',
    3: 'status',
    4: 'protoinfo',
    5: 'helper',
    7: 'timeout',
    8: 'mark',
    9: 'countersOrig',
    10: 'countersReply',
    11: 'use',
    12: 'id',
    14: 'master',
    15: 'seqAdjOrig',
    16: 'seqAdjReply',
    18: 'zone',
    19: 'secctx',
    20: 'timestamp',
    22: 'labels',
    24: 'synproxy',
    27: 'timestampEvent',
  };

  test('each attribute says its own and nothing else', () => {
    const met = new Set<string>();
    for (const [index, message] of MESSAGES.entries()) {
      const [orig, ...rest] = attributes(message);
      const whole = expectedFlow(FLOWS[index]!);
      const { type, flags, portid } = whole;
      const alone = both(join(message, [orig!]));
      expect(alone).toEqual({ type, flags, portid, orig: whole.orig });
      for (const part of rest.filter(({ length }) => length > 4)) {
        const key = KEYS[(part[2]! | (part[3]! << 8)) & 0x3fff];
        const said = key && key in whole ? { [key]: whole[key] } : {};
        expect(both(join(message, [orig!, part]))).toEqual({ ...(alone as object), ...said });
        if (key) met.add(key);
      }
    }
    expect([...met].sort()).toEqual(Object.values(KEYS).sort());
  });

  test('labels come in whole words, the missing ones are clear', () => {
    const parts = attributes(established);
    const labels = (size: number) => {
      const part = new Uint8Array(4 + ((size + 3) & ~3));
      part.set([4 + size, 0, 22, 0, ...Array(size).fill(0xff)]);
      return both(join(established, [...parts, part])) as { labels?: string };
    };
    expect(labels(4).labels).toBe('ffffffff'.padEnd(32, '0'));
    expect(labels(16).labels).toBe('f'.repeat(32));
    expect(labels(20).labels).toBe('f'.repeat(32));
    expect(labels(0).labels).toBe('0'.repeat(32));
    for (const size of [1, 3, 6, 17]) expect(labels(size)).toEqual(base);
  });

  test('a helper name that cannot be one is no helper', () => {
    const parts = attributes(established);
    const named = (name: string) => {
      const inner = [name.length + 4, 0, 1, 0, ...Buffer.from(name)];
      while (inner.length & 3) inner.push(0);
      return both(
        join(established, [...parts, Uint8Array.from([inner.length + 4, 0, 5, 0x80, ...inner])]),
      );
    };
    expect(named('ftp\0')).toEqual({ ...base, helper: 'ftp' });
    expect(named('ftp')).toEqual({ ...base, helper: 'ftp' });
    expect(named('123456789012345\0')).toEqual({ ...base, helper: '123456789012345' });
    expect(named('1234567890123456\0')).toEqual(base);
    expect(named('\0')).toEqual(base);
  });
});

describe('random damage', () => {
  const damage = fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 6 });

  test('template and walk agree on messages with random bytes changed', () => {
    fc.assert(
      fc.property(fc.nat(MESSAGES.length - 1), damage, (index, changes) => {
        const message = Uint8Array.from(MESSAGES[index]!);
        for (const [at, value] of changes) message[16 + (at % (message.length - 16))] = value;
        both(message);
      }),
      { numRuns: 20_000 },
    );
  }, 60_000);

  test('template and walk agree on attributes thrown together', () => {
    const pool = MESSAGES.flatMap(attributes);
    const junk = fc.uint8Array({ minLength: 4, maxLength: 24 }).map((bytes) => {
      const part = new Uint8Array((bytes.length + 3) & ~3);
      part.set(bytes);
      part[0] = bytes.length;
      part[1] = 0;
      return part;
    });
    fc.assert(
      fc.property(
        fc.nat(MESSAGES.length - 1),
        fc.array(fc.oneof(fc.constantFrom(...pool), junk), { maxLength: 12 }),
        (index, more) => {
          const message = join(MESSAGES[index]!, [
            ...attributes(MESSAGES[index]!).slice(0, 3),
            ...more,
          ]);
          both(message);
        },
      ),
      { numRuns: 5000 },
    );
  });

  test('no bytes make a decoder read outside its message', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 24, maxLength: 300 }), fc.boolean(), (body, v6) => {
        const message = sized(Uint8Array.from(body));
        message[5] = 1;
        message[16] = v6 ? 10 : 2;
        const at = bytes.length - message.length;
        bytes.set(message, at);
        for (const decoder of [...DECODERS, 'peekTuple']) {
          expect(fn[decoder]!(at, message.length, FLOW)).toBeLessThanOrEqual(0xffff);
        }
      }),
      { numRuns: 5000 },
    );
  });
});

test('absent fields aside, a decoded message leaves the rest of memory alone', () => {
  for (const message of MESSAGES) {
    bytes.fill(0x3c, FLOW - 64, FLOW + FLOW_SIZE + 64);
    bytes.set(message, MESSAGE);
    fn.decodeFlow!(MESSAGE, message.length, FLOW);
    expect(bytes.slice(FLOW - 64, FLOW).every((byte) => byte === 0x3c)).toBe(true);
    expect(
      bytes.slice(FLOW + FLOW_SIZE, FLOW + FLOW_SIZE + 64).every((byte) => byte === 0x3c),
    ).toBe(true);
    expect(bytes.slice(MESSAGE, MESSAGE + message.length)).toEqual(message);
  }
  expect(view.byteLength).toBe(4 * 65536);
});
