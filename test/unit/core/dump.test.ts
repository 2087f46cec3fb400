// A dump of the kernel's table merged into the internal cache while events go on.

import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { INTERNAL, split, TestNode } from './arena.js';
import { checkShard } from './invariants.js';
import { type KernelFlow, type Kind, kernelMessage } from './kernel.js';
import { cached, said } from './spoken.js';

const node = new TestNode({ hashLimit: 200, sideChunks: 8 });
const COMMIT = 4001;

beforeEach(() => {
  node.reset();
  node.set(L.CONTROL_PORT_COMMIT, COMMIT);
});

function event(kind: Kind, flow: KernelFlow, port = 0): void {
  node.events(kernelMessage(kind, flow, port));
  checkShard(node);
}

function begin(): void {
  node.fn.shardDumpBegin!(node.shard);
}

function entries(tell: boolean | number, ...flows: KernelFlow[]): void {
  node.dump(tell, ...flows.map((flow) => kernelMessage('dump', flow)));
  checkShard(node);
}

/** Ends the dump in slices of `slice` records; returns how many calls it took. */
function end(purge: boolean, replicate: boolean, slice = 1000): number {
  for (let calls = 1; calls < 1000; calls++) {
    const more = node.fn.shardDumpEnd!(node.shard, purge ? 1 : 0, replicate ? 1 : 0, slice);
    checkShard(node);
    if (more === 0) return calls;
  }
  throw new Error('a dump that never ends');
}

function markOf(n: number): number {
  for (const record of node.records(INTERNAL)) {
    node.fn.unpackFlow!(record, node.flow);
    const host = node.flow + L.FLOW_ORIG + L.TUPLE_SRC + 3;
    if (node.bytes[host] === n) return node.get(node.flow + L.FLOW_MARK);
  }
  throw new Error(`no flow ${n}`);
}

describe('a dump at the start', () => {
  it('fills the cache with new flows and tells nobody', () => {
    begin();
    entries(false, { n: 1 }, { n: 2, v6: true }, { n: 3, zone: 4 });
    end(true, false);
    expect(cached(node, INTERNAL)).toEqual(['new 1', 'new 2v6', 'new 3 zone 4']);
    expect(said(node)).toEqual([]);
  });

  it('does not take back what an event said before the older entry came', () => {
    begin();
    event('new', { n: 1, mark: 7, state: 3, timeout: 500, id: 1 });
    entries(false, { n: 1, mark: 1, state: 1, timeout: 100, id: 1, labels: 6 });
    expect(markOf(1)).toBe(7);
    expect(node.bytes[node.flow + L.FLOW_STATE]).toBe(3);
    expect(node.get(node.flow + L.FLOW_TIMEOUT)).toBe(500);
    // but it fills what the event did not carry
    expect(node.get(node.flow + L.FLOW_PRESENT) & L.HAS_LABELS).not.toBe(0);
  });

  it('does not bring back a flow that was destroyed while the dump ran', () => {
    event('new', { n: 1, id: 1 });
    said(node);
    begin();
    event('destroy', { n: 1, id: 1 });
    event('destroy', { n: 2, id: 2 }); // never heard of, but the dump may still list it
    event('new', { n: 3, id: 3 });
    event('destroy', { n: 3, id: 3 }, COMMIT);
    entries(true, { n: 1, id: 1 }, { n: 2, id: 2 }, { n: 3, id: 3 });
    end(false, true);
    expect(said(node)).toEqual(['DEL 1']);
    expect(cached(node, INTERNAL)).toEqual(['dead 1']);
  });

  it('takes a new flow on the tuple of one that was destroyed while the dump ran', () => {
    event('new', { n: 1, id: 1, mark: 5 });
    said(node);
    begin();
    event('destroy', { n: 1, id: 1 });
    event('destroy', { n: 2, id: 2 });
    entries(true, { n: 1, id: 11 }, { n: 2, id: 22 });
    end(true, true);
    expect(cached(node, INTERNAL)).toEqual(['new 1', 'new 2']);
    expect(said(node).sort()).toEqual(['NEW 1', 'NEW 2']);
  });

  it('leaves no tombs behind, whatever the slices of its end', () => {
    for (const slice of [1, 3, 1000]) {
      node.reset();
      begin();
      for (let n = 0; n < 20; n++) event('destroy', { n, v6: n % 2 === 0 });
      expect(node.get(node.table(INTERNAL) + L.TABLE_DEAD)).toBe(20);
      expect(end(false, false, slice)).toBe(Math.ceil(20 / slice));
      expect(node.records(INTERNAL)).toEqual([]);
    }
  });

  it('forgets a flow that our own flush destroys right after the end of a dump', () => {
    begin();
    entries(false, { n: 1 });
    end(true, false);
    event('destroy', { n: 1 }, COMMIT);
    expect(cached(node, INTERNAL)).toEqual([]);
  });
});

