// A collecting node (Stats mode): follows the kernel's flows in one cache and writes a line for each
// that ended. No peers, no external cache, no commits.
//
//   kernel events ─▶ shard: cache `stats` ─▶ ring of ended flows ─▶ main: text ─▶ flow log
//
// The shard copies the flow of the DESTROY event, counters included, into its ring
// (assembly/report.ts); main formats some hundred a turn. Flows that a comparison with the kernel
// finds missing (lost events) are logged too, as they were last known.

import * as L from '../../assembly/layout.js';
import { VERB } from '../cache/verbs.js';
import type { Config, Stats } from '../config/index.js';
import { readKernelTable } from '../kernel/table.js';
import { FlowReader, flowText } from '../report/flow.js';
import { flowJson } from '../report/json.js';
import { calendarTime } from '../report/time.js';
import { DataPlane } from './dataplane.js';
import { FlowLog } from './flowlog.js';
import { FlowNode } from './flows.js';
import type { Log } from './log.js';

/** Lines formatted per turn: about 4 ms. */
const LINES_PER_TURN = 1024;
/** There is no link; the arena wants a size. */
const NO_PAYLOAD = 1472;

export class StatsCollector extends FlowNode {
  readonly plane: DataPlane;
  readonly flowLog: FlowLog;
  private readonly reader: FlowReader;
  private lastLost = 0n;
  private readonly watchdog: NodeJS.Timeout;

  /** Opens everything. Throws as FlowNode does, and LogFileError. */
  constructor(
    config: Config,
    private stats: Stats,
    log: Log,
    onFatal: (reason: string) => void,
  ) {
    // First: a file that cannot be opened fails the start before anything else is there.
    const flowLog = new FlowLog(stats, (reason) => log.limited('error', 'flowlog', reason));
    super(config, log, onFatal, {
      resendQueueSize: 1,
      payloadMax: NO_PAYLOAD,
      shardOptions: L.SHARD_SILENT | L.SHARD_REPORT,
      mode: L.MODE_NOTRACK,
      ackWindowSize: 1,
      firstSequence: 1,
    });
    this.flowLog = flowLog;
    this.reader = new FlowReader(this.arena.view, this.arena.scratch);
    this.plane = new DataPlane({
      arena: this.arena,
      base: this.base,
      core: this.core,
      shards: this.shards,
      wake: this.wake,
      events: this.events,
      peers: undefined,
      alarm: undefined,
      coalesceTime: config.general.coalesceTime,
      onOverrun: () => this.overrun(),
      onCut: (datagrams) => this.eventsCut(datagrams),
      reports: { take: () => this.logEnded(), waiting: () => this.endedWait() },
    });
    this.watchdog = setInterval(() => this.reportRefusals(), 1000);
    this.watchdog.unref();
  }

  override async stop(): Promise<void> {
    clearInterval(this.watchdog);
    await super.stop();
    while (this.logEnded());
    this.flowLog.close();
  }

  /** `-f internal`: empties the cache; its flows have not ended, so none is logged. */
  async flushCache(): Promise<void> {
    await this.onAllShards(VERB.flush, L.TABLE_INTERNAL);
  }

  /** Also opens the flow log anew. Throws LogFileError then, and logs on as before. */
  override async reconfigure(config: Config): Promise<void> {
    const stats = config.stats ?? this.stats;
    this.flowLog.retarget(stats);
    this.stats = stats;
    await super.reconfigure(config);
  }

  /** What a new filter refuses has not ended: it leaves the cache without a line. */
  protected override async refilter(): Promise<void> {
    this.filterInKernel();
    await this.kernelTurns.run(() =>
      readKernelTable(this.tableParts(), { replicate: false, purge: 'unreported' }),
    );
  }

  /** Formats ended flows, a bounded number; true when more wait. */
  private logEnded(): boolean {
    let room = LINES_PER_TURN;
    for (let i = 0; i < this.shards.count; i++) room -= this.logShard(this.arena.shard(i), room);
    if (room < LINES_PER_TURN) this.flowLog.flush();
    return room === 0 && this.endedWait();
  }

  private logShard(shard: number, most: number): number {
    const { arena } = this;
    const tailIndex = (shard + L.SHARD_REPORT_TAIL) / 4;
    const ring = arena.get(shard + L.SHARD_REPORT_RING);
    const tail = arena.i32[tailIndex]!;
    const head = Atomics.load(arena.i32, (shard + L.SHARD_REPORT_HEAD) / 4);
    const count = Math.min(most, (head - tail) | 0);
    const now = BigInt(Date.now()) * 1_000_000n;
    const time = calendarTime(now);
    for (let i = 0; i < count; i++) {
      const slot = ring + ((tail + i) & (L.REPORT_SLOTS - 1)) * L.FLOW_SIZE;
      this.logFlow(slot, now, time);
    }
    if (count > 0) Atomics.store(arena.i32, tailIndex, (tail + count) | 0);
    return count;
  }

  private logFlow(slot: number, now: bigint, time: string): void {
    const flow = this.reader.at(slot);
    if (this.stats.logFormat === 'json') {
      const text = flowJson(this.stamped(slot, now), { event: 'destroy', timeout: false });
      this.flowLog.add(text, text);
    } else {
      // A flow that was deleted early still has a timeout; of a flow that ended it says nothing.
      const text = flowText(flow, { timeout: false });
      this.flowLog.add(`${time}\t${text}`, text);
    }
  }

  /** The kernel stamps no events unless asked: then the time is ours. */
  private stamped(slot: number, now: bigint): FlowReader {
    const { view } = this.arena;
    const observed = view.getUint32(slot + L.FLOW_OBSERVED, true);
    if (!(observed & L.SAW_TIME_EVENT)) {
      view.setBigUint64(slot + L.FLOW_TIME_EVENT, now, true);
      view.setUint32(slot + L.FLOW_OBSERVED, observed | L.SAW_TIME_EVENT, true);
    }
    return this.reader.at(slot);
  }

  private endedWait(): boolean {
    const { arena } = this;
    for (let i = 0; i < this.shards.count; i++) {
      const shard = arena.shard(i);
      const head = Atomics.load(arena.i32, (shard + L.SHARD_REPORT_HEAD) / 4);
      if (head !== arena.i32[(shard + L.SHARD_REPORT_TAIL) / 4]) return true;
    }
    return false;
  }

  /** Once a second: what was refused or not logged since. */
  private reportRefusals(): void {
    this.reportFull();
    const lost = this.arena.sumShards(L.SHARD_REPORT_LOST) + BigInt(this.flowLog.lost);
    if (lost > this.lastLost) {
      const since = lost - this.lastLost;
      this.log.limited('warning', 'lost', `${since} flows ended without a line in the flow log`);
      this.lastLost = lost;
    }
  }
}
