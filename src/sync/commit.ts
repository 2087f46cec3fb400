// Commit: the external cache into the kernel, at failover. The shards write create requests, up to
// 256 at a time; one send carries them out with one acknowledgement; a flow that the kernel already
// has is deleted and created once more. In between the data plane has its turns, so a commit runs
// beside live traffic. Flows with a master go last, when their masters exist.
//
// What the kernel then has, the internal cache learns by reading its table behind the commit, not by
// an event for each flow: see SyncNode.commit().

import type { Arena } from '../cache/arena.js';
import type { Shards, Slice } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import type { RequestSocket } from '../kernel/requests.js';
import { EEXIST, ENOENT, errorText } from '../kernel/syscalls.js';

/** Requests a send. */
const BATCH = 256;
/** Flows that are tried again a send. */
const AGAIN = 64;
/** The longest that batches go on without a turn of the data plane, ms. */
const TURN = 1;
/** Flows without a master, then those with one. */
const PASSES = [0, 1];

export interface CommitParts {
  arena: Arena;
  shards: Shards;
  requests: Pick<RequestSocket, 'takeSequence' | 'send'>;
  pause: () => Promise<unknown>;
  /** A flow that could not be committed: which step failed, the errno, and the record. */
  onFailure: (step: 'create' | 'destroy', errno: number, record: number) => void;
}

export interface CommitResult {
  committed: number;
  failed: number;
  seconds: number;
}

export interface CommitReport extends CommitResult {
  /** How often a step failed, by the step and the kernel's words: `create: File exists`. */
  reasons: Map<string, number>;
}

/** Commits all flows. `fixedTimeout` in seconds (CommitTimeout), 0: what is left of each flow's own. */
export async function commitFlows(parts: CommitParts, fixedTimeout: number): Promise<CommitReport> {
  const commit = new Commit(parts, fixedTimeout);
  const start = performance.now();
  await commit.run();
  commit.report.seconds = (performance.now() - start) / 1000;
  return commit.report;
}

class Commit {
  readonly report: CommitReport = { committed: 0, failed: 0, seconds: 0, reasons: new Map() };
  private turned = performance.now();

  constructor(
    private readonly parts: CommitParts,
    private readonly fixedTimeout: number,
  ) {}

  async run(): Promise<void> {
    for (const pass of PASSES) {
      for (let shard = 0; shard < this.parts.shards.count; shard++) {
        let cursor = 0;
        do {
          cursor = await this.batch(shard, cursor, pass);
          if (performance.now() - this.turned >= TURN) await this.pause();
        } while (cursor !== 0);
      }
    }
  }

  /** One slice of one pass; returns where the next one begins, 0 at the end. */
  private async batch(shard: number, from: number, pass: number): Promise<number> {
    const { arena, requests } = this.parts;
    const { buffer, size, handles } = arena.requests;
    const first = requests.takeSequence(BATCH);
    const { count, cursor, written } = await this.ask(
      shard,
      VERB.commit,
      ...[from, pass, buffer, size, handles, BATCH, first, this.fixedTimeout],
    );
    if (count === 0) return cursor;
    const failures = requests.send(buffer, written, first, count);
    const again: number[] = [];
    for (const [position, error] of failures) {
      const record = arena.get(handles + position * 4);
      if (error === EEXIST) again.push(record);
      else this.noteFailure('create', error, record);
    }
    this.report.committed += count - failures.size;
    for (let i = 0; i < again.length; i += AGAIN) {
      await this.batchAgain(shard, again.slice(i, i + AGAIN));
    }
    return cursor;
  }

  /** The kernel has, or had, these tuples already: out with them, and in with ours. */
  private async batchAgain(shard: number, records: readonly number[]): Promise<void> {
    const { arena, requests } = this.parts;
    const { buffer, size, handles } = arena.requests;
    records.forEach((record, i) => {
      arena.set(handles + i * 4, record);
    });
    const first = requests.takeSequence(2 * records.length);
    const { count: written } = await this.ask(
      shard,
      VERB.commitAgain,
      ...[handles, records.length, buffer, size, first, this.fixedTimeout],
    );
    if (written === 0) return;
    const failures = requests.send(buffer, written, first, 2 * records.length);
    let failed = 0;
    for (const [position, error] of failures) {
      const record = records[position >> 1]!;
      const creating = (position & 1) === 1;
      // Not there under its original tuple: it is the reply that clashes. The create will tell.
      if (!creating && error === ENOENT) continue;
      this.noteFailure(creating ? 'create' : 'destroy', error, record);
      if (creating) failed++;
    }
    this.report.committed += records.length - failed;
  }

  /** An order to a shard with its answer. A worker's answer is waited for in turns, not in a sleep. */
  private async ask(shard: number, verb: VERB, ...args: number[]): Promise<Slice> {
    const { shards } = this.parts;
    const answer = shards.callSlice(shard, verb, ...args);
    if (shards.immediate) return answer;
    const position = shards.position(shard);
    while (!shards.reached(shard, position)) await this.pause();
    shards.settle();
    return answer;
  }

  private async pause(): Promise<void> {
    await this.parts.pause();
    this.turned = performance.now();
  }

  private noteFailure(step: 'create' | 'destroy', errno: number, record: number): void {
    const { reasons } = this.report;
    const reason = `${step}: ${errorText(errno)}`;
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    if (step === 'create') this.report.failed++;
    this.parts.onFailure(step, errno, record);
  }
}
