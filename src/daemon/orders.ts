// The operator's orders: a request of the control protocol, carried out on the node. Text goes back
// through the reply; a command that cannot be carried out throws a CommandError, which our client
// shows and a C client does not see.

import * as L from '../../assembly/layout.js';
import { CommandError, type Mode, Request, refusal } from '../control/protocol.js';
import type { ControlCounters, Reply } from '../control/server.js';
import { flowText } from '../report/flow.js';
import {
  cacheText,
  generalText,
  linksText,
  networkText,
  processText,
  queueText,
  resendQueueText,
  runtimeText,
} from '../report/statistics.js';
import { flowXml } from '../report/xml.js';
import type { Log } from './log.js';
import type { SyncNode } from './node.js';
import {
  allLinkCounters,
  cacheCounters,
  linkCounters,
  networkCounters,
  queueCounters,
  resendElements,
  runtimeCounters,
} from './statistics.js';

export interface OrderParts {
  node: SyncNode;
  log: Log;
  mode: Mode;
  control: () => ControlCounters;
  /** Begins the shutdown; the reply ends with the process. */
  terminate: () => void;
}

/** Carries out one request. */
export async function carryOut(parts: OrderParts, code: number, reply: Reply): Promise<void> {
  const refused = refusal(code, parts.mode);
  if (refused !== undefined) throw new CommandError(refused);
  const text = statistics(parts, code);
  if (text !== undefined) return reply.write(text);
  if (await dump(parts.node, code, reply)) return;
  await act(parts, code);
}

function statistics({ node, control }: OrderParts, code: number): string | undefined {
  switch (code) {
    case Request.STATISTICS:
      return generalText({
        tables: [cacheCounters(node, L.TABLE_INTERNAL), cacheCounters(node, L.TABLE_EXTERNAL)],
        traffic: {
          bytes: node.arena.sumShards(L.SHARD_TRAFFIC_BYTES),
          packets: node.arena.sumShards(L.SHARD_TRAFFIC_PACKETS),
        },
        link: linkCounters(node),
        tracking: networkCounters(node),
      });
    case Request.STATISTICS_NETWORK:
      return networkText(networkCounters(node), linkCounters(node));
    case Request.STATISTICS_CACHE:
      return cacheText([
        cacheCounters(node, L.TABLE_INTERNAL),
        cacheCounters(node, L.TABLE_EXTERNAL),
      ]);
    case Request.STATISTICS_RUNTIME:
      return runtimeText(runtimeCounters(node, control()));
    case Request.STATISTICS_LINK:
      return linksText(allLinkCounters(node));
    case Request.STATISTICS_RESEND_QUEUE:
      return resendQueueText(resendElements(node));
    case Request.STATISTICS_PROCESS:
      return processText([]);
    case Request.STATISTICS_QUEUE: {
      const queues = queueCounters(node);
      const nodes = queues.reduce((sum, queue) => sum + Number(queue.elements), 0);
      return queueText(nodes, queues);
    }
    default:
      return undefined;
  }
}

/** Streams a cache; false when `code` is no dump. */
async function dump(node: SyncNode, code: number, reply: Reply): Promise<boolean> {
  const write = (chunk: string): Promise<void> => reply.write(chunk);
  const plain = (kind: number): Promise<void> =>
    node.forEachFlow(
      kind,
      (flow, age) => `${flowText(flow, { timeout: false, active: age })}\n`,
      write,
    );
  const xml = (kind: number): Promise<void> =>
    node.forEachFlow(kind, (flow) => `${flowXml(flow)}\n`, write);
  switch (code) {
    case Request.DUMP_INTERNAL:
      await plain(L.TABLE_INTERNAL);
      return true;
    case Request.DUMP_EXTERNAL:
      await plain(L.TABLE_EXTERNAL);
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
    case Request.COMMIT:
    case Request.COMMIT_FLOWS:
      log.notice(
        code === Request.COMMIT ? 'committing all external caches' : 'committing conntrack cache',
      );
      if (!(await node.commit())) throw new CommandError('commit already in progress');
      return;
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
      return node.flushKernel();
    case Request.RESYNC_KERNEL:
    case Request.RESYNC_KERNEL_FLOWS:
      log.notice('resync with master conntrack table');
      return node.resyncWithKernel();
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
