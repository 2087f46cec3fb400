// A commit against a kernel that is a table: what it asks for, in which order and in how many sends,
// and what becomes of flows that are there already or that the kernel refuses.

import { beforeEach, describe, expect, it } from 'vitest';
import { LocalShards } from '../../../src/cache/shards.js';
import type { Core } from '../../../src/cache/wasm.js';
import { type CommitReport, commitFlows } from '../../../src/sync/commit.js';
import { EXTERNAL, INTERNAL, split, TestNode } from '../core/arena.js';
import { FakeKernel } from '../core/fake-kernel.js';
import { checkShard } from '../core/invariants.js';
import { type KernelFlow, kernelMessage } from '../core/kernel.js';

const ENOSPC = 28;

const peer = new TestNode({ hashLimit: 2000, shardOptions: 0 });
const node = new TestNode({ hashLimit: 2000, sideChunks: 8 });
const shards = new LocalShards(node.arena, node.fn as unknown as Core);
let kernel: FakeKernel;
let refused: string[];

beforeEach(() => {
  peer.reset();
  node.reset();
  kernel = new FakeKernel(node);
  refused = [];
});

function receive(...flows: KernelFlow[]): void {
  peer.events(...flows.map((flow) => kernelMessage('new', flow)));
  for (const { out } of peer.pump()) node.messages(...split(peer.payload(out)));
}

async function commit(fixedTimeout = 0, send = kernel.send.bind(kernel)): Promise<CommitReport> {
  const report = await commitFlows(
    {
      arena: node.arena,
      shards,
      requests: { takeSequence: (count) => kernel.takeSequence(count), send },
      pause: () => Promise.resolve(),
      onFailure: (step, errno) => refused.push(`${step} ${errno}`),
    },
    fixedTimeout,
  );
  checkShard(node);
  return report;
}

describe('a commit', () => {
  it('puts flows of every kind into the kernel, those with a master behind it', async () => {
    receive({ n: 5, master: 1 }, { n: 1 }, { n: 2, labels: 3 }, { n: 3, snat: 9 });
    receive({ n: 4, v6: true, helper: 'ftp' });
    expect(await commit()).toMatchObject({ committed: 5, failed: 0 });
    expect([...kernel.table.keys()]).toEqual(['1', '2', '3', '4v6', '5']);
    expect(kernel.sends.map(({ requests }) => requests)).toEqual([4, 1]);
    expect(kernel.errors).toEqual([]);
  });

  it('leaves the caches as they are: they learn by a look at the table afterwards', async () => {
    receive({ n: 1 }, { n: 2 });
    await commit();
    expect(node.records(EXTERNAL)).toHaveLength(2);
    expect(node.records(INTERNAL)).toEqual([]);
  });

  it('sends a thousand flows in sends of at most 256, one acknowledgement each', async () => {
    for (let n = 0; n < 1000; n++) receive({ n });
    expect(await commit()).toMatchObject({ committed: 1000, failed: 0 });
    expect(kernel.sends.map(({ requests }) => requests)).toEqual([256, 256, 256, 232]);
    expect(kernel.sends.every(({ acknowledgements }) => acknowledgements === 1)).toBe(true);
  });

  it('replaces what the kernel has already', async () => {
    receive({ n: 1, mark: 5 }, { n: 2, mark: 6 });
    await commit();
    receive({ n: 1, mark: 7 });
    expect(await commit()).toMatchObject({ committed: 2, failed: 0 });
    expect(kernel.deletes).toBe(2);
    expect(kernel.marks()).toEqual({ 1: 7, 2: 6 });
    expect(refused).toEqual([]);
  });

  it('counts and tells what the kernel refuses', async () => {
    receive({ n: 1 }, { n: 2 }, { n: 3 });
    const report = await commit(0, (address, bytes, first, count) => {
      const failures = kernel.send(address, bytes, first, count);
      return failures.set(1, ENOSPC);
    });
    expect(report).toMatchObject({ committed: 2, failed: 1 });
    expect([...report.reasons]).toEqual([['create: No space left on device', 1]]);
    expect(refused).toEqual([`create ${ENOSPC}`]);
  });

  it('gives every flow the fixed timeout if there is one', async () => {
    receive({ n: 1, timeout: 100 }, { n: 2, timeout: 200 });
    await commit(77);
    expect(kernel.timeouts()).toEqual({ 1: 77, 2: 77 });
  });
});
