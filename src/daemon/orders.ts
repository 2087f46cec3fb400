// The operator's orders: a request of the control protocol, carried out on the node. Text goes back
// through the reply; a command that cannot be carried out throws a CommandError, which our client
// shows and a C client does not see.

import * as L from '../../assembly/layout.js';
import { AS_JSON, CommandError, type Mode, Request, refusal } from '../control/protocol.js';
import type { ControlCounters, Reply } from '../control/server.js';
import { flowText } from '../report/flow.js';
import { flowJson } from '../report/json.js';
import { readinessReply } from '../report/readiness.js';
import type { GeneralCounters } from '../report/statistics.js';
import { type StatisticsView, viewReply } from '../report/views.js';
import { flowXml } from '../report/xml.js';
import { EXIT_STATUS } from '../sync/readiness.js';
import { carryOutExpect, flushKernelExpectations, resyncExpectations } from './expect-orders.js';
import type { FlowNode } from './flows.js';
import type { Log } from './log.js';
import type { SyncNode } from './node.js';
import { askReadiness } from './readiness.js';
import {
  allLinkCounters,
  comparisonCounters,
  linkCounters,
  networkCounters,
  queueCounters,
  resendElements,
  runtimeCounters,
  tableCounters,
} from './statistics.js';
import { takeOver } from './takeover-orders.js';

export interface OrderParts {
  node: SyncNode;
  log: Log;
  mode: Mode;
  control: () => ControlCounters;
  /** Begins the shutdown; the reply ends with the process. */
  terminate: () => void;
}

/** Orders that take-over scripts give and wait for. */
const takesOver = new Set<number>([
  Request.COMMIT,
  Request.COMMIT_FLOWS,
  Request.COMMIT_EXPECT,
  Request.PROMOTE,
  Request.DEMOTE,
]);

/** Carries out one request; resolves to the message of the status, if there is one. */
export async function carryOut(parts: OrderParts, code: number, reply: Reply): Promise<unknown> {
  const refused = refusal(code, parts.mode);
  if (refused !== undefined) throw new CommandError(refused);
  const view = statistics(parts, code & ~AS_JSON);
  if (view !== undefined) return reply.write(viewReply(view, (code & AS_JSON) !== 0));
  if ((code & ~AS_JSON) === Request.STATISTICS_READY) return ready(parts.node, code, reply);
  if (takesOver.has(code & ~AS_JSON)) return takeOver(parts, code, reply);
  if (await carryOutExpect(parts.node, parts.log, code, reply)) return;
  if (await dump(parts.node, code, reply)) return;
  await act(parts, code);
}

/** Fails with what is missing, so that whoever watches a node sees it in the exit status. */
async function ready(node: SyncNode, code: number, reply: Reply): Promise<void> {
  const found = await askReadiness(node);
  await reply.write(readinessReply(found, (code & AS_JSON) !== 0));
  const status = EXIT_STATUS[found.verdict];
  if (status !== 0) throw new CommandError(`${found.verdict}: ${found.reasons.join('; ')}`, status);
}

function statistics({ node, control }: OrderParts, code: number): StatisticsView | undefined {
  switch (code) {
    case Request.STATISTICS:
      return { view: 'general', counters: generalCounters(node) };
    case Request.STATISTICS_NETWORK:
      return {
        ...{ view: 'network', counters: networkCounters(node), link: linkCounters(node) },
        comparison: comparisonCounters(node),
      };
    case Request.STATISTICS_CACHE:
      return { view: 'cache', counters: generalCounters(node).tables };
    case Request.STATISTICS_RUNTIME:
      return { view: 'runtime', counters: runtimeCounters(node, control()) };
    case Request.STATISTICS_LINK:
      return { view: 'link', counters: allLinkCounters(node) };
    case Request.STATISTICS_RESEND_QUEUE:
      return { view: 'rsqueue', counters: resendElements(node) };
    case Request.STATISTICS_PROCESS:
      return { view: 'process', counters: [] };
    case Request.STATISTICS_QUEUE:
      return { view: 'queue', counters: queueCounters(node) };
    default:
      return undefined;
  }
}

function generalCounters(node: SyncNode): GeneralCounters {
  return {
    tables: tableCounters(node),
    traffic: {
      bytes: node.arena.sumShards(L.SHARD_TRAFFIC_BYTES),
      packets: node.arena.sumShards(L.SHARD_TRAFFIC_PACKETS),
    },
    link: linkCounters(node),
    tracking: networkCounters(node),
  };
}

/** Streams a cache; false when `code` is no dump. */
export async function dump(node: FlowNode, code: number, reply: Reply): Promise<boolean> {
  const write = (chunk: string): Promise<void> => reply.write(chunk);
  const plain = (kind: number): Promise<void> =>
    node.forEachFlow(kind, (flow, shown) => `${flowText(flow, shown)}\n`, write);
  const json = (kind: number): Promise<void> =>
    node.forEachFlow(kind, (flow, shown) => `${flowJson(flow, shown)}\n`, write);
  const xml = (kind: number): Promise<void> =>
    node.forEachFlow(kind, (flow, { timeout }) => `${flowXml(flow, { timeout })}\n`, write);
  switch (code) {
    case Request.DUMP_INTERNAL:
      await plain(L.TABLE_INTERNAL);
      return true;
    case Request.DUMP_EXTERNAL:
      await plain(L.TABLE_EXTERNAL);
      return true;
    case Request.DUMP_INTERNAL | AS_JSON:
      await json(L.TABLE_INTERNAL);
      return true;
    case Request.DUMP_EXTERNAL | AS_JSON:
      await json(L.TABLE_EXTERNAL);
      return true;
    case Request.DUMP_INTERNAL_XML:
      await xml(L.TABLE_INTERNAL);
      return true;
    case Request.DUMP_EXTERNAL_XML:
      await xml(L.TABLE_EXTERNAL);
      return true;
    default:
      return false;
  }
}

async function act({ node, log, terminate }: OrderParts, code: number): Promise<void> {
  switch (code) {
    case Request.FLUSH_CACHES:
    case Request.FLUSH_FLOW_CACHES:
      log.notice('flushing caches');
      return flush(node, true, true);
    case Request.FLUSH_INTERNAL:
      log.notice('flushing internal cache');
      return flush(node, true, false);
    case Request.FLUSH_EXTERNAL:
      log.notice('flushing external cache');
      return flush(node, false, true);
    case Request.FLUSH_KERNEL:
    case Request.FLUSH_KERNEL_FLOWS:
      log.notice('flushing kernel conntrack table');
      await node.flushKernel();
      if (code === Request.FLUSH_KERNEL) await flushKernelExpectations(node, log);
      return;
    case Request.RESYNC_KERNEL:
    case Request.RESYNC_KERNEL_FLOWS:
      log.notice('resync with master conntrack table');
      await node.resyncWithKernel();
      if (code === Request.RESYNC_KERNEL) await resyncExpectations(node, log);
      return;
    case Request.SEND_BULK:
      return node.sendBulk();
    case Request.REQUEST_RESYNC:
      return node.requestResync();
    case Request.SCHEDULE_PURGE:
      return node.schedulePurge();
    case Request.TERMINATE:
      return terminate();
    default:
      throw new CommandError('this command is not available in this version');
  }
}

async function flush(node: SyncNode, internal: boolean, external: boolean): Promise<void> {
  if (!(await node.flushCaches(internal, external))) {
    throw new CommandError('refused: a commit is still in progress');
  }
}
