// The flow table against a Map: whatever is added, found, changed, removed and cleared, both agree,
// the index stays whole, and limits refuse instead of corrupting.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { EXTERNAL, INTERNAL, TestNode } from './arena.js';
import { checkShard, checkTable } from './invariants.js';
import { address } from './kernel.js';
import { numbers } from './numbers.js';
import { type Attributes, type Identity, readAttributes, writeFlow } from './wide.js';

/** Flow k of a small world: few tuples, so that chains are long and the same ones meet again. */
function identity(k: number): Identity {
  const v6 = (k & 1) !== 0;
  const wide = new Uint8Array(16);
  const server = new Uint8Array(16);
  wide.set(address(1, k >> 4, v6));
  server.set(address(2, 0, v6));
  return {
    v6,
    l4: k & 2 ? 17 : 6,
    src: wide,
    dst: server,
    sport: 1 + (k & 3),
    dport: 53,
    zone: (k >> 2) & 3,
  };
}

const LABELS = (value: number) => value.toString(16).padStart(2, '0').repeat(16);

class Model {
  /** Records by identity, and their mark. */
  readonly flows = new Map<number, { record: number; mark: number; labels: number }>();

  constructor(
    readonly node: TestNode,
    readonly kind: number,
  ) {}

  private write(k: number, mark: number, labels: number): void {
    const attributes: Attributes = new Map([[L.HAS_MARK, mark.toString(16).padStart(8, '0')]]);
    if (labels) attributes.set(L.HAS_LABELS, LABELS(labels));
    writeFlow(this.node, identity(k), attributes);
    const { flow, key, fn } = this.node;
    fn.keyOfTuple!(flow + L.FLOW_ORIG, identity(k).zone, key);
  }

  find(k: number): number {
    this.write(k, 0, 0);
    const { fn, flow, key } = this.node;
    return fn.findRecord!(this.node.table(this.kind), key, flow);
  }

  /** Adds or updates flow k; true when the table took it. */
  put(k: number, mark: number, labels: number): boolean {
    const { node } = this;
    const { fn, flow, key, shard } = node;
    const record = this.find(k);
    const known = this.flows.get(k);
    expect(record).toBe(known?.record ?? 0);
    this.write(k, mark, labels);
    if (known) {
      if (!fn.reserveParts!(shard, record, flow)) return false;
      fn.packFlow!(record, flow, 0);
      this.flows.set(k, { record, mark, labels: labels || known.labels });
      return true;
    }
    const fresh = fn.addRecord!(shard, node.table(this.kind), key, flow);
    if (fresh === 0) return false;
    fn.packFlow!(fresh, flow, 0);
    this.flows.set(k, { record: fresh, mark, labels });
    return true;
  }

  remove(k: number): void {
    const known = this.flows.get(k);
    const record = this.find(k);
    expect(record).toBe(known?.record ?? 0);
    if (record === 0) return;
    this.node.fn.removeRecord!(this.node.shard, this.node.table(this.kind), record);
    this.flows.delete(k);
  }

  clear(): void {
    this.node.fn.clearTable!(this.node.shard, this.node.table(this.kind));
    this.flows.clear();
  }

  /** The slab lists exactly the flows of the model, with their attributes. */
  compare(): void {
    const { node } = this;
    const byRecord = new Map([...this.flows].map(([k, flow]) => [flow.record, { k, ...flow }]));
    const records = node.records(this.kind);
    if (records.length !== this.flows.size) {
      throw new Error(`${records.length} records, the model has ${this.flows.size}`);
    }
    for (const record of records) {
      const flow = byRecord.get(record);
      if (!flow) throw new Error('a record that the model has not');
      node.fn.unpackFlow!(record, node.flow);
      const attributes = readAttributes(node, node.flow);
      const mark = flow.mark.toString(16).padStart(8, '0');
      const labels = flow.labels ? LABELS(flow.labels) : undefined;
      if (attributes.get(L.HAS_MARK) !== mark || attributes.get(L.HAS_LABELS) !== labels) {
        throw new Error('a record with attributes of another flow');
      }
    }
  }
}

