// Sync messages into the external cache, and the external cache into kernel requests.

import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { EXTERNAL, INTERNAL, split, TestNode } from './arena.js';
import { checkShard } from './invariants.js';
import { type KernelFlow, kernelMessage } from './kernel.js';
import { cached, nameOfFlow } from './spoken.js';

const peer = new TestNode({ hashLimit: 300, shardOptions: 0 });
const node = new TestNode({ hashLimit: 300, sideChunks: 8 });

beforeEach(() => {
  peer.reset();
  node.reset();
});

/** The messages a peer sends of events. */
function messagesOf(...events: Uint8Array[]): Uint8Array[] {
  peer.events(...events);
  return peer.pump().flatMap(({ out }) => split(peer.payload(out)));
}

function receive(kind: 'new' | 'update' | 'destroy', ...flows: KernelFlow[]): void {
  for (const flow of flows) node.messages(...messagesOf(kernelMessage(kind, flow)));
  checkShard(node);
}

function recordOf(name: string): number {
  const found = node.records(EXTERNAL).find((record) => {
    node.fn.unpackFlow!(record, node.flow);
    return nameOfFlow(node, node.flow) === name;
  });
  if (found === undefined) throw new Error(`no flow ${name}`);
  return found;
}

function present(record: number): number {
  node.fn.unpackFlow!(record, node.flow);
  return node.get(node.flow + L.FLOW_PRESENT);
}

describe('messages of a peer', () => {
  it('add, merge and remove flows', () => {
    receive('new', { n: 1, mark: 5 }, { n: 2, v6: true });
    expect(cached(node, EXTERNAL)).toEqual(['new 1', 'new 2v6']);
    receive('update', { n: 1, labels: 3 });
    expect(cached(node, EXTERNAL)).toEqual(['alive 1', 'new 2v6']);
    const both = L.HAS_MARK | L.HAS_LABELS;
    expect(present(recordOf('1')) & both).toBe(both);
    receive('destroy', { n: 1 }, { n: 2, v6: true });
    expect(cached(node, EXTERNAL)).toEqual([]);
    expect(node.count(node.table(EXTERNAL) + L.TABLE_DESTROYED)).toBe(2);
    expect(node.records(INTERNAL)).toEqual([]);
  });

  it('replace a flow when they say NEW, and start its age anew', () => {
    node.now = 100;
    receive('new', { n: 1, mark: 5, labels: 3 });
    node.now = 200;
    receive('new', { n: 1, labels: 4 });
    const record = recordOf('1');
    expect(present(record) & L.HAS_MARK).toBe(0);
    expect(node.get(record + L.RECORD_ADDED)).toBe(200);
    expect(node.get(node.table(EXTERNAL) + L.TABLE_COUNT)).toBe(1);
  });

  it('add a flow that an UPD speaks of first, and ignore the DEL of an unknown one', () => {
    receive('new', { n: 1 });
    receive('update', { n: 1 });
    node.reset();
    const [update] = messagesOf(kernelMessage('update', { n: 1, mark: 9 }));
    expect(update![0]! & 15).toBe(1);
    node.messages(update!);
    expect(cached(node, EXTERNAL)).toEqual(['new 1']);
    receive('new', { n: 7 });
    const [gone] = messagesOf(kernelMessage('destroy', { n: 7 }));
    node.reset();
    node.messages(gone!);
    expect(cached(node, EXTERNAL)).toEqual([]);
    expect(node.count(node.table(EXTERNAL) + L.TABLE_DESTROYED)).toBe(0);
  });

  it('are refused and counted when they do not decode', () => {
    const [message] = messagesOf(kernelMessage('new', { n: 1 }));
    const bad = Uint8Array.from(message!);
    bad[8 + 3] = 99; // type of the first attribute
    node.messages(bad);
    expect(node.count(node.shard + L.SHARD_BAD_PAYLOAD)).toBe(1);
    expect(node.view.getInt32(node.shard + L.SHARD_LAST_BAD, true)).toBe(L.BAD_TYPE);
    expect(node.records(EXTERNAL)).toEqual([]);
  });

  it('find no room beyond HashLimit, and leave nothing half done without side memory', () => {
    node.set(L.CONTROL_SIDE_END, node.sideStart + L.SIDE_CHUNK);
    for (let n = 0; n < 40; n++) receive('new', { n });
    for (let n = 0; n < 40; n++)
      node.messages(...messagesOf(kernelMessage('new', { n, v6: true })));
    checkShard(node);
    const table = node.table(EXTERNAL);
    // The one chunk went to v6 parts: a label has no place, not even while a kernel dump runs.
    expect(node.records(EXTERNAL)).toHaveLength(80);
    node.fn.shardDumpBegin!(node.shard);
    for (let n = 0; n < 40; n++) {
      node.messages(...messagesOf(kernelMessage('new', { n, labels: 3 })));
      checkShard(node);
    }
    expect(node.count(table + L.TABLE_NO_MEMORY)).toBe(40);
    expect(node.records(EXTERNAL)).toHaveLength(40);
    node.set(L.CONTROL_LIMIT + 4, 50);
    for (let n = 100; n < 130; n++) receive('new', { n });
    expect(node.records(EXTERNAL)).toHaveLength(50);
    expect(node.count(table + L.TABLE_NO_SPACE)).toBe(20);
  });
});

