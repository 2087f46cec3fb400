// Expectations in a shard: which ones are followed, what peers are told of them in which order, and
// what becomes of what they tell us.

import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import * as E from '../../../assembly/expect-layout.js';
import * as L from '../../../assembly/layout.js';
import {
  type Announced,
  counted,
  type ExpectKind,
  entries,
  expectMessage,
  happens,
  known,
  told,
} from './announced.js';
import { EXTERNAL, INTERNAL, split, TestNode } from './arena.js';
import { kernelMessage } from './kernel.js';
import { numbers } from './numbers.js';
import { CLEAN, external, internal, Pair, type Weather } from './pair.js';

const ALL = { helpers: [], orphans: false };
const SMALL = { hashLimit: 256, payloadMax: 600, resendQueueSize: 4096, ackWindowSize: 20 };
const node = new TestNode({ ...SMALL, expectations: ALL });

beforeEach(() => {
  node.reset();
});

const master = (n: number, v6 = false) => kernelMessage('new', { n, v6 });
/** Types of the messages that leave, in their order. */
const leaving = (from: TestNode = node): number[] =>
  from.send().flatMap((datagram) => split(datagram).map((message) => message[0]! & 15));
/** Everything sent so far is acknowledged. */
function acknowledge(): void {
  const { arena, fn } = node;
  const next = node.get(arena.sender + L.SENDER_NEXT);
  fn.senderAcknowledged!(arena.sender, node.get(arena.sender + L.SENDER_TAIL), next - 1);
  const reaped = node.get(arena.sender + L.SENDER_REAP_COUNT);
  node.set(arena.sender + L.SENDER_REAP_COUNT, 0);
  fn.shardReap!(node.shard, node.get(arena.sender + L.SENDER_REAP), reaped);
}

