// Direct injection: what a peer says becomes requests to the kernel, in batches, and whatever the
// kernel refuses, the table ends as if every message had been carried out one after the other. The
// kernel here is made up; it refuses what the real one refuses, by the rules the lab confirmed.

import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import * as L from '../../../assembly/layout.js';
import type { Core } from '../../../src/cache/wasm.js';
import { SystemCallError } from '../../../src/kernel/syscalls.js';
import { failureText, type InjectFailure, Injection } from '../../../src/sync/inject.js';
import { EXTERNAL, INTERNAL, TestNode } from './arena.js';
import { FakeKernel, type KernelEntry } from './fake-kernel.js';
import { checkShard } from './invariants.js';
import { type KernelFlow, kernelMessage } from './kernel.js';
import { cached, said } from './spoken.js';

const ASSURED = 0x4;
const EBUSY = 16;
const node = new TestNode({ hashLimit: 3000, shardOptions: L.SHARD_INJECT });
const core = node.fn as unknown as Core;
let kernel: FakeKernel;
let failures: InjectFailure[];
let injection: Injection;

function begin(repeats = false): void {
  kernel = new FakeKernel(node);
  failures = [];
  injection = new Injection(node.arena, core, kernel, {
    tcpWindowTracking: false,
    repeats,
    onFailure: (failure) => failures.push(failure),
  });
}

beforeEach(() => {
  node.reset();
  begin();
});

type Kind = 'NEW' | 'UPD' | 'DEL';
const TYPES = { NEW: 0, UPD: 1, DEL: 2 };

/** A peer's message about a flow. */
function message(kind: Kind, flow: KernelFlow, options = 0): Uint8Array {
  const event = kernelMessage(kind === 'DEL' ? 'destroy' : 'new', flow);
  const at = node.arena.control;
  node.bytes.set(event, at);
  if (node.fn.decodeFlow!(at, event.length, node.flow) !== 0) throw new Error('a bad event');
  node.fn.natFromReply!(node.flow);
  const length = node.fn.encodeSync!(node.flow, at, 1000, TYPES[kind], options);
  return node.bytes.slice(at, at + length);
}

/** Receives these messages as one delivery. */
function receive(...messages: Uint8Array[]): void {
  const { link, receiver } = node.arena;
  const list = node.get(receiver + L.RECEIVER_FLOWS);
  let at = link.slots;
  messages.forEach((bytes, i) => {
    node.bytes.set(bytes, at);
    node.set(list + 4 * i, at);
    at += (bytes.length + 63) & ~63;
  });
  injection.inject(list, messages.length);
  node.fn.shardInjected!(node.shard, list, messages.length, 0);
}

const say = (kind: Kind, ...flows: KernelFlow[]) => flows.map((flow) => message(kind, flow));

