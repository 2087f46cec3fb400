// A node's memory for the tests of the core: the arena the daemon itself lays out, with one shard,
// a sender and a receiver, and an instance of the module on it. Tests call the exports directly, so
// everything runs on this thread and nothing blocks.
//
// Laying out an arena reserves address space, so a test file makes one and resets it: reset() puts
// back every word as it was laid out.

import * as L from '../../../assembly/layout.js';
import { Arena, type ArenaLimits } from '../../../src/cache/arena.js';
import { compileModule } from '../../../src/cache/wasm.js';

let compiled: WebAssembly.Module | undefined;

export type Fn = Record<string, (...args: number[]) => number>;

export interface Limits extends Partial<ArenaLimits> {
  /** Buckets each table starts with, a power of two or not, at least 2. */
  buckets?: number;
  /** Chunks of side parts there are; as many as the daemon would lay out when left open. */
  sideChunks?: number;
  /** A peer of a pair compares its tables with the other's. */
  compare?: boolean;
}

export const INTERNAL = L.TABLE_INTERNAL;
export const EXTERNAL = L.TABLE_EXTERNAL;

export class TestNode {
  readonly arena: Arena;
  readonly fn: Fn;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly shard: number;
  readonly sideStart: number;
  /** Scratch for a wide Flow and, behind it, a key. */
  readonly flow: number;
  readonly key: number;
  /** Start and size of what a test may write and a reset must undo. */
  private readonly dirty: [number, number][];
  private readonly image: Map<number, number> = new Map();

  constructor(limits: Limits = {}) {
    this.arena = new Arena({
      shards: 1,
      hashLimit: 4096,
      resendQueueSize: 1024,
      payloadMax: 1400,
      shardOptions: L.SHARD_ACKNOWLEDGED,
      mode: L.MODE_FTFW,
      ackWindowSize: 300,
      firstSequence: 1000,
      digests: true,
      ...limits,
    });
    const { arena } = this;
    compiled ??= compileModule(process.env.FLOWTWIN_TEST_WASM);
    const instance = new WebAssembly.Instance(compiled, {
      env: { memory: arena.memory, abort: refuseAbort },
    });
    this.fn = instance.exports as unknown as Fn;
    this.bytes = arena.bytes;
    this.view = arena.view;
    this.shard = arena.shard(0);
    this.sideStart = arena.get(L.CONTROL_SIDE_NEXT);
    this.flow = arena.scratch;
    this.key = arena.scratch + 512;
    if (limits.buckets !== undefined) {
      for (const kind of [INTERNAL, EXTERNAL]) {
        arena.set(this.table(kind) + L.TABLE_BUCKETS, limits.buckets);
      }
    }
    if (limits.sideChunks !== undefined) {
      arena.set(L.CONTROL_SIDE_END, this.sideStart + limits.sideChunks * L.SIDE_CHUNK);
    }
    // Vary the secrets a test run, not a test: a failure must repeat with its seed.
    arena.set(L.CONTROL_SECRET, 0x9d3c5a17);
    arena.set(L.CONTROL_SECRET + 4, 0x1b873593);
    arena.set(L.CONTROL_SECRET + 8, 0x85ebca6b);
    arena.set(L.CONTROL_SECRET + 12, 0xc2b2ae35);
    this.now = 1000;
    this.dirty = [
      [0, arena.batches[0]!.headers],
      [arena.get(arena.sender + L.SENDER_RING), 4 * (arena.get(arena.sender + L.SENDER_MASK) + 1)],
      [arena.shardBase, this.bytes.length - arena.shardBase],
    ];
    for (const [start, size] of this.dirty) {
      for (let at = start / 4; at < (start + size) / 4; at++) {
        if (arena.u32[at] !== 0) this.image.set(at, arena.u32[at]!);
      }
    }
  }

  /**
   * Everything as it was laid out. Receive slots and lists keep their old bytes, as they do in the
   * daemon: nothing may read them beyond what was written anew.
   */
  reset(): this {
    for (const [start, size] of this.dirty) this.bytes.fill(0, start, start + size);
    for (const [index, word] of this.image) this.arena.u32[index] = word;
    return this;
  }

  table(kind: number): number {
    return this.arena.table(0, kind);
  }

  get(address: number): number {
    return this.arena.get(address);
  }

  set(address: number, value: number): void {
    this.arena.set(address, value);
  }

  /** A 64-bit counter as a number. */
  count(address: number): number {
    return Number(this.arena.counter(address));
  }

  get now(): number {
    return this.get(L.CONTROL_NOW);
  }

  set now(seconds: number) {
    this.set(L.CONTROL_NOW, seconds);
  }

  /** Copies `list` of words to `address`. */
  putWords(address: number, list: readonly number[]): void {
    list.forEach((word, index) => {
      this.set(address + 4 * index, word);
    });
  }

  words(address: number, count: number): number[] {
    return Array.from(this.arena.u32.slice(address / 4, address / 4 + count));
  }

  // ------------------------------------------------------------------------------ the shard

