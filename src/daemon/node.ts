// A replicating node (Sync mode): puts the stations together and carries out the operator's orders.
// The data plane runs by itself from start() on; everything here is beside the road.

import * as L from '../../assembly/layout.js';
import { Arena } from '../cache/arena.js';
import { compileFilter } from '../cache/filter.js';
import { makeShards, type Shards } from '../cache/shards.js';
import { Turns } from '../cache/turns.js';
import { VERB } from '../cache/verbs.js';
import { type Core, compileModule, instantiate } from '../cache/wasm.js';
import type { DedicatedLinks } from '../channel/links.js';
import { type LinkOnDevice, linkLimits, openLinks } from '../channel/open.js';
import type { Config, Link, Sync } from '../config/index.js';
import { EventSocket } from '../kernel/events.js';
import {
  type InterfaceInfo,
  type InterfaceWatcher,
  readInterface,
  watchInterfaces,
} from '../kernel/links.js';
import { RequestSocket } from '../kernel/requests.js';
import { addressOf, close, errorText, eventfd } from '../kernel/syscalls.js';
import { flushKernelTable, readKernelTable, type TableParts } from '../kernel/table.js';
import { FlowReader, flowText } from '../report/flow.js';
import { Alarm } from '../sync/alarm.js';
import { commitFlows } from '../sync/commit.js';
import { Replication } from '../sync/replication.js';
import { DataPlane, monotonicSeconds } from './dataplane.js';
import type { Log } from './log.js';
import { shardCount, workerCount } from './workers.js';

const MODES = { FTFW: L.MODE_FTFW, NOTRACK: L.MODE_NOTRACK, ALARM: L.MODE_ALARM } as const;
/** Flows formatted between two turns of the data plane: under a millisecond. */
const DUMP_SLICE = 256;
/** Flow lines of failed commits in the log, per commit. */
const FAILURES_LOGGED = 1000;

export class StartError extends Error {}

export class SyncNode {
  readonly arena: Arena;
  readonly links: DedicatedLinks;
  readonly events: EventSocket;
  readonly plane: DataPlane;
  readonly replication: Replication;
  readonly shards: Shards;
  readonly workers: number;
  readonly started = performance.now();
  readonly counters = { flushes: 0, resyncs: 0 };
  private readonly core: Core;
  private readonly base: number;
  private readonly wake: number;
  private readonly commits: RequestSocket;
  private readonly flushes: RequestSocket;
  private readonly watcher: InterfaceWatcher;
  /** Work that talks to the kernel's table: one at a time. */
  private readonly kernelTurns = new Turns();
  /** Users of the snapshot buffer: one at a time. */
  private readonly snapshotTurns = new Turns();
  private committing = false;
  private purge: NodeJS.Timeout | undefined;
  private resync: NodeJS.Timeout | undefined;
  private bufferFull = false;
  private lastSpaceRefused = 0n;
  private lastBadPayload = 0n;
  private readonly watchdog: NodeJS.Timeout;