describe('what a peer says goes into the kernel', () => {
  test('NEW creates, UPD changes, DEL deletes', () => {
    receive(...say('NEW', { n: 1, mark: 5 }, { n: 2, v6: true }, { n: 3, snat: 9 }));
    expect(kernel.marks()).toEqual({ '1': 5, '2v6': 0, '3': 0 });
    receive(...say('UPD', { n: 1, mark: 6 }), ...say('DEL', { n: 2, v6: true }));
    expect(kernel.marks()).toEqual({ '1': 6, '3': 0 });
    expect(injection.done).toEqual({ create: 3, update: 1, destroy: 1 });
    expect(failures).toEqual([]);
  });

  test('128 messages a send, with a single acknowledgement', () => {
    receive(...Array.from({ length: 300 }, (_, n) => message('NEW', { n: n + 1 })));
    expect(kernel.sends.map(({ requests }) => requests)).toEqual([128, 128, 44]);
    expect(kernel.sends.map(({ acknowledgements }) => acknowledgements)).toEqual([1, 1, 1]);
    expect(kernel.table.size).toBe(300);
  });

  test('a NEW of a flow that is there replaces it; an UPD of an unknown one creates it', () => {
    receive(...say('NEW', { n: 1, mark: 5 }));
    receive(...say('NEW', { n: 1 }), ...say('UPD', { n: 2, mark: 7 }));
    expect(kernel.marks()).toEqual({ '1': 0, '2': 7 });
    expect(injection.done).toEqual({ create: 2, update: 1, destroy: 0 });
  });

  test('an UPD that the kernel refuses becomes a new flow', () => {
    receive(...say('NEW', { n: 1, status: 0x188 | ASSURED, mark: 5 }));
    receive(...say('UPD', { n: 1, status: 0x188 }));
    expect(kernel.errors).toContain(EBUSY);
    expect(kernel.marks()).toEqual({ '1': 0 });
    expect(failures).toEqual([]);
  });

  test('a DEL of a flow that is gone is no failure and does not count', () => {
    receive(...say('DEL', { n: 1 }));
    expect(injection.done.destroy).toBe(0);
    expect(injection.failed.destroy).toBe(0);
  });

  test('a flow with a master is created when its master is there for certain', () => {
    receive(...say('NEW', { n: 1 }), ...say('NEW', { n: 2, master: 1 }));
    expect(kernel.sends.map(({ requests }) => requests)).toEqual([1, 1]);
    receive(...say('NEW', { n: 1 }), ...say('NEW', { n: 3, master: 1 }));
    expect(Object.keys(kernel.marks())).toEqual(['1', '2', '3']);
    expect(failures).toEqual([]);
  });

  test('a peer that sends no timeouts gets flows all the same', () => {
    const omit = 2; // SYNC_OMIT_TIMEOUT: its CommitTimeout is set
    const established = { n: 1, status: 0x188 | ASSURED, state: 3 };
    receive(message('NEW', established, omit), message('NEW', { n: 2, l4: 17 }, omit));
    receive(message('UPD', { n: 3 }, omit));
    expect(failures).toEqual([]);
    expect(kernel.timeouts()).toEqual({ '1': 432000, '2': 180, '3': 180 });
  });

  test('a repetition in ALARM mode refreshes the flow instead of replacing it', () => {
    begin(true);
    receive(...say('NEW', { n: 1, mark: 5, timeout: 100 }));
    receive(...say('NEW', { n: 1, timeout: 300 }));
    expect(kernel.marks()).toEqual({ '1': 5 });
    expect(kernel.timeouts()).toEqual({ '1': 300 });
    expect(kernel.deletes).toBe(1); // before the first creation
  });
});

describe('what cannot be done', () => {
  test('is counted, and told with its flow and the kernel’s reason', () => {
    receive(...say('NEW', { n: 2, master: 1 }), ...say('UPD', { n: 3, master: 1 }));
    expect(injection.failed).toEqual({ create: 1, update: 1, destroy: 0 });
    expect(failures.map(({ step, errno, again }) => ({ step, errno, again }))).toEqual([
      { step: 'create', errno: 2, again: true },
      { step: 'update', errno: 2, again: true },
    ]);
    const [failure] = failures;
    expect(failureText({ ...failure!, errno: 17 })).toBe(
      'could not add new ct entry, even when deleting it first',
    );
  });

  test('a kernel that takes no request at all fails the batch, and the daemon lives', () => {
    kernel.refusal = new SystemCallError('send', 1);
    receive(...say('NEW', { n: 1 }), ...say('DEL', { n: 2 }));
    expect(injection.failed).toEqual({ create: 1, update: 0, destroy: 1 });
  });

  test('a message that cannot be read is passed over, and its shard counts it', () => {
    const broken = message('NEW', { n: 1 });
    broken[broken.length - 6] = 0xff; // the type of the last attribute, or its length
    broken[9] = 0xff;
    receive(...say('NEW', { n: 2 }), broken, ...say('NEW', { n: 3 }));
    expect(Object.keys(kernel.marks())).toEqual(['2', '3']);
    expect(injection.failed.create).toBe(0);
    expect(node.count(node.shard + L.SHARD_BAD_PAYLOAD)).toBe(1);
  });
});

