// The memory of the data path, laid out once at start.
//
// Main makes the arena from the limits of the configuration: it knows then how large every slab,
// ring and list can ever become, so nothing moves and nothing grows afterwards. Address space is
// cheap: a page that no flow has used yet costs no memory. One WebAssembly memory ends at 4 GiB.
//
// The picture of the whole is in assembly/layout.ts, "Memory map".

import { randomFillSync } from 'node:crypto';
import * as E from '../../assembly/expect-layout.js';
import * as L from '../../assembly/layout.js';
import { PAGE } from './wasm.js';

export interface ArenaLimits {
  /** Shards the flows are divided among, at least 1. */
  shards: number;
  /** HashLimit: objects in all internal tables, and as many in all external ones. */
  hashLimit: number;
  /** ResendQueueSize, in messages. */
  resendQueueSize: number;
  /** Most payload bytes in one datagram of the dedicated link. */
  payloadMax: number;
  /** SHARD_* option bits every shard runs with. */
  shardOptions: number;
  /** MODE_* of the receiver. */
  mode: number;
  /** ACKWindowSize, in messages. */
  ackWindowSize: number;
  /** First sequence number this node sends. */
  firstSequence: number;
  /** Flows that are followed, compiled (cache/filter.ts). Left out: all. */
  filter?: Uint8Array;
  /** Expectations are replicated. Left out: they are not, and take no memory. */
  expectations?: ExpectationLimits;
  /** Digests of the tables are kept, so that nodes can compare them. Left out: they are not. */
  digests?: boolean;
  /** The dedicated link is a multicast group: senders are told apart. */
  multicast?: boolean;
  /** Dedicated links over TCP. Left out: none. */
  streams?: number;
  /** ErrorQueueLength: datagrams kept while no stream is connected. */
  errorQueueLength?: number;
}

export interface ExpectationLimits {
  /** Helpers whose expectations are followed, by the beginning of their names; none: all. */
  helpers: readonly string[];
  /** The internal cache holds no flows: a master is not looked for in it. */
  orphans: boolean;
}

/** Slots for datagrams, one after the other. */
export interface SlotArea {
  slots: number;
  slotSize: number;
  count: number;
}

/** struct mmsghdr[] with one iovec and one payload slot each. */
export interface MessageVector {
  headers: number;
  slots: number;
  slotSize: number;
  count: number;
}

/** A batch of kernel events on its way: where it was received and how it was listed. */
export interface EventBatch extends MessageVector {
  flows: number;
  expects: number;
  /** Lists per shard, LIST_MAX entries apart. */
  routed: number;
  counts: number;
}

const EVENT_SLOT = 1024; // bytes; the largest event the kernel makes is about 700
const EVENT_COUNT = 256; // datagrams a recvmmsg
const LINK_SLOT = 65536; // the largest datagram there is; only touched pages count
const LINK_COUNT = 256;
const OUT_SLOTS = 64;
const SEND_COUNT = 64;
const SMALLEST_FLOW = 40; // bytes of the smallest flow message
const IOVEC = 16;
const FIRST_BUCKETS = 64;
const DUMP_BUFFER = 65536; // the kernel fills up to 32 KiB when it is offered this much
const LARGE_PAGE = 2 * 2 ** 20;
const REQUEST_BUFFER = 256 * 1024;
const REQUEST_COUNT = 256;
const SNAPSHOT_COUNT = 2048;
/** Room for a filter that replaces the first one: some thousand addresses at least. */
const FILTER_ROOM = 256 * 1024;
const EXPECT_SNAPSHOT_COUNT = 256;

/** The limits ask for more than one WebAssembly memory holds. */
export class ArenaTooLarge extends Error {}

