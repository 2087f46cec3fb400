// ALARM mode: what is sent although nothing changed, what is forgotten although nobody said so, and
// that a node in this mode never sends a control message. The clock is the test's own.

import { beforeEach, describe, expect, test } from 'vitest';
import * as L from '../../../assembly/layout.js';
import type { MessageVector } from '../../../src/cache/arena.js';
import { LocalShards } from '../../../src/cache/shards.js';
import type { Core } from '../../../src/cache/wasm.js';
import { Alarm } from '../../../src/sync/alarm.js';
import { Replication } from '../../../src/sync/replication.js';
import { EXTERNAL, INTERNAL, split, TestNode } from './arena.js';
import { kernelMessage } from './kernel.js';
import { cached, said } from './spoken.js';

const node = new TestNode({ hashLimit: 2000, shardOptions: 0, mode: L.MODE_ALARM });
const core = node.fn as unknown as Core;
const TURN = 100; // ms

beforeEach(() => {
  node.reset();
});

function flows(count: number): string[] {
  for (let n = 1; n <= count; n++) node.events(kernelMessage('new', { n }));
  return said(node);
}

/** Turns of the alarm from `start` to `end` ms; `each` runs behind every turn. */
async function run(
  alarm: Alarm,
  start: number,
  end: number,
  each: (now: number) => void = () => undefined,
): Promise<void> {
  for (let now = start; now < end; now += TURN) {
    node.now = 1000 + Math.floor(now / 1000);
    alarm.tick(now);
    await Promise.resolve();
    each(now);
  }
}

describe('the internal cache', () => {
  test('is told again, every flow within RefreshTime, at a steady pace', async () => {
    const count = 620;
    expect(flows(count)).toHaveLength(count);
    const times = { refreshTime: 10, cacheTimeout: 180 };
    const alarm = new Alarm(node.arena, new LocalShards(node.arena, core), times, 0);
    const told = new Map<string, number[]>();
    let busiest = 0;
    await run(alarm, 0, 60_000, (now) => {
      const messages = said(node);
      busiest = Math.max(busiest, messages.length);
      for (const message of messages) told.set(message, [...(told.get(message) ?? []), now]);
    });
    expect(told.size).toBe(count);
    for (const [message, times] of told) {
      expect(message).toMatch(/^NEW /); // never updated: it is told as new
      const gaps = [0, ...times].map((at, i) => (times[i] ?? 60_000) - at);
      expect(Math.max(...gaps)).toBeLessThanOrEqual(10_000);
    }
    // 620 flows in nine seconds are 6.9 a turn.
    expect(busiest).toBeLessThanOrEqual(8);
  });

  test('is told as updated once it was, and no more when it is gone', async () => {
    flows(2);
    node.events(kernelMessage('update', { n: 1 }), kernelMessage('destroy', { n: 2 }));
    expect(said(node)).toEqual(['UPD 1', 'DEL 2']);
    const times = { refreshTime: 5, cacheTimeout: 180 };
    const alarm = new Alarm(node.arena, new LocalShards(node.arena, core), times, 0);
    const told: string[] = [];
    await run(alarm, 0, 20_000, () => told.push(...said(node)));
    expect(new Set(told)).toEqual(new Set(['UPD 1']));
    expect(told.length).toBeGreaterThanOrEqual(4);
  });
});

describe('the external cache', () => {
  test('forgets what was not told for CacheTimeout, and nothing else', async () => {
    flows(40);
    const messages = [...Array(40).keys()].map((i) => {
      node.events(kernelMessage('update', { n: i + 1 }));
      return node.pump().flatMap(({ out }) => split(node.payload(out)))[0]!;
    });
    node.now = 1000;
    node.messages(...messages);
    const times = { refreshTime: 3600, cacheTimeout: 20 };
    const alarm = new Alarm(node.arena, new LocalShards(node.arena, core), times, 0);
    await run(alarm, 0, 19_000);
    expect(cached(node, EXTERNAL)).toHaveLength(40);
    node.messages(...messages.slice(0, 10)); // a peer repeats ten of them
    await run(alarm, 19_000, 25_000);
    expect(cached(node, EXTERNAL)).toHaveLength(10);
    expect(node.count(node.table(EXTERNAL) + L.TABLE_DESTROYED)).toBe(30);
    expect(node.records(INTERNAL)).toHaveLength(40);
    await run(alarm, 25_000, 45_000);
    expect(cached(node, EXTERNAL)).toEqual([]);
  });

  test('of a table emptied in mid-lap is walked from the start again', async () => {
    flows(50);
    const times = { refreshTime: 2, cacheTimeout: 20 };
    const alarm = new Alarm(node.arena, new LocalShards(node.arena, core), times, 0);
    await run(alarm, 0, 1000);
    node.fn.shardFlush!(node.shard, INTERNAL);
    await run(alarm, 1000, 5000);
    flows(3);
    const told: string[] = [];
    await run(alarm, 5000, 8000, () => told.push(...said(node)));
    expect(new Set(told)).toEqual(new Set(['NEW 1', 'NEW 2', 'NEW 3']));
  });
});

test('no control message leaves, whatever the operator or a peer of another mode says', () => {
  const sent: Uint8Array[] = [];
  let waiting: Uint8Array[] = [];
  const link = {
    packetsSent: 0,
    send(from: number, to: number): number {
      for (let i = from; i < to; i++) {
        const address = node.arena.outgoingAddress(i, 0);
        sent.push(node.bytes.slice(address, address + node.arena.outgoingLength(i)));
      }
      return to;
    },
    receive({ headers, slots }: MessageVector): number {
      const datagram = waiting.shift();
      if (datagram === undefined) return 0;
      node.bytes.set(datagram, slots);
      node.set(headers + L.MMSG_LEN, datagram.length);
      node.set(headers + L.MMSG_FLAGS, 0);
      return 1;
    },
  };
  const shards = new LocalShards(node.arena, core);
  let asked = 0;
  const replication = new Replication(node.arena, 0, core, shards, link, {
    startupResync: true,
    onResyncRequest: () => asked++,
    onPeerStart: () => asked++,
  });
  // HELLO, ALIVE, RESYNC, ACK and NACK as FTFW and NOTRACK nodes send them.
  const short = (flags: number): Uint8Array => Uint8Array.of(0x1a, flags, 0, 8, 0, 0, 0, 9);
  const long = (flags: number): Uint8Array =>
    Uint8Array.of(0x1a, flags, 0, 16, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 5);
  waiting = [short(0x30), short(0x10), short(0x70), long(0x02), long(0x08), long(0x04)];
  replication.requestResync();
  replication.sendBulk();
  replication.probe(link, 0);
  for (let now = 0; now < 10_000; now += 500) {
    replication.receive(now);
    replication.tick(now);
    replication.transmit(now);
  }
  expect(waiting).toEqual([]);
  expect(asked).toBe(0);
  expect(sent).toEqual([]);
  // Flows do leave, without a flag.
  node.events(kernelMessage('new', { n: 1 }));
  replication.transmit(10_000);
  expect(sent).toHaveLength(1);
  expect(sent[0]![0]! & 15).toBe(0);
  expect(sent[0]![1]).toBe(0);
});
