// Part `codec`: decoding, encoding and hashing in the WebAssembly module, each beside the same in
// plain JavaScript. One operation is a batch of 1024 messages with tuples of their own, so the cost of
// measuring is divided and caches see more than one message; figures are per message and include
// the call into the module, which the daemon pays once a batch only.
//
// Messages come from the vector tables of the tests: what a kernel and a C daemon really sent.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import Benchmark from 'benchmark';
import * as L from '../../assembly/layout.js';
import { ROOT } from '../../lab/require.js';
import { compileModule, PAGE } from '../../src/cache/wasm.js';
import type { Part } from '../part.js';
import { patchTuple, portOf, sourceOf } from '../tuple.js';
import { decodeEvent, decodeMessage, encodeMessage, hashWords, PlainFlow } from './plain.js';

const BATCH = 1024;
const SLOT = 256; // bytes a message, more than any here
const FLOWS = PAGE; // wide flows, one a message
const EVENTS = FLOWS + BATCH * 512;
const MESSAGES = EVENTS + BATCH * SLOT;
const PAGES = 32;
const WARM_UP = 200; // ms
const SEED = 0x9747b28c;

type Export = (...args: number[]) => number;

interface Case {
  name: string;
  ours: () => void;
  plain: () => void;
}

export const codec: Part = ({ quick, collector, progress }) => {
  for (const { name, ours, plain } of cases()) {
    progress(`codec: ${name}`);
    for (const [side, run] of [
      ['ours', ours],
      ['rival', plain],
    ] as const) {
      for (const ns of nanoseconds(name, run, quick ? 0.15 : 0.5)) {
        const figure = { part: 'codec', name, unit: 'ns', better: 'lower' } as const;
        collector.add(side, { ...figure, rivalName: 'plain JS' }, ns);
      }
    }
  }
};

/** Samples of one operation, as nanoseconds a message, after a warm-up. */
function nanoseconds(name: string, run: () => void, seconds: number): number[] {
  const end = performance.now() + WARM_UP;
  while (performance.now() < end) run();
  const bench = new Benchmark(name, run, { maxTime: seconds, minSamples: 5 });
  bench.run({ async: false });
  if (bench.stats.sample.length === 0) throw new Error(`${name}: ${String(bench.error)}`);
  return bench.stats.sample.map((time: number) => (time * 1e9) / BATCH);
}

function cases(): Case[] {
  const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
  const instance = new WebAssembly.Instance(compileModule(), {
    env: {
      memory,
      abort: () => {
        throw new Error('the module aborted');
      },
    },
  });
  const exported = instance.exports as unknown as Record<string, Export>;
  const view = new DataView(memory.buffer);
  const words = new Uint32Array(memory.buffer);
  const event = vector('ctnetlink-vectors', 'tcp4 ACK / UPDATE');
  const message = vector('wire-vectors', 'tcp-v4-upd-established');
  placeEvents(view, event);
  placeMessages(view, message);
  const decodeFlow = exported.decodeFlow!;
  const decodeSync = exported.decodeSync!;
  const encodeSync = exported.encodeSync!;
  const hashLow = exported.hashLow!;
  const flows = Array.from({ length: BATCH }, () => new PlainFlow());
  const size = event.length;
  const length = message.length;
  const OUT = MESSAGES + BATCH * SLOT;

  proveEqual(view, exported, flows, size, length);
  const sink = OUT >> 2; // results are stored, lest the compiler leave the work out
  return [
    {
      name: 'decode a kernel event',
      ours: () => {
        for (let i = 0; i < BATCH; i++) decodeFlow(EVENTS + i * SLOT, size, FLOWS + i * 512);
      },
      plain: () => {
        for (let i = 0; i < BATCH; i++) decodeEvent(view, EVENTS + i * SLOT, size, flows[i]!);
      },
    },
    {
      name: 'encode a sync message',
      ours: () => {
        for (let i = 0; i < BATCH; i++)
          encodeSync(FLOWS + i * 512, OUT + (i & 15) * SLOT, SLOT, 1, 0);
      },
      plain: () => {
        for (let i = 0; i < BATCH; i++) encodeMessage(view, OUT + (i & 15) * SLOT, 1, flows[i]!);
      },
    },
    {
      name: 'decode a sync message',
      ours: () => {
        for (let i = 0; i < BATCH; i++) decodeSync(MESSAGES + i * SLOT, length, FLOWS + i * 512, 0);
      },
      plain: () => {
        for (let i = 0; i < BATCH; i++) decodeMessage(view, MESSAGES + i * SLOT, length, flows[i]!);
      },
    },
    {
      name: 'hash a key of 16 bytes',
      ours: () => {
        for (let i = 0; i < BATCH; i++) words[sink]! ^= hashLow(EVENTS + i * SLOT + 24);
      },
      plain: () => {
        for (let i = 0; i < BATCH; i++)
          words[sink]! ^= hashWords(words, (EVENTS + i * SLOT + 24) >> 2, SEED);
      },
    },
  ];
}

