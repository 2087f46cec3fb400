// More than two nodes in a multicast group: each keeps the numbers of each other, and what one lost
// is mended although the others have it.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { FLAG } from '../../../src/sync/flags.js';
import { split } from './arena.js';
import { Group, type Member } from './group.js';
import { type Kind, kernelMessage } from './kernel.js';
import { numbers } from './numbers.js';
import { CLEAN } from './pair.js';

const SMALL = { hashLimit: 512, payloadMax: 400, resendQueueSize: 4096, ackWindowSize: 20 };
const KINDS: Kind[] = ['new', 'update', 'update', 'destroy'];

/** `count` events of flows that are this member's alone. */
function stir(member: Member, next: (below: number) => number, count: number): void {
  const list = Array.from({ length: count }, () => {
    const n = 100 * member.host + next(40);
    return kernelMessage(KINDS[next(KINDS.length)]!, { n, id: n, mark: next(1000) });
  });
  member.node.events(...list);
}

function fill(member: Member, count: number, from = 0): void {
  const list = Array.from({ length: count }, (_, i) => {
    const n = 100 * member.host + from + i;
    return kernelMessage('new', { n, id: n });
  });
  member.node.events(...list);
}

/** Every node knows all flows of the others, as they are, and none else. */
function expectEqual(group: Group): void {
  for (const member of group.members) {
    const others = group.members.filter((other) => other !== member);
    const all = new Map(others.flatMap((other) => [...other.internal]));
    expect(member.external, `what host ${member.host} holds`).toEqual(all);
  }
}

function expectAcknowledged(group: Group): void {
  for (const { replication, host } of group.members) {
    expect(replication.unacknowledged, `flow messages that host ${host} holds`).toBe(0);
  }
}

