// From kernel events to the internal cache and the messages the peers hear.

import { readFileSync } from 'node:fs';
import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { fromHex } from '../../wasm.js';
import { INTERNAL, split, TestNode } from './arena.js';
import { checkShard } from './invariants.js';
import { type KernelFlow, type Kind, kernelMessage } from './kernel.js';
import { cached, decode, said, say } from './spoken.js';

const node = new TestNode({ hashLimit: 300, sideChunks: 8 });
const PORT = { commit: 4001, flush: 4002, inject: 4003 };

beforeEach(() => {
  node.reset();
  node.set(L.CONTROL_PORT_COMMIT, PORT.commit);
  node.set(L.CONTROL_PORT_FLUSH, PORT.flush);
  node.set(L.CONTROL_PORT_INJECT, PORT.inject);
});

function event(kind: Kind, flow: KernelFlow | number, port = 0): void {
  node.events(kernelMessage(kind, typeof flow === 'number' ? { n: flow } : flow, port));
  checkShard(node);
}

describe('the messages of kernel events', () => {
  it('says NEW, then UPD, then DEL of a flow whose events come one by one', () => {
    event('new', 1);
    expect(said(node)).toEqual(['NEW 1']);
    event('update', 1);
    expect(said(node)).toEqual(['UPD 1']);
    event('update', 1);
    expect(said(node)).toEqual(['UPD 1']);
    event('destroy', 1);
    expect(said(node)).toEqual(['DEL 1']);
  });

  it('says once what several events before the send did to a flow', () => {
    event('new', 1);
    event('update', 1);
    event('new', 2);
    event('destroy', 2);
    event('new', 3);
    event('update', { n: 1, mark: 77 });
    expect(said(node)).toEqual(['NEW 1', 'DEL 2', 'NEW 3']);
    expect(said(node)).toEqual([]);
  });

  it('sends the latest attributes when its turn comes', () => {
    event('new', { n: 1, mark: 1, state: 1, timeout: 120 });
    event('update', { n: 1, mark: 2, state: 3, timeout: 432000 });
    const [slot] = node.pump();
    const message = split(node.payload(slot!.out))[0]!;
    decode(node, message);
    expect(node.get(node.flow + L.FLOW_MARK)).toBe(2);
    expect(node.bytes[node.flow + L.FLOW_STATE]).toBe(3);
    expect(node.get(node.flow + L.FLOW_TIMEOUT)).toBe(432000);
  });

  it('says NEW of an update of a flow it does not know', () => {
    event('update', 1);
    expect(said(node)).toEqual(['NEW 1']);
  });

  it('says NEW, and never DEL, when the tuple lives again before its DEL has left', () => {
    event('new', 1);
    said(node);
    event('destroy', 1);
    event('new', { n: 1, mark: 5 });
    expect(said(node)).toEqual(['NEW 1']);
    event('destroy', 1);
    event('update', 1);
    expect(said(node)).toEqual(['NEW 1']);
    expect(cached(node, INTERNAL)).toEqual(['new 1']);
  });

  it('says NEW of a new flow on an old tuple until that is acknowledged, updates included', () => {
    event('new', { n: 1, labels: 7 });
    said(node);
    event('destroy', 1);
    event('new', 1);
    event('update', 1);
    // A UPD would be merged into the old flow at the peer, labels and all.
    expect(said(node)).toEqual(['NEW 1']);
    const [record] = node.records(INTERNAL);
    node.bytes[record! + L.RECORD_UNACKED] = 1;
    event('update', 1);
    expect(said(node)).toEqual(['NEW 1']);
    node.bytes[record! + L.RECORD_UNACKED] = 0;
    event('update', 1);
    expect(said(node)).toEqual(['UPD 1']);
  });

  it('forgets what an old flow was when a new one takes its tuple', () => {
    event('new', { n: 1, mark: 5, labels: 9, helper: 'ftp', id: 1 });
    event('new', { n: 1, id: 2 });
    const record = node.records(INTERNAL)[0]!;
    node.fn.unpackFlow!(record, node.flow);
    const present = node.get(node.flow + L.FLOW_PRESENT);
    expect(present & (L.HAS_MARK | L.HAS_LABELS | L.HAS_HELPER)).toBe(0);
    expect(node.get(node.flow + L.FLOW_ID)).toBe(2);
    const table = node.table(INTERNAL);
    expect(node.count(table + L.TABLE_CREATED)).toBe(2);
    expect(node.count(table + L.TABLE_DESTROYED)).toBe(1);
  });

  it('keeps a dead flow until its DEL is acknowledged, hidden from dumps', () => {
    event('new', 1);
    event('new', 2);
    node.send();
    event('destroy', 1);
    node.send();
    expect(cached(node, INTERNAL)).toEqual(['dead 1', 'new 2']);
    const { shard, fn, arena } = node;
    expect(fn.shardSnapshot!(shard, 0, INTERNAL, arena.snapshots.buffer, 10)).toBe(1);
    // Sequences 1000 and 1001 were NEW, 1002 was the DEL.
    fn.senderAcknowledged!(arena.sender, 1000, 1001);
    expect(node.get(arena.sender + L.SENDER_REAP_COUNT)).toBe(0);
    fn.senderAcknowledged!(arena.sender, 1002, 1002);
    expect(node.get(arena.sender + L.SENDER_REAP_COUNT)).toBe(1);
    fn.shardReap!(shard, node.get(arena.sender + L.SENDER_REAP), 1);
    expect(cached(node, INTERNAL)).toEqual(['new 2']);
    checkShard(node);
  });

  it('lets a dead flow go with its DEL when nobody acknowledges (NOTRACK, ALARM)', () => {
    node.set(node.shard + L.SHARD_OPTIONS, 0);
    event('new', 1);
    said(node);
    event('destroy', 1);
    expect(cached(node, INTERNAL)).toEqual(['dead 1']);
    expect(said(node)).toEqual(['DEL 1']);
    expect(cached(node, INTERNAL)).toEqual([]);
    checkShard(node);
  });

  it('keeps events of unknown flows, repeated and foreign messages from doing anything', () => {
    event('destroy', 9);
    event('new', 1);
    event('destroy', 1);
    event('destroy', 1);
    expect(node.count(node.table(INTERNAL) + L.TABLE_DESTROYED)).toBe(1);
    expect(said(node)).toEqual(['DEL 1']);
    const other = kernelMessage('new', { n: 5 });
    other[4] = 5; // a message of the subsystem that is no flow event
    node.events(other, kernelMessage('new', { n: 6 }).subarray(0, 24));
    expect(node.count(node.shard + L.SHARD_EVENT_BAD)).toBe(1);
    expect(said(node)).toEqual([]);
    checkShard(node);
  });

  it('counts the traffic of flows that end', () => {
    event('new', 1);
    event('destroy', { n: 1, counters: { packets: 7, bytes: 700 } });
    event('destroy', { n: 1, counters: { packets: 7, bytes: 700 } });
    expect(node.count(node.shard + L.SHARD_TRAFFIC_PACKETS)).toBe(8);
    expect(node.count(node.shard + L.SHARD_TRAFFIC_BYTES)).toBe(710);
  });

  it('keeps flows of one tuple in different zones and families apart', () => {
    const flows: KernelFlow[] = [{ n: 1 }, { n: 1, zone: 5 }, { n: 1, v6: true }, { n: 1, l4: 17 }];
    for (const flow of flows) event('new', flow);
    expect(said(node)).toEqual(['NEW 1', 'NEW 1 zone 5', 'NEW 1v6', 'NEW 1']);
    event('destroy', { n: 1, zone: 5 });
    expect(said(node)).toEqual(['DEL 1 zone 5']);
    expect(cached(node, INTERNAL)).toEqual(['dead 1 zone 5', 'new 1', 'new 1', 'new 1v6']);
  });
});

