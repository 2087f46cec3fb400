// A commit against a kernel that is a table: what it asks for, over which socket, and what the
// internal cache knows afterwards, also when flows end, change or are there already in the middle.

import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { LocalShards } from '../../../src/cache/shards.js';
import type { Core } from '../../../src/cache/wasm.js';
import { type CommitReport, commitFlows } from '../../../src/sync/commit.js';
import { EXTERNAL, INTERNAL, split, TestNode } from '../core/arena.js';
import { FakeKernel } from '../core/fake-kernel.js';
import { checkShard } from '../core/invariants.js';
import { type KernelFlow, type Kind, kernelMessage } from '../core/kernel.js';
import { cached, nameOfFlow, said } from '../core/spoken.js';

const COMMIT = 4001;
const CONFIRMED = 0x8;

const peer = new TestNode({ hashLimit: 2000, shardOptions: 0 });
const node = new TestNode({ hashLimit: 2000, sideChunks: 8 });
const shards = new LocalShards(node.arena, node.fn as unknown as Core);
let kernel: FakeKernel;
/** Sends of each socket. */
let quiet: number;
let loud: number;

beforeEach(() => {
  peer.reset();
  node.reset();
  node.set(L.CONTROL_PORT_COMMIT, COMMIT);
  kernel = new FakeKernel(node);
  quiet = 0;
  loud = 0;
});

function receive(...flows: KernelFlow[]): void {
  peer.events(...flows.map((flow) => kernelMessage('new', flow)));
  for (const { out } of peer.pump()) node.messages(...split(peer.payload(out)));
}

function event(kind: Kind, flow: KernelFlow, port = 0): void {
  node.events(kernelMessage(kind, flow, port));
  checkShard(node);
}

/** Commits; `meanwhile` is what the kernel has said by the time the first quiet send returns. */
async function commit(meanwhile = (): void => {}, learns = true): Promise<CommitReport> {
  const socket = (count: () => void) => ({
    takeSequence: (requests: number) => kernel.takeSequence(requests),
    send: (...args: Parameters<FakeKernel['send']>) => {
      count();
      return kernel.send(...args);
    },
  });
  let said = meanwhile;
  const report = await commitFlows(
    {
      arena: node.arena,
      shards,
      requests: socket(() => loud++),
      quiet: {
        requests: socket(() => quiet++),
        learns,
        catchUp: () => {
          said();
          said = () => {};
        },
      },
      pause: () => Promise.resolve(),
      onFailure: () => {},
    },
    0,
  );
  checkShard(node);
  expect(node.get(node.shard + L.SHARD_DUMPING)).toBe(0);
  expect(node.records(INTERNAL).filter((record) => node.isTomb(record))).toEqual([]);
  return report;
}

/** What a cache's record of a flow says, without the kernel's id. */
function attributes(name: string, of = node): Record<string, number | string> {
  for (const record of of.records(INTERNAL)) {
    of.fn.unpackFlow!(record, of.flow);
    if (nameOfFlow(of, of.flow) !== name) continue;
    const word = (at: number): number => of.get(of.flow + at);
    const tuple = (at: number): string =>
      Buffer.from(of.bytes.slice(of.flow + at, of.flow + at + L.TUPLE_SIZE)).toString('hex');
    return {
      present: word(L.FLOW_PRESENT) & ~L.HAS_ID,
      status: word(L.FLOW_STATUS),
      timeout: word(L.FLOW_TIMEOUT),
      mark: word(L.FLOW_MARK),
      state: of.bytes[of.flow + L.FLOW_STATE]!,
      orig: tuple(L.FLOW_ORIG),
      reply: tuple(L.FLOW_REPLY),
    };
  }
  throw new Error(`no flow ${name}`);
}

const PLAIN: KernelFlow[] = [
  { n: 1, status: CONFIRMED | 6, timeout: 300, state: 3, mark: 7 },
  { n: 2, v6: true, status: CONFIRMED | 6, timeout: 100, state: 5, mark: 9 },
  { n: 3, zone: 4, status: CONFIRMED, timeout: 60, state: 1, mark: 1 },
];

