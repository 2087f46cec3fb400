// What a node of either mode does with the kernel's flows: keep them in shards, follow the kernel's
// events, read its table, delete from it, show a cache. Sync (node.ts) adds the peers to that, Stats
// (collector.ts) the flow log.
//
// Main owns everything here. Only the data plane's turns are on the road; whoever works long calls
// pause() in between, so that neither events nor peers wait.

import * as L from '../../assembly/layout.js';
import { Arena, type ArenaLimits } from '../cache/arena.js';
import { compileFilter } from '../cache/filter.js';
import { makeShards, type Shards } from '../cache/shards.js';
import { Turns } from '../cache/turns.js';
import { VERB } from '../cache/verbs.js';
import { type Core, compileModule, instantiate } from '../cache/wasm.js';
import type { Config } from '../config/index.js';
import type { EventSource } from '../kernel/events.js';
import { RequestSocket } from '../kernel/requests.js';
import { addressOf, close, eventfd, preferLargePages } from '../kernel/syscalls.js';
import {
  flushKernelTable,
  readKernelTable,
  type TableParts,
  type TableReading,
} from '../kernel/table.js';
import { FlowReader } from '../report/flow.js';
import { type DataPlane, monotonicSeconds } from './dataplane.js';
import { eventLimit, filterEvents, openEvents } from './event-source.js';
import type { Log } from './log.js';
import { Polling } from './polling.js';
import { Resync } from './resync.js';
import { shardCount, workerCount } from './workers.js';

/** Flows formatted between two turns of the data plane: under a millisecond. */
const DUMP_SLICE = 256;

/** What the mode decides about the arena; the rest follows from General. */
export type ModeLimits = Omit<ArenaLimits, 'shards' | 'hashLimit' | 'filter'>;

/** What is said of a flow beside the flow: see FlowTextOptions in report/flow.ts. */
export interface ShownWith {
  /** The seconds left are part of it. */
  timeout: boolean;
  /** Seconds since the entry was added to its cache. */
  active?: number | undefined;
  /** Seconds until the entry is forgotten. */
  expires?: number | undefined;
}

export type FlowVisit = (flow: FlowReader, shown: ShownWith) => string;

export abstract class FlowNode {
  readonly arena: Arena;
  readonly events: EventSource;
  readonly shards: Shards;
  readonly workers: number;
  readonly started = performance.now();
  readonly counters = { flushes: 0, resyncs: 0 };
  abstract readonly plane: DataPlane;
  protected readonly core: Core;
  /** Address of the arena in this process. */
  protected readonly base: number;
  protected readonly wake: number;
  protected readonly flushes: RequestSocket;
  /** Work that talks to the kernel's table: one at a time. */
  protected readonly kernelTurns = new Turns();
  /** Users of the snapshot buffer: one at a time. */
  private readonly snapshotTurns = new Turns();
  protected readonly resync = new Resync({
    delay: () => (this.comparable ? this.config.general.netlinkOverrunResync : undefined),
    compare: () => this.compareWithKernel(),
    begun: () => {
      this.counters.resyncs++;
      this.log.notice('resync with the kernel after an overrun of the event socket');
    },
    failed: (error) => this.log.error(`resync failed: ${reasonText(error)}`),
  });
  private polling: Polling | undefined;
  private bufferFull = false;
  private lastSpaceRefused = 0n;

  /**
   * Opens sockets, shards and caches. Throws SystemCallError or MissingCapability when the node
   * cannot run; whatever was opened ends with the process then.
   */
  constructor(
    protected config: Config,
    protected readonly log: Log,
    protected readonly onFatal: (reason: string) => void,
    limits: ModeLimits,
  ) {
    const { general } = config;
    this.workers = workerCount(general.workers);
    this.arena = new Arena({
      shards: shardCount(this.workers),
      hashLimit: general.hashLimit,
      ...limits,
      ...(general.filter === undefined ? {} : { filter: compileFilter(general.filter) }),
    });
    this.base = addressOf(this.arena.memory);
    for (const { start, length } of this.arena.growing) preferLargePages(this.base + start, length);
    const module = compileModule();
    this.core = instantiate(module, this.arena.memory);
    this.arena.set(L.CONTROL_NOW, monotonicSeconds());
    this.wake = eventfd();
    this.flushes = new RequestSocket(this.arena, this.base, 'cannot open flusher handler');
    this.arena.set(L.CONTROL_PORT_FLUSH, this.flushes.port);
    const expectations = limits.expectations !== undefined;
    this.events = openEvents(this.base, general, log, expectations);
    this.shards = makeShards(this.arena, module, this.core, this.workers, this.wake, (i, why) =>
      this.workerDied(i, why),
    );
  }

  /** Starts the data plane and reads the kernel's table. Resolves when the caches are complete. */
  async start(): Promise<void> {
    this.plane.eventLimit = eventLimit(this.config) ?? this.plane.eventLimit;
    this.filterInKernel();
    this.plane.start(this.onFatal);
    await this.kernelTurns.run(() =>
      readKernelTable(this.tableParts(), { replicate: false, purge: false }),
    );
    const { pollSecs } = this.config.general;
    if (pollSecs === undefined) return;
    this.polling = new Polling(
      pollSecs,
      () => this.compareWithKernel(),
      (error) => this.log.error(`polling failed: ${reasonText(error)}`),
    );
    this.polling.start();
  }