describe('events of our own doing', () => {
  it.each(['commit', 'flush'] as const)('enter the cache and are not told: %s', (origin) => {
    event('new', 1, PORT[origin]);
    event('update', 1, PORT[origin]);
    expect(cached(node, INTERNAL)).toEqual(['alive 1']);
    event('new', 2);
    said(node);
    event('destroy', 1, PORT[origin]);
    event('destroy', 2, PORT[origin]);
    expect(cached(node, INTERNAL)).toEqual([]);
    expect(said(node)).toEqual([]);
    expect(node.count(node.table(INTERNAL) + L.TABLE_DESTROYED)).toBe(2);
  });

  it('are ignored when they are injections of what a peer said', () => {
    event('new', 1, PORT.inject);
    event('new', 2);
    event('destroy', 2, PORT.inject);
    expect(cached(node, INTERNAL)).toEqual(['new 2']);
    expect(said(node)).toEqual(['NEW 2']);
    expect(node.count(node.shard + L.SHARD_IGNORED)).toBe(2);
  });

  it('take a flow out of the transmit queue that our flush destroyed', () => {
    event('new', 1);
    event('new', 2);
    event('destroy', 1, PORT.flush);
    expect(cached(node, INTERNAL)).toEqual(['new 2', 'tomb 1']);
    expect(said(node)).toEqual(['NEW 2']);
    expect(cached(node, INTERNAL)).toEqual(['new 2']);
    checkShard(node);
  });

  it('are told by the port: port 0 is the kernel even when no socket is registered', () => {
    node.set(L.CONTROL_PORT_INJECT, 0);
    event('new', 1, 0);
    event('new', 2, 777);
    expect(said(node)).toEqual(['NEW 1', 'NEW 2']);
  });
});

