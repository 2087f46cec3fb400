// What the daemon does, by the sections of its configuration: replicate (Sync), collect (Stats), or
// nothing but answer its control socket. One face for run.ts, which knows only beginning and end.

import * as L from '../../assembly/layout.js';
import type { Config } from '../config/index.js';
import type { Mode } from '../control/protocol.js';
import type { ControlCounters, Reply } from '../control/server.js';
import { StatsCollector } from './collector.js';
import type { FlowNode } from './flows.js';
import type { Log } from './log.js';
import { SyncNode } from './node.js';
import { carryOut } from './orders.js';
import { carryOutIdle, carryOutStats } from './stats-orders.js';

/** What an order may need of the daemon around the role. */
export interface Surroundings {
  log: Log;
  control: () => ControlCounters;
  /** Begins the shutdown. */
  terminate: () => void;
}

export interface Role {
  /** Undefined when no flows are followed. */
  readonly node: FlowNode | undefined;
  carryOut(around: Surroundings, code: number, reply: Reply): Promise<unknown>;
  /** One line for the service manager. */
  status(): string;
}

/** Opens what the configuration asks for; nothing runs before node.start(). */
export function makeRole(config: Config, log: Log, onFatal: (reason: string) => void): Role {
  const { sync, stats } = config;
  if (sync !== undefined) {
    const node = new SyncNode(config, sync, log, onFatal);
    const mode = syncMode(config);
    return {
      node,
      carryOut: (around, code, reply) => carryOut({ ...around, node, mode }, code, reply),
      status: () =>
        `${sync.mode}: ${living(node, L.TABLE_INTERNAL)} flows of this firewall, ` +
        `${living(node, L.TABLE_EXTERNAL)} of the other one`,
    };
  }
  if (stats !== undefined) {
    const node = new StatsCollector(config, stats, log, onFatal);
    return {
      node,
      carryOut: (around, code, reply) => carryOutStats({ ...around, node }, code, reply),
      status: () => `Stats: ${living(node, L.TABLE_INTERNAL)} flows`,
    };
  }
  const started = performance.now();
  return {
    node: undefined,
    carryOut: (around, code, reply) => carryOutIdle({ ...around, started }, code, reply),
    status: () => 'idle: neither Sync nor Stats is configured',
  };
}

function syncMode({ sync }: Config): Mode {
  const replication = sync!.mode.toLowerCase() as 'ftfw' | 'notrack' | 'alarm';
  return { kind: 'sync', replication, expectations: sync!.expectationSync !== false };
}

function living({ arena }: FlowNode, kind: number): number {
  return arena.sumTables(kind, L.TABLE_COUNT) - arena.sumTables(kind, L.TABLE_DEAD);
}