describe('an announced connection', () => {
  it('is told behind its master, then as an update, then as gone', () => {
    happens(node, expectMessage('new', { n: 1, port: 5000 }), master(1));
    expect(leaving()).toEqual([0, 3]);
    happens(node, expectMessage('update', { n: 1, port: 5000, timeout: 20 }));
    expect(leaving()).toEqual([4]);
    happens(node, expectMessage('destroy', { n: 1, port: 5000 }));
    expect(leaving()).toEqual([5]);
    expect(entries(node, INTERNAL)).toHaveLength(1); // until the peer has heard it
    acknowledge();
    expect(entries(node, INTERNAL)).toHaveLength(0);
  });

  it('leaves once when much happens before its turn', () => {
    happens(node, master(1), expectMessage('new', { n: 1, port: 5000 }));
    happens(node, expectMessage('destroy', { n: 1, port: 5000 }));
    happens(node, expectMessage('new', { n: 1, port: 5000, class: 1 }));
    expect(leaving()).toEqual([0, 3]);
    expect(known(node, INTERNAL)).toHaveLength(1);
  });

  it('is sent again with its latest state when the peer missed it', () => {
    const { arena, fn } = node;
    happens(node, master(1), expectMessage('new', { n: 1, port: 5000 }));
    const first = node.get(arena.sender + L.SENDER_NEXT);
    expect(leaving()).toEqual([0, 3]);
    happens(node, expectMessage('destroy', { n: 1, port: 5000 }));
    expect(leaving()).toEqual([5]);
    fn.senderMissed!(arena.sender, first, first + 2);
    const again = node.get(arena.sender + L.SENDER_AGAIN_COUNT);
    node.set(arena.sender + L.SENDER_AGAIN_COUNT, 0);
    fn.shardRequeue!(node.shard, node.get(arena.sender + L.SENDER_AGAIN), again);
    // The lost NEW of the expectation is superseded: one word each.
    expect(leaving()).toEqual([0, 5]);
  });

  it('waits for a master that comes in a later batch, as the first packet of a flow announces it', () => {
    happens(node, expectMessage('new', { n: 1, port: 5000 }));
    happens(node, master(2));
    expect(leaving()).toEqual([0]);
    happens(node, expectMessage('update', { n: 1, port: 5000, timeout: 7 }));
    happens(node, master(1));
    expect(leaving()).toEqual([0, 4]); // both of its events in one message
    expect(node.count(node.shard + L.SHARD_FILTERED)).toBe(0);
    happens(node, expectMessage('destroy', { n: 1, port: 5000 }));
    expect(leaving()).toEqual([5]);
  });

  it('is not followed when it ends before its master comes', () => {
    happens(node, expectMessage('new', { n: 1, port: 5000 }));
    happens(node, expectMessage('new', { n: 1, port: 5001 }));
    happens(node, expectMessage('destroy', { n: 1, port: 5000 }));
    happens(node, master(1));
    expect(leaving()).toEqual([0, 3]);
    expect(node.count(node.shard + L.SHARD_FILTERED)).toBe(1);
  });

  it('is filtered when no master comes, and when its master has gone', () => {
    happens(node, expectMessage('new', { n: 1, port: 5000 }));
    happens(node, master(2), kernelMessage('destroy', { n: 2 }));
    happens(node, expectMessage('new', { n: 2, port: 5001 }));
    expect(known(node, INTERNAL)).toEqual([]);
    node.now += 3;
    happens(node, master(3));
    expect(node.count(node.shard + L.SHARD_FILTERED)).toBe(2);
    happens(node, master(1), master(2));
    expect(known(node, INTERNAL)).toEqual([]);
  });

  it('makes room for others when no master comes to many', () => {
    const count = E.WAITERS_MAX + 3;
    for (let n = 1; n <= count; n++) happens(node, expectMessage('new', { n, port: 5000 }));
    expect(node.count(node.shard + L.SHARD_FILTERED)).toBe(3);
    happens(node, ...Array.from({ length: count }, (_, i) => master(i + 1)));
    expect(known(node, INTERNAL)).toHaveLength(E.WAITERS_MAX);
  });

  it('does not wait beyond a flush', () => {
    happens(node, expectMessage('new', { n: 1, port: 5000 }));
    node.fn.shardFlush!(node.shard, INTERNAL);
    happens(node, master(1));
    expect(leaving()).toEqual([0]);
  });

  it('needs no master where the internal cache holds no flows', () => {
    node.set(node.shard + E.SHARD_EXPECT_ORPHANS, 1);
    happens(node, expectMessage('new', { n: 1, port: 5000 }));
    expect(leaving()).toEqual([3]);
  });

  it('is kept but not told when our own commit made it', () => {
    node.set(L.CONTROL_PORT_COMMIT, 77);
    node.set(L.CONTROL_PORT_INJECT, 78);
    happens(node, master(1));
    leaving();
    happens(node, expectMessage('new', { n: 1, port: 5000 }, 77));
    happens(node, expectMessage('new', { n: 1, port: 5001 }, 78));
    expect(leaving()).toEqual([]);
    expect(known(node, INTERNAL)).toHaveLength(1);
    happens(node, expectMessage('destroy', { n: 1, port: 5000 }, 77));
    expect(leaving()).toEqual([]);
    expect(entries(node, INTERNAL)).toEqual([]);
  });

  it('comes last in a bulk send', () => {
    happens(node, master(1), master(2), expectMessage('new', { n: 1, port: 5000 }));
    happens(node, expectMessage('new', { n: 2, port: 5000 }), master(3));
    leaving();
    acknowledge();
    node.fn.shardBulk!(node.shard);
    expect(leaving()).toEqual([0, 0, 0, 3, 3]);
    expect(node.get(node.shard + L.SHARD_BULK)).toBe(0);
  });

  it('is refused, counted and told to nobody when the table is full', () => {
    happens(node, master(1));
    leaving();
    for (let i = 0; i < SMALL.hashLimit + 3; i++) {
      happens(node, expectMessage('new', { n: 1, port: 1000 + i }));
    }
    expect(leaving()).toHaveLength(SMALL.hashLimit);
    expect(counted(node, INTERNAL, L.TABLE_NO_SPACE)).toBe(3);
    expect(counted(node, INTERNAL, L.TABLE_CREATED)).toBe(SMALL.hashLimit);
  });

  it('is gone with a flush, whatever waited', () => {
    happens(node, master(1), expectMessage('new', { n: 1, port: 5000 }));
    leaving();
    happens(node, expectMessage('update', { n: 1, port: 5000 }));
    node.fn.shardFlush!(node.shard, INTERNAL);
    expect(leaving()).toEqual([]);
    acknowledge();
    expect(entries(node, INTERNAL)).toEqual([]);
    happens(node, master(1), expectMessage('new', { n: 1, port: 5000 }));
    expect(leaving()).toEqual([0, 3]);
  });
});

describe('a list of helpers', () => {
  const picky = new TestNode({
    ...SMALL,
    expectations: { helpers: ['SIP', 'ftp'], orphans: false },
  });

  it('lets names through that begin with one of them, in any letter case', () => {
    happens(picky, master(1));
    const names = ['ftp', 'sip-5070', 'Sip', 'FTPS', 'si', 'tftp', 'H.323'];
    names.forEach((helper, i) => {
      happens(picky, expectMessage('new', { n: 1, port: 100 + i, helper }));
    });
    expect(known(picky, INTERNAL)).toHaveLength(4);
    expect(picky.count(picky.shard + L.SHARD_FILTERED)).toBe(3);
  });
});