export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
  readonly view: DataView;

  readonly shardBase: number;
  readonly shardStride: number;
  readonly shardCapacity: number;
  readonly rings: number[] = [];
  readonly batches: EventBatch[] = [];
  readonly link: MessageVector;
  /** Lists per shard of sync messages, and their counts. */
  readonly messageLists: number;
  readonly messageCounts: number;
  /** Lists per shard of the kernel's expectation messages, and their counts. */
  readonly expectLists: number;
  readonly expectCounts: number;
  /** Lists per shard of records to reap or to send again, and their counts. */
  readonly recordLists: number;
  readonly recordCounts: number;
  readonly sender: number;
  readonly receiver: number;
  /** What is known of each sender's numbers: PEERS_MAX entries. */
  readonly peers: number;
  /** Names of the senders of the datagrams in `link`. */
  readonly names: number;
  /** Result of listing netlink messages. */
  readonly gather: number;
  readonly scratch: number;
  /** 32 pollfds. */
  readonly pollfds: number;
  /** struct mmsghdr[] and iovecs for sending; payloads lie anywhere in the arena. */
  readonly outgoing: { headers: number; iovecs: number; count: number };
  /** A datagram of control messages. */
  readonly control: number;
  /** A datagram of a kernel dump, its messages listed, and the lists per shard. */
  readonly dump: {
    buffer: number;
    size: number;
    flows: number;
    expects: number;
    routed: number;
    counts: number;
  };
  readonly requests: {
    buffer: number;
    size: number;
    handles: number;
    count: number;
    reply: number;
    replySize: number;
  };
  readonly snapshots: { buffer: number; count: number };
  readonly expectSnapshots: { buffer: number; count: number };
  /** A batch of messages for the kernel: their list, and a row for each. */
  readonly injection: { list: number; rows: number };
  /** Ranges of flows, a bit each: those said again, and those in doubt. */
  readonly ranges: { said: number; doubted: number };
  /** Per TCP link, LINK_SLOT bytes: the message whose end has not arrived yet. */
  readonly carries: number[] = [];
  /** What TCP links could not send yet; one area for all of them. */
  readonly backlog: SlotArea;
  /**
   * What grows with the flows and is read all over: each index, each slab of records, the side parts.
   * Their first LARGE_PAGE bytes are left out: small tables stay small.
   */
  readonly growing: { start: number; length: number }[] = [];
  /** Two places for the filter: one in force, one for the next. */
  private readonly filters: { places: [number, number]; room: number };

  constructor(readonly limits: ArenaLimits) {
    const plan = new Plan();
    const { shards } = limits;
    plan.reserve(L.CONTROL_SIZE);
    this.sender = plan.reserve(L.SENDER_SIZE);
    this.receiver = plan.reserve(L.RECEIVER_SIZE);
    this.peers = plan.reserve(L.PEERS_MAX * L.PEER_SIZE);
    this.names = plan.reserve(LINK_COUNT * L.NAME_SIZE);
    this.gather = plan.reserve(L.GATHER_SIZE);
    this.scratch = plan.reserve(1024);
    this.pollfds = plan.reserve(32 * 8);
    this.control = plan.reserve(2048);
    this.outgoing = {
      headers: plan.reserve(SEND_COUNT * L.MMSG_SIZE),
      iovecs: plan.reserve(SEND_COUNT * IOVEC),
      count: SEND_COUNT,
    };
    const batches = shards > 1 ? 8 : 2;
    for (let i = 0; i < batches; i++) {
      this.batches.push({
        ...vector(plan, EVENT_COUNT, EVENT_SLOT),
        flows: plan.reserve(L.LIST_MAX * 4),
        expects: plan.reserve(L.LIST_MAX * 4),
        routed: plan.reserve(shards * L.LIST_MAX * 4),
        counts: plan.reserve(shards * 4),
      });
    }
    this.link = vector(plan, LINK_COUNT, LINK_SLOT);
    this.messageLists = plan.reserve(shards * L.LIST_MAX * 4);
    this.messageCounts = plan.reserve(shards * 4);
    const { expectations } = limits;
    this.expectLists = plan.reserve(expectations === undefined ? 0 : shards * L.LIST_MAX * 4);
    this.expectCounts = plan.reserve(shards * 4);
    const prefixes = plan.reserve((expectations?.helpers.length ?? 0) * E.EXPECT_PREFIX);
    this.recordLists = plan.reserve(shards * L.LIST_MAX * 4);
    this.recordCounts = plan.reserve(shards * 4);
    this.dump = {
      buffer: plan.reserve(DUMP_BUFFER),
      size: DUMP_BUFFER,
      flows: plan.reserve(L.LIST_MAX * 4),
      expects: plan.reserve(L.LIST_MAX * 4),
      routed: plan.reserve(shards * L.LIST_MAX * 4),
      counts: plan.reserve(shards * 4),
    };
    this.requests = {
      buffer: plan.reserve(REQUEST_BUFFER),
      size: REQUEST_BUFFER,
      handles: plan.reserve(REQUEST_COUNT * 4),
      count: REQUEST_COUNT,
      reply: plan.reserve(8192),
      replySize: 8192,
    };
    this.snapshots = {
      buffer: plan.reserve(SNAPSHOT_COUNT * L.SNAPSHOT_SIZE),
      count: SNAPSHOT_COUNT,
    };
    const bitmap = limits.digests ? L.DIGEST_RANGES / 8 : 0;
    this.ranges = { said: plan.reserve(bitmap), doubted: plan.reserve(bitmap) };
    this.injection = {
      list: plan.reserve(L.INJECT_BATCH * 4),
      rows: plan.reserve(L.INJECT_SIZE),
    };
    const expectSnapshots = expectations === undefined ? 0 : EXPECT_SNAPSHOT_COUNT;
    this.expectSnapshots = {
      buffer: plan.reserve(expectSnapshots * E.EXPECT_ENTRY_SIZE),
      count: expectSnapshots,
    };
    const { streams = 0 } = limits;
    for (let i = 0; i < streams; i++) this.carries.push(plan.reserve(LINK_SLOT));
    const slotSize = roundUp(limits.payloadMax, 64);
    const kept = streams === 0 ? 0 : Math.max(1, limits.errorQueueLength ?? 1);
    this.backlog = { slots: plan.reserve(kept * slotSize), slotSize, count: kept };

    const filterRoom = Math.max(FILTER_ROOM, 2 * (limits.filter?.length ?? 0));
    this.filters = {
      places: [plan.reserve(filterRoom), plan.reserve(filterRoom)],
      room: filterRoom,
    };

    const ringSize = powerOfTwo(limits.resendQueueSize + 1);
    const senderLists = {
      ring: plan.reserve(ringSize * 4),
      bits: limits.multicast ? plan.reserve(ringSize * 2) : 0,
      controls: plan.reserve(L.CONTROL_SLOTS * L.CONTROL_SLOT_SIZE),
      reap: plan.reserve((ringSize + L.LIST_MAX) * 4),
      again: plan.reserve((ringSize + L.LIST_MAX) * 4),
      controlAgain: plan.reserve((ringSize + L.LIST_MAX) * 4),
    };
    const receiverLists = {
      flows: plan.reserve(L.LIST_MAX * 4),
      expects: plan.reserve(L.LIST_MAX * 4),
      actions: plan.reserve(L.ACTIONS_MAX * L.ACTION_SIZE),
    };

    for (let i = 0; i < shards; i++) this.rings.push(plan.reserve(L.RING_SIZE));

    // Flows divide among shards by hash, so no shard gets much more than its share.
    this.shardCapacity =
      shards === 1
        ? limits.hashLimit
        : Math.min(limits.hashLimit, Math.ceil((limits.hashLimit / shards) * 1.25) + 1024);
    plan.align(PAGE);
    this.shardBase = plan.end;
    const layouts: ShardLayout[] = [];
    for (let i = 0; i < shards; i++) {
      layouts.push(layShard(plan, this.shardCapacity, limits));
      plan.align(PAGE);
    }
    this.shardStride = (plan.end - this.shardBase) / shards;

    const sideStart = plan.end;
    const sideWanted = 2 * limits.hashLimit * (L.V6_SIZE + L.EXTRA_SIZE) + shards * 64 * 1024;
    const most = 65536 * PAGE;
    if (sideStart + PAGE > most) {
      throw new ArenaTooLarge(
        `HashLimit ${limits.hashLimit} needs ${(sideStart / 2 ** 30).toFixed(1)} GiB of flow ` +
          'tables; one WebAssembly memory holds 4 GiB, about 18 million flows in each cache',
      );
    }
    const pages = Math.min(65536, Math.ceil((sideStart + sideWanted) / PAGE));
    for (const { heads, records } of layouts) {
      for (const start of heads) this.notePart(start, this.shardCapacity * 4);
      for (const start of records) this.notePart(start, this.shardCapacity * L.RECORD_SIZE);
    }
    this.notePart(sideStart, pages * PAGE - sideStart);
    this.memory = makeMemory(pages);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.u32 = new Uint32Array(this.memory.buffer);
    this.i32 = new Int32Array(this.memory.buffer);
    this.u64 = new BigUint64Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);

    // Atomics on a copy: crypto refuses shared buffers.
    const secret = randomFillSync(new Uint8Array(16));
    this.bytes.set(secret, L.CONTROL_SECRET);
    this.set(L.CONTROL_SIDE_NEXT, sideStart);
    // Room behind the end, so that shards asking past it at the same time never wrap to 0.
    this.set(L.CONTROL_SIDE_END, Math.min(pages * PAGE, 2 ** 32 - 64 * L.SIDE_CHUNK));
    this.set(L.CONTROL_LIMIT, limits.hashLimit);
    this.set(L.CONTROL_LIMIT + 4, limits.hashLimit);
    this.setFilter(limits.filter);
    layouts.forEach((layout, index) => {
      this.initShard(layout, index);
    });
    if (expectations !== undefined) this.initExpectations(expectations, layouts, prefixes);
    this.initSender(senderLists, ringSize);
    this.initReceiver(receiverLists);
  }

  private notePart(start: number, length: number): void {
    if (length <= LARGE_PAGE) return;
    this.growing.push({ start: start + LARGE_PAGE, length: length - LARGE_PAGE });
  }

  /**
   * Puts a compiled filter, or none, in force; false when it is too large. The one before stays
   * readable: shards may be using it until they have come past this moment.
   */
  setFilter(filter: Uint8Array | undefined): boolean {
    if (filter === undefined) {
      this.set(L.CONTROL_FILTER, 0);
      return true;
    }
    const { places, room } = this.filters;
    if (filter.length > room) return false;
    const place = this.get(L.CONTROL_FILTER) === places[0] ? places[1] : places[0];
    this.bytes.set(filter, place);
    this.set(L.CONTROL_FILTER, place);
    return true;
  }

  get(address: number): number {
    return this.u32[address >>> 2]!;
  }

  set(address: number, value: number): void {
    this.u32[address >>> 2] = value;
  }

  /** A 64-bit counter. */
  counter(address: number): bigint {
    return this.u64[address / 8]!;
  }

  shard(index: number): number {
    return this.shardBase + index * this.shardStride;
  }

  table(shard: number, kind: number): number {
    return this.shard(shard) + L.SHARD_TABLES + kind * L.TABLE_SIZE;
  }

  /** The table of expectations; its fields are those of TABLE_*. */
  expectTable(shard: number, kind: number): number {
    return this.shard(shard) + E.SHARD_EXPECTS + kind * L.TABLE_SIZE;
  }

  /** Sum of a 64-bit counter over all shards. */
  sumShards(offset: number): bigint {
    let sum = 0n;
    for (let i = 0; i < this.limits.shards; i++) sum += this.counter(this.shard(i) + offset);
    return sum;
  }

  /** Sum of a table's 32-bit field over all shards. */
  sumTables(kind: number, offset: number): number {
    let sum = 0;
    for (let i = 0; i < this.limits.shards; i++) sum += this.get(this.table(i, kind) + offset);
    return sum;
  }

  /** Sum of a table's 64-bit counter over all shards. */
  sumTableCounters(kind: number, offset: number): bigint {
    let sum = 0n;
    for (let i = 0; i < this.limits.shards; i++) sum += this.counter(this.table(i, kind) + offset);
    return sum;
  }

  /** Points the headers of `vector` at their payload slots; `base` is the arena's address. */
  armVector(vector: MessageVector, base: number): void {
    const iovecs = vector.headers + vector.count * L.MMSG_SIZE;
    for (let i = 0; i < vector.count; i++) {
      const header = vector.headers + i * L.MMSG_SIZE;
      const iovec = iovecs + i * IOVEC;
      this.setPointer(header + L.MMSG_IOV, base + iovec);
      this.setPointer(header + L.MMSG_IOVLEN, 1);
      this.setPointer(iovec, base + vector.slots + i * vector.slotSize);
      this.setPointer(iovec + 8, vector.slotSize);
    }
  }

  /** Has the kernel tell who sent what arrives in `link`. */
  armNames(base: number): void {
    for (let i = 0; i < this.link.count; i++) {
      const header = this.link.headers + i * L.MMSG_SIZE;
      this.setPointer(header + L.MMSG_NAME, base + this.names + i * L.NAME_SIZE);
      this.set(header + L.MMSG_NAMELEN, L.NAME_SIZE);
    }
  }

  /** An entry of the list of peers. */
  peer(index: number): number {
    return this.peers + index * L.PEER_SIZE;
  }

  /** Points outgoing header `i` at `length` bytes at `address`. */
  armOutgoing(i: number, base: number, address: number, length: number): void {
    const header = this.outgoing.headers + i * L.MMSG_SIZE;
    const iovec = this.outgoing.iovecs + i * IOVEC;
    this.setPointer(header + L.MMSG_IOV, base + iovec);
    this.setPointer(header + L.MMSG_IOVLEN, 1);
    this.setPointer(iovec, base + address);
    this.setPointer(iovec + 8, length);
  }

  /** Address of what outgoing header `i` points at; `base` as it was armed with. */
  outgoingAddress(i: number, base: number): number {
    const at = (this.outgoing.iovecs + i * IOVEC) >>> 2;
    return this.u32[at + 1]! * 2 ** 32 + this.u32[at]! - base;
  }

  /** Bytes outgoing header `i` points at. */
  outgoingLength(i: number): number {
    return this.get(this.outgoing.iovecs + i * IOVEC + 8);
  }

  /** A 64-bit word; pointers of this machine fit 53 bits. */
  private setPointer(address: number, value: number): void {
    this.u32[address >>> 2] = value >>> 0;
    this.u32[(address >>> 2) + 1] = Math.floor(value / 2 ** 32);
  }

  private initShard(layout: ShardLayout, index: number): void {
    const { limits } = this;
    const shard = layout.context;
    this.set(shard + L.SHARD_INDEX, index);
    this.set(shard + L.SHARD_OPTIONS, limits.shardOptions);
    this.set(shard + L.SHARD_QUEUE, layout.queue);
    // One place per record, flow or expectation.
    const expects = limits.expectations === undefined ? 0 : expectCapacity(limits);
    this.set(shard + L.SHARD_QUEUE_SIZE, this.shardCapacity + expects + 1);
    this.set(shard + L.SHARD_OUT, layout.out);
    this.set(shard + L.SHARD_OUT_SIZE, layout.outSize);
    this.set(shard + L.SHARD_OUT_SLOTS, OUT_SLOTS);
    this.set(shard + L.SHARD_PAYLOAD_MAX, limits.payloadMax);
    this.set(shard + L.SHARD_HANDLES, layout.handles);
    this.set(shard + L.SHARD_HANDLES_SLOT, layout.handlesSlot);
    this.set(shard + L.SHARD_REPORT_RING, layout.reports);
    for (let kind = 0; kind < 2; kind++) {
      const table = shard + L.SHARD_TABLES + kind * L.TABLE_SIZE;
      this.set(table + L.TABLE_KIND, kind);
      this.set(table + L.TABLE_RECORDS, layout.records[kind]!);
      this.set(table + L.TABLE_CAPACITY, this.shardCapacity);
      this.set(table + L.TABLE_HEADS, layout.heads[kind]!);
      this.set(table + L.TABLE_DIGESTS, layout.digests[kind]!);
      this.set(table + L.TABLE_SHARES, kind === L.TABLE_EXTERNAL ? layout.shares : 0);
      this.set(table + L.TABLE_BUCKETS, FIRST_BUCKETS);
      this.set(table + L.TABLE_BUCKETS_MAX, Math.max(FIRST_BUCKETS, this.shardCapacity));
    }
  }

  private initExpectations(
    { helpers, orphans }: ExpectationLimits,
    layouts: readonly ShardLayout[],
    prefixes: number,
  ): void {
    helpers.forEach((helper, i) => {
      const name = new TextEncoder().encode(helper.toLowerCase()).subarray(0, E.EXPECT_PREFIX);
      this.bytes.set(name, prefixes + i * E.EXPECT_PREFIX);
    });
    layouts.forEach(({ context, expects, waiters }, shard) => {
      this.set(context + E.SHARD_EXPECT_WAITERS, waiters);
      this.set(context + E.SHARD_EXPECT_HELPERS, prefixes);
      this.set(context + E.SHARD_EXPECT_HELPER_COUNT, helpers.length);
      this.set(context + E.SHARD_EXPECT_ORPHANS, orphans ? 1 : 0);
      expects.forEach(({ heads, entries }, kind) => {
        const table = this.expectTable(shard, kind);
        this.set(table + L.TABLE_KIND, kind);
        this.set(table + L.TABLE_RECORDS, entries);
        this.set(table + L.TABLE_CAPACITY, expectCapacity(this.limits));
        this.set(table + L.TABLE_HEADS, heads);
      });
    });
  }

  private initSender(
    lists: {
      ring: number;
      bits: number;
      controls: number;
      reap: number;
      again: number;
      controlAgain: number;
    },
    ringSize: number,
  ): void {
    const { limits, sender } = this;
    this.set(sender + L.SENDER_NEXT, limits.firstSequence);
    this.set(sender + L.SENDER_TAIL, limits.firstSequence);
    this.set(sender + L.SENDER_LIMIT, limits.resendQueueSize);
    this.set(sender + L.SENDER_RING, lists.ring);
    this.set(sender + L.SENDER_MASK, ringSize - 1);
    this.set(sender + L.SENDER_BITS, lists.bits);
    this.set(sender + L.SENDER_CONTROLS, lists.controls);
    this.set(sender + L.SENDER_TRACKED, limits.mode === L.MODE_FTFW ? 1 : 0);
    this.set(sender + L.SENDER_REAP, lists.reap);
    this.set(sender + L.SENDER_AGAIN, lists.again);
    this.set(sender + L.SENDER_CONTROL_AGAIN, lists.controlAgain);
  }

  private initReceiver(lists: { flows: number; expects: number; actions: number }): void {
    const { limits, receiver } = this;
    this.set(receiver + L.RECEIVER_MODE, limits.mode);
    this.set(receiver + L.RECEIVER_WINDOW_SIZE, limits.ackWindowSize);
    this.set(receiver + L.RECEIVER_PEERS, this.peers);
    this.set(receiver + L.RECEIVER_CURRENT, this.peers);
    if (limits.multicast) {
      this.set(receiver + L.RECEIVER_NAMES, this.names);
    } else {
      this.set(this.peers + L.PEER_USED, 1);
      this.set(this.peers + L.PEER_WINDOW, limits.ackWindowSize);
    }
    this.set(receiver + L.RECEIVER_FLOWS, lists.flows);
    this.set(receiver + L.RECEIVER_EXPECTS, lists.expects);
    this.set(receiver + L.RECEIVER_ACTIONS, lists.actions);
  }
}

