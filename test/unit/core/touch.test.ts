// Touching ahead (assembly/touch.ts): in a large table the right buckets are read before a block of
// messages, and what the messages say is done exactly as in a small one.

import { beforeAll, describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { EXTERNAL, INTERNAL, split, TestNode } from './arena.js';
import { checkShard } from './invariants.js';
import { type KernelFlow, kernelMessage } from './kernel.js';

const FLOWS = 10_000; // more than a table has that is not touched
const BLOCK = 16;

const node = new TestNode({ hashLimit: 2 * FLOWS, sideChunks: 8 });
const peer = new TestNode({ hashLimit: 2 * FLOWS, sideChunks: 8, shardOptions: 0 });

function flow(n: number): KernelFlow {
  return n % 10 === 9 ? { n, v6: true } : n % 10 === 8 ? { n, zone: 3 } : { n };
}

/** Marks of a cache's flows by address of the record. */
function marks(kind: number): Map<number, number> {
  return new Map(
    node.records(kind).map((record) => [record, node.get(record + L.RECORD_MARK)] as const),
  );
}

/** Is `record` in the chain that the block's n-th message was touched by? */
function wasTouched(n: number, record: number): boolean {
  let at = node.get(node.shard + L.SHARD_TOUCH + 4 * n);
  while (at !== 0 && at !== record) at = node.get(at + L.RECORD_NEXT);
  return at !== 0;
}

describe('a table of ten thousand flows', () => {
  beforeAll(() => {
    const all = Array.from({ length: FLOWS }, (_, n) => kernelMessage('new', flow(n)));
    node.events(...all);
    peer.events(...all);
    for (let batch = peer.pump(); batch.length > 0; batch = peer.pump()) {
      for (const { out } of batch) node.messages(...split(peer.payload(out)));
    }
    checkShard(node);
  });

  it('holds them all', () => {
    expect(node.records(INTERNAL)).toHaveLength(FLOWS);
    expect(node.records(EXTERNAL)).toHaveLength(FLOWS);
  });

  it('is touched where the next events are looked up, if they are of the common shape', () => {
    const picked = Array.from({ length: BLOCK }, (_, i) => 1000 + i);
    const before = marks(INTERNAL);
    node.events(...picked.map((n) => kernelMessage('update', { ...flow(n), mark: n })));
    checkShard(node);
    const changed = [...marks(INTERNAL)].filter(([record, mark]) => before.get(record) !== mark);
    expect(changed.map(([, mark]) => mark).sort()).toEqual(picked);
    for (const [record, mark] of changed) {
      const place = mark - picked[0]!;
      if (place === 0) continue; // its place holds the sum by now
      const common = flow(mark).v6 === undefined && flow(mark).zone === undefined;
      expect([mark, wasTouched(place, record)]).toEqual([mark, common]);
    }
  });

  it('is touched where the next messages of a peer are looked up', () => {
    const picked = Array.from({ length: BLOCK }, (_, i) => 2000 + i);
    const before = marks(EXTERNAL);
    peer.events(...picked.map((n) => kernelMessage('update', { ...flow(n), mark: n })));
    const messages = peer.pump().flatMap(({ out }) => split(peer.payload(out)));
    expect(messages).toHaveLength(BLOCK);
    node.messages(...messages);
    checkShard(node);
    const changed = [...marks(EXTERNAL)].filter(([record, mark]) => before.get(record) !== mark);
    expect(changed.map(([, mark]) => mark).sort()).toEqual(picked);
    for (const [record, mark] of changed) {
      const place = mark - picked[0]!;
      const common = flow(mark).v6 === undefined && flow(mark).zone === undefined;
      if (place !== 0) expect([mark, wasTouched(place, record)]).toEqual([mark, common]);
    }
  });

  it('takes cut and foreign messages in a block for what they are', () => {
    const cut = kernelMessage('update', flow(1)).slice(0, 40);
    new DataView(cut.buffer).setUint32(0, 40, true);
    const bad = node.count(node.shard + L.SHARD_EVENT_BAD);
    node.events(cut, kernelMessage('destroy', flow(3)), kernelMessage('new', { n: FLOWS + 1 }));
    checkShard(node);
    expect(node.count(node.shard + L.SHARD_EVENT_BAD)).toBe(bad + 1);
    expect(node.records(INTERNAL)).toHaveLength(FLOWS + 1); // the one that died waits to be told
  });
});
