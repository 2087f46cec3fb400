// Two nodes compare their tables over a link that is not kind: no false alarm while messages are under
// way, every difference is found and repaired, and nothing is taken from the backup that the active
// node still has.

import { describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { GROUPS, repairPart, saidPart, wantedPart } from '../../../src/sync/digest-parts.js';
import { EXTERNAL, INTERNAL } from './arena.js';
import { checkShard } from './invariants.js';
import { kernelMessage } from './kernel.js';
import { numbers } from './numbers.js';
import { CLEAN, external, internal, Pair, type Peer } from './pair.js';

const FTFW = { hashLimit: 3000, sideChunks: 200, compare: true, ackWindowSize: 20 };
const NOTRACK = { ...FTFW, mode: L.MODE_NOTRACK, shardOptions: 0 };
const MODES = [
  { mode: 'FTFW', limits: FTFW },
  { mode: 'NOTRACK', limits: NOTRACK },
];

/** ms of a clock in turns of 100 ms. */
const SECOND = 10;

async function meet(limits: object, seed = 1): Promise<Pair> {
  const pair = new Pair(numbers(seed), { a: limits, b: limits });
  if (limits === FTFW) pair.greet();
  await pair.runOn(8 * SECOND); // longer than a peer is given to settle
  return pair;
}

function begin(peer: Peer, first: number, count: number, more: object = {}): void {
  const list = Array.from({ length: count }, (_, i) => ({
    n: first + i,
    v6: i % 3 === 0,
    ...more,
  }));
  for (let i = 0; i < list.length; i += 100) {
    peer.node.events(...list.slice(i, i + 100).map((flow) => kernelMessage('new', flow)));
  }
}

function expectRepaired(pair: Pair): void {
  const { a, b } = pair;
  expect(external(b)).toEqual(internal(a));
  expect(b.digests!.external(pair.now)).toBe('equal');
  expect(a.digests!.internal(pair.now)).toBe('equal');
  checkShard(a.node);
  checkShard(b.node);
}

describe.each(MODES)('two nodes that compare their tables in $mode', ({ limits }) => {
  it('are equal, both ways, and say so', async () => {
    const pair = await meet(limits);
    begin(pair.a, 0, 300);
    begin(pair.b, 1000, 50);
    await pair.runOn(3 * SECOND);
    expectRepaired(pair);
    expect(pair.a.digests!.external(pair.now)).toBe('equal');
    expect(pair.b.digests!.internal(pair.now)).toBe('equal');
    expect(pair.b.digests!.counters).toMatchObject({ found: 0, repaired: 0, removed: 0 });
    expect(pair.b.digests!.counters.compared).toBeGreaterThan(5);
  });

  it('raise no alarm while flows change all the time', async () => {
    const pair = await meet(limits);
    const next = numbers(7);
    await pair.runOn(15 * SECOND, () => {
      for (let i = 0; i < 20; i++) {
        const kind = (['new', 'update', 'destroy'] as const)[next(3)]!;
        pair.a.node.events(kernelMessage(kind, { n: next(200), mark: next(5) + 1 }));
      }
    });
    await pair.runOn(2 * SECOND);
    expect(pair.b.digests!.counters.found).toBe(0);
    expect(pair.b.digests!.external(pair.now)).toBe('equal');
  });

  it('find and mend a flushed external cache', async () => {
    const pair = await meet(limits);
    begin(pair.a, 0, 900);
    await pair.runOn(2 * SECOND);
    pair.b.node.fn.shardFlush!(pair.b.node.shard, EXTERNAL);
    await pair.runOn(SECOND);
    expect(external(pair.b).size).toBe(0);
    await pair.runOn(15 * SECOND);
    expectRepaired(pair);
    const { found, repaired, failed, removed } = pair.b.digests!.counters;
    expect({ repaired, failed, removed }).toEqual({ repaired: found, failed: 0, removed: 0 });
    expect(pair.a.digests!.counters.said).toBe(900);
    expect(pair.b.notices).toEqual([
      `${found} of 1024 ranges of the external cache differ from the peer: repairing`,
      expect.stringContaining(`${found} ranges are equal now, 0 flows`),
    ]);
  });

  it('take away what only the backup has, and mend what differs, and leave the rest alone', async () => {
    const pair = await meet(limits);
    begin(pair.a, 0, 500, { mark: 1 });
    await pair.runOn(2 * SECOND);
    const strange = new Pair(numbers(3), { a: limits, b: limits });
    begin(strange.a, 900, 3);
    begin(strange.a, 12, 2, { mark: 2, labels: 7 });
    for (const datagram of strange.a.node.send()) {
      for (let at = 0; at < datagram.length; ) {
        const size = (datagram[at + 2]! << 8) | datagram[at + 3]!;
        pair.b.node.messages(datagram.slice(at, at + size));
        at += size;
      }
    }
    expect(external(pair.b).size).toBe(503);
    await pair.runOn(15 * SECOND);
    expectRepaired(pair);
    expect(pair.b.digests!.counters).toMatchObject({ removed: 3, failed: 0 });
    expect(pair.a.digests!.counters.said, 'only the ranges in question').toBeLessThan(30);
  });

  it('mend under loss, and take nothing away that is only late', async () => {
    const pair = await meet(limits);
    begin(pair.a, 0, 600);
    await pair.runOn(2 * SECOND);
    pair.b.node.fn.shardFlush!(pair.b.node.shard, EXTERNAL);
    pair.weather({ loss: 0.3, twice: 0, late: 0 });
    await pair.runOn(60 * SECOND);
    pair.weather(CLEAN);
    await pair.runOn(40 * SECOND);
    expectRepaired(pair);
    expect(pair.b.digests!.counters.removed).toBe(0);
  });

  it('cannot say while a cache is not complete, and take nothing away then', async () => {
    const pair = await meet(limits);
    begin(pair.a, 0, 100);
    await pair.runOn(2 * SECOND);
    pair.a.digests!.complete = false;
    pair.a.node.fn.shardFlush!(pair.a.node.shard, INTERNAL);
    await pair.runOn(15 * SECOND);
    expect(pair.b.digests!.external(pair.now)).toBe('cannot say');
    expect(external(pair.b).size).toBe(100);
  });

  it('wait for a node that has just started to be complete before they take anything away', async () => {
    const pair = await meet(limits);
    begin(pair.a, 0, 100);
    await pair.runOn(2 * SECOND);
    pair.restartA();
    await pair.runOn(4 * SECOND);
    expect(external(pair.b).size).toBe(100);
    await pair.runOn(15 * SECOND);
    expectRepaired(pair); // nothing is left there, and so it is here
  });

  it('stay as they are when anybody says anything about ranges', async () => {
    const pair = await meet(limits);
    begin(pair.a, 0, 100);
    await pair.runOn(2 * SECOND);
    const before = external(pair.b);
    const all = new Uint8Array(L.DIGEST_RANGES / 8).fill(255);
    await pair.runOn(10 * SECOND, (turn) => {
      pair.a.replication.say([saidPart(turn, turn % GROUPS, new BigUint64Array(64))]);
      pair.b.replication.say([wantedPart(0xffff), repairPart(turn, all)]);
    });
    await pair.runOn(3 * SECOND);
    expect(external(pair.b)).toEqual(before);
    // Each order may cost one telling of the cache, and only one at a time.
    expect(pair.a.digests!.counters.repairs).toBeLessThan(25);
    expectRepaired(pair);
  });
});

describe('a node that does not compare', () => {
  it('gets no digests, and is no reason for an alarm', async () => {
    const pair = new Pair(numbers(1), { a: FTFW, b: { ...FTFW, compare: false } });
    pair.greet();
    begin(pair.a, 0, 50);
    await pair.runOn(10 * SECOND);
    expect(pair.a.digests!.internal(pair.now)).toBe('cannot say');
    expect(pair.a.digests!.external(pair.now)).toBe('cannot say');
    expect(external(pair.b)).toEqual(internal(pair.a));
    const control = pair.toB.seen.filter((datagram) => datagram.length > 300 && datagram[1]! !== 0);
    expect(control).toEqual([]);
  });
});