  /** Addresses of all records of a table that are not free, in the order of the slab. */
  records(kind: number): number[] {
    const table = this.table(kind);
    const base = this.get(table + L.TABLE_RECORDS);
    const used = this.get(table + L.TABLE_USED);
    const all = Array.from({ length: used }, (_, i) => base + i * L.RECORD_SIZE);
    return all.filter((record) => this.state(record) !== L.OBJECT_FREE);
  }

  state(record: number): number {
    return this.bytes[record + L.RECORD_OBJECT]! & L.OBJECT_STATE;
  }

  isTomb(record: number): boolean {
    return (this.bytes[record + L.RECORD_OBJECT]! & L.OBJECT_TOMB) !== 0;
  }

  isQueued(record: number): boolean {
    return (this.bytes[record + L.RECORD_OBJECT]! & L.OBJECT_QUEUED) !== 0;
  }

  /** Records in the transmit queue, in turn. */
  queue(): number[] {
    const { shard } = this;
    const size = this.get(shard + L.SHARD_QUEUE_SIZE);
    const queue = this.get(shard + L.SHARD_QUEUE);
    const list: number[] = [];
    let at = this.get(shard + L.SHARD_QUEUE_HEAD);
    while (at !== this.get(shard + L.SHARD_QUEUE_TAIL)) {
      list.push(this.get(queue + 4 * at));
      at = at + 1 === size ? 0 : at + 1;
    }
    return list;
  }

  /** Lists kernel messages as main does, each in a datagram of its own. */
  gather(messages: readonly Uint8Array[]): number {
    const { arena, fn } = this;
    const batch = arena.batches[0]!;
    if (messages.length > batch.count) throw new Error('more messages than a batch holds');
    messages.forEach((message, i) => {
      this.bytes.set(message, batch.slots + i * batch.slotSize);
      const header = batch.headers + i * L.MMSG_SIZE;
      this.set(header + L.MMSG_FLAGS, 0);
      this.set(header + L.MMSG_LEN, message.length);
    });
    fn.gatherBatch!(
      batch.headers,
      batch.slots,
      batch.slotSize,
      messages.length,
      batch.flows,
      batch.expects,
      arena.gather,
    );
    return this.get(arena.gather + L.GATHER_FLOWS);
  }

  events(...messages: Uint8Array[]): void {
    for (let i = 0; i < messages.length; i += 256) {
      const count = this.gather(messages.slice(i, i + 256));
      this.fn.shardEvents!(this.shard, this.arena.batches[0]!.flows, count);
    }
  }

  /** `tell`: TELL_*, or all (true) or nobody. */
  dump(tell: boolean | number, ...messages: Uint8Array[]): void {
    for (let i = 0; i < messages.length; i += 256) {
      const count = this.gather(messages.slice(i, i + 256));
      this.fn.shardDump!(this.shard, this.arena.batches[0]!.flows, count, Number(tell));
    }
  }

  /** Fills datagrams with what waits, at most `slots`; gives their addresses. */
  pump(slots = 64): { out: number; handles: number }[] {
    const { shard } = this;
    const filled = this.fn.shardPump!(shard, slots);
    const out = this.get(shard + L.SHARD_OUT);
    const size = this.get(shard + L.SHARD_OUT_SIZE);
    const handles = this.get(shard + L.SHARD_HANDLES);
    const most = this.get(shard + L.SHARD_HANDLES_SLOT);
    return Array.from({ length: filled }, (_, i) => ({
      out: out + i * size,
      handles: handles + i * most * 4,
    }));
  }

  /** The datagram in a filled slot. */
  payload(out: number): Uint8Array {
    const start = out + L.OUT_PAYLOAD;
    return this.bytes.slice(start, start + this.get(out + L.OUT_LENGTH));
  }

  /** Numbers what a pump filled and gives the datagrams. */
  send(): Uint8Array[] {
    const datagrams: Uint8Array[] = [];
    for (;;) {
      const slots = this.pump();
      if (slots.length === 0) return datagrams;
      for (const { out, handles } of slots) {
        this.fn.senderStamp!(this.arena.sender, out, handles);
        datagrams.push(this.payload(out));
      }
    }
  }

  /** Applies flow messages of a peer to the external cache. */
  messages(...messages: Uint8Array[]): void {
    const { link, messageLists } = this.arena;
    const most = Math.min(link.count, 256);
    for (let from = 0; from < messages.length; from += most) {
      const some = messages.slice(from, from + most);
      some.forEach((message, i) => {
        const at = link.slots + i * link.slotSize;
        this.bytes.set(message, at);
        this.set(messageLists + 4 * i, at);
      });
      this.fn.shardMessages!(this.shard, messageLists, some.length, 0);
    }
  }
}

/** The messages of a datagram. */
export function split(datagram: Uint8Array): Uint8Array[] {
  const list: Uint8Array[] = [];
  for (let at = 0; at < datagram.length; ) {
    const size = (datagram[at + 2]! << 8) | datagram[at + 3]!;
    if (size < 8) throw new Error('a message without a length');
    list.push(datagram.subarray(at, at + size));
    at += size;
  }
  return list;
}

function refuseAbort(): never {
  throw new Error('the module aborted');
}
