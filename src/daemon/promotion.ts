// Fail-over in one command. What a script of the high-availability manager did with four calls and no
// way to know how they went, the daemon does in one, in the right order, waits for the end of each
// step and says what came of it:
//
//   promote:  commit ▸ flush the caches ▸ read the kernel's table ▸ bulk send
//   demote:   schedule the purge ▸ ask the peers for a resync ▸ wait until they have gone quiet
//
// Commit first: traffic waits for it. After it the caches still say whose flow was whose; they are
// emptied and filled from the kernel, so that everything is now ours and goes to the new backup.
//
// Runs on main beside the road: every wait is bounded, and the data plane has its turns meanwhile.

import { setTimeout as sleep } from 'node:timers/promises';
import * as L from '../../assembly/layout.js';
import { CommandError } from '../control/protocol.js';
import { type Fields, jsonText } from '../report/json.js';
import type { CommitReport } from '../sync/commit.js';
import { commitExpectations, resyncExpectations } from './expect-orders.js';
import type { Log } from './log.js';
import type { SyncNode } from './node.js';

/** Longest wait for a bulk to leave or to arrive, ms. */
const LONGEST = 30_000;
const LOOK = 250; // ms between two looks at what arrives
/** Quiet: this many looks in a row that saw less than a tenth of the most that one has seen. */
const QUIET_LOOKS = 4;

export interface Promotion {
  commit: CommitReport;
  /** With ExpectationSync. */
  expectations: CommitReport | undefined;
  /** Flows in the internal cache after the kernel's table was read. */
  flows: number;
  /** False when the bulk had not left entirely after LONGEST, or is not for this mode. */
  sent: boolean;
  /** How long each step took, ms. */
  milliseconds: { commit: number; flush: number; resync: number; bulk: number; total: number };
}

/** Makes this node the active one. `say` hears of each step as it ends. */
export async function promote(
  { node, log }: { node: SyncNode; log: Log },
  alarm: boolean,
  say: (line: string) => Promise<void>,
): Promise<Promotion> {
  const clock = new Clock();
  const commit = await node.commit({ compare: false });
  if (commit === undefined) throw new CommandError('commit already in progress');
  const expectations = await commitExpectations(node).catch(async (error: unknown) => {
    await node.compareAfterCommit();
    throw error;
  });
  const milliseconds = { commit: clock.lap(), flush: 0, resync: 0, bulk: 0, total: 0 };
  await say(`commit: ${commitSummary(commit)}, ${ms(milliseconds.commit)}`);
  if (expectations !== undefined) {
    await say(`commit: ${commitSummary(expectations, 'expectations')}`);
  }
  for (const { reasons } of [commit, expectations ?? { reasons: [] }]) {
    for (const [reason, count] of reasons) await say(`commit: ${reason}: ${count}`);
  }
  if (!(await node.flushCaches(true, true))) {
    throw new CommandError('refused: a commit is still in progress');
  }
  milliseconds.flush = clock.lap();
  await say(`flush: both caches emptied, ${ms(milliseconds.flush)}`);
  await node.resyncWithKernel();
  await resyncExpectations(node, log);
  const flows = living(node, L.TABLE_INTERNAL);
  milliseconds.resync = clock.lap();
  await say(`resync: ${flows} flows read from the kernel, ${ms(milliseconds.resync)}`);
  const sent = alarm ? false : await sendBulk(node);
  milliseconds.bulk = clock.lap();
  if (alarm) await say('bulk: none in ALARM mode, flows are repeated within RefreshTime');
  else await say(`bulk: ${sent ? 'sent' : 'still leaving'}, ${ms(milliseconds.bulk)}`);
  milliseconds.total = clock.total();
  return { commit, expectations, flows, sent, milliseconds };
}

/** `12 flows entered the kernel, 1 could not`. */
export function commitSummary({ committed, failed }: CommitReport, what = 'flows'): string {
  const entered = `${committed} ${what} entered the kernel`;
  return failed === 0 ? entered : `${entered}, ${failed} could not`;
}

/** What an order to commit has committed: flows, expectations, or both. */
export interface Committed {
  flows?: CommitReport | undefined;
  expectations?: CommitReport | undefined;
}

/** Each kind with its reasons and its time, as the status of the order. */
export function commitSummaries(committed: Committed): string {
  const parts: string[] = [];
  for (const what of ['flows', 'expectations'] as const) {
    const report = committed[what];
    if (report === undefined) continue;
    const reasons = [...report.reasons].map(([reason, count]) => `${reason}: ${count}`);
    const why = reasons.length === 0 ? '' : ` (${reasons.join(', ')})`;
    parts.push(`${commitSummary(report, what)}${why}, ${ms(report.seconds * 1000)}`);
  }
  return parts.join('; ');
}