  async stop(): Promise<void> {
    this.resync.stop();
    this.polling?.stop();
    await this.plane.stop();
    await this.shards.stop();
    this.events.close();
    this.flushes.close();
    close(this.wake);
  }

  // ------------------------------------------------------------------------ the operator's orders

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

  /** SIGHUP: takes over what can change while running. Throws when that fails. */
  async reconfigure(config: Config): Promise<void> {
    const { general } = config;
    const before = this.config.general.filter;
    this.config = config;
    this.plane.setCoalesceTime(general.coalesceTime);
    this.events.setBufferMax(general.netlinkBufferSizeMaxGrowth);
    if (general.filter === before) return;
    if (!this.arena.setFilter(general.filter && compileFilter(general.filter))) {
      throw new Error('the new Filter has too many addresses to change at run time: restart');
    }
    await this.onAllShards(VERB.pump); // nobody reads the old one any more
    await this.refilter();
  }

  /** Calls `visit` with every living flow of a cache, a slice at a time. */
  async forEachFlow(
    kind: number,
    visit: FlowVisit,
    write: (chunk: string) => Promise<void>,
  ): Promise<void> {
    const { arena, shards } = this;
    const { buffer } = arena.snapshots;
    const reader = new FlowReader(arena.view, buffer);
    for (let shard = 0; shard < shards.count; shard++) {
      let cursor = 0;
      do {
        const chunk = await this.snapshotTurns.run(async () => {
          const slice = await shards.callSlice(
            shard,
            VERB.snapshot,
            ...[cursor, kind, buffer, DUMP_SLICE],
          );
          cursor = slice.cursor;
          let lines = '';
          for (let i = 0; i < slice.count; i++) {
            const at = buffer + i * L.SNAPSHOT_SIZE;
            const added = arena.get(at + L.SNAPSHOT_ADDED);
            const active = Math.max(0, monotonicSeconds() - added);
            const expires = this.expiresIn(kind, arena.get(at + L.SNAPSHOT_STAMP));
            lines += visit(reader.at(at), { timeout: false, active, expires });
          }
          return lines;
        });
        if (chunk !== '') await write(chunk);
        await this.pause();
      } while (cursor !== 0);
    }
  }

  // ------------------------------------------------------------------------------------- inside

  /** Seconds until an entry of a cache expires that was last heard of at `stamp`, if it does. */
  protected expiresIn(_kind: number, _stamp: number): number | undefined {
    return undefined;
  }

  /** The filter is another one: the cache is made to hold what it lets through. */
  protected async refilter(): Promise<void> {
    this.filterInKernel(); // first: what it drops now may be wanted
    await this.compareWithKernel();
  }

  /** Gives the kernel the filter in force, if it is to filter (Filter From Kernelspace). */
  protected filterInKernel(): void {
    const { general } = this.config;
    const filter = general.filter && compileFilter(general.filter);
    filterEvents(this.events, this.arena, general, filter, this.log);
  }

  /** Is there a cache to compare with the kernel's table? */
  protected get comparable(): boolean {
    return true;
  }

  /** The cache becomes what the kernel's table is, and the peers hear of every difference. */
  protected async compareWithKernel(replicate: TableReading['replicate'] = true): Promise<void> {
    await this.kernelTurns.run(() =>
      readKernelTable(this.tableParts(), { replicate, purge: true }),
    );
  }

  protected tableParts(): TableParts {
    const { arena, base, core, shards } = this;
    return { arena, base, core, shards, pause: () => this.pause() };
  }

  /** Lets the data plane have its turn, then everybody else. True when it found something to do. */
  protected pause(): Promise<boolean> {
    const { busy } = this.plane.turn();
    return new Promise((resolve) => setImmediate(resolve, busy));
  }

  protected async onAllShards(verb: VERB, ...args: number[]): Promise<void> {
    const answers: Promise<number>[] = [];
    for (let i = 0; i < this.shards.count; i++) answers.push(this.shards.call(i, verb, ...args));
    await Promise.all(answers);
  }

  /** The kernel dropped events: a larger buffer now, a comparison with its table later. */
  protected overrun(): void {
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
    this.resync.due();
  }

  /** An event was longer than its place: a larger buffer would not help, a comparison does. */
  protected eventsCut(datagrams: number): void {
    this.log.limited(
      'warning',
      'cut',
      `${datagrams} events of the kernel were too long to be read: a resync is due`,
    );
    this.resync.due();
  }

  /** Flows that a full cache refused since the last call: one line. */
  protected reportFull(): void {
    const { arena } = this;
    const refused =
      arena.sumTableCounters(L.TABLE_INTERNAL, L.TABLE_CREATE_FAILED) +
      arena.sumTableCounters(L.TABLE_EXTERNAL, L.TABLE_CREATE_FAILED);
    if (refused <= this.lastSpaceRefused) return;
    const limit = this.config.general.hashLimit;
    this.log.limited(
      'warning',
      'space',
      `${refused - this.lastSpaceRefused} flows refused: a cache holds its HashLimit of ${limit}`,
    );
    this.lastSpaceRefused = refused;
  }

  private workerDied(shard: number, reason: unknown): void {
    this.onFatal(
      `the worker of shard ${shard} died (${reasonText(reason)}): its flows are lost, the daemon ` +
        'ends. Start it again; it reads the kernel and asks the peer anew',
    );
  }
}

export function reasonText(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
