// Loading the WebAssembly module. One compiled module serves every thread; each thread makes its
// own instance on the same shared memory. Instances hold no state of their own: the module has no
// data segments and no mutable globals, so two instances can never disagree.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Size of a WebAssembly page in bytes. */
export const PAGE = 65536;

/** Where the build leaves the module: dist/, seen from src/cache/ or from dist/src/cache/. */
const BUILT = new URL(
  import.meta.url.includes('/dist/src/') ? '../../flowtwin.wasm' : '../../dist/flowtwin.wasm',
  import.meta.url,
);

/** What the module exports. Documentation of each stands with it in assembly/. Results are i32. */
export interface Core {
  decodeFlow(message: number, length: number, flow: number): number;
  decodeSync(message: number, length: number, flow: number, options: number): number;
  filterPasses(filter: number, flow: number, destroy: number): number;
  decodeExpect(message: number, length: number, expect: number): number;
  encodeRequest(
    flow: number,
    out: number,
    room: number,
    kind: number,
    sequence: number,
    flags: number,
    options: number,
  ): number;
  gatherBatch(
    headers: number,
    slots: number,
    slotSize: number,
    count: number,
    flows: number,
    expects: number,
    result: number,
  ): void;
  gatherDatagram(
    datagram: number,
    length: number,
    flows: number,
    expects: number,
    result: number,
  ): void;
  routeFlows(
    entries: number,
    count: number,
    shards: number,
    lists: number,
    counts: number,
    scratch: number,
  ): void;
  routeMessages(
    entries: number,
    count: number,
    shards: number,
    lists: number,
    counts: number,
    scratch: number,
    wireOptions: number,
  ): void;
  routeRecords(
    entries: number,
    count: number,
    base: number,
    stride: number,
    lists: number,
    counts: number,
  ): void;
  deleteRequests(
    entries: number,
    count: number,
    flow: number,
    out: number,
    room: number,
    sequence: number,
  ): number;
  receiveBatch(
    receiver: number,
    headers: number,
    slots: number,
    slotSize: number,
    first: number,
    count: number,
  ): number;
  frameLengthStream(ptr: number, remain: number): number;
  receiverTick(receiver: number, index: number): number;
  senderStamp(sender: number, out: number, handles: number): void;
  senderControl(sender: number, out: number, flags: number, from: number, to: number): number;
  senderControlAgain(sender: number, out: number, index: number): number;
  senderAcknowledged(sender: number, from: number, to: number, bit: number): void;
  senderPeers(sender: number, required: number): void;
  senderMissed(sender: number, from: number, to: number): void;
  senderForget(sender: number): void;
  shardEvents(shard: number, list: number, count: number): void;
  shardDumpBegin(shard: number): void;
  shardDump(shard: number, list: number, count: number, tell: number): void;
  shardDumpEnd(shard: number, purge: number, replicate: number, slice: number): number;
  shardPump(shard: number, slots: number): number;
  shardQueued(shard: number): number;
  shardBulk(shard: number): void;
  shardRequeue(shard: number, list: number, count: number): void;
  shardReap(shard: number, list: number, count: number): void;
  shardMessages(shard: number, list: number, count: number, wireOptions: number): void;
  shardCommit(
    shard: number,
    cursor: number,
    pass: number,
    out: number,
    room: number,
    handles: number,
    most: number,
    sequence: number,
    fixedTimeout: number,
  ): number;
  shardCommitAgain(
    shard: number,
    list: number,
    count: number,
    out: number,
    room: number,
    sequence: number,
    fixedTimeout: number,
  ): number;
  routeExpects(
    entries: number,
    count: number,
    shards: number,
    lists: number,
    counts: number,
    scratch: number,
    wire: number,
  ): void;
  deleteExpectRequests(
    entries: number,
    count: number,
    expect: number,
    out: number,
    room: number,
    sequence: number,
  ): number;
  injectExpectRequests(
    message: number,
    expect: number,
    out: number,
    room: number,
    sequence: number,
  ): number;
  shardExpectEvents(shard: number, list: number, count: number): void;
  shardExpectDump(
    shard: number,
    list: number,
    count: number,
    visit: number,
    replicate: number,
  ): void;
  shardExpectPurge(shard: number, visit: number, replicate: number): void;
  shardExpectMessages(shard: number, list: number, count: number): void;
  shardExpectCommit(
    shard: number,
    cursor: number,
    out: number,
    room: number,
    handles: number,
    most: number,
    sequence: number,
    fixedTimeout: number,
  ): number;
  shardExpectCommitAgain(
    shard: number,
    list: number,
    count: number,
    out: number,
    room: number,
    sequence: number,
    fixedTimeout: number,
  ): number;
  shardExpectSnapshot(
    shard: number,
    cursor: number,
    kind: number,
    out: number,
    most: number,
  ): number;
  shardExpectRefresh(shard: number): void;
  shardExpectExpire(shard: number, seconds: number): void;
  shardRefresh(shard: number, from: number, count: number): number;
  shardExpire(shard: number, from: number, count: number, seconds: number): number;
  injectRequests(
    list: number,
    count: number,
    out: number,
    room: number,
    rows: number,
    sequence: number,
    flow: number,
    options: number,
  ): number;
  injectAgain(
    list: number,
    count: number,
    out: number,
    room: number,
    rows: number,
    sequence: number,
    flow: number,
    options: number,
  ): void;
  shardInjected(shard: number, list: number, count: number, wireOptions: number): void;
  shardSayAgain(shard: number, from: number, count: number, ranges: number, most: number): number;
  shardDoubt(shard: number, from: number, count: number, ranges: number, place: number): number;
  shardTrust(shard: number, from: number, count: number): number;
  shardSpeakers(shard: number, index: number, count: number, from: number, into: number): number;
  shardRemoveDoubted(shard: number, from: number, count: number, ranges: number): number;
  shardFlush(shard: number, kind: number): void;
  shardSnapshot(shard: number, cursor: number, kind: number, out: number, most: number): number;
  snapshotRecord(record: number, out: number): void;
}

/** Compiles the module from `path` (default: the built one). Throws when it is missing. */
export function compileModule(path: string = fileURLToPath(BUILT)): WebAssembly.Module {
  return new WebAssembly.Module(readFileSync(path));
}

/** An instance on `memory`. A trap in it is fatal by design: half-written state is never used. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Core {
  const abort = (): never => {
    throw new Error('the WebAssembly module aborted');
  };
  const instance = new WebAssembly.Instance(module, { env: { memory, abort } });
  return instance.exports as unknown as Core;
}
