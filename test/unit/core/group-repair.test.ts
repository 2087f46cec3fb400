// Three nodes of a multicast group compare their tables, each with each: what one holds of each other is
// known apart, what differs is repaired, and what several speak of is nobody's loss.

import { describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { EXTERNAL, INTERNAL } from './arena.js';
import { Group, type Member } from './group.js';
import { checkShard } from './invariants.js';
import { kernelMessage } from './kernel.js';
import { numbers } from './numbers.js';
import { CLEAN } from './pair.js';

const FTFW = { hashLimit: 1500, sideChunks: 100, compare: true, ackWindowSize: 20 };
const NOTRACK = { ...FTFW, mode: L.MODE_NOTRACK, shardOptions: 0 };
const MODES = [
  { mode: 'FTFW', limits: FTFW },
  { mode: 'NOTRACK', limits: NOTRACK },
];
const SECOND = 10; // turns of 100 ms

type Three = [Member, Member, Member];

async function meet(limits: object, seed = 1): Promise<{ group: Group; three: Three }> {
  const group = new Group(numbers(seed), 3, limits);
  await group.runOn(9 * SECOND); // longer than a peer is given to settle
  return { group, three: group.members as Three };
}

/** Flows that only this member has. */
function begin(member: Member, count: number, more: object = {}, from = 0): void {
  const list = Array.from({ length: count }, (_, i) => {
    const n = 1000 * member.host + from + i;
    return kernelMessage('new', { n, id: n, ...more });
  });
  for (let i = 0; i < list.length; i += 50) member.node.events(...list.slice(i, i + 50));
}

function expectEqual(group: Group): void {
  for (const member of group.members) {
    const others = group.members.filter((other) => other !== member);
    const all = new Map(others.flatMap((other) => [...other.internal]));
    expect(member.external, `what host ${member.host} holds`).toEqual(all);
    expect(member.digests!.external(group.now), `of others at ${member.host}`).toBe('equal');
    expect(member.digests!.internal(group.now), `of host ${member.host}`).toBe('equal');
    checkShard(member.node);
  }
}

/** What `member` says of its copy of the flows of `of`. */
function verdict(group: Group, member: Member, of: Member): string {
  const peer = member.replication.peers.all.find(({ address }) => address === `host ${of.host}`);
  return member.digests!.external(group.now, peer);
}

describe.each(MODES)('three nodes that compare their tables in $mode', ({ limits }) => {
  it('are equal, each with each, and say so', async () => {
    const { group, three } = await meet(limits);
    for (const member of three) begin(member, 100);
    await group.runOn(3 * SECOND);
    expectEqual(group);
    for (const { digests } of three) expect(digests!.counters).toMatchObject({ found: 0 });
  });

  it('raise no alarm while flows of all of them change', async () => {
    const { group, three } = await meet(limits);
    const next = numbers(7);
    await group.runOn(12 * SECOND, () => {
      for (const { node, host } of three) {
        for (let i = 0; i < 10; i++) {
          const kind = (['new', 'update', 'destroy'] as const)[next(3)]!;
          node.events(kernelMessage(kind, { n: 1000 * host + next(60), mark: next(5) + 1 }));
        }
      }
    });
    await group.runOn(3 * SECOND);
    expectEqual(group);
    for (const { digests } of three) expect(digests!.counters).toMatchObject({ found: 0 });
  });

  it('mend a flushed external cache, the flows of one peer after those of the other', async () => {
    const { group, three } = await meet(limits);
    for (const member of three) begin(member, 200);
    await group.runOn(3 * SECOND);
    const [, , c] = three;
    c.node.fn.shardFlush!(c.node.shard, EXTERNAL);
    await group.runOn(25 * SECOND);
    expectEqual(group);
    const { found, repaired, failed, removed } = c.digests!.counters;
    expect({ repaired, failed, removed }).toEqual({ repaired: found, failed: 0, removed: 0 });
    expect(c.notices.join()).toContain('differ from host 1');
    expect(c.notices.join()).toContain('differ from host 2');
  });

  it("tell the ends of flows to one that was cut off, and leave the others' flows alone", async () => {
    const { group, three } = await meet(limits);
    const [a, b, c] = three;
    for (const member of three) begin(member, 60);
    await group.runOn(3 * SECOND);
    group.cut.add(3);
    // Longer than the others wait for it: what ends now is not kept for it.
    await group.runOn(15 * SECOND, (turn) => {
      if (turn !== 10) return;
      for (let n = 0; n < 20; n++) {
        a.node.events(kernelMessage('destroy', { n: 1000 + n, id: 1000 + n }));
      }
    });
    expect(b.external.size).toBe(100);
    expect(c.external.size).toBe(120);
    group.cut.delete(3);
    await group.runOn(20 * SECOND);
    expectEqual(group);
    expect(c.digests!.counters).toMatchObject({ removed: 20, failed: 0 });
    expect(a.digests!.counters.removed + b.digests!.counters.removed).toBe(0);
  });

  it('keep the flows of one that died, and go on comparing the rest', async () => {
    const { group, three } = await meet(limits);
    const [a, b, c] = three;
    for (const member of three) begin(member, 50);
    await group.runOn(3 * SECOND);
    group.cut.add(1);
    group.run(65 * SECOND); // until it is forgotten, and its place may be another's
    await group.runOn(20);
    b.node.fn.shardFlush!(b.node.shard, INTERNAL); // what B has is gone, and nobody was told
    await group.runOn(15 * SECOND);
    expect(new Set(c.external.keys())).toEqual(new Set(a.internal.keys()));
    expect(verdict(group, c, b)).toBe('equal');
    expect(c.digests!.counters.removed).toBe(50);
    checkShard(c.node);
    // Whoever takes the place of the dead one is not asked for its flows.
    const place = c.replication.peers.all.map(({ index }) => index);
    const fourth = group.start(4);
    await group.runOn(2 * SECOND);
    begin(fourth, 10);
    await group.runOn(20 * SECOND);
    const taken = c.replication.peers.all.find(({ index }) => !place.includes(index));
    expect(taken).toMatchObject({ address: 'host 4', index: 1 - place[0]! });
    expect(verdict(group, c, fourth)).toBe('equal');
    expect(c.external).toEqual(new Map([...a.internal, ...fourth.internal]));
    expect(c.digests!.counters.removed).toBe(50);
    checkShard(c.node);
  });

  it('mend under loss, and take nothing away that is only late', async () => {
    const { group, three } = await meet(limits);
    for (const member of three) begin(member, 100);
    await group.runOn(3 * SECOND);
    const [, b] = three;
    b.node.fn.shardFlush!(b.node.shard, EXTERNAL);
    group.weather({ loss: 0.2, twice: 0.1, late: 1 });
    await group.runOn(60 * SECOND);
    group.weather(CLEAN);
    await group.runOn(60 * SECOND);
    expectEqual(group);
    for (const { digests } of three) expect(digests!.counters.removed).toBe(0);
  }, 60_000);

  it('cannot say while two speak of a flow and do not agree, until one of them has it no more', async () => {
    const { group, three } = await meet(limits);
    const [a, b, c] = three;
    begin(a, 30);
    await group.runOn(2 * SECOND);
    // B has taken over: the same flows, as they went on there.
    for (let n = 0; n < 20; n++) {
      b.node.events(kernelMessage('update', { n: 1000 + n, id: n, mark: 77 }));
    }
    await group.runOn(2 * SECOND);
    expect([...c.external.values()].filter((mark) => mark === '77')).toHaveLength(20);
    expect(verdict(group, c, b)).toBe('equal');
    await group.runOn(30 * SECOND);
    expect(verdict(group, c, a)).toBe('cannot say');
    expect([...c.external.values()].filter((mark) => mark === '77')).toHaveLength(20);
    checkShard(c.node);
    // A's kernel is purged, and nobody is told.
    a.node.fn.shardFlush!(a.node.shard, INTERNAL);
    await group.runOn(150 * SECOND);
    expect(verdict(group, c, a)).toBe('equal');
    expect(verdict(group, c, b)).toBe('equal');
    expect(c.external).toEqual(b.internal);
    checkShard(c.node);
  });

  it('hold several equal copies of a flow, and the flow until the last of them is gone', async () => {
    const { group, three } = await meet(limits);
    const [a, b, c] = three;
    for (const { node } of [a, b]) {
      node.events(...[1, 2, 3].map((n) => kernelMessage('new', { n, id: n, mark: 5 })));
    }
    await group.runOn(3 * SECOND);
    expectEqual(group);
    a.node.fn.shardFlush!(a.node.shard, INTERNAL);
    await group.runOn(10 * SECOND);
    expect(c.external).toEqual(b.internal);
    expect(verdict(group, c, a)).toBe('equal');
    expect(c.digests!.counters.removed).toBe(0);
    b.node.fn.shardFlush!(b.node.shard, INTERNAL);
    await group.runOn(10 * SECOND);
    expect(c.external.size).toBe(0);
    expect(c.digests!.counters.removed).toBe(3);
  });
});

describe('a node of a group that changes to another link', () => {
  it.each([1, 2, 3])('keeps its flows: what host %i said there is its own, too', async (host) => {
    const { group, three } = await meet(FTFW);
    for (const member of three) begin(member, 40);
    await group.runOn(3 * SECOND + 4); // its first words there are flows, and not who it is
    const member = three[host - 1]!;
    member.link = 1;
    for (let turn = 0; turn < 15; turn++) {
      begin(member, 5, {}, 500 + 5 * turn);
      await group.runOn(SECOND);
      for (const { node } of three) checkShard(node);
    }
    await group.runOn(3 * SECOND);
    expectEqual(group);
    for (const { digests } of three) {
      expect(digests!.counters).toMatchObject({ found: 0, removed: 0 });
    }
  });
});

describe('shares of the members', () => {
  it('are right whatever is said by whom', async () => {
    const { group, three } = await meet(FTFW);
    const next = numbers(11);
    await group.runOn(20 * SECOND, (turn) => {
      for (const { node } of three) {
        for (let i = 0; i < 5; i++) {
          const kind = (['new', 'update', 'destroy'] as const)[next(3)]!;
          node.events(kernelMessage(kind, { n: next(40), mark: next(3) }));
        }
      }
      if (turn % 10 === 0) for (const { node } of three) checkShard(node);
    });
    await group.runOn(30 * SECOND);
    for (const { node } of three) checkShard(node);
  });
});