describe('three nodes in a multicast group', () => {
  it('stay equal under loss, doubling and reordering', () => {
    const scene = fc.record({
      seed: fc.nat(),
      loss: fc.constantFrom(0, 0.05, 0.2, 0.4),
      twice: fc.constantFrom(0, 0.3),
      late: fc.constantFrom(0, 3),
      turns: fc.integer({ min: 1, max: 80 }),
    });
    fc.assert(
      fc.property(scene, ({ seed, loss, twice, late, turns }) => {
        const next = numbers(seed);
        const group = new Group(next, 3, SMALL);
        group.greet();
        group.weather({ loss, twice, late });
        group.run(turns, () => {
          for (const member of group.members) stir(member, next, next(5));
        });
        group.weather(CLEAN);
        group.run(80);
        expectEqual(group);
        expectAcknowledged(group);
      }),
      { numRuns: 25 },
    );
  }, 120_000);

  it('lose nothing to each other on a good link', () => {
    const next = numbers(3);
    const group = new Group(next, 3, SMALL);
    group.greet();
    group.run(50, () => {
      for (const member of group.members) stir(member, next, 3);
    });
    group.run(30);
    expectEqual(group);
    for (const member of group.members) {
      expect(member.count(L.RECEIVER_LOST), 'lost').toBe(0);
      expect(member.count(L.RECEIVER_BEFORE), 'before').toBe(0);
      expect(member.node.count(member.node.arena.sender + L.SENDER_RESENT), 'resent').toBe(0);
      expect(member.replication.peers.everyPeerIsOurs).toBe(true);
      expect(member.replication.peers.size).toBe(2);
    }
  });

  it('hold a message until the last of them has acknowledged it', () => {
    const group = new Group(numbers(3), 3, SMALL);
    group.greet();
    const [a, b, c] = group.members as [Member, Member, Member];
    c.weather = { loss: 1, twice: 0, late: 0 };
    fill(a, 10);
    group.run(30);
    expect(b.external.size).toBe(10);
    expect(a.replication.unacknowledged).toBe(10);
    c.weather = CLEAN;
    fill(a, 1, 50);
    group.run(30);
    expect(c.external).toEqual(a.internal);
    expect(a.replication.unacknowledged).toBe(0);
  });

  it('wait ten seconds at most for one that is silent, and give it everything when it is back', () => {
    const group = new Group(numbers(3), 3, SMALL);
    group.greet();
    const [a, b, c] = group.members as [Member, Member, Member];
    group.cut.add(3);
    fill(a, 10);
    group.run(90);
    expect(a.replication.unacknowledged).toBe(10);
    group.run(30);
    expect(a.replication.unacknowledged).toBe(0);
    expect(a.abandoned).toEqual(['host 3']);
    expect(b.external).toEqual(a.internal);
    group.cut.delete(3);
    group.run(60);
    expect(a.bulks).toBeGreaterThan(0);
    expect(c.external).toEqual(a.internal);
    expectAcknowledged(group);
  });

  it('forget one that is gone for a minute, and meet it anew', () => {
    const group = new Group(numbers(3), 3, SMALL);
    group.greet();
    const [a] = group.members as [Member];
    group.cut.add(3);
    group.run(650);
    expect(a.replication.peers.all.map(({ address }) => address)).toEqual(['host 2']);
    group.cut.delete(3);
    group.run(30);
    expect(a.replication.peers.size).toBe(2);
    expect(a.replication.peers.everyPeerIsOurs).toBe(true);
  });

  it.each([1, 2, 3])('go on when host %i restarts', (host) => {
    const next = numbers(8);
    const group = new Group(next, 3, SMALL);
    group.greet();
    for (const member of group.members) fill(member, 20);
    group.run(30);
    expectEqual(group);
    const old = group.members[host - 1]!.replication.identity.node;
    const fresh = group.start(host);
    fresh.replication.requestResync();
    for (const member of group.members) {
      if (member !== fresh) fill(member, 5, 30);
    }
    group.greet();
    group.run(40);
    // Its own kernel's flows are read at start, which is not in this model; what others had of its
    // former life stays.
    for (const member of group.members) {
      for (const other of group.members) {
        if (other === member) continue;
        for (const [name, mark] of other.internal) expect(member.external.get(name)).toBe(mark);
      }
      const nodes = member.replication.peers.all.map(({ identity }) => identity?.node);
      expect(nodes).not.toContain(old);
    }
    expectAcknowledged(group);
  });

  it('name whom an acknowledgement is meant for', () => {
    const next = numbers(3);
    const group = new Group(next, 3, SMALL);
    group.greet();
    const [, b] = group.members as [Member, Member];
    b.seen.length = 0;
    group.run(30, () => stir(group.members[0]!, next, 3));
    const acks = b.seen.flatMap(split).filter((message) => message[1]! & FLAG.ACK);
    expect(acks.length).toBeGreaterThan(0);
    for (const ack of acks) expect(ack.length).toBeGreaterThanOrEqual(16 + 8 + 12);
  });

  it('know a node again that changes to another link, and miss nothing meanwhile', () => {
    const group = new Group(numbers(3), 3, SMALL);
    group.greet();
    const [a, b, c] = group.members as [Member, Member, Member];
    fill(a, 10);
    group.run(20);
    for (const host of group.members) host.weather = { loss: 1, twice: 0, late: 0 };
    fill(a, 5, 20);
    group.run(2);
    group.weather(CLEAN);
    for (const member of group.members) member.link = 1;
    fill(a, 5, 40);
    group.run(60);
    for (const member of [b, c]) {
      expect(member.external).toEqual(a.internal);
      expect(member.replication.peers.size).toBe(2);
    }
    expectAcknowledged(group);
  });

  it('count what a node acknowledges on another link before its tail has told who it is', () => {
    const group = new Group(numbers(3), 3, SMALL);
    group.greet();
    const [a, b] = group.members as [Member, Member, Member];
    fill(a, 10);
    group.run(20);
    // One goes first: its acknowledgements come from an entry that nobody has a name for.
    for (const [first, from] of [
      [b, 100],
      [a, 200],
    ] as const) {
      first.link = 1 - first.link;
      for (let turn = 0; turn < 8; turn++) {
        for (const [place, member] of group.members.entries()) {
          fill(member, 12, from + 1000 * place + 12 * turn);
        }
        group.run(1);
      }
      group.run(60);
      expectAcknowledged(group);
    }
  });

  it('keep nobody in mind beyond sixteen, and those who were there first', () => {
    const group = new Group(numbers(3), 3, SMALL);
    group.greet();
    const [a, b] = group.members as [Member, Member];
    const alive = Uint8Array.from([0x1a, FLAG.ALIVE, 0, 8, 0, 0, 0, 1]);
    for (let host = 10; host < 200; host++) group.carry({ host, link: 0, datagram: alive });
    group.run(5);
    expect(a.replication.peers.size).toBe(L.PEERS_MAX);
    expect(a.count(L.RECEIVER_STRANGERS)).toBeGreaterThanOrEqual(190 - L.PEERS_MAX);
    fill(b, 10);
    group.run(20);
    expect(a.external).toEqual(b.internal);
    // The made-up ones are silent: they hold nothing up for long, and go.
    group.run(150);
    expect(b.replication.unacknowledged).toBe(0);
    group.run(600);
    expect(a.replication.peers.size).toBe(2);
  });
});

describe('two nodes of ours and one that speaks as a C daemon does', () => {
  it('are not moved by acknowledgements and complaints that are not for them', () => {
    const next = numbers(3);
    const group = new Group(next, 2, SMALL);
    group.greet();
    const [a, b] = group.members as [Member, Member];
    const control = (flags: number, sequence: number, from: number, to: number): Uint8Array => {
      const bytes = new Uint8Array(16);
      const view = new DataView(bytes.buffer);
      view.setUint16(0, 0x1a00 | flags);
      view.setUint16(2, 16);
      [sequence, from, to].forEach((word, i) => {
        view.setUint32(4 + 4 * i, word);
      });
      return bytes;
    };
    let sequence = 500;
    // It has one number for all, so that every change of the speaker is a gap of half the space.
    group.run(100, () => {
      stir(a, next, 2);
      stir(b, next, 2);
      const datagram = control(FLAG.NACK, sequence++, 5, 2 ** 31);
      group.carry({ host: 9, link: 0, datagram });
    });
    group.run(150);
    expectEqual(group);
    for (const member of [a, b]) {
      expect(member.node.count(member.node.arena.sender + L.SENDER_RESENT)).toBe(0);
      expect(member.replication.unacknowledged).toBe(0);
      expect(member.replication.peers.everyPeerIsOurs).toBe(false);
    }
  });
});