describe('a dump of the kernel', () => {
  function dump(visit: number, replicate: boolean, ...list: Announced[]): void {
    const batch = node.arena.batches[0]!;
    node.gather(list.map((of) => expectMessage('update', of)));
    const count = node.get(node.arena.gather + L.GATHER_EXPECTS);
    node.fn.shardExpectDump!(node.shard, batch.expects, count, visit, replicate ? 1 : 0);
  }

  it('adds what is new, keeps what is known, and a purge ends what is not listed', () => {
    happens(node, master(1), expectMessage('new', { n: 1, port: 1 }));
    happens(node, expectMessage('new', { n: 1, port: 2 }));
    leaving();
    dump(1, false, { n: 1, port: 1 }, { n: 1, port: 3 }, { n: 9, port: 4 });
    expect(leaving()).toEqual([]);
    expect(known(node, INTERNAL)).toHaveLength(3); // one has no master
    dump(2, true, { n: 1, port: 1 }, { n: 1, port: 5 });
    node.fn.shardExpectPurge!(node.shard, 2, 1);
    expect(leaving()).toEqual([3, 5, 5]);
    expect(known(node, INTERNAL)).toHaveLength(2);
  });
});

describe('what a peer tells', () => {
  const peer = new TestNode({ ...SMALL, expectations: ALL });
  beforeEach(() => {
    peer.reset();
    happens(peer, master(1), master(2, true));
    peer.send();
  });
  const messages = (...events: Uint8Array[]): Uint8Array[] => {
    happens(peer, ...events);
    return peer.send().flatMap((datagram) => split(datagram));
  };

  it('is kept, replaced, merged and forgotten', () => {
    const of = { n: 1, port: 5000, nat: 6000, class: 2 };
    const [fresh] = messages(expectMessage('new', of));
    told(node, fresh!);
    expect(known(node, EXTERNAL)).toEqual(known(peer, INTERNAL));
    const [update] = messages(expectMessage('update', { ...of, timeout: 7 }));
    told(node, update!);
    expect(known(node, EXTERNAL)).toEqual(known(peer, INTERNAL));
    const [gone] = messages(expectMessage('destroy', of));
    told(node, gone!, gone!);
    expect(known(node, EXTERNAL)).toEqual([]);
    expect(counted(node, EXTERNAL, L.TABLE_DESTROYED)).toBe(1);
  });

  it('is refused when it is broken, at whatever byte it ends', () => {
    const [fresh] = messages(expectMessage('new', { n: 2, v6: true, port: 5000 }));
    for (let size = 8; size < fresh!.length; size += 4) {
      const cut = fresh!.slice(0, size);
      cut[2] = size >> 8;
      cut[3] = size & 255;
      told(node, cut);
    }
    const refused = node.count(node.shard + L.SHARD_BAD_PAYLOAD);
    expect(refused).toBeGreaterThan(10); // all that lack a tuple
    told(node, fresh!);
    expect(known(node, EXTERNAL)).toEqual(known(peer, INTERNAL));
  });

  it('becomes a creation and the time that is left, whole and with its translation', () => {
    const of = { n: 1, port: 5000, nat: 6000, class: 2, timeout: 300 };
    told(node, ...messages(expectMessage('new', of)));
    node.now += 100;
    const { buffer, size, handles } = node.arena.requests;
    const commit = (fixed: number) =>
      node.fn.shardExpectCommit!(node.shard, 0, buffer, size, handles, 16, 40, fixed);
    expect(commit(0)).toBe(1);
    const [create, update, ...rest] = requests();
    expect(rest).toEqual([]);
    expect([create!.type, create!.flags, create!.sequence]).toEqual([0x200, 0x601, 40]);
    expect([update!.type, update!.flags, update!.sequence]).toEqual([0x200, 0x5, 41]);
    expect([update!.timeout, update!.class]).toEqual([200, 2]);
    for (const has of [L.EXPECT_HAS_NAT, L.EXPECT_HAS_NAT_DIR, L.EXPECT_HAS_FN]) {
      expect(create!.present & has).toBe(has);
    }
    node.now += 1000; // longer than it had
    commit(0);
    expect(requests()[1]!.timeout).toBe(60);
    commit(33);
    expect(requests()[1]!.timeout).toBe(33);
    const written = node.fn.shardExpectCommitAgain!(
      node.shard,
      ...[handles, 1, buffer, size, 50, 0],
    );
    node.set(node.shard + L.SHARD_WRITTEN, written);
    expect(requests().map(({ type, sequence }) => [type, sequence])).toEqual([
      [0x202, 50],
      [0x200, 51],
      [0x200, 52],
    ]);
    // Without a tuple a delete would flush the kernel's whole table.
    for (const { present } of requests()) expect(present & L.EXPECT_HAS_TUPLE).not.toBe(0);
  });

  interface Request {
    type: number;
    flags: number;
    sequence: number;
    present: number;
    timeout: number;
    class: number;
  }

  /** The requests that were written last, read back. */
  function requests(): Request[] {
    const { view, arena, fn } = node;
    const end = arena.requests.buffer + node.get(node.shard + L.SHARD_WRITTEN);
    const list: Request[] = [];
    for (let at = arena.requests.buffer; at < end; at += view.getUint32(at, true)) {
      expect(fn.decodeExpect!(at, end - at, arena.scratch)).toBe(0);
      list.push({
        type: view.getUint16(at + 4, true),
        flags: view.getUint16(at + 6, true),
        sequence: view.getUint32(at + 8, true),
        present: node.get(arena.scratch + L.EXPECT_PRESENT),
        timeout: node.get(arena.scratch + L.EXPECT_TIMEOUT),
        class: node.get(arena.scratch + L.EXPECT_CLASS),
      });
    }
    return list;
  }

  it('is forgotten in ALARM mode when nobody repeats it, and repeated by the one who knows', () => {
    told(node, ...messages(expectMessage('new', { n: 1, port: 1 })));
    node.now += 9;
    told(node, ...messages(expectMessage('new', { n: 1, port: 2 })));
    node.now += 1;
    node.fn.shardExpectExpire!(node.shard, 10);
    expect(known(node, EXTERNAL)).toHaveLength(1);
    peer.fn.shardExpectRefresh!(peer.shard);
    told(node, ...messages());
    expect(known(node, EXTERNAL)).toEqual(known(peer, INTERNAL));
  });
});