export interface Demotion {
  /** Seconds until the kernel's flows go. */
  purge: number;
  /** Flows in the external cache. */
  flows: number;
  /** Anything was received from a peer meanwhile. */
  heard: boolean;
  /** The peers' bulk was over before the wait was. */
  quiet: boolean;
  milliseconds: number;
}

/** Makes this node the backup. */
export async function demote(node: SyncNode, purge: number, alarm: boolean): Promise<Demotion> {
  const clock = new Clock();
  const before = node.arena.counter(node.arena.receiver + L.RECEIVER_DATAGRAMS);
  node.schedulePurge();
  if (!alarm) node.requestResync();
  const quiet = alarm || (await untilQuiet(node));
  const after = node.arena.counter(node.arena.receiver + L.RECEIVER_DATAGRAMS);
  return {
    purge,
    flows: living(node, L.TABLE_EXTERNAL),
    heard: after > before,
    quiet,
    milliseconds: clock.total(),
  };
}

/** Sends all our flows; false when they have not all left after LONGEST. */
async function sendBulk(node: SyncNode): Promise<boolean> {
  node.sendBulk();
  const end = performance.now() + LONGEST;
  do {
    await sleep(5);
    if (!waiting(node)) return true;
  } while (performance.now() < end);
  return false;
}

/** Is any flow still to be sent? */
function waiting({ arena }: SyncNode): boolean {
  for (let i = 0; i < arena.limits.shards; i++) {
    const shard = arena.shard(i);
    const queued = arena.get(shard + L.SHARD_QUEUE_HEAD) !== arena.get(shard + L.SHARD_QUEUE_TAIL);
    if (queued || arena.get(shard + L.SHARD_BULK) !== 0) return true;
    if (arena.get(shard + L.SHARD_BYPASS_WAITING) !== 0) return true;
  }
  return false;
}

/**
 * Waits for the peers' bulk to end. The protocol has no mark for that: the stream of flow messages
 * swells and falls back to what live traffic makes.
 */
async function untilQuiet(node: SyncNode): Promise<boolean> {
  const end = performance.now() + LONGEST;
  let last = received(node);
  let most = 0;
  let calm = 0;
  while (performance.now() < end) {
    await sleep(LOOK);
    const now = received(node);
    const fresh = now - last;
    last = now;
    most = Math.max(most, fresh);
    calm = fresh * 10 <= most ? calm + 1 : 0;
    if (calm >= QUIET_LOOKS) return true;
  }
  return false;
}

/** Changes of the external cache so far. */
function received({ arena }: SyncNode): number {
  return Number(
    arena.sumTableCounters(L.TABLE_EXTERNAL, L.TABLE_CREATED) +
      arena.sumTableCounters(L.TABLE_EXTERNAL, L.TABLE_UPDATED),
  );
}

function living({ arena }: SyncNode, kind: number): number {
  return arena.sumTables(kind, L.TABLE_COUNT) - arena.sumTables(kind, L.TABLE_DEAD);
}

// -------------------------------------------------------------------------------------- as JSON

/** Flows stand in the object itself, expectations in an object of their own within it. */
export function commitJson({ flows, expectations }: Committed): string {
  return jsonText({
    command: 'commit',
    ...(flows && timedFields(flows)),
    expectations: expectations && timedFields(expectations),
  });
}

export function promotionJson(promotion: Promotion): string {
  const { commit, expectations, flows, sent, milliseconds } = promotion;
  return jsonText({
    command: 'promote',
    ...commitFields(commit),
    expectations: expectations && timedFields(expectations),
    flows,
    sent,
    milliseconds,
  });
}

function timedFields(report: CommitReport): Fields {
  return { ...commitFields(report), milliseconds: report.seconds * 1000 };
}

export function demotionJson(demotion: Demotion): string {
  return jsonText({ command: 'demote', ...demotion });
}

function commitFields({ committed, failed, reasons }: CommitReport): Fields {
  const counted = [...reasons].map(([reason, count]) => ({ reason, count }));
  return { committed, failed, reasons: counted };
}

// ----------------------------------------------------------------------------------------- time

class Clock {
  private readonly start = performance.now();
  private last = this.start;

  /** Milliseconds since the last lap. */
  lap(): number {
    const before = this.last;
    this.last = performance.now();
    return rounded(this.last - before);
  }

  total(): number {
    return rounded(performance.now() - this.start);
  }
}

function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000;
}

function ms(milliseconds: number): string {
  return `${milliseconds.toFixed(1)} ms`;
}