/** The bytes of a vector: a kernel's message, or the first message of a datagram. */
function vector(table: string, name: string): Uint8Array {
  const text = readFileSync(join(ROOT, 'test', 'vectors', `${table}.json`), 'utf8');
  const found = (JSON.parse(text) as { name: string; hex: string }[]).find((v) => v.name === name);
  if (found === undefined) throw new Error(`no vector ${name} in ${table}`);
  return Buffer.from(found.hex, 'hex');
}

function placeEvents(view: DataView, event: Uint8Array): void {
  for (let i = 0; i < BATCH; i++) {
    new Uint8Array(view.buffer).set(event, EVENTS + i * SLOT);
    patchTuple(view, EVENTS + i * SLOT, 'create', i);
  }
}

/** Addresses lie 12 bytes into a message (header, attribute header), ports 40. */
function placeMessages(view: DataView, message: Uint8Array): void {
  for (let i = 0; i < BATCH; i++) {
    const at = MESSAGES + i * SLOT;
    new Uint8Array(view.buffer).set(message, at);
    view.setUint32(at + 12, sourceOf(i));
    view.setUint16(at + 40, portOf(i));
  }
}

/** Throws unless module and plain JavaScript read and write the same. */
function proveEqual(
  view: DataView,
  exported: Record<string, Export>,
  flows: PlainFlow[],
  size: number,
  length: number,
): void {
  const bytes = new Uint8Array(view.buffer);
  const out = MESSAGES + BATCH * SLOT;
  const same = (what: string, equal: boolean): void => {
    if (!equal) throw new Error(`${what}: module and plain JavaScript differ`);
  };
  for (let i = 0; i < BATCH; i++) {
    const at = FLOWS + i * 512;
    for (const source of ['event', 'message'] as const) {
      const plain = flows[i]!;
      if (source === 'event') {
        same('decode', exported.decodeFlow!(EVENTS + i * SLOT, size, at) === 0);
        same('decode', decodeEvent(view, EVENTS + i * SLOT, size, plain));
      } else {
        same('decode', exported.decodeSync!(MESSAGES + i * SLOT, length, at, 0) === 0);
        same('decode', decodeMessage(view, MESSAGES + i * SLOT, length, plain));
      }
      same('source', view.getUint32(at + L.FLOW_ORIG + L.TUPLE_SRC) === plain.source);
      same('port', view.getUint16(at + L.FLOW_ORIG + L.TUPLE_SPORT) === plain.sport);
      same('state', bytes[at + L.FLOW_STATE] === plain.state);
      same('status', view.getUint32(at + L.FLOW_STATUS, true) === plain.status);
      same('timeout', view.getUint32(at + L.FLOW_TIMEOUT, true) === plain.timeout);
      const written = exported.encodeSync!(at, out, SLOT, 1, 0);
      const ours = Buffer.from(bytes.slice(out, out + written));
      const rival = encodeMessage(view, out, 1, plain);
      same('encode', ours.equals(Buffer.from(bytes.slice(out, out + rival))));
    }
  }
}