interface Request {
  type: number;
  flags: number;
  seq: number;
  name: string;
  timeout: number | undefined;
}

const CREATE = { type: 0x100, flags: 0x1 | 0x600 };
const DELETE = { type: 0x102, flags: 0x1 };
const ACK = 0x4;

/** The requests in `length` bytes of the request buffer. */
function requests(length: number): Request[] {
  const list: Request[] = [];
  const { buffer } = node.arena.requests;
  let at = buffer;
  while (at < buffer + length) {
    const size = node.view.getUint32(at, true);
    expect(node.fn.decodeFlow!(at, size, node.flow)).toBe(0);
    const has = node.get(node.flow + L.FLOW_PRESENT);
    list.push({
      type: node.view.getUint16(at + 4, true),
      flags: node.view.getUint16(at + 6, true),
      seq: node.view.getUint32(at + 8, true),
      name: nameOfFlow(node, node.flow),
      timeout: has & L.HAS_TIMEOUT ? node.get(node.flow + L.FLOW_TIMEOUT) : undefined,
    });
    at += (size + 3) & ~3;
  }
  return list;
}

/** Bytes of `count` requests at the start of the buffer. */
function lengthOf(count: number): number {
  let at = node.arena.requests.buffer;
  for (let i = 0; i < count; i++) at += (node.view.getUint32(at, true) + 3) & ~3;
  return at - node.arena.requests.buffer;
}

interface Options {
  pass?: number;
  room?: number;
  most?: number;
  sequence?: number;
  fixed?: number;
}

/** A whole pass of a commit; the requests of each slice. */
function commit(options: Options = {}): Request[][] {
  const { pass = 0, room = node.arena.requests.size, most = 256, fixed = 0 } = options;
  const { buffer, handles } = node.arena.requests;
  const slices: Request[][] = [];
  let sequence = options.sequence ?? 500;
  let cursor = 0;
  for (let i = 0; i < 1000; i++) {
    const count = node.fn.shardCommit!(
      node.shard,
      cursor,
      pass,
      buffer,
      room,
      handles,
      most,
      sequence,
      fixed,
    );
    const slice = requests(lengthOf(count));
    expect(count).toBeLessThanOrEqual(most);
    expect(lengthOf(count)).toBeLessThanOrEqual(room);
    slice.forEach((request, at) => {
      node.fn.unpackFlow!(node.get(handles + 4 * at), node.flow);
      expect(nameOfFlow(node, node.flow)).toBe(request.name);
      expect(request.seq).toBe(sequence + at);
      const last = at === slice.length - 1;
      expect(request.type).toBe(CREATE.type);
      expect(request.flags).toBe(CREATE.flags | (last ? ACK : 0));
    });
    sequence += count;
    if (count > 0) slices.push(slice);
    cursor = node.get(node.shard + L.SHARD_CURSOR);
    if (cursor === 0) return slices;
  }
  throw new Error('a commit that never ends');
}

const names = (slices: Request[][]) => slices.flat().map(({ name }) => name);

