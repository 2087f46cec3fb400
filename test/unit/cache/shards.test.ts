// Shards behind rings: orders are carried out in their order, answers arrive, batches route whole,
// and a worker that dies is noticed. The same orders on this thread give the same tables.

import { afterEach, describe, expect, test } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { Arena, type ArenaLimits } from '../../../src/cache/arena.js';
import { LocalShards, type Shards, WorkerShards } from '../../../src/cache/shards.js';
import { VERB } from '../../../src/cache/verbs.js';
import { type Core, compileModule, instantiate } from '../../../src/cache/wasm.js';
import { close, eventfd } from '../../../src/kernel/syscalls.js';

const module = compileModule();
const stopping: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const stop of stopping.splice(0)) await stop();
});

interface Node {
  arena: Arena;
  core: Core;
  shards: Shards;
  deaths: string[];
}

function makeNode(workers: number): Node {
  const limits: ArenaLimits = {
    shards: Math.max(1, workers),
    hashLimit: 20_000,
    resendQueueSize: 1000,
    payloadMax: 1472,
    shardOptions: L.SHARD_ACKNOWLEDGED,
    mode: L.MODE_FTFW,
    ackWindowSize: 300,
    firstSequence: 1000,
  };
  const arena = new Arena(limits);
  const core = instantiate(module, arena.memory);
  const deaths: string[] = [];
  if (workers === 0) return { arena, core, shards: new LocalShards(arena, core), deaths };
  const wake = eventfd();
  const shards = new WorkerShards(arena, module, wake, (shard, reason) => {
    deaths.push(`${shard}: ${reason instanceof Error ? reason.message : reason}`);
  });
  stopping.push(async () => {
    await shards.stop();
    close(wake);
  });
  return { arena, core, shards, deaths };
}

/** A kernel NEW event of TCP flow `n` at `at`; returns its length. */
function putEvent(arena: Arena, at: number, n: number, type = 0x0100, flags = 0x600): number {
  const bytes: number[] = [];
  const u16 = (value: number): void => void bytes.push(value & 255, value >> 8);
  const tuple = (kind: number, src: number[], dst: number[], ports: [number, number]): void => {
    u16(52);
    u16(0x8000 | kind);
    u16(20);
    u16(0x8001);
    for (const [t, address] of [
      [1, src],
      [2, dst],
    ] as const) {
      u16(8);
      u16(t);
      bytes.push(...address);
    }
    u16(28);
    u16(0x8002);
    bytes.push(5, 0, 1, 0, 6, 0, 0, 0);
    for (const [t, port] of [
      [2, ports[0]],
      [3, ports[1]],
    ] as const) {
      bytes.push(6, 0, t, 0, port >> 8, port & 255, 0, 0);
    }
  };
  const src = [10, 1, (n >> 8) & 255, n & 255];
  const dst = [10, 2, 0, 2];
  bytes.push(0, 0, 0, 0);
  u16(type);
  u16(flags);
  bytes.push(0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0);
  tuple(1, src, dst, [10000 + (n >> 16), 80]);
  tuple(2, dst, src, [80, 10000 + (n >> 16)]);
  bytes.push(8, 0, 3, 0, 0, 0, 0, 0x0e); // CTA_STATUS
  bytes.push(8, 0, 7, 0, 0, 0, 0x0e, 0x10); // CTA_TIMEOUT
  arena.bytes.set(bytes, at);
  arena.set(at, bytes.length);
  return bytes.length;
}

/** Gives events for flows `from` … `to` - 1 to their shards, as the data plane does. */
function giveEvents({ arena, core, shards }: Node, from: number, to: number, type?: number): void {
  for (let first = from; first < to; first += 256) {
    const index = ((first / 256) % arena.batches.length) | 0;
    const batch = arena.batches[index]!;
    // A batch is free again when its shards are through with it.
    for (let i = 0; i < shards.count; i++) shards.waitFor(i, shards.position(i));
    const count = Math.min(256, to - first);
    for (let i = 0; i < count; i++) {
      const at = batch.slots + i * batch.slotSize;
      putEvent(arena, at, first + i, type, type === undefined ? 0x600 : 0);
      arena.set(batch.flows + i * 4, at);
    }
    arena.bytes.fill(0, batch.counts, batch.counts + shards.count * 4);
    core.routeFlows(batch.flows, count, shards.count, batch.routed, batch.counts, arena.scratch);
    for (let shard = 0; shard < shards.count; shard++) {
      const part = arena.get(batch.counts + shard * 4);
      const list = batch.routed + shard * L.LIST_MAX * 4;
      if (part > 0) shards.post(shard, VERB.events, list, part);
    }
  }
}

