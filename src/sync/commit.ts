// Commit: the external cache into the kernel, at failover. The shards write create requests, up to
// 128 at a time; one send carries them out with one acknowledgement; a flow that the kernel already
// has is deleted and created once more. Between batches the data plane has its turn, so a commit runs
// beside live traffic. Flows with a master go last, when their masters exist.

import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import type { RequestSocket } from '../kernel/requests.js';
import { EEXIST, ENOENT, errorText } from '../kernel/syscalls.js';

const BATCH = 128; // requests a send

export interface CommitParts {
  arena: Arena;
  shards: Shards;
  requests: RequestSocket;
  pause: () => Promise<void>;
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
  const { shards } = parts;
  const start = performance.now();
  const result: CommitReport = { committed: 0, failed: 0, seconds: 0, reasons: new Map() };
  for (const pass of [0, 1]) {
    for (let shard = 0; shard < shards.count; shard++) {
      let cursor = 0;
      do {
        cursor = await commitBatch(parts, result, shard, cursor, pass, fixedTimeout);
        await parts.pause();
      } while (cursor !== 0);
    }
  }
  result.seconds = (performance.now() - start) / 1000;
  return result;
}

/** One slice of one pass; returns where the next one begins, 0 at the end. */
async function commitBatch(
  parts: CommitParts,
  result: CommitReport,
  shard: number,
  cursor: number,
  pass: number,
  fixedTimeout: number,
): Promise<number> {
  const { arena, requests, shards } = parts;
  const { buffer, size, handles } = arena.requests;
  const first = requests.takeSequence(BATCH);
  const slice = await shards.callSlice(
    shard,
    VERB.commit,
    ...[cursor, pass, buffer, size, handles, BATCH, first, fixedTimeout],
  );
  const { count } = slice;
  if (count === 0) return slice.cursor;
  const failures = requests.send(buffer, slice.written, first, count);
  const again: number[] = [];
  for (const [position, error] of failures) {
    const record = arena.get(handles + position * 4);
    if (error === EEXIST) again.push(record);
    else {
      result.failed++;
      noteFailure(parts, result, 'create', error, record);
    }
  }
  result.committed += count - failures.size;
  if (again.length > 0) await commitAgain(parts, result, shard, again, fixedTimeout);
  return slice.cursor;
}

/** The kernel has these tuples already: out with them, and in with ours. */
async function commitAgain(
  parts: CommitParts,
  result: CommitReport,
  shard: number,
  records: readonly number[],
  fixedTimeout: number,
): Promise<void> {
  const { arena, requests, shards } = parts;
  const { buffer, size, handles } = arena.requests;
  records.forEach((record, i) => {
    arena.set(handles + i * 4, record);
  });
  const first = requests.takeSequence(2 * records.length);
  const written = await shards.call(
    shard,
    VERB.commitAgain,
    ...[handles, records.length, buffer, size, first, fixedTimeout],
  );
  if (written === 0) return;
  const failures = requests.send(buffer, written, first, 2 * records.length);
  let failed = 0;
  for (const [position, error] of failures) {
    const record = records[position >> 1]!;
    const creating = (position & 1) === 1;
    // Not there under its original tuple: it is the reply that clashes. The create will tell.
    if (!creating && error === ENOENT) continue;
    if (creating) failed++;
    noteFailure(parts, result, creating ? 'create' : 'destroy', error, record);
  }
  result.failed += failed;
  result.committed += records.length - failed;
}

function noteFailure(
  parts: CommitParts,
  { reasons }: CommitReport,
  step: 'create' | 'destroy',
  errno: number,
  record: number,
): void {
  const reason = `${step}: ${errorText(errno)}`;
  reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  parts.onFailure(step, errno, record);
}
