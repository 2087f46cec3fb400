// FTFW between two nodes over a link that is not kind: what the backup knows must in the end be
// what the active node has, and what waits for acknowledgement must go away.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { askPart } from '../../../src/sync/tail.js';
import { INTERNAL } from './arena.js';
import { checkShard } from './invariants.js';
import { type KernelFlow, type Kind, kernelMessage } from './kernel.js';
import { numbers } from './numbers.js';
import { CLEAN, DOWN, external, internal, Pair, type Peer, type Weather } from './pair.js';

const SMALL = { hashLimit: 256, payloadMax: 400, resendQueueSize: 4096, ackWindowSize: 20 };

/**
 * What a flow has depends on its tuple alone, so that its successor on the tuple has the same
 * attributes: an UPD that overtakes or swallows a NEW merges into what the peer had there before,
 * which is in the protocol (docs/wire-protocol.md) and not what is tested here.
 */
function flowOf(n: number, next: (below: number) => number): KernelFlow {
  return {
    n,
    v6: n % 3 === 0,
    l4: [6, 17, 6, 6][n % 4]!,
    mark: next(2 ** 32),
    timeout: 1 + next(1000),
    state: 1 + next(9),
    id: n,
    ...(n % 5 === 0 ? { labels: 1 + next(255) } : {}),
    ...(n % 7 === 0 ? { snat: 500 + n } : {}),
    ...(n % 11 === 0 ? { zone: 3 } : {}),
  };
}

const KINDS: Kind[] = ['new', 'update', 'update', 'update', 'destroy', 'destroy'];

/** `count` random events of `flows` flows at a node. */
function stir(peer: Peer, next: (below: number) => number, count: number, flows = 60): void {
  const list: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    list.push(kernelMessage(KINDS[next(KINDS.length)]!, flowOf(next(flows), next)));
  }
  peer.node.events(...list);
}

function settle(pair: Pair): void {
  pair.weather(CLEAN);
  pair.run(60);
}

function expectEqual(from: Peer, to: Peer): void {
  expect(external(to)).toEqual(internal(from));
  expect(from.dead(), 'dead flows left').toBe(0);
  expect(from.heldFlows(), 'flow messages not acknowledged').toBe(0);
  // At rest each node acknowledges the other's acknowledgement, so the last one is always held.
  expect(from.held()).toBeLessThanOrEqual(2);
  checkShard(from.node);
  checkShard(to.node);
}

const anyWeather: fc.Arbitrary<Weather> = fc.record({
  loss: fc.constantFrom(0, 0.05, 0.3, 0.6),
  twice: fc.constantFrom(0, 0.1, 0.5),
  late: fc.constantFrom(0, 1, 4),
});