describe('limits', () => {
  it('neither caches nor sends a flow beyond HashLimit, and takes it once there is room', () => {
    for (let n = 0; n < 300; n++) node.events(kernelMessage('new', { n }));
    expect(said(node)).toHaveLength(300);
    event('new', 900);
    event('update', 900);
    expect(said(node)).toEqual([]);
    expect(node.count(node.table(INTERNAL) + L.TABLE_NO_SPACE)).toBe(2);
    event('destroy', 5, PORT.flush);
    event('update', 900);
    expect(said(node)).toEqual(['NEW 900']);
  });

  it('counts what finds no side memory and corrupts nothing', () => {
    node.set(L.CONTROL_SIDE_END, node.sideStart + L.SIDE_CHUNK);
    for (let n = 0; n < 300; n++) node.events(kernelMessage('new', { n, v6: true }));
    const failed = node.count(node.table(INTERNAL) + L.TABLE_NO_MEMORY);
    expect(failed).toBe(300 - L.SIDE_CHUNK / L.V6_SIZE);
    checkShard(node);
    // A label has no place: the flow stays as it was, and the refusal counts.
    event('update', { n: 1, v6: true, labels: 3 });
    expect(node.count(node.table(INTERNAL) + L.TABLE_NO_MEMORY)).toBe(failed + 1);
    expect(node.fn.shardQueued!(node.shard)).toBe(L.SIDE_CHUNK / L.V6_SIZE);
    // A new flow on a known tuple that finds no memory takes the old one with it.
    event('new', { n: 1, v6: true, labels: 3 });
    expect(node.count(node.table(INTERNAL) + L.TABLE_NO_MEMORY)).toBe(failed + 2);
    expect(cached(node, INTERNAL).filter((line) => line.endsWith(' 1v6'))).not.toContain('new 1v6');
    checkShard(node);
    expect(said(node)).not.toContain('NEW 1v6');
    checkShard(node);
  });

  it('fills no datagram beyond the payload size, and splits no message', () => {
    node.set(node.shard + L.SHARD_PAYLOAD_MAX, 300);
    for (let n = 0; n < 100; n++) node.events(kernelMessage('new', { n, v6: n % 3 === 0 }));
    const list: string[] = [];
    for (;;) {
      const slots = node.pump(7);
      if (slots.length === 0) break;
      expect(slots.length).toBeLessThanOrEqual(7);
      for (const { out, handles } of slots) {
        expect(node.get(out + L.OUT_LENGTH)).toBeLessThanOrEqual(300);
        const messages = split(node.payload(out));
        expect(node.get(out + L.OUT_MESSAGES)).toBe(messages.length);
        messages.forEach((message, i) => {
          const name = say(node, message);
          list.push(name);
          node.fn.unpackFlow!(node.get(handles + 4 * i), node.flow);
          expect(node.bytes[node.flow + L.FLOW_ORIG + L.TUPLE_SRC + 3] === 0).toBe(
            name.endsWith('v6'),
          );
        });
      }
      checkShard(node);
    }
    expect(list).toEqual(
      Array.from({ length: 100 }, (_, n) => `NEW ${n}${n % 3 === 0 ? 'v6' : ''}`),
    );
  });

  it('drops and counts what fits no datagram, dead flows included, instead of looping', () => {
    node.set(node.shard + L.SHARD_PAYLOAD_MAX, 20);
    event('new', 1);
    event('new', 2);
    event('destroy', 2);
    expect(said(node)).toEqual([]);
    expect(node.count(node.shard + L.SHARD_OVERSIZED)).toBe(2);
    expect(node.fn.shardQueued!(node.shard)).toBe(0);
    expect(cached(node, INTERNAL)).toEqual(['new 1']);
    node.fn.shardBulk!(node.shard);
    expect(said(node)).toEqual([]);
    checkShard(node);
  });

  it('queues nothing when there is no peer', () => {
    node.set(node.shard + L.SHARD_OPTIONS, L.SHARD_SILENT);
    event('new', 1);
    event('update', 1);
    expect(said(node)).toEqual([]);
    event('destroy', 1);
    expect(cached(node, INTERNAL)).toEqual([]);
  });
});

