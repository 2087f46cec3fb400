// Part `table`: one cache's table at 10 thousand to 4 million flows, beside the same table in plain
// JavaScript. Each phase touches every flow once, in an order of its own, as traffic does; figures
// are per flow and include the call into the module.
//
// The index of ours grows while the insert phase runs, bucket by bucket; that is part of the figure.

import * as L from '../../assembly/layout.js';
import { Arena } from '../../src/cache/arena.js';
import { compileModule } from '../../src/cache/wasm.js';
import type { Part } from '../part.js';
import { portOf, sourceOf } from '../tuple.js';
import { PlainTable } from './plain-table.js';

const SIZES = [10_000, 100_000, 1_000_000, 4_000_000];
const STEP = 0x9e3779b1; // prime to any size here: visits every flow once, far from the one before
const PHASES = ['insert', 'lookup', 'update', 'iterate', 'delete'] as const;
type Phase = (typeof PHASES)[number];

/** A table under test: flows by number. */
interface Subject {
  run(phase: Phase, order: Uint32Array): void;
}

export const table: Part = ({ quick, collector, progress }) => {
  const sizes = quick ? SIZES.slice(0, 3) : SIZES;
  for (const size of sizes) {
    progress(`table: ${size.toLocaleString('en-US')} flows`);
    const order = shuffled(size);
    // The first round compiles and touches the memory; it is not counted for small sizes.
    const rounds = size > (quick ? 100_000 : 1_000_000) ? 1 : 4;
    for (const side of ['ours', 'rival'] as const) {
      const subject = side === 'ours' ? ourTable(size) : plainTable(size);
      for (let round = 0; round < rounds; round++) {
        for (const phase of PHASES) {
          const start = performance.now();
          subject.run(phase, order);
          const ns = ((performance.now() - start) * 1e6) / size;
          if (round === 0 && rounds > 1) continue;
          const name = `${phase}, ${size.toLocaleString('en-US')} flows`;
          const figure = { part: 'table', name, unit: 'ns', better: 'lower' } as const;
          collector.add(side, { ...figure, rivalName: 'plain JS' }, ns);
        }
      }
    }
  }
};

/** 0 … size - 1, far apart from each other. */
function shuffled(size: number): Uint32Array {
  const order = new Uint32Array(size);
  let at = 0;
  for (let i = 0; i < size; i++) {
    order[i] = at;
    at = (at + STEP) % size;
  }
  return order;
}

/** The key of flow n: addresses, ports, zone and protocol, as in a record (assembly/layout.ts). */
function writeKey(words: Uint32Array, at: number, n: number): void {
  words[at] = sourceOf(n);
  words[at + 1] = 0x0a800000 + (n % 251);
  words[at + 2] = (80 << 16) | portOf(n);
  words[at + 3] = 0x02060000;
}

function ourTable(size: number): Subject {
  const arena = new Arena({
    shards: 1,
    hashLimit: size,
    resendQueueSize: 1024,
    payloadMax: 1400,
    shardOptions: 0,
    mode: L.MODE_FTFW,
    ackWindowSize: 300,
    firstSequence: 1,
  });
  const abort = (): never => {
    throw new Error('the module aborted');
  };
  const instance = new WebAssembly.Instance(compileModule(), {
    env: { memory: arena.memory, abort },
  });
  const exported = instance.exports as unknown as Record<string, (...args: number[]) => number>;
  const { addRecord, findRecord, removeRecord, shardDumpEnd } = exported;
  const shard = arena.shard(0);
  const records = arena.table(0, L.TABLE_INTERNAL);
  const flow = arena.scratch;
  const key = arena.scratch + 512;
  const words = arena.u32;
  const find = (n: number): number => {
    writeKey(words, key >> 2, n);
    const record = findRecord!(records, key, flow);
    if (record === 0) throw new Error(`flow ${n} is not in the table`);
    return record;
  };
  const phases: Record<Phase, (order: Uint32Array) => void> = {
    insert: (order) => {
      for (const n of order) {
        writeKey(words, key >> 2, n);
        if (addRecord!(shard, records, key, flow) === 0) throw new Error('the table is full');
      }
    },
    lookup: (order) => {
      for (const n of order) find(n);
    },
    update: (order) => {
      for (const n of order) {
        const record = find(n) >> 2;
        words[record + (L.RECORD_STATUS >> 2)] = 0x18e;
        words[record + (L.RECORD_TIMEOUT >> 2)] = n;
        words[record + (L.RECORD_STAMP >> 2)] = 1;
      }
    },
    iterate: () => {
      while (shardDumpEnd!(shard, 0, 0, 0xffffffff) !== 0);
    },
    delete: (order) => {
      for (const n of order) removeRecord!(shard, records, find(n));
    },
  };
  return { run: (phase, order) => phases[phase](order) };
}

function plainTable(size: number): Subject {
  const records = new PlainTable(size, 0x9747b28c);
  const key = new Uint32Array(4);
  const find = (n: number): number => {
    writeKey(key, 0, n);
    const record = records.find(key);
    if (record < 0) throw new Error(`flow ${n} is not in the table`);
    return record;
  };
  const phases: Record<Phase, (order: Uint32Array) => void> = {
    insert: (order) => {
      for (const n of order) {
        writeKey(key, 0, n);
        records.add(key);
      }
    },
    lookup: (order) => {
      for (const n of order) find(n);
    },
    update: (order) => {
      for (const n of order) {
        const record = find(n);
        records.set(record, 5, 0x18e);
        records.set(record, 6, n);
        records.set(record, 7, 1);
      }
    },
    iterate: (order) => {
      if (records.walk() !== order.length) throw new Error('the walk missed flows');
    },
    delete: (order) => {
      for (const n of order) records.remove(find(n));
    },
  };
  return { run: (phase, order) => phases[phase](order) };
}