describe('a dump after lost events', () => {
  it('tells what is new, what changed and what has vanished, and nothing else', () => {
    for (const n of [1, 2, 3, 4]) event('new', { n, mark: n, id: n });
    said(node);
    begin();
    entries(
      true,
      { n: 1, mark: 1, id: 1 }, // the same
      { n: 2, mark: 99, id: 2 }, // changed
      { n: 5, mark: 5, id: 5 }, // its event was lost
    );
    event('update', { n: 4, mark: 4, id: 4 }); // alive by its event, listed or not
    end(true, true);
    expect(said(node)).toEqual(['UPD 2', 'NEW 5', 'UPD 4', 'DEL 3']);
    expect(cached(node, INTERNAL)).toEqual(['alive 2', 'alive 4', 'dead 3', 'new 1', 'new 5']);
    expect(node.count(node.table(INTERNAL) + L.TABLE_DESTROYED)).toBe(1);
  });

  it('replaces a flow whose end and successor were both missed', () => {
    event('new', { n: 1, id: 1, mark: 5, labels: 8, helper: 'ftp' });
    said(node);
    begin();
    entries(true, { n: 1, id: 2 });
    end(true, true);
    expect(said(node)).toEqual(['NEW 1']);
    const record = node.records(INTERNAL)[0]!;
    node.fn.unpackFlow!(record, node.flow);
    expect(node.get(node.flow + L.FLOW_ID)).toBe(2);
    expect(node.get(node.flow + L.FLOW_PRESENT) & (L.HAS_MARK | L.HAS_LABELS)).toBe(0);
  });

  it('does not let an entry of a flow’s predecessor touch the flow that came by event', () => {
    begin();
    event('new', { n: 1, id: 2 });
    entries(true, { n: 1, id: 1, mark: 5, labels: 8 });
    end(true, true);
    const record = node.records(INTERNAL)[0]!;
    node.fn.unpackFlow!(record, node.flow);
    expect(node.get(node.flow + L.FLOW_ID)).toBe(2);
    expect(node.get(node.flow + L.FLOW_PRESENT) & (L.HAS_MARK | L.HAS_LABELS)).toBe(0);
  });

  it('can keep from the peers what they have told of', () => {
    const peer = new TestNode({ hashLimit: 200, sideChunks: 8, shardOptions: 0 });
    const theirs: KernelFlow[] = [{ n: 1 }, { n: 2, v6: true }, { n: 3 }];
    peer.events(...theirs.map((flow) => kernelMessage('new', flow)));
    for (const { out } of peer.pump()) node.messages(...split(peer.payload(out)));
    event('new', { n: 3 }); // theirs before, and ours by now
    said(node);
    begin();
    entries(L.TELL_OWN, ...theirs.slice(0, 2), { n: 3, mark: 9 }, { n: 4 }, { n: 2 });
    end(true, true);
    expect(said(node).sort()).toEqual(['NEW 2', 'NEW 4', 'UPD 3']);
    expect(cached(node, INTERNAL).sort()).toEqual([
      'alive 3',
      'new 1',
      'new 2',
      'new 2v6',
      'new 4',
    ]);
  });

  it('keeps vanished flows when it was not complete and must not purge', () => {
    event('new', { n: 1 });
    begin();
    end(false, true);
    expect(cached(node, INTERNAL)).toEqual(['new 1']);
  });

  it('buries vanished flows silently when nobody is to be told', () => {
    event('new', { n: 1 });
    event('new', { n: 2 });
    said(node);
    event('update', { n: 2 });
    begin();
    end(true, false);
    expect(said(node)).toEqual([]);
    expect(cached(node, INTERNAL)).toEqual([]);
  });

  it('starts anew after one that was given up, even in the middle of its end', () => {
    for (let n = 0; n < 10; n++) event('new', { n });
    said(node);
    begin();
    expect(node.fn.shardDumpEnd!(node.shard, 0, 1, 3)).toBe(1);
    begin();
    expect(node.get(node.shard + L.SHARD_DUMPING)).toBe(1);
    entries(true, ...Array.from({ length: 5 }, (_, n) => ({ n })));
    end(true, true, 4);
    expect(node.get(node.shard + L.SHARD_DUMPING)).toBe(0);
    expect(said(node)).toEqual(['DEL 5', 'DEL 6', 'DEL 7', 'DEL 8', 'DEL 9']);
  });

  it('sees who has vanished in each of 600 dumps, over the wrap of its generations', () => {
    for (let round = 0; round < 600; round++) {
      begin();
      entries(true, { n: round % 7 }, { n: 100 });
      end(true, true);
      const list = said(node);
      expect(list).toEqual(
        round === 0 ? ['NEW 0', 'NEW 100'] : [`NEW ${round % 7}`, `DEL ${(round - 1) % 7}`],
      );
      const dead = node.records(INTERNAL).filter((record) => node.state(record) === L.OBJECT_DEAD);
      node.putWords(node.arena.recordLists, dead);
      node.fn.shardReap!(node.shard, node.arena.recordLists, dead.length);
    }
    expect(cached(node, INTERNAL)).toHaveLength(2);
  });
});
