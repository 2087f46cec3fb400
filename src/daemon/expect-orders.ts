// The operator's orders about expectations: what `-s`, `-i`, `-e`, `-F` and `-R` do when told
// `expect`, and the second half of those that mean flows and expectations. Without ExpectationSync
// the control protocol refuses the former, and the latter end with the flows.

import * as L from '../../assembly/layout.js';
import { AS_JSON, CommandError, Request } from '../control/protocol.js';
import type { Reply } from '../control/server.js';
import { expectJson, expectText, expectXml } from '../report/expect.js';
import type { CacheCounters } from '../report/statistics.js';
import { type StatisticsView, viewReply } from '../report/views.js';
import type { CommitReport } from '../sync/commit.js';
import type { Expectations } from '../sync/expectations.js';
import { monotonicSeconds } from './dataplane.js';
import type { Log } from './log.js';
import type { SyncNode } from './node.js';
import { linkCounters, networkCounters } from './statistics.js';

/** Carries out a request about expectations alone; false when `code` is none. */
export async function carryOutExpect(
  node: SyncNode,
  log: Log,
  code: number,
  reply: Reply,
): Promise<boolean> {
  const { expectations } = node;
  if (expectations === undefined) return false;
  switch (code) {
    case Request.STATISTICS_EXPECT:
    case Request.STATISTICS_EXPECT | AS_JSON:
      await reply.write(viewReply(statistics(node), (code & AS_JSON) !== 0));
      return true;
    case Request.DUMP_INTERNAL_EXPECT | AS_JSON:
    case Request.DUMP_EXTERNAL_EXPECT | AS_JSON:
      await json(expectations, (code & ~AS_JSON) === Request.DUMP_INTERNAL_EXPECT, reply);
      return true;
    case Request.DUMP_INTERNAL_EXPECT:
    case Request.DUMP_EXTERNAL_EXPECT:
      await plain(expectations, code === Request.DUMP_INTERNAL_EXPECT, reply);
      return true;
    case Request.DUMP_INTERNAL_EXPECT_XML:
    case Request.DUMP_EXTERNAL_EXPECT_XML:
      await xml(expectations, code === Request.DUMP_INTERNAL_EXPECT_XML, reply);
      return true;
    case Request.FLUSH_KERNEL_EXPECT:
      await flushKernelExpectations(node, log);
      return true;
    case Request.RESYNC_KERNEL_EXPECT:
      await resyncExpectations(node, log);
      return true;
    default:
      return false;
  }
}

/** `-c expect`, and the part of `-c` that follows the flows: undefined without ExpectationSync. */
export async function commitExpectations(node: SyncNode): Promise<CommitReport | undefined> {
  if (node.expectations === undefined) return undefined;
  const report = await node.commitExpectations();
  if (report === undefined) throw new CommandError('commit already in progress');
  return report;
}

/** The part of `-F` that follows the flows. */
export async function flushKernelExpectations(node: SyncNode, log: Log): Promise<void> {
  if (node.expectations === undefined) return;
  log.notice('flushing kernel expect table');
  await node.flushKernelExpectations();
}

/** The part of `-R` that follows the flows. */
export async function resyncExpectations(node: SyncNode, log: Log): Promise<void> {
  if (node.expectations === undefined) return;
  log.notice('resync with master expect table');
  node.counters.resyncs++;
  await node.readExpectations({ replicate: false, purge: false });
}

function plain(expectations: Expectations, internal: boolean, reply: Reply): Promise<void> {
  return expectations.forEach(
    internal ? L.TABLE_INTERNAL : L.TABLE_EXTERNAL,
    (expect, added) => {
      const active = Math.max(0, monotonicSeconds() - added);
      return `${expectText(expect, { timeout: false, active })}\n`;
    },
    (chunk) => reply.write(chunk),
  );
}

function json(expectations: Expectations, internal: boolean, reply: Reply): Promise<void> {
  return expectations.forEach(
    internal ? L.TABLE_INTERNAL : L.TABLE_EXTERNAL,
    (expect, added) => {
      const active = Math.max(0, monotonicSeconds() - added);
      return `${expectJson(expect, { timeout: false, active })}\n`;
    },
    (chunk) => reply.write(chunk),
  );
}

function xml(expectations: Expectations, internal: boolean, reply: Reply): Promise<void> {
  return expectations.forEach(
    internal ? L.TABLE_INTERNAL : L.TABLE_EXTERNAL,
    (expect) => `${expectXml(expect, { timeout: false })}\n`,
    (chunk) => reply.write(chunk),
  );
}

/** As for flows, with the caches of expectations. */
function statistics(node: SyncNode): StatisticsView {
  const general = {
    tables: [counters(node, L.TABLE_INTERNAL), counters(node, L.TABLE_EXTERNAL)],
    traffic: {
      bytes: node.arena.sumShards(L.SHARD_TRAFFIC_BYTES),
      packets: node.arena.sumShards(L.SHARD_TRAFFIC_PACKETS),
    },
    link: linkCounters(node),
    tracking: networkCounters(node),
  };
  return { view: 'general', counters: general };
}

function counters({ arena }: SyncNode, kind: number): CacheCounters {
  let total = 0;
  let dead = 0;
  for (let i = 0; i < arena.limits.shards; i++) {
    total += arena.get(arena.expectTable(i, kind) + L.TABLE_COUNT);
    dead += arena.get(arena.expectTable(i, kind) + L.TABLE_DEAD);
  }
  const sum = (offset: number): bigint => {
    let all = 0n;
    for (let i = 0; i < arena.limits.shards; i++) {
      all += arena.counter(arena.expectTable(i, kind) + offset);
    }
    return all;
  };
  return {
    kind: 'cache',
    name: kind === L.TABLE_INTERNAL ? 'internal' : 'external',
    active: total - dead,
    total,
    objects: total,
    created: sum(L.TABLE_CREATED),
    createFailed: sum(L.TABLE_CREATE_FAILED),
    noMemory: 0,
    noSpace: sum(L.TABLE_NO_SPACE),
    updated: sum(L.TABLE_UPDATED),
    updateFailed: 0,
    updateNotFound: 0,
    destroyed: sum(L.TABLE_DESTROYED),
    destroyFailed: 0,
    destroyNotFound: 0,
  };
}