interface ShardLayout {
  context: number;
  records: [number, number];
  heads: [number, number];
  /** Digests of each table, or 0. */
  digests: [number, number];
  /** Shares of the members of a group in the external one's, or 0. */
  shares: number;
  queue: number;
  out: number;
  outSize: number;
  handles: number;
  handlesSlot: number;
  /** Internal and external expectations, if they are replicated. */
  expects: { heads: number; entries: number }[];
  /** Expectations that wait for their master, or 0. */
  waiters: number;
  /** Ring of ended flows, or 0. */
  reports: number;
}

function layShard(plan: Plan, capacity: number, limits: ArenaLimits): ShardLayout {
  const context = plan.reserve(L.SHARD_SIZE);
  const outSize = roundUp(L.OUT_PAYLOAD + limits.payloadMax, 64);
  const handlesSlot = Math.ceil(limits.payloadMax / SMALLEST_FLOW) + 1;
  const out = plan.reserve(OUT_SLOTS * outSize);
  const handles = plan.reserve(OUT_SLOTS * handlesSlot * 4);
  const heads: [number, number] = [0, 0];
  const records: [number, number] = [0, 0];
  const digests: [number, number] = [0, 0];
  for (const kind of [L.TABLE_INTERNAL, L.TABLE_EXTERNAL]) {
    heads[kind] = plan.reserve(Math.max(FIRST_BUCKETS, capacity) * 4);
    records[kind] = plan.reserve(capacity * L.RECORD_SIZE);
    if (hasDigests(limits, kind)) digests[kind] = plan.reserve(L.DIGEST_SIZE);
  }
  const shared = limits.multicast && digests[L.TABLE_EXTERNAL] !== 0;
  const shares = shared ? plan.reserve(L.SHARES_SIZE) : 0;
  const more = limits.expectations === undefined ? 0 : expectCapacity(limits);
  const queue = plan.reserve((capacity + more + 1) * 4);
  // Behind the flows: the bulk send goes through both, upwards.
  const expects = [];
  for (let kind = 0; kind < 2 && more > 0; kind++) {
    const heads = plan.reserve(E.EXPECT_BUCKETS * 4);
    expects.push({ heads, entries: plan.reserve(more * E.EXPECT_ENTRY_SIZE) });
  }
  const waiters = more > 0 ? plan.reserve(E.WAITERS_MAX * E.WAITER_SIZE) : 0;
  const reporting = (limits.shardOptions & L.SHARD_REPORT) !== 0;
  const reports = reporting ? plan.reserve(L.REPORT_SLOTS * L.FLOW_SIZE) : 0;
  return {
    ...{ context, records, heads, digests, shares, queue },
    ...{ out, outSize, handles, handlesSlot, expects, waiters, reports },
  };
}

