// The operator's orders in Stats mode, and those of a daemon without Sync and Stats: which of them
// are answered at all is in control/protocol.ts (`refusal`).

import * as L from '../../assembly/layout.js';
import { AS_JSON, CommandError, Request, refusal } from '../control/protocol.js';
import type { ControlCounters, Reply } from '../control/server.js';
import type { RuntimeCounters } from '../report/statistics.js';
import { type StatisticsView, viewReply } from '../report/views.js';
import type { StatsCollector } from './collector.js';
import type { Log } from './log.js';
import { dump } from './orders.js';
import { cacheCounters, idleCounters, runtimeCounters } from './statistics.js';

interface Surroundings {
  log: Log;
  control: () => ControlCounters;
  /** Begins the shutdown; the reply ends with the process. */
  terminate: () => void;
}

export interface StatsOrderParts extends Surroundings {
  node: StatsCollector;
}

/** Carries out one request in Stats mode. */
export async function carryOutStats(
  parts: StatsOrderParts,
  code: number,
  reply: Reply,
): Promise<void> {
  const { node, log, control, terminate } = parts;
  refuse(code, 'stats');
  const view = statistics(node, control(), code & ~AS_JSON);
  if (view !== undefined) return reply.write(viewReply(view, (code & AS_JSON) !== 0));
  if (await dump(node, code, reply)) return;
  switch (code) {
    case Request.FLUSH_INTERNAL:
    case Request.FLUSH_FLOW_CACHES:
      log.notice('flushing caches');
      return node.flushCache();
    case Request.FLUSH_KERNEL:
    case Request.FLUSH_KERNEL_FLOWS:
      log.notice('flushing kernel conntrack table');
      return node.flushKernel();
    case Request.RESYNC_KERNEL:
    case Request.RESYNC_KERNEL_FLOWS:
      log.notice('resync with master conntrack table');
      return node.resyncWithKernel();
    case Request.TERMINATE:
      return terminate();
    default:
      throw new CommandError('this command is not available in Stats mode');
  }
}

function statistics(
  node: StatsCollector,
  control: ControlCounters,
  code: number,
): StatisticsView | undefined {
  const cache = { ...cacheCounters(node, L.TABLE_INTERNAL), name: 'stats' };
  switch (code) {
    case Request.STATISTICS:
      return {
        view: 'general',
        counters: {
          tables: [cache],
          traffic: {
            bytes: node.arena.sumShards(L.SHARD_TRAFFIC_BYTES),
            packets: node.arena.sumShards(L.SHARD_TRAFFIC_PACKETS),
          },
        },
      };
    case Request.STATISTICS_CACHE:
      return { view: 'cache', counters: [cache] };
    default:
      return views(runtimeCounters(node, control), code);
  }
}

/** Carries out one request of a daemon that has nothing to do. */
export async function carryOutIdle(
  { control, terminate, started }: Surroundings & { started: number },
  code: number,
  reply: Reply,
): Promise<void> {
  refuse(code, 'idle');
  const view = views(idleCounters(started, control()), code & ~AS_JSON);
  if (view !== undefined) return reply.write(viewReply(view, (code & AS_JSON) !== 0));
  if (code === Request.TERMINATE) return terminate();
  throw new CommandError('this command is not available without a Sync or Stats section');
}

function refuse(code: number, kind: 'stats' | 'idle'): void {
  const refused = refusal(code, { kind });
  if (refused !== undefined) throw new CommandError(refused);
}

function views(runtime: RuntimeCounters, code: number): StatisticsView | undefined {
  if (code === Request.STATISTICS_RUNTIME) return { view: 'runtime', counters: runtime };
  return code === Request.STATISTICS_PROCESS ? { view: 'process', counters: [] } : undefined;
}
