// What the service manager (systemd) is told: ready, reloading, stopping, a line of status, and the
// watchdog's pings. A ping says that flows are being handled, not that a process exists: it is sent
// from the data plane's turn, and only when every shard got through what it was given before the
// ping before. Sources: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5).

import type { Shards } from '../cache/shards.js';
import type { ServiceManager } from '../kernel/notify.js';

/** ms between two status lines. */
const STATUS_EVERY = 5000;

export interface Supervised {
  /** The shards whose progress counts; undefined when there are none. */
  shards: Shards | undefined;
  /** One line for `systemctl status`. */
  status: () => string;
}

export class Supervision {
  private lastPing = Number.NEGATIVE_INFINITY;
  private lastStatus = Number.NEGATIVE_INFINITY;
  private status = '';
  /** Positions that each shard must have reached by the next ping. */
  private marks: number[];

  /**
   * `manager`: undefined when nobody supervises us; then nothing happens. `watchdog`: ms within
   * which the manager wants to hear of us, undefined if it does not.
   */
  constructor(
    private readonly manager: ServiceManager | undefined,
    private readonly watchdog: number | undefined,
    private readonly supervised: Supervised,
  ) {
    const { shards } = supervised;
    this.marks = new Array<number>(shards?.count ?? 0).fill(0);
    this.mark();
  }

  /** ms between pings, half of what is allowed; undefined without a watchdog. */
  get interval(): number | undefined {
    return this.manager && this.watchdog && this.watchdog / 2;
  }

  ready(): void {
    this.status = this.supervised.status();
    this.manager?.notify('READY=1', `STATUS=${this.status}`);
  }

  reloading(): void {
    const microseconds = process.hrtime.bigint() / 1000n; // the clock of CLOCK_MONOTONIC
    this.manager?.notify('RELOADING=1', `MONOTONIC_USEC=${microseconds}`);
  }

  stopping(): void {
    this.manager?.notify('STOPPING=1');
    this.manager?.close();
  }

  /** The data plane has had a turn. `now` in ms of performance.now(). */
  progress(now: number): void {
    if (this.manager === undefined) return;
    const { interval } = this;
    if (interval !== undefined && now - this.lastPing >= interval && this.shardsMoved()) {
      this.lastPing = now;
      this.mark();
      this.manager.notify('WATCHDOG=1');
    }
    if (now - this.lastStatus >= STATUS_EVERY) this.tellStatus(now);
  }

  private tellStatus(now: number): void {
    this.lastStatus = now;
    const status = this.supervised.status();
    if (status === this.status) return;
    this.status = status;
    this.manager?.notify(`STATUS=${status}`);
  }

  private mark(): void {
    const { shards } = this.supervised;
    if (shards !== undefined) this.marks = this.marks.map((_, i) => shards.position(i));
  }

  private shardsMoved(): boolean {
    const { shards } = this.supervised;
    return shards === undefined || this.marks.every((mark, i) => shards.reached(i, mark));
  }
}

/**
 * ms within which the manager wants a ping, from the environment; undefined when it wants none of
 * this process or of `parent`, which started it in the background. Throws RangeError for nonsense.
 */
export function watchdogTime(
  environment: NodeJS.ProcessEnv,
  pid: number,
  parent?: number,
): number | undefined {
  const { WATCHDOG_USEC: text, WATCHDOG_PID: meant } = environment;
  if (text === undefined) return undefined;
  if (meant !== undefined && Number(meant) !== pid && Number(meant) !== parent) return undefined;
  const microseconds = Number(text);
  if (!Number.isInteger(microseconds) || microseconds <= 0) {
    throw new RangeError(`WATCHDOG_USEC is ${text}`);
  }
  return microseconds / 1000;
}