describe('orders of main', () => {
  it('sends every living flow in bulk, behind what waits, each by its state', () => {
    for (let n = 0; n < 60; n++) node.events(kernelMessage('new', { n }));
    said(node);
    event('update', 3);
    event('destroy', 4);
    event('new', 100);
    node.fn.shardBulk!(node.shard);
    const list = said(node);
    expect(list.slice(0, 3)).toEqual(['UPD 3', 'DEL 4', 'NEW 100']);
    const rest = list.slice(3);
    expect(rest).toHaveLength(60);
    expect(rest.filter((line) => line.endsWith(' 3'))).toEqual(['UPD 3']);
    expect(rest).not.toContain('DEL 4');
    expect(rest).not.toContain('NEW 4');
    expect(new Set(rest).size).toBe(60);
    expect(said(node)).toEqual([]);
  });

  it('goes on with a bulk send after a pause, with events between its datagrams', () => {
    for (let n = 0; n < 200; n++) node.events(kernelMessage('new', { n }));
    said(node);
    node.fn.shardBulk!(node.shard);
    const list: string[] = [];
    for (let i = 0; i < 1000; i++) {
      const slots = node.pump(1);
      if (slots.length === 0) break;
      for (const { out } of slots) {
        for (const message of split(node.payload(out))) list.push(say(node, message));
      }
      if (i < 5) event('destroy', 199 - i);
      checkShard(node);
    }
    for (let n = 0; n < 195; n++)
      expect(list.filter((line) => line === `NEW ${n}`)).toHaveLength(1);
    for (let n = 195; n < 200; n++) expect(list).toContain(`DEL ${n}`);
  });

  it('queues again what a peer missed, and nothing that is gone', () => {
    event('new', 1);
    event('new', 2);
    event('new', 3);
    const records = node.records(INTERNAL);
    said(node);
    event('destroy', 1, PORT.flush);
    event('update', 2);
    node.putWords(node.arena.recordLists, records);
    node.fn.shardRequeue!(node.shard, node.arena.recordLists, 3);
    checkShard(node);
    expect(said(node)).toEqual(['UPD 2', 'NEW 3']);
  });

  it('reaps only what is dead and has nothing more to say', () => {
    for (const n of [1, 2, 3]) event('new', n);
    const records = node.records(INTERNAL);
    said(node);
    event('destroy', 1);
    said(node);
    event('destroy', 2);
    node.putWords(node.arena.recordLists, records);
    node.fn.shardReap!(node.shard, node.arena.recordLists, 3);
    expect(cached(node, INTERNAL)).toEqual(['dead 2', 'new 3']);
    expect(said(node)).toEqual(['DEL 2']);
    checkShard(node);
  });

  it('does not reap a flow that died again and whose second DEL is on its way', () => {
    event('new', 1);
    node.send();
    event('destroy', 1);
    node.send(); // DEL 1001
    const { sender } = node.arena;
    node.fn.senderAcknowledged!(sender, 1000, 1001);
    // Before main hands the list over, the tuple lives and dies once more.
    event('new', 1);
    node.send();
    event('destroy', 1);
    node.send();
    expect(node.get(sender + L.SENDER_REAP_COUNT)).toBe(1);
    node.fn.shardReap!(node.shard, node.get(sender + L.SENDER_REAP), 1);
    expect(cached(node, INTERNAL)).toEqual(['dead 1']);
    node.set(sender + L.SENDER_REAP_COUNT, 0);
    node.fn.senderAcknowledged!(sender, 1002, 1003);
    node.fn.shardReap!(node.shard, node.get(sender + L.SENDER_REAP), 1);
    expect(cached(node, INTERNAL)).toEqual([]);
  });

  it('flushes a cache without telling anyone, queue and bulk send included', () => {
    for (let n = 0; n < 50; n++) event('new', { n, v6: n % 2 === 0, labels: n });
    event('destroy', 7);
    node.fn.shardBulk!(node.shard);
    node.fn.shardFlush!(node.shard, INTERNAL);
    checkShard(node);
    expect(said(node)).toEqual([]);
    expect(node.records(INTERNAL)).toEqual([]);
    event('new', 7);
    expect(said(node)).toEqual(['NEW 7']);
  });

  it('copies living flows in slices, each once, with what the cache knows of them', () => {
    node.now = 5000;
    for (let n = 0; n < 40; n++) event('new', { n, v6: n % 2 === 1, mark: n });
    event('destroy', { n: 11, v6: true });
    node.send();
    node.now = 5100;
    event('update', { n: 12, mark: 99 });
    const { shard, fn, arena } = node;
    const marks: number[] = [];
    let cursor = 0;
    do {
      const count = fn.shardSnapshot!(shard, cursor, INTERNAL, arena.snapshots.buffer, 7);
      expect(count).toBeLessThanOrEqual(7);
      for (let i = 0; i < count; i++) {
        const at = arena.snapshots.buffer + i * L.SNAPSHOT_SIZE;
        const mark = node.get(at + L.FLOW_MARK);
        marks.push(mark);
        expect(node.get(at + L.SNAPSHOT_ADDED)).toBe(5000);
        expect(node.get(at + L.SNAPSHOT_STAMP)).toBe(mark === 99 ? 5100 : 5000);
        const state = node.bytes[at + L.SNAPSHOT_OBJECT]! & L.OBJECT_STATE;
        expect(state).toBe(mark === 99 ? L.OBJECT_ALIVE : L.OBJECT_NEW);
      }
      cursor = node.get(shard + L.SHARD_CURSOR);
    } while (cursor !== 0);
    const expected = Array.from({ length: 40 }, (_, n) => (n === 12 ? 99 : n));
    expect(marks.sort((a, b) => a - b)).toEqual(
      expected.filter((mark) => mark !== 11).sort((a, b) => a - b),
    );
  });
});