describe('FTFW', () => {
  it('makes the backup equal after loss, doubling and reordering in both directions', () => {
    const scene = fc.record({
      seed: fc.nat(),
      toB: anyWeather,
      toA: anyWeather,
      turns: fc.integer({ min: 1, max: 120 }),
      rate: fc.constantFrom(1, 4, 20),
      firstSequence: fc.constantFrom(1000, 2 ** 32 - 60, 2 ** 31 - 30, 0),
    });
    fc.assert(
      fc.property(scene, ({ seed, toB, toA, turns, rate, firstSequence }) => {
        const next = numbers(seed);
        const pair = new Pair(next, { a: { ...SMALL, firstSequence }, b: SMALL });
        // While nodes greet, any number is the right one: what is lost then is lost unnoticed and
        // needs a resync. From then on nothing may be.
        pair.greet();
        pair.weather(toB, toA);
        pair.run(turns, () => {
          stir(pair.a, next, next(rate + 1));
          if (next(3) === 0) stir(pair.b, next, next(rate + 1), 20);
        });
        settle(pair);
        expectEqual(pair.a, pair.b);
        expectEqual(pair.b, pair.a);
      }),
      { numRuns: 40 },
    );
  }, 120_000);

  it('keeps its order over the wrap of the sequence numbers', () => {
    const next = numbers(5);
    const firstSequence = 2 ** 32 - 100;
    const pair = new Pair(next, { a: { ...SMALL, firstSequence }, b: { ...SMALL, firstSequence } });
    pair.greet();
    pair.weather({ loss: 0.2, twice: 0.1, late: 2 });
    pair.run(60, () => stir(pair.a, next, 5));
    expect(pair.a.node.get(pair.a.node.arena.sender + L.SENDER_NEXT)).toBeLessThan(100_000);
    settle(pair);
    expectEqual(pair.a, pair.b);
    expectEqual(pair.b, pair.a);
  });

  it('sends one acknowledgement a second each way when nothing happens', () => {
    const pair = new Pair(numbers(1), { a: SMALL, b: SMALL });
    pair.greet();
    pair.toB.seen.length = 0;
    pair.run(100);
    expect(pair.toB.seen.length).toBeGreaterThanOrEqual(9);
    expect(pair.toB.seen.length).toBeLessThanOrEqual(11);
    for (const datagram of pair.toB.seen) {
      // An ACK with a tail: one message, longer than the 16 bytes that a C daemon looks at.
      expect([datagram[0], datagram[1], (datagram[2]! << 8) | datagram[3]!]).toEqual([
        0x1a,
        0x08,
        datagram.length,
      ]);
      expect(datagram.length).toBeGreaterThan(16);
    }
  });

  it('acknowledges by window as messages come, without waiting for the second to end', () => {
    const pair = new Pair(numbers(1), { a: SMALL, b: SMALL });
    pair.greet();
    for (let n = 0; n < 200; n++) pair.a.node.events(kernelMessage('new', { n }));
    pair.run(3);
    expect(pair.a.heldFlows()).toBeLessThan(SMALL.ackWindowSize + 1);
  });

  it('bounds and counts what waits for acknowledgement while the link is down', () => {
    const limits = { ...SMALL, hashLimit: 1000, resendQueueSize: 32 };
    const next = numbers(2);
    const pair = new Pair(next, { a: limits, b: limits });
    pair.greet();
    pair.weather(DOWN);
    const { node } = pair.a;
    const { sender } = node.arena;
    const sent = node.count(sender + L.SENDER_SENT);
    const before = pair.a.held();
    for (let n = 0; n < 500; n++) {
      node.events(kernelMessage('new', { n }));
      if (n % 50 === 0) pair.run(1);
      expect(pair.a.held()).toBeLessThanOrEqual(32);
    }
    pair.run(1);
    const out = node.count(sender + L.SENDER_PUSHED_OUT);
    const alive = pair.toB.seen.filter((datagram) => datagram[1] === 0x10).length;
    expect(out).toBe(before + node.count(sender + L.SENDER_SENT) - sent - alive - pair.a.held());
    for (let n = 0; n < 500; n++) node.events(kernelMessage('destroy', { n }));
    pair.run(5);
    expect(pair.a.held()).toBeLessThanOrEqual(32);
    expect(pair.a.dead()).toBeLessThanOrEqual(32);
    checkShard(node);
    // What was pushed out is lost until the peer asks for everything.
    for (let n = 0; n < 300; n++) node.events(kernelMessage('new', { n }));
    pair.run(5);
    settle(pair);
    expect(pair.a.dead()).toBe(0);
    pair.b.replication.requestResync();
    settle(pair);
    expect(internal(pair.a).size).toBe(300);
    expectEqual(pair.a, pair.b);
  });

  it('meets a backup that restarted, and fills it when it asks', () => {
    const next = numbers(3);
    const pair = new Pair(next, { a: SMALL, b: SMALL });
    pair.greet();
    pair.run(30, () => stir(pair.a, next, 4));
    expect(pair.a.starts).toBeGreaterThan(0);
    // Sequences may start behind or ahead of the old ones.
    for (const firstSequence of [50, 2 ** 31 + 5, 0xffffffff]) {
      pair.restartB({ firstSequence });
      pair.run(5, () => stir(pair.a, next, 4));
      pair.greet();
      pair.b.replication.requestResync();
      pair.run(10, () => stir(pair.a, next, 4));
      settle(pair);
      expectEqual(pair.a, pair.b);
    }
  });

  it('accepts an active node that restarted with lower numbers and reads its kernel anew', () => {
    const next = numbers(4);
    const pair = new Pair(next, { a: { ...SMALL, firstSequence: 500_000 }, b: SMALL });
    pair.greet();
    pair.run(30, () => stir(pair.a, next, 4));
    settle(pair);
    const old = external(pair.b);
    expect(old.size).toBeGreaterThan(5);
    pair.restartA({ firstSequence: 7 });
    pair.greet();
    expect(external(pair.b), 'the backup keeps what it has').toEqual(old);
    const flows = Array.from({ length: 60 }, (_, n) => kernelMessage('dump', flowOf(n, next)));
    pair.a.node.fn.shardDumpBegin!(pair.a.node.shard);
    pair.a.node.dump(true, ...flows);
    pair.a.node.fn.shardDumpEnd!(pair.a.node.shard, 1, 1, 1000);
    pair.run(20, () => stir(pair.a, next, 2));
    settle(pair);
    expectEqual(pair.a, pair.b);
  });

  it('tells of flows that lived and died while the peer was away only what is left', () => {
    const pair = new Pair(numbers(6), { a: SMALL, b: SMALL });
    pair.greet();
    pair.weather(DOWN);
    for (let n = 0; n < 50; n++) {
      pair.a.node.events(kernelMessage('new', { n }));
      pair.run(1);
    }
    for (let n = 0; n < 40; n++) pair.a.node.events(kernelMessage('destroy', { n }));
    pair.run(30);
    expect(pair.a.dead()).toBe(40);
    expect(external(pair.b).size).toBe(0);
    settle(pair);
    expectEqual(pair.a, pair.b);
    expect(external(pair.b).size).toBe(10);
    expect(pair.a.node.get(pair.a.node.table(INTERNAL) + L.TABLE_COUNT)).toBe(10);
  });
});