/** Waits for an answer the way main's loop does. */
async function answered<T>(shards: Shards, answer: Promise<T>): Promise<T> {
  const timer = setInterval(() => shards.settle(), 1);
  try {
    return await answer;
  } finally {
    clearInterval(timer);
  }
}

describe.each([0, 1, 3])('Workers %i', (workers) => {
  test('every event reaches the one shard that owns its flow', async () => {
    const node = makeNode(workers);
    giveEvents(node, 0, 10_000);
    giveEvents(node, 0, 2_500, 0x0102);
    for (let i = 0; i < node.shards.count; i++) {
      await answered(node.shards, node.shards.call(i, VERB.pump));
    }
    const { arena } = node;
    const total = arena.sumTables(0, L.TABLE_COUNT);
    const dead = arena.sumTables(0, L.TABLE_DEAD);
    expect(total - dead).toBe(7_500);
    expect(arena.get(L.CONTROL_COUNT)).toBe(total);
    expect(arena.sumShards(L.SHARD_EVENTS)).toBe(12_500n);
    for (let i = 0; i < node.shards.count; i++) {
      const share = arena.get(arena.table(i, 0) + L.TABLE_COUNT) / total;
      expect(share).toBeGreaterThan(0.7 / node.shards.count);
    }
    expect(node.deaths).toEqual([]);
  });

  test('filled datagrams wait until main has sent them, then the next ones come', async () => {
    const node = makeNode(workers);
    giveEvents(node, 0, 5_000);
    const { arena, shards } = node;
    let messages = 0;
    for (let idle = 0; idle < 200 && messages < 5_000; idle++) {
      for (let shard = 0; shard < shards.count; shard++) {
        const count = shards.takeDatagrams(shard, 64);
        const context = arena.shard(shard);
        for (let i = 0; i < count; i++) {
          const slot = arena.get(context + L.SHARD_OUT) + i * arena.get(context + L.SHARD_OUT_SIZE);
          expect(arena.get(slot + L.OUT_LENGTH)).toBeLessThanOrEqual(1472);
          messages += arena.get(slot + L.OUT_MESSAGES);
        }
        if (count > 0) {
          idle = 0;
          shards.releaseDatagrams(shard);
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(messages).toBe(5_000);
  });

  test('HashLimit holds over all shards together', async () => {
    const node = makeNode(workers);
    giveEvents(node, 0, 21_000);
    for (let i = 0; i < node.shards.count; i++) {
      await answered(node.shards, node.shards.call(i, VERB.pump));
    }
    expect(node.arena.sumTables(0, L.TABLE_COUNT)).toBe(20_000);
    expect(node.arena.sumTableCounters(0, L.TABLE_NO_SPACE)).toBe(1_000n);
  });
});

test('a worker that traps is reported, with its shard', async () => {
  const node = makeNode(2);
  // An address outside the memory: the module traps, the thread ends.
  node.shards.post(1, VERB.events, 0xfffffff0, 1);
  for (let i = 0; i < 500 && node.deaths.length === 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(node.deaths).toHaveLength(1);
  expect(node.deaths[0]).toMatch(/^1: .*out of bounds/);
});

test('limits beyond one memory are refused in words', () => {
  expect(
    () =>
      new Arena({
        shards: 1,
        hashLimit: 40_000_000,
        resendQueueSize: 1000,
        payloadMax: 1472,
        shardOptions: 0,
        mode: L.MODE_FTFW,
        ackWindowSize: 300,
        firstSequence: 0,
      }),
  ).toThrow(/HashLimit 40000000 needs .* GiB/);
});