describe('FTFW', () => {
  const KINDS: ExpectKind[] = ['new', 'new', 'update', 'destroy', 'destroy'];
  const anyWeather: fc.Arbitrary<Weather> = fc.record({
    loss: fc.constantFrom(0, 0.1, 0.5),
    twice: fc.constantFrom(0, 0.3),
    late: fc.constantFrom(0, 3),
  });

  it('makes both caches of the backup equal, flows and expectations in one stream of numbers', () => {
    const scene = fc.record({ seed: fc.nat(), toB: anyWeather, toA: anyWeather });
    fc.assert(
      fc.property(scene, ({ seed, toB, toA }) => {
        const next = numbers(seed);
        const limits = { ...SMALL, expectations: ALL };
        const pair = new Pair(next, { a: limits, b: limits });
        pair.greet();
        pair.weather(toB, toA);
        const model = new Set<string>();
        const waiting = new Map<string, number>(); // for their masters, since when
        pair.run(80, (turn) => {
          for (let i = next(6); i > 0; i--) {
            const n = 1 + next(8);
            const v6 = n % 2 === 0;
            const of: Announced = { n, v6, port: 1 + next(6), timeout: 1 + next(300) };
            if (!v6) of.nat = 7000 + n; // there is no message for that of IPv6
            if (turn % 5 === 0) {
              happens(pair.a.node, kernelMessage('update', { n, v6, mark: turn }));
              for (const key of waiting.keys()) {
                if (key.startsWith(`${n} `) && waiting.delete(key)) model.add(key);
              }
            }
            for (const [key, since] of waiting) {
              if (pair.a.node.now - since > 2) waiting.delete(key);
            }
            const kind = KINDS[next(KINDS.length)]!;
            happens(pair.a.node, expectMessage(kind, of));
            const key = `${n} ${of.port}`;
            if (kind === 'destroy') {
              model.delete(key);
              waiting.delete(key);
            } else if (hasMaster(pair, n, v6)) model.add(key);
            else waiting.set(key, pair.a.node.now);
          }
        });
        pair.weather(CLEAN);
        pair.run(60);
        expect(known(pair.b.node, EXTERNAL)).toEqual(known(pair.a.node, INTERNAL));
        expect(known(pair.a.node, INTERNAL)).toHaveLength(model.size);
        expect(external(pair.b)).toEqual(internal(pair.a));
        const table = pair.a.node.arena.expectTable(0, INTERNAL);
        expect(pair.a.node.get(table + L.TABLE_DEAD), 'dead expectations left').toBe(0);
        expect(pair.a.node.get(table + L.TABLE_COUNT)).toBe(model.size);
        expect(pair.a.heldFlows(), 'messages not acknowledged').toBe(0);
      }),
      { numRuns: 25 },
    );
  }, 120_000);

  function hasMaster(pair: Pair, n: number, v6: boolean): boolean {
    const probe = kernelMessage('new', { n, v6 });
    const { node: a } = pair.a;
    a.gather([probe]);
    const message = a.get(a.arena.batches[0]!.flows);
    a.fn.decodeFlow!(message, probe.length, a.flow);
    a.fn.keyOfTuple!(a.flow + L.FLOW_ORIG, 0, a.key);
    return a.fn.findRecord!(a.table(INTERNAL), a.key, a.flow) !== 0;
  }
});