describe('nodes of ours', () => {
  it('know each other within two seconds, busy or idle', () => {
    const next = numbers(4);
    const pair = new Pair(next, { a: SMALL, b: SMALL });
    pair.run(20, () => stir(pair.a, next, 5));
    for (const [peer, other] of [
      [pair.a, pair.b],
      [pair.b, pair.a],
    ] as const) {
      const { peers } = peer.replication;
      expect(peers.everyPeerIsOurs).toBe(true);
      expect(peers.get(0)?.identity).toEqual(other.replication.identity);
      expect(peers.get(0)?.mode).toBe(L.MODE_FTFW);
    }
    settle(pair);
    expect(pair.b.replication.peers.get(0)?.holdings).toEqual({
      internal: internal(pair.a).size,
      external: 0,
      unacknowledged: 0,
      waiting: 0,
    });
    expect(pair.a.replication.peers.get(0)?.holdings?.external).toBe(internal(pair.a).size);
  });

  it('tell each other once a second, also while they send all the time', () => {
    const next = numbers(4);
    const pair = new Pair(next, { a: SMALL, b: SMALL });
    pair.greet();
    pair.toB.seen.length = 0;
    pair.run(100, () => stir(pair.a, next, 5));
    const magic = [0x46, 0x4c, 0x54, 0x57];
    const tails = pair.toB.seen.filter((datagram) =>
      datagram.some((_, i) => magic.every((byte, j) => datagram[i + j] === byte)),
    );
    expect(tails.length).toBeGreaterThanOrEqual(9);
    expect(tails.length).toBeLessThanOrEqual(11);
  });

  it('see that a peer lives a new life', () => {
    const pair = new Pair(numbers(4), { a: SMALL, b: SMALL });
    pair.greet();
    const before = pair.a.replication.peers.get(0)?.identity?.node;
    pair.restartB({ firstSequence: 2_000_000 });
    pair.run(20);
    const after = pair.a.replication.peers.get(0)?.identity?.node;
    expect(after).toBe(pair.b.replication.identity.node);
    expect(after).not.toBe(before);
  });

  it('say nothing of themselves where no datagram holds it', () => {
    const pair = new Pair(numbers(4), { a: { ...SMALL, payloadMax: 60 }, b: SMALL });
    pair.run(30);
    expect(pair.b.replication.peers.everyPeerIsOurs).toBe(false);
    expect(pair.b.node.count(pair.b.node.arena.receiver + L.RECEIVER_ACCEPTED)).toBeGreaterThan(1);
    expect(pair.b.node.count(pair.b.node.arena.receiver + L.RECEIVER_MALFORMED)).toBe(0);
  });

  it('acknowledge at once when asked', () => {
    const pair = new Pair(numbers(4), { a: SMALL, b: SMALL });
    pair.greet();
    pair.a.node.events(kernelMessage('new', { n: 1 }));
    pair.run(1);
    pair.a.replication.say([askPart()]);
    pair.run(4);
    expect(pair.a.heldFlows()).toBe(0);
  });
});