  /**
   * Opens everything: sockets, shards, caches. Throws StartError, SystemCallError or
   * MissingCapability when the node cannot run; whatever was opened ends with the process then.
   */
  constructor(
    private readonly config: Config,
    private readonly sync: Sync,
    private readonly log: Log,
    private readonly onFatal: (reason: string) => void,
  ) {
    const { general } = config;
    const links = linksOnDevices(sync.links);
    this.workers = workerCount(general.workers);
    this.arena = new Arena({
      shards: shardCount(this.workers),
      hashLimit: general.hashLimit,
      resendQueueSize: sync.resendQueueSize,
      ...linkLimits(links),
      shardOptions: shardOptions(sync),
      mode: MODES[sync.mode],
      ackWindowSize: sync.ackWindowSize,
      firstSequence: firstSequence(),
      ...(general.filter === undefined ? {} : { filter: compileFilter(general.filter) }),
    });
    this.base = addressOf(this.arena.memory);
    const module = compileModule();
    this.core = instantiate(module, this.arena.memory);
    this.arena.set(L.CONTROL_NOW, monotonicSeconds());
    this.links = this.openLinks(links);
    this.watcher = watchInterfaces(
      (info) => this.links.interfaceChanged(info, performance.now()),
      (error) => log.limited('error', 'watcher', `interface watcher: ${error.message}`),
    );
    this.wake = eventfd();
    this.shards = makeShards(this.arena, module, this.core, this.workers, this.wake, (i, why) =>
      this.workerDied(i, why),
    );
    this.commits = new RequestSocket(this.arena, this.base, "can't create handler to commit");
    this.flushes = new RequestSocket(this.arena, this.base, 'cannot open flusher handler');
    this.arena.set(L.CONTROL_PORT_COMMIT, this.commits.port);
    this.arena.set(L.CONTROL_PORT_FLUSH, this.flushes.port);
    this.events = this.openEvents();
    this.replication = new Replication(this.arena, this.base, this.core, this.shards, this.links, {
      startupResync: sync.startupResync,
      onResyncRequest: () => {
        log.notice('resync requested by other node');
        this.sendBulk();
      },
      onPeerStart: () => log.limited('info', 'peer', 'the peer has started'),
      onHeard: (now) => this.links.heard(now),
    });
    this.plane = new DataPlane({
      arena: this.arena,
      base: this.base,
      core: this.core,
      shards: this.shards,
      wake: this.wake,
      events: this.events,
      links: this.links,
      replication: this.replication,
      alarm:
        sync.mode === 'ALARM'
          ? new Alarm(this.arena, this.shards, sync, performance.now())
          : undefined,
      coalesceTime: general.coalesceTime,
      onOverrun: () => this.overrun(),
    });
    this.watchdog = setInterval(() => this.reportRefusals(), 1000);
    this.watchdog.unref();
  }

  /** Starts the data plane and reads the kernel's table. Resolves when the caches are complete. */
  async start(): Promise<void> {
    this.plane.start(this.onFatal);
    await this.kernelTurns.run(() =>
      readKernelTable(this.tableParts(), { replicate: false, purge: false }),
    );
    if (this.sync.startupResync) this.log.notice('resync requested');
  }

  async stop(): Promise<void> {
    clearInterval(this.watchdog);
    clearTimeout(this.purge);
    clearTimeout(this.resync);
    await this.plane.stop();
    await this.shards.stop();
    this.watcher.close();
    this.events.close();
    this.commits.close();
    this.flushes.close();
    this.links.close();
    close(this.wake);
  }

  // ------------------------------------------------------------------------ the operator's orders

  /** `-c`: the external cache into the kernel. False when a commit is already under way. */
  async commit(): Promise<boolean> {
    this.cancelPurge();
    if (this.committing) {
      this.log.notice('commit already in progress, skipping');
      return false;
    }
    this.committing = true;
    let logged = 0;
    try {
      const result = await this.kernelTurns.run(() =>
        commitFlows(
          {
            arena: this.arena,
            shards: this.shards,
            requests: this.commits,
            pause: () => this.pause(),
            onFailure: (step, error, record) => {
              if (logged++ < FAILURES_LOGGED) this.logFailure(step, error, record);
            },
          },
          this.sync.commitTimeout ?? 0,
        ),
      );
      this.log.notice(`Committed ${result.committed} new entries`);
      if (result.failed > 0) this.log.notice(`${result.failed} entries can't be committed`);
      this.log.notice(`commit has taken ${result.seconds.toFixed(6)} seconds`);
    } finally {
      this.committing = false;
    }
    return true;
  }

  /** `-f`: empties caches. False, with an error in the log, while a commit needs them. */
  async flushCaches(internal: boolean, external: boolean): Promise<boolean> {
    if (external && this.committing) {
      this.log.error('ignoring flush command, commit still in progress');
      return false;
    }
    this.cancelPurge();
    if (internal) await this.onAllShards(VERB.flush, L.TABLE_INTERNAL);
    if (external) await this.onAllShards(VERB.flush, L.TABLE_EXTERNAL);
    return true;
  }

  /** `-F`: deletes the kernel's flows, one by one. */
  async flushKernel(): Promise<void> {
    this.counters.flushes++;
    await this.kernelTurns.run(() => flushKernelTable(this.tableParts(), this.flushes));
  }

  /** `-R`: the kernel's table into the internal cache; nothing is removed, nothing is sent. */
  async resyncWithKernel(): Promise<void> {
    this.counters.resyncs++;
    await this.kernelTurns.run(() =>
      readKernelTable(this.tableParts(), { replicate: false, purge: false }),
    );
  }

