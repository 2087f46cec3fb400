// The node's counters as the views of `conntrackd -s` want them. Counters live in the arena and in
// the links and are only read here; a view never asks a shard.

import * as L from '../../assembly/layout.js';
import type { DedicatedLink } from '../channel/link.js';
import type { ControlCounters } from '../control/server.js';
import type {
  BypassCounters,
  CacheCounters,
  ComparisonCounters,
  LinkCounters,
  NetworkCounters,
  QueueCounters,
  ResendElement,
  RuntimeCounters,
  TableCounters,
} from '../report/statistics.js';
import { waitingMessages } from '../sync/pace.js';
import type { FlowNode } from './flows.js';
import type { SyncNode } from './node.js';

const UNBOUNDED = 2147483647;

export function cacheCounters(node: FlowNode, kind: number): CacheCounters {
  const { arena } = node;
  const total = arena.sumTables(kind, L.TABLE_COUNT);
  return {
    kind: 'cache',
    name: kind === L.TABLE_INTERNAL ? 'internal' : 'external',
    active: total - arena.sumTables(kind, L.TABLE_DEAD),
    total,
    objects: total,
    created: arena.sumTableCounters(kind, L.TABLE_CREATED),
    createFailed: arena.sumTableCounters(kind, L.TABLE_CREATE_FAILED),
    noMemory: arena.sumTableCounters(kind, L.TABLE_NO_MEMORY),
    noSpace: arena.sumTableCounters(kind, L.TABLE_NO_SPACE),
    updated: arena.sumTableCounters(kind, L.TABLE_UPDATED),
    updateFailed: 0,
    updateNotFound: 0,
    destroyed: arena.sumTableCounters(kind, L.TABLE_DESTROYED),
    destroyFailed: 0,
    destroyNotFound: 0,
  };
}

/** What `-s` says of the internal and the external cache, or of what is in their place. */
export function tableCounters(node: SyncNode): TableCounters[] {
  const internal = node.bypass ? bypassCounters(node) : cacheCounters(node, L.TABLE_INTERNAL);
  const external = node.injector?.counters() ?? cacheCounters(node, L.TABLE_EXTERNAL);
  return [internal, external];
}

function bypassCounters({ arena }: SyncNode): BypassCounters {
  return {
    kind: 'bypass',
    created: arena.sumShards(L.SHARD_BYPASS_NEW),
    updated: arena.sumShards(L.SHARD_BYPASS_UPDATED),
    destroyed: arena.sumShards(L.SHARD_BYPASS_DESTROYED),
    dropped: arena.sumShards(L.SHARD_BYPASS_DROPPED),
  };
}

/** The link in use. */
export function linkCounters(node: SyncNode): LinkCounters {
  return allLinkCounters(node)[node.links.active]!;
}

/** Every dedicated link, in the order of the configuration. */
export function allLinkCounters({ links }: SyncNode): LinkCounters[] {
  return links.all.map((link, i) => countersOf(link, i === links.active));
}

function countersOf(link: DedicatedLink, active: boolean): LinkCounters {
  return {
    kind: link.kind,
    device: link.device,
    status: link.info.status,
    role: active ? 'ACTIVE' : 'BACKUP',
    bytesSent: link.bytesSent,
    bytesReceived: link.bytesReceived,
    packetsSent: link.packetsSent,
    packetsReceived: link.packetsReceived,
    sendErrors: link.sendErrors,
    receiveErrors: link.receiveErrors,
    serverConnected: link.serverConnected === true,
    clientConnected: link.clientConnected === true,
  };
}

export function networkCounters({ arena }: SyncNode): NetworkCounters {
  const of = (offset: number): bigint => arena.counter(arena.receiver + offset);
  const badPayload = arena.sumShards(L.SHARD_BAD_PAYLOAD);
  return {
    malformed: of(L.RECEIVER_MALFORMED) + badPayload,
    wrongVersion: of(L.RECEIVER_BAD_VERSION),
    malformedHeader: of(L.RECEIVER_BAD_HEADER),
    malformedPayload: badPayload,
    badType: of(L.RECEIVER_BAD_TYPE),
    truncated: of(L.RECEIVER_TRUNCATED),
    badSize: of(L.RECEIVER_BAD_SIZE),
    sendMalformed: arena.sumShards(L.SHARD_OVERSIZED),
    lost: of(L.RECEIVER_LOST),
    before: of(L.RECEIVER_BEFORE),
    ...(arena.limits.multicast && { strangers: of(L.RECEIVER_STRANGERS) }),
  };
}

