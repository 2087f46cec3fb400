// The module's line writers against the reports' own: whatever a flow holds, both print the same.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as L from '../../../assembly/layout.js';
import {
  LINE_EVENT,
  LINE_FAMILY,
  LINE_ID,
  LINE_MAX,
  WORD_SAVE_DESTROY,
  WORD_SAVE_NEW,
  WORD_SAVE_UPDATE,
} from '../../../assembly/text-layout.js';
import { writeWords } from '../../../src/cli/words.js';
import { FlowReader, flowText } from '../../../src/report/flow.js';
import { flowSave } from '../../../src/report/save.js';
import { fromHex, sandbox } from '../../wasm.js';

const box = sandbox(2);
const FLOW = 1024;
const OUT = 4096;
const WORDS = 16384;
const decoder = new TextDecoder();
const reader = new FlowReader(box.view, FLOW);
writeWords(box.bytes, WORDS);

function line(options: number, now: number, room = LINE_MAX): string | number {
  return written(() => box.fn.flowLine!(FLOW, OUT, room, WORDS, options, now));
}

const SAVED = [
  ['new', WORD_SAVE_NEW],
  ['update', WORD_SAVE_UPDATE],
  ['destroy', WORD_SAVE_DESTROY],
] as const;

function saved(command: number, room = LINE_MAX): string | number {
  return written(() => box.fn.flowSaved!(FLOW, OUT, room, WORDS, command));
}

/** What a writer leaves at OUT; it must not write beyond LINE_MAX. */
function written(write: () => number): string | number {
  box.bytes.fill(0xee, OUT, OUT + LINE_MAX + 64);
  const length = write();
  if (length < 0) return length;
  expect(box.bytes.subarray(OUT + LINE_MAX, OUT + LINE_MAX + 64).every((b) => b === 0xee)).toBe(
    true,
  );
  return decoder.decode(box.bytes.slice(OUT, OUT + length));
}

function expectEqual(options: number, now: number): void {
  for (const [event, command] of SAVED) expect(saved(command)).toBe(flowSave(reader, event));
  expect(line(options, now)).toBe(
    flowText(reader, {
      event: options & LINE_EVENT ? reader.event : undefined,
      layer3: (options & LINE_FAMILY) !== 0,
      id: (options & LINE_ID) !== 0,
      now,
    }),
  );
}

const vectors: { name: string; event: string; hex: string }[] = JSON.parse(
  readFileSync(new URL('../../vectors/ctnetlink-vectors.json', import.meta.url), 'utf8'),
);
const messages = vectors.filter(({ event }) => /^(NEW|UPDATE|DESTROY|DUMP|GET)$/.test(event));

test.each(messages)('$name prints the same line in both', ({ hex }) => {
  const bytes = fromHex(hex);
  box.bytes.set(bytes, OUT);
  expect(box.fn.decodeFlow!(OUT, bytes.length, FLOW)).toBe(0);
  for (let options = 0; options < 8; options++) expectEqual(options, 1_795_352_300);
});

const PROTOCOLS = [1, 2, 6, 17, 33, 47, 58, 132, 136, 255];

test('any flow at all prints the same line in both', () => {
  const arbitrary = fc.record({
    bytes: fc.uint8Array({ minLength: L.FLOW_SIZE, maxLength: L.FLOW_SIZE }),
    family: fc.constantFrom(0, 2, 10),
    protocol: fc.constantFrom(...PROTOCOLS),
    zeros: fc.array(fc.nat(7), { maxLength: 8 }), // groups of an IPv6 address that are zero
    mapped: fc.boolean(),
    untranslated: fc.nat(3), // ends of the reply that are those of the original direction
    helper: fc.stringMatching(/^[a-z0-9-]{0,15}$/),
    secctx: fc.stringMatching(/^[a-z0-9:_]{0,95}$/),
    options: fc.nat(7),
    now: fc.integer({ min: 0, max: 0xffffffff }),
  });
  fc.assert(
    fc.property(arbitrary, (it) => {
      box.bytes.set(it.bytes, FLOW);
      for (const tuple of [L.FLOW_ORIG, L.FLOW_REPLY]) {
        box.bytes[FLOW + tuple + L.TUPLE_L3] = it.family;
        box.bytes[FLOW + tuple + L.TUPLE_L4] = it.protocol;
        for (const at of [L.TUPLE_SRC, L.TUPLE_DST]) {
          for (const group of it.zeros) {
            box.view.setUint16(FLOW + tuple + at + group * 2, 0);
          }
          if (it.mapped) box.view.setUint16(FLOW + tuple + at + 10, 0xffff);
        }
      }
      if (it.zeros.length === 8) box.view.setUint32(FLOW + L.FLOW_ORIG + L.TUPLE_SPORT, 0);
      const copy = (to: number, from: number) =>
        box.bytes.copyWithin(FLOW + L.FLOW_REPLY + to, FLOW + from, FLOW + from + 16);
      if (it.untranslated & 1) copy(L.TUPLE_SRC, L.FLOW_ORIG + L.TUPLE_DST);
      if (it.untranslated & 2) copy(L.TUPLE_DST, L.FLOW_ORIG + L.TUPLE_SRC);
      box.bytes.fill(0, FLOW + L.FLOW_HELPER, FLOW + L.FLOW_HELPER + 16);
      box.bytes.set(new TextEncoder().encode(it.helper), FLOW + L.FLOW_HELPER);
      box.bytes.fill(0, FLOW + L.FLOW_SECCTX, FLOW + L.FLOW_SECCTX + 96);
      box.bytes.set(new TextEncoder().encode(it.secctx), FLOW + L.FLOW_SECCTX);
      expectEqual(it.options, it.now);
    }),
    { numRuns: 2000 },
  );
});

test('without room for the longest line nothing is written', () => {
  expect(line(0, 0, LINE_MAX - 1)).toBe(L.BAD_ROOM);
  expect(saved(WORD_SAVE_NEW, LINE_MAX - 1)).toBe(L.BAD_ROOM);
});