describe('a commit', () => {
  it('asks for every flow once: masters first, what belongs to them in the last pass', () => {
    receive(
      'new',
      { n: 1 },
      { n: 2, master: 1 },
      { n: 3, v6: true },
      { n: 4, v6: true, master: 3 },
    );
    receive('new', { n: 5 });
    receive('destroy', { n: 5 });
    expect(names(commit())).toEqual(['1', '3v6']);
    expect(names(commit({ pass: 1 }))).toEqual(['2', '4v6']);
    checkShard(node);
  });

  it('goes on where a slice ended, by number of requests and by room', () => {
    for (let n = 0; n < 100; n++) receive('new', { n, v6: n % 2 === 0, labels: n + 1 });
    const wanted = Array.from({ length: 100 }, (_, n) => `${n}${n % 2 === 0 ? 'v6' : ''}`);
    const few = commit({ most: 7 });
    expect(few.map((slice) => slice.length)).toEqual([...Array(14).fill(7), 2]);
    expect(names(few)).toEqual(wanted);
    const tight = commit({ room: 2048 });
    expect(tight.length).toBeGreaterThan(15);
    expect(names(tight)).toEqual(wanted);
  });

  it('asks for nothing when the cache is empty, and survives a flush between slices', () => {
    expect(commit()).toEqual([]);
    for (let n = 0; n < 20; n++) receive('new', { n });
    const { buffer, handles, size } = node.arena.requests;
    expect(node.fn.shardCommit!(node.shard, 0, 0, buffer, size, handles, 5, 1, 0)).toBe(5);
    const cursor = node.get(node.shard + L.SHARD_CURSOR);
    node.fn.shardFlush!(node.shard, EXTERNAL);
    expect(node.fn.shardCommit!(node.shard, cursor, 0, buffer, size, handles, 5, 1, 0)).toBe(0);
    expect(node.get(node.shard + L.SHARD_CURSOR)).toBe(0);
  });

  it('gives a flow what is left of its timeout, and a minute when nothing is', () => {
    node.now = 1000;
    receive('new', { n: 1, timeout: 300 }, { n: 2, timeout: 30 });
    node.now = 1040;
    receive('new', { n: 3, timeout: 300 });
    node.now = 1050;
    expect(
      commit()
        .flat()
        .map(({ timeout }) => timeout),
    ).toEqual([250, 60, 290]);
    receive('update', { n: 1, timeout: 300 });
    expect(commit().flat()[0]!.timeout).toBe(300);
    peer.set(peer.shard + L.SHARD_OPTIONS, L.SHARD_OMIT_TIMEOUT);
    receive('new', { n: 4 });
    expect(commit().flat()[3]!.timeout).toBe(60);
  });

  it('gives every flow the fixed timeout of CommitTimeout', () => {
    receive('new', { n: 1, timeout: 300 }, { n: 2, timeout: 30 });
    expect(
      commit({ fixed: 180 })
        .flat()
        .map(({ timeout }) => timeout),
    ).toEqual([180, 180]);
  });

  it('deletes and creates what the kernel already had, in pairs, and only what still is', () => {
    for (let n = 1; n <= 5; n++) receive('new', { n, timeout: 100 });
    const records = [1, 2, 4].map((n) => recordOf(String(n)));
    receive('destroy', { n: 2 });
    const { buffer, size } = node.arena.requests;
    node.putWords(node.arena.recordLists, records);
    const length = node.fn.shardCommitAgain!(
      node.shard,
      node.arena.recordLists,
      3,
      buffer,
      size,
      700,
      0,
    );
    expect(requests(length)).toEqual([
      { ...DELETE, seq: 700, name: '1', timeout: undefined },
      { ...CREATE, seq: 701, name: '1', timeout: 100 },
      { ...DELETE, seq: 704, name: '4', timeout: undefined },
      { ...CREATE, flags: CREATE.flags | ACK, seq: 705, name: '4', timeout: 100 },
    ]);
  });

  it('writes no delete without its create when room runs out', () => {
    for (let n = 1; n <= 20; n++) receive('new', { n, labels: n });
    const records = node.records(EXTERNAL);
    node.putWords(node.arena.recordLists, records);
    const { buffer } = node.arena.requests;
    for (const room of [0, 1000, 2048, 3000, 5000]) {
      const length = node.fn.shardCommitAgain!(
        node.shard,
        node.arena.recordLists,
        records.length,
        buffer,
        room,
        1,
        0,
      );
      expect(length).toBeLessThanOrEqual(room);
      const list = requests(length);
      expect(list.length % 2).toBe(0);
      expect(list.length > 0).toBe(room >= 2048);
      list.forEach(({ type }, i) => {
        expect(type).toBe(i % 2 === 0 ? DELETE.type : CREATE.type);
      });
    }
  });
});