  /** `-B`: all our flows to the peers. */
  sendBulk(): void {
    this.log.notice('sending bulk update');
    this.replication.sendBulk();
  }

  /** `-n`: asks the peers for all theirs. */
  requestResync(): void {
    this.log.notice('resync requested');
    this.replication.requestResync();
  }

  /** `-t`: in PurgeTimeout seconds the kernel's flows go; a purge that is pending stays as it is. */
  schedulePurge(): void {
    if (this.purge !== undefined) return;
    const seconds = this.sync.purgeTimeout;
    this.log.notice(`flushing conntrack table in ${seconds} secs`);
    this.purge = setTimeout(() => {
      this.purge = undefined;
      this.log.notice('flushing kernel conntrack table (scheduled)');
      this.flushKernel()
        .then(() => this.onAllShards(VERB.flush, L.TABLE_INTERNAL))
        .catch((error: unknown) => this.log.error(`the scheduled purge failed: ${text(error)}`));
    }, seconds * 1000);
  }

  /** Calls `visit` with every living flow of a cache, a slice at a time. */
  async forEachFlow(
    kind: number,
    visit: (flow: FlowReader, age: number) => string,
    write: (chunk: string) => Promise<void>,
  ): Promise<void> {
    const { arena, shards } = this;
    const { buffer } = arena.snapshots;
    const reader = new FlowReader(arena.view, buffer);
    for (let shard = 0; shard < shards.count; shard++) {
      let cursor = 0;
      do {
        const chunk = await this.snapshotTurns.run(async () => {
          const count = await shards.call(
            shard,
            VERB.snapshot,
            ...[cursor, kind, buffer, DUMP_SLICE],
          );
          cursor = arena.get(arena.shard(shard) + L.SHARD_CURSOR);
          let lines = '';
          for (let i = 0; i < count; i++) {
            const at = buffer + i * L.SNAPSHOT_SIZE;
            const added = arena.get(at + L.SNAPSHOT_ADDED);
            lines += visit(reader.at(at), Math.max(0, monotonicSeconds() - added));
          }
          return lines;
        });
        if (chunk !== '') await write(chunk);
        await this.pause();
      } while (cursor !== 0);
    }
  }

  // ------------------------------------------------------------------------------------- inside

  private openEvents(): EventSocket {
    const { general } = this.config;
    const { netlinkBufferSize, netlinkBufferSizeMaxGrowth, netlinkEventsReliable } = general;
    const events = new EventSocket(this.base, {
      bufferSize: netlinkBufferSize,
      bufferMax: netlinkBufferSizeMaxGrowth,
      reliable: netlinkEventsReliable,
    });
    if (netlinkBufferSize !== undefined && netlinkBufferSize <= netlinkBufferSizeMaxGrowth) {
      this.log.notice(
        `netlink event socket buffer size has been set to ${events.bufferSize} bytes`,
      );
    } else {
      this.log.notice(
        'NetlinkBufferSize is either not set or is greater than NetlinkBufferSizeMaxGrowth. ' +
          'Using current system buffer size',
      );
    }
    if (netlinkEventsReliable) this.log.notice('reliable ctnetlink event delivery is ENABLED.');
    return events;
  }

  private tableParts(): TableParts {
    const { arena, base, core, shards } = this;
    return { arena, base, core, shards, pause: () => this.pause() };
  }

  /** Lets the data plane have its turn, then everybody else. */
  private pause(): Promise<void> {
    this.plane.turn();
    return new Promise((resolve) => setImmediate(resolve));
  }

  private async onAllShards(verb: VERB, ...args: number[]): Promise<void> {
    const answers: Promise<number>[] = [];
    for (let i = 0; i < this.shards.count; i++) answers.push(this.shards.call(i, verb, ...args));
    await Promise.all(answers);
  }

  private cancelPurge(): void {
    clearTimeout(this.purge);
    this.purge = undefined;
  }

