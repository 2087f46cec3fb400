// Expectations: connections that a helper announced (the data connection of an FTP transfer, say),
// which a backup must know of before they begin. Main's side of them; the tables and the work are
// the shards' (assembly/expect-shard.ts), where each expectation lies with its master.
//
// What leaves goes through the shards' transmit queues among the flows, so numbers, acknowledgement
// and repetition are those of any message. What is here: the way in for the kernel's events, the
// kernel's table of expectations (read, flushed), and the commit.
//
// The kernel's table of expectations is small (1024 by default) and is read in one go, without a turn
// of the data plane in between: at most some milliseconds. So every event waiting in the socket is
// either older than the whole dump or newer, and applying it after the dump is right in both cases.
// Sources: linux/netfilter/nfnetlink_conntrack.h; docs/wire-protocol.md.

import { EXPECT_ENTRY, EXPECT_ENTRY_SIZE } from '../../assembly/expect-layout.js';
import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { Turns } from '../cache/turns.js';
import { VERB } from '../cache/verbs.js';
import type { Core } from '../cache/wasm.js';
import { KernelDump, type RequestSocket } from '../kernel/requests.js';
import { EEXIST, ENOENT } from '../kernel/syscalls.js';
import { ExpectReader } from '../report/reader.js';
import type { CommitResult } from './commit.js';

/** Expectations a send of the commit: up to three requests of 1 KiB each. */
const BATCH = 64;

export interface ExpectationParts {
  arena: Arena;
  base: number;
  core: Core;
  shards: Shards;
  /** Lets the data plane have its turn. */
  pause: () => Promise<unknown>;
}

/** What could not be committed: the step, the errno, and the address of its entry. */
export type CommitFailure = (step: 'create' | 'destroy', errno: number, entry: number) => void;

export class Expectations {
  private visit = 0;
  /** Users of the snapshot buffer: one at a time. */
  private readonly snapshotTurns = new Turns();
  private readonly positions: number[];
  private readonly reader: ExpectReader;

  constructor(private readonly parts: ExpectationParts) {
    this.positions = new Array<number>(parts.shards.count).fill(0);
    this.reader = new ExpectReader(parts.arena.view, 0);
  }

  /** The wide expectation of the entry at `entry`; valid until the next call. */
  read(entry: number): ExpectReader {
    this.reader.at(entry + EXPECT_ENTRY);
    return this.reader;
  }

  /**
   * Gives `count` listed events to the shards of their masters. `positions` learns how far each shard
   * must come before the memory the events lie in is free again.
   */
  events(list: number, count: number, positions: number[]): void {
    this.give(VERB.expectEvents, list, count, [], positions);
  }

  private give(
    verb: VERB,
    list: number,
    count: number,
    more: readonly number[],
    positions?: number[],
  ): void {
    const { arena, core, shards } = this.parts;
    if (shards.immediate) {
      shards.post(0, verb, list, count, ...more);
      return;
    }
    this.wait();
    const { expectLists, expectCounts: counts } = arena;
    arena.bytes.fill(0, counts, counts + shards.count * 4);
    core.routeExpects(list, count, shards.count, expectLists, counts, arena.scratch, 0);
    for (let shard = 0; shard < shards.count; shard++) {
      const part = arena.get(counts + shard * 4);
      if (part === 0) continue;
      shards.post(shard, verb, expectLists + shard * L.LIST_MAX * 4, part, ...more);
      this.positions[shard] = shards.position(shard);
      if (positions !== undefined) positions[shard] = this.positions[shard]!;
    }
  }

  /** Until the shards have read the lists. */
  private wait(): void {
    const { shards } = this.parts;
    for (let shard = 0; shard < shards.count; shard++)
      shards.waitFor(shard, this.positions[shard]!);
  }

  // ------------------------------------------------------------------------- the kernel's table

  /**
   * Merges the kernel's expectations into the internal cache; returns how many it listed. With
   * `replicate` the peers hear what is new or gone; with `purge` what the kernel no longer has is
   * removed. Holds the thread until it is done.
   */
  readKernel({ replicate, purge }: { replicate: boolean; purge: boolean }): number {
    const { shards } = this.parts;
    this.visit = (this.visit % 255) + 1;
    const told = replicate ? 1 : 0;
    let listed = 0;
    this.eachDatagram((list, count) => {
      listed += count;
      this.give(VERB.expectDump, list, count, [this.visit, told]);
      this.wait();
    });
    for (let shard = 0; purge && shard < shards.count; shard++) {
      shards.post(shard, VERB.expectPurge, this.visit, told);
    }
    return listed;
  }

  /** `-F expect`: deletes the kernel's expectations, one by one. */
  flushKernel(requests: RequestSocket): void {
    const { arena, core } = this.parts;
    const { buffer, size } = arena.requests;
    this.eachDatagram((list, count) => {
      const first = requests.takeSequence(count);
      const bytes = core.deleteExpectRequests(list, count, arena.scratch, buffer, size, first);
      // One that came true or ended meanwhile (ENOENT) is what we wanted.
      if (bytes > 0) requests.send(buffer, bytes, first, count);
    });
  }