/** The rule for one message, carried out alone. */
function carryOut(table: Map<string, KernelEntry>, kind: Kind, flow: KernelFlow): void {
  const key = `${flow.n}`;
  const fresh = { mark: flow.mark ?? 0, status: flow.status ?? 0 };
  const old = table.get(key);
  if (kind === 'DEL') table.delete(key);
  else if (kind === 'NEW' || old === undefined) table.set(key, { ...fresh, timeout: 120 });
  else if (old.status & ASSURED & ~fresh.status) table.set(key, { ...fresh, timeout: 120 });
  else {
    old.status |= fresh.status;
    if (flow.mark !== undefined) old.mark = flow.mark;
  }
}

test('any order of messages of any flows ends as if they had come one by one', () => {
  const step = fc.record({
    kind: fc.constantFrom<Kind>('NEW', 'UPD', 'UPD', 'DEL'),
    n: fc.integer({ min: 1, max: 6 }),
    mark: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
    assured: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      begin();
      const model = new Map<string, KernelEntry>();
      const messages = steps.map(({ kind, n, mark, assured }) => {
        const flow: KernelFlow = { n, status: 0x188 | (assured ? ASSURED : 0) };
        if (mark !== undefined) flow.mark = mark;
        carryOut(model, kind, flow);
        return message(kind, flow);
      });
      receive(...messages);
      const marks = [...model].map(([key, { mark }]) => [key, mark]).sort();
      expect(Object.entries(kernel.marks()).sort()).toEqual(marks);
      expect(failures).toEqual([]);
    }),
    { numRuns: 150 },
  );
}, 60_000);

describe('a copy of a peer’s flow', () => {
  const event = (kind: 'new' | 'update' | 'destroy', flow: KernelFlow) =>
    node.events(kernelMessage(kind, flow));

  test('is not in the internal cache, and its end is told to nobody', () => {
    receive(...say('NEW', { n: 1 }, { n: 2, v6: true }, { n: 3, zone: 7 }));
    for (const flow of [{ n: 1 }, { n: 2, v6: true }, { n: 3, zone: 7 }]) event('destroy', flow);
    expect(said(node)).toEqual([]);
    expect(node.records(EXTERNAL)).toEqual([]);
    checkShard(node);
  });

  test('is ours from the first event that packets cause on', () => {
    receive(...say('NEW', { n: 1 }));
    event('update', { n: 1 });
    expect(said(node)).toEqual(['NEW 1']);
    event('destroy', { n: 1 });
    expect(said(node)).toEqual(['DEL 1']);
  });

  test('is the peer’s again when it speaks of it again', () => {
    event('new', { n: 1 });
    expect(said(node)).toEqual(['NEW 1']);
    receive(...say('UPD', { n: 1 }));
    event('destroy', { n: 1 });
    expect(said(node)).toEqual([]);
    expect(cached(node, INTERNAL)).toEqual([]);
  });

  test('is left out when the kernel’s table is read', () => {
    receive(...say('NEW', { n: 1 }));
    node.fn.shardDumpBegin!(node.shard);
    node.dump(true, kernelMessage('dump', { n: 1 }), kernelMessage('dump', { n: 2 }));
    node.fn.shardDumpEnd!(node.shard, 1, 1, 1e6);
    expect(said(node)).toEqual(['NEW 2']);
    expect(cached(node, INTERNAL)).toEqual(['new 2']);
  });

  test('that was here before the daemon started is given up when its owner speaks', () => {
    node.fn.shardDumpBegin!(node.shard);
    node.dump(false, kernelMessage('dump', { n: 1 }), kernelMessage('dump', { n: 2 }));
    node.fn.shardDumpEnd!(node.shard, 0, 0, 1e6);
    receive(...say('UPD', { n: 1 }));
    event('destroy', { n: 1 });
    event('destroy', { n: 2 });
    expect(said(node)).toEqual(['DEL 2']);
    checkShard(node);
  });

  test('ends with the peer’s DEL', () => {
    receive(...say('NEW', { n: 1, labels: 3, helper: 'ftp' }));
    expect(node.records(EXTERNAL)).toHaveLength(1);
    receive(...say('DEL', { n: 1 }));
    expect(node.records(EXTERNAL)).toEqual([]);
    checkShard(node);
  });
});