describe('a commit that the kernel does not repeat to us', () => {
  it('leaves in the internal cache what the events would have left, and tells nobody', async () => {
    receive(...PLAIN);
    expect(await commit()).toMatchObject({ committed: 3, failed: 0 });
    expect([quiet, loud]).toEqual([1, 0]);
    expect(cached(node, INTERNAL)).toEqual(['new 1', 'new 2v6', 'new 3 zone 4']);
    expect(said(node)).toEqual([]);
    const told = peer.reset();
    told.set(L.CONTROL_PORT_COMMIT, COMMIT);
    told.events(...PLAIN.map((flow) => kernelMessage('new', flow, COMMIT)));
    for (const name of ['1', '2v6', '3 zone 4']) {
      const { present, ...learned } = attributes(name);
      const { present: known, ...heard } = attributes(name, told);
      expect(learned).toEqual(heard);
      // Window scales and flags are only in what the kernel says itself.
      expect(Number(present) & ~Number(known) & ~(L.HAS_WSCALE | L.HAS_TCP_FLAGS)).toBe(0);
    }
  });

  it('leaves flows of which the kernel decides a part to its events', async () => {
    receive({ n: 1 }, { n: 2, labels: 3 }, { n: 3, status: 0x8 | 0x1b0, snat: 9 });
    receive({ n: 4, helper: 'ftp' }, { n: 5, master: 1 });
    expect(await commit()).toMatchObject({ committed: 5, failed: 0 });
    expect(quiet).toBe(1);
    expect(loud).toBe(2); // the special ones, then the related one
    expect(kernel.table.size).toBe(5);
    expect(cached(node, INTERNAL)).toEqual(['new 1']);
  });

  it('commits a flow once more whose end was heard meanwhile, and hears of it then', async () => {
    receive({ n: 1 }, { n: 2 });
    await commit(() => {
      event('destroy', { n: 1 });
      kernel.table.delete([...kernel.table.keys()][0]!);
    });
    expect([quiet, loud]).toEqual([1, 1]);
    expect(kernel.table.size).toBe(2);
    expect(cached(node, INTERNAL)).toEqual(['new 2']);
    event('new', { n: 1 }, COMMIT);
    expect(cached(node, INTERNAL).sort()).toEqual(['new 1', 'new 2']);
  });

  it('does not take the end of a flow from before for the end of the committed one', async () => {
    event('new', { n: 1 });
    said(node);
    event('destroy', { n: 1 }); // the peers have yet to acknowledge it
    said(node);
    expect(cached(node, INTERNAL)).toEqual(['dead 1']);
    receive({ n: 1 });
    expect(await commit()).toMatchObject({ committed: 1, failed: 0 });
    expect(loud).toBe(0);
    expect(cached(node, INTERNAL)).toEqual(['new 1']);
  });

  it('keeps what the kernel has said of a flow since', async () => {
    receive({ n: 1, mark: 5, state: 1 }, { n: 2, mark: 5 });
    await commit(() => event('update', { n: 1, mark: 6, state: 3 }));
    expect(attributes('1')).toMatchObject({ mark: 6, state: 3 });
    expect(attributes('2')).toMatchObject({ mark: 5 });
    expect(loud).toBe(0);
  });

  it('replaces what the kernel has already, and learns of that by its events', async () => {
    receive({ n: 1 }, { n: 2 });
    await commit();
    const deletes = kernel.deletes;
    node.fn.shardFlush!(node.shard, INTERNAL);
    expect(await commit()).toMatchObject({ committed: 2, failed: 0 });
    expect(kernel.deletes - deletes).toBe(2);
    expect(cached(node, INTERNAL)).toEqual([]);
  });

  it('learns nothing without an internal cache', async () => {
    receive({ n: 1 });
    expect(await commit(undefined, false)).toMatchObject({ committed: 1 });
    expect(node.records(INTERNAL)).toEqual([]);
  });

  it('sends a thousand flows in sends of at most 256', async () => {
    for (let n = 0; n < 1000; n++) receive({ n });
    expect(node.records(EXTERNAL)).toHaveLength(1000);
    expect(await commit()).toMatchObject({ committed: 1000, failed: 0 });
    expect(kernel.sends.map(({ requests }) => requests)).toEqual([256, 256, 256, 232]);
    expect(kernel.sends.every(({ acknowledgements }) => acknowledgements === 1)).toBe(true);
    expect(node.records(INTERNAL)).toHaveLength(1000);
  });
});