  /** Calls `take` with each datagram of a dump of the kernel's expectations, its messages listed. */
  private eachDatagram(take: (list: number, count: number) => void): void {
    const { arena, base, core } = this.parts;
    const { buffer, flows, expects } = arena.dump;
    const kernel = new KernelDump(arena, base, 'expectations');
    try {
      for (let length = kernel.next(); length > 0; length = kernel.next()) {
        arena.bytes.fill(0, arena.gather, arena.gather + L.GATHER_SIZE);
        core.gatherDatagram(buffer, length, flows, expects, arena.gather);
        const count = arena.get(arena.gather + L.GATHER_EXPECTS);
        if (count > 0) take(expects, count);
      }
    } finally {
      kernel.close();
    }
  }

  // ------------------------------------------------------------------------------------- commit

  /**
   * `-c expect`: the external expectations into the kernel; their masters must be there.
   * `fixedTimeout` in seconds (CommitTimeout), 0: what is left of each one's own.
   */
  async commit(
    requests: RequestSocket,
    fixedTimeout: number,
    onFailure: CommitFailure,
  ): Promise<CommitResult> {
    const { shards, pause } = this.parts;
    const start = performance.now();
    const result = { committed: 0, failed: 0, seconds: 0 };
    for (let shard = 0; shard < shards.count; shard++) {
      let cursor = 0;
      do {
        cursor = await this.commitBatch(shard, cursor, requests, fixedTimeout, result, onFailure);
        await pause();
      } while (cursor !== 0);
    }
    result.seconds = (performance.now() - start) / 1000;
    return result;
  }

  /** One slice; returns where the next one begins, 0 at the end. */
  private async commitBatch(
    shard: number,
    cursor: number,
    requests: RequestSocket,
    fixedTimeout: number,
    result: CommitResult,
    onFailure: CommitFailure,
  ): Promise<number> {
    const { arena, shards } = this.parts;
    const { buffer, size, handles } = arena.requests;
    const first = requests.takeSequence(2 * BATCH);
    const slice = await shards.callSlice(
      shard,
      VERB.expectCommit,
      ...[cursor, buffer, size, handles, BATCH, first, fixedTimeout],
    );
    const { count } = slice;
    if (count === 0) return slice.cursor;
    const failures = requests.send(buffer, slice.written, first, 2 * count);
    const again: number[] = [];
    for (let i = 0; i < count; i++) {
      const error = failures.get(2 * i) ?? 0;
      const entry = arena.get(handles + i * 4);
      if (error === 0) result.committed++;
      else if (error === EEXIST) again.push(entry);
      else {
        result.failed++;
        onFailure('create', error, entry);
      }
    }
    if (again.length > 0) {
      await this.commitAgain(shard, again, requests, fixedTimeout, result, onFailure);
    }
    return slice.cursor;
  }

  /** The kernel expects these already, perhaps for another master: out with them, and in with ours. */
  private async commitAgain(
    shard: number,
    entries: readonly number[],
    requests: RequestSocket,
    fixedTimeout: number,
    result: CommitResult,
    onFailure: CommitFailure,
  ): Promise<void> {
    const { arena, shards } = this.parts;
    const { buffer, size, handles } = arena.requests;
    entries.forEach((entry, i) => {
      arena.set(handles + i * 4, entry);
    });
    const first = requests.takeSequence(3 * entries.length);
    const written = await shards.call(
      shard,
      VERB.expectCommitAgain,
      ...[handles, entries.length, buffer, size, first, fixedTimeout],
    );
    if (written === 0) return;
    const failures = requests.send(buffer, written, first, 3 * entries.length);
    entries.forEach((entry, i) => {
      const deleted = failures.get(3 * i) ?? 0;
      const created = failures.get(3 * i + 1) ?? 0;
      if (deleted !== 0 && deleted !== ENOENT) onFailure('destroy', deleted, entry);
      if (created === 0) result.committed++;
      else {
        result.failed++;
        onFailure('create', created, entry);
      }
    });
  }

  // -------------------------------------------------------------------------------------- report

  /** Calls `visit` with every living expectation of a cache and when it was added (s), in slices. */
  async forEach(
    kind: number,
    visit: (expect: ExpectReader, added: number) => string,
    write: (chunk: string) => Promise<void>,
  ): Promise<void> {
    const { arena, shards, pause } = this.parts;
    for (let shard = 0; shard < shards.count; shard++) {
      let cursor = 0;
      do {
        const chunk = await this.snapshotTurns.run(async () => {
          const { buffer, count: most } = arena.expectSnapshots;
          const slice = await shards.callSlice(
            shard,
            VERB.expectSnapshot,
            ...[cursor, kind, buffer, most],
          );
          cursor = slice.cursor;
          let lines = '';
          for (let entry = buffer, i = 0; i < slice.count; i++, entry += EXPECT_ENTRY_SIZE) {
            lines += visit(this.read(entry), arena.get(entry + L.RECORD_ADDED));
          }
          return lines;
        });
        if (chunk !== '') await write(chunk);
        await pause();
      } while (cursor !== 0);
    }
  }
}