/** Digests are of a cache: not of its stand-in when it is disabled. */
function hasDigests({ digests, shardOptions }: ArenaLimits, kind: number): boolean {
  const disabled = kind === L.TABLE_INTERNAL ? L.SHARD_BYPASS : L.SHARD_INJECT;
  return digests === true && (shardOptions & disabled) === 0;
}

/** Expectations that fit each table of a shard. */
function expectCapacity(limits: ArenaLimits): number {
  return Math.min(limits.hashLimit, E.EXPECT_CAPACITY);
}

function vector(plan: Plan, count: number, slotSize: number): MessageVector {
  const headers = plan.reserve(count * (L.MMSG_SIZE + IOVEC));
  plan.align(4096);
  return { headers, slots: plan.reserve(count * slotSize), slotSize, count };
}

/** Hands out addresses one after the other. */
class Plan {
  end = 0;

  /** Start of `bytes` fresh bytes, on a cache line. */
  reserve(bytes: number): number {
    this.align(64);
    const start = this.end;
    this.end += bytes;
    return start;
  }

  align(to: number): void {
    this.end = roundUp(this.end, to);
  }
}

function makeMemory(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new Error(
      `cannot reserve ${Math.ceil((pages * PAGE) / 2 ** 20)} MiB of address space for the flow ` +
        'tables: the limit on it (ulimit -v) must be at least 12 GiB more than that',
      { cause },
    );
  }
}

function roundUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

function powerOfTwo(atLeast: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(2, atLeast)));
}