describe('the flow table', () => {
  it('agrees with a Map over 30,000 operations of every kind', () => {
    const node = new TestNode({ digests: false, hashLimit: 4096, buckets: 2 });
    const model = new Model(node, INTERNAL);
    const next = numbers(1);
    for (let step = 0; step < 30_000; step++) {
      const dice = next(1000);
      const k = next(step % 6000 < 3000 ? 3000 : 300);
      if (dice < 550) expect(model.put(k, next(2 ** 32), dice < 60 ? 1 + next(255) : 0)).toBe(true);
      else if (dice < 999) model.remove(k);
      else model.clear();
      if (step % 1000 === 0) {
        model.compare();
        checkShard(node);
      }
    }
    model.compare();
    checkShard(node);
    expect(node.get(node.table(INTERNAL) + L.TABLE_CREATE_FAILED)).toBe(0);
  });

  it('agrees with a Map whatever the order, in both caches at once', () => {
    const node = new TestNode({ digests: false, hashLimit: 40, buckets: 2, sideChunks: 2 });
    const step = fc.record({
      kind: fc.constantFrom(INTERNAL, EXTERNAL),
      what: fc.constantFrom('put', 'put', 'put', 'remove', 'remove', 'clear'),
      k: fc.nat(63),
      mark: fc.nat(0xffffffff),
      labels: fc.constantFrom(0, 0, 7),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        node.reset();
        const models = [new Model(node, INTERNAL), new Model(node, EXTERNAL)];
        for (const { kind, what, k, mark, labels } of steps) {
          const model = models[kind]!;
          if (what === 'put') model.put(k, mark, labels);
          else if (what === 'remove') model.remove(k);
          else model.clear();
        }
        for (const model of models) {
          model.compare();
          expect(model.flows.size).toBeLessThanOrEqual(40);
        }
        checkShard(node);
      }),
      { numRuns: 150 },
    );
  });

  it('splits one bucket at a time and finds every flow at every size', () => {
    for (const buckets of [2, 3, 5, 8, 64]) {
      const node = new TestNode({ digests: false, hashLimit: 400, buckets });
      const model = new Model(node, INTERNAL);
      const table = node.table(INTERNAL);
      for (let k = 0; k < 400; k++) {
        model.put(k * 5, k, 0);
        expect(node.get(table + L.TABLE_BUCKETS)).toBe(Math.max(buckets, k + 1));
        checkTable(node, INTERNAL);
      }
      for (const [k, { record }] of model.flows) expect(model.find(k)).toBe(record);
    }
  });

  it('stops growing the index at its largest size and still finds every flow', () => {
    const node = new TestNode({ digests: false, hashLimit: 400, buckets: 2 });
    node.set(node.table(INTERNAL) + L.TABLE_BUCKETS_MAX, 21);
    const model = new Model(node, INTERNAL);
    for (let k = 0; k < 400; k++) model.put(k, k, 0);
    expect(node.get(node.table(INTERNAL) + L.TABLE_BUCKETS)).toBe(21);
    checkTable(node, INTERNAL);
    for (const [k, { record }] of model.flows) expect(model.find(k)).toBe(record);
  });

  it('uses the places of removed flows again before it takes new ones', () => {
    const node = new TestNode({ digests: false, hashLimit: 100 });
    const model = new Model(node, INTERNAL);
    const table = node.table(INTERNAL);
    for (let k = 0; k < 100; k++) model.put(k, k, k & 1);
    for (let round = 0; round < 20; round++) {
      for (let k = round; k < round + 30; k++) model.remove(k % 100);
      for (let k = round; k < round + 30; k++) expect(model.put(k % 100, 1, 0)).toBe(true);
      expect(node.get(table + L.TABLE_USED)).toBe(100);
      checkShard(node);
    }
  });

  it('refuses and counts what HashLimit does not allow, in each cache for itself', () => {
    const node = new TestNode({ digests: false, hashLimit: 50 });
    const internal = new Model(node, INTERNAL);
    const external = new Model(node, EXTERNAL);
    for (let k = 0; k < 80; k++) expect(internal.put(k, k, 0)).toBe(k < 50);
    expect(external.put(1, 1, 0)).toBe(true);
    const table = node.table(INTERNAL);
    expect(node.count(table + L.TABLE_CREATE_FAILED)).toBe(30);
    expect(node.count(table + L.TABLE_NO_SPACE)).toBe(30);
    expect(node.count(table + L.TABLE_NO_MEMORY)).toBe(0);
    internal.compare();
    internal.remove(0);
    expect(internal.put(70, 1, 0)).toBe(true);
    expect(internal.put(71, 1, 0)).toBe(false);
    checkShard(node);
  });

  it('refuses a flow when its own slab is full although HashLimit is not reached', () => {
    const node = new TestNode({ digests: false, hashLimit: 50 });
    node.set(L.CONTROL_LIMIT, 1000);
    const model = new Model(node, INTERNAL);
    for (let k = 0; k < 60; k++) expect(model.put(k, k, 0)).toBe(k < 50);
    expect(node.count(node.table(INTERNAL) + L.TABLE_NO_SPACE)).toBe(10);
    checkShard(node);
  });

  it('refuses and counts flows whose side parts find no memory, until some is free', () => {
    // Two chunks: 256 v6 parts and 128 extra parts.
    const node = new TestNode({ digests: false, hashLimit: 2000, sideChunks: 2 });
    const model = new Model(node, INTERNAL);
    const table = node.table(INTERNAL);
    let refused = 0;
    for (let k = 0; k < 1500; k++) if (!model.put(k, k, k % 3 === 0 ? 9 : 0)) refused++;
    expect(refused).toBeGreaterThan(500);
    expect(node.count(table + L.TABLE_NO_MEMORY)).toBe(refused);
    expect(node.count(table + L.TABLE_CREATE_FAILED)).toBe(refused);
    expect(node.get(L.CONTROL_STARVED)).toBe(1);
    expect(node.get(L.CONTROL_SIDE_NEXT)).toBe(node.sideStart + 2 * L.SIDE_CHUNK);
    model.compare();
    checkShard(node);
    const v6 = [...model.flows.keys()].find((k) => k & 1)!;
    model.remove(v6);
    expect(model.put(1499 | 1, 5, 0)).toBe(true);
    model.clear();
    checkShard(node);
    expect(model.put(v6, 1, 9)).toBe(true);
    model.compare();
    checkShard(node);
  });

  it('keeps a flow unchanged when an update needs a side part and there is none', () => {
    const node = new TestNode({ digests: false, hashLimit: 2000, sideChunks: 1 });
    const model = new Model(node, INTERNAL);
    for (let k = 0; k < 300; k++) model.put(2 * k, k, 0);
    let grown = 0;
    for (let k = 0; k < 300; k++) if (model.put(2 * k, k + 1, 3)) grown++;
    expect(grown).toBe(L.SIDE_CHUNK / L.EXTRA_SIZE);
    model.compare();
    checkShard(node);
  });
});