  /** The kernel dropped events: a larger buffer now, a comparison with its table later. */
  private overrun(): void {
    const size = this.events.grow();
    if (size !== undefined) {
      this.log.notice(`netlink event socket buffer size has been doubled to ${size} bytes`);
    } else if (!this.bufferFull) {
      this.bufferFull = true;
      this.log.warning(
        'netlink event socket buffer size cannot be doubled further since it will exceed ' +
          'NetlinkBufferSizeMaxGrowth. We are likely to be losing events, this may lead to ' +
          'unsynchronized replicas. Please, consider increasing netlink socket buffer size via ' +
          'NetlinkBufferSize and NetlinkBufferSizeMaxGrowth clauses in conntrackd.conf',
      );
    }
    const delay = this.config.general.netlinkOverrunResync;
    if (delay === undefined || this.resync !== undefined) return; // a stream of them postpones nothing
    this.resync = setTimeout(() => {
      this.resync = undefined;
      this.counters.resyncs++;
      this.log.notice('resync with the kernel after an overrun of the event socket');
      this.kernelTurns
        .run(() => readKernelTable(this.tableParts(), { replicate: true, purge: true }))
        .catch((error: unknown) => this.log.error(`resync failed: ${text(error)}`));
    }, delay * 1000);
  }

  /** Once a second: what was refused since, one line each. */
  private reportRefusals(): void {
    const { arena } = this;
    const space =
      arena.sumTableCounters(L.TABLE_INTERNAL, L.TABLE_CREATE_FAILED) +
      arena.sumTableCounters(L.TABLE_EXTERNAL, L.TABLE_CREATE_FAILED);
    if (space > this.lastSpaceRefused) {
      const limit = this.config.general.hashLimit;
      this.log.limited(
        'warning',
        'space',
        `${space - this.lastSpaceRefused} flows refused: a cache holds its HashLimit of ${limit}`,
      );
      this.lastSpaceRefused = space;
    }
    const bad =
      arena.counter(arena.receiver + L.RECEIVER_MALFORMED) + arena.sumShards(L.SHARD_BAD_PAYLOAD);
    if (bad > this.lastBadPayload) {
      this.log.limited(
        'warning',
        'malformed',
        `${bad - this.lastBadPayload} malformed sync messages ignored (see -s network)`,
      );
      this.lastBadPayload = bad;
    }
  }

  private openLinks(links: readonly LinkOnDevice[]): DedicatedLinks {
    const { arena, base, core, log } = this;
    const report = (level: 'info' | 'warning', text: string): void =>
      log.limited(level, text, text);
    return openLinks({ arena, base, core, report }, links, {
      listening: this.sync.mode !== 'ALARM',
      onMove: (device, move) => {
        if (device === undefined) log.error('no dedicated links available!');
        else if (move?.again !== true) log.notice(`device \`${device}' becomes dedicated link`);
      },
      onStatus: ({ device, info }) => {
        if (info.status === 'RUNNING') log.notice(`device \`${device}' is back`);
        else log.warning(`device \`${device}' is ${info.status}`);
      },
    });
  }

  private workerDied(shard: number, reason: unknown): void {
    this.onFatal(
      `the worker of shard ${shard} died (${text(reason)}): its flows are lost, the daemon ends. ` +
        'Start it again; it reads the kernel and asks the peer anew',
    );
  }

  private logFailure(step: string, error: number, record: number): void {
    this.log.error(`commit-${step}: ${errorText(error)}`);
    this.core.snapshotRecord(record, this.arena.scratch);
    this.log.flow('error', flowText(new FlowReader(this.arena.view, this.arena.scratch)));
  }
}

function text(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}

/**
 * Microseconds, so that a restarted node begins ahead of every number its former life has used. A
 * peer that still owes the former life an answer to its HELLO then takes the new numbers for a gap,
 * which is harmless, and not for old messages, which it would drop.
 */
function firstSequence(): number {
  return (Date.now() * 1000) % 2 ** 32;
}

function linksOnDevices(links: readonly Link[]): LinkOnDevice[] {
  if (links.length === 0) throw new StartError("can't open channel socket: no dedicated link");
  return links.map((link) => ({ link, info: deviceOf(link) }));
}

function deviceOf(link: Link): InterfaceInfo {
  const name = link.interface ?? '';
  const device = name === '' ? undefined : readInterface(name);
  if (device === undefined) {
    throw new StartError(`can't open channel socket: no interface \`${name}'`);
  }
  return device;
}

function shardOptions(sync: Sync): number {
  let options = 0;
  if (sync.mode === 'FTFW') options |= L.SHARD_ACKNOWLEDGED;
  if (sync.commitTimeout !== undefined) options |= L.SHARD_OMIT_TIMEOUT;
  if (sync.tcpWindowTracking) options |= L.SHARD_WINDOW_TRACKING;
  return options;
}
