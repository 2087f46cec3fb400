// Commit: the external cache into the kernel, at failover. The shards write create requests, up to
// 256 at a time; one send carries them out with one acknowledgement; a flow that the kernel already
// has is deleted and created once more. In between the data plane has its turns, so a commit runs
// beside live traffic. Flows with a master go last, when their masters exist.
//
//   plain flows ─▶ quiet socket ─▶ kernel, whose events of them are dropped (socket-filter.ts)
//                      └─▶ events queued so far ─▶ shards ─▶ the same requests ─▶ internal cache
//   all others  ─▶ commit socket ─▶ kernel ─▶ events ─▶ internal cache
//
// The events of a commit cost more than the commit: each is copied to us, read and decoded, to say
// what we have just asked for. Of a plain flow (COMMIT_PLAIN) the request says all of it, so the
// internal cache learns from the request. The order of things is kept: whatever the kernel said before
// it carried the batch out is queued when the send returns, and is applied first. A flow of which the
// end was heard meanwhile is committed once more, through the commit socket; so is all of which the
// kernel decides a part, as which port a translation takes.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards, Slice } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import type { RequestSocket } from '../kernel/requests.js';
import { EEXIST, ENOENT, errorText } from '../kernel/syscalls.js';

/** Requests a send. */
const BATCH = 256;
/** Requests a send, and flows that are tried again a send, when their events come back to us. */
const LOUD_BATCH = 128;
const AGAIN = 64;
/** The longest that quiet batches go on without a turn of the data plane, ms. */
const TURN = 1;
/** Records a call that looks for tombs. */
const SWEEP_SLICE = 20_000;
const PASSES = [L.COMMIT_PLAIN, L.COMMIT_SPECIAL, L.COMMIT_RELATED];

export interface CommitParts {
  arena: Arena;
  shards: Shards;
  requests: Pick<RequestSocket, 'takeSequence' | 'send'>;
  /** Undefined when the kernel tells us of everything, or (PollSecs) of nothing. */
  quiet: QuietRequests | undefined;
  pause: () => Promise<void>;
  /** A flow that could not be committed: which step failed, the errno, and the record. */
  onFailure: (step: 'create' | 'destroy', errno: number, record: number) => void;
}

/** A request socket whose events the kernel drops. */
export interface QuietRequests {
  requests: CommitParts['requests'];
  /** Is there an internal cache? */
  learns: boolean;
  /** Gives the shards all events that the kernel has queued. */
  catchUp: () => void;
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
    const { quiet, shards } = this.parts;
    for (let shard = 0; shard < shards.count; shard++) {
      // Ends of flows that are heard from now on leave a mark until the last call of dumpEnd.
      if (quiet?.learns) await this.ask(shard, VERB.dumpBegin);
    }
    try {
      for (const pass of PASSES) {
        for (let shard = 0; shard < shards.count; shard++) await this.pass(shard, pass);
      }
    } finally {
      for (let shard = 0; shard < shards.count && quiet?.learns; shard++) {
        const sweep = [0, 0, SWEEP_SLICE];
        while ((await this.ask(shard, VERB.dumpEnd, ...sweep)).count !== 0) await this.pause();
      }
    }
  }

  private async pass(shard: number, pass: number): Promise<void> {
    const quiet = pass === L.COMMIT_PLAIN && this.parts.quiet !== undefined;
    let cursor = 0;
    do {
      cursor = await this.batch(shard, cursor, pass);
      // Loud batches leave their events behind: room for the next.
      if (!quiet || performance.now() - this.turned >= TURN) await this.pause();
    } while (cursor !== 0);
  }

  /** One slice of one pass; returns where the next one begins, 0 at the end. */
  private async batch(shard: number, from: number, pass: number): Promise<number> {
    const { arena, quiet } = this.parts;
    const { buffer, size, handles } = arena.requests;
    const learned = pass === L.COMMIT_PLAIN ? quiet : undefined;
    const requests = learned?.requests ?? this.parts.requests;
    const most = learned === undefined ? LOUD_BATCH : BATCH;
    const first = requests.takeSequence(most);
    const { count, cursor, written } = await this.ask(
      shard,
      VERB.commit,
      ...[from, pass, buffer, size, handles, most, first, this.fixedTimeout],
    );
    if (count === 0) return cursor;
    const failures = requests.send(buffer, written, first, count);
    const again: number[] = [];
    for (const [position, error] of failures) {
      const record = arena.get(handles + position * 4);
      if (error === EEXIST) again.push(record);
      else this.noteFailure('create', error, record);
      arena.set(handles + position * 4, 0); // not to be learned
    }
    this.report.committed += count - failures.size;
    if (learned?.learns) again.push(...(await this.learn(shard, written, learned)));
    for (let i = 0; i < again.length; i += AGAIN) {
      await this.batchAgain(shard, again.slice(i, i + AGAIN));
    }
    return cursor;
  }

  /** The batch into the internal cache; the records of which it cannot tell whether they still are. */
  private async learn(shard: number, written: number, quiet: QuietRequests): Promise<number[]> {
    const { arena } = this.parts;
    const { buffer, handles } = arena.requests;
    quiet.catchUp();
    const { count } = await this.ask(shard, VERB.learn, buffer, written, handles);
    this.report.committed -= count;
    return Array.from({ length: count }, (_, i) => arena.get(handles + i * 4));
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
    // Their events wait: room for the next ones.
    await this.pause();
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