describe('recorded kernel events', () => {
  interface Vector {
    name: string;
    event: string;
    hex: string;
    decoded: { nlmsg?: { type: number } };
  }
  const file = new URL('../../vectors/ctnetlink-vectors.json', import.meta.url);
  const all = JSON.parse(readFileSync(file, 'utf8')) as Vector[];
  const flows = all.filter(({ event }) => ['NEW', 'UPDATE', 'DESTROY'].includes(event));

  it('pass through with the state of each flow as the last event left it', () => {
    expect(flows.length).toBeGreaterThan(50);
    const model = new Map<string, 'new' | 'alive' | 'dead'>();
    for (const vector of flows) {
      const message = fromHex(vector.hex);
      const record = applyAndFind(message);
      const kind = vector.event;
      const known = model.get(record.key);
      let expected: 'new' | 'alive' | 'dead' | undefined;
      if (kind === 'DESTROY') expected = known === undefined ? undefined : 'dead';
      // Nothing is sent before the end, so an update leaves a new flow new.
      else if (kind === 'NEW' || known === undefined || known === 'dead') expected = 'new';
      else expected = known;
      expect(record.state, vector.name).toBe(expected);
      if (expected) model.set(record.key, expected);
      checkShard(node);
    }
    const types = said(node).map((line) => line.slice(0, 3));
    const wanted = [...model.values()].map(
      (state) => ({ new: 'NEW', alive: 'UPD', dead: 'DEL' })[state],
    );
    expect(types.sort()).toEqual(wanted.sort());
  });

  /** Applies one event and looks its flow up. */
  function applyAndFind(message: Uint8Array): { key: string; state: string | undefined } {
    node.events(message);
    const { fn, flow, key, arena } = node;
    const at = arena.batches[0]!.slots;
    expect(fn.decodeFlow!(at, message.length, flow)).toBe(0);
    const present = node.get(flow + L.FLOW_PRESENT);
    const zoneAt = present & L.HAS_ZONE ? L.FLOW_ZONE : L.FLOW_ZONE_ORIG;
    const hasZone = (present & (L.HAS_ZONE | L.HAS_ZONE_ORIG)) !== 0;
    const zone = hasZone ? node.view.getUint16(flow + zoneAt, true) : 0;
    fn.keyOfTuple!(flow + L.FLOW_ORIG, zone, key);
    const record = fn.findRecord!(node.table(INTERNAL), key, flow);
    const name = Buffer.from(node.bytes.slice(key, key + 16)).toString('hex');
    if (record === 0) return { key: name, state: undefined };
    return { key: name, state: ['new', 'alive', 'dead'][node.state(record)] };
  }

  it('are listed from a batch and divided among shards by the tuple they are looked up by', () => {
    const { arena, fn } = node;
    const count = node.gather(flows.slice(0, 200).map(({ hex }) => fromHex(hex)));
    expect(count).toBe(Math.min(200, flows.length));
    const batch = arena.batches[0]!;
    const list = node.words(batch.flows, count);
    for (const message of list) {
      const zone = fn.peekTuple!(message, node.get(message), node.flow);
      fn.keyOfTuple!(node.flow, zone, node.key);
      const peeked = Buffer.from(node.bytes.slice(node.key, node.key + 16)).toString('hex');
      fn.decodeFlow!(message, node.get(message), node.flow);
      const present = node.get(node.flow + L.FLOW_PRESENT);
      const own = present & L.HAS_ZONE ? L.FLOW_ZONE : L.FLOW_ZONE_ORIG;
      const looked = present & (L.HAS_ZONE | L.HAS_ZONE_ORIG);
      const zoneOf = looked ? node.view.getUint16(node.flow + own, true) : 0;
      fn.keyOfTuple!(node.flow + L.FLOW_ORIG, zoneOf, node.key);
      expect(Buffer.from(node.bytes.slice(node.key, node.key + 16)).toString('hex')).toBe(peeked);
    }
    node.set(batch.counts, 0);
    fn.routeFlows!(batch.flows, count, 1, batch.routed, batch.counts, node.flow);
    expect(node.get(batch.counts)).toBe(count);
    expect(node.words(batch.routed, count)).toEqual(list);
  });
});