/** Undefined where tables cannot be compared. */
export function comparisonCounters({ digests }: SyncNode): ComparisonCounters | undefined {
  if (digests === undefined) return undefined;
  const now = performance.now();
  return {
    external: digests.external(now),
    internal: digests.internal(now),
    ...digests.counters,
  };
}

export function runtimeCounters(node: FlowNode, control: ControlCounters): RuntimeCounters {
  const { arena, events, plane } = node;
  return {
    ...idleCounters(node.started, control),
    eventsReceived: arena.sumShards(L.SHARD_EVENTS),
    eventsFiltered: arena.sumShards(L.SHARD_FILTERED),
    eventsUnknown: arena.sumShards(L.SHARD_EVENT_BAD) + BigInt(plane.unknownEvents),
    catchFailed: events.overruns + events.failures + plane.cutEvents,
    eventsCut: plane.cutEvents,
    overruns: events.overruns,
    flushes: node.counters.flushes,
    resyncs: node.counters.resyncs,
    bufferSize: events.bufferSize,
  };
}

/** The runtime counters of a daemon that follows no flows. `started`: ms of the monotonic clock. */
export function idleCounters(started: number, control: ControlCounters): RuntimeCounters {
  return {
    uptime: Math.floor((performance.now() - started) / 1000),
    eventsReceived: 0,
    eventsFiltered: 0,
    eventsUnknown: 0,
    catchFailed: 0,
    eventsCut: 0,
    dumpUnknown: 0,
    overruns: 0,
    flushes: 0,
    resyncs: 0,
    bufferSize: 0,
    childFailed: 0,
    childSegfault: 0,
    childTerminated: 0,
    selectFailed: 0,
    waitFailed: 0,
    localReadFailed: control.readFailed,
    localUnknown: control.unknown,
  };
}

/** `txqueue`, `errorq` and, in FTFW, `rsqueue`. */
export function queueCounters({ arena, links }: SyncNode): QueueCounters[] {
  const waiting = waitingMessages(arena);
  const queues: QueueCounters[] = [
    {
      name: 'txqueue',
      elements: waiting,
      maximum: UNBOUNDED,
      noSpace: arena.sumShards(L.SHARD_BYPASS_DROPPED),
    },
    {
      name: 'errorq',
      elements: links.backlog.elements,
      maximum: arena.limits.errorQueueLength ?? 128,
      noSpace: links.backlog.dropped,
    },
  ];
  if (arena.limits.mode === L.MODE_FTFW) {
    queues.push({
      name: 'rsqueue',
      elements: arena.get(arena.sender + L.SENDER_HELD),
      maximum: arena.limits.resendQueueSize,
      noSpace: arena.counter(arena.sender + L.SENDER_PUSHED_OUT),
    });
  }
  return queues;
}

/** What the resend queue holds, oldest first. */
export function resendElements({ arena }: SyncNode): ResendElement[] {
  const { sender } = arena;
  const ring = arena.get(sender + L.SENDER_RING);
  const mask = arena.get(sender + L.SENDER_MASK);
  const next = arena.get(sender + L.SENDER_NEXT);
  const controls = arena.get(sender + L.SENDER_CONTROLS);
  const elements: ResendElement[] = [];
  for (let s = arena.get(sender + L.SENDER_TAIL); s !== next; s = (s + 1) >>> 0) {
    const entry = arena.get(ring + ((s & mask) >>> 0) * 4);
    if (entry === 0) continue;
    if (entry & L.ENTRY_CONTROL) {
      const slot = controls + (entry >>> 4) * L.CONTROL_SLOT_SIZE;
      const flags = arena.get(slot + L.CONTROL_SLOT_FLAGS);
      elements.push({ kind: 'control', sequence: s, flags: flags & 0xff });
    } else {
      elements.push({ kind: 'object', sequence: s });
    }
  }
  return elements;
}
