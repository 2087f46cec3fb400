// Stats mode's feed: each cached flow that ends is reported once, as its last event told; the ring is
// bounded, and a sweep waits for room while events are counted.

import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { FlowReader } from '../../../src/report/flow.js';
import { INTERNAL, TestNode } from './arena.js';
import { checkShard } from './invariants.js';
import { kernelMessage, sportOf } from './kernel.js';

const node = new TestNode({
  hashLimit: 20_000,
  mode: L.MODE_NOTRACK,
  shardOptions: L.SHARD_SILENT | L.SHARD_REPORT,
});
const { shard } = node;

beforeEach(() => {
  node.reset();
});

function reports(): FlowReader[] {
  const ring = node.get(shard + L.SHARD_REPORT_RING);
  const head = node.get(shard + L.SHARD_REPORT_HEAD);
  const tail = node.get(shard + L.SHARD_REPORT_TAIL);
  return Array.from({ length: (head - tail) >>> 0 }, (_, i) => {
    const slot = (tail + i) & (L.REPORT_SLOTS - 1);
    return new FlowReader(node.view, ring + slot * L.FLOW_SIZE);
  });
}

function take(): void {
  node.set(shard + L.SHARD_REPORT_TAIL, node.get(shard + L.SHARD_REPORT_HEAD));
}

const lost = (): number => node.count(shard + L.SHARD_REPORT_LOST);

describe('flows that end', () => {
  it('are reported with the counters of their DESTROY event', () => {
    node.events(kernelMessage('new', { n: 5, mark: 9 }));
    node.events(kernelMessage('destroy', { n: 5, counters: { packets: 3, bytes: 400 } }));
    const [flow, ...more] = reports();
    expect(more).toEqual([]);
    expect(flow!.orig.sport).toBe(sportOf(5));
    expect(flow!.packetsOrig).toBe(3n);
    expect(flow!.bytesOrig).toBe(400n);
    expect(node.records(INTERNAL)).toEqual([]);
    checkShard(node);
  });

  it('are not reported when the cache never held them, and only once', () => {
    node.events(kernelMessage('destroy', { n: 1 }));
    node.events(kernelMessage('new', { n: 2 }), kernelMessage('destroy', { n: 2 }));
    node.events(kernelMessage('destroy', { n: 2 }));
    expect(reports()).toHaveLength(1);
  });

  it('are not reported when the operator flushes the cache', () => {
    node.events(kernelMessage('new', { n: 1 }));
    node.fn.shardFlush!(shard, INTERNAL);
    expect(reports()).toEqual([]);
  });

  it('that a comparison with the kernel misses are reported as last known', () => {
    node.events(kernelMessage('new', { n: 1, v6: true, mark: 7 }), kernelMessage('new', { n: 2 }));
    node.fn.shardDumpBegin!(shard);
    node.dump(false, kernelMessage('dump', { n: 2 }));
    expect(node.fn.shardDumpEnd!(shard, 1, 0, 1000)).toBe(0);
    const [flow, ...more] = reports();
    expect(more).toEqual([]);
    expect(flow!.mark).toBe(7);
    expect(flow!.orig.sport).toBe(sportOf(1));
  });

  it('are not reported when only a new filter took them out of the cache', () => {
    node.events(kernelMessage('new', { n: 1 }));
    node.fn.shardDumpBegin!(shard);
    expect(node.fn.shardDumpEnd!(shard, L.PURGE_UNREPORTED, 0, 1000)).toBe(0);
    expect(node.records(INTERNAL)).toEqual([]);
    expect(reports()).toEqual([]);
  });
});

describe('a full ring', () => {
  const many = L.REPORT_SLOTS + 100;
  // sportOf repeats after a thousand, the address does not.
  const all = (kind: 'new' | 'destroy'): Uint8Array[] =>
    Array.from({ length: many }, (_, n) => kernelMessage(kind, { n }));

  it('counts what it could not take and goes on when it was emptied', () => {
    node.events(...all('new'));
    node.events(...all('destroy'));
    expect(reports()).toHaveLength(L.REPORT_SLOTS);
    expect(lost()).toBe(100);
    expect(node.records(INTERNAL)).toEqual([]);
    take();
    node.events(kernelMessage('new', { n: 3 }), kernelMessage('destroy', { n: 3 }));
    expect(reports()[0]!.orig.sport).toBe(sportOf(3));
  });

  it('makes a sweep wait, so that none is lost', () => {
    node.events(...all('new'));
    node.fn.shardDumpBegin!(shard);
    expect(node.fn.shardDumpEnd!(shard, 1, 0, 65536)).toBe(1);
    expect(reports()).toHaveLength(L.REPORT_SLOTS);
    expect(node.fn.shardDumpEnd!(shard, 1, 0, 65536)).toBe(1); // still full: nothing happens
    take();
    expect(node.fn.shardDumpEnd!(shard, 1, 0, 65536)).toBe(0);
    expect(reports()).toHaveLength(100);
    expect(lost()).toBe(0);
    checkShard(node);
  });

  it('keeps its order when its positions wrap around', () => {
    node.set(shard + L.SHARD_REPORT_HEAD, 0xffff_fffe);
    node.set(shard + L.SHARD_REPORT_TAIL, 0xffff_fffe);
    for (const n of [1, 2, 3]) {
      node.events(kernelMessage('new', { n }), kernelMessage('destroy', { n }));
    }
    expect(reports().map((flow) => flow.orig.sport)).toEqual([1, 2, 3].map(sportOf));
  });
});
