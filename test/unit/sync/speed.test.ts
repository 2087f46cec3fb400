// How long one message takes, printed and not judged: a figure to look at when the codec changes.
// Comparisons with the C daemon belong to bench/.

import { expect, test } from 'vitest';
import { sandbox } from '../../wasm.js';
import { FLOW, OUT, samples, TUPLE } from './vectors.js';

const MSG = 65536;
const ROUNDS = 400_000;

test('prints the nanoseconds of decode, walk, peek and encode', () => {
  const box = sandbox();
  for (const name of [
    'tcp-v4-upd-established @0',
    'tcp-v6-new-syn_sent @0',
    'snat+dnat-v4-upd @0',
  ]) {
    const sample = samples(0, 2).find((candidate) => candidate.name === name);
    if (!sample) throw new Error(`no vector ${name}`);
    box.bytes.set(sample.bytes, MSG);
    const size = sample.bytes.length;
    const { decodeSync, decodeSyncGeneric, peekSync, encodeSync } = box.fn;
    expect(decodeSync!(MSG, size, FLOW, 0)).toBe(0);
    expect(encodeSync!(FLOW, OUT, 1468, 1, 0)).toBe(size);
    const times = {
      decode: time(() => decodeSync!(MSG, size, FLOW, 0)),
      walk: time(() => decodeSyncGeneric!(MSG, size, FLOW, 0)),
      peek: time(() => peekSync!(MSG, size, TUPLE, 0)),
      encode: time(() => encodeSync!(FLOW, OUT, 1468, 1, 0)),
    };
    const text = Object.entries(times).map(([what, ns]) => `${what} ${ns.toFixed(0)} ns`);
    console.log(`${name}: ${text.join(', ')}`);
  }
});

/** Nanoseconds a call, the best of five runs. */
function time(call: () => number): number {
  let best = Infinity;
  for (let run = 0; run < 5; run++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < ROUNDS / 5; i++) call();
    best = Math.min(best, Number(process.hrtime.bigint() - start) / (ROUNDS / 5));
  }
  return best;
}
